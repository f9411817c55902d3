"""A model that a real vLLM serves gets the scores that it gets here, however it is asked."""

import asyncio
import copy
import json
import logging
import pickle
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest

from qwen3_ascend_rerank import (
    AuthenticationError,
    InvalidInputError,
    ModelNotFoundError,
    QueryTooLongError,
    Reranker,
    RerankTimeoutError,
    ServerUnavailableError,
    UnsupportedServerError,
)
from qwen3_ascend_rerank.engines.startup import open_tokenizer
from qwen3_ascend_rerank.prompts import DEFAULT_INSTRUCTION, build_batch
from qwen3_ascend_rerank.serving.template import FILE as TEMPLATE
from tests.support.pairs import QUERIES, log_odds, make_documents
from tests.support.servers import API_KEY, MAX_MODEL_LEN, VLLMServer, free_port

pytestmark = pytest.mark.skipif(find_spec("vllm") is None, reason="needs vLLM")

CLOSE = 1e-3
LONG = ["Beijing and the capital of China. " * 200, "moon " * 900, "量子" * 700]
"""Documents longer than the server takes."""
TEXT_DIALECTS = ("v1-score", "score", "v1-rerank", "rerank", "v2-rerank")
ID_DIALECTS = ("classify", "pooling")
INSTRUCTION = "Find the passage that mentions a capital"


def served(server: VLLMServer, **settings: Any) -> Reranker:
    return Reranker(**{"base_url": server.url, "api_key": API_KEY, **settings})


@pytest.fixture(scope="module")
def documents() -> list[str]:
    return [*make_documents(70), *LONG]


@pytest.fixture(scope="module")
def here() -> Iterator[Reranker]:
    """The same model in this process, with the same budget."""
    with Reranker("lexical", max_length=MAX_MODEL_LEN - 1, cache_size=5000) as reranker:
        yield reranker


@pytest.fixture(scope="module")
def reranker(vllm_server: VLLMServer) -> Iterator[Reranker]:
    with served(vllm_server) as reranker:
        reranker.start()
        yield reranker


def defused(text: str) -> str:
    """As the server reads it where text is sent."""
    return open_tokenizer("lexical").defuse(text)


def test_scores_by_ids_are_those_of_the_torch_engine(
    reranker: Reranker, here: Reranker, documents: list[str]
) -> None:
    info = reranker.start()
    assert (info.takes_text, info.log_odds_exact, info.max_length) == (
        False,
        True,
        MAX_MODEL_LEN - 1,
    )
    for query in QUERIES:
        assert log_odds(reranker, query, documents) == pytest.approx(
            log_odds(here, query, documents), abs=CLOSE
        )


@pytest.mark.parametrize("dialect", [*TEXT_DIALECTS, "pooling"])
def test_scores_by_every_other_route_are_too(
    vllm_server: VLLMServer, here: Reranker, documents: list[str], dialect: str
) -> None:
    text = dialect in TEXT_DIALECTS
    with served(vllm_server, engine_options={"dialect": dialect}) as reranker:
        assert reranker.start().takes_text == text
        assert reranker.start().log_odds_exact
        for query in QUERIES:
            result = reranker.rerank(query, documents)
            found = {one.index: one.log_odds for one in result}
            plain = [defused(one) for one in documents] if text else documents
            right = log_odds(here, defused(query) if text else query, plain)
            assert [found[n] for n in range(len(documents))] == pytest.approx(right, abs=CLOSE)
            assert result.usage.documents_truncated == len(LONG)
            hostile = [one for one in (query, *documents) if one != defused(one)]
            assert result.usage.texts_defused == (len(hostile) if text else 0)


@pytest.mark.parametrize("dialect", ["classify", "v1-score"])
def test_passages_of_long_documents_get_the_scores_that_they_get_here(
    vllm_server: VLLMServer, here: Reranker, dialect: str
) -> None:
    with served(vllm_server, engine_options={"dialect": dialect}) as reranker:
        for query in QUERIES[:2]:
            found, right = (
                one.rerank(query, LONG, long_documents="max_passage") for one in (reranker, here)
            )
            assert found.usage.passages_scored > len(LONG)
            assert [one.span for one in found] == [one.span for one in right]
            assert [one.log_odds for one in found] == pytest.approx(
                [one.log_odds for one in right], abs=CLOSE
            )


def test_the_server_counts_the_tokens_that_were_counted_here(
    vllm_server: VLLMServer, documents: list[str]
) -> None:
    """So its template makes of texts the ids that are made here, cut and hostile ones included."""
    tokenizer = open_tokenizer("lexical")
    for query in QUERIES:
        batch = build_batch(
            tokenizer, DEFAULT_INSTRUCTION, query, documents, MAX_MODEL_LEN - 1, as_text=True
        )
        body = {"text_1": batch.query, "text_2": batch.texts}
        answer = httpx.post(f"{vllm_server.url}/score", json=body, timeout=60).json()
        assert answer["usage"]["prompt_tokens"] == sum(batch.lengths())


