"""`serve --bare`: becomes vLLM's own server, set up for right scores; or keeps several running."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence

from ...errors import EngineError
from ...gateway import secret
from ...models import open_checkpoint
from ...serving import ready
from .address import check_free, near, url
from .preparation import Prepared, Server, Wish, check_servable, prepare
from .supervisor import ServerProcess, Supervisor
from .view import ready as ready_text
from .view import show_access, show_commands, show_plan


def serve_bare(wish: Wish, key: secret.ApiKey | None, *, dry_run: bool) -> None:
    """Become the server, or print what it would be.

    Raises:
        RerankError: as `prepare` and `check_servable` do.
    """
    if not dry_run:
        check_free(wish.host, wish.ports)
    prepared = prepare(wish)
    show_plan(wish.model, prepared)
    show_access(wish, prepared.setup, key)
    if dry_run:
        show_commands(prepared, key)
        return
    check_weights(wish.model, prepared)
    urls = [url(wish.host, port) for port in wish.ports]
    said = ready_text(
        wish.names[0], urls, key.shell if key else None, plain=prepared.setup.template
    )
    _start(wish, prepared.servers, key, said)


def check_weights(model: str, prepared: Prepared) -> None:
    """Have the weights here, once for all servers, and refuse those that cannot be served."""
    check_servable(open_checkpoint(model), prepared)


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
    received = asyncio.run(
        Supervisor(replicas_of(servers, near(wish.host), key), announcement).run()
    )
    if received is None:
        raise given_up()
    if received == signal.SIGINT:
        raise KeyboardInterrupt


def replicas_of(
    servers: Sequence[Server], host: str, key: secret.ApiKey | None
) -> list[ServerProcess]:
    """The servers, as a supervisor keeps them."""
    return [
        ServerProcess(number, each.command, _environment(each.changes, key), host, each.port)
        for number, each in enumerate(servers)
    ]


def given_up() -> EngineError:
    """The error where no server is left."""
    return EngineError("every replica was given up; their output above names the cause")


def _environment(changes: Mapping[str, str | None], key: secret.ApiKey | None) -> dict[str, str]:
    """This process's environment, changed; with the key where vLLM looks for it."""
    keyed = {secret.VARIABLE: key.value.get_secret_value()} if key else {}
    merged = {**os.environ, **changes, **keyed}
    return {name: value for name, value in merged.items() if value is not None}
