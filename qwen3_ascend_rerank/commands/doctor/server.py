"""A server of Qwen3-Reranker: what it is, how it must be asked, who may ask, and if it is right."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import partial
from typing import Any

from packaging.version import Version

from ...doctor import Diagnosis
from ...engines import EngineSpec
from ...engines.served.connection import Connection, ConnectionOptions
from ...engines.served.dialects import DIALECTS
from ...engines.served.discovery import Discovery, discover
from ...engines.served.probing import Prober
from ...engines.served.replica import Replica
from ...errors import (
    AuthenticationError,
    EngineError,
    RerankError,
    UnsupportedServerError,
)
from ...prompts import QwenTokenizer, load_tokenizer
from ...runtime.detect import Machine, Platform
from ...runtime.plan import Deployment, Plan, plan
from ...runtime.rules import parse
from ...runtime.versions import PAIRINGS
from ...trust import check_engine
from . import exposure, latency
from .trust import judged

SECONDS = 180.0
"""How long one server may take, all in all."""
PATIENCE: Mapping[str, float] = {"connect_timeout": 5.0, "request_timeout": 30.0}
"""How long a single request may take, unless `engine_options` say otherwise."""

_STEPS = {
    AuthenticationError: "`export QWEN3_RERANK_API_KEY=…` with the key that it was started with; "
    "whoever runs it has it",
}
"""What to do next, where the error itself does not say all."""

_TEXT_DIALECT = next(dialect for dialect in DIALECTS if dialect.name == "v1-score")
_RISKY = ("enable_prefix_caching", "enable_chunked_prefill")
"""Settings that decide whether scores are right, and that a client cannot see."""


async def examine(spec: EngineSpec, url: str) -> list[Diagnosis]:
    """Everything about the server at `url`, in bounded time.

    Args:
        spec: the served engine that would ask it.
        url: one of its addresses.
    """
    diagnoses: list[Diagnosis] = []
    try:
        await asyncio.wait_for(_collect(spec, url, diagnoses), SECONDS)
    except asyncio.TimeoutError:
        diagnoses.append(
            Diagnosis(
                "server.time",
                "problem",
                f"{url} was not examined to the end within {SECONDS:g} seconds",
                why="it is overloaded, or stuck",
                step=f"`curl {url}/metrics` tells how many requests wait",
            )
        )
    return diagnoses


async def _collect(spec: EngineSpec, url: str, diagnoses: list[Diagnosis]) -> None:
    connection = _connection(spec, url)
    replica = Replica(connection, _discovery(spec), spec.max_length)
    try:
        await _question(spec, connection, replica, diagnoses)
    except RerankError as error:
        step = next((step for kind, step in _STEPS.items() if isinstance(error, kind)), "")
        diagnoses.append(
            Diagnosis(
                "server.asked",
                "problem",
                str(error),
                why="no Reranker can use it as it is",
                step=step.format(url=url),
            )
        )
    finally:
        await replica.aclose()


def _connection(spec: EngineSpec, url: str) -> Connection:
    names = {field.name for field in fields(ConnectionOptions)}
    given = {name: value for name, value in spec.options.items() if name in names}
    return Connection(url, spec.api_key, ConnectionOptions(**{**PATIENCE, **given}))


def _discovery(spec: EngineSpec) -> Any:
    how = {name: spec.options[name] for name in ("dialect", "formatting") if name in spec.options}
    return partial(discover, model=spec.model, tokenizer=spec.tokenizer, **how)


async def _question(
    spec: EngineSpec, connection: Connection, replica: Replica, diagnoses: list[Diagnosis]
) -> None:
    """What the server is asked, in this order; what is found is kept even if it stops answering."""
    await replica.start()
    found, tokenizer = replica.found, load_tokenizer(replica.found.tokenizer)
    diagnoses += _described(found, spec.max_length)
    diagnoses += _hazards(found, found.max_length or spec.max_length)
    diagnoses.append(await _template(connection, found, tokenizer))
    diagnoses += await exposure.examine(connection, found, tokenizer)
    report = await check_engine(replica, tokenizer, chunks=True)
    diagnoses += judged("server.selfcheck", f"{found.model} at {found.url}", report)
    diagnoses += await latency.examine(replica, tokenizer)


def _described(found: Discovery, wanted: int) -> Iterator[Diagnosis]:
    manner = found.manner
    yield Diagnosis("server.model", "ok", f"{found.url}: {found.software} serves {found.model}")
    if found.max_length is not None:
        short = found.max_length < wanted
        yield Diagnosis(
            "server.max_length",
            "note" if short else "ok",
            f"prompts of up to {found.max_length:,} tokens"
            + (f", less than the {wanted:,} that are asked for" if short else ""),
            why="longer documents lose their tail" if short else "",
            step=f"give it `--max-length {wanted}` where it is served, or ask for less"
            if short
            else "",
        )
    how = "text" if manner.dialect.takes_text else "token ids"
    exact = "log-odds" if manner.log_odds else "probabilities"
    yield Diagnosis("server.asked", "ok", f"asked by {manner.dialect.path} with {how}, for {exact}")
    if not manner.log_odds:
        yield Diagnosis(
            "server.log_odds",
            "note",
            "it gives no log-odds, only probabilities",
            why="documents that all score 1.0000 can no longer be told apart",
            step="vLLM 0.11.1 and newer give them",
        )


# ---- template ---------------------------------------------------------------------------------


async def _template(
    connection: Connection, found: Discovery, tokenizer: QwenTokenizer
) -> Diagnosis:
    """Whether it makes Qwen3-Reranker's prompt itself, which decides who else may use it."""
    check = "server.template"
    if found.ours:
        return Diagnosis(check, "ok", "it makes the exact prompt of any query and documents")
    prober = Prober(connection, tokenizer, found.manner.model, "auto")
    manner = found.manner
    if not manner.dialect.takes_text:
        try:
            manner = await prober.find([_TEXT_DIALECT])
        except UnsupportedServerError as error:
            return Diagnosis(
                check,
                "warning",
                str(error),
                why="this package sends token ids, which it leaves alone; whoever sends plain text "
                "gets wrong scores",
                step="`qwen3-rerank serve` serves with the right one",
            )
        except EngineError as error:
            return Diagnosis(check, "note", f"whether it has a template is not known: {error}")
    if manner.formatting == "client":
        return Diagnosis(
            check,
            "note",
            "it has no template",
            why="this package makes the prompt; whoever sends a plain query and documents is "
            "refused, or gets scores that are almost random",
            step="`qwen3-rerank serve` serves with one, from vLLM 0.14 on",
            source="vllm-project/vllm#19260",
        )
    if manner.evidence == "tokens":
        return Diagnosis(
            check, "ok", "it has Qwen3-Reranker's template: plain queries and documents are right"
        )
    seen = (
        "it has a template that makes the right number of tokens; that they are the right ones is "
        if manner.evidence == "count"
        else "it makes the prompt itself, and shows nothing of it; that it is the right one is "
    )
    return Diagnosis(
        check,
        "warning",
        f"{seen}not known",
        why="the commonest fault, a lost newline at the end, does not change the number",
        step="`qwen3-rerank serve` serves with one that is exact",
    )


