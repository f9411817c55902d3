"""A small collection of our own, with ties, a query without candidates and one without judges."""

from pathlib import Path

import pytest

from qwen3_ascend_rerank import Reranker
from qwen3_ascend_rerank.corpora import Collection, Run, read_collection, read_run
from qwen3_ascend_rerank.evaluation import Evaluation, evaluate

VILLAGES = Path(__file__).with_name("villages")


@pytest.fixture(scope="session")
def villages() -> Collection:
    return read_collection(VILLAGES)


@pytest.fixture(scope="session")
def run() -> Run:
    return read_run(VILLAGES / "run.txt")


@pytest.fixture(scope="session")
def evaluation(villages: Collection, run: Run, lexical: Reranker) -> Evaluation:
    return evaluate(
        villages,
        {"lexical": lexical},
        run,
        run_name="retriever",
        top_k=[2, 4],
        measures=["nDCG@10", "MRR@10", "MAP", "R@2", "P@2"],
        fusions=["rrf", "weighted:0.5", "weighted"],
    )
