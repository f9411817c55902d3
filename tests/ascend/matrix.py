"""Runs what is tried on every pair, prints one table and writes it into ``docs/ascend-matrix.md``.

    python -m tests.ascend.matrix                    every pair
    python -m tests.ascend.matrix 0.13.0 0.23.0      these; the others keep their columns
    python -m tests.ascend.matrix --part commands    a part; the other keeps its rows
    python -m tests.ascend.matrix --row lexical      a row of the engine's part

A pair takes some minutes and about 600 MB, which are given back afterwards unless ``ASCEND_PAIRS``
names a folder in which pairs are kept. What is printed on the way is in ``build/ascend-matrix``.
Exits with 1 if something did not come as it must.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qwen3_ascend_rerank import Reranker
from tests.support.pairs import QUERIES, log_odds, make_documents
from tests.support.variants import Variant, quantise_by_modelslim, unquantised, write

from . import commands, page
from .pairs import PAIRS, ROOT, Pair, UnavailableError, environment, folder_of
from .running import started
from .scenarios import DIES, MODELS, MODELSLIM, REFUSED, RIGHT, WRONG, Scenario, scenarios
from .trial import HEADING, LENGTH

PARTS = ENGINE, COMMANDS = "engine", "commands"
LOGS = ROOT / "build" / "ascend-matrix"
NEAR = 0.05
"""How far float16 may lie from float32, in log-odds: they are of the size of 10, it has 11 bits."""
SCENARIO_SECONDS = 400.0
"""How long an engine may take, from its start to its end."""
NEAR_INT8 = 0.5
"""And how far int8 activations may, where the weights are int8 in both."""
CALLS = 7
"""Calls of a scenario that are compared."""

VARIANTS = {
    "original": Variant(layout="4.51"),
    "converted": Variant("one label", layout="4.51"),
}
"""The small model's forms."""

Found = dict[str, Any]
"""What came of a scenario, as `trial.py` prints it."""


@contextmanager
def prepared(models: Sequence[str] = (*MODELS, MODELSLIM), short: int = 56) -> Iterator[Found]:
    """Models, documents of very different lengths, and the torch engine's log-odds of them.

    Four documents are long beside the `short` ones.
    """
    documents = make_documents(short, longest=120)
    documents += [" ".join(["Beijing", "moon"] * count) for count in (150, 220, 300, 390)]
    with tempfile.TemporaryDirectory() as home:
        folders = {"lexical": "lexical"}
        for name, variant in VARIANTS.items():
            if name in models:
                folders[name] = str(write(variant, Path(home) / name))
        to_read = dict(folders)
        if MODELSLIM in models:
            folder = write(VARIANTS["original"], Path(home) / MODELSLIM)
            to_read[MODELSLIM] = str(unquantised(quantise_by_modelslim(folder)))
            folders[MODELSLIM] = str(folder)
        expected = {}
        for kind, model in to_read.items():
            options = {"device": "cpu", "dtype": "float32"}
            with Reranker(
                model, engine="torch", max_length=LENGTH, engine_options=options, selfcheck="off"
            ) as reranker:
                expected[kind] = {
                    query: log_odds(reranker, query, documents) for query in QUERIES[:2]
                }
        yield {"documents": documents, "expected": expected, "models": folders}


def tried(
    pair: Pair, home: Path, content: Found, wanted: list[Scenario], logs: Path
) -> dict[str, Found]:
    """What came of each scenario, by name.

    They share a process; where one ends it, or takes too long, the rest has another.
    """
    found: dict[str, Found] = {}
    while left := [one for one in wanted if one.name not in found]:
        came, ended = _in_one_process(pair, home, content, left, logs)
        found |= came
        if len(came) < len(left):
            lost = next(one for one in left if one.name not in came)
            found[lost.name] = {"error": ended}
    return found


def _in_one_process(
    pair: Pair, home: Path, content: Found, wanted: list[Scenario], logs: Path
) -> tuple[dict[str, Found], str]:
    """What came, and how the process ended."""
    asked, printed, log = (logs / name for name in ("asked.json", "trial.out", "trial.log"))
    scenarios_ = [asdict(one) for one in wanted]
    asked.write_text(json.dumps({**content, "scenarios": scenarios_}), encoding="utf-8")
    printed.write_bytes(b"")
    command = [sys.executable, "-W", "ignore", "-m", "tests.ascend.trial", str(asked)]
    came: dict[str, Found] = {}
    since = time.monotonic()
    with started(command, environment(pair, home), log, printed) as process:
        while len(came) < len(wanted):
            ended = process.poll()
            now = _results(printed)
            if len(now) > len(came):
                came, since = now, time.monotonic()
            elif ended is not None:
                return came, f"its process ended with status {ended}"
            elif time.monotonic() - since > SCENARIO_SECONDS:
                return came, f"no end in {SCENARIO_SECONDS:.0f} s"
            time.sleep(0.2)
    for one in came.values():
        if "error" in one:
            one["error"] = cause(log, one["trial"]) or one["error"]
    return came, ""


