"""The command line of a vLLM server whose scores are right, for the vLLM that is installed."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import EngineError, InvalidInputError
from .arguments import Reading
from .detect import Machine
from .plan import Plan
from .probes import engine_arguments
from .rules import Releases

TEMPLATE = Path(__file__).with_name("score_template.jinja")
"""Formats query and document in the server, to the official ids."""
WITHOUT_TEMPLATES = Releases(until="0.14")
"""Releases of vLLM that take a template and do not apply it (vllm-project/vllm#30550)."""

PARALLEL = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
"""Engine arguments whose product is how many devices a server takes."""

_ELSEWHERE = {
    "model": "it is MODEL",
    "served_model_name": "use --served-model-name before the --",
    "host": "use --host before the --",
    "port": "use --port before the --",
    "api_key": "everybody on this machine could read it in the list of processes; put it into the "
    "environment as VLLM_API_KEY, or into a file for --api-key-file",
}
"""What must not be among the passed-on options, and where it belongs."""


def check_passed_on(reading: Reading, *, template: bool) -> None:
    """Refuse options that have a better place, or contradict the others.

    Raises:
        InvalidInputError: there is one.
    """
    given = reading.options.keys() | reading.server_options
    for name, way_out in _ELSEWHERE.items():
        if name in given:
            raise InvalidInputError(f"{_flag(name)} cannot be passed on to vLLM: {way_out}")
    if template and "chat_template" in given:
        raise InvalidInputError("--template and --chat-template exclude each other; leave one out")


def check_template(machine: Machine) -> None:
    """Refuse to rely on the server's formatting where there is none.

    Raises:
        EngineError: this vLLM does not apply templates to scores.
    """
    if machine.vllm in WITHOUT_TEMPLATES:
        raise EngineError(
            f"vLLM {machine.vllm} does not apply a template to scores; use 0.14 or newer, or leave "
            "--template out: this package's own clients format the prompt themselves"
        )


def devices_of(reading: Reading) -> int:
    """How many devices one server takes."""
    devices = 1
    for name in PARALLEL:
        devices *= int(reading.options.get(name) or 1)
    return devices


def command(
    reading: Reading,
    plan: Plan,
    *,
    model: str,
    name: str,
    converted: bool,
    host: str,
    port: int,
    template: bool = False,
    passed_on: Sequence[str] = (),
) -> list[str]:
    """The server's command line.

    Args:
        reading: what the installed vLLM makes of `passed_on`.
        plan: what this machine needs.
        model: its folder.
        name: what the model is called in requests.
        converted: whether the checkpoint is a sequence classification model already.
        host: the address to listen on.
        port: the port to listen on.
        template: whether the server formats queries and documents.
        passed_on: the user's own options for vLLM; what is added here contradicts none of them.

    Raises:
        InvalidInputError: one of them contradicts what a reranker needs.
        EngineError: this vLLM has no way to pool that is known.
    """
    wanted = engine_arguments(
        reading.signatures,
        converted=converted,
        options={**reading.options, **plan.settings},
        log_odds=False,
    )
    ours = {key: value for key, value in wanted.items() if reading.options.get(key) != value}
    _check_dotted(ours, passed_on)
    module, before_model = reading.entry
    line = [sys.executable, "-m", module, before_model, model]
    line += ["--served-model-name", name, "--host", host, "--port", str(port)]
    if template:
        line += ["--chat-template", str(TEMPLATE)]
    line += passed_on
    for key, value in ours.items():  # behind the user's, since the last one counts
        line += _written(key, value)
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
