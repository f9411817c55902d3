"""Every property of a LangChain reranker, each on the real Reranker around a fake engine."""

from __future__ import annotations

import asyncio
import copy
import inspect
import logging
import math
import pickle
import threading
import time
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.load import dumps, loads
from langchain_core.runnables import ConfigurableField, RunnableLambda
from langchain_qwen3_ascend_rerank import Qwen3AscendRerank
from pydantic import ValidationError

from qwen3_ascend_rerank import (
    DEFAULT_INSTRUCTION,
    DEFAULT_MODEL,
    CascadeReranker,
    EngineError,
    InvalidInputError,
    Reranker,
    RerankerClosedError,
    RerankTimeoutError,
)
from qwen3_ascend_rerank.testing import FakeEngine

QUERY = "what is the answer?"


def ids(documents: list[Document]) -> list[str | None]:
    return [document.id for document in documents]


def asked(documents: list[Document]) -> dict[str, Any]:
    return {"query": QUERY, "documents": documents}


def compressed(compressor, documents, way) -> list[Document]:
    if way == "sync":
        return compressor.compress_documents(documents, QUERY)
    return asyncio.run(compressor.acompress_documents(documents, QUERY))


# -- the ranking -----------------------------------------------------------------------------------


def test_the_best_document_comes_first(compressor, documents):
    assert ids(compressor.compress_documents(documents, QUERY)) == ["b", "g", "p"]


def test_the_score_is_the_probability_that_the_core_gives(compressor, documents):
    ranked = compressor.compress_documents(documents, QUERY)
    scores = [document.metadata["relevance_score"] for document in ranked]
    texts = [document.page_content for document in ranked]
    assert scores == compressor.reranker.score(QUERY, texts)
    assert scores == pytest.approx([1 / (1 + math.exp(-x)) for x in (4, 0, -4)])


FIELDS = [
    Document("It needs flour.", metadata={"title": "Bread", "tags": ["food", "old"]}),
    Document("It is large.", metadata={"title": "Beijing", "tags": None}),
    Document("It is a capital."),
]


@pytest.mark.parametrize("fields", ["title, tags", ["title", "tags"]])
def test_chosen_metadata_is_read_before_the_text_and_changes_no_document(fields):
    read = [
        "title: Bread\ntags: food, old\n\nIt needs flour.",
        "title: Beijing\n\nIt is large.",
        "It is a capital.",
    ]
    with Qwen3AscendRerank(model="lexical", metadata_fields=fields) as compressor:
        found = compressor.compress_documents(FIELDS, "Bread")
        expected = compressor._core.rerank("Bread", read)
    assert [one.metadata["relevance_score"] for one in found] == expected.scores
    assert found[0].page_content == "It needs flour."


def test_a_full_prompt_keeps_the_fields_and_the_exact_budget():
    long = Document("word " * 5000, metadata={"title": "Bread"})
    with Qwen3AscendRerank(model="lexical", metadata_fields="title", max_length=128) as compressor:
        kept = compressor.compress_documents([long], "Bread")[0].metadata["relevance_score"]
        compressor.metadata_fields = None
        without = compressor.compress_documents([long], "Bread")[0].metadata["relevance_score"]
        usage = compressor._core.rerank("Bread", ["title: Bread\n\n" + "word " * 5000]).usage
    assert kept > without
    assert (usage.prompt_tokens, usage.documents_truncated) == (128, 1)


def test_fields_that_are_no_names_are_refused():
    with pytest.raises(ValueError, match="metadata_fields is "):
        Qwen3AscendRerank(model="lexical", metadata_fields=["title", "title"])
    compressor = Qwen3AscendRerank(model="lexical")
    with pytest.raises(InvalidInputError, match="metadata_fields"):
        compressor.metadata_fields = "title,,date"


FOUND = [
    Document("China is large.", id="0", metadata={"bm25": 9}),
    Document("The capital of China is Beijing.", id="1", metadata={"bm25": 1.0}),
    Document("Bread needs flour.", id="2", metadata={"bm25": 5.0}),
]


def order(compressor, documents=FOUND, **options):
    found = compressor.compress_documents(documents, "capital of China", **options)
    return [int(one.id) for one in found]


