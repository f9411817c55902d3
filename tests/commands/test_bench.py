"""`qwen3-rerank bench`: load, numbers, and what a user sees of them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from qwen3_ascend_rerank import Reranker
from qwen3_ascend_rerank.commands.bench.load import (
    Arrivals,
    Cost,
    Outcome,
    closed_loop,
    gaps,
    open_loop,
)
from qwen3_ascend_rerank.commands.bench.measure import Course, measure
from qwen3_ascend_rerank.commands.bench.report import ROWS, Run, error_lines, percentile, table
from qwen3_ascend_rerank.commands.bench.workload import random_requests
from qwen3_ascend_rerank.commands.program import app
from qwen3_ascend_rerank.errors import EngineError
from qwen3_ascend_rerank.models import tokenizer_file
from qwen3_ascend_rerank.prompts import load_tokenizer
from qwen3_ascend_rerank.testing import FakeEngine

SMALL = ("--random-input-len", "8", "--documents", "2", "--num-requests", "6")


@pytest.fixture(autouse=True)
def engine(lexical: Reranker) -> Reranker:
    """Every command shares the engine that this Reranker holds."""
    return lexical


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("QWEN3_RERANK_")]:
        if name != "QWEN3_RERANK_CACHE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("QWEN3_RERANK_MODEL", "lexical")
    monkeypatch.setenv("COLUMNS", "80")


def run(*arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(app, ["bench", *arguments], input=stdin)


def figures(result: Result) -> dict[str, float]:
    """The rows of the table that was printed."""
    rows = (line.split(":") for line in result.stdout.splitlines() if ":" in line)
    return {name: float(value) for name, value in rows}


class Counter:
    """Something to ask, which knows how many ask it at once."""

    def __init__(self, seconds: float = 0.01) -> None:
        self.seconds = seconds
        self.now = self.most = 0
        self.times: list[float] = []

    async def ask(self, request: int) -> Cost:
        self.times.append(time.perf_counter())
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(self.seconds)
        self.now -= 1
        if request < 0:
            raise EngineError(f"no {request}")
        return Cost(tokens=request, documents=1)


class TestClosedLoop:
    @pytest.mark.parametrize("concurrency", [1, 3])
    def test_keeps_so_many_requests_under_way(self, concurrency: int) -> None:
        counter, outcomes = Counter(), []
        asyncio.run(closed_loop(counter.ask, range(9), concurrency, outcomes.append))
        assert counter.most == concurrency
        assert sorted(outcome.answer.tokens for outcome in outcomes) == list(range(9))

    def test_goes_on_after_a_failure(self) -> None:
        outcomes: list[Outcome] = []
        asyncio.run(closed_loop(Counter().ask, [1, -1, 2], 1, outcomes.append))
        assert [type(outcome.answer) for outcome in outcomes] == [Cost, EngineError, Cost]


class TestOpenLoop:
    def test_does_not_wait_for_answers(self) -> None:
        counter, outcomes = Counter(seconds=1.0), []
        asyncio.run(open_loop(counter.ask, range(5), iter([0.01] * 5), outcomes.append))
        assert counter.most == 5
        assert counter.times[-1] - counter.times[0] >= 0.04

    def test_counts_from_when_a_request_was_due(self) -> None:
        async def ask(_: int) -> Cost:
            time.sleep(0.05)  # noqa: ASYNC251 - holds the whole loop up
            return Cost(1, 1)

        outcomes: list[Outcome] = []
        asyncio.run(open_loop(ask, range(4), iter([0.0] * 4), outcomes.append))
        assert outcomes[-1].seconds >= 0.19

    @given(st.sampled_from(Arrivals), st.floats(0.1, 1000), st.integers(0, 100))
    def test_comes_at_the_rate_asked_for(self, arrivals: Arrivals, rate: float, seed: int) -> None:
        drawn = list(islice(gaps(arrivals, rate, seed), 2000))
        assert min(drawn) >= 0
        assert sum(drawn) == pytest.approx(2000 / rate, rel=0.15)
        assert (len(set(drawn)) == 1) is (arrivals is Arrivals.fixed)


class TestWorkload:
    @pytest.mark.parametrize("tokens", [2, 5, 64])
    def test_a_query_and_a_document_have_the_tokens_asked_for(
        self, tokens: int, qwen_file: Path
    ) -> None:
        tokenizer = load_tokenizer(qwen_file)
        for request in islice(random_requests(qwen_file, tokens, 3, seed=1), 3):
            texts = [request.query, *(passage.text for passage in request.passages)]
            query, *documents = tokenizer.encode([" " + text for text in texts])
            assert [len(query) + len(document) for document in documents] == [tokens] * 3

    def test_no_request_comes_twice(self) -> None:
        requests = random_requests(tokenizer_file("lexical"), 20, 2, seed=0)
        assert len({request.query for request in islice(requests, 50)}) == 50

    def test_equal_seeds_draw_equal_requests(self) -> None:
        first, again, other = (
            next(random_requests(tokenizer_file("lexical"), 20, 2, seed)) for seed in (1, 1, 2)
        )
        assert first == again != other


class TestReport:
    def test_percentiles_are_those_of_numpy(self) -> None:
        numpy = pytest.importorskip("numpy")
        values = [5.0, 1.0, 2.5, 9.0]
        for share in (0, 50, 75, 99, 100):
            assert percentile(values, share) == pytest.approx(numpy.percentile(values, share))

    def test_only_answers_count_in_the_figures(self) -> None:
        made = Run(max_concurrency=1)
        for outcome in (
            Outcome(0.1, Cost(10, 2)),
            Outcome(9.0, EngineError("x")),
            Outcome(0.3, Cost(20, 3)),
        ):
            made.record(outcome)
        made.duration = 2.0
        found = made.figures()
        assert (found["completed"], found["failed"]) == (2, 1)
        assert found["total_input_tokens"] == 30
        assert found["total_token_throughput"] == 15
        assert found["input_sequence_throughput"] == 2.5
        assert found["mean_e2el_ms"] == pytest.approx(200)

    def test_errors_are_counted_by_kind_with_the_first_message(self) -> None:
        made = Run()
        for error in (EngineError("one"), ValueError("two"), EngineError("three")):
            made.record(Outcome(0.1, error))
        assert error_lines([made]) == ["2 × EngineError: one", "1 × ValueError: two"]

    def test_the_rows_are_those_of_vllm(self) -> None:
        vllm = find_spec("vllm")  # looked at and not imported, which takes long
        if vllm is None:
            pytest.skip("vLLM is not installed")
        source = Path(vllm.origin).with_name("benchmarks").joinpath("serve.py").read_text()
        for row in ROWS:
            label = "End-to-end Latency" if isinstance(row, str) else row[0]
            shown = label.replace("Mean E2EL", "Mean {metric_name}")
            shown = shown.replace("Median E2EL", "Median {metric_name}")
            shown = shown.replace("P99 E2EL", "P{p_word} {metric_name}")
            assert shown in source

    def test_a_run_without_outcomes_has_a_table(self) -> None:
        assert "Successful requests:                     0" in table(Run())


class TestCommand:
    def test_prints_the_table(self) -> None:
        result = run(*SMALL, "--concurrency", "2")
        assert result.exit_code == 0, result.output
        found = figures(result)
        assert found["Successful requests"] == 6
        assert found["Maximum request concurrency"] == 2
        assert found["Total input tokens"] > 6 * 2 * 8
        assert found["Median E2EL (ms)"] <= found["P99 E2EL (ms)"]
        assert "matches words" in result.stdout

    def test_asks_at_a_rate(self) -> None:
        found = figures(run(*SMALL, "--request-rate", "50", "--arrivals", "fixed"))
        assert found["Request rate configured (RPS)"] == 50
        assert found["Benchmark duration (s)"] >= 0.1

    def test_asks_the_users_own_requests(self, tmp_path: Path) -> None:
        file = tmp_path / "requests.jsonl"
        own = [{"query": "flour", "documents": ["Bread", {"text": "Paris"}]}] * 3
        file.write_text("\n".join(map(json.dumps, own)))
        result = run("--requests", str(file))
        assert figures(result)["Successful requests"] == 3
        assert "asked several times" not in result.stderr
        assert "asked several times" in run("--requests", str(file), "--num-requests", "4").stderr

    def test_failed_requests_are_shown_and_end_with_1(self, tmp_path: Path) -> None:
        file = tmp_path / "requests.jsonl"
        own = [{"query": "flour", "documents": ["Bread"]}, {"query": " ", "documents": ["Bread"]}]
        file.write_text("\n".join(map(json.dumps, own)))
        result = run("--requests", str(file))
        assert result.exit_code == 1
        assert (figures(result)["Successful requests"], figures(result)["Failed requests"]) == (
            1,
            1,
        )
        assert "1 × InvalidInputError: query is empty" in result.stderr

    def test_saves_every_latency_and_where_it_was_measured(self, tmp_path: Path) -> None:
        file = tmp_path / "run.json"
        result = run(*SMALL, "--output", str(file))
        saved = json.loads(file.read_text())
        assert len(saved["runs"][0]["requests"]) == 6
        assert saved["runs"][0]["completed"] == figures(result)["Successful requests"]
        assert saved["engine"]["model"] == "lexical"
        assert saved["machine"]["torch"]
        assert saved["config"]["random_input_len"] == 8

    def test_sweeps_over_concurrency(self, tmp_path: Path) -> None:
        picture = tmp_path / "sweep.svg"
        pytest.importorskip("matplotlib")
        result = run(*SMALL, "--sweep", "1, 3", "--picture", str(picture))
        assert result.exit_code == 0, result.output
        assert [line.split()[0] for line in result.stdout.splitlines()[2:]] == ["1", "3"]
        assert "<svg" in picture.read_text()

    def test_remembers_no_score(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("QWEN3_RERANK_CACHE_SIZE", "1000")
        request = json.dumps({"query": "flour", "documents": ["Bread"]})
        found = figures(run("--requests", "-", "--num-requests", "3", stdin=request))
        assert found["Total input tokens"] % 3 == 0
        assert found["Total input tokens"] > 0

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--concurrency", "1", "--sweep", "1"), "give one of --concurrency"),
            (("--sweep", "1,x"), "--sweep is '1,x'; give whole numbers"),
            (("--sweep", "0"), "--sweep is '0'"),
            (("--picture", "a.png"), "--picture shows a sweep"),
            (("--sweep", "1", "--picture", "a.txt"), "end it in .png, .svg, .pdf"),
            (("--concurrency", "0"), "--concurrency"),
            (("--request-rate", "0"), "--request-rate"),
        ],
    )
    def test_wrong_options_end_with_2(self, arguments: tuple[str, ...], message: str) -> None:
        result = run(*arguments)
        assert result.exit_code == 2
        assert message in " ".join(result.stderr.replace("│", "").split())

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--output", "/nowhere/run.json"), "/nowhere/run.json cannot be written"),
            (("--requests", "/nowhere"), "/nowhere cannot be read"),
            (("--requests", "-"), "- holds no request"),
            (("--model", "/nowhere"), "there is no model folder /nowhere"),
            (
                ("--base-url", "http://127.0.0.1:9", "--engine-options", '{"patience": 0.1}'),
                "http://127.0.0.1:9 cannot be reached",
            ),
        ],
    )
    def test_what_cannot_be_measured_is_one_line(
        self, arguments: tuple[str, ...], message: str
    ) -> None:
        result = run(*arguments)
        assert result.exit_code == 1
        assert result.stderr.startswith(f"error: {message}")
        assert result.stdout == ""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to send")
class TestInterrupt:
    @pytest.fixture(autouse=True)
    def _after_three_requests(self, monkeypatch: pytest.MonkeyPatch) -> None:
        record = Run.record

        def interrupting(run: Run, outcome: Outcome) -> None:
            record(run, outcome)
            if len(run.outcomes) == 3:
                os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr(Run, "record", interrupting)

    def test_prints_and_saves_what_there_is(self, tmp_path: Path) -> None:
        file = tmp_path / "run.json"
        result = run(*SMALL[:4], "--num-requests", "1000", "--output", str(file))
        assert result.exit_code == 130
        assert 3 <= figures(result)["Successful requests"] < 1000
        assert json.loads(file.read_text())["interrupted"]

    def test_ends_a_sweep_where_it_is(self) -> None:
        requests = random_requests(tokenizer_file("lexical"), 4, 1, seed=0)
        with Reranker(FakeEngine()) as reranker:
            course = Course([1, 2], 1000, 0, Arrivals.poisson, 0)
            runs, interrupted = measure(reranker, course, requests, requests)
        assert interrupted
        assert [run.max_concurrency for run in runs] == [1]
