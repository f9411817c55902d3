"""VLLMEngine: the real vLLM gives TorchEngine's log-odds to every caller, and leaves nothing."""

import asyncio
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from qwen3_ascend_rerank import (
    EngineError,
    InvalidInputError,
    MissingDependencyError,
    Reranker,
    RerankerClosedError,
    RerankTimeoutError,
)
from qwen3_ascend_rerank.bridge.loop import submit
from qwen3_ascend_rerank.engines import choose_engine
from qwen3_ascend_rerank.engines.vllm import VLLMEngine
from qwen3_ascend_rerank.runtime.detect import Machine
from tests.support.models import write_converted, write_original
from tests.support.pairs import QUERIES, log_odds, make_documents

HAS_VLLM = find_spec("vllm") is not None
if HAS_VLLM:
    from tests.support.processes import wait_until

needs_vllm = pytest.mark.skipif(not HAS_VLLM, reason="needs vLLM")
pytestmark = [
    pytest.mark.vllm,
    pytest.mark.filterwarnings("ignore"),  # those of vLLM and all that it imports
]
LENGTH = 300
TOLERANCE = 1e-3


def assert_agree(
    one: Reranker, other: Reranker, count: int, record_property: Any, *, spread: float = 1.0
) -> None:
    """Both give the same log-odds to `count` pairs, and different ones to different pairs."""
    documents = make_documents(count // len(QUERIES), longest=300)
    found = [value for query in QUERIES for value in log_odds(one, query, documents)]
    expected = [value for query in QUERIES for value in log_odds(other, query, documents)]
    assert any(document.truncated for document in one.rerank(QUERIES[0], documents))
    assert max(expected) - min(expected) > spread  # else agreement would mean little
    difference = max(abs(a - b) for a, b in zip(found, expected, strict=True))
    record_property("pairs", len(found))
    record_property("max_difference", difference)
    assert difference < TOLERANCE


@pytest.fixture(scope="class")
def torch() -> Iterator[Reranker]:
    """The same on torch."""
    with Reranker("lexical", engine="torch", max_length=LENGTH) as reranker:
        yield reranker


@needs_vllm
class TestTheLexicalModel:
    def test_scores_as_on_torch(
        self, vllm: Reranker, torch: Reranker, record_property: Any
    ) -> None:
        assert_agree(vllm, torch, 150, record_property)

    def test_reads_long_documents_in_passages_as_torch_does(
        self, vllm: Reranker, torch: Reranker
    ) -> None:
        documents = [one * 40 for one in make_documents(5, longest=300)]
        found, right = (
            one.rerank(QUERIES[0], documents, long_documents="max_passage") for one in (vllm, torch)
        )
        assert found.usage.passages_scored == right.usage.passages_scored > len(documents)
        spans = [{one.index: one.span for one in result} for result in (found, right)]
        assert spans[0] == spans[1]
        assert found.scores == pytest.approx(right.scores, abs=TOLERANCE)

    def test_says_what_runs_where(self, vllm: Reranker) -> None:
        info = vllm.start()
        assert (info.model, info.engine, info.device) == ("lexical", "vllm", "cpu")
        assert (info.dtype, info.max_length, info.log_odds_exact) == ("float32", LENGTH, True)
        assert info.version.startswith("vllm 0.")

    def test_both_integrations_hand_on_its_scores(self, vllm: Reranker, torch: Reranker) -> None:
        langchain = pytest.importorskip("langchain_qwen3_ascend_rerank")
        llama_index = pytest.importorskip("llama_index.postprocessor.qwen3_ascend_rerank")
        from langchain_core.documents import Document
        from llama_index.core.schema import NodeWithScore, TextNode

        texts = make_documents(12, longest=60)
        expected = torch.score(QUERIES[0], texts)
        documents = [Document(text, id=str(place)) for place, text in enumerate(texts)]
        compressor = langchain.Qwen3AscendRerank(reranker=vllm)
        ranked = compressor.compress_documents(documents, QUERIES[0])
        found = {int(one.id): one.metadata["relevance_score"] for one in ranked}
        assert [found[place] for place in range(12)] == pytest.approx(expected, abs=TOLERANCE)
        nodes = [
            NodeWithScore(node=TextNode(text=text, id_=str(place)))
            for place, text in enumerate(texts)
        ]
        postprocessor = llama_index.Qwen3AscendRerank(reranker=vllm)
        found = {
            int(one.node_id): one.score
            for one in postprocessor.postprocess_nodes(nodes, query_str=QUERIES[0])
        }
        assert [found[place] for place in range(12)] == pytest.approx(expected, abs=TOLERANCE)

    def test_ranks_what_answers_first(self, vllm: Reranker) -> None:
        documents = ["Bread needs flour.", "Beijing is the capital of China.", "The moon is far."]
        assert vllm.rerank("capital of China", documents)[0].index == 1

    def test_serves_a_thousand_calls_from_threads_and_loops(
        self, vllm: Reranker, torch: Reranker, engine: VLLMEngine
    ) -> None:
        documents = make_documents(40, longest=30)
        expected = {query: torch.score(query, documents) for query in QUERIES}
        survivors: list[bool] = []

        def choose(number: int) -> tuple[str, list[int], float]:
            chance = random.Random(number)
            return chance.choice(QUERIES), chance.sample(range(40), 3), chance.random()

        def judge(query: str, places: list[int], scores: list[float]) -> None:
            right = [expected[query][place] for place in places]
            survivors.append(scores == pytest.approx(right, abs=1e-4))

        def call(number: int) -> None:
            query, places, luck = choose(number)
            try:
                scores = vllm.score(
                    query,
                    [documents[place] for place in places],
                    timeout=luck / 10 if luck < 0.2 else 600,
                )
            except RerankTimeoutError:
                assert luck < 0.2
            else:
                judge(query, places, scores)

        async def acall(number: int) -> None:
            query, places, luck = choose(number)
            task = asyncio.ensure_future(
                vllm.ascore(query, [documents[place] for place in places], timeout=600)
            )
            if luck < 0.2:
                await asyncio.sleep(luck / 4)
                task.cancel()
            try:
                judge(query, places, await task)
            except asyncio.CancelledError:
                assert luck < 0.2

        async def acalls(numbers: range) -> None:
            await asyncio.gather(*map(acall, numbers))

        loops = [
            threading.Thread(
                target=lambda first=first: asyncio.run(acalls(range(first, first + 100)))
            )
            for first in (800, 900)
        ]
        for loop in loops:
            loop.start()
        with ThreadPoolExecutor(32) as pool:
            list(pool.map(call, range(800)))
        for loop in loops:
            loop.join()
        assert all(survivors)
        assert 700 < len(survivors) < 1000
        assert wait_until(lambda: not unfinished(engine))

    def test_is_withdrawn_from_the_queue_when_nobody_waits(
        self, vllm: Reranker, engine: VLLMEngine
    ) -> None:
        with pytest.raises(RerankTimeoutError):
            vllm.score("query", make_documents(2000), timeout=0.5)
        assert wait_until(lambda: not unfinished(engine))

    def test_ends_calls_in_flight_when_it_is_closed(self, vllm: Reranker) -> None:
        with Reranker(vllm.model, max_length=LENGTH) as other:
            with ThreadPoolExecutor(1) as pool:
                call = pool.submit(other.score, "query", make_documents(2000))
                assert wait_until(lambda: bool(other._calls._running))
                other.close()
                with pytest.raises(RerankerClosedError):
                    call.result(10)
        assert vllm.score("capital", ["capital"])  # the engine has another user


def unfinished(engine: VLLMEngine) -> int:
    """Requests that vLLM has not answered."""
    llm = engine._llm
    if hasattr(llm.engine_core, "call_utility_async"):
        from vllm.v1.engine.core import EngineCoreProc

        if hasattr(EngineCoreProc, "has_work"):
            working = submit(llm.engine_core.call_utility_async("has_work")).result(10)
            return llm.output_processor.get_num_unfinished_requests() + working
    return llm.output_processor.get_num_unfinished_requests()


@pytest.fixture(scope="module")
def tied(qwen_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_original(tmp_path_factory.mktemp("tied"), qwen_file, tied=True)


@pytest.fixture(scope="module")
def untied(qwen_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_original(tmp_path_factory.mktemp("untied"), qwen_file, tied=False)


@pytest.fixture(scope="module")
def converted(untied: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_converted(tmp_path_factory.mktemp("converted"), untied)


@needs_vllm
@pytest.mark.parametrize(
    "kind",
    [
        "tied",
        pytest.param("untied", marks=pytest.mark.full),
        pytest.param("converted", marks=pytest.mark.full),
    ],
)
def test_a_random_model_scores_as_on_torch(
    kind: str, request: pytest.FixtureRequest, record_property: Any
) -> None:
    folder = request.getfixturevalue(kind)
    with Reranker(folder, engine="vllm", max_length=LENGTH) as vllm:
        with Reranker(folder, engine="torch", max_length=LENGTH) as torch:
            assert_agree(vllm, torch, 90, record_property)


@needs_vllm
class TestOptions:
    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"tensor_paralel_size": 2}, InvalidInputError, "did you mean tensor_parallel_size"),
            ({"runner": "generate"}, InvalidInputError, "runner must be 'pooling'"),
            (
                {"hf_overrides": {"classifier_from_token": ["yes", "no"]}},
                InvalidInputError,
                r"must be \['no', 'yes'\] for a reranker, not \['yes', 'no'\]",
            ),
            ({"max_model_len": 8}, EngineError, "max_model_len=8 was asked for; give at least"),
            ({"dtype": "int3"}, EngineError, "vLLM could not start lexical: .*int3"),
        ],
    )
    def test_that_cannot_be_met_are_named(
        self, options: dict[str, Any], error: type[Exception], message: str
    ) -> None:
        with Reranker("lexical", engine="vllm", engine_options=options) as reranker:
            with pytest.raises(error, match=f"(?s){message}"):
                reranker.start()