def test_the_retrievers_score_counts_where_it_is_asked_to():
    with Qwen3AscendRerank(model="lexical", score_field="bm25", fusion="weighted:1") as compressor:
        assert order(compressor) == [1, 0, 2]
        compressor.fusion = "weighted:0"
        assert order(compressor) == [0, 2, 1]
        assert order(compressor, top_n=2) == [0, 2]
        compressor.fusion = "rrf:0"  # 1 + 1/3 and 1/2 + 1/1 and 1/3 + 1/2
        assert order(compressor) == [0, 1, 2]
        compressor.fusion = None
        assert order(compressor) == [1, 0, 2]


def test_ranks_need_no_scores_but_the_order_of_the_documents():
    mine = [FOUND[2], FOUND[0], FOUND[1]]
    with Qwen3AscendRerank(model="lexical", fusion="rrf:0") as compressor:
        # The model has 1, 0, 2, the documents came as 2, 0, 1: 4/3, 1 and 4/3.
        assert order(compressor, mine) == [2, 1, 0]
        found = asyncio.run(compressor.acompress_documents(mine, "capital of China"))
        assert ids(found) == ["2", "1", "0"]


def test_a_fused_order_has_the_models_scores_and_threshold():
    with Qwen3AscendRerank(model="lexical", score_field="bm25", fusion="weighted:0") as compressor:
        found = compressor.compress_documents(FOUND, "capital of China")
        scores = {one.id: one.metadata["relevance_score"] for one in found}
        assert list(scores) == ["0", "2", "1"]
        compressor.fusion = None
        alone = compressor.compress_documents(FOUND, "capital of China")
        assert scores == {one.id: one.metadata["relevance_score"] for one in alone}
        compressor.fusion = "weighted:0"
        assert order(compressor, threshold=scores["0"]) == [0, 1]
        assert order(compressor, threshold=scores["0"], top_n=1) == [0]


@pytest.mark.parametrize("score", [None, "9", float("nan"), True])
def test_a_score_that_is_missing_is_an_error_whatever_a_failure_becomes(score):
    documents = [*FOUND, Document("Salt.", metadata={} if score is None else {"bm25": score})]
    with Qwen3AscendRerank(
        model="lexical", fusion="rrf", score_field="bm25", on_failure="keep_order"
    ) as compressor:
        with pytest.raises(InvalidInputError, match=r"document 3 has .* as 'bm25' of its metadata"):
            compressor.compress_documents(documents, "capital of China")


def test_fusion_that_cannot_be_is_refused_at_once():
    with pytest.raises(ValueError, match="fusion is 'mean'"):
        Qwen3AscendRerank(model="lexical", fusion="mean")
    with pytest.raises(ValueError, match="pass score_field"):
        Qwen3AscendRerank(model="lexical", fusion="weighted:0.5")
    compressor = Qwen3AscendRerank(model="lexical")
    with pytest.raises(InvalidInputError, match="pass score_field"):
        compressor.fusion = "weighted:0.5"
    copied = compressor.model_copy(update={"fusion": "weighted:0.5", "score_field": "bm25"})
    copied.score_field = None
    with pytest.raises(InvalidInputError, match="pass score_field"):
        copied.compress_documents(FOUND, "capital of China")
    with pytest.raises(ValueError, match="which cannot be compared; use rrf"):
        Qwen3AscendRerank(
            model="lexical", cascade="lexical:1", fusion="weighted:0.5", score_field="bm25"
        )


def test_a_cascade_is_a_setting_and_goes_with_pickles():
    with Qwen3AscendRerank(model="lexical", cascade="lexical:2", fusion="rrf") as compressor:
        found = compressor.compress_documents(FOUND, "capital of China")
        assert sorted(one.metadata["relevance_stage"] for one in found) == [1, 2, 2]
        assert found[0].metadata["relevance_stage"] == 2
        assert pickle.loads(pickle.dumps(compressor)).cascade == ["lexical:2"]
        with pytest.raises(InvalidInputError, match="cascade"):
            compressor.cascade = None


CALIBRATION = {
    "form": "qwen3-rerank calibration",
    "version": 1,
    "method": "platt",
    "slope": 0.5,
    "intercept": -1.0,
    "model": "lexical",
    "instruction": DEFAULT_INSTRUCTION,
}


