"""Runs what is tried on every pair, prints one table and writes it into ``docs/ascend-matrix.md``.

    python -m tests.ascend.matrix                    every pair
    python -m tests.ascend.matrix 0.13.0 0.23.0      these; the page stays as it is

A pair takes some minutes and about 600 MB, which are given back afterwards unless ``ASCEND_PAIRS``
names a folder in which pairs are kept. Exits with 1 if one is wrong.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qwen3_ascend_rerank import Reranker
from tests.support.pairs import QUERIES, log_odds, make_documents
from tests.support.variants import Variant, write

from . import commands
from .pairs import PAIRS, ROOT, Pair, UnavailableError, environment, folder_of

PAGES = (ROOT / "docs" / "ascend-matrix.md", ROOT / "docs" / "ascend-matrix.zh-CN.md")
LENGTH = 1000
RIGHT = 0.05
"""How far float16 may lie from float32, in log-odds: they are of the size of 10, it has 11 bits."""
TRIAL_SECONDS = 1500

CHUNKS = {"enable_chunked_prefill": True, "max_num_batched_tokens": 512}
CACHE = {"enable_prefix_caching": True}
MODELS = ("lexical", "original", "converted")
"""The lexical model, and a small one of random weights in both forms."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """An engine to be started and asked."""

    name: str
    kind: str = "lexical"
    options: dict[str, Any] = field(default_factory=dict)
    without: str = ""
    """Words of the hazard row that is left out; empty: the plan is whole."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A hazard row, and a scenario that it spoils when the row is gone."""

    row: str
    """Words of its fault."""
    pairs: tuple[str, ...]
    name: str
    options: dict[str, Any]
    provoked: bool = True
    """Whether it goes wrong over the stand-in; a fault that needs a device's own pace does not."""

    def scenario(self) -> Scenario:
        """The scenario without the row."""
        return Scenario(self.name, options=self.options, without=self.row)


HAZARDS = (
    Shown("the batch is cut to its first rows", ("0.11.0",), "chunks without the plan", CHUNKS),
    Shown(
        "attention of pooling models does not read",
        ("0.13.0",),
        "prefix cache without the plan",
        {**CACHE, "enable_chunked_prefill": False, "max_num_batched_tokens": 2048},
    ),
    Shown(
        "attention of pooling models does not read",
        ("0.13.0",),
        "chunks without the plan",
        {**CHUNKS, "enable_prefix_caching": False},
    ),
    Shown(
        "a step in which no prompt ends does not wait",
        ("0.18.0", "0.23.0", "0.25.1rc1"),
        "chunks without the plan",
        CHUNKS,
        provoked=False,
    ),
)
"""What goes wrong without the plan. The last needs a device that computes while the host goes on,
which the stand-in does not: it shows that chunks are otherwise right."""
MAY_CHUNK = ("0.26.0rc1",)
"""Pairs whose plan allows prompts in chunks: they are asked for."""


def scenarios(pair: Pair) -> list[Scenario]:
    """What is tried on a pair."""
    found = [Scenario(f"{model}", kind=model) for model in MODELS]
    if pair.vllm_ascend in MAY_CHUNK:
        found.append(Scenario("chunks", options=CHUNKS))
    return found + [one.scenario() for one in HAZARDS if pair.vllm_ascend in one.pairs]


@contextmanager
def prepared() -> Iterator[dict[str, Any]]:
    """Models, documents of very different lengths, and the torch engine's log-odds of them."""
    documents = make_documents(56, longest=120)
    documents += [" ".join(["Beijing", "moon"] * count) for count in (150, 220, 300, 390)]
    with tempfile.TemporaryDirectory() as home:
        folders = {
            "lexical": "lexical",
            "original": str(write(Variant(layout="4.51"), Path(home) / "original")),
            "converted": str(write(Variant("one label", layout="4.51"), Path(home) / "converted")),
        }
        expected = {}
        for kind, model in folders.items():
            options = {"device": "cpu", "dtype": "float32"}
            with Reranker(
                model, engine="torch", max_length=LENGTH, engine_options=options, selfcheck="off"
            ) as reranker:
                expected[kind] = {
                    query: log_odds(reranker, query, documents) for query in QUERIES[:2]
                }
        yield {"documents": documents, "expected": expected, "models": folders}


