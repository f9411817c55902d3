"""The Reranker: policy, bad input, sharing, and one object used from everywhere at once."""

import asyncio
import copy
import gc
import math
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3_ascend_rerank import (
    EngineError,
    InvalidInputError,
    QueryTooLongError,
    Reranker,
    RerankerClosedError,
    RerankTimeoutError,
)
from qwen3_ascend_rerank.results import probability
from qwen3_ascend_rerank.testing import FakeEngine
from tests.support.processes import wait_until

QUERY = "capital of China"
PASSAGES = [
    "Bread is made of flour, water and salt.",
    "Beijing is the capital of China.",
    "The Pacific is the largest ocean.",
]


def by_length(query: str, document: str) -> float:
    return len(document) - 20.0


def by_number(query: str, document: str) -> float:
    return float(document)


# -- ranking ---------------------------------------------------------------------------------------


@given(
    values=st.lists(st.sampled_from([-50.0, -3.0, -0.1, 0.0, 0.5, 4.0, 40.0, 41.0]), max_size=12),
    top_n=st.none() | st.integers(1, 15),
    threshold=st.none() | st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0]),
)
@settings(max_examples=100, deadline=None)
def test_ranking_is_by_log_odds_with_threshold_before_top_n_and_stable_ties(
    ranker: Reranker, values: list[float], top_n: int | None, threshold: float | None
) -> None:
    result = ranker.rerank(
        QUERY, [str(value) for value in values], top_n=top_n, threshold=threshold
    )
    kept = [
        (-value, index)
        for index, value in enumerate(values)
        if threshold is None or probability(value) >= threshold
    ]
    assert [(-one.log_odds, one.index) for one in result] == sorted(kept)[:top_n]
    assert all(one.score == probability(one.log_odds) for one in result)
    assert all(one.text == str(values[one.index]) for one in result)


@pytest.fixture(scope="module")
def ranker() -> Any:
    with Reranker(FakeEngine(by_number)) as reranker:
        yield reranker


def test_documents_whose_scores_round_to_one_still_have_an_order(ranker: Reranker) -> None:
    result = ranker.rerank(QUERY, ["40", "42", "41"])
    assert result.scores == [1.0, 1.0, 1.0]
    assert result.texts == ["42", "41", "40"]


def test_score_keeps_the_input_order(ranker: Reranker) -> None:
    assert ranker.score(QUERY, ["0", "2", "-2"]) == [0.5, probability(2), probability(-2)]


@given(st.floats(-1000, 1000))
def test_probability_is_the_softmax_over_two_logits(log_odds: float) -> None:
    assert 0 <= probability(log_odds) <= 1
    assert probability(log_odds) == pytest.approx(1 - probability(-log_odds), abs=1e-15)
    if abs(log_odds) < 300:
        assert probability(log_odds) == pytest.approx(1 / (1 + math.exp(-log_odds)), rel=1e-12)


def test_result_says_what_was_asked_of_whom(ranker: Reranker) -> None:
    result = ranker.rerank(QUERY, ["1", "2"], instruction="Find numbers")
    assert (result.query, result.instruction) == (QUERY, "Find numbers")
    assert (result.model, result.engine, result.log_odds_exact) == ("fake", "fake", True)
    assert result.usage.prompt_tokens > 100
    assert 0 < result.usage.seconds < 60
    assert result[0].text == "2"
    assert [one.text for one in result[:1]] == ["2"]
    assert result.to_dict()["documents"][0]["index"] == 1


def test_options_of_a_call_replace_those_of_the_object() -> None:
    with Reranker(FakeEngine(by_number), top_n=1, threshold=0.6) as reranker:
        assert reranker.rerank(QUERY, ["1", "2", "-1"]).texts == ["2"]
        assert reranker.rerank(QUERY, ["1", "2", "-1"], top_n=5).texts == ["2", "1"]
        assert reranker.rerank(QUERY, ["1", "2", "-1"], top_n=5, threshold=0).texts[-1] == "-1"


# -- each pair once --------------------------------------------------------------------------------


def test_equal_documents_of_a_call_are_scored_once() -> None:
    engine = FakeEngine(by_length)
    with Reranker(engine) as reranker:
        result = reranker.rerank(QUERY, ["aa", "b", "aa", "aa"])
    assert engine.pairs == [(QUERY, "aa"), (QUERY, "b")]
    assert [one.index for one in result] == [0, 2, 3, 1]
    assert (result.usage.pairs_scored, result.usage.pairs_reused) == (2, 2)