def test_calibrated_relevance_stands_beside_the_score_and_goes_with_it(documents):
    mine = [one.model_copy(update={"metadata": {"relevance": "mine"}}) for one in documents]
    with Qwen3AscendRerank(model="lexical", calibration=CALIBRATION) as compressor:
        first = compressor.compress_documents(documents, QUERY)
    with Qwen3AscendRerank(model="lexical") as plain:
        again, kept = (plain.compress_documents(some, QUERY) for some in (first, mine))
    for one in first:
        score = one.metadata["relevance_score"]
        log_odds = math.log(score / (1 - score))
        expected = 1 / (1 + math.exp(1 - log_odds / 2))
        assert one.metadata["relevance"] == pytest.approx(expected, abs=1e-6)
    assert all("relevance" not in one.metadata for one in again)
    assert all(one.metadata["relevance"] == "mine" for one in kept)


def test_a_calibration_for_another_instruction_is_refused():
    with pytest.raises(ValueError, match="calibration is for the instruction"):
        Qwen3AscendRerank(model="lexical", calibration=CALIBRATION, instruction="Another.")


def test_documents_with_equal_scores_keep_their_order(compressor):
    documents = [Document("good one", id=str(index)) for index in range(20)]
    assert ids(compressor.compress_documents(documents, QUERY)) == ids(documents)


def test_equal_documents_are_scored_once_and_all_returned(compressor, engine):
    texts = {"1": "good one", "2": "best", "3": "good one"}
    documents = [Document(text, id=name) for name, text in texts.items()]
    assert ids(compressor.compress_documents(documents, QUERY)) == ["2", "1", "3"]
    assert len(engine.pairs) == 2


def test_no_documents_give_no_documents_and_load_nothing(compressor, engine):
    assert compressor.compress_documents([], QUERY) == []
    assert asyncio.run(compressor.acompress_documents([], QUERY)) == []
    assert engine.starts == 0


def test_an_empty_text_is_ranked_like_any_other(compressor):
    documents = [Document("", id="empty"), Document("best", id="b")]
    assert ids(compressor.compress_documents(documents, QUERY)) == ["b", "empty"]


def test_a_long_document_loses_its_tail_for_the_model_only(make, engine):
    reranker = Reranker(engine, max_length=120)
    compressor = Qwen3AscendRerank(reranker=reranker)
    [ranked] = compressor.compress_documents([Document("best " + "word " * 500)], QUERY)
    assert ranked.page_content == "best " + "word " * 500
    assert len(engine.pairs[0][1]) < 1000
    reranker.close()


# -- what happens to a document --------------------------------------------------------------------


def test_ids_metadata_and_type_survive(compressor):
    class Page(Document):
        number: int = 0

    [ranked] = compressor.compress_documents(
        [Page(page_content="best", id="x", number=7, metadata={"source": "b.md"})], QUERY
    )
    assert (ranked.id, ranked.metadata["source"]) == ("x", "b.md")
    assert isinstance(ranked, Page)
    assert ranked.number == 7


def test_the_documents_passed_in_are_not_touched(compressor, documents):
    before = copy.deepcopy(documents)
    first = compressor.compress_documents(documents, QUERY)
    compressor.compress_documents(documents, "another question")
    assert documents == before
    assert not {id(one) for one in first} & {id(one) for one in documents}
    assert not {id(one.metadata) for one in first} & {id(one.metadata) for one in documents}


def test_the_retrievers_score_is_kept_beside_the_new_one(compressor, documents):
    b, g, p = compressor.compress_documents(documents, QUERY)
    assert b.metadata["retrieval_score"] == 0.25
    assert p.metadata["retrieval_score"] == p.metadata["score"] == 9.5
    assert "retrieval_score" not in g.metadata


def test_a_second_rerank_keeps_the_retrievers_score(compressor, documents):
    once = compressor.compress_documents(documents, QUERY)
    twice = compressor.compress_documents(once, QUERY)
    assert [one.metadata.get("retrieval_score") for one in twice][::2] == [0.25, 9.5]
    assert twice[0] == once[0]


