"""The staff handbook of the Yunling Mountain Railway, which exists only here, and questions to it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "corpus"
"""Where the handbook is: Markdown, in English and in Chinese."""


@dataclass(frozen=True)
class Question:
    """A question, and words that only the passage with the answer has."""

    question: str
    gold: str

    def right(self, texts: list[str]) -> set[int]:
        """The index of the right passage in `texts`; nothing if it is not there."""
        return {index for index, text in enumerate(texts) if self.gold in text}

    def rank(self, texts: list[str]) -> int | str:
        """Where the right passage is in `texts`, from 1; a dash if it is not there."""
        return next((index + 1 for index in self.right(texts)), "-")


def questions() -> list[Question]:
    """The questions, English ones first."""
    text = (FOLDER / "questions.json").read_text(encoding="utf-8")
    return [Question(**one) for one in json.loads(text)]