def test_known_pairs_are_not_scored_again() -> None:
    engine = FakeEngine(by_length)
    with Reranker(engine, cache_size=10) as reranker:
        first = reranker.rerank(QUERY, ["a", "bb"])
        second = reranker.rerank(QUERY, ["bb", "ccc", "a"])
        reranker.rerank(QUERY, ["a"], instruction="another")
        reranker.rerank("another", ["a"])
    assert [pair[1] for pair in engine.pairs] == ["a", "bb", "ccc", "a", "a"]
    assert (second.usage.pairs_scored, second.usage.pairs_reused) == (1, 2)
    assert second[1].log_odds == first[0].log_odds


def test_the_cache_is_bounded_and_forgets_what_was_used_longest_ago() -> None:
    engine = FakeEngine(by_length)
    with Reranker(engine, cache_size=2) as reranker:
        for documents in (["a", "b"], ["a"], ["c"], ["a"], ["b"]):
            reranker.rerank(QUERY, documents)
    assert [pair[1] for pair in engine.pairs] == ["a", "b", "c", "b"]


def test_without_a_cache_nothing_is_remembered() -> None:
    engine = FakeEngine(by_length)
    with Reranker(engine) as reranker:
        reranker.rerank(QUERY, ["a"])
        reranker.rerank(QUERY, ["a"])
    assert len(engine.pairs) == 2


def test_a_cached_call_of_a_hundred_documents_takes_under_a_few_milliseconds() -> None:
    documents = [f"{number} " + "word " * 200 for number in range(100)]
    with Reranker(FakeEngine(by_length), cache_size=1000) as reranker:
        reranker.rerank(QUERY, documents)
        times = []
        for _ in range(20):
            began = time.perf_counter()
            reranker.rerank(QUERY, documents)
            times.append(time.perf_counter() - began)
    assert min(times) < 0.005


# -- bad input -------------------------------------------------------------------------------------


def test_no_documents_is_an_empty_result_and_loads_nothing() -> None:
    engine = FakeEngine()
    with Reranker(engine) as reranker:
        result = reranker.rerank(QUERY, [])
        assert reranker.score(QUERY, iter(())) == []
    assert len(result) == 0
    assert result.usage.pairs_scored == 0
    assert engine.starts == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"query": ""}, "query is empty"),
        ({"query": " \n"}, "query is empty"),
        ({"query": None}, r"query is None \(NoneType\)"),
        ({"documents": "one text"}, r"documents is 'one text' \(str\); pass a list"),
        ({"documents": None}, "documents is None"),
        ({"documents": ["a", 3]}, r"documents\[1\] is 3 \(int\)"),
        ({"documents": [None]}, r"documents\[0\] is None"),
        ({"top_n": 0}, "top_n is 0"),
        ({"top_n": -1}, "top_n is -1"),
        ({"top_n": 1.5}, r"top_n is 1.5 \(float\)"),
        ({"top_n": True}, r"top_n is True \(bool\)"),
        ({"threshold": 1.01}, "threshold is 1.01"),
        ({"threshold": -0.1}, "threshold is -0.1"),
        ({"threshold": math.nan}, "threshold is nan"),
        ({"threshold": "0.5"}, "threshold is '0.5'"),
        ({"timeout": 0}, "timeout is 0"),
        ({"timeout": math.nan}, "timeout is nan"),
        ({"instruction": ""}, "instruction is ''"),
    ],
)
def test_arguments_that_cannot_be_used_are_named(
    ranker: Reranker, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        ranker.rerank(**{"query": QUERY, "documents": ["1"], **arguments})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"engine": "tpu"}, "engine is 'tpu'; use auto or"),
        ({"max_length": 0}, "max_length is 0"),
        ({"cache_size": -1}, "cache_size is -1"),
        ({"top_n": 0}, "top_n is 0"),
        ({"threshold": 2}, "threshold is 2"),
        ({"timeout": -1}, "timeout is -1"),
        ({"model": ""}, "model is ''"),
    ],
)
def test_settings_that_cannot_be_used_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Reranker(**settings)


def test_input_errors_are_value_errors_too(ranker: Reranker) -> None:
    with pytest.raises(ValueError, match="top_n"):
        ranker.rerank(QUERY, ["1"], top_n=0)


def test_unusual_texts_are_scored(lexical: Reranker) -> None:
    documents = ["", " ", "\x00", "lone \ud83d surrogate", "🙂" * 50, PASSAGES[1]]
    result = lexical.rerank(QUERY, documents)
    assert result[0].index == 5
    assert sorted(one.index for one in result) == list(range(6))
    assert result[0].text is documents[5]


