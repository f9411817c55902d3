"""One client carries 2,000 queries nearly as fast as bare requests do, and does not grow."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import pytest

from tests.support.processes import ROOT
from tests.support.servers import API_KEY, VLLMServer

pytestmark = [
    pytest.mark.full,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(find_spec("vllm") is None, reason="needs vLLM"),
]
ARGUMENTS = ("--queries", "2000", "--documents", "20", "--concurrency", "64", "--json")


def test_two_thousand_queries_through_one_client(record_property: Any) -> None:
    with VLLMServer(max_model_len=513) as server:
        run = subprocess.run(
            [sys.executable, "benchmarks/served_load.py", *ARGUMENTS, "--url", server.url],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "QWEN3_RERANK_API_KEY": API_KEY},
            stdout=subprocess.PIPE,
            check=False,
        )
    figures = json.loads(run.stdout)
    for name, value in figures.items():
        record_property(name, value)
    assert figures["ratio"] >= 0.9
    assert figures["growth"] < 16  # MiB, after the first fifth
    assert run.returncode == 0
