"""The command line of a vLLM server whose scores are right, for the vLLM that is installed."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import InvalidInputError
from ..runtime.arguments import ReadOptions
from ..runtime.devices import devices_taken
from ..runtime.plan import Plan
from ..runtime.probes import engine_arguments

_ELSEWHERE = {
    "model": "it is MODEL",
    "served_model_name": "use --served-model-name before the --",
    "host": "use --host before the --",
    "port": "use --port before the --",
    "api_key": "everybody on this machine could read it in the list of processes; put it into the "
    "environment as VLLM_API_KEY, or into a file for --api-key-file",
    "chat_template": "serve brings Qwen3-Reranker's own; --instruction before the -- changes its "
    "instruction, and --no-template leaves it out",
}
"""What must not be among the passed-on options, and where it belongs."""


def check_passed_on(reading: ReadOptions) -> None:
    """Refuse options that have a better place.

    Raises:
        InvalidInputError: there is one.
    """
    given = reading.options.keys() | reading.server_options
    for name, way_out in _ELSEWHERE.items():
        if name in given:
            raise InvalidInputError(f"{_flag(name)} cannot be passed on to vLLM: {way_out}")


def devices_of(reading: ReadOptions) -> int:
    """How many devices one server takes."""
    return devices_taken(reading.options)


def command(
    reading: ReadOptions,
    plan: Plan,
    *,
    model: str,
    names: Sequence[str],
    converted: bool,
    overrides: Mapping[str, Any] = MappingProxyType({}),
    host: str,
    port: int,
    template: Path | None = None,
    middleware: Sequence[str] = (),
    passed_on: Sequence[str] = (),
) -> list[str]:
    """The server's command line.

    Args:
        reading: what the installed vLLM makes of `passed_on`.
        plan: what this machine needs.
        model: its folder.
        names: what the model is called in requests; the first is what answers call it.
        converted: whether the checkpoint is a sequence classification model already.
        overrides: what else vLLM must be told of it.
        host: the address to listen on.
        port: the port to listen on.
        template: what makes the prompt of a query and a document; None: nothing does.
        middleware: import paths of what stands before the server's routes.
        passed_on: the user's own options for vLLM; what is added here contradicts none of them.

    Raises:
        InvalidInputError: one of them contradicts what a reranker needs.
        EngineError: this vLLM has no way to pool that is known.
    """
    wanted = engine_arguments(
        reading.signatures,
        converted=converted,
        overrides=overrides,
        options={**reading.options, **plan.settings},
        log_odds=False,
    )
    ours = {key: value for key, value in wanted.items() if reading.options.get(key) != value}
    _check_dotted(ours, passed_on)
    module, before_model = reading.entry
    line = [sys.executable, "-m", module, before_model, model]
    line += ["--served-model-name", *names, "--host", host, "--port", str(port)]
    if template is not None:
        line += ["--chat-template", str(template)]
    line += passed_on
    for key, value in ours.items():  # behind the user's, since the last one counts
        line += _written(key, value)
    for each in middleware:  # the last one is asked first
        line += ["--middleware", each]
    return line


def _check_dotted(ours: Mapping[str, Any], passed_on: Sequence[str]) -> None:
    # vLLM joins these at the very end, where they would replace ours instead of joining them.
    for key in (key for key, value in ours.items() if isinstance(value, Mapping)):
        if any(each.replace("_", "-").startswith(f"{_flag(key)}.") for each in passed_on):
            raise InvalidInputError(f"give {_flag(key)} as one JSON object, not in parts")


def _written(key: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [_flag(key if value else f"no_{key}")]
    structured = isinstance(value, Mapping | list)
    return [_flag(key), json.dumps(value) if structured else str(value)]


def _flag(key: str) -> str:
    return "--" + key.replace("_", "-")