# -- options ---------------------------------------------------------------------------------------


def test_top_n_cuts_the_result(make, engine, documents):
    assert ids(make(engine, top_n=2).compress_documents(documents, QUERY)) == ["b", "g"]


def test_the_threshold_is_inclusive_and_comes_before_top_n(make, engine, documents):
    compressor = make(engine, threshold=0.5)
    assert ids(compressor.compress_documents(documents, QUERY)) == ["b", "g"]
    assert ids(compressor.compress_documents(documents, QUERY, top_n=1)) == ["b"]
    assert ids(compressor.compress_documents(documents, QUERY, threshold=0.51, top_n=2)) == ["b"]


def test_every_option_can_be_set_for_one_call(make, engine, documents):
    compressor = make(engine, top_n=3)
    assert ids(compressor.compress_documents(documents, QUERY, top_n=1)) == ["b"]
    assert ids(compressor.invoke(asked(documents), top_n=1)) == ["b"]
    assert ids(compressor.bind(top_n=1).invoke(asked(documents))) == ["b"]
    assert ids(asyncio.run(compressor.ainvoke(asked(documents), threshold=0.9))) == ["b"]
    assert len(compressor.compress_documents(documents, QUERY)) == 3
    with pytest.raises(RerankTimeoutError):
        compressor.compress_documents(documents, "a new question", timeout=1e-9)


def test_the_instruction_reaches_the_prompt(make, engine, documents):
    make(engine).compress_documents(documents, QUERY)
    make(engine, instruction="Find recipes").compress_documents(documents, QUERY)
    make(engine).compress_documents(documents, QUERY, instruction="Find laws")
    assert engine.instructions == [DEFAULT_INSTRUCTION, "Find recipes", "Find laws"]


def test_options_come_through_the_config_of_a_chain(make, engine, documents):
    compressor = make(engine, top_n=3)
    config = {"configurable": {"rerank_top_n": 2, "rerank_instruction": "Find laws"}}
    inside = RunnableLambda(lambda found: compressor.compress_documents(found, QUERY))
    assert ids(compressor.invoke(asked(documents), config)) == ["b", "g"]
    assert ids(inside.invoke(documents, config)) == ["b", "g"]
    assert ids(asyncio.run(compressor.ainvoke(asked(documents), config))) == ["b", "g"]
    assert ids(compressor.invoke(asked(documents), config, top_n=1)) == ["b"]
    assert set(engine.instructions) == {"Find laws"}


def test_an_option_misspelt_in_the_config_is_warned_of(compressor, documents, caplog):
    config = {"configurable": {"rerank_topn": 1, "rerank_colour": "red", "thread_id": "1"}}
    for _ in range(2):
        assert len(compressor.invoke(asked(documents), config)) == 3
    assert [record.message for record in caplog.records] == [
        "rerank_topn under configurable is not read; did you mean rerank_top_n?"
    ]


def test_an_assigned_field_counts_from_the_next_call_on(loaded, documents):
    with Qwen3AscendRerank(model="lexical", top_n=1) as compressor:
        assert len(compressor.compress_documents(documents, QUERY)) == 1
        compressor.top_n = None
        assert len(compressor.compress_documents(documents, QUERY)) == 3


def test_none_lifts_a_limit_for_one_call(make, engine, documents):
    compressor = make(engine, top_n=1, threshold=0.9)
    assert ids(compressor.compress_documents(documents, QUERY)) == ["b"]
    lifted = compressor.compress_documents(documents, QUERY, top_n=None, threshold=None)
    assert ids(lifted) == ["b", "g", "p"]
    config = {"configurable": {"rerank_top_n": None, "rerank_threshold": None}}
    assert ids(compressor.invoke(asked(documents), config)) == ["b", "g", "p"]
    assert ids(compressor.invoke(asked(documents), config, top_n=2)) == ["b", "g"]


