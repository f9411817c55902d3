"""In mteb: a task of our own in two stages, and what the model is told of it.

PYTHONPATH=.venv/mteb pytest tests/evaluation/test_mteb.py -m full
"""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qwen3_ascend_rerank import DEFAULT_INSTRUCTION, InvalidInputError, Reranker
from qwen3_ascend_rerank.corpora import Collection, Run
from qwen3_ascend_rerank.evaluation import evaluate
from qwen3_ascend_rerank.evaluation import mteb as ours
from qwen3_ascend_rerank.evaluation.mteb import MtebReranker, published_instructions, two_stage


class Recorded(Reranker):
    """Keeps what it was asked."""

    def rerank_many(self, requests: Any, **options: Any) -> Any:
        self.asked = list(requests)
        return super().rerank_many(self.asked, **options)


@pytest.fixture
def recorded() -> Any:
    with Recorded("lexical") as reranker:
        yield MtebReranker(reranker)


def metadata(name: str) -> Any:
    return SimpleNamespace(name=name)


def test_scores_are_log_odds_in_the_order_of_the_pairs(
    recorded: MtebReranker, lexical: Reranker
) -> None:
    queries = [{"text": ["a flour", "a flour"]}, {"text": ["b sea"]}]
    documents = [{"text": ["bread and flour", "snow"]}, {"text": ["the sea"]}]
    scores = recorded.predict(queries, documents, task_metadata=metadata("Own"))
    expected = [
        lexical.rerank(query, [text])[0].log_odds
        for query, text in (
            ("a flour", "bread and flour"),
            ("a flour", "snow"),
            ("b sea", "the sea"),
        )
    ]
    assert scores.tolist() == pytest.approx(expected, abs=1e-4)
    assert [len(one.documents) for one in recorded.reranker.asked] == [2, 1]


def test_the_query_is_the_query_and_the_instruction_its_own(recorded: MtebReranker) -> None:
    """mteb appends the instruction to ``text``."""
    queries = [
        {
            "text": ["who? find people", "who? find places", "who?"],
            "query": ["who?"] * 3,
            "instruction": ["find people", "find places", None],
        }
    ]
    recorded.predict(
        queries, [{"text": ["x", "y", "z"]}], task_metadata=metadata("News21InstructionRetrieval")
    )
    asked = recorded.reranker.asked
    assert {one.query for one in asked} == {"who?"}
    assert [one.instruction for one in asked] == [
        *("find people", "find places"),
        "Retrieval the relevant passage for the given query",
    ]


def test_no_task_inherits_the_instruction_of_another(recorded: MtebReranker) -> None:
    for task, expected in (
        (
            "SciFact",
            "Given a scientific claim, retrieve documents that support or refute the claim",
        ),
        ("SomethingElse", DEFAULT_INSTRUCTION),
    ):
        recorded.predict([{"text": ["q"]}], [{"text": ["d"]}], task_metadata=metadata(task))
        assert [one.instruction for one in recorded.reranker.asked] == [expected]


def test_own_instructions_replace_the_table(lexical: Reranker) -> None:
    own = MtebReranker(lexical, instructions={"Own": "Find it"})
    assert (own.instruction("Own"), own.instruction("SciFact")) == ("Find it", DEFAULT_INSTRUCTION)


def test_the_table_has_each_task_once_and_its_source() -> None:
    table = json.loads(
        Path(ours.__file__).with_name("instructions.json").read_text(encoding="utf-8")
    )
    tasks = [task for own in table["instructions"].values() for task in own]
    assert len(tasks) == len(set(tasks)) == len(published_instructions()) > 80
    assert "QwenLM/Qwen3-Embedding" in table["source"]


def test_a_device_is_an_option_of_the_engine_and_a_revision_is_refused() -> None:
    with MtebReranker("lexical", device="cpu", max_length=512).reranker as reranker:
        assert reranker.engine_options == {"device": "cpu"}
        assert reranker.max_length == 512
    with pytest.raises(InvalidInputError, match="revision is 'main'"):
        MtebReranker("lexical", "main")


# ---- with mteb --------------------------------------------------------------------------------


@pytest.fixture
def task(villages: Collection) -> Any:
    mteb = pytest.importorskip("mteb", reason="laid over by `make test-full`")
    datasets = pytest.importorskip("datasets")
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    class Villages(AbsTaskRetrieval):
        metadata = mteb.TaskMetadata(
            name="Villages",
            description="A small collection",
            reference=None,
            dataset={"path": "own/villages", "revision": "1"},
            type="Retrieval",
            category="t2t",
            modalities=["text"],
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="ndcg_at_10",
        )

        def load_data(self, **_: Any) -> None:
            corpus = [
                {"id": one.id, "title": one.title, "text": one.text}
                for one in villages.corpus.values()
            ]
            queries = [{"id": id_, "text": villages.queries[id_]} for id_ in villages.qrels]
            self.dataset = {
                "default": {
                    "test": {
                        "corpus": datasets.Dataset.from_list(corpus),
                        "queries": datasets.Dataset.from_list(queries),
                        "relevant_docs": villages.qrels,
                        "top_ranked": None,
                    }
                }
            }
            self.data_loaded = True

    return Villages()


@pytest.mark.full
@pytest.mark.filterwarnings("default")
def test_two_stages_give_what_evaluate_gives(
    task: Any, villages: Collection, run: Run, lexical: Reranker, tmp_path: Path
) -> None:
    import mteb
    from mteb.models.models_protocols import CrossEncoderProtocol

    model = MtebReranker(lexical)
    assert isinstance(model, CrossEncoderProtocol)
    with pytest.raises(InvalidInputError, match="has no predictions for Villages"):
        two_stage([task], tmp_path)
    judged = {query: hits for query, hits in run.items() if query in villages.qrels}
    predictions = {"mteb_model_meta": {}, "default": {"test": judged}}
    (tmp_path / "Villages_predictions.json").write_text(json.dumps(predictions))
    result = mteb.evaluate(model, two_stage([task], tmp_path, 4), cache=None)
    (found,) = result.task_results[0].scores["test"]

    expected = evaluate(villages, {"lexical": lexical}, run, top_k=4).rankings[1]
    mean = sum(expected.values["nDCG@10"].values()) / len(villages.qrels)
    assert found["ndcg_at_10"] == pytest.approx(mean, abs=1e-5)


@pytest.mark.full
@pytest.mark.filterwarnings("default")
def test_mteb_knows_which_model_it_is(lexical: Reranker) -> None:
    pytest.importorskip("mteb")
    assert MtebReranker(lexical).mteb_model_meta.name == "qwen3-ascend-rerank/lexical"
    with Reranker("Qwen/Qwen3-Reranker-0.6B") as real:
        meta = MtebReranker(real).mteb_model_meta
    assert (meta.name, meta.is_cross_encoder) == ("Qwen/Qwen3-Reranker-0.6B", True)
