"""The examples that users copy, run as they stand."""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from typing import Any

from langchain_qwen3_ascend_rerank import rerank

README = Path(__file__).parents[2] / "README.md"


def test_the_readme_works_from_top_to_bottom(loaded):
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) > 4
    for block in blocks:
        exec(block, names)
    assert names["best"][0].id == "beijing"


def test_the_docstrings_work(loaded):
    assert doctest.testmod(rerank, raise_on_error=True).attempted