# ---- hazards of the server's version ------------------------------------------------------------


def _hazards(found: Discovery, max_length: int) -> Iterator[Diagnosis]:
    """What the version gets wrong unless it was told otherwise, which cannot be seen from here."""
    if found.version is None or parse(found.version) is None:
        return
    for place, machine in _places(found.version):
        made = plan(machine, Deployment(max_length), {})
        for finding in made.refusals:
            yield Diagnosis.of("server.hazard", "problem", finding)
        if changes := [name for name in _RISKY if made.settings.get(name) is False]:
            yield _hazard(place, made, changes)


def _places(version: str) -> Iterator[tuple[str, Machine]]:
    """Where it may run: what is behind a port, no server tells."""
    release = Version(version).base_version
    rows = [row for row in PAIRINGS if release in row.vllm]
    yield "GPUs", _machine("cuda", version, None)
    if rows:
        newest = rows[-1].vllm_ascend
        yield f"NPUs (vllm-ascend {newest})", _machine("npu", version, newest)


def _machine(platform: Platform, vllm: str, vllm_ascend: str | None) -> Machine:
    return Machine(platform, 1, vllm=vllm, vllm_ascend=vllm_ascend, vllm_platform=platform)


def _hazard(place: str, made: Plan, changes: list[str]) -> Diagnosis:
    reasons = [each for each in made.adjustments if any(name in each.what for name in changes)]
    flags = " ".join(f"--no-{name.replace('_', '-')}" for name in changes)
    tokens = made.settings.get("max_num_batched_tokens")
    budget = f" --max-num-batched-tokens {tokens}" if tokens else ""
    return Diagnosis(
        "server.hazard",
        "note",
        f"if it runs on {place}: {reasons[0].why}",
        why="how it was started cannot be seen from here",
        step=f"`qwen3-rerank serve` sets what is needed; by hand `vllm serve {flags}{budget} …`",
        source=reasons[0].source,
    )
