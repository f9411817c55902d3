"""NVIDIA's ``/v1/ranking``: passages in, logits out.

Source: "Text reranking" in the API reference of NeMo Retriever.
"""

from __future__ import annotations

from ...results import RerankResult
from . import rerank
from .fields import Fields
from .form import Form, Inquiry, Json, Stamp


def _read(fields: Fields) -> Inquiry:
    fields.refuse("truncate", "which is not known; send END or NONE", "END", "NONE")
    return Inquiry(
        queries=[fields.query("query")],
        documents=fields.documents("passages", "documents"),
        model=fields.text("model"),
        instruction=rerank.instruction_of(fields),
        top_n=fields.count("top_n", "top_k") or None,
        cut=fields.text("truncate") != "NONE",
    )


def _answer(_question: Inquiry, result: RerankResult, stamp: Stamp) -> Json:
    tokens = result.usage.prompt_tokens
    return {
        "rankings": [
            {"index": one.index, "logit": one.log_odds, "score": one.score} for one in result
        ],
        "model": stamp.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


NVIDIA = Form(
    name="nvidia",
    spoken_by="NVIDIA NIM, RAGFlow's NVIDIA",
    routes=("ranking",),
    read=_read,
    answer=_answer,
    refuse=rerank.refuse,
)
