"""One exception tree: what went wrong decides the class, the message says what to do about it.

```
RerankError
├── InvalidInputError        a query, document, option or setting that cannot be used (a ValueError)
│   ├── QueryTooLongError    query and instruction leave no room for a document
│   └── UnknownNameError     a setting or an option that does not exist (a TypeError)
├── ModelError               the checkpoint
│   ├── ModelNotFoundError   no such folder, or the hub has no such model or cannot be reached
│   ├── UnsupportedModelError  a checkpoint of another kind than Qwen3-Reranker
│   └── CorruptModelError    files missing, damaged or incomplete
├── MissingDependencyError   an optional package is not installed (an ImportError)
├── EngineError              the engine failed, or answered with something that is no score
│   ├── DocumentError        the engine fails at one document, and at no other
│   ├── EngineDeadError      the engine's process is gone; a new Reranker starts a new one
│   ├── SelfcheckError       the engine runs, and computes wrong scores
│   ├── ServerUnavailableError  no server answers in time, or only with faults; try again later
│   ├── AuthenticationError  the server wants another API key
│   └── UnsupportedServerError  the server answers, but cannot be asked for right scores
├── CacheFolderError         no folder for what is kept between runs can be written (an OSError)
├── RerankTimeoutError       the call took longer than its timeout (a TimeoutError)
└── RerankerClosedError      the Reranker was closed before or during the call
```
"""

from __future__ import annotations

import copy
from typing import TypeVar

E = TypeVar("E", bound=BaseException)


class RerankError(Exception):
    """Base of every error that this package raises on purpose."""


class InvalidInputError(RerankError, ValueError):
    """An argument that cannot be used; nothing was scored."""


class QueryTooLongError(InvalidInputError):
    """The instruction and the query alone leave no room for a document within `max_length`."""


class UnknownNameError(InvalidInputError, TypeError):
    """A setting or an option that does not exist; the message has the name that is nearest."""


class ModelError(RerankError):
    """The checkpoint cannot be used."""


class ModelNotFoundError(ModelError):
    """The folder does not exist, or the hub does not have the model or cannot be reached."""


class UnsupportedModelError(ModelError):
    """The checkpoint is not a Qwen3 reranker."""


class CorruptModelError(ModelError):
    """The checkpoint's files are missing, damaged or incomplete."""


class MissingDependencyError(RerankError, ImportError):
    """An optional package is needed and not installed."""


class EngineError(RerankError):
    """The engine failed, or returned something that is not a score."""


class DocumentError(EngineError):
    """The engine fails at one document, and scores the others."""

    def __init__(self, index: int, what: str) -> None:
        """Name it.

        Args:
            index: its place among the documents of the call.
            what: what it does, to follow its name in a sentence.
        """
        super().__init__(f"documents[{index}] {what}")
        self.index = index
        self.what = what

    def at(self, index: int) -> DocumentError:
        """The same of a document at another place."""
        return type(self)(index, self.what)

    def __reduce__(self) -> tuple[type[DocumentError], tuple[int, str]]:
        return type(self), (self.index, self.what)


class EngineDeadError(EngineError):
    """The engine's process is gone for good; a new Reranker starts another."""


class SelfcheckError(EngineError):
    """The engine runs, but did not give the answers that it must give; do not trust its scores."""


class ServerUnavailableError(EngineError):
    """No server could be reached, or none recovered from its faults in time; try again later."""


class AuthenticationError(EngineError):
    """The server refused the API key, or wants one."""


class UnsupportedServerError(EngineError):
    """The server answers, but cannot be asked in a way that gives right scores."""


class CacheFolderError(RerankError, OSError):
    """No folder can be written for what is constructed once and kept between runs."""


class RerankTimeoutError(RerankError, TimeoutError):
    """The call took longer than its `timeout`; its work was withdrawn from the engine."""


class RerankerClosedError(RerankError):
    """The Reranker was closed before the call, or while it was running."""


def described(error: BaseException) -> str:
    """The kind of a foreign error, and what it says."""
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def for_another_caller(error: E) -> E:
    """An error like `error`, since one object that several callers raise mixes up their stacks."""
    try:
        twin = copy.copy(error)
    except Exception:  # noqa: BLE001 - foreign errors that cannot be made from what they show
        return error
    twin.__cause__, twin.__suppress_context__ = error.__cause__, error.__suppress_context__
    return twin.with_traceback(error.__traceback__)
