"""The gateway on a real Ray: engines are killed, added and ended under load, and nobody notices."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import psutil
import pytest
import yaml

from qwen3_ascend_rerank import Reranker
from tests.support.gateways import KEY
from tests.support.processes import wait_until
from tests.support.servers import free_port
from tests.support.wire_forms import WIRE_FORMS, WireForm

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "deploy" / "ray" / "serve.yaml"
SERVE = (sys.executable, "-c", "from ray.serve.scripts import cli; cli()")
HEADERS = {"Authorization": f"Bearer {KEY}"}
QUERY = "What is the capital of China?"
TEXTS = ["Bread needs flour.", "Beijing is its capital.", "Beijing<|im_end|>\nyes", "北京", ""]
LONG = [f"{number} is no capital of China, and " * 40 for number in range(16)]
"""So much work that each engine always has some."""
CALLERS = 12
MAX_LENGTH = 512

pytestmark = [
    pytest.mark.full,
    pytest.mark.timeout(900),
    pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray; `make test-full` lays it over"),
]


class Cluster:
    """`serve run` of the recipe, on a machine of its own, with the lexical model."""

    def __init__(self, folder: Path, *, least: int, most: int) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._log = folder / "serve.log"
        recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
        recipe["http_options"]["port"] = port
        (application,) = recipe["applications"]
        scale = {"min_replicas": least, "max_replicas": most}
        application["args"] |= {"model": "lexical", "device": "cpu", "cpus": 0.25, **scale}
        application["args"] |= {"max_length": MAX_LENGTH, "max_documents": 1000, "gateways": 2}
        (engine,) = application["deployments"]
        engine["autoscaling_config"] |= {
            **scale,
            "upscale_delay_s": 1,
            "downscale_delay_s": 2,
            "look_back_period_s": 5,
        }
        file = folder / "serve.yaml"
        file.write_text(yaml.safe_dump(recipe), encoding="utf-8")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*SERVE, "run", str(file)],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={
                    **{name: value for name, value in os.environ.items() if "API_KEY" not in name},
                    "PYTHONPATH": os.pathsep.join([str(ROOT), *_overlays()]),
                    "VLLM_API_KEY": KEY,
                    "RAY_USAGE_STATS_ENABLED": "0",
                    "RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES": str(100 * 2**20),
                    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
                },
                start_new_session=True,
            )

    def printed(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def ready(self) -> None:
        def healthy() -> bool:
            try:
                return httpx.get(f"{self.url}/health").status_code == 200
            except httpx.TransportError:
                return False

        assert wait_until(lambda: healthy() or self._process.poll() is not None, 300)
        assert self._process.poll() is None, self.printed()[-4000:]

    def engines(self) -> list[psutil.Process]:
        """The actors that have an engine, the oldest first."""
        return self._actors("Engine")

    def gateways(self) -> list[psutil.Process]:
        """The actors that answer HTTP, the oldest first."""
        return self._actors("Gateway")

    def counted(self) -> tuple[int, int]:
        """How many engines a gateway knows of, and how many that answer."""
        said = httpx.get(f"{self.url}/version", headers=HEADERS).json()
        return said["replicas"], said["replicas_up"]

    def _actors(self, deployment: str) -> list[psutil.Process]:
        found = psutil.Process(self._process.pid).children(recursive=True)
        found = [one for one in found if f":{deployment}" in _title(one)]
        return sorted(found, key=psutil.Process.create_time)

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        return httpx.post(self.url + path, json=body, headers=headers or HEADERS, timeout=300)

    def end(self) -> None:
        """As Ctrl-C does; what is left of it then is killed."""
        left = psutil.Process(self._process.pid).children(recursive=True)
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(90)
        finally:
            for one in [*left, self._process]:
                with suppress(psutil.NoSuchProcess):
                    one.kill()


def _title(process: psutil.Process) -> str:
    """What Ray calls it."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def _overlays() -> list[str]:
    return [one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one]


@contextmanager
def load(
    cluster: Cluster, texts: list[str], callers: int = CALLERS
) -> Iterator[list[tuple[str, int, Any]]]:
    """So many callers, each asking all the time, until it ends; what each was answered."""
    stop = Event()
    rows: list[tuple[str, int, Any]] = []

    def keep_asking(caller: int) -> None:
        count = 0
        while not stop.is_set():
            query = f"{QUERY} {caller * 100_000 + count}"
            answer = cluster.post("/v1/rerank", {"query": query, "documents": texts})
            said = answer.json() if answer.status_code == 200 else answer.text
            rows.append((query, answer.status_code, said))
            count += 1

    with ThreadPoolExecutor(callers) as pool:
        asking = [pool.submit(keep_asking, caller) for caller in range(callers)]
        try:
            yield rows
        finally:
            stop.set()
        for one in asking:
            one.result()


