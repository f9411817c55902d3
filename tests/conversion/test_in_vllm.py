"""vLLM takes what was converted for what it is, with no word from us."""

import json
import math
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from qwen3_ascend_rerank.conversion import convert
from tests.support.adapters import ALL, peft_answers, write_adapter
from tests.support.variants import Variant, answers, write

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(find_spec("vllm") is None, reason="needs vLLM"),
]


def test_vllm_gives_the_answers_of_the_original_and_of_peft(tmp_path: Path) -> None:
    tied = write(Variant(layout="4.51"), tmp_path / "tied")
    untied = write(Variant(tie="untied", files="shards"), tmp_path / "untied")
    adapter = write_adapter(tmp_path / "adapter", untied, target_modules=[*ALL, "lm_head"])
    convert(tied, tmp_path / "one")
    convert(untied, tmp_path / "several")
    convert(untied, tmp_path / "merged", adapter=adapter)
    expected = [
        answers(Variant(layout="4.51")),
        answers(Variant(tie="untied", files="shards")),
        peft_answers(untied, adapter),
    ]
    folders = [str(tmp_path / name) for name in ("one", "several", "merged")]
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.plain_vllm", *folders],
        env={
            **os.environ,
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_LOGGING_LEVEL": "ERROR",
            "VLLM_CPU_KVCACHE_SPACE": "1",
        },
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[[")]
    assert len(found) == len(expected)
    for (log_odds, scores), right in zip(found, expected, strict=True):
        assert log_odds == pytest.approx(right, abs=1e-3)
        assert scores == pytest.approx([1 / (1 + math.exp(-one)) for one in right], abs=1e-4)
