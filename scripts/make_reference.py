"""Write the tables of docs/reference.md from the docstrings.

    python scripts/make_reference.py

Each table stands between two comments that name it, and is made anew; the rest of the page is
written by hand. The Chinese page has the same tables, translated; a test compares what they name.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import typer

from qwen3_ascend_rerank import (
    RankedDocument,
    Reranker,
    RerankError,
    RerankOutcome,
    RerankResult,
    Usage,
)
from qwen3_ascend_rerank.commands.program import app
from qwen3_ascend_rerank.components.settings import ENVIRONMENT_PREFIX, RerankSettings

PAGE = Path(__file__).parents[1] / "docs" / "reference.md"

METHODS = (
    *("rerank", "arerank", "score", "ascore", "score_pairs", "ascore_pairs"),
    *("rerank_many", "arerank_many", "start", "astart", "close", "aclose"),
)
FROM_ENVIRONMENT = frozenset(RerankSettings.model_fields)


def parameters() -> str:
    """Every parameter of the constructor."""
    signature, described = inspect.signature(Reranker.__init__), arguments(Reranker.__init__)
    rows = [
        (f"`{name}`", default(signature.parameters[name]), environment(name), text)
        for name, text in described.items()
    ]
    return table(("parameter", "default", "environment", "meaning"), rows)


def methods() -> str:
    """Every method that a user calls."""
    return table(("method", "does"), [(heading(name), first(name)) for name in METHODS])


def call_options() -> str:
    """The parameters of `rerank`."""
    rows = [(f"`{name}`", text) for name, text in arguments(Reranker.rerank).items()]
    return table(("parameter", "meaning"), rows)


def many_options() -> str:
    """The parameters of `rerank_many`."""
    rows = [(f"`{name}`", text) for name, text in arguments(Reranker.rerank_many).items()]
    return table(("parameter", "meaning"), rows)


def attributes(kind: type) -> Callable[[], str]:
    """A table of the fields and properties of a dataclass."""

    def made() -> str:
        rows = [(f"`{name}`", text) for name, text in described_fields(kind)]
        return table(("attribute", "meaning"), rows)

    return made


def errors() -> str:
    """Every exception, and what it is a kind of."""

    def below(kind: type[BaseException], depth: int = 0) -> Iterator[tuple[str, str]]:
        yield f"{'– ' * depth}`{kind.__name__}`", prose(inspect.getdoc(kind) or "")
        for each in sorted(kind.__subclasses__(), key=lambda one: one.__name__):
            if each.__module__ == RerankError.__module__:
                yield from below(each, depth + 1)

    return table(("error", "when"), list(below(RerankError)))


def commands() -> str:
    """Every command, in one line."""
    group: Any = typer.main.get_command(app)
    rows = [
        (f"`qwen3-rerank {name}`", prose((command.help or "").split("\n\n")[0]))
        for name, command in group.commands.items()
    ]
    return table(("command", "does"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "parameters": parameters,
    "methods": methods,
    "call options": call_options,
    "RerankResult": attributes(RerankResult),
    "RankedDocument": attributes(RankedDocument),
    "Usage": attributes(Usage),
    "rerank_many": many_options,
    "RerankOutcome": attributes(RerankOutcome),
    "errors": errors,
    "commands": commands,
}


def page(text: str) -> str:
    """`text` with every table made anew.

    Raises:
        ValueError: it lacks a table, or its comments.
    """
    for name, make in TABLES.items():
        pattern = re.compile(
            rf"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)", re.DOTALL
        )
        if not pattern.search(text):
            raise ValueError(f"the page has no place for {name}")
        content = make()
        text = pattern.sub(lambda found, content=content: f"{found[1]}{content}\n{found[2]}", text)
    return text


# ---- docstrings --------------------------------------------------------------------------------


def arguments(function: Any) -> dict[str, str]:
    """What the Args of a docstring say of each parameter."""
    text = inspect.getdoc(function) or ""
    section = text.partition("Args:\n")[2].partition("\n\n")[0]
    found = re.findall(r"^ {4}(\w+): (.*?)(?=^ {4}\w|\Z)", section, re.DOTALL | re.MULTILINE)
    return {name: prose(said) for name, said in found}


def described_fields(kind: type) -> Iterator[tuple[str, str]]:
    """Each field of a dataclass with the text below it, then each property."""
    source = inspect.getsource(kind)
    for one in fields(kind):
        said = re.search(
            rf'^    {one.name}: [^\n]*\n    """(.*?)"""', source, re.DOTALL | re.MULTILINE
        )
        yield one.name, prose(said[1] if said else "")
    for name, value in vars(kind).items():
        if isinstance(value, property):
            yield name, prose(inspect.getdoc(value) or "")


def first(name: str) -> str:
    """The first paragraph of a method's docstring."""
    return prose((inspect.getdoc(getattr(Reranker, name)) or "").split("\n\n")[0])


def heading(name: str) -> str:
    """A method as it is called."""
    names = [one for one in inspect.signature(getattr(Reranker, name)).parameters if one != "self"]
    awaited = "await " if inspect.iscoroutinefunction(getattr(Reranker, name)) else ""
    return f"`{awaited}{name}({', '.join(names)})`"


def default(parameter: inspect.Parameter) -> str:
    """A default value as it is written."""
    value = parameter.default
    if isinstance(value, str) and len(value) > 20:
        return "Qwen's, for web search"
    return f"`{value!r}`"


def environment(name: str) -> str:
    """The variable that sets it in the integrations and the commands."""
    return f"`{ENVIRONMENT_PREFIX}{name.upper()}`" if name in FROM_ENVIRONMENT else ""


def prose(text: str) -> str:
    """Text of a docstring for a cell of a table."""
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|")


def table(names: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    names = list(names)
    lines = [names, ["---"] * len(names), *map(list, rows)]
    return "\n".join(f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in lines)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print("made", PAGE)
