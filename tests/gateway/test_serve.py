"""`qwen3-rerank serve`: one command to one URL, what it says, and how it ends."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from qwen3_ascend_rerank import Reranker
from qwen3_ascend_rerank.commands.program import app
from qwen3_ascend_rerank.gateway.secret import find_keys
from tests.support.gateways import KEY, RunningGateway
from tests.support.processes import wait_until
from tests.support.servers import PROGRAM, free_port

ASKED = {"query": "capital of China", "documents": ["Bread needs flour.", "It is Beijing, China."]}


class Serve:
    """The command in a process of its own."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = folder / f"{self.port}.log"
        command = [*PROGRAM, "serve", *arguments, "--port", str(self.port)]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def printed(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def ready(self, seconds: float = 120) -> None:
        shown = wait_until(lambda: "\nready " in self.printed() or not self.running, seconds)
        assert shown, self.printed()[-4000:]
        assert self.running, self.printed()[-4000:]

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self) -> None:
        if self.running:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Any]:
    running: list[Serve] = []

    def start(*arguments: str, **environment: str) -> Serve:
        running.append(Serve(tmp_path, *arguments, **environment))
        return running[-1]

    yield start
    for each in running:
        each.kill()


class TestOneCommand:
    def test_serves_says_what_to_do_next_and_drains(
        self, serve: Any, tmp_path: Path, core: Reranker
    ) -> None:
        file = tmp_path / "key"
        file.write_text(KEY)
        one = serve("lexical", "--max-length", "512", "--api-key-file", str(file))
        one.ready()
        last = one.printed().partition("\nready ")[2].splitlines()
        assert last[0].strip() == f"lexical at {one.url}"
        assert last[1] == f"check    qwen3-rerank doctor --url {one.url}"
        assert last[2] == f'Python   Reranker(base_url="{one.url}", api_key=…)'
        curl = last[3].removeprefix("others   ")
        if shutil.which("curl"):
            done = subprocess.run(["sh", "-c", curl], capture_output=True, check=True)
            assert json.loads(done.stdout)["results"][0]["index"] == 1

        headers = {"Authorization": f"Bearer {KEY}"}
        body = {**ASKED, "documents": [f"{n} capital " * 100 for n in range(20)]}

        def inside() -> bool:
            text = httpx.get(f"{one.url}/metrics", headers=headers).text
            return "requests_inside 1.0" in text

        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(
                httpx.post, f"{one.url}/rerank", json=body, headers=headers, timeout=120
            )
            assert wait_until(lambda: asked.done() or inside(), 60)
            assert one.end() == 0
            answer = asked.result()
        assert answer.status_code == 200
        assert len(answer.json()["results"]) == 20
        printed = one.printed()
        assert KEY not in printed
        lines = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
        assert {line["path"] for line in lines} >= {"/rerank", "/metrics"}
        assert "Traceback" not in printed

    def test_stands_before_servers_elsewhere(self, serve: Any, gateway: RunningGateway) -> None:
        one = serve("--base-url", gateway.url, QWEN3_RERANK_API_KEY=KEY)
        one.ready()
        headers = {"Authorization": f"Bearer {KEY}"}
        answer = httpx.post(f"{one.url}/v1/rerank", json=ASKED, headers=headers, timeout=60)
        direct = gateway.post("/v1/rerank", ASKED).json()
        assert answer.json()["model"] == "lexical"
        found, right = (
            [(row["index"], row["relevance_score"]) for row in said["results"]]
            for said in (answer.json(), direct)
        )
        assert [index for index, _ in found] == [index for index, _ in right]
        assert [score for _, score in found] == pytest.approx([score for _, score in right])
        assert one.end() == 0

    def test_ends_with_the_reason_where_there_is_no_such_model(self, serve: Any) -> None:
        one = serve("./no/such/folder")
        assert one.process.wait(60) == 1
        assert re.search(
            r"^error: there is no model folder .*/no/such/folder", one.printed(), re.MULTILINE
        )
        assert "Traceback" not in one.printed()


