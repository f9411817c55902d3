"""A stage of a Ray Data pipeline; with Ray itself where that is installed."""

from typing import Any

import pytest

from qwen3_ascend_rerank import Reranker
from qwen3_ascend_rerank.batch import Columns
from qwen3_ascend_rerank.batch.ray_data import RerankStage
from tests.support.batches import NOT_NICE

arrow = pytest.importorskip("pyarrow")

ROWS: list[dict[str, Any]] = [
    {"id": 1, "query": "capital of China", "documents": ["Bread", "Beijing is the capital"]},
    {"id": 2, "query": None, "documents": ["a"]},
    {"id": 3, "query": "moon", "documents": ["the moon", "the sea"]},
    {"id": 4, "query": "word " * 9000, "documents": ["a"]},
]


@pytest.fixture(scope="module")
def stage() -> RerankStage:
    return RerankStage({"model": "lexical"})


def right(rows: list[dict[str, Any]]) -> None:
    with Reranker("lexical") as reranker:
        for row in rows:
            if row["error"] is None:
                alone = reranker.rerank(row["query"], row["documents"])
                assert [one["index"] for one in row["results"]] == [one.index for one in alone]
                assert [one["score"] for one in row["results"]] == pytest.approx(
                    alone.scores, abs=1e-5
                )


def test_each_row_has_its_ranking_or_why_not(stage: RerankStage) -> None:
    table = stage(arrow.Table.from_pylist(ROWS))
    rows = table.to_pylist()
    assert [row["id"] for row in rows] == [1, 2, 3, 4]
    assert [row["error"] is None for row in rows] == [True, False, True, False]
    assert "query is None" in rows[1]["error"]
    assert rows[3]["results"] is None
    right(rows)


def test_tables_have_one_schema_whatever_is_in_them(stage: RerankStage) -> None:
    tables = [stage(arrow.Table.from_pylist(rows)) for rows in (ROWS[:1], ROWS[1:2])]
    for name in ("results", "error"):
        assert tables[0].schema.field(name) == tables[1].schema.field(name)


def test_columns_have_the_names_that_they_are_given() -> None:
    stage = RerankStage({"model": "lexical"}, Columns(query="q", documents="passages"))
    (row,) = stage(
        arrow.Table.from_pylist([{"q": "moon", "passages": ["sea", "moon"]}])
    ).to_pylist()
    assert row["results"][0]["index"] == 1


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")
def test_on_ray_with_two_actors(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    monkeypatch.setenv(*NOT_NICE)
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=200_000_000)
    try:
        many = [{**ROWS[n % 4], "id": n} for n in range(64)]
        ranked = ray.data.from_items(many).map_batches(
            RerankStage,
            fn_constructor_kwargs={"settings": {"model": "lexical"}},
            batch_format="pyarrow",
            batch_size=8,
            concurrency=2,
            num_cpus=1,
        )
        rows = ranked.take_all()
    finally:
        ray.shutdown()
    assert sorted(row["id"] for row in rows) == list(range(64))
    assert sum(row["error"] is None for row in rows) == 32
    right(rows)
