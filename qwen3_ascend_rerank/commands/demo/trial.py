"""The demo's passages and questions, and what becomes of a question."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import TypeAlias

Ranking: TypeAlias = list[tuple[int, float]]
"""Index and score of passages, best first."""

TOLERANCE = 1e-6
"""How far apart two doors' scores of one pair may be: by rounding, since they share an engine."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and the index of the one passage that answers it."""

    text: str
    gold: int


@dataclass(frozen=True, slots=True)
class Corpus:
    """The passages and the questions."""

    passages: list[str]
    questions: list[Question]


@dataclass(frozen=True, slots=True)
class Trial:
    """One question before and after reranking."""

    question: Question
    before: Ranking
    doors: Mapping[str, Ranking]
    """The ranking after, through each door."""

    @property
    def after(self) -> Ranking:
        """The ranking through the first door."""
        return next(iter(self.doors.values()))

    @property
    def agreed(self) -> bool:
        """Whether all doors gave the same order and, within `TOLERANCE`, the same scores."""
        return all(_same(self.after, ranking) for ranking in self.doors.values())

    def place(self, ranking: Ranking) -> int | None:
        """Where the gold passage is in `ranking`, from 1; None if it is not there."""
        found = [index for index, _ in ranking]
        return found.index(self.question.gold) + 1 if self.question.gold in found else None


def load_corpus() -> Corpus:
    """The passages and questions that come with the package."""
    text = resources.files(__package__).joinpath("corpus.json").read_text(encoding="utf-8")
    content = json.loads(text)
    return Corpus(
        content["passages"],
        [Question(one["question"], one["gold"]) for one in content["questions"]],
    )


def _same(one: Ranking, other: Ranking) -> bool:
    return len(one) == len(other) and all(
        index == its_index and abs(score - its_score) <= TOLERANCE
        for (index, score), (its_index, its_score) in zip(one, other, strict=True)
    )