@pytest.fixture(scope="module")
def untemplated_server() -> Iterator[VLLMServer]:
    """Takes whole prompts alone, as every vLLM before 0.14 does when `serve` starts it."""
    with VLLMServer("--no-template") as server:
        yield server


@pytest.mark.full
@pytest.mark.parametrize("dialect", [*TEXT_DIALECTS, *ID_DIALECTS])
def test_a_server_without_a_template_gives_the_same_scores(
    untemplated_server: VLLMServer, here: Reranker, documents: list[str], dialect: str
) -> None:
    text = dialect in TEXT_DIALECTS
    with served(untemplated_server, engine_options={"dialect": dialect}) as reranker:
        for instruction in (DEFAULT_INSTRUCTION, INSTRUCTION):
            for query in QUERIES:
                plain = [defused(one) for one in documents] if text else documents
                right = here.score(
                    defused(query) if text else query, plain, instruction=instruction
                )
                scores = reranker.score(query, documents, instruction=instruction)
                assert scores == pytest.approx(right, abs=1e-4)


@pytest.fixture(scope="module")
def instructed_server() -> Iterator[VLLMServer]:
    with VLLMServer("--instruction", INSTRUCTION) as server:
        yield server


@pytest.mark.full
@pytest.mark.parametrize("dialect", ["classify", "v1-score", "v1-rerank"])
def test_the_instruction_of_a_server_does_not_touch_ours(
    instructed_server: VLLMServer, here: Reranker, documents: list[str], dialect: str
) -> None:
    with served(instructed_server, engine_options={"dialect": dialect}) as reranker:
        for instruction in (DEFAULT_INSTRUCTION, INSTRUCTION):
            plain = [defused(one) for one in documents] if dialect != "classify" else documents
            right = here.score("capital of China", plain, instruction=instruction)
            scores = reranker.score("capital of China", documents, instruction=instruction)
            assert scores == pytest.approx(right, abs=1e-4)


@pytest.mark.full
def test_the_instruction_of_a_server_reaches_requests_without_one(
    instructed_server: VLLMServer, here: Reranker
) -> None:
    texts = ["Bread needs flour.", "Beijing is the capital of China."]
    body = {"text_1": "capital of China", "text_2": texts}
    for given, meant in (({}, INSTRUCTION), ({"instruction": "Find bread"}, "Find bread")):
        answer = httpx.post(f"{instructed_server.url}/score", json={**body, **given}, timeout=60)
        found = [row["score"] for row in answer.json()["data"]]
        right = here.score("capital of China", texts, instruction=meant)
        assert found == pytest.approx(right, abs=1e-4)


OTHER_TEMPLATES = {
    "its template is another one": "{{ messages[0].content }} {{ messages[1].content }}<|im_end|>",
    "makes another prompt": TEMPLATE.read_text().replace('{{ "\\n" -}}', ""),  # a newline less
}


@pytest.mark.full
@pytest.mark.parametrize("fault", OTHER_TEMPLATES)
def test_a_template_that_is_another_one_is_refused(tmp_path: Path, fault: str) -> None:
    file = tmp_path / "other.jinja"
    file.write_text(OTHER_TEMPLATES[fault])
    with VLLMServer(template=file) as server:
        with served(server) as reranker:  # by ids nothing is formatted
            assert reranker.score("capital of China", ["Beijing is the capital of China."])
        with served(server, engine_options={"dialect": "v1-score"}) as reranker:
            with pytest.raises(UnsupportedServerError, match=fault):
                reranker.start()


def test_a_prompt_that_fills_the_budget_is_scored(reranker: Reranker, here: Reranker) -> None:
    texts = ["moon " * count for count in range(300, 330)]
    found = reranker.rerank("moon", texts)
    assert 0 < found.usage.documents_truncated < len(texts)
    right = log_odds(here, "moon", texts)
    assert log_odds(reranker, "moon", texts) == pytest.approx(right, abs=CLOSE)


def test_a_query_too_long_for_the_server_names_its_limit(reranker: Reranker) -> None:
    with pytest.raises(QueryTooLongError, match=f"max_length is {MAX_MODEL_LEN - 1} "):
        reranker.rerank("moon " * 500, ["document"])


def test_the_open_port_is_told_of(
    vllm_server: VLLMServer, caplog: pytest.LogCaptureFixture
) -> None:
    with served(vllm_server, max_length=300) as reranker:
        reranker.start()
    assert f"{vllm_server.url} answers /classify even without the key" in caplog.text
    caplog.clear()
    with served(vllm_server, engine_options={"dialect": "v1-score"}) as reranker:
        reranker.start()
    assert "without the key" not in caplog.text


@pytest.mark.parametrize(
    ("api_key", "told"),
    [(None, "pass its key as api_key"), ("another", "is not the one that it was started with")],
)
def test_a_wrong_key_is_an_error(vllm_server: VLLMServer, api_key: str | None, told: str) -> None:
    with served(vllm_server, api_key=api_key) as reranker:
        with pytest.raises(AuthenticationError, match=told):
            reranker.start()


