"""Measure what the model's authors report: mteb's retrieval tasks in two stages.

The first stage is Qwen3-Embedding-0.6B, of which the first 100 documents of each query are
reranked, under the instruction of each task. What is reported, and how it was measured, is in
docs/published-scores.md.

    pip install mteb sentence-transformers
    python benchmarks/published_scores.py --model Qwen/Qwen3-Reranker-0.6B --tasks NFCorpus SciFact
    python benchmarks/published_scores.py --model Qwen/Qwen3-Reranker-4B --benchmark "MTEB(eng, v2)"

Predictions of the first stage are kept in --folder, and used again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import mteb

from qwen3_ascend_rerank import Reranker
from qwen3_ascend_rerank.evaluation.mteb import TOP_K, MtebReranker, two_stage
from qwen3_ascend_rerank.evaluation.published import PublishedPrompt

FIRST_STAGE = "Qwen/Qwen3-Embedding-0.6B"


def main() -> None:
    """Print the main score of each task, and their mean."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="Qwen/Qwen3-Reranker-0.6B")
    parser.add_argument("--first-stage", default=FIRST_STAGE, help="an embedding model of mteb's")
    parser.add_argument("--tasks", nargs="+", help="names of retrieval tasks")
    parser.add_argument("--benchmark", help='all retrieval tasks of one, e.g. "MTEB(eng, v2)"')
    parser.add_argument("--prompt", choices=("card", "published"), default="card")
    parser.add_argument("--top-k", type=int, default=TOP_K)
    parser.add_argument("--folder", type=Path, default=Path("published-scores"))
    parser.add_argument("--engine-options", type=json.loads, default={}, help="as JSON")
    options = parser.parse_args()

    if options.benchmark:
        chosen = mteb.get_benchmark(options.benchmark).tasks
    else:
        chosen = mteb.get_tasks(tasks=options.tasks or ["NFCorpus"])
    tasks = [task for task in chosen if task.metadata.type == "Retrieval"]

    predictions = options.folder / options.first_stage.replace("/", "--")
    missing = [task for task in tasks if not (predictions / task.prediction_file_name).is_file()]
    if missing:
        first = mteb.get_model(options.first_stage)
        mteb.evaluate(first, missing, prediction_folder=predictions, cache=None)

    with Reranker(options.model, engine_options=options.engine_options) as reranker:
        other = PublishedPrompt(reranker) if options.prompt == "published" else None
        asked = Reranker(other) if other else reranker
        result = mteb.evaluate(
            MtebReranker(asked), two_stage(tasks, predictions, options.top_k), cache=None
        )
    scores = {one.task_name: one.get_score() for one in result.task_results}
    for name, score in scores.items():
        print(f"{name:<40} {100 * score:6.2f}")
    print(f"{'mean':<40} {100 * sum(scores.values()) / len(scores):6.2f}")


if __name__ == "__main__":
    main()