def test_without_vllm_the_way_to_get_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen3_ascend_rerank.engines.vllm.engine.detect", lambda: Machine("cpu", 0))
    with Reranker("lexical", engine="vllm") as reranker:
        with pytest.raises(
            MissingDependencyError, match=r'pip install "qwen3-ascend-rerank\[npu\]'
        ):
            reranker.start()


def test_a_broken_vllm_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ImportError("libgomp.so.1: cannot open shared object file")

    machine = Machine("cpu", 0, vllm="0.30.0", vllm_platform="cpu")
    monkeypatch.setattr("qwen3_ascend_rerank.engines.vllm.engine.detect", lambda: machine)
    monkeypatch.setattr("qwen3_ascend_rerank.runtime.probes.Signatures.installed", fail)
    with Reranker("lexical", engine="vllm") as reranker:
        with pytest.raises(MissingDependencyError, match=r"vLLM 0.30.0 is installed but .*libgomp"):
            reranker.start()


@pytest.mark.parametrize(
    ("machine", "engine"),
    [
        (Machine("npu", 8, vllm="0.18.0", vllm_ascend="0.18.0", vllm_platform="npu"), "vllm"),
        (Machine("cuda", 1, vllm="0.30.0", vllm_platform="cuda"), "vllm"),
        (Machine("cuda", 1, vllm="0.30.0", vllm_platform="cpu"), "torch"),
        (Machine("npu", 8, vllm="0.18.0", vllm_platform="cpu"), "torch"),
        (Machine("npu", 8), "torch"),
        (Machine("cpu", 0, vllm="0.30.0", vllm_platform="cpu"), "torch"),
        (Machine("cpu", 0), "torch"),
    ],
    ids=lambda value: (
        value if isinstance(value, str) else f"{value.platform}-{value.vllm_platform}"
    ),
)
def test_auto_is_vllm_where_it_runs_on_the_accelerator(
    machine: Machine, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qwen3_ascend_rerank.engines.spec.glance", lambda: machine)
    assert choose_engine("auto", "Qwen/Qwen3-Reranker-0.6B") == engine
    assert choose_engine("auto", "lexical") == "torch"
