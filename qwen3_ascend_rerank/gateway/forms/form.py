"""What a form is, and what all of them are turned into."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...results import RerankResult
from .fields import Fields

Json = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """What a request asks, whatever its form."""

    queries: Sequence[str]
    """One for all documents, or one for each."""
    documents: Sequence[str]
    model: str | None = None
    """The name by which the model was asked for."""
    instruction: str | None = None
    """None: the gateway's own."""
    top_n: int | None = None
    """None: all."""
    return_documents: bool = False
    """Whether the answer repeats the documents."""
    raw: bool = False
    """Whether the form's own score is the log-odds instead of P("yes")."""
    document_tokens: int | None = None
    """Tokens of a document beyond which it is cut; None: as many as there is room for."""
    long_documents: str | None = None
    """What becomes of a document that is too long; None: as the gateway has it."""
    comparable: bool = False
    """Whether all scores must be one model's, which those of a cascade are not."""
    cut: bool = True
    """Whether a document that is too long may be cut; if not, it is an error."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What an answer says beside the scores."""

    id: str
    """Of the request."""
    model: str
    """What the model is called here."""
    created: int
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no score."""

    status: int
    """Of HTTP."""
    kind: str
    """In one word, e.g. ``BadRequestError``."""
    reason: str
    """For a person."""
    retry_after: int | None = None
    """Seconds after which it may be tried again."""
    allow: str | None = None
    """The method by which this path is asked, where it was another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A shape of requests and answers."""

    name: str
    """What it is called; a path that begins with it asks for this form, whatever the body."""
    spoken_by: str
    """Whose clients send it."""
    routes: tuple[str, ...]
    """Ends of the paths that it comes on, without a version."""
    is_meant: Callable[[str, Fields], bool] = lambda _version, _fields: True
    """Whether a request on one of its routes is of this form, by its version and its body."""
    read: Callable[[Fields], Inquiry]
    """What is asked; raises InvalidInputError for what cannot be."""
    answer: Callable[[Inquiry, RerankResult, Stamp], Json]
    refuse: Callable[[Refusal, Stamp], Json]
