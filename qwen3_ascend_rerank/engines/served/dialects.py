"""The ways to ask a server for scores: one row each, requests and answers as pure functions.

Sources: the request and response models of vLLM 0.9.2 to 0.32.0 (``entrypoints/…/protocol.py``);
https://jina.ai/reranker and https://docs.cohere.com/reference/rerank; SGLang's
``entrypoints/openai/serving_rerank.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Literal, cast

from ...prompt import PromptBatch
from ..base import log_odds_of
from .faults import AnswerFaultError

Formatting = Literal["client", "server"]
"""Who makes Qwen3-Reranker's prompt of a query and a document."""


@dataclass(frozen=True, slots=True)
class Texts:
    """A query and its documents, as text routes take them."""

    query: str
    documents: list[str]
    instruction: str | None
    """For the server's template; None where it is not to be sent."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One way to ask."""

    name: str
    """What `engine_options` call it."""
    path: str
    """Where it is answered."""
    ask_ids: Callable[[list[list[int]]], dict[str, Any]] | None
    """The request for whole prompts of token ids; None where only text is taken."""
    ask_texts: Callable[[Texts], dict[str, Any]] | None
    """The request for a query and documents; None where ids are taken."""
    rows: str | None
    """The field of the answer that holds a row for each document; None: the answer itself."""
    value: Callable[[Any], Any]
    """The score in a row."""
    switches: tuple[str, ...]
    """Fields that, if false, may give log-odds instead of probabilities."""
    since: str
    """Who answers it."""
    formatting: Formatting | None = None
    """Who makes the prompt, where the number of tokens does not tell."""
    blank: str = " "
    """Stands for an empty document where a server that makes the prompt refuses one, as vLLM 0.10
    to 0.15 do; SGLang refuses a blank one, too."""

    @property
    def takes_text(self) -> bool:
        """Whether the server tokenises, and reads control tokens in texts."""
        return self.ask_ids is None


def _ask_score(texts: Texts) -> dict[str, Any]:
    return _instructed({"text_1": texts.query, "text_2": texts.documents}, "instruction", texts)


def _ask_rerank(texts: Texts) -> dict[str, Any]:
    return _instructed(_rerank(texts), "instruction", texts)


def _ask_sglang(texts: Texts) -> dict[str, Any]:
    return _instructed(_rerank(texts), "instruct", texts)


def _rerank(texts: Texts) -> dict[str, Any]:
    return {
        "query": texts.query,
        "documents": texts.documents,
        "top_n": len(texts.documents),
        "return_documents": False,
    }


def _instructed(request: dict[str, Any], field: str, texts: Texts) -> dict[str, Any]:
    return request if texts.instruction is None else {**request, field: texts.instruction}


def _only(values: Sequence[Any]) -> Any:
    (value,) = values
    return value


_BOTH = ("use_activation", "activation")
"""vLLM from 0.11.1 takes the first; 0.10.1 to 0.11.0 the second, which later releases get wrong."""

DIALECTS = (
    Dialect(
        "classify", "/classify",
        lambda prompts: {"input": prompts}, None,
        "data", lambda row: _only(row["probs"]), _BOTH[:1],
        "vLLM >= 0.15",
    ),
    Dialect(
        "pooling", "/pooling",
        lambda prompts: {"input": prompts, "task": "classify"}, None,
        "data", lambda row: _only(row["data"]), _BOTH[:1],
        "vLLM >= 0.11.1",
    ),
    Dialect(
        "v1-score", "/v1/score", None, _ask_score,
        "data", lambda row: row["score"], _BOTH,
        "vLLM >= 0.9.2",
    ),
    Dialect(
        "score", "/score", None, _ask_score,
        "data", lambda row: row["score"], _BOTH,
        "vLLM >= 0.9.2",
    ),
    Dialect(
        "v1-rerank", "/v1/rerank", None, _ask_rerank,
        "results", lambda row: row["relevance_score"], _BOTH,
        "vLLM >= 0.9.2, Jina, gateways",
    ),
    Dialect(
        "sglang", "/v1/rerank", None, _ask_sglang,
        None, lambda row: row["score"], (),
        "SGLang", "server", ".",
    ),
    Dialect(
        "rerank", "/rerank", None, _ask_rerank,
        "results", lambda row: row["relevance_score"], _BOTH,
        "vLLM >= 0.9.2, llama.cpp, gateways",
    ),
    Dialect(
        "v2-rerank", "/v2/rerank", None, _ask_rerank,
        "results", lambda row: row["relevance_score"], _BOTH,
        "vLLM >= 0.9.2, Cohere",
    ),
)  # fmt: skip
"""In the order in which they are tried: token ids first, then where a key is asked for."""

