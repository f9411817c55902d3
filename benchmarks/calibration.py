"""How well calibration keeps its promises, on XQuAD: BM25's candidates, scored by a model.

XQuAD (https://github.com/google-deepmind/xquad, CC BY-SA 4.0): a question's own paragraph is
relevant, what else BM25 finds is not. Half of the questions are the labels; the promised precision
is then looked for on the other half.

    git clone https://github.com/google-deepmind/xquad
    python -m benchmarks.calibration --data xquad --language en --questions 400
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

import bm25s

from qwen3_ascend_rerank import Reranker
from qwen3_ascend_rerank.calibration import examine, propose, scored
from qwen3_ascend_rerank.calibration.labels import JudgedPair, Labelled
from qwen3_ascend_rerank.results.calibration import METHODS

AIMS = (("precision", 0.8), ("precision", 0.9), ("recall", 0.9))


def judged(file: Path, language: str, questions: int, candidates: int) -> list[JudgedPair]:
    """The candidates of some questions, and the paragraph of each where BM25 missed it."""
    articles = json.loads(file.read_text(encoding="utf-8"))["data"]
    paragraphs = [one for article in articles for one in article["paragraphs"]]
    texts = [one["context"] for one in paragraphs]
    asked = [(place, qa["question"]) for place, one in enumerate(paragraphs) for qa in one["qas"]]
    chosen = random.Random(0).sample(asked, min(questions, len(asked)))
    index = bm25s.BM25()
    index.index(_words(texts, language), show_progress=False)
    queries = _words([query for _, query in chosen], language)
    found, _ = index.retrieve(queries, k=candidates, show_progress=False)
    return [
        JudgedPair(query, texts[place], place == own)
        for (own, query), places in zip(chosen, found.tolist(), strict=True)
        for place in dict.fromkeys([*places, own])
    ]


def _words(texts: list[str], language: str) -> Any:
    """Of each text; Chinese by character."""
    spaced = [" ".join(text) for text in texts] if language == "zh" else texts
    word = r"\w+"
    return bm25s.tokenize(spaced, token_pattern=word, show_progress=False)


def part(labelled: Labelled, queries: set[str]) -> Labelled:
    """Its pairs of some queries."""
    kept = [place for place, one in enumerate(labelled.queries) if one in queries]
    return Labelled(
        [labelled.log_odds[place] for place in kept],
        [labelled.relevant[place] for place in kept],
        [labelled.queries[place] for place in kept],
        labelled.model,
        labelled.instruction,
    )


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with xquad.<language>.json"
    )
    parser.add_argument("--language", default="en", choices=("en", "zh"))
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--model", default="lexical")
    given = parser.parse_args()
    rows = judged(
        given.data / f"xquad.{given.language}.json",
        given.language,
        given.questions,
        given.candidates,
    )
    with Reranker(given.model) as reranker:
        labelled = scored(rows, reranker)
    names = sorted(set(labelled.queries))
    random.Random(1).shuffle(names)
    labels, unseen = (part(labelled, set(names[half::2])) for half in (0, 1))
    print(f"XQuAD-{given.language}: {len(labels)} labels, {len(unseen)} pairs unseen")
    for method in METHODS:
        found = examine(labels, method=method)
        print(f"{method}: ECE {found.error_before:.3f} before, {found.error_after:.3f} after")
    for aim, wanted in AIMS:
        one = propose(labels.log_odds, labels.relevant, labels.queries, aim=aim, wanted=wanted)
        reached = [value >= one.log_odds for value in unseen.log_odds]
        hits = sum(a and b for a, b in zip(reached, unseen.relevant, strict=True))
        whole = sum(reached) if aim == "precision" else sum(unseen.relevant)
        value = hits / max(1, whole)
        inside = one.unseen.low <= value <= one.unseen.high
        print(
            f"{aim} {wanted:g}: threshold {one.threshold:.4f}, promised {one.unseen.low:.3f} to "
            f"{one.unseen.high:.3f}, unseen {value:.3f} ({'inside' if inside else 'OUTSIDE'})"
        )


if __name__ == "__main__":
    main()
