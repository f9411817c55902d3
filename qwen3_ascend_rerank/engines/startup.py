"""How an engine comes to be trusted: made, started, and checked before anyone may use it."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from ..bridge.threads import in_thread
from ..errors import EngineError, RerankError, SelfcheckError, described
from ..models import lexical, tokenizer_file
from ..prompts import QwenTokenizer, load_tokenizer
from ..protocol import ReplicatedEngine
from ..runtime.detect import detect
from ..runtime.paths import cache_folder
from ..trust import Level, Report, check_engine
from . import Engine, EngineSpec

logger = logging.getLogger(__name__)


def open_tokenizer(source: str | os.PathLike[str]) -> QwenTokenizer:
    """The tokenizer of `source`: a folder, a ``tokenizer.json``, a hub id, or ``lexical``."""
    return load_tokenizer(tokenizer_file(source))


async def begin(engine: Engine | EngineSpec, level: Level, tokenizer: str | None) -> Engine:
    """Start `engine`, have it show what `level` asks for, and hand it over.

    Args:
        engine: a ready engine that has not started, or how to make one.
        level: ``auto`` refuses a runtime that is remembered to have failed the probe; ``full``
            probes it now, before the model is loaded. A served model's runtime is not probed.
        tokenizer: where the tokenizer is when the engine does not know.

    Raises:
        SelfcheckError: it does not compute right scores. As after any other failure, it is closed.
        RerankError: it could not start, or be made; errors of other kinds are the cause of one.
    """
    name = engine.name if isinstance(engine, EngineSpec) else type(engine).__name__
    try:
        return await _begin(engine, level, tokenizer)
    except RerankError:
        raise
    except Exception as error:
        raise EngineError(f"the {name} engine could not start: {described(error)}") from error


async def _begin(engine: Engine | EngineSpec, level: Level, tokenizer: str | None) -> Engine:
    if isinstance(engine, EngineSpec):
        if not engine.served:
            await _demand_runtime(engine, level)
        engine = await in_thread(engine.make)
    try:
        await engine.start()
        if level != "off":
            await _demand(engine, level, tokenizer)
    except BaseException:
        try:
            await engine.aclose()
        except Exception:
            logger.warning("an engine whose start failed did not end in order", exc_info=True)
        raise
    return engine


async def examine_again(
    engine: Engine, spec: Engine | EngineSpec, level: Level, tokenizer: str | None
) -> None:
    """Have an engine that has started, for who asked for less, show what `level` asks for.

    A runtime that is remembered to have passed the probe is not probed again beside the model,
    where a device may have no room for it.

    Raises:
        SelfcheckError: it does not compute right scores.
    """
    if isinstance(spec, EngineSpec) and not spec.served and not recall(spec):
        await _demand_runtime(spec, level)
    await _demand(engine, level, tokenizer)


async def _demand_runtime(spec: EngineSpec, level: Level) -> None:
    """Refuse a runtime that fails the probe now, or is remembered to have failed it."""
    if level == "full":
        (await probe(spec)).demand(await in_thread(partial(_subject, spec)))
    elif level == "auto" and await in_thread(partial(recall, spec)) is False:
        raise SelfcheckError(
            f"{await in_thread(partial(_subject, spec))} failed the probe with the lexical model "
            'earlier; `qwen3-rerank selfcheck` shows how, selfcheck="full" tries again'
        )


async def _demand(engine: Engine, level: Level, tokenizer: str | None) -> None:
    """Have `engine`, or each replica of which it consists, pass the selfcheck."""

    async def demand(part: Engine) -> None:
        report = await _check(part, level, tokenizer)
        info = part.info
        report.demand(f"{info.model} on {info.version} ({info.device}, {info.dtype})")

    if isinstance(engine, ReplicatedEngine):
        await engine.admit(demand)
    else:
        await demand(engine)


async def probe(spec: EngineSpec) -> Report:
    """Load the lexical model in the runtime of `spec`, with its settings, and check its answers.

    Since these are known for certain, they prove attention, rotary embedding, norms, head, prefix
    cache and chunked prefill of this machine and these versions, whatever the weights that are
    wanted. The outcome is remembered on disk.
    """
    report = await examine(replace(spec, model=lexical.NAME, called=None, tokenizer=None))
    await in_thread(partial(remember, spec, report))
    return report


async def examine(spec: EngineSpec) -> Report:
    """Start the engine, ask it everything that it must know, and close it."""
    engine = await in_thread(spec.make)
    try:
        await engine.start()
        return await _check(engine, "full", spec.tokenizer)
    finally:
        await engine.aclose()


def recall(spec: EngineSpec) -> bool | None:
    """Whether the runtime of `spec` passed the probe; None where it was never asked."""
    passed = _memory().get(_fingerprint(spec), {}).get("passed")
    return passed if isinstance(passed, bool) else None


def remember(spec: EngineSpec, report: Report) -> None:
    """Keep the outcome of a probe for processes to come."""
    entry = {
        "runtime": _subject(spec),
        "passed": not report.failures,
        "checks": [asdict(check) for check in report.failures],
    }
    memory = _memory() | {_fingerprint(spec): entry}
    file = _memory_file()
    fresh = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        fresh.write_text(json.dumps(memory, ensure_ascii=False, indent=1), encoding="utf-8")
        fresh.replace(file)
    except OSError as error:  # a full disk, say: what the probe found counts all the same
        logger.warning("the outcome of the probe is not remembered: %s", error)


async def _check(engine: Engine, level: Level, tokenizer: str | None) -> Report:
    info = engine.info
    opened = await in_thread(partial(open_tokenizer, tokenizer or info.tokenizer))
    report = await check_engine(engine, opened, known=level != "invariants", chunks=level == "full")
    logger.info(
        "%s on %s: %d checks, %d failed, %d tokens",
        info.model,
        info.version,
        len(report.checks),
        len(report.failures),
        report.tokens,
    )
    return report


def _subject(spec: EngineSpec) -> str:
    machine = detect()
    versions = {"vllm": machine.vllm, "vllm-ascend": machine.vllm_ascend, "torch": machine.torch}
    known = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    return f"the {spec.name} engine here ({known} on {machine.chip or machine.platform})"


def _fingerprint(spec: EngineSpec) -> str:
    """Of everything that decides what a runtime computes: versions, device, settings."""
    facts = [spec.name, spec.max_length, repr(sorted(spec.options.items())), asdict(detect())]
    environment = {name: value for name, value in os.environ.items() if name.startswith("VLLM_")}
    text = json.dumps([*facts, sorted(environment.items())], default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _memory_file() -> Path:
    return cache_folder() / "probes.json"


def _memory() -> dict[str, dict[str, object]]:
    try:
        memory = json.loads(_memory_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return memory if isinstance(memory, dict) else {}