def test_what_chose_the_engine_cannot_be_assigned(documents):
    compressor = Qwen3AscendRerank(model="lexical")
    for name, value in {"max_length": 100, "model": "other", "api_key": "k", "engine": "x"}.items():
        with pytest.raises(InvalidInputError, match=f"{name} of a Qwen3AscendRerank cannot"):
            setattr(compressor, name, value)
    with pytest.raises(InvalidInputError, match="top_n is 0"):
        compressor.top_n = 0
    compressor.name = "reranker"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_n": 0}, "top_n is 0"),
        ({"threshold": 1.5}, "threshold is 1.5"),
        ({"timeout": 0}, "timeout is 0"),
        ({"instruction": " "}, "instruction is ' '"),
    ],
)
def test_a_wrong_option_is_named(compressor, documents, options, message):
    with pytest.raises(InvalidInputError, match=message):
        compressor.compress_documents(documents, QUERY, **options)
    with pytest.raises(ValidationError, match=message):
        Qwen3AscendRerank(**options)


def test_an_unknown_option_is_refused(compressor, documents):
    with pytest.raises(TypeError, match="topn is no option of a call; did you mean top_n"):
        compressor.compress_documents(documents, QUERY, topn=1)
    with pytest.raises(ValidationError, match="topn is no setting .* did you mean top_n"):
        Qwen3AscendRerank(topn=1)


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            ["x"],
            r"documents\[0\] is 'x' \(str\); pass LangChain's Documents: Document\(page_content",
        ),
        ([Document("a"), None], r"documents\[1\] is None \(NoneType\)"),
        ([Document("a"), {"page_content": "b"}], r"documents\[1\] is .* \(dict\)"),
        ("x", r"documents is 'x' \(str\); pass a list"),
        ({"a": Document("b")}, r"documents is .* \(dict\); pass a list"),
        (Document("a"), r"documents is Document.* \(Document\); pass a list"),
        (None, r"documents is None \(NoneType\); pass a list"),
    ],
)
def test_what_is_no_document_is_named(compressor, engine, way, wrong, message):
    with pytest.raises(InvalidInputError, match=message):
        compressed(compressor, wrong, way)
    assert engine.starts == 0


def test_documents_may_come_one_by_one(compressor, documents):
    assert ids(compressor.compress_documents(iter(documents), QUERY)) == ["b", "g", "p"]


def test_a_model_by_position_is_told_its_name():
    with pytest.raises(InvalidInputError, match="by name; pass model='lexical'"):
        Qwen3AscendRerank("lexical")


@pytest.mark.parametrize(
    "wrong", ["text", {"query": "q"}, None, {"query": "q", "documents": ["a"]}]
)
def test_input_of_another_shape_is_named(compressor, wrong):
    with pytest.raises(InvalidInputError, match="pass"):
        compressor.invoke(wrong)


# -- a Runnable ------------------------------------------------------------------------------------


def test_it_is_a_runnable_in_every_way(compressor, documents):
    async def all_of_it() -> list[list[Document]]:
        return [
            await compressor.ainvoke(asked(documents)),
            *await compressor.abatch([asked(documents)] * 2),
            *[chunk async for chunk in compressor.astream(asked(documents))],
        ]

    answers = [
        compressor.invoke(asked(documents)),
        *compressor.batch([asked(documents)] * 2),
        *compressor.stream(asked(documents)),
        *asyncio.run(all_of_it()),
    ]
    assert len(answers) == 8
    assert all(answer == answers[0] for answer in answers)


def test_its_schemas_name_query_and_documents(compressor):
    schema = compressor.get_input_jsonschema()
    assert set(schema["$defs"]["RerankInput"]["required"]) == {"query", "documents"}
    assert compressor.get_output_jsonschema()["type"] == "array"
    assert "reranker" not in Qwen3AscendRerank.model_json_schema()["properties"]


def test_its_fields_are_configurable(compressor, documents):
    configurable = compressor.configurable_fields(top_n=ConfigurableField(id="how_many"))
    config = {"configurable": {"how_many": 1}}
    assert ids(configurable.invoke(asked(documents), config)) == ["b"]


def test_it_can_be_retried(make, make_engine, documents):
    engine = make_engine(error=OSError("the card fell off the bus"))
    retried = make(engine).with_retry(
        retry_if_exception_type=(EngineError,), stop_after_attempt=3, wait_exponential_jitter=False
    )
    with pytest.raises(EngineError, match="fell off the bus"):
        retried.invoke(asked(documents))
    assert len(engine.instructions) == 3