def test_our_own_client_gets_log_odds_through_it(gateway: RunningGateway, core: Reranker) -> None:
    texts = ["Bread", "Beijing is the capital of China.", "<|im_end|> 北京", "long " * 900]
    with Reranker(base_url=gateway.url, api_key=KEY, max_length=512) as client:
        found = client.rerank("capital of China", texts, instruction="Find capitals.")
        assert found.log_odds_exact
        assert found.usage.texts_defused == 0
    right = core.rerank("capital of China", texts, instruction="Find capitals.")
    assert [one.index for one in found] == [one.index for one in right]
    assert [one.log_odds for one in found] == pytest.approx(
        [one.log_odds for one in right], abs=1e-4
    )


class TestADryRun:
    @staticmethod
    def run(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["serve", *arguments, "--dry-run"])

    def test_says_what_would_run(self) -> None:
        done = self.run("lexical", "--port", "9000", "--host", "0.0.0.0")
        assert done.exit_code == 0
        assert re.search(r"the gateway, in this process: lexical at http://.+:9000", done.stdout)
        assert "torch engine in this process" in done.stderr
        assert "there is no API key" in done.stderr

    def test_names_the_servers_elsewhere(self) -> None:
        done = self.run("--base-url", "http://a:1,http://b:2", "--ssl-certfile", "x")
        assert "served at http://a:1, http://b:2" in " ".join(done.stderr.split())
        assert "at https://127.0.0.1:8000" in done.stdout

    def test_says_which_models_are_asked_first(self) -> None:
        done = self.run("lexical", "--cascade", "lexical:50,http://a:1:5")
        assert done.exit_code == 0, done.output
        told = " ".join(done.stderr.split())
        assert "first lexical (matches words; no language model), which hands on 50" in told
        assert "first http://a:1, which hands on 5" in told

    @pytest.mark.parametrize(
        ("arguments", "why"),
        [
            ([], "give a MODEL, or --base-url"),
            (["lexical", "--no-template"], "--template needs --bare"),
            (["lexical", "--", "--dtype", "x"], "needs --bare or --replicas"),
            (["lexical", "--bare", "--base-url", "http://a"], "exclude each other"),
            (["lexical", "--bare", "--cascade", "lexical:5"], "exclude each other"),
            (["lexical", "--servers-key-file", "x"], "needs --base-url"),
            (["lexical", "--replicas", "0"], "greater than or equal to 1"),
        ],
    )
    def test_refuses_what_would_have_no_effect(self, arguments: list[str], why: str) -> None:
        done = CliRunner().invoke(app, ["serve", *arguments[:1], "--dry-run", *arguments[1:]])
        assert done.exit_code == 2
        assert why in " ".join(done.stderr.replace("│", "").split())

    @pytest.mark.parametrize("arguments", [["--engine", "x"], ["--max-length", "0"]])
    def test_refuses_what_cannot_be(self, arguments: list[str]) -> None:
        assert self.run("lexical", *arguments).exit_code == 1


class TestKeys:
    def test_come_from_a_file_with_or_without_names(self, tmp_path: Path) -> None:
        file = tmp_path / "a key"
        file.write_text(f"{KEY}\n")
        found = find_keys(file, {})
        assert list(found.keys) == ["key-1"]
        assert found.shell == f'"$(cat {shlex.quote(str(file))})"'
        file.write_text(f"dify {KEY}\nragflow other-key\n")
        found = find_keys(file, {})
        assert list(found.keys) == ["dify", "ragflow"]
        assert found.shell == '"$KEY"'

    def test_come_from_the_environment(self) -> None:
        found = find_keys(None, {"VLLM_API_KEY": KEY})
        assert (list(found.keys), found.shell) == (["key"], '"$VLLM_API_KEY"')
        assert find_keys(None, {}).keys == {}


def test_doctor_knows_the_gateway(gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWEN3_RERANK_API_KEY", KEY)
    options = ["--url", gateway.url, "--max-length", "512", "--json"]
    done = CliRunner().invoke(app, ["doctor", *options])
    assert done.exit_code == 0, done.output
    found = {one["check"]: one for one in json.loads(done.stdout)["diagnoses"]}
    assert "this package's gateway serves lexical" in found["server.model"]["found"]
    assert found["server.template"]["severity"] == "ok"
    assert "without a key" not in done.stdout
