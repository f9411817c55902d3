"""Files of jobs, and what jobs wrote."""

import json
import random
from pathlib import Path
from typing import Any

from qwen3_ascend_rerank import Reranker

WORDS = ("bread", "capital", "city", "flour", "moon", "old", "river", "runs", "sea", "北京", "首都")

NOT_NICE = ("RAY_worker_niceness", "0")
"""Ray's workers step back for all other programs, unless this variable says otherwise."""


def write(file: Path, requests: list[Any]) -> str:
    """Requests as JSON lines; the file's name."""
    file.write_text("".join(json.dumps(one) + "\n" for one in requests))
    return str(file)


def lines(folder: Path, names: str = "part-*.jsonl") -> list[dict[str, Any]]:
    """What is in files of JSON lines, in the order of their names."""
    files = sorted(folder.glob(names))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def questions(count: int, documents: int = 3) -> list[dict[str, Any]]:
    """Requests of real words, no two alike."""
    chance = random.Random(count)
    return [
        {
            "id": f"q{number}",
            "query": f"{number} {' '.join(chance.choices(WORDS, k=4))}",
            "documents": [
                " ".join(chance.choices(WORDS, k=chance.randint(3, 30))) for _ in range(documents)
            ],
        }
        for number in range(count)
    ]


def reproducible() -> Reranker:
    """Of the lexical model; its scores are the same to the bit, whatever else it is asked."""
    return Reranker("lexical", engine="torch", engine_options={"reproducible": True})


def same_output(one: Path, other: Path) -> None:
    """Two jobs wrote the same, to the byte."""
    for pattern in ("part-*", "rejects-*"):
        names = sorted(file.name for file in other.glob(pattern))
        assert sorted(file.name for file in one.glob(pattern)) == names
        assert names
        for name in names:
            assert (one / name).read_bytes() == (other / name).read_bytes(), name
