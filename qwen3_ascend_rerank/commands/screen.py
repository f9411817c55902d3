"""What the commands show to a person, in one calm style."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from rich.console import Console
from rich.text import Text

from ..models.lexical import NAME as LEXICAL

LONGEST_LINE = 1000
"""Characters of a passage that can matter on a screen; the rest is not even looked at."""
EVEN = 0.5
"""The score that says "yes" and "no" alike."""


def output() -> Console:
    """Standard output."""
    return Console(highlight=False)


def messages() -> Console:
    """Standard error, for what is no result: errors and progress."""
    return Console(stderr=True, highlight=False)


def print_error(message: str) -> None:
    """One line on standard error."""
    line = Text.assemble(("error: ", "bold red"), (" ".join(message.split()), "red"))
    messages().print(line, soft_wrap=True)


def waiting(what: str) -> AbstractContextManager[object]:
    """A sign of life on standard error, if that is a terminal, while `what` takes its time."""
    console = messages()
    return console.status(Text(what, "dim")) if console.is_terminal else nullcontext()


def one_line(text: str, style: str = "") -> Text:
    """`text` as one line that is cut where the screen ends, with nothing that could steer it."""
    return Text(_printable(text), style, no_wrap=True, overflow="ellipsis")


def whole(text: str, style: str = "") -> Text:
    """`text` on as many lines as it takes, with nothing that could steer the screen."""
    return Text(_printable(text), style, overflow="fold")


def _printable(text: str) -> str:
    return "".join(filter(str.isprintable, " ".join(text[:LONGEST_LINE].split())))


def counted(count: int, what: str) -> str:
    """A number of things, one or more."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def score_line(score: float) -> Text:
    """A score with four digits, bright where it says "yes"."""
    return Text(f"{score:.4f}", "green" if score > EVEN else "dim")


def described_model(model: str | None) -> str:
    """The model's name, and what must be known beside it; None: whatever is served."""
    if model is None:
        return "the served model"
    return f"{model} (matches words; no language model)" if model == LEXICAL else model
