"""One question to a Reranker, checked before anything is loaded or computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, Literal, TypeAlias, cast, get_args

from ..checks import (
    checked_count,
    checked_list,
    checked_seconds,
    checked_text,
    described,
    is_number,
    unknown_name,
)
from ..errors import InvalidInputError

LongDocuments: TypeAlias = Literal["truncate", "max_passage", "first_passages"]
"""What becomes of a document that is too long for its prompt."""


class NotGiven(Enum):
    """The type of `NOT_GIVEN`."""

    NOT_GIVEN = "not given"

    def __repr__(self) -> str:
        return self.name


NOT_GIVEN = NotGiven.NOT_GIVEN
"""An option that a call leaves as the object has it; None is an answer of its own: no limit."""


@dataclass(frozen=True, slots=True)
class Request:
    """A query and its documents, with the options of the call filled in."""

    query: str
    documents: list[str]
    instruction: str
    top_n: int | None
    threshold: float | None
    timeout: float | None
    long_documents: LongDocuments = "truncate"


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """One of many requests, for `Reranker.rerank_many`.

    What it leaves out is as the call or the Reranker has it. Nothing is checked before its turn.
    """

    query: str
    """What is asked; not empty."""
    documents: Iterable[str]
    """The texts to rank."""
    id: Any = None
    """Whatever tells the request from others; it comes back with the outcome."""
    top_n: int | NotGiven | None = NOT_GIVEN
    threshold: float | NotGiven | None = NOT_GIVEN
    instruction: str | NotGiven | None = NOT_GIVEN
    timeout: float | NotGiven | None = NOT_GIVEN
    long_documents: LongDocuments | NotGiven | None = NOT_GIVEN

    @classmethod
    def of(cls, given: Any) -> RerankRequest:
        """A request from a mapping with the names above, or from a pair (query, documents).

        Raises:
            InvalidInputError: it is neither, or has no query or documents, or more than there is.
        """
        if isinstance(given, RerankRequest):
            return given
        if isinstance(given, Mapping):
            names = list(cls.__dataclass_fields__)
            if unknown := [name for name in given if name not in names]:
                raise unknown_name(str(unknown[0]), "field of a request", names)
            if missing := [name for name in ("query", "documents") if name not in given]:
                raise InvalidInputError(f"the request has no {' and no '.join(missing)}")
            return cls(**given)
        if isinstance(given, tuple | list) and len(given) == 2:
            return cls(*given)
        raise InvalidInputError(
            f"the request is {described(given)}; pass a RerankRequest, a mapping, or a pair "
            "(query, documents)"
        )

    @property
    def options(self) -> dict[str, Any]:
        """What it sets for itself."""
        given = {name: getattr(self, name) for name in CALL_OPTIONS}
        return {name: value for name, value in given.items() if value is not NOT_GIVEN}


def checked_pairs(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Pairs of a query and a document."""
    advice = "pass a list of pairs (query, document)"
    if isinstance(pairs, str | bytes | Mapping) or not isinstance(pairs, Iterable):
        raise InvalidInputError(f"pairs is {described(pairs)}; {advice}")
    checked = []
    for index, pair in enumerate(pairs):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise InvalidInputError(f"pairs[{index}] is {described(pair)}; {advice}")
        query, document = pair
        if not isinstance(document, str):
            raise InvalidInputError(
                f"pairs[{index}] has {described(document)} as its document; pass a str"
            )
        try:
            checked.append((checked_query(query), document))
        except InvalidInputError as error:
            raise InvalidInputError(f"pairs[{index}]: {error}") from None
    return checked


CHARACTERS_A_TOKEN = 3
"""Of text, about: fewer in Chinese, more in English."""
TOKENS_OF_TEMPLATE = 60


def estimated_tokens(request: Request, max_length: int) -> int:
    """About how many tokens the prompts of a request have, without tokenising them; at least 1."""
    around = TOKENS_OF_TEMPLATE + len(request.query) // CHARACTERS_A_TOKEN
    lengths = (around + len(document) // CHARACTERS_A_TOKEN for document in request.documents)
    cut = request.long_documents == "truncate"
    return max(1, sum(min(max_length, length) if cut else length for length in lengths))


def checked_query(query: str) -> str:
    """A query that asks something."""
    if not isinstance(query, str):
        raise InvalidInputError(f"query is {described(query)}; pass a str")
    if not query.strip():
        raise InvalidInputError("query is empty; pass the question that the documents should meet")
    return query


def checked_documents(documents: Iterable[str]) -> list[str]:
    """A list of texts; empty texts are allowed, and score low."""
    return checked_list("documents", documents, str, "pass a list of str", "pass a str")


def checked_top_n(top_n: int | None) -> int | None:
    """How many documents to keep; None: all."""
    return None if top_n is None else checked_count("top_n", top_n)


def checked_threshold(threshold: float | None) -> float | None:
    """A score in [0, 1]; None: keep everything."""
    if threshold is None:
        return None
    if not is_number(threshold) or not 0 <= threshold <= 1:
        raise InvalidInputError(f"threshold is {described(threshold)}; pass a score in [0, 1]")
    return float(threshold)


def checked_timeout(timeout: float | None) -> float | None:
    """Seconds above 0; None: no limit."""
    if timeout is None or timeout == math.inf:
        return None
    return checked_seconds("timeout", timeout)


def checked_long_documents(value: Any) -> LongDocuments:
    """What becomes of a document that is too long."""
    if value not in get_args(LongDocuments):
        raise InvalidInputError(
            f"long_documents is {described(value)}; use one of {', '.join(get_args(LongDocuments))}"
        )
    return cast("LongDocuments", value)


CALL_OPTIONS: dict[str, Callable[[Any], Any]] = {
    "top_n": checked_top_n,
    "threshold": checked_threshold,
    "instruction": partial(checked_text, "instruction"),
    "timeout": checked_timeout,
    "long_documents": checked_long_documents,
}
"""What a call may set differently than the object, and what makes sure that it can be used."""
NO_LIMITS = ("instruction", "long_documents")
"""Those of which None does not mean that there is none, but that it stays as it is."""


def call_options(owner: object, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of one call: those `given`, checked, and for the rest what `owner` has.

    None lifts a limit of the owner; what is no limit, such as the instruction, it leaves as it is.

    Raises:
        InvalidInputError: a value that cannot be used, or an option that there is not.
    """
    if unknown := sorted(given.keys() - CALL_OPTIONS.keys()):
        raise unknown_name(unknown[0], "option of a call", CALL_OPTIONS)
    kept = {name: getattr(owner, name) for name in CALL_OPTIONS}
    set_here = {name: value for name, value in given.items() if value is not NOT_GIVEN}
    return kept | {
        name: CALL_OPTIONS[name](value)
        for name, value in set_here.items()
        if value is not None or name not in NO_LIMITS
    }