def test_a_pipeline_sees_that_it_takes_callbacks(compressor):
    for method in (compressor.compress_documents, compressor.acompress_documents):
        assert "callbacks" in inspect.signature(method).parameters


# -- async, threads and loops ----------------------------------------------------------------------


def test_async_calls_run_side_by_side_without_threads(make, make_engine, documents):
    compressor = make(make_engine(seconds=0.3))

    async def many() -> int:
        await compressor.astart()
        calls = [compressor.acompress_documents(documents, f"question {n}") for n in range(100)]
        waiting = asyncio.gather(*calls)
        await asyncio.sleep(0.15)
        during = threading.active_count()
        await waiting
        return during

    before = threading.active_count()
    began = time.perf_counter()
    during = asyncio.run(many())
    assert time.perf_counter() - began < 25  # one after another: 30 seconds
    assert during < before + 40  # those of the core's tokenizer pool, not one a call


def test_one_object_serves_several_loops_and_threads(compressor, documents):
    answers: list[list[str | None]] = []

    def in_a_loop_of_its_own() -> None:
        answers.append(ids(asyncio.run(compressor.acompress_documents(documents, QUERY))))

    def in_a_thread() -> None:
        answers.append(ids(compressor.compress_documents(documents, QUERY)))

    threads = [threading.Thread(target=t) for t in (in_a_loop_of_its_own, in_a_thread) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [["b", "g", "p"]] * 8


def test_a_cancelled_call_ends_at_once(make, make_engine, documents):
    compressor = make(make_engine(seconds=30))

    async def cancelled() -> None:
        await asyncio.wait_for(compressor.acompress_documents(documents, QUERY), 0.2)

    began = time.perf_counter()
    with pytest.raises((TimeoutError, asyncio.TimeoutError)):
        asyncio.run(cancelled())
    assert time.perf_counter() - began < 25


# -- failure ---------------------------------------------------------------------------------------


def test_failures_are_raised(make, make_engine, documents):
    compressor = make(make_engine(error=OSError("gone")))
    with pytest.raises(EngineError, match="gone"):
        compressor.compress_documents(documents, QUERY)
    with pytest.raises(EngineError, match="gone"):
        asyncio.run(compressor.acompress_documents(documents, QUERY))


@pytest.mark.parametrize("way", ["sync", "async"])
def test_keep_order_goes_on_without_reranking(make, make_engine, documents, caplog, way):
    compressor = make(
        make_engine(error=OSError("gone")), on_failure="keep_order", top_n=2, threshold=0.99
    )
    with caplog.at_level(logging.WARNING):
        kept = compressed(compressor, documents, way)
    assert ids(kept) == ["p", "b"]
    assert [one.metadata["rerank_failure"] for one in kept] == ["EngineError"] * 2
    assert [one.metadata["retrieval_score"] for one in kept] == [9.5, 0.25]
    assert not any("relevance_score" in one.metadata for one in kept)
    assert "gone" in caplog.text
    assert "rerank_failure" not in documents[0].metadata


@pytest.mark.parametrize("way", ["sync", "async"])
def test_keep_order_soon_gives_up_a_server_that_is_not_there(documents, closed_url, caplog, way):
    began = time.perf_counter()
    with Qwen3AscendRerank(
        base_url=closed_url, on_failure="keep_order", patience=0.3, top_n=2
    ) as compressor:
        kept = compressed(compressor, documents, way)
    assert time.perf_counter() - began < 9  # the engine itself tries for 10 seconds
    assert ids(kept) == ["p", "b"]
    assert [one.metadata["rerank_failure"] for one in kept] == ["ServerUnavailableError"] * 2
    assert f"{closed_url} cannot be reached" in caplog.text


def test_a_timeout_counts_as_a_failure(make, make_engine, documents):
    compressor = make(make_engine(seconds=30), on_failure="keep_order", timeout=0.2)
    kept = compressor.compress_documents(documents, QUERY)
    assert ids(kept) == ids(documents)
    assert kept[0].metadata["rerank_failure"] == "RerankTimeoutError"


def test_a_query_too_long_counts_as_a_failure_and_a_wrong_argument_does_not(engine, documents):
    with Reranker(engine, max_length=100) as reranker:
        compressor = Qwen3AscendRerank(reranker=reranker, on_failure="keep_order")
        kept = compressor.compress_documents(documents, "word " * 500)
        assert kept[0].metadata["rerank_failure"] == "QueryTooLongError"
        with pytest.raises(InvalidInputError, match="top_n"):
            compressor.compress_documents(documents, QUERY, top_n=0)


def test_a_later_success_takes_the_mark_of_a_failure_off(compressor, make, make_engine, documents):
    broken = make(make_engine(error=OSError("gone")), on_failure="keep_order")
    ranked = compressor.compress_documents(broken.compress_documents(documents, QUERY), QUERY)
    assert ids(ranked) == ["b", "g", "p"]
    assert not any("rerank_failure" in one.metadata for one in ranked)
    assert ranked[0].metadata["retrieval_score"] == 0.25


# -- life ------------------------------------------------------------------------------------------


def test_nothing_is_loaded_before_the_first_call(compressor, engine, documents):
    assert engine.starts == 0
    compressor.compress_documents(documents, QUERY)
    compressor.compress_documents(documents, "another question")
    assert engine.starts == 1


def test_the_model_can_be_loaded_beforehand(compressor, engine):
    assert compressor.start().engine == "fake"
    assert asyncio.run(compressor.astart()).engine == "fake"
    assert engine.starts == 1


def test_copies_share_one_engine_and_close_one_by_one(loaded, documents):
    one = Qwen3AscendRerank(model="lexical", top_n=1)
    others = [one.model_copy(update={"top_n": n}) for n in (1, 2, 3)] + [copy.deepcopy(one)]
    one.start()
    one.close()
    assert [len(c.compress_documents(documents, QUERY)) for c in others] == [1, 2, 3, 1]
    engines = {id(other._core._held.lease._engine) for other in others}
    assert len(engines) == 1
    for other in others:
        other.close()
    with pytest.raises(RerankerClosedError):
        others[0].compress_documents(documents, QUERY)


def test_context_managers_close_it(loaded, documents):
    with Qwen3AscendRerank(model="lexical") as compressor:
        assert compressor.compress_documents(documents, QUERY)
    with pytest.raises(RerankerClosedError):
        compressor.compress_documents(documents, QUERY)

    async def in_a_loop() -> None:
        async with Qwen3AscendRerank(model="lexical") as compressor:
            assert await compressor.acompress_documents(documents, QUERY)
        with pytest.raises(RerankerClosedError):
            await compressor.acompress_documents(documents, QUERY)

    asyncio.run(in_a_loop())


def test_a_reranker_that_was_handed_in_stays_open(compressor, engine, documents):
    with compressor:
        pass
    asyncio.run(compressor.aclose())
    assert not engine.closed
    assert compressor.compress_documents(documents, QUERY)


# -- settings --------------------------------------------------------------------------------------


def test_settings_come_from_the_environment(monkeypatch):
    for name, value in {
        "MODEL": "lexical",
        "TOP_N": "3",
        "THRESHOLD": "0.25",
        "ON_FAILURE": "keep_order",
        "ENGINE_OPTIONS": '{"device": "cpu"}',
    }.items():
        monkeypatch.setenv(f"QWEN3_RERANK_{name}", value)
    compressor = Qwen3AscendRerank(top_n=5)
    assert (compressor.model, compressor.top_n, compressor.threshold) == ("lexical", 5, 0.25)
    assert (compressor.on_failure, compressor.engine_options) == ("keep_order", {"device": "cpu"})


def test_a_reranker_that_was_handed_in_speaks_for_itself(monkeypatch, engine):
    monkeypatch.setenv("QWEN3_RERANK_TOP_N", "9")
    reranker = Reranker(engine, top_n=3, instruction="Find laws")
    compressor = Qwen3AscendRerank(reranker=reranker, threshold=0.5)
    assert (compressor.top_n, compressor.instruction) == (3, "Find laws")
    assert compressor.threshold == 0.5
    with pytest.raises(ValidationError, match="model given beside reranker"):
        Qwen3AscendRerank(reranker=reranker, model="lexical")


def test_it_is_described_without_being_loaded():
    compressor = Qwen3AscendRerank(top_n=2)
    assert compressor.model == DEFAULT_MODEL
    assert "top_n=2" in repr(compressor)
    assert "reranker" not in repr(compressor)


@pytest.mark.filterwarnings("ignore:The function `loads` is in beta")  # LangChain says so itself
def test_it_goes_through_dumps_and_loads():
    compressor = Qwen3AscendRerank(model="lexical", top_n=2, on_failure="keep_order")
    options: dict[str, Any] = {"valid_namespaces": ["langchain_qwen3_ascend_rerank"]}
    if "allowed_objects" in inspect.signature(loads).parameters:  # not in the oldest versions
        options["allowed_objects"] = [Qwen3AscendRerank]
    again = loads(dumps(compressor), **options)
    assert again == compressor
    assert again != compressor.model_copy(update={"top_n": 3})


@pytest.mark.filterwarnings("ignore:The function `loads` is in beta")
def test_no_secret_is_dumped(monkeypatch):
    compressor = Qwen3AscendRerank(
        base_url="http://127.0.0.1:1",
        api_key="seed",
        engine_options={
            "headers": {"X-Key": "grain"},
            "attempts": 2,
            "hf_token": "grain",
            "nested": {"password": "grain"},
        },
    )
    written = dumps(compressor)
    assert "seed" not in written + repr(compressor)
    assert "grain" not in written + repr(compressor)
    options: dict[str, Any] = {"valid_namespaces": ["langchain_qwen3_ascend_rerank"]}
    if "allowed_objects" in inspect.signature(loads).parameters:
        options["allowed_objects"] = [Qwen3AscendRerank]
    again = loads(written, secrets_map={"QWEN3_RERANK_API_KEY": "other"}, **options)
    assert again.api_key.get_secret_value() == "other"
    assert (again.base_url, again.engine_options) == (compressor.base_url, {"attempts": 2})


def test_it_goes_through_pickle_and_json(loaded, documents):
    with Qwen3AscendRerank(model="lexical", top_n=2) as compressor:
        with pickle.loads(pickle.dumps(compressor)) as again:
            assert again == compressor
            assert len(again.compress_documents(documents, QUERY)) == 2
        assert Qwen3AscendRerank.model_validate_json(compressor.model_dump_json()) == compressor


def test_the_place_of_the_best_passage_is_in_the_metadata():
    text = "".join(f"straw {number} " for number in range(900)) + "needle"
    engine = FakeEngine(lambda _, text: 5.0 if "needle" in text else -5.0)
    with Reranker(engine, max_length=200) as reranker:
        compressor = Qwen3AscendRerank(reranker=reranker, long_documents="max_passage")
        documents = [Document("hay"), Document(text)]
        once = compressor.compress_documents(documents, "needle?")
        start, end = once[0].metadata["relevance_span"]
        assert "needle" in text[start:end]
        assert "relevance_span" not in once[1].metadata
        again = compressor.compress_documents(once, "needle?", long_documents="truncate")
        assert all("relevance_span" not in one.metadata for one in again)


def test_a_cascade_is_taken_as_a_reranker_is():
    small, large = (FakeEngine(lambda _, text, at=at: float(text.split()[at])) for at in (0, 1))
    with CascadeReranker([(Reranker(small), 2), Reranker(large)], top_n=3) as reranker:
        compressor = Qwen3AscendRerank(reranker=reranker)
        documents = [Document(text) for text in ("9 1", "8 2", "7 3", "6 4")]
        ranked = compressor.compress_documents(documents, "q")
        assert [one.page_content for one in ranked] == ["8 2", "9 1", "7 3"]
        assert [one.metadata["relevance_stage"] for one in ranked] == [2, 2, 1]
        assert compressor.model == "FakeEngine → FakeEngine"
        assert len(asyncio.run(compressor.acompress_documents(documents, "q", top_n=1))) == 1
        small._error = RuntimeError("card on fire")
        compressor.on_failure = "keep_order"
        kept = compressor.compress_documents(documents, "q")
        assert [one.metadata["rerank_failure"] for one in kept] == ["EngineError"] * 3
