"""Makes each notebook from its source: `python notebooks/build.py [name …]`.

A source is a script with cells (jupytext's percent format). The notebook beside it holds the same
cells and what they printed in one clean run, and nothing that changes from run to run.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
NAMES = ("langchain_rag", "llama_index_rag", "inside_a_score", "serving_on_ascend")
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
SERVER = "server"
"""Tag of the cells that start servers."""
QUIET = "ignore:IProgress not found"
"""What tqdm says where there are no widgets."""
TIMEOUT = 300
"""Seconds that a cell may take."""
WIDTH = "100"
"""Columns of what cells print, whatever the terminal is that they are made in."""


def source_of(name: str) -> Path:
    """The script."""
    return FOLDER / f"{name}.py"


def notebook_of(name: str) -> Path:
    """The notebook."""
    return FOLDER / f"{name}.ipynb"


def read_source(name: str) -> Any:
    """The cells of a source, without outputs."""
    notebook = jupytext.read(source_of(name))
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    seen: set[str] = set()
    for cell in notebook.cells:
        cell.id = _unused(hashlib.sha256(cell.source.encode()).hexdigest()[:8], seen)
        tags = cell.metadata.get("tags")
        cell.metadata = {"tags": tags} if tags else {}
    return notebook


def run(notebook: Any, **environment: str) -> Any:
    """Run all cells, in this folder, and keep their outputs."""
    NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name=KERNEL["name"],
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(FOLDER)}},
    ).execute(env={**os.environ, "COLUMNS": WIDTH, "PYTHONWARNINGS": QUIET, **environment})
    notebook.metadata["language_info"] = {"name": "python"}  # the kernel adds its version
    return notebook


def build(name: str) -> None:
    """Write the notebook `name`."""
    nbformat.write(run(read_source(name)), notebook_of(name))


def _unused(identity: str, seen: set[str]) -> str:
    while identity in seen:
        identity += "x"
    seen.add(identity)
    return identity


if __name__ == "__main__":
    for chosen in sys.argv[1:] or NAMES:
        build(chosen)
        print("made", notebook_of(chosen))
