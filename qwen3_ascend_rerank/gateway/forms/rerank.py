"""The forms of ``/rerank``: a query and documents in, rows with an index and a score out.

Jina's, which vLLM, Xinference, SiliconFlow and most gateways share, is the one that the others are
told apart from. Cohere's first version differs in what it says of itself alone, so an answer says
both; its second repeats no documents. Sources: https://jina.ai/reranker,
https://docs.cohere.com/v1/reference/rerank and /v2, https://docs.voyageai.com/reference/reranker-api,
vLLM's ``entrypoints/pooling/score/protocol.py``, SGLang's ``entrypoints/openai/protocol.py``,
infinity's ``infinity_server.py``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...results import RankedDocument, RerankResult
from .fields import Fields
from .form import Form, Inquiry, Json, Refusal, Stamp

ROUTES = ("rerank", "reranking", "")
"""The last is a base URL to which a client added nothing."""
INSTRUCTION = ("instruction", "instruct")


def instruction_of(fields: Fields) -> str | None:
    """What makes a document relevant, by any of its names."""
    inner = fields.inner("chat_template_kwargs")
    return fields.or_else(inner).text(*INSTRUCTION)


def refuse_other_prompts(fields: Fields) -> None:
    """Refuse what would be another prompt than the official one.

    Raises:
        InvalidInputError: the request asks for one.
    """
    fields.refuse(
        "truncate_prompt_tokens",
        "which would cut off the end of the prompt, where the score is read; leave it out: a "
        "document that is too long is cut by itself. max_tokens_per_doc cuts documents shorter",
        -1,
    )
    for name in ("messages", "chat_template"):
        fields.refuse(name, "which would make another prompt than Qwen3-Reranker's; leave it out")


def read(fields: Fields) -> Inquiry:
    """Jina's, vLLM's and Cohere's request.

    ``max_chunks_per_doc``, ``priority``, ``user`` and what else there may be change no score here
    and are not read; nor does vLLM read ``max_chunks_per_doc``.
    """
    refuse_other_prompts(fields)
    activated = (fields.flag(name) for name in ("use_activation", "activation", "softmax"))
    returned = fields.flag("return_documents", "return_text")
    return Inquiry(
        queries=[fields.query("query")],
        documents=fields.documents("documents", "texts", fields=fields.names("rank_fields")),
        model=fields.text("model"),
        instruction=instruction_of(fields),
        top_n=fields.count("top_n", "top_k") or None,
        return_documents=returned is not False,
        raw=any(flag is False for flag in activated) or fields.flag("raw_scores") is True,
        document_tokens=fields.count("max_tokens_per_doc", least=1),
        long_documents=fields.text("long_documents"),
    )


def score_of(question: Inquiry, one: RankedDocument) -> float:
    """What the form's own field for the score holds."""
    return one.log_odds if question.raw else one.score


def row(question: Inquiry, one: RankedDocument) -> dict[str, Any]:
    """What is said of a document."""
    said = {"index": one.index, "relevance_score": score_of(question, one)}
    said |= {"log_odds": one.log_odds, "truncated": one.truncated, **more_of(one)}
    if one.relevance is not None:
        said["relevance"] = one.relevance
    return said | ({"document": {"text": one.text}} if question.return_documents else {})


def more_of(one: RankedDocument) -> dict[str, Any]:
    """What no form has: where the best passage of a document is, and which stage's the score is."""
    said = {"span": list(one.span) if one.span else None, "stage": one.stage}
    return {name: value for name, value in said.items() if value is not None}


def usage_of(result: RerankResult) -> dict[str, int]:
    """What it took: the tokens, as every server says it; and what only this one does."""
    usage = result.usage
    return {
        "prompt_tokens": usage.prompt_tokens,
        "total_tokens": usage.prompt_tokens,
        "pairs_reused": usage.pairs_reused,
        "passages_scored": usage.passages_scored,
        "documents_truncated": usage.documents_truncated,
        "texts_defused": usage.texts_defused,
    }


