"""The commands on a pair: `serve`, asked by HTTP and our client, `selfcheck`, `bench`, `doctor`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from urllib.request import Request, urlopen

from qwen3_ascend_rerank import Reranker, RerankError
from tests.support.servers import PROGRAM, free_port

from .pairs import ROOT, Pair, environment

NAMES = ("serve, our client", "serve, plain HTTP", "selfcheck", "bench", "doctor")
QUERY, DOCUMENTS = "What is the capital of China?", ["Beijing is the capital.", "The moon."]
ARGUMENTS = {"enforce_eager": True, "dtype": "float16", "gpu_memory_utilization": 0.5}
START_SECONDS, COMMAND_SECONDS = 400.0, 600.0
NEAR = 0.01
"""How far probabilities of float16 may lie from those of float32."""


def run(pair: Pair, home: Path) -> dict[str, str]:
    """What came of each, by `NAMES`; what is right begins with ``right``."""
    with Reranker("lexical", engine="torch", engine_options={"device": "cpu"}) as reranker:
        right = {one.index: one.score for one in reranker.rerank(QUERY, DOCUMENTS)}
    return {**_served(pair, home, right), **_commands(pair, home)}


def _served(pair: Pair, home: Path, right: dict[int, float]) -> dict[str, str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        *(*PROGRAM, "serve", "lexical", "--port", str(port), "--max-length", "600"),
        *("--template", "--", "--enforce-eager", "--dtype", "float16"),
        *("--gpu-memory-utilization", "0.5"),
    ]
    log = home / "serve.log"
    with log.open("wb") as printed:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=printed,
            stderr=subprocess.STDOUT,
            env=environment(pair, home),
            start_new_session=True,
        )
    try:
        if not _answers(url, process):
            *_, last = log.read_text(errors="replace").strip().splitlines() or ["nothing printed"]
            return dict.fromkeys(NAMES[:2], last[:100].replace("|", "/"))
        return {NAMES[0]: _by_client(url, right), NAMES[1]: _by_http(url, right)}
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError), urlopen(f"{url}/health", timeout=5) as answer:
            return bool(answer.status == 200)
        time.sleep(0.5)
    return False


def _by_client(url: str, right: dict[int, float]) -> str:
    try:
        with Reranker(base_url=url) as reranker:
            found = {one.index: one.score for one in reranker.rerank(QUERY, DOCUMENTS)}
    except RerankError as error:
        return str(error)[:100].replace("|", "/")
    return _compared(found, right)


def _by_http(url: str, right: dict[int, float]) -> str:
    body = {"model": "lexical", "query": QUERY, "documents": DOCUMENTS}
    asked = Request(
        f"{url}/v1/rerank",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urlopen(asked, timeout=60) as answer:
            results = json.load(answer)["results"]
    except OSError as error:
        return str(error)[:100]
    return _compared({one["index"]: one["relevance_score"] for one in results}, right)


def _compared(found: dict[int, float], right: dict[int, float]) -> str:
    worst = max(abs(found[place] - value) for place, value in right.items())
    return f"{'right' if worst <= NEAR else '**wrong**'}, {worst:.1g}"


def _commands(pair: Pair, home: Path) -> dict[str, str]:
    engine = ["--engine", "vllm", "--engine-options", json.dumps(ARGUMENTS), "--max-length", "600"]
    asked = {
        "selfcheck": ["selfcheck", "--model", "lexical", *engine],
        "bench": ["bench", "--model", "lexical", "--num-requests", "4", *engine],
        "doctor": ["doctor"],
    }
    return {name: _command(pair, home, name, words) for name, words in asked.items()}


def _command(pair: Pair, home: Path, name: str, words: list[str]) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *PROGRAM[1:], *words],
        cwd=ROOT,
        env={**environment(pair, home), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=COMMAND_SECONDS,
        check=False,
    )
    (home / f"{name}.log").write_text(done.stdout + done.stderr, encoding="utf-8")
    if name == "doctor":  # there is no NPU and no CANN, which it says
        return "right" if "vllm-ascend" in done.stdout else f"status {done.returncode}"
    return "right" if done.returncode == 0 else f"status {done.returncode}"
