"""A collection reranked and measured: the figures are those of anyone who reads the files."""

import copy
from pathlib import Path
from typing import Any

import ir_measures
import pytest

from qwen3_ascend_rerank import CascadeReranker, InvalidInputError, Reranker
from qwen3_ascend_rerank.corpora import Collection, CorpusDocument, Run, read_run
from qwen3_ascend_rerank.evaluation import Evaluation, bm25, evaluate
from qwen3_ascend_rerank.evaluation.rankings import reranked
from qwen3_ascend_rerank.results.fusion import Fusion
from qwen3_ascend_rerank.testing import FakeEngine


def test_figures_are_those_of_files_that_are_read_again(
    evaluation: Evaluation, tmp_path: Path
) -> None:
    files = evaluation.write_runs(tmp_path)
    measures = [ir_measures.parse_measure(name) for name in evaluation.measures]
    assert [str(one) for one in measures] == ["nDCG@10", "RR@10", "AP", "R@2", "P@2"]
    qrels = list(ir_measures.read_trec_qrels(str(tmp_path / "qrels.txt")))
    assert len({one.query_id for one in qrels}) == 9
    figures = evaluation.to_dict()["rankings"]
    assert len(files) == len(figures) == 9  # the first stage, and two k with four fusions
    for file, ranking in zip(files, figures, strict=True):
        read = list(ir_measures.read_trec_run(str(file)))
        for measure, mean in ir_measures.calc_aggregate(measures, qrels, read).items():
            assert ranking["measures"][str(measure)]["mean"] == pytest.approx(mean, abs=1e-12)


def test_every_query_has_the_value_of_the_files(evaluation: Evaluation, tmp_path: Path) -> None:
    files = evaluation.write_runs(tmp_path)
    queries = evaluation.to_dict()["queries"]
    qrels = list(ir_measures.read_trec_qrels(str(tmp_path / "qrels.txt")))
    for place, file in enumerate(files):
        read = list(ir_measures.read_trec_run(str(file)))
        for number, name in enumerate(evaluation.measures):
            measure = ir_measures.parse_measure(name)
            found = {m.query_id: m.value for m in ir_measures.iter_calc([measure], qrels, read)}
            assert {one["id"]: one["values"][place][number] for one in queries} == found


def test_ties_of_the_first_stage_keep_the_order_of_its_file(
    evaluation: Evaluation, run: Run
) -> None:
    """Of equal scores trec_eval takes the greater id first, and MS MARCO's script the smaller."""
    for query, hits in evaluation.rankings[0].run.items():
        assert list(hits) == list(run[query])
    values = {one["id"]: one["values"][0] for one in evaluation.to_dict()["queries"]}
    assert values["q1"][1] == 0.5  # "bridge" is second of two with the same score
    assert values["q4"][1] == 0.5


def test_queries_without_candidates_count_0_and_those_without_judgements_not(
    evaluation: Evaluation,
) -> None:
    figures = evaluation.to_dict()
    assert figures["first_stage"]["queries_missing"] == 1
    values = {one["id"]: one["values"] for one in figures["queries"]}
    assert "q10" not in values
    assert values["q7"] == [[0.0] * 5] * 9
    assert all("q10" not in one.log_odds for one in evaluation.scored)
    # the only relevant documents of q7 and q8, and one of q5, are not among the candidates
    assert figures["first_stage"]["relevant_found"] == pytest.approx(10 / 13)


def test_a_greater_k_costs_what_the_smaller_one_cost_and_its_own(
    evaluation: Evaluation, lexical: Reranker, villages: Collection, run: Run
) -> None:
    small, large = (evaluation.scored[0].costs[k] for k in (2, 4))
    judged = {query: list(run[query]) for query in villages.qrels if query in run}
    assert small.pairs == sum(len(ids[:2]) for ids in judged.values())
    assert large.pairs == sum(len(ids) for ids in judged.values())
    tokens = sum(
        lexical.rerank(
            villages.queries[query], [villages.corpus[id_].whole for id_ in ids]
        ).usage.prompt_tokens
        for query, ids in judged.items()
    )
    assert large.tokens == tokens > small.tokens
    assert large.seconds > small.seconds > 0


def test_what_is_not_reranked_stays_below_in_its_order() -> None:
    run = {"q": {"a": 9.0, "b": 8.0, "c": 7.0, "d": 6.0}}
    log_odds = {"q": {"a": -3.0, "b": 2.0, "c": 2.0}}
    assert list(reranked(run, log_odds, 3)["q"]) == ["b", "c", "a", "d"]
    assert list(reranked(run, log_odds, 2)["q"]) == ["b", "a", "c", "d"]
    scores = list(reranked(run, log_odds, 3)["q"].values())
    assert scores == sorted(set(scores), reverse=True)
    fused = reranked(run, log_odds, 3, Fusion.of("weighted:0.1"))
    assert list(fused["q"]) == ["a", "b", "c", "d"]


