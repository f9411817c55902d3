"""`serve`: one URL for every client, before an engine here, replicas, or servers elsewhere."""

from __future__ import annotations

import secrets
import sys
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pydantic import SecretStr

from ...components.settings import RERANKER_FIELDS, RerankSettings
from ...engines import choose_engine
from ...engines.served.address import checked_urls
from ...errors import MissingDependencyError
from ...gateway.secret import ApiKey, Keyring
from ..screen import described_model
from .address import LOOPBACK, check_free, free_ports, is_loopback, url
from .bare import check_weights, given_up, replicas_of
from .preparation import Prepared, Wish, prepare
from .supervisor import Supervisor
from .view import OPEN, in_python, show_commands, show_plan, tell, warn
from .view import ready as ready_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Where the gateway listens, and who may come in."""

    host: str
    port: int
    certificate: str | None
    private_key: str | None
    keyring: Keyring

    @property
    def url(self) -> str:
        """What clients are given."""
        return url(self.host, self.port, "https" if self.certificate else "http")


def serve_gateway(
    settings: RerankSettings,
    where: Where,
    limits: dict[str, Any],
    *,
    replicas: Wish | None,
    log_requests: bool,
    dry_run: bool,
) -> None:
    """Serve until it is told to end.

    Args:
        settings: the Reranker behind it; where there are `replicas`, what is not theirs.
        where: where to listen.
        limits: as `GatewaySettings` takes them.
        replicas: the servers to keep running behind it; None: there are others, or none.
        log_requests: whether each request is a line on standard error.
        dry_run: whether to say what would run, and end.

    Raises:
        RerankError: it cannot be served.
    """
    try:
        from ...gateway.keys import Keys
        from ...gateway.running import Socket, run
        from ...gateway.settings import GatewaySettings
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f'serving needs {error.name}; pip install "qwen3-ascend-rerank[serve]"'
        ) from None
    if not dry_run:
        check_free(where.host, range(where.port, where.port + 1))
    limited = GatewaySettings(**limits)
    behind = _Behind.of(settings, replicas) if replicas else None
    name, *_ = limited.names or ("what is served there",)
    if behind:  # the key of the replicas is for them alone, not for stages before them
        (last,) = behind.settings.make_reranker().stages
        reranker = settings.in_cascade(last)
    else:
        reranker = settings.make_reranker()  # it checks the settings
    _show(settings, where, name, behind)
    if dry_run:
        _show_dry(where, name, behind)
        return
    if behind:
        check_weights(behind.wish.model, behind.prepared)
    said = ready_text(name, [where.url], where.keyring.shell)
    run(
        reranker,
        limited,
        Keys(where.keyring.keys),
        Socket(
            host=where.host,
            port=where.port,
            certificate=where.certificate,
            private_key=where.private_key,
        ),
        on_ready=partial(print, said, file=sys.stderr, flush=True),
        beside=behind.keep if behind else None,
        log_requests=log_requests,
    )


@dataclass(frozen=True, slots=True)
class _Behind:
    """Replicas behind the gateway: vLLM servers on the loopback, with a key that only it has."""

    wish: Wish
    prepared: Prepared
    settings: RerankSettings
    """Of the Reranker that asks them."""
    key: ApiKey

    @classmethod
    def of(cls, settings: RerankSettings, wish: Wish) -> _Behind:
        """Look at what there is."""
        ports = free_ports(wish.replicas)
        wish = replace(wish, host=LOOPBACK, port=ports[0])
        prepared = prepare(wish)
        key = ApiKey(SecretStr(secrets.token_hex(32)), '"$KEY"')
        given = {name: getattr(settings, name) for name in RERANKER_FIELDS} | {
            "cascade": None,
            "model": None,
            "base_url": [url(LOOPBACK, port) for port in ports],
            "api_key": key.value,
            "tokenizer": settings.tokenizer or str(prepared.checkpoint.folder),
        }
        return cls(wish, prepared, RerankSettings(**given), key)

    async def keep(self) -> None:
        """Keep them running.

        Raises:
            EngineError: every one of them was given up.
        """
        await Supervisor(replicas_of(self.prepared.servers, LOOPBACK, self.key)).keep()
        raise given_up()


def _show(settings: RerankSettings, where: Where, name: str, behind: _Behind | None) -> None:
    """What is served where, before anything starts."""
    if behind:
        show_plan(behind.wish.model, behind.prepared)
    else:
        tell(f"{described_model(settings.model)}: {_engine(settings)}", "bold")
    for stage in settings.stages:
        tell(f"first    {described_model(stage.model)}, which hands on {stage.keep}", "bold")
    if not where.keyring.keys and not is_loopback(where.host):
        warn(OPEN)
    tell(f"serve    {name} at {where.url}", "bold")
    tell(f"use      {in_python([where.url], keyed=bool(where.keyring.keys))}", "bold")


def _engine(settings: RerankSettings) -> str:
    if urls := checked_urls(settings.base_url):
        return f"served at {', '.join(urls)}"
    return f"{choose_engine(settings.engine, settings.model)} engine in this process"


def _show_dry(where: Where, name: str, behind: _Behind | None) -> None:
    if behind:
        show_commands(behind.prepared, behind.key)
    sys.stdout.write(f"# the gateway, in this process: {name} at {where.url}\n")
