"""Judged pairs that the lexical model can tell apart."""

import json
from pathlib import Path

THINGS = (
    *("Bread", "Glass", "Paper", "Steel", "Honey", "Silk"),
    *("Wine", "Soap", "Salt", "Rope", "Ink", "Beer"),
)


def write_labels(file: Path) -> Path:
    """48 pairs of 12 queries: a thing's own sentences are relevant, those of another are not."""
    with file.open("w", encoding="utf-8") as opened:
        for place, thing in enumerate(THINGS):
            other = THINGS[place - 1]
            for text, label in (
                (f"{thing} is made by hand.", 1),
                (f"How {thing} is made: slowly.", 1),
                (f"{other} is made by hand.", 0),
                (f"{other} was bought.", 0),
            ):
                row = {"query": f"how is {thing} made", "text": text, "label": label}
                opened.write(json.dumps(row) + "\n")
    return file