def test_a_document_of_five_megabytes_is_cut_and_counted(lexical: Reranker) -> None:
    document = "Beijing is the capital of China. " + "filler words of no meaning " * 190_000
    result = lexical.rerank(QUERY, [PASSAGES[0], document])
    assert len(document) > 5_000_000
    assert result[0].index == 1
    assert result[0].truncated
    assert result[0].text == document
    assert result.usage.documents_truncated == 1
    assert result.usage.prompt_tokens < 8192 + 200


def test_a_query_that_leaves_no_room_is_refused() -> None:
    with Reranker(FakeEngine(), max_length=256) as reranker:
        with pytest.raises(QueryTooLongError, match="max_length is 256 but .* shorten the query"):
            reranker.rerank("why " * 300, ["document"])


# -- engines that misbehave ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "message"),
    [(math.nan, "gave nan as log-odds of document 0"), (math.inf, "gave inf"), (-math.inf, "-inf")],
)
def test_an_answer_that_is_no_score_is_an_error(answer: float, message: str) -> None:
    with Reranker(FakeEngine(lambda query, document: answer)) as reranker:
        with pytest.raises(EngineError, match=message):
            reranker.rerank(QUERY, ["a"])


def test_too_few_answers_are_an_error() -> None:
    class Short(FakeEngine):
        async def score(self, batch: Any) -> list[float]:
            return [1.0]

    with Reranker(Short()) as reranker, pytest.raises(EngineError, match="1 scores for 2"):
        reranker.rerank(QUERY, ["a", "b"])


def test_an_engine_that_fails_is_named_and_the_next_call_works() -> None:
    engine = FakeEngine(error=RuntimeError("card on fire"))
    with Reranker(engine) as reranker:
        with pytest.raises(EngineError, match="fake engine failed on 1 .* card on fire"):
            reranker.rerank(QUERY, ["a"])
        engine._error = None
        assert len(reranker.rerank(QUERY, ["a"])) == 1


def test_a_start_that_failed_is_tried_again() -> None:
    class Shaky(FakeEngine):
        async def start(self) -> None:
            await super().start()
            if self.starts == 1:
                raise EngineError("not yet")

    engine = Shaky()
    with Reranker(engine) as reranker:
        with pytest.raises(EngineError, match="not yet"):
            reranker.rerank(QUERY, ["a"])
        assert len(reranker.rerank(QUERY, ["a"])) == 1
    assert engine.starts == 2


# -- time ------------------------------------------------------------------------------------------


def test_a_timeout_ends_the_call_and_says_what_to_do() -> None:
    with Reranker(FakeEngine(seconds=30), timeout=0.05) as reranker:
        reranker.start()
        began = time.perf_counter()
        with pytest.raises(RerankTimeoutError, match="timeout of 0.05 seconds"):
            reranker.rerank(QUERY, ["a"])
        with pytest.raises(TimeoutError):
            reranker.rerank(QUERY, ["a"], timeout=0.1)
        assert time.perf_counter() - began < 20


def test_a_caller_that_gives_up_does_not_end_the_start_for_others() -> None:
    class Slow(FakeEngine):
        async def start(self) -> None:
            await asyncio.sleep(0.3)
            await super().start()

    engine = Slow()
    with Reranker(engine) as reranker:
        with pytest.raises(RerankTimeoutError):
            reranker.rerank(QUERY, ["a"], timeout=0.05)
        assert len(reranker.rerank(QUERY, ["a"])) == 1
    assert engine.starts == 1


def test_a_cancelled_task_ends_at_once() -> None:
    async def run() -> None:
        async with Reranker(FakeEngine(seconds=30)) as reranker:
            await reranker.astart()
            call = asyncio.create_task(reranker.arerank(QUERY, ["a"]))
            await asyncio.sleep(0.05)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert await reranker.arerank(QUERY, []) is not None

    began = time.perf_counter()
    asyncio.run(run())
    assert time.perf_counter() - began < 20


def test_close_ends_calls_in_flight_with_a_clear_error() -> None:
    reranker = Reranker(FakeEngine(seconds=60))
    reranker.start()
    with ThreadPoolExecutor(8) as threads:
        calls = [threads.submit(reranker.rerank, QUERY, ["a"]) for _ in range(8)]
        assert wait_until(lambda: len(reranker._calls._running) == 8)
        reranker.close()
        for call in calls:
            with pytest.raises(RerankerClosedError, match="closed during the call"):
                call.result(40)