def test_bm25_is_made_on_the_spot(villages: Collection, lexical: Reranker) -> None:
    found = bm25(villages, 3)
    assert list(found) == list(villages.qrels)
    assert next(iter(found["q1"])) == "bridge"
    assert next(iter(found["q6"])) == "渡口"
    assert all(len(hits) <= 3 for hits in found.values())
    made = evaluate(villages, {"lexical": lexical}, top_k=3)
    assert made.first_stage == "BM25"
    assert {query: hits for query, hits in found.items() if hits} == made.rankings[0].run


def test_equal_seeds_give_equal_figures(
    villages: Collection, run: Run, lexical: Reranker, evaluation: Evaluation
) -> None:
    def figures(seed: int) -> object:
        made = evaluate(villages, {"a": lexical}, run, top_k=[4], fusions=["weighted"], seed=seed)
        return [{**one, "cost": None} for one in made.to_dict()["rankings"]]

    assert figures(0) == figures(0)


def test_a_sample_is_drawn_of_the_judged_queries(
    villages: Collection, run: Run, lexical: Reranker
) -> None:
    def queries(**drawn: int) -> list[str]:
        made = evaluate(villages, {"a": lexical}, run, top_k=2, **drawn)
        return [one["id"] for one in made.to_dict()["queries"]]

    few = queries(sample=4)
    assert len(few) == 4
    assert few == queries(sample=4) != queries(sample=4, seed=1)
    assert set(few) < set(villages.qrels)
    assert queries(sample=1000) == list(villages.qrels)


def test_models_stand_side_by_side(villages: Collection, run: Run, lexical: Reranker) -> None:
    made = evaluate(villages, [("one", lexical), ("two", lexical)], run, top_k=[4])
    assert [made.named(one) for one in made.rankings] == ["first stage", "one, top 4", "two, top 4"]
    assert made.rankings[1].values == made.rankings[2].values
    with pytest.raises(InvalidInputError, match="two models are called 'one'"):
        evaluate(villages, [("one", lexical), ("one", lexical)], run, top_k=[4])


# -- cascades, and fields --------------------------------------------------------------------------


def by_length(query: str, document: str) -> float:
    return float(len(document) % 17)


def by_words(query: str, document: str) -> float:
    return float(len(document.split()) % 5)


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_a_cascade_has_the_order_of_a_cascade_reranker(
    keep: int, villages: Collection, run: Run
) -> None:
    small, large = Reranker(FakeEngine(by_length)), Reranker(FakeEngine(by_words))
    with small, large:
        made = evaluate(
            villages, {"small": small, "large": large}, run, top_k=4, cascades=[f"small:{keep}"]
        )
        ranking = made.rankings[-1]
        assert made.named(ranking) == f"small:{keep} → large, top 4"
        with CascadeReranker([(copy.copy(small), keep), copy.copy(large)]) as cascade:
            for query, hits in made.rankings[0].run.items():
                ids = list(hits)[:4]
                result = cascade.rerank(
                    villages.queries[query], [villages.corpus[id_].whole for id_ in ids]
                )
                assert list(ranking.run[query])[:4] == [ids[one.index] for one in result]


def test_a_cascade_costs_what_its_stages_cost(villages: Collection, run: Run) -> None:
    with Reranker(FakeEngine(by_length)) as small, Reranker(FakeEngine(by_words)) as large:
        made = evaluate(
            villages, {"s": small, "l": large}, run, top_k=[2, 4], cascades=["s:1", "s:2"]
        )
    judged = [len(hits) for hits in made.rankings[0].run.values()]
    costs = {(one.cascade, one.k): one.cost for one in made.rankings if one.cascade}
    assert costs.keys() == {("s:1", 2), ("s:1", 4), ("s:2", 4)}  # 2 of 2 would be all
    for (cascade, k), cost in costs.items():
        keep = int(cascade[-1])
        assert cost.pairs == sum(min(count, k) + min(count, keep) for count in judged)
    assert [made.named(one.against) for one in made.comparisons] == [
        "l, top 2", "l, top 4", "l, top 4",
    ]  # fmt: skip