def tried(
    pair: Pair, home: Path, content: dict[str, Any], wanted: list[Scenario]
) -> dict[str, dict[str, Any]]:
    """What came of each scenario, by name; one that is missing killed its process."""
    asked = [
        {
            "name": one.name,
            "kind": one.kind,
            "model": content["models"][one.kind],
            "options": one.options,
            "without": one.without,
        }
        for one in wanted
    ]
    file = home / "scenarios.json"
    file.write_text(json.dumps({**content, "scenarios": asked}), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.ascend.trial", str(file)],
        cwd=ROOT,
        env=environment(pair, home),
        capture_output=True,
        text=True,
        errors="replace",
        timeout=TRIAL_SECONDS,
        check=False,
    )
    (home / "trial.log").write_text(done.stdout + done.stderr, encoding="utf-8")
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"trial"')]
    found = {one["trial"]: one for one in map(json.loads, lines)}
    if not found:
        found["error"] = {"error": "\n".join(done.stderr.splitlines()[-5:])}
    return found


def differences(found: dict[str, Any]) -> dict[str, float]:
    """By how much each call's log-odds differ from the expected ones, at most."""
    return {name: value for name, value in found.items() if isinstance(value, float)}


def is_right(found: dict[str, Any] | None) -> bool:
    """Whether every call of a scenario was answered, and rightly; the settings as asked."""
    if not found or "error" in found or len(differences(found)) < 7:
        return False
    asked = found["asked"]
    as_asked = all(found["became"][name] == value for name, value in asked.items())
    return as_asked and all(one <= RIGHT for one in differences(found).values())


def said(found: dict[str, Any] | None) -> str:
    """A scenario in a cell of the table."""
    if not found:
        return "the process died"
    if "error" in found:
        return f"dies: {reason(found['error'])}"
    worst = max(differences(found).values(), default=0.0)
    return f"{'right' if is_right(found) else '**wrong**'}, {worst:.2g}"


def reason(error: str) -> str:
    """The gist of an engine's error."""
    return re.sub(r"\s+", " ", error.splitlines()[0])[:80].replace("|", "/")


def row(pair: Pair, found: dict[str, dict[str, Any]], answered: dict[str, str]) -> list[str]:
    """A row of the table."""
    asked = found.get("lexical", {}).get("asked", {})
    off = [name for name, value in asked.items() if value is False]
    without = [
        f"{one.name.removesuffix(' without the plan')}: {said(found.get(one.name))}"
        for one in HAZARDS
        if pair.vllm_ascend in one.pairs
    ]
    chunks = said(found["chunks"]) if "chunks" in found else "off"
    return [
        pair.vllm_ascend,
        f"{pair.vllm} / {pair.transformers}",
        ", ".join(f"`{name}=False`" for name in off) or "nothing",
        *(said(found.get(model)) for model in MODELS),
        chunks,
        *(answered.get(name, "not run") for name in commands.NAMES),
        "; ".join(without) or "–",
    ]


HEAD = (
    "vllm-ascend",
    "vLLM / transformers",
    "the plan turns off",
    *MODELS,
    "in chunks",
    *commands.NAMES,
    "without the plan",
)


def table(rows: list[list[str]]) -> str:
    """Markdown."""
    lines = [HEAD, ("---",) * len(HEAD), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_pages(text: str) -> None:
    """Put the table between its marks on both pages."""
    for page in PAGES:
        content = page.read_text(encoding="utf-8")
        before, _, rest = content.partition("<!-- table -->\n")
        after = rest.partition("<!-- end -->")[2]
        page.write_text(f"{before}<!-- table -->\n{text}\n<!-- end -->{after}", encoding="utf-8")


def main() -> int:
    """Run the pairs that the command line names; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    known = {pair.name: pair for pair in PAIRS}
    parser.add_argument("pairs", nargs="*", choices=[[], *known], help="default: all")
    parser.add_argument("--write", action="store_true", help="write the page for some pairs too")
    options = parser.parse_args()
    rows, wrong = [], 0
    with prepared() as content:
        for name in options.pairs or known:
            pair = known[name]
            try:
                with folder_of(pair) as home:
                    found = tried(pair, home, content, scenarios(pair))
                    answered = commands.run(pair, home)
            except UnavailableError as error:
                print(f"{name}: {error}", flush=True)
                wrong += 1
                continue
            rows.append(row(pair, found, answered))
            print(table(rows[-1:]).splitlines()[-1], flush=True)
            for scenario, one in found.items():
                if not is_right(one):
                    print(f"  {scenario}: {one}", flush=True)
            expected = [*MODELS, *(["chunks"] if name in MAY_CHUNK else [])]
            wrong += not all(is_right(found.get(each)) for each in expected)
            wrong += any(not text.startswith("right") for text in answered.values())
            shown = [one for one in HAZARDS if name in one.pairs]
            wrong += any(is_right(found.get(one.name)) is one.provoked for one in shown)
    print(f"\n{table(rows)}")
    if options.write or not options.pairs:
        write_pages(table(rows))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