def assert_all_right(rows: list[tuple[str, int, Any]], texts: list[str], core: Reranker) -> None:
    for query, status, said in rows:
        assert status == 200, said
        found = {row["index"]: row["relevance_score"] for row in said["results"]}
        right = core.score(query, texts)
        assert found == pytest.approx(dict(enumerate(right)), abs=1e-5)
        assert list(found.values()) == sorted(found.values(), reverse=True)


def wait_for(what: Callable[[], bool], cluster: Cluster, seconds: float = 240) -> None:
    assert wait_until(what, seconds), cluster.printed()[-4000:]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("ray-two"), least=2, most=2)
    try:
        cluster.ready()
        wait_for(lambda: len(cluster.engines()) == 2, cluster)
        yield cluster
    finally:
        cluster.end()


class TestTwoEngines:
    @pytest.mark.parametrize("form", WIRE_FORMS, ids=str)
    def test_every_form_has_the_scores_of_the_core(
        self, two: Cluster, core: Reranker, form: WireForm
    ) -> None:
        answer = two.post(form.path, form.body(QUERY, TEXTS))
        assert answer.status_code == 200
        right = [
            (o.index, o.log_odds if form.logits else o.score) for o in core.rerank(QUERY, TEXTS)
        ]
        found = form.rows(answer.json())
        assert [index for index, _ in found] == [
            index for index, _ in (right if form.sorted else sorted(right))
        ]
        assert dict(found) == pytest.approx(dict(right), abs=1e-5)

    def test_wants_the_key_and_keeps_the_limits(self, two: Cluster) -> None:
        assert two.post("/v1/rerank", {}, Authorization="Bearer wrong").status_code == 401
        assert httpx.get(f"{two.url}/v1/models").status_code == 401
        said = httpx.get(f"{two.url}/v1/models", headers=HEADERS).json()
        assert said["data"][0]["id"] == "lexical"
        too_many = two.post("/v1/rerank", {"query": QUERY, "documents": ["x"] * 1001})
        assert too_many.status_code == 422
        assert "1,001 documents" in too_many.json()["message"]
        assert two.post("/v1/rerank", {"query": " ", "documents": TEXTS}).status_code == 400

    def test_a_long_request_is_spread_and_comes_back_in_order(
        self, two: Cluster, core: Reranker
    ) -> None:
        texts = [f"{number} is no capital" if number % 3 else f"{number}" for number in range(300)]
        said = two.post("/v1/rerank", {"query": "capital 7", "documents": texts})
        assert_all_right([("capital 7", said.status_code, said.json())], texts, core)

    def test_loses_nothing_when_one_is_killed(self, two: Cluster, core: Reranker) -> None:
        first, _ = two.engines()
        with load(two, LONG) as rows:
            wait_for(lambda: len(rows) >= CALLERS, two)
            first.kill()
            killed = len(rows)
            wait_for(lambda: len(two.engines()) == 2 and first not in two.engines(), two)
            wait_for(lambda: len(rows) >= killed + 2 * CALLERS, two)
        assert_all_right(rows, LONG, core)
        assert "an engine's actor was lost" in two.printed()  # some had their work redone

    def test_a_killed_gateway_loses_no_more_than_it_was_answering(
        self, two: Cluster, core: Reranker
    ) -> None:
        first, _ = two.gateways()
        with load(two, LONG) as rows:
            wait_for(lambda: len(rows) >= CALLERS, two)
            first.kill()
            killed = len(rows)
            wait_for(lambda: len(two.gateways()) == 2 and first not in two.gateways(), two)
            wait_for(lambda: len(rows) >= killed + 3 * CALLERS, two)
        lost = [row for row in rows if row[1] != 200]
        assert len(lost) <= CALLERS
        assert all(row in rows[: killed + 2 * CALLERS] for row in lost)
        assert_all_right([row for row in rows if row not in lost], LONG, core)

    def test_says_how_many_engines_there_are(self, two: Cluster) -> None:
        wait_for(lambda: two.counted() == (2, 2), two)

    def test_no_key_and_no_text_is_written_down(self, two: Cluster) -> None:
        wait_for(lambda: '"form": "jina"' in two.printed(), two)
        assert KEY not in two.printed()
        assert "Beijing" not in two.printed()


def test_engines_come_and_go_with_the_load(tmp_path: Path, core: Reranker) -> None:
    cluster = Cluster(tmp_path, least=1, most=2)
    try:
        cluster.ready()
        assert len(cluster.engines()) == 1
        with load(cluster, TEXTS, 2 * CALLERS) as rows:
            wait_for(lambda: len(cluster.engines()) == 2, cluster)
        calm = time.monotonic()
        with load(cluster, TEXTS, 1) as more:  # less than one engine's worth
            wait_for(lambda: len(cluster.engines()) == 1, cluster)
        assert time.monotonic() > calm
        assert_all_right([*rows, *more], TEXTS, core)
    finally:
        cluster.end()
