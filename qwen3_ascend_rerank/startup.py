"""How an engine comes to be trusted: made, started, and checked before anyone may use it."""

from __future__ import annotations

import asyncio
import logging
import os

from .checkpoint import tokenizer_file
from .engines import Engine, EngineSpec
from .prompt import QwenTokenizer, load_tokenizer
from .selfcheck import Level, check_engine

logger = logging.getLogger(__name__)


def open_tokenizer(source: str | os.PathLike[str]) -> QwenTokenizer:
    """The tokenizer of `source`: a folder, a ``tokenizer.json``, a hub id, or ``lexical``."""
    return load_tokenizer(tokenizer_file(source))


async def begin(engine: Engine | EngineSpec, level: Level, tokenizer: str | None) -> Engine:
    """Start `engine`, have it show what `level` asks for, and hand it over.

    Raises:
        SelfcheckError: it does not compute right scores. As after any other failure, it is closed.
    """
    if isinstance(engine, EngineSpec):
        engine = engine.make()
    try:
        await engine.start()
        if level != "off":
            await _check(engine, level, tokenizer)
    except BaseException:
        await engine.aclose()
        raise
    return engine


async def _check(engine: Engine, level: Level, tokenizer: str | None) -> None:
    info = engine.info
    opened = await asyncio.to_thread(open_tokenizer, tokenizer or info.tokenizer)
    report = await check_engine(engine, opened, known=level != "invariants")
    report.demand(f"{info.model} on {info.version} ({info.device}, {info.dtype})")
    logger.info(
        "%s on %s passed %d checks of %d tokens",
        info.model,
        info.version,
        len(report.checks),
        report.tokens,
    )