def test_close_on_a_busy_model_returns_in_seconds(lexical: Reranker) -> None:
    reranker = Reranker("lexical", max_length=8000)
    document = "words about nothing " * 3000
    with ThreadPoolExecutor(2) as threads:
        reranker.start()
        calls = [
            threads.submit(reranker.rerank, QUERY, [f"{number} {document}" for number in range(40)])
            for _ in range(2)
        ]
        time.sleep(1.5)
        began = time.perf_counter()
        reranker.close()
        took = time.perf_counter() - began
        for call in calls:
            with pytest.raises(RerankerClosedError):
                call.result(30)
    assert took < 5


def test_a_closed_reranker_says_so() -> None:
    reranker = Reranker(FakeEngine())
    reranker.close()
    reranker.close()
    with pytest.raises(RerankerClosedError, match="make a new one"):
        reranker.rerank(QUERY, ["a"])


# -- sharing ---------------------------------------------------------------------------------------


def test_rerankers_of_one_engine_start_it_once_and_the_last_closes_it() -> None:
    engine = FakeEngine(by_length)
    rerankers = [Reranker(engine, top_n=count) for count in range(1, 11)]
    assert [len(one.rerank(QUERY, PASSAGES * 4)) for one in rerankers] == list(range(1, 11))
    assert engine.starts == 1
    for reranker in rerankers[:-1]:
        reranker.close()
    assert not engine.closed
    assert len(rerankers[-1].rerank(QUERY, PASSAGES)) == 3
    rerankers[-1].close()
    assert engine.closed


def test_equal_settings_share_one_loaded_model(lexical: Reranker) -> None:
    with Reranker("lexical", top_n=1, instruction="Another one") as other:
        assert other._held.lease._engine is lexical._held.lease._engine
    with Reranker("lexical", max_length=512) as other:
        assert other._held.lease._engine is not lexical._held.lease._engine
    assert len(lexical.rerank(QUERY, PASSAGES)) == 3


def test_a_forgotten_reranker_gives_its_engine_back() -> None:
    engine = FakeEngine()
    Reranker(engine).rerank(QUERY, ["a"])
    gc.collect()
    assert wait_until(lambda: engine.closed)


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))]
)
def test_copies_have_the_same_settings_and_share_the_engine(
    lexical: Reranker, duplicate: Callable[[Reranker], Reranker]
) -> None:
    with Reranker("lexical", top_n=2, threshold=0.1, timeout=60) as original:
        with duplicate(original) as twin:
            assert repr(twin) == repr(original)
            assert twin._held.lease._engine is lexical._held.lease._engine
            assert twin.rerank(QUERY, PASSAGES).texts == original.rerank(QUERY, PASSAGES).texts


# -- everywhere at once ----------------------------------------------------------------------------


def test_64_threads_and_64_tasks_in_two_loops_all_get_right_answers(lexical: Reranker) -> None:
    asked = [
        (f"{topic} number {number}", [f"Nothing here {number}", f"All about {topic} {number}"])
        for topic in ("cats", "rivers", "金融", "天气")
        for number in range(6)
    ]
    expected = {query: lexical.rerank(query, documents) for query, documents in asked}
    questions = asked * 8  # 64 for each loop, one for each of 64 threads

    def check(question: tuple[str, list[str]], result: Any) -> None:
        wanted = expected[question[0]]
        assert [one.index for one in result] == [one.index for one in wanted]
        assert [one.log_odds for one in result] == pytest.approx(
            [one.log_odds for one in wanted], abs=1e-4
        )

    async def in_a_loop(part: list[Any]) -> None:
        results = await asyncio.gather(*(lexical.arerank(*question) for question in part))
        for question, result in zip(part, results, strict=True):
            check(question, result)

    def in_a_thread(question: Any) -> None:
        check(question, lexical.rerank(*question))

    with ThreadPoolExecutor(66) as threads:
        loops = [
            threads.submit(asyncio.run, in_a_loop(questions[start : start + 64]))
            for start in (0, 64)
        ]
        calls = [threads.submit(in_a_thread, question) for question in questions[128:]]
        for call in [*loops, *calls]:
            call.result(120)


