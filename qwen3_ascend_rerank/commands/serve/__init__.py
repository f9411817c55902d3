"""`qwen3-rerank serve`: becomes a vLLM server whose scores are right, or keeps several running."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from ...components.settings import ENVIRONMENT_PREFIX
from ...errors import EngineError
from ...models import open_checkpoint
from ...serving import ready
from ..options import default, setting
from . import secret
from .address import LAST_PORT, check_free, near
from .preparation import Server, Wish, check_servable, prepare
from .supervisor import Replica, Supervisor
from .view import ready as ready_text
from .view import show_access, show_commands, show_plan


def serve(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Hub id, folder, or lexical, which matches words and is no language model.",
            show_default=False,
        ),
    ],
    vllm_options: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="-- VLLM_OPTION",
            help="What vLLM's own server takes: -- --tensor-parallel-size 2",
            show_default=False,
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=1, max=LAST_PORT, help="Port to listen on; replicas take the next.")
    ] = 8000,
    max_length: Annotated[int, setting("max_length")] = default("max_length"),
    served_model_name: Annotated[
        list[str] | None,
        typer.Option(
            help="What requests call the model; may be given several times. Not given: MODEL.",
            show_default=False,
        ),
    ] = None,
    instruction: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            envvar=f"{ENVIRONMENT_PREFIX}INSTRUCTION",
            show_envvar=False,
            help="What makes a document relevant, for requests that do not say; best in English. "
            "Not given: Qwen's own, for web search.",
            show_default=False,
        ),
    ] = None,
    template: Annotated[
        bool | None,
        typer.Option(
            "--template/--no-template",
            help="Whether the server makes the prompt of plain queries and documents, for clients "
            "other than this package's own. Without it, it refuses them. Default: with it, from "
            "vLLM 0.14 on.",
            show_default=False,
        ),
    ] = None,
    replicas: Annotated[
        int,
        typer.Option(min=1, help="How many servers, each on devices and a port of its own."),
    ] = 1,
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="File with the API key; not given: VLLM_API_KEY or QWEN3_RERANK_API_KEY from the "
            "environment.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the command that would run, and end.")
    ] = False,
) -> None:
    """Serve a model with vLLM, set up so that its scores are right on this machine.

    Looks at the card and the versions, avoids what they are known to get
    wrong, and becomes the vLLM server. With --replicas it starts several,
    restarts one that dies, and ends all of them with itself.

    [dim]qwen3-rerank serve Qwen/Qwen3-Reranker-0.6B[/]

    [dim]qwen3-rerank serve Qwen/Qwen3-Reranker-8B --replicas 4 -- --tensor-parallel-size 2[/]
    """
    wish = Wish(
        model=model,
        names=served_model_name or [model],
        host=host,
        port=port,
        replicas=replicas,
        max_length=max_length,
        template=template,
        instruction=instruction,
        passed_on=vllm_options or [],
    )
    key = secret.find_key(api_key_file)
    if not dry_run:
        check_free(host, wish.ports)
    prepared = prepare(wish)
    show_plan(model, prepared)
    show_access(wish, prepared.terms, key)
    if dry_run:
        show_commands(prepared, key)
    else:
        whole = open_checkpoint(model)  # with its weights, once for all servers
        check_servable(whole, prepared)
        _start(wish, prepared.servers, key, ready_text(wish, prepared.terms, key))


def _start(
    wish: Wish, servers: Sequence[Server], key: secret.ApiKey | None, announcement: str
) -> None:
    """Become the one server, or keep several running until they are to end."""
    if len(servers) == 1:
        (server,) = servers
        said = ready.variables(near(wish.host), server.port, announcement)
        command = [*server.command, "--middleware", ready.MIDDLEWARE]
        sys.stdout.flush()
        os.execve(  # noqa: S606 - no shell is wanted
            command[0], command, _environment({**server.changes, **said}, key)
        )
    replicas = [
        Replica(number, each.command, _environment(each.changes, key), near(wish.host), each.port)
        for number, each in enumerate(servers)
    ]
    received = asyncio.run(Supervisor(replicas, announcement).run())
    if received is None:
        raise EngineError("every replica was given up; their output above names the cause")
    if received == signal.SIGINT:
        raise KeyboardInterrupt


def _environment(changes: Mapping[str, str | None], key: secret.ApiKey | None) -> dict[str, str]:
    """This process's environment, changed; with the key where vLLM looks for it."""
    keyed = {secret.VARIABLE: key.value.get_secret_value()} if key else {}
    merged = {**os.environ, **changes, **keyed}
    return {name: value for name, value in merged.items() if value is not None}
