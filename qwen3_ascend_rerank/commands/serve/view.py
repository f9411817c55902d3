"""What `serve` tells a person before the servers speak."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence

from rich.text import Text

from ...gateway import secret
from ...gateway.secret import ApiKey
from ...serving import abilities
from ...serving.judgement import ServerSetup
from ..screen import described_model, messages
from .address import is_loopback, url
from .preparation import Prepared, Wish

OPEN = "there is no API key: whoever reaches the port can use the model"
_OPEN_ROUTES = "/classify, /score, /rerank, /pooling and /tokenize"


def show_plan(model: str, prepared: Prepared) -> None:
    """What is served, what was set and why, and what is to be known."""
    machine, plan = prepared.machine, prepared.plan
    ascend = f", vllm-ascend {machine.vllm_ascend}" if machine.vllm_platform == "npu" else ""
    where = f"vLLM {machine.vllm}{ascend} on {machine.chip or machine.vllm_platform}"
    tell(f"{described_model(model)}: {where}", "bold")
    for adjustment in plan.adjustments:
        tell(f"set      {adjustment}", "dim")
    for warning in plan.warnings:
        warn(str(warning))


def show_access(wish: Wish, setup: ServerSetup, key: ApiKey | None) -> None:
    """How clients reach the servers, and who else does."""
    loopback = is_loopback(wish.host)
    if not setup.template:
        note(
            f"{_no_template(setup)}: this package's own clients send whole prompts; plain queries "
            "and documents are refused, since their scores would mean nothing"
        )
    if key is None and not loopback:
        warn(OPEN)
    elif key is not None:
        doors = f"vLLM asks for the API key on /v1 only, not on {_OPEN_ROUTES}"
        if loopback:
            note(doors)
        else:
            warn(f"{doors}: put a proxy before it that does, or listen on 127.0.0.1")
    urls = [url(wish.host, port) for port in wish.ports]
    tell(f"use      {in_python(urls, keyed=key is not None)}", "bold")


def ready(name: str, urls: Sequence[str], key: str | None, *, plain: bool = True) -> str:
    """What is said once they answer: where they are, and what to do next.

    Args:
        name: what the model is called.
        urls: where it is served.
        key: what gives the key in a shell; None where none is wanted.
        plain: whether plain texts are answered, too.
    """
    lines = [
        f"ready    {name} at {', '.join(urls)}",
        f"check    qwen3-rerank doctor --url {urls[0]}",
        f"Python   {in_python(urls, keyed=key is not None)}",
    ]
    if plain:
        body = {
            "model": name,
            "query": "capital of China",
            "documents": ["Bread needs flour.", "Beijing is the capital of China."],
        }
        words = ["curl", f"{urls[0]}/v1/rerank", "-H", "Content-Type: application/json"]
        words += ["-d", json.dumps(body, ensure_ascii=False)]
        with_key = f' -H "Authorization: Bearer "{key}' if key else ""
        lines.append(f"others   {shlex.join(words)}{with_key}")
    return "\n".join(lines)


def in_python(urls: Sequence[str], *, keyed: bool) -> str:
    """How this package's own client is told of them."""
    quoted = [f'"{one}"' for one in urls]
    base_url = quoted[0] if len(quoted) == 1 else f"[{', '.join(quoted)}]"
    with_key = ", api_key=…" if keyed else ""
    return f"Reranker(base_url={base_url}{with_key})"


def _no_template(setup: ServerSetup) -> str:
    if abilities.can(setup.version, "template"):
        return "there is no template"
    return f"vLLM {setup.version} applies no template"


def show_commands(prepared: Prepared, key: ApiKey | None) -> None:
    """What would run, as lines for a shell."""
    if not any(prepared.checkpoint.folder.glob("*.safetensors")):
        note("the weights are not here yet; a start without --dry-run fetches them")
    for server in prepared.servers:
        sys.stdout.write(shell_line(server.command, server.changes, key) + "\n")


def note(message: str) -> None:
    """Something to know."""
    tell(f"note     {message}", "dim")


def warn(message: str) -> None:
    """Something that can go wrong."""
    tell(f"warning  {message}", "yellow")


def tell(message: str, style: str = "") -> None:
    """A line for whoever started it."""
    messages().print(Text(message, style), soft_wrap=True)


def shell_line(
    command: Sequence[str], environment: Mapping[str, str | None], key: ApiKey | None
) -> str:
    """The server as a line for a shell; the key is named in it, not shown."""
    removed = [
        word for name, value in environment.items() if value is None for word in ("-u", name)
    ]
    given = {name: value for name, value in environment.items() if value is not None}
    words = [shlex.quote(f"{name}={value}") for name, value in given.items()]
    if key is not None:
        words.append(f"{secret.VARIABLE}={key.shell}")
    before = ["env", *removed, *words] if removed or words else []
    return " ".join([*before, shlex.join(command)])