DIALECT_NAMES = tuple(dialect.name for dialect in DIALECTS)


@dataclass(frozen=True, slots=True)
class Manner:
    """A dialect, and all that one server wants to be asked with."""

    dialect: Dialect
    model: str | None
    """The name under which the model is served; None: not to be sent."""
    formatting: Formatting = "client"
    sends_instruction: bool = False
    """Whether the server's template takes an instruction."""
    blank: str = ""
    """What is sent instead of an empty document to a server that makes the prompt."""
    verified: bool = False
    """Whether the prompt that the server's template makes was seen to be right."""
    switch: str | None = None
    """The field that, if false, gives log-odds."""
    log_odds: bool = False
    """Whether the answers are log-odds; else they are probabilities."""
    answers_as: str | None = None
    """The model that answers name; None where they name none."""

    def request(self, batch: PromptBatch) -> dict[str, Any]:
        """The JSON that asks for the scores of `batch`."""
        request = self._ask(batch)
        if self.model is not None:
            request["model"] = self.model
        if self.switch is not None:
            request[self.switch] = False
        return request

    def _ask(self, batch: PromptBatch) -> dict[str, Any]:
        if self.dialect.ask_ids is not None:
            return self.dialect.ask_ids(list(batch.prompts()))
        if self.dialect.ask_texts is None:
            raise TypeError(f"{self.dialect.name} asks for nothing")
        return self.dialect.ask_texts(
            Texts(batch.opening, batch.closings(), None)
            if self.formatting == "client"
            else Texts(
                batch.query,
                list(map(self._filled, batch.texts)),
                batch.instruction if self.sends_instruction else None,
            )
        )

    def _filled(self, text: str) -> str:
        content = text.strip() if self.blank.strip() else text
        return text if content else self.blank

    def read(self, url: str, answer: Any, count: int) -> list[float]:
        """The values in `answer`, as the server gives them, in the order of the documents.

        Raises:
            AnswerFaultError: not one finite number for each of `count` documents of this model.
        """
        where = f"answered {self.dialect.path} with"
        if self.answers_as not in (None, named_model(answer)):
            raise AnswerFaultError(url, f"{where} scores of another model")
        try:
            rows = answer if self.dialect.rows is None else answer[self.dialect.rows]
            found = [(row["index"], self.dialect.value(row)) for row in rows]
        except (TypeError, KeyError, ValueError):
            raise AnswerFaultError(
                url,
                f"{where} something else than the scores of {self.dialect.name}; name what it "
                f"speaks as dialect in engine_options: {', '.join(DIALECT_NAMES)}",
            ) from None
        if len(found) != count:
            raise AnswerFaultError(url, f"{where} {len(found)} scores for {count} documents")
        if not all(_is_number(index, int) for index, _ in found) or (
            {index for index, _ in found} != set(range(count))
        ):
            raise AnswerFaultError(url, f"{where} scores that are not one of each document")
        values = [_as_float(value) for _, value in sorted(found, key=itemgetter(0))]
        if wrong := [value for value in values if not math.isfinite(value)]:
            raise AnswerFaultError(
                url, f"{where} {len(wrong)} scores of {count} that are no finite numbers"
            )
        return values

    def log_odds_of(self, url: str, answer: Any, count: int) -> list[float]:
        """Log-odds of "yes" of each document.

        Raises:
            AnswerFaultError: as `read`; or what should be a probability is none.
        """
        values = self.read(url, answer, count)
        if self.log_odds:
            return values
        if wrong := [value for value in values if not 0 <= value <= 1]:
            raise AnswerFaultError(
                url, f"answered {self.dialect.path} with {wrong[0]}, which is no probability"
            )
        return [log_odds_of(value) for value in values]


def _is_number(value: object, *kinds: type) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


def _as_float(value: object) -> float:
    """A JSON number as a float; NaN for anything else."""
    try:
        return float(cast("float", value)) if _is_number(value, int, float) else math.nan
    except OverflowError:
        return math.inf


def named_model(answer: Any) -> str | None:
    """The model that an answer says it is from; None where it does not say."""
    name = answer.get("model") if isinstance(answer, dict) else None
    return name if isinstance(name, str) else None


def tokens_of(answer: Any) -> int | None:
    """How many prompt tokens an answer says that it took; None where it does not say."""
    if isinstance(answer, list):  # SGLang counts for each document
        try:
            return sum(int(row["meta_info"]["prompt_tokens"]) for row in answer)
        except (TypeError, KeyError, ValueError):
            return None
    usage = answer.get("usage") if isinstance(answer, dict) else None
    if not isinstance(usage, dict):
        return None
    count = usage.get("prompt_tokens", usage.get("total_tokens"))
    return count if isinstance(count, int) else None
