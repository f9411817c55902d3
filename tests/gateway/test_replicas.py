"""Real vLLM servers behind one URL: one is killed and one frozen under load, and nobody notices."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from threading import Event
from typing import Any

import httpx
import psutil
import pytest

from qwen3_ascend_rerank import Reranker
from tests.support.gateways import KEY
from tests.support.processes import group, wait_until
from tests.support.servers import ENVIRONMENT

from .test_serve import Serve

CALLERS = 8
TEXTS = [
    "Bread needs flour.",
    "Beijing is the capital of China.",
    "The capital of France is Paris.",
]
HEADERS = {"Authorization": f"Bearer {KEY}"}

pytestmark = [
    pytest.mark.full,
    pytest.mark.vllm,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(find_spec("vllm") is None, reason="needs vLLM"),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    environment = {**ENVIRONMENT, "VLLM_API_KEY": KEY}
    folder = tmp_path_factory.mktemp("replicas")
    options = ("--replicas", "2", "--max-length", "400", "--request-timeout", "300")
    one = Serve(folder, "lexical", *options, **environment)
    try:
        one.ready(600)
        assert wait_until(lambda: all(f"replica {n} answers" in one.printed() for n in (0, 1)), 600)
        yield one
    finally:
        left = psutil.Process(one.process.pid).children(recursive=True) if one.running else []
        one.kill()
        for each in left:
            if each.is_running():
                each.kill()


def ask(url: str, place: int) -> tuple[int, Any]:
    body = {"query": f"capital of China {place}", "documents": TEXTS}
    answer = httpx.post(f"{url}/v1/rerank", json=body, headers=HEADERS, timeout=400)
    return answer.status_code, answer.json()


def leaders(served: Serve) -> list[psutil.Process]:
    """The servers' own processes, the oldest first."""
    children = psutil.Process(served.process.pid).children()
    return sorted((one for one in children if group(one.pid)), key=psutil.Process.create_time)


def test_no_answer_is_lost_or_wrong(served: Serve, lexical: Reranker) -> None:
    stop = Event()

    def keep_asking(caller: int) -> list[tuple[int, int, Any]]:
        found, count = [], 0
        while not stop.is_set() or count < 5:
            place = caller * 10_000 + count
            found.append((place, *ask(served.url, place)))
            count += 1
        return found

    first, second = leaders(served)
    with ThreadPoolExecutor(CALLERS) as pool:
        asking = [pool.submit(keep_asking, caller) for caller in range(CALLERS)]
        first.kill()
        assert wait_until(lambda: not group(first.pid), 30)
        assert wait_until(lambda: served.printed().count("replica 0 answers") == 2, 600)
        for member in group(second.pid):
            member.suspend()
        assert wait_until(lambda: ask(served.url, 1)[0] == 200, 300)
        for member in group(second.pid):
            member.resume()
        stop.set()
        rows = [row for one in asking for row in one.result()]
    assert len(rows) >= CALLERS * 5
    for place, status, said in rows:
        assert status == 200, said
        right = lexical.rerank(f"capital of China {place}", TEXTS)
        assert [row["index"] for row in said["results"]] == [one.index for one in right]
        scores = [row["relevance_score"] for row in said["results"]]
        assert scores == pytest.approx([one.score for one in right], abs=1e-4)


def test_all_of_it_ends_as_one(served: Serve) -> None:
    running = [one.pid for one in leaders(served)]
    assert len(running) == 2
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(90) == 0
    assert not any(map(group, running))
    assert KEY not in served.printed()
