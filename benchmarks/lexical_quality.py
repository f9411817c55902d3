"""How well the lexical model tells the right passage from nine random others, on XQuAD.

XQuAD (https://github.com/google-deepmind/xquad, CC BY-SA 4.0) has 1,190 questions on 240
paragraphs, in several languages. A question's own paragraph is scored beside nine others drawn at
random, and so is the sentence with its answer beside a sentence of each of the others. Nothing of
the model was made from these texts.

    git clone https://github.com/google-deepmind/xquad
    python benchmarks/lexical_quality.py --data xquad
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
from dataclasses import dataclass
from pathlib import Path

from qwen3_ascend_rerank import Reranker

OTHERS = 9
_SENTENCE = {
    "en": re.compile(r".+?[.!?](?=\s|$)|.+$", re.DOTALL),
    "zh": re.compile(r".+?[。！？]|.+$", re.DOTALL),
}


@dataclass
class Question:
    """A question and its candidates, the right one first."""

    text: str
    passages: list[str]


def read_questions(file: Path, language: str, *, sentences: bool) -> list[Question]:
    """The questions of an XQuAD file with paragraphs, or single sentences, as candidates."""
    articles = json.loads(file.read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    contexts = [paragraph["context"] for paragraph in paragraphs]
    rng = random.Random(0)
    questions = []
    for place, paragraph in enumerate(paragraphs):
        elsewhere = contexts[:place] + contexts[place + 1 :]
        for qa in paragraph["qas"]:
            right, others = contexts[place], rng.sample(elsewhere, OTHERS)
            if sentences:
                find = _SENTENCE[language].finditer
                answer = qa["answers"][0]["answer_start"]
                right = next(found.group() for found in find(right) if answer < found.end())
                others = [rng.choice(list(find(other))).group() for other in others]
            questions.append(Question(qa["question"], [right, *others]))
    return questions


def score(reranker: Reranker, question: Question) -> list[float]:
    """Log-odds of every candidate, in order."""
    result = reranker.rerank(question.text, question.passages)
    return [document.log_odds for document in sorted(result, key=lambda one: one.index)]


def summarise(scores: list[list[float]]) -> str:
    """Top-1, MRR and the shares on the right side of 0, as cells of a table."""
    ranks = [1 + sum(other >= right for other in others) for right, *others in scores]
    figures = (
        sum(rank == 1 for rank in ranks) / len(ranks),
        sum(1 / rank for rank in ranks) / len(ranks),
        sum(right > 0 for right, *_ in scores) / len(scores),
        sum(other < 0 for _, *others in scores for other in others) / len(scores) / OTHERS,
    )
    return " | ".join(f"{figure:.3f}" for figure in figures)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder with xquad.en.json, ...")
    parser.add_argument("--dtype", default="float32", help="float32, bfloat16 or float16")
    parser.add_argument("--limit", type=int, help="use only every n-th question")
    options = parser.parse_args()

    print("| language | passages | questions | top-1 | MRR | right > 0 | others < 0 | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    with Reranker("lexical", engine_options={"dtype": options.dtype}) as reranker:
        reranker.start()
        for language in ("en", "zh"):
            for unit in ("paragraphs", "sentences"):
                file = options.data / f"xquad.{language}.json"
                questions = read_questions(file, language, sentences=unit == "sentences")
                questions = questions[:: options.limit]
                begin = time.perf_counter()
                cells = summarise([score(reranker, question) for question in questions])
                seconds = time.perf_counter() - begin
                print(f"| {language} | {unit} | {len(questions)} | {cells} | {seconds:.0f} |")


if __name__ == "__main__":
    main()
