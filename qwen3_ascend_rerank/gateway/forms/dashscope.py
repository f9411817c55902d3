"""Alibaba Cloud Model Studio (DashScope, Bailian): fields inside ``input`` and ``parameters``.

Source: "Text rerank" in its API reference, https://help.aliyun.com/zh/model-studio/text-rerank-api;
the ``dashscope`` SDK 1.24.
"""

from __future__ import annotations

from dataclasses import replace

from ...results import RerankResult
from . import rerank
from .fields import Fields
from .form import Form, Inquiry, Json, Refusal, Stamp

_CODES = {
    401: "InvalidApiKey",
    404: "ModelNotFound",
    429: "Throttling",
    500: "InternalError",
    502: "InternalError",
    503: "ServiceUnavailable",
    504: "RequestTimeOut",
}
"""Its own words for what went wrong; anything else is an ``InvalidParameter``."""


def _read(fields: Fields) -> Inquiry:
    """Both its older form, with objects inside, and the flat one of its newer models."""
    flat = fields.inner("parameters").or_else(fields.inner("input"))
    flat = flat.or_else(fields.without("input", "parameters"))
    question = rerank.read(flat)
    return replace(question, return_documents=flat.flag("return_documents") is True)


def _answer(question: Inquiry, result: RerankResult, stamp: Stamp) -> Json:
    return {
        "request_id": stamp.id,
        "model": stamp.model,
        "output": {"results": [rerank.row(question, one) for one in result]},
        "usage": {
            "total_tokens": result.usage.prompt_tokens,
            "input_tokens": result.usage.prompt_tokens,
        },
    }


def _refuse(refusal: Refusal, stamp: Stamp) -> Json:
    code = _CODES.get(refusal.status, "InvalidParameter")
    return {"request_id": stamp.id, "code": code, "message": refusal.reason}


DASHSCOPE = Form(
    name="dashscope",
    spoken_by="DashScope (Bailian)",
    routes=("services/rerank/text-rerank/text-rerank",),
    read=_read,
    answer=_answer,
    refuse=_refuse,
)
RERANKS = replace(
    rerank.JINA,
    name="dashscope-compatible",
    spoken_by="DashScope (Bailian), its form compatible with others",
    routes=("reranks",),
    read=_read,
    refuse=_refuse,
)
