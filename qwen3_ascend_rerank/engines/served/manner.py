"""How one server is asked: requests and answers as pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Literal, cast

from ...prompts import PromptBatch
from ...protocol import log_odds_of
from .dialects import DIALECT_NAMES, Dialect, Formatting
from .faults import AnswerFaultError

Evidence = Literal["nothing", "count", "tokens"]
"""What was seen of the prompt that a server makes: nothing, how many tokens it has, or each one."""

COUNTS = (
    "usage.prompt_tokens",
    "usage.input_tokens",
    "usage.total_tokens",
    "meta.tokens.input_tokens",
    "meta.billed_units.input_tokens",
    "meta.billed_units.total_tokens",
)
"""Where answers say how many prompt tokens they took: vLLM and Jina; DashScope; SiliconFlow and
LiteLLM's proxy; the last two as Cohere bills. What Cohere calls a search unit is no token."""


@dataclass(frozen=True, slots=True)
class Manner:
    """A dialect, and all that one server wants to be asked with."""

    dialect: Dialect
    model: str | None
    """The name under which the model is served; None: not to be sent."""
    formatting: Formatting = "client"
    instruction: str | None = None
    """The field in which the server's template was seen to take an instruction."""
    blank: str = ""
    """What is sent instead of an empty document to a server that makes the prompt."""
    evidence: Evidence = "nothing"
    """What was seen of the prompt that the server makes."""
    switch: str | None = None
    """The field of the dialect's `switches` that gives log-odds."""
    log_odds: bool = False
    """Whether the answers are log-odds; else they are probabilities."""
    answers_as: str | None = None
    """The model that answers name; None where they name none."""

    def request(self, batch: PromptBatch) -> dict[str, Any]:
        """The JSON that asks for the scores of `batch`."""
        return self._asking(self._contents(batch), len(batch))

    def request_parted(self, prompt: str, place: int) -> dict[str, Any]:
        """The JSON that asks for the score of a whole prompt in two texts, which part there."""
        texts = {self.dialect.query: prompt[:place], self.dialect.documents: [prompt[place:]]}
        return self._asking(texts, 1)

    def _asking(self, contents: Mapping[str, Any], count: int) -> dict[str, Any]:
        dialect = self.dialect
        fields = {**dialect.also, **contents}
        if dialect.count is not None:
            fields[dialect.count] = count
        if self.model is not None:
            fields["model"] = self.model
        if self.switch is not None:
            fields[self.switch] = dialect.switches[self.switch]
        return _nested(fields)

    def _contents(self, batch: PromptBatch) -> dict[str, Any]:
        dialect = self.dialect
        if not dialect.takes_text:
            return {dialect.documents: list(batch.prompts())}
        if self.formatting == "client":
            return {dialect.query: batch.opening, dialect.documents: batch.closings()}
        texts = {
            dialect.query: batch.query,
            dialect.documents: list(map(self._filled, batch.texts)),
        }
        return texts if self.instruction is None else {**texts, self.instruction: batch.instruction}

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
            rows = answer if self.dialect.rows is None else _at(answer, self.dialect.rows)
            found = [(row["index"], _only(row[self.dialect.score])) for row in rows]
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
            return sum(int(row["meta_info"]["prompt_tokens"]) for row in answer) or None
        except (TypeError, KeyError, ValueError):
            return None
    return next(filter(None, (_count_at(answer, place) for place in COUNTS)), None)


def _count_at(answer: Any, place: str) -> int | None:
    try:
        count = _at(answer, place)
    except (TypeError, KeyError):
        return None
    return count if _is_number(count, int) else None


def _at(content: Any, place: str) -> Any:
    """What `content` has at `place`, names with dots between them."""
    for name in place.split("."):
        content = content[name]
    return content


def _nested(fields: Mapping[str, Any]) -> dict[str, Any]:
    """`fields`, each at its place."""
    content: dict[str, Any] = {}
    for place, value in fields.items():
        *outer, last = place.split(".")
        inner = content
        for name in outer:
            inner = inner.setdefault(name, {})
        inner[last] = value
    return content


def _only(value: Any) -> Any:
    """`value`, or the only one of a list."""
    if isinstance(value, list):
        (value,) = value
    return value
