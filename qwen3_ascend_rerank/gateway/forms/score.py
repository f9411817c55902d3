"""vLLM's ``/score``: one text or several, against as many; scores in the order of the request.

Source: vLLM's ``entrypoints/pooling/score/protocol.py``, 0.9.2 to 0.33.0.
"""

from __future__ import annotations

from ...errors import InvalidInputError
from ...results import RerankResult
from . import rerank
from .fields import Fields
from .form import Form, Inquiry, Json, Stamp

_ONES = ("text_1", "queries", "data_1", "query")
_OTHERS = ("text_2", "documents", "data_2", "items")


def _read(fields: Fields) -> Inquiry:
    fields.refuse(
        "label_token_ids",
        "which asks for the probabilities of tokens of your choice; leave it out: the score is "
        'P("yes") of Qwen3-Reranker\'s prompt',
    )
    rerank.refuse_other_prompts(fields)
    activated = (fields.flag(name) for name in ("use_activation", "activation", "softmax"))
    queries, documents = fields.listed(*_ONES), fields.listed(*_OTHERS)
    if not queries or len(queries) not in (1, len(documents)):
        raise InvalidInputError(
            f"there are {len(queries)} queries for {len(documents)} documents; send one query, or "
            "one for each document"
        )
    return Inquiry(
        queries=queries,
        documents=documents,
        model=fields.text("model"),
        instruction=rerank.instruction_of(fields),
        raw=any(flag is False for flag in activated),
        document_tokens=fields.count("max_tokens_per_doc", least=1),
        comparable=True,
        long_documents=fields.text("long_documents"),
    )


def _answer(question: Inquiry, result: RerankResult, stamp: Stamp) -> Json:
    tokens = result.usage.prompt_tokens
    return {
        "id": stamp.id,
        "object": "list",
        "created": stamp.created,
        "model": stamp.model,
        "data": [
            {
                "index": one.index,
                "object": "score",
                "score": rerank.score_of(question, one),
                "log_odds": one.log_odds,
                **rerank.more_of(one),
            }
            for one in sorted(result, key=lambda one: one.index)
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0},
    }


SCORE = Form(
    name="vllm-score",
    spoken_by="vLLM's score clients",
    routes=("score",),
    read=_read,
    answer=_answer,
    refuse=rerank.refuse,
)