def test_fields_are_before_the_text_or_nowhere(villages: Collection, run: Run) -> None:
    read: list[str] = []

    def score(query: str, document: str) -> float:
        read.append(document)
        return 1.0 if document.startswith("title: ") else -1.0

    with Reranker(FakeEngine(score)) as reranker:
        made = evaluate(villages, {"model": reranker}, run, top_k=2, metadata_fields="title")
    half = len(read) // 2
    candidates = {id_ for hits in made.rankings[0].run.values() for id_ in list(hits)[:2]}
    documents = [villages.corpus[id_] for id_ in candidates]
    assert set(read[:half]) == {one.text for one in documents}
    assert set(read[half:]) == {one.behind(["title"]) for one in documents}
    without, with_title = made.scored
    assert (without.name, with_title.name) == ("model without title", "model with title")
    for hits in with_title.log_odds.values():
        assert {id_: value > 0 for id_, value in hits.items()} == {
            id_: bool(villages.corpus[id_].title) for id_ in hits
        }


def test_a_field_beside_the_title_leaves_it_in_the_text() -> None:
    document = CorpusDocument("d", "Text.", "Title", {"year": 1999})
    assert document.without(["year"]) == "Title Text."
    assert document.behind(["year"]) == "year: 1999\n\nTitle Text."
    assert document.behind(["title", "year"]) == "title: Title\nyear: 1999\n\nText."


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"cascades": ["b:2"]}, "no model called 'b' before another one; the models are a, b"),
        ({"cascades": ["a:0"]}, "cascade has 'a:0'; give SMALL:KEEP"),
        ({"cascades": ["a:2,b:1"]}, "no model called 'a:2,b' before another one"),
        ({"cascades": [2]}, "cascades is 2"),
        (
            {"metadata_fields": ["title", "when"]},
            "metadata_fields names 'when', which no candidate",
        ),
    ],
)
def test_cascades_and_fields_that_cannot_be(
    options: dict[str, Any], told: str, villages: Collection, run: Run
) -> None:
    with Reranker(FakeEngine(by_length)) as one, Reranker(FakeEngine(by_words)) as other:
        for rerankers in ({"a": one, "b": other}, iter([("a", one), ("b", other)])):
            with pytest.raises(InvalidInputError, match=told):
                evaluate(villages, rerankers, run, top_k=2, **options)


def test_a_cascade_reranker_is_not_taken_for_one_model(villages: Collection, run: Run) -> None:
    stages = [(Reranker(FakeEngine(by_length)), 2), Reranker(FakeEngine(by_words))]
    with CascadeReranker(stages) as cascade:
        with pytest.raises(InvalidInputError, match="x is a cascade; pass its models"):
            evaluate(villages, {"x": cascade}, run, top_k=2)  # type: ignore[dict-item]


def test_one_query_alone_says_nothing_of_others(lexical: Reranker) -> None:
    corpus = {name: CorpusDocument(name, name) for name in ("snow", "bread")}
    one = Collection({"q": "bread"}, corpus, {"q": {"bread": 1}})
    made = evaluate(one, {"lexical": lexical}, {"q": {"snow": 2.0, "bread": 1.0}}, top_k=2)
    gain = made.rankings[1].gains["RR@10"]
    assert (gain.mean, gain.low, gain.high, gain.p) == (0.5, None, None, None)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"run": {}}, "first stage has no document for any of the 9 judged queries"),
        ({"run": {"q10": {"mill": 1.0}}}, "first stage has no document for any"),
        ({"run": {"q1": {"palace": 1.0}}}, "names the document 'palace', which the corpus has not"),
        ({"run": {"q77": {"mill": 1.0}}}, "names the query 'q77'"),
        ({"top_k": []}, "top_k is empty"),
        ({"top_k": [5, 0]}, "top_k is 0"),
        ({"measures": ["nDCG@10", "beauty"]}, "'beauty' is no measure that can be computed here"),
        ({"measures": ["alpha_nDCG@10"]}, "'alpha_nDCG@10' is no measure that can be"),
        ({"sample": 0}, "sample is 0"),
        ({"measures": []}, "no measure is given"),
        ({"fusions": ["magic"]}, "fusion is 'magic'"),
        ({"rerankers": {}}, "no model is given"),
    ],
)
def test_what_cannot_be_evaluated_is_said(
    villages: Collection, run: Run, lexical: Reranker, changed: dict, says: str
) -> None:
    given = {"rerankers": {"lexical": lexical}, "run": run, **changed}
    with pytest.raises(InvalidInputError, match=says):
        evaluate(villages, given.pop("rerankers"), given.pop("run"), **given)


def test_a_query_that_cannot_be_asked_is_named(villages: Collection, run: Run) -> None:
    with Reranker("lexical", max_length=55, selfcheck="off") as short:
        with pytest.raises(InvalidInputError, match=r"query 'q\d': "):
            evaluate(villages, {"short": short}, run, top_k=2)


def test_runs_that_were_written_are_runs_again(evaluation: Evaluation, tmp_path: Path) -> None:
    again = read_run(evaluation.write_runs(tmp_path)[1])
    assert {query: list(hits) for query, hits in again.items()} == {
        query: list(hits) for query, hits in evaluation.rankings[1].run.items()
    }