def test_the_callers_loop_is_not_blocked_while_scoring(lexical: Reranker) -> None:
    documents = [f"{number} " + "words about nothing " * 60 for number in range(60)]

    async def run() -> tuple[list[float], float]:
        call, began = asyncio.create_task(lexical.arerank(QUERY, documents)), time.perf_counter()
        delays = []
        while not call.done():
            before = time.perf_counter()
            await asyncio.sleep(0.002)
            delays.append(time.perf_counter() - before)
        await call
        return sorted(delays), time.perf_counter() - began

    delays, took = asyncio.run(run())
    assert len(delays) > 10
    assert delays[len(delays) * 9 // 10] < took / 10  # a busy machine may be late now and then


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_starts_an_engine_of_its_own() -> None:
    with Reranker(FakeEngine(by_length)) as reranker:
        reranker.rerank(QUERY, ["a"])
        child = os.fork()
        if child == 0:
            try:
                right = reranker.rerank(QUERY, ["a", "bb"])[0].index == 1
            finally:
                os._exit(0 if right else 1)
        _, status = os.waitpid(child, 0)
        assert status == 0


FORGETFUL = """
from qwen3_ascend_rerank import Reranker
reranker = Reranker("lexical")
print(reranker.rerank("capital of China", ["bread", "Beijing is the capital of China"])[0].index)
"""


def test_a_script_that_closes_nothing_still_ends() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORGETFUL],
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


def test_no_thread_of_its_own_outlives_a_script() -> None:
    code = (
        "import atexit, threading\n"
        "atexit.register(lambda: print([one.name for one in threading.enumerate()]))\n"
        "from qwen3_ascend_rerank import Reranker\n"
        "from qwen3_ascend_rerank.testing import FakeEngine\n"
        "reranker = Reranker(FakeEngine())\n"
        "reranker.score('query', ['document'])\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (run.stdout, run.stderr, run.returncode) == ("['MainThread']\n", "", 0)


def test_importing_the_package_is_light() -> None:
    code = (
        "import sys, time; began = time.process_time(); import qwen3_ascend_rerank;"
        "took = time.process_time() - began;"
        "heavy = {'torch', 'transformers', 'vllm', 'httpx', 'numpy', 'pydantic_settings',"
        " 'huggingface_hub', 'rich', 'typer'} & set(sys.modules);"
        "print(sorted(heavy), took)"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split("] ")
        for _ in range(3)
    ]
    assert {heavy for heavy, _ in runs} == {"["}
    assert min(float(took) for _, took in runs) < 0.5


def test_threads_end_with_their_reranker() -> None:
    before = threading.active_count()
    for _ in range(20):
        with Reranker(FakeEngine()) as reranker:
            reranker.rerank(QUERY, ["a"])
    assert threading.active_count() <= before + 34  # the loop, and its bounded pool of helpers


# -- what the engine can do ------------------------------------------------------------------------


def test_an_engine_that_takes_less_lowers_the_budget() -> None:
    engine = FakeEngine(by_length, max_length=200)
    with Reranker(engine) as reranker:
        result = reranker.rerank(QUERY, ["moon " * 500])
    assert result.usage.documents_truncated == 1
    assert result.usage.prompt_tokens <= 200
    with Reranker(engine, max_length=150) as reranker:
        assert reranker.rerank(QUERY, ["moon " * 500]).usage.prompt_tokens <= 150


def test_control_tokens_are_broken_up_for_engines_that_send_text() -> None:
    engine = FakeEngine(by_length)
    texts = ["plain", "<|im_end|> control", "<think>"]
    with Reranker(engine) as reranker:
        assert reranker.rerank(QUERY, texts).usage.texts_defused == 0
        assert [text for _, text in engine.pairs] == texts
    engine = FakeEngine(by_length, takes_text=True)
    with Reranker(engine) as reranker:
        result = reranker.rerank("<think> about it", texts)
        assert result.usage.texts_defused == 3
        assert sorted(result.texts) == sorted(texts)  # what comes back is what was passed
    assert engine.pairs[1] == ("< think> about it", "< |im_end|> control")


def test_a_copy_has_the_key_and_a_pickle_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QWEN3_RERANK_API_KEY", raising=False)
    options = {"headers": {"X-Key": "grain"}, "attempts": 2}
    reranker = Reranker(base_url="http://127.0.0.1:1", api_key="seed", engine_options=options)
    assert copy.copy(reranker)._held.key == copy.deepcopy(reranker)._held.key == reranker._held.key
    assert pickle.loads(pickle.dumps(reranker))._held.key != reranker._held.key
    for written in (repr(reranker), str(pickle.dumps(reranker)), repr(reranker._held.key)):
        assert "seed" not in written
        assert "grain" not in written


def test_the_model_is_loaded_here_or_served_elsewhere() -> None:
    assert Reranker().model == "Qwen/Qwen3-Reranker-0.6B"
    assert Reranker(base_url="http://127.0.0.1:1").model is None
    with pytest.raises(InvalidInputError, match="leave one out"):
        Reranker(FakeEngine(), base_url="http://127.0.0.1:1")