def _results(printed: Path) -> dict[str, Found]:
    lines = printed.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    whole = [line for line in lines if line.startswith('{"trial"') and line.endswith("\n")]
    return {one["trial"]: one for one in map(json.loads, whole)}


def cause(log: Path, scenario: str) -> str:
    """The first error of an engine's process in a scenario's part of the log."""
    text = log.read_text(encoding="utf-8", errors="replace")
    part = text.rpartition(f"{HEADING}{scenario}\n")[2].partition(HEADING)[0]
    errors = re.findall(r"EngineCore.* ERROR .*?\b(\w+(?:Error|Exception): .*)", part)
    return errors[0] if errors else ""


def differences(found: Found) -> dict[str, float]:
    """By how much each call's log-odds differ from the expected ones, at most."""
    return {name: value for name, value in found.items() if isinstance(value, float)}


def changed(found: Found) -> dict[str, Any]:
    """The settings that are not what the plan asked for, as vllm-ascend has them."""
    became = found["became"]
    return {name: became[name] for name, value in found["asked"].items() if became[name] != value}


def outcome(found: Found | None) -> str:
    """What came of a scenario: `RIGHT`, `WRONG`, `DIES` or `REFUSED`."""
    if not found or "error" in found:
        return DIES
    if "refused" in found:
        return REFUSED
    limit = NEAR_INT8 if found["model"] == MODELSLIM else NEAR
    near = all(one <= limit for one in differences(found).values())
    whole = len(differences(found)) == CALLS and not changed(found)
    return RIGHT if near and whole else WRONG


def column(wanted: list[Scenario], found: dict[str, Found]) -> dict[str, str]:
    """A pair's cells of the engine's part, by the names of rows."""
    cells = {}
    if first := found.get(MODELS[0]):
        cells = {page.ARGUMENTS: _arguments(first), "chunks": page.OFF}
    for one in wanted:
        cells[one.name] = _cell(found.get(one.name))
    return cells


def _cell(found: Found | None) -> str:
    came = outcome(found)
    if came == REFUSED:
        return f"{page.FINE} {page.REFUSED}"
    if came == DIES or not found:
        return f"{page.BAD} {_short((found or {}).get('error', 'it did not run'))}"
    worst = max(differences(found).values(), default=0.0)
    return f"{page.FINE if came == RIGHT else page.BAD} {worst:.2g}"


def _arguments(found: Found) -> str:
    """What the plan asked for, and whether vllm-ascend has it so."""
    if "asked" not in found:
        return page.NO
    asked = ", ".join(f"`{name}={value}`" for name, value in found["asked"].items())
    return f"{page.BAD} {changed(found)}" if changed(found) else f"{page.FINE} {asked}"


def _short(error: str) -> str:
    return re.sub(r"\s+", " ", error.splitlines()[0])[:80].replace("|", "/")


def run(
    pair: Pair, content: Found, parts: Sequence[str], rows: Sequence[str] = ()
) -> tuple[dict[str, str], list[str]]:
    """A pair's cells, and what did not come as it must; of `rows` alone where they are given.

    Raises:
        UnavailableError: its wheels cannot be had.
    """
    logs = LOGS / pair.name.replace(" ", "-")
    logs.mkdir(parents=True, exist_ok=True)
    for one in logs.glob("*.log"):
        one.unlink()
    cells: dict[str, str] = {}
    amiss: list[str] = []
    with folder_of(pair) as home:
        if ENGINE in parts:
            wanted = [one for one in scenarios(pair) if not rows or one.name in rows]
            found = tried(pair, home, content, wanted, logs)
            (logs / "found.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
            cells |= column(wanted, found)
            amiss += [
                f"{one.name}: {came}, not {one.expected}"
                for one in wanted
                if (came := outcome(found.get(one.name))) != one.expected
            ]
        if COMMANDS in parts:
            answers = commands.answered(pair, home, logs)
            cells |= answers
            amiss += [f"{n}: {one}" for n, one in answers.items() if not one.startswith(page.FINE)]
    return cells, amiss


def main() -> int:
    """Run the pairs that the command line names; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    known = {pair.name: pair for pair in PAIRS}
    parser.add_argument("pairs", nargs="*", choices=[[], *known], help="default: all")
    parser.add_argument("--part", action="append", choices=PARTS, help="default: both")
    parser.add_argument("--row", action="append", default=[], help="default: all")
    options = parser.parse_args()
    parts = [ENGINE] if options.row else options.part or PARTS
    columns = page.read()
    wrong = 0
    with prepared() as content:
        for name in options.pairs or known:
            try:
                cells, amiss = run(known[name], content, parts, options.row)
                columns[name] = columns.get(name, {}) | cells
            except UnavailableError as error:
                columns[name], amiss = {page.ARGUMENTS: f"{page.BAD} {error}"}, [str(error)]
            except Exception as error:  # noqa: BLE001 - a pair is a column, whatever happens
                columns[name], amiss = {page.ARGUMENTS: f"{page.BAD} {error!r}"}, [repr(error)]
            wrong += len(amiss)
            print(f"{name}: {'; '.join(amiss) or 'all as it must be'}", flush=True)
            page.write(columns)
    print(f"\n{page.table(columns)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
