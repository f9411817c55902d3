"""`qwen3-rerank serve`: one URL that any client can ask; or vLLM's own server, set up rightly.

gateway      the one URL
bare         vLLM's own server, or several
preparation  from what was asked for to the commands of these servers
supervisor   keeps several running; leash ties each to it, printing relays what they say
address      where to listen
view         what a person is told
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ...components.settings import ENVIRONMENT_PREFIX, RerankSettings
from ...gateway import secret
from ...prompts import DEFAULT_INSTRUCTION
from ..options import default, json_object, setting
from .address import LAST_PORT
from .bare import serve_bare
from .gateway import Where, serve_gateway
from .preparation import Wish

_ENGINE = "What computes"
_ACCESS = "Who may come in, and with how much"
_BARE = "vLLM's own server, with --bare"


def _option(panel: str, text: str, **more: Any) -> Any:
    return typer.Option(help=text, rich_help_panel=panel, show_default=False, **more)


def serve(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="Hub id, folder, or lexical, which matches words and is no language model. With "
            "--base-url what is served there, and not needed.",
            show_default=False,
        ),
    ] = None,
    vllm_options: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="-- VLLM_OPTION",
            help="With --replicas or --bare, what vLLM's own server takes: -- "
            "--tensor-parallel-size 2",
            show_default=False,
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=LAST_PORT, help="Port to listen on.")] = 8000,
    served_model_name: Annotated[
        list[str] | None,
        typer.Option(
            help="What the model is called in answers; further names may be given. Requests may "
            "call it anything. Not given: MODEL.",
            show_default=False,
        ),
    ] = None,
    strict_model_name: Annotated[
        bool,
        typer.Option("--strict-model-name", help="Refuse requests for a model of another name."),
    ] = False,
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
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would run, and end.")
    ] = False,
    replicas: Annotated[
        int | None,
        _option(
            _ENGINE,
            "Keep so many vLLM servers running behind the one URL, each on devices of its own.",
            min=1,
        ),
    ] = None,
    base_url: Annotated[
        list[str] | None,
        _option(_ENGINE, "Stand before servers that run elsewhere; may be given several times."),
    ] = None,
    servers_key_file: Annotated[
        Path | None,
        _option(
            _ENGINE,
            "File with the key of these servers; not given: QWEN3_RERANK_API_KEY.",
            metavar="PATH",
        ),
    ] = None,
    engine: Annotated[str, setting("engine", _ENGINE)] = default("engine"),
    engine_options: Annotated[str, setting("engine_options", _ENGINE)] = "{}",
    tokenizer: Annotated[str | None, setting("tokenizer", _ENGINE)] = default("tokenizer"),
    max_length: Annotated[int, setting("max_length", _ENGINE)] = default("max_length"),
    long_documents: Annotated[str, setting("long_documents", _ENGINE)] = default("long_documents"),
    passage_tokens: Annotated[int | None, setting("passage_tokens", _ENGINE)] = default(
        "passage_tokens"
    ),
    passage_overlap: Annotated[int, setting("passage_overlap", _ENGINE)] = default(
        "passage_overlap"
    ),
    passage_limit: Annotated[int, setting("passage_limit", _ENGINE)] = default("passage_limit"),
    cache_size: Annotated[int, setting("cache_size", _ENGINE)] = default("cache_size"),
    selfcheck: Annotated[str, setting("selfcheck", _ENGINE)] = default("selfcheck"),
    calibration: Annotated[str | None, setting("calibration", _ENGINE)] = default("calibration"),
    cascade: Annotated[str | None, setting("cascade", _ENGINE)] = default("cascade"),
    api_key_file: Annotated[
        Path | None,
        _option(
            _ACCESS,
            "File with the API key that clients must send, or with several, one a line, each "
            "alone or after a name for the log; not given: VLLM_API_KEY or QWEN3_RERANK_API_KEY "
            "from the environment.",
            metavar="PATH",
        ),
    ] = None,
    ssl_certfile: Annotated[
        Path | None, _option(_ACCESS, "Certificate chain, for TLS.", metavar="PATH")
    ] = None,
    ssl_keyfile: Annotated[
        Path | None, _option(_ACCESS, "Its private key.", metavar="PATH")
    ] = None,
    max_requests: Annotated[
        int, typer.Option(min=1, help="Requests inside at once.", rich_help_panel=_ACCESS)
    ] = 256,
    max_documents: Annotated[
        int, typer.Option(min=1, help="Documents of a request.", rich_help_panel=_ACCESS)
    ] = 10_000,
    max_body_mib: Annotated[
        int, typer.Option(min=1, help="MiB of a request.", rich_help_panel=_ACCESS)
    ] = 32,
    request_timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds for a request.", rich_help_panel=_ACCESS)
    ] = 300.0,
    log_requests: Annotated[
        bool,
        typer.Option(
            "--log-requests/--no-log-requests",
            help="A line of JSON for each request on standard error, without keys or texts.",
            rich_help_panel=_ACCESS,
        ),
    ] = True,
    page: Annotated[
        bool,
        typer.Option(
            "--page/--no-page",
            help="A page at / where people try it; it asks for the key where one is wanted.",
            rich_help_panel=_ACCESS,
        ),
    ] = True,
    bare: Annotated[
        bool,
        typer.Option(
            "--bare",
            help="Become vLLM's own server, without the gateway; with --replicas several, on this "
            "port and the next.",
            rich_help_panel=_BARE,
        ),
    ] = False,
    template: Annotated[
        bool | None,
        typer.Option(
            "--template/--no-template",
            rich_help_panel=_BARE,
            show_default=False,
            help="Whether it makes the prompt of plain queries and documents, for clients other "
            "than this package's own. Without it, it refuses them. Default: with it, from vLLM "
            "0.14 on.",
        ),
    ] = None,
) -> None:
    """Serve a model at one URL that any client can ask.

    The URL answers the clients of Jina, Cohere, vLLM, TEI, DashScope and
    others, each in its own form, with scores that the engine has proven. The
    engine runs in this process, or as vLLM servers behind it, or elsewhere.

    [dim]qwen3-rerank serve Qwen/Qwen3-Reranker-0.6B[/]

    [dim]qwen3-rerank serve Qwen/Qwen3-Reranker-8B --replicas 4 -- --tensor-parallel-size 2[/]

    [dim]qwen3-rerank serve --base-url http://10.0.0.5:8000 --base-url http://10.0.0.6:8000[/]

    [dim]qwen3-rerank serve Qwen/Qwen3-Reranker-0.6B --bare[/]
    """
    if model is None and not base_url:
        raise typer.BadParameter("give a MODEL, or --base-url for one that is served elsewhere")
    names = served_model_name or ([model] if model else [])
    wish = Wish(
        model=model or "",
        names=names,
        host=host,
        port=port,
        replicas=replicas or 1,
        max_length=max_length,
        template=template if bare else False,
        instruction=instruction if bare else None,
        passed_on=vllm_options or [],
    )
    _refuse_contradictions(
        {
            "--base-url": bool(base_url),
            "--replicas": replicas is not None,
            "--bare": bare,
            "--template": template is not None,
            "--servers-key-file": servers_key_file is not None,
            "-- VLLM_OPTION": bool(vllm_options),
            "--cascade": cascade is not None,
        }
    )
    if bare:
        serve_bare(wish, secret.find_key(api_key_file), dry_run=dry_run)
        return
    servers_key = secret.find_key(servers_key_file) if servers_key_file else None
    settings = RerankSettings(
        model=model,
        base_url=",".join(base_url) if base_url else None,
        **({"api_key": servers_key.value} if servers_key else {}),
        engine=engine,
        tokenizer=tokenizer,
        instruction=instruction or DEFAULT_INSTRUCTION,
        max_length=max_length,
        top_n=None,
        threshold=None,
        long_documents=long_documents,
        passage_tokens=passage_tokens,
        passage_overlap=passage_overlap,
        passage_limit=passage_limit,
        cache_size=cache_size,
        selfcheck=selfcheck,
        timeout=None,
        engine_options=json_object("--engine-options", engine_options),
        calibration=calibration,
        cascade=cascade,
    )
    serve_gateway(
        settings,
        Where(
            host=host,
            port=port,
            certificate=str(ssl_certfile) if ssl_certfile else None,
            private_key=str(ssl_keyfile) if ssl_keyfile else None,
            keyring=secret.find_keys(api_key_file),
        ),
        {
            "names": tuple(names),
            "strict_names": strict_model_name,
            "max_requests": max_requests,
            "max_documents": max_documents,
            "max_body_bytes": max_body_mib * 2**20,
            "request_timeout": request_timeout,
            "page": page,
        },
        replicas=None if replicas is None else wish,
        log_requests=log_requests,
        dry_run=dry_run,
    )


_NEEDS = {
    "--template": (("--bare",), "the gateway makes every prompt itself"),
    "-- VLLM_OPTION": (
        ("--bare", "--replicas"),
        "an engine in this process takes --engine-options",
    ),
    "--servers-key-file": (("--base-url",), "there are no other servers"),
}
"""Options that mean something only beside one of others, and why."""
_EXCLUDES = {"--base-url": ("--bare", "--replicas"), "--cascade": ("--bare",)}


def _refuse_contradictions(given: dict[str, bool]) -> None:
    """Raise for an option that could have no effect."""
    for name, (others, why) in _NEEDS.items():
        if given[name] and not any(given[other] for other in others):
            raise typer.BadParameter(f"{name} needs {' or '.join(others)}: {why}")
    for name, others in _EXCLUDES.items():
        for other in others:
            if given[name] and given[other]:
                raise typer.BadParameter(f"{name} and {other} exclude each other; leave one out")
