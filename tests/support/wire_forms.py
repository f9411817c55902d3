"""How clients of each form ask a gateway, and how they read its answers: a row each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Scores = dict[int, float]


def _results(answer: Any) -> list[tuple[int, float]]:
    return [(row["index"], row["relevance_score"]) for row in answer["results"]]


def _flat(query: str, documents: Sequence[str]) -> dict[str, Any]:
    return {"model": "any", "query": query, "documents": list(documents)}


def _inside(query: str, documents: Sequence[str]) -> dict[str, Any]:
    return {"model": "any", "input": {"query": query, "documents": list(documents)}}


@dataclass(frozen=True)
class WireForm:
    """A form as its clients know it."""

    name: str
    path: str
    body: Callable[[str, Sequence[str]], dict[str, Any]]
    rows: Callable[[Any], list[tuple[int, float]]]
    """Index and score of each row of an answer, in its order."""
    error: Callable[[Any], str]
    """Where its clients look for what went wrong."""
    sorted: bool = True
    logits: bool = False
    """Whether its scores are log-odds."""
    instruction: Callable[[str], dict[str, Any]] = lambda text: {"instruction": text}

    def __str__(self) -> str:
        return f"{self.name}{self.path}".replace("/", "-")


def _openai_error(answer: Any) -> str:
    error = answer["error"]
    assert error.keys() >= {"message", "type", "param", "code"}
    assert answer["message"] == answer["detail"] == error["message"]
    return str(error["message"])


def _tei_error(answer: Any) -> str:
    assert answer["error_type"] in {"Validation", "Overloaded", "Backend"}
    return str(answer["error"])


def _dashscope_error(answer: Any) -> str:
    assert answer["code"]
    assert answer["request_id"]
    return str(answer["message"])


def _pairs(query: str, documents: Sequence[str]) -> dict[str, Any]:
    return {"text_1": query, "text_2": list(documents)}


def _texts(query: str, documents: Sequence[str]) -> dict[str, Any]:
    return {"query": query, "texts": list(documents), "raw_scores": False, "truncate": True}


def _list(answer: Any) -> list[tuple[int, float]]:
    return [(row["index"], row["score"]) for row in answer]


def _data(answer: Any) -> list[tuple[int, float]]:
    return [(row["index"], row["score"]) for row in answer["data"]]


def _voyage(query: str, documents: Sequence[str]) -> dict[str, Any]:
    return {**_flat(query, documents), "top_k": None, "truncation": True}


def _voyage_rows(answer: Any) -> list[tuple[int, float]]:
    return [(row["index"], row["relevance_score"]) for row in answer["data"]]


def _dify_texts(query: str, documents: Sequence[str]) -> dict[str, Any]:
    return {"model": "any", "query": query, "texts": list(documents), "return_documents": True}


def _passages(query: str, documents: Sequence[str]) -> dict[str, Any]:
    return {"query": {"text": query}, "passages": [{"text": text} for text in documents]}


def _rankings(answer: Any) -> list[tuple[int, float]]:
    return [(row["index"], row["logit"]) for row in answer["rankings"]]


WIRE_FORMS = (
    *(
        WireForm("jina", path, _flat, _results, _openai_error)
        for path in ("/rerank", "/v1/rerank", "/v1/v1/rerank", "/v1", "/reranking", "//v1//rerank/")
    ),
    WireForm("cohere", "/v2/rerank", _flat, _results, _openai_error),
    WireForm("cohere", "/v1/v2/rerank", _flat, _results, _openai_error),
    *(WireForm("tei", path, _texts, _list, _tei_error) for path in ("/rerank", "/v1/rerank")),
    WireForm("jina", "/v1/rerank", _dify_texts, _results, _openai_error),
    WireForm("voyage", "/v1/rerank", _voyage, _voyage_rows, _openai_error),
    WireForm("voyage", "/voyage/v1/rerank", _flat, _voyage_rows, _openai_error),
    WireForm("infinity", "/infinity/rerank", _flat, _results, _openai_error),
    WireForm("sglang", "/sglang/v1/rerank", _flat, _list, _openai_error),
    *(
        WireForm("vllm-score", path, _pairs, _data, _openai_error, sorted=False)
        for path in ("/score", "/v1/score")
    ),
    *(
        WireForm(
            "dashscope",
            path,
            _inside,
            lambda answer: _results(answer["output"]),
            _dashscope_error,
            instruction=lambda text: {"parameters": {"instruct": text}},
        )
        for path in (
            "/api/v1/services/rerank/text-rerank/text-rerank",
            "/services/rerank/text-rerank/text-rerank",
        )
    ),
    WireForm(
        "dashscope-compatible",
        "/compatible-api/v1/reranks",
        _flat,
        _results,
        _dashscope_error,
        instruction=lambda text: {"instruct": text},
    ),
    WireForm("nvidia", "/v1/ranking", _passages, _rankings, _openai_error, logits=True),
)
