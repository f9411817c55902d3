"""Text Embeddings Inference: ``texts`` in, a bare list out.

Source: its OpenAPI description, https://huggingface.github.io/text-embeddings-inference.
"""

from __future__ import annotations

from ...results import RerankResult
from . import rerank
from .fields import Fields
from .form import Form, Inquiry, Json, Refusal, Stamp

_KINDS = {400: "Validation", 413: "Validation", 422: "Validation", 429: "Overloaded"}
"""Its own words for what went wrong."""


_OWN = ("raw_scores", "return_text", "truncate", "truncation_direction")
"""Fields that nobody sends to another server."""


def _is_meant(_version: str, fields: Fields) -> bool:
    """Dify names its documents so for others' servers, too, and sends a model along."""
    if "texts" not in fields or "documents" in fields or "return_documents" in fields:
        return False
    return "model" not in fields or any(name in fields for name in _OWN)


def _read(fields: Fields) -> Inquiry:
    fields.refuse(
        "truncation_direction",
        "which would keep the end of a document; only its beginning is kept: send Right",
        "Right",
        "right",
    )
    return Inquiry(
        queries=[fields.query("query")],
        documents=fields.documents("texts", "documents"),
        model=fields.text("model"),
        instruction=rerank.instruction_of(fields),
        top_n=fields.count("top_n", "top_k") or None,
        return_documents=fields.flag("return_text") is True,
        raw=fields.flag("raw_scores") is True,
        long_documents=fields.text("long_documents"),
        cut=fields.flag("truncate") is not False,
    )


def _answer(question: Inquiry, result: RerankResult, _stamp: Stamp) -> Json:
    return [
        {
            "index": one.index,
            "score": rerank.score_of(question, one),
            "log_odds": one.log_odds,
            **rerank.more_of(one),
            **({"text": one.text} if question.return_documents else {}),
        }
        for one in result
    ]


def _refuse(refusal: Refusal, _stamp: Stamp) -> Json:
    kind = _KINDS.get(refusal.status, "Backend")
    return {"error": refusal.reason, "error_type": kind, "message": refusal.reason}


TEI = Form(
    name="tei",
    spoken_by="Text Embeddings Inference, LlamaIndex, Dify, Cherry Studio, LiteLLM's huggingface",
    routes=rerank.ROUTES,
    is_meant=_is_meant,
    read=_read,
    answer=_answer,
    refuse=_refuse,
)