def answer(question: Inquiry, result: RerankResult, stamp: Stamp) -> Json:
    """Jina's, vLLM's and Cohere's answer in one."""
    tokens = result.usage.prompt_tokens
    return {
        "id": stamp.id,
        "object": "list",
        "model": stamp.model,
        "usage": usage_of(result),
        "results": [row(question, one) for one in result],
        "meta": {
            "api_version": {"version": "1"},
            "billed_units": {"search_units": 1},
            "tokens": {"input_tokens": tokens, "output_tokens": 0},
        },
    }


def refuse(refusal: Refusal, stamp: Stamp) -> Json:
    """The error of vLLM and OpenAI; Cohere's clients read ``message``, Jina's ``detail``."""
    return {
        "error": {
            "message": refusal.reason,
            "type": refusal.kind,
            "param": None,
            "code": refusal.status,
        },
        "message": refusal.reason,
        "detail": refusal.reason,
        "id": stamp.id,
    }


JINA = Form(
    name="jina",
    spoken_by="Jina, vLLM, Cohere v1, Xinference, SiliconFlow, LiteLLM, Dify, RAGFlow, …",
    routes=ROUTES,
    read=read,
    answer=answer,
    refuse=refuse,
)

# ---- Cohere's second version -----------------------------------------------------------------


def _read_cohere(fields: Fields) -> Inquiry:
    question = read(fields)
    return replace(question, return_documents=fields.flag("return_documents") is True)


def _answer_cohere(question: Inquiry, result: RerankResult, stamp: Stamp) -> Json:
    said = answer(question, result, stamp)
    said["meta"]["api_version"] = {"version": "2"}
    return said


COHERE = replace(
    JINA,
    name="cohere",
    spoken_by="Cohere v2",
    is_meant=lambda version, _: version == "v2",
    read=_read_cohere,
    answer=_answer_cohere,
)

# ---- Voyage ----------------------------------------------------------------------------------


def _read_voyage(fields: Fields) -> Inquiry:
    question, returned = read(fields), fields.flag("return_documents") is True
    return replace(question, return_documents=returned, cut=fields.flag("truncation") is not False)


def _answer_voyage(question: Inquiry, result: RerankResult, stamp: Stamp) -> Json:
    rows = [row(question, one) for one in result]
    for one in rows:
        if question.return_documents:
            one["document"] = one["document"]["text"]
    usage = {"total_tokens": result.usage.prompt_tokens}
    return {"object": "list", "data": rows, "model": stamp.model, "usage": usage}


VOYAGE = replace(
    JINA,
    name="voyage",
    spoken_by="Voyage",
    is_meant=lambda _, fields: "truncation" in fields and "top_n" not in fields,
    read=_read_voyage,
    answer=_answer_voyage,
)

# ---- infinity and SGLang, whose requests are Jina's: told by the path alone -------------------


def _read_infinity(fields: Fields) -> Inquiry:
    return replace(read(fields), return_documents=fields.flag("return_documents") is True)


def _answer_infinity(question: Inquiry, result: RerankResult, stamp: Stamp) -> Json:
    said = answer(question, result, stamp)
    for one in said["results"]:
        if question.return_documents:
            one["document"] = one["document"]["text"]
    return said


def _answer_sglang(question: Inquiry, result: RerankResult, stamp: Stamp) -> Json:
    return [
        {
            "index": one.index,
            "score": score_of(question, one),
            "log_odds": one.log_odds,
            **more_of(one),
            "meta_info": {"id": stamp.id},
            **({"document": one.text} if question.return_documents else {}),
        }
        for one in result
    ]


def _never(_version: str, _fields: Fields) -> bool:
    return False


INFINITY = replace(
    JINA,
    name="infinity",
    spoken_by="infinity",
    is_meant=_never,
    read=_read_infinity,
    answer=_answer_infinity,
)
SGLANG = replace(JINA, name="sglang", spoken_by="SGLang", is_meant=_never, answer=_answer_sglang)
