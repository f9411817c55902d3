"""The doctor's findings, for a person and for a program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from rich.table import Table
from rich.text import Text

from ...doctor import SEVERITIES, Diagnosis, gravest
from ..screen import LONGEST_LINE, output

AREAS = {
    "npu": "NPU",
    "computer": "Computer",
    "software": "Software",
    "settings": "What would run",
    "trust": "Scores",
    "models": "Models",
    "server": "Server",
}
"""First part of `Diagnosis.check` → its heading."""

STYLES = {"ok": "green", "note": "cyan", "warning": "yellow", "problem": "bold red"}
PARTS = (("why", "why"), ("step", "next"), ("source", "source"))
"""Fields of a `Diagnosis` that stand below it, and what they are called there."""


def as_dict(diagnoses: Sequence[Diagnosis]) -> dict[str, Any]:
    """Everything, with the same keys in every release."""
    return {
        "worst": gravest(diagnoses),
        "counts": {name: _count(diagnoses, name) for name in SEVERITIES},
        "diagnoses": [asdict(diagnosis) for diagnosis in diagnoses],
    }


def print_diagnoses(diagnoses: Sequence[Diagnosis]) -> None:
    """Print them by area, each with why it matters and what to do."""
    console = output()
    for area, group in groupby(diagnoses, key=lambda each: each.check.partition(".")[0]):
        console.print(Text(AREAS[area], "bold"))
        console.print(_table(list(group)))
    console.print(_summary(diagnoses))


def _table(diagnoses: Sequence[Diagnosis]) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True, width=max(map(len, SEVERITIES)))
    table.add_column(overflow="fold")
    for diagnosis in diagnoses:
        sign = Text(diagnosis.severity, STYLES[diagnosis.severity])
        table.add_row(sign, _clean(diagnosis.found))
        for name, title in PARTS:
            if text := getattr(diagnosis, name):
                table.add_row("", Text.assemble((f"{title}: ", "dim"), _clean(text, name)))
    return table


def _clean(text: str, part: str = "") -> Text:
    """`text` with nothing that could steer the screen; it may come from a tool or a server."""
    words = " ".join(text[:LONGEST_LINE].split())
    return Text("".join(filter(str.isprintable, words)), "dim" if part == "source" else "")


def _summary(diagnoses: Sequence[Diagnosis]) -> Text:
    parts = [
        f"{count} {name}{'' if count == 1 else 's'}"
        for name in ("problem", "warning")
        if (count := _count(diagnoses, name))
    ]
    return Text(", ".join(parts) or "nothing wrong", STYLES[gravest(diagnoses)])


def _count(diagnoses: Sequence[Diagnosis], severity: str) -> int:
    return sum(diagnosis.severity == severity for diagnosis in diagnoses)
