"""The commands on a pair: `serve`, asked by our client and by plain HTTP, `selfcheck`, `bench`,
`doctor`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from packaging.version import Version

from qwen3_ascend_rerank import Reranker, RerankError
from tests.support.servers import PROGRAM, free_port

from .pairs import Pair, environment
from .running import TookTooLongError, run, started

QUERY, DOCUMENTS = "What is the capital of China?", ["Beijing is the capital.", "The moon."]
OPTIONS = {"enforce_eager": True, "dtype": "float16", "gpu_memory_utilization": 0.5}
IN_THIS_PROCESS = ["--engine", "vllm", "--engine-options", json.dumps(OPTIONS)]
BY_VLLM = ["--", "--enforce-eager", "--dtype", "float16", "--gpu-memory-utilization", "0.5"]
LENGTH = ["--max-length", "600"]
SERVERS = {
    "serve": [*IN_THIS_PROCESS, *LENGTH],
    "serve --bare": ["--bare", *LENGTH, *BY_VLLM],
}
"""How each is started, after its model and port."""
COMMANDS = {
    "selfcheck": ["selfcheck", "--model", "lexical", *IN_THIS_PROCESS, *LENGTH],
    "bench": ["bench", "--model", "lexical", "--num-requests", "4", *IN_THIS_PROCESS, *LENGTH],
    "doctor": ["doctor"],
}
DOCTOR_PROBLEM = 1
"""The doctor's exit status where something is wrong: here no NPU and no CANN are found."""
CLIENT, HTTP = "our client", "plain HTTP"
NAMES = (*(f"{server}, {by}" for server in SERVERS for by in (CLIENT, HTTP)), *COMMANDS)

TEMPLATE_SINCE = Version("0.14")
"""The first vLLM that makes the prompt itself; before, a bare server refuses plain HTTP."""
START_SECONDS, COMMAND_SECONDS, END_SECONDS = 600.0, 600.0, 60.0
"""Half a minute is usual; a machine that others use too takes ten times as long."""
NEAR = 0.01
"""How far probabilities of float16 may lie from those of float32."""
FINE, BAD = "✓", "✗"


def answered(pair: Pair, home: Path, logs: Path) -> dict[str, str]:
    """What came of each, by `NAMES`; what is as it should be begins with `FINE`."""
    with Reranker("lexical", engine="torch", engine_options={"device": "cpu"}) as reranker:
        right = {one.index: one.score for one in reranker.rerank(QUERY, DOCUMENTS)}
    environ = {**environment(pair, home), "COLUMNS": "120"}
    found = {}
    for name, words in SERVERS.items():
        found |= _served(pair, name, words, environ, logs, right)
    for name, words in COMMANDS.items():
        found[name] = _command(name, words, environ, logs)
    return found


def _served(
    pair: Pair,
    name: str,
    words: list[str],
    environ: dict[str, str],
    logs: Path,
    right: dict[int, float],
) -> dict[str, str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [*PROGRAM, "serve", "lexical", "--port", str(port), *words]
    log = logs / f"{name.replace(' ', '')}.log"
    names = f"{name}, {CLIENT}", f"{name}, {HTTP}"
    with started(command, environ, log) as process:
        if not _is_ready(url, process):
            lives = process.poll() is None
            said = f"not ready in {START_SECONDS:.0f} s" if lives else _last_line(log)
            return dict.fromkeys(names, f"{BAD} {said}")
        takes_text = "--bare" not in words or Version(pair.vllm) >= TEMPLATE_SINCE
        found = {
            names[0]: _by_client(url, right),
            names[1]: _by_http(url, right, refused=not takes_text),
        }
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
        return found


def _is_ready(url: str, process: subprocess.Popen[bytes]) -> bool:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError), urlopen(f"{url}/health", timeout=5) as answer:
            if answer.status == 200:
                return True
        time.sleep(0.5)
    return False


def _by_client(url: str, right: dict[int, float]) -> str:
    try:
        with Reranker(base_url=url) as reranker:
            found = {one.index: one.score for one in reranker.rerank(QUERY, DOCUMENTS)}
    except RerankError as error:
        return f"{BAD} {_short(str(error))}"
    return _compared(found, right)


def _by_http(url: str, right: dict[int, float], *, refused: bool) -> str:
    body = {"model": "lexical", "query": QUERY, "documents": DOCUMENTS}
    asked = Request(
        f"{url}/v1/rerank",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urlopen(asked, timeout=60) as answer:
            results: list[dict[str, Any]] = json.load(answer)["results"]
    except HTTPError as error:
        said = error.read().decode(errors="replace")
        if refused and error.code == 400 and "template" in said:
            return f"{FINE} refused"
        return f"{BAD} {error.code}: {_short(said)}"
    except OSError as error:
        return f"{BAD} {_short(str(error))}"
    if refused:
        return f"{BAD} not refused"
    return _compared({one["index"]: one["relevance_score"] for one in results}, right)


def _compared(found: dict[int, float], right: dict[int, float]) -> str:
    worst = max(abs(found[place] - value) for place, value in right.items())
    return f"{FINE if worst <= NEAR else BAD} {worst:.1g}"


def _command(name: str, words: list[str], environ: dict[str, str], logs: Path) -> str:
    log = logs / f"{name}.log"
    command = [sys.executable, "-W", "ignore", *PROGRAM[1:], *words]
    try:
        status = run(command, environ, log, COMMAND_SECONDS)
    except TookTooLongError as error:
        return f"{BAD} {error}"
    said = log.read_text(encoding="utf-8", errors="replace")
    fine = status == 0
    if name == "doctor":
        fine = status == DOCTOR_PROBLEM and "vllm-ascend" in said and "Traceback" not in said
    return FINE if fine else f"{BAD} status {status}"


def _last_line(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace")
    *_, last = text.strip().splitlines() or ["nothing printed"]
    return _short(last)


def _short(text: str) -> str:
    return " ".join(text.split())[:100].replace("|", "/")