def test_the_key_is_taken_from_the_environment(
    vllm_server: VLLMServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QWEN3_RERANK_API_KEY", API_KEY)
    with Reranker(base_url=vllm_server.url) as reranker:
        assert reranker.start().model == "lexical"


def test_copies_keep_the_key_and_pickles_do_not(
    reranker: Reranker, vllm_server: VLLMServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for copied in (copy.copy(reranker), copy.deepcopy(reranker)):
        with copied:
            assert copied.score("moon", ["moon"])
    stored = pickle.dumps(reranker)
    assert API_KEY.encode() not in stored
    with pickle.loads(stored) as loaded, pytest.raises(AuthenticationError):
        loaded.start()
    monkeypatch.setenv("QWEN3_RERANK_API_KEY", API_KEY)
    with pickle.loads(stored) as loaded:
        assert loaded.score("moon", ["moon"])


def test_what_is_asked_for_must_be_served(vllm_server: VLLMServer) -> None:
    with served(vllm_server, model="lexical") as reranker:
        assert reranker.start().model == "lexical"
    with served(vllm_server, model="Qwen/Qwen3-Reranker-4B") as reranker:
        with pytest.raises(ModelNotFoundError, match=r"serves lexical, not Qwen/Qwen3-Reranker-4B"):
            reranker.start()


def test_the_full_selfcheck_asks_the_server(
    vllm_server: VLLMServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "qwen3_ascend_rerank.engines.startup"):
        with served(vllm_server, selfcheck="full") as reranker:
            reranker.start()
    assert "0 failed" in caplog.text


def test_a_server_can_stand_behind_a_path(vllm_server: VLLMServer, here: Reranker) -> None:
    for url in (f"{vllm_server.url}/", f"{vllm_server.url}/v1", f" {vllm_server.url}/v1/ "):
        with served(vllm_server, base_url=url) as reranker:
            assert reranker.base_url == vllm_server.url


def test_many_callers_of_every_kind_get_their_own_answers(
    reranker: Reranker, here: Reranker
) -> None:
    def ask(number: int) -> list[float]:
        return reranker.score(f"the capital {number % 7}", [f"Beijing {number}", "moon", "capital"])

    async def ask_all(numbers: range) -> list[list[float]]:
        return await asyncio.gather(
            *(
                reranker.ascore(f"the capital {n % 7}", [f"Beijing {n}", "moon", "capital"])
                for n in numbers
            )
        )

    with ThreadPoolExecutor(16) as threads:
        by_loop = threads.submit(asyncio.run, ask_all(range(100)))
        by_thread = list(threads.map(ask, range(100)))
    assert by_loop.result() == [pytest.approx(one, abs=1e-5) for one in by_thread]
    assert by_thread[3] == pytest.approx(
        here.score("the capital 3", ["Beijing 3", "moon", "capital"]), abs=1e-5
    )


def test_a_large_query_is_sent_in_pieces(vllm_server: VLLMServer, here: Reranker) -> None:
    texts = [f"{number} capital of the moon" for number in range(50)]
    with served(vllm_server, engine_options={"documents_per_request": 7}) as reranker:
        found = log_odds(reranker, "capital", texts)
        assert found == pytest.approx(log_odds(here, "capital", texts), abs=CLOSE)


def test_a_call_that_is_out_of_time_ends(reranker: Reranker) -> None:
    began = time.monotonic()
    with pytest.raises(RerankTimeoutError):
        reranker.rerank("moon", [f"{n} moon " * 100 for n in range(1000)], timeout=0.05)
    assert time.monotonic() - began < 20


def test_nobody_there_is_one_error_that_names_the_address() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with Reranker(base_url=url, engine_options={"patience": 0.3}) as reranker:
        with pytest.raises(ServerUnavailableError, match=url):
            reranker.start()


def test_options_of_a_server_are_checked(vllm_server: VLLMServer) -> None:
    for options, message in (
        ({"dialect": "esperanto"}, "dialect is 'esperanto'"),
        ({"formatting": "both"}, "formatting is 'both'"),
        ({"device": "npu"}, "takes no option device"),
        ({"concurrency": 0}, "concurrency is 0"),
        ({"patience": -1}, "patience is -1"),
    ):
        with served(vllm_server, engine_options=options) as reranker:
            with pytest.raises(InvalidInputError, match=message):
                reranker.start()


def test_what_is_served_is_described(reranker: Reranker, vllm_server: VLLMServer) -> None:
    info = reranker.start()
    assert (info.engine, info.device, info.dtype) == ("served", "remote", "unknown")
    assert info.version.endswith(f"at {vllm_server.url}")
    result = reranker.rerank("moon", ["the moon"])
    assert (result.model, result.engine) == ("lexical", "served")
    assert API_KEY not in json.dumps(result.to_dict())
