"""Every Python block of the READMEs runs."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCKS = [
    pytest.param(block, id=f"{name}-{place}")
    for name in ("README.md", "README.zh-CN.md")
    for place, block in enumerate(
        re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)
    )
]


@pytest.mark.parametrize("block", BLOCKS)
def test_block_runs(block: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(block, "README", "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    assert not printed or "Beijing" in printed or "北京" in printed


def test_both_readmes_have_blocks() -> None:
    assert len(BLOCKS) >= 7
