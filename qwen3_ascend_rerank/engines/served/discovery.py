"""What a server serves, and how it must be asked for right scores. Probed, not guessed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...errors import EngineError, UnsupportedServerError
from ...prompts import DEFAULT_INSTRUCTION, PromptBatch, build_batch, load_tokenizer
from ...trust import likeness
from . import probing
from .connection import Connection
from .dialects import Formatting, wanted_dialects
from .faults import AnswerFaultError, PassingError, RefusedError, listed
from .manner import Manner
from .models import ServedModel, check_tokenizer, find_tokenizer, served_model

logger = logging.getLogger(__name__)

ASKED = 4
"""How often the pairs that tell models apart are asked at the start."""
_UNSEEN = {
    ("server", "nothing"): "nothing of it could be seen, so that its scores are right is not known",
    ("server", "count"): "that it has the right number of tokens was seen, that each of them is "
    "right was not",
}
"""What is not known of prompts that are made there, by how much of them was seen."""

GATEWAY = "qwen3-ascend-rerank"
"""What this package's gateway calls itself at ``/version``."""
HEALTH_PATHS = ("/health", "/v1/models")


@dataclass(frozen=True, slots=True)
class Discovery:
    """What is known of a server."""

    url: str
    version: str | None
    """Of vLLM; None where the server does not say."""
    ours: bool
    """Whether it is this package's gateway, which makes the exact prompt of any texts."""
    model: ServedModel
    """What it serves."""
    max_model_len: int | None
    """Longest prompt in tokens that it takes; None where it does not say."""
    tokenizer: Path
    """The ``tokenizer.json`` that ids are made with here."""
    manner: Manner
    """How it is asked."""
    pairs: PromptBatch
    """The pairs of `likeness`, whose scores tell models apart."""
    probe: tuple[float, ...]
    """Their log-odds: another model, or another prompt, gives others."""
    open_without_key: bool
    """Whether it answers even without the key that it is asked with."""
    health_path: str | None
    """Where it says that it is well; None where it does not."""

    @property
    def takes_text(self) -> bool:
        """Whether it reads texts in which a control token's spelling must be broken up."""
        return self.manner.dialect.takes_text and not self.ours

    @property
    def software(self) -> str:
        """What runs there, as far as is known."""
        if self.ours:
            return "this package's gateway"
        return f"vllm {self.version}" if self.version else "a server of unknown kind"

    @property
    def max_length(self) -> int | None:
        """Longest prompt that is safe to send: vLLM up to 0.31 can hang on one that fills it."""
        return None if self.max_model_len is None else self.max_model_len - 1

    def agrees(self, log_odds: Sequence[float], *, exact: bool) -> bool:
        """Whether `log_odds` of `pairs` may be from the same model; `exact` if not from P(yes)."""
        return likeness.same_model(self.probe, log_odds, exact=exact and self.manner.log_odds)


async def discover(
    connection: Connection,
    *,
    model: str | None = None,
    tokenizer: str | None = None,
    dialect: str | None = None,
    formatting: Formatting | Literal["auto"] = "auto",
) -> Discovery:
    """Ask a server what it serves, and find the way to ask it for scores.

    Args:
        connection: to the server.
        model: what must be served there: its name, hub id or folder; None: whatever is.
        tokenizer: where ``tokenizer.json`` is; None: that of the served model, where it can be
            had, else that of all Qwen3-Rerankers.
        dialect: a name in `DIALECTS`; None: the first that leads to right scores.
        formatting: who makes the prompt; ``auto``: whoever does, told by the number of tokens.

    Raises:
        ServerUnavailableError: it cannot be reached, or cannot answer now.
        AuthenticationError: it wants another key.
        ModelNotFoundError: it serves another model; or no tokenizer is to be found.
        UnsupportedServerError: it cannot be asked for right scores.
    """
    served = await served_model(connection, model)
    version, ours = await _version(connection)
    file = await asyncio.to_thread(find_tokenizer, served, tokenizer)
    qwen = await asyncio.to_thread(load_tokenizer, file)
    batch = build_batch(qwen, DEFAULT_INSTRUCTION, probing.QUERY, probing.DOCUMENTS, probing.LENGTH)
    prompt, ids = batch.opening + batch.closings()[0], next(batch.prompts())
    longest = await check_tokenizer(connection, served, prompt, ids, file)
    prober = probing.Prober(connection, qwen, served.name, formatting)
    manner = await prober.find(wanted_dialects(dialect))
    pairs = build_batch(
        qwen,
        DEFAULT_INSTRUCTION,
        likeness.QUERY,
        likeness.DOCUMENTS[: served.most_documents],
        probing.LENGTH,
        as_text=manner.dialect.takes_text,
    )
    probe = await _one_model(connection, manner, pairs)
    found = Discovery(
        url=connection.url,
        version=version,
        ours=ours,
        model=served,
        max_model_len=served.max_model_len or longest,
        tokenizer=file,
        manner=manner,
        pairs=pairs,
        probe=probe,
        open_without_key=connection.has_key and await prober.answers_without_key(manner),
        health_path=await _health_path(connection),
    )
    _log(found)
    return found


async def _one_model(
    connection: Connection, manner: Manner, pairs: PromptBatch
) -> tuple[float, ...]:
    """The log-odds of `pairs`, asked several times at once, by as many connections.

    Raises:
        UnsupportedServerError: they are not always the same.
    """
    path, request = manner.dialect.path, manner.request(pairs)
    asked = (connection.post(path, request, new=True) for _ in range(ASKED))
    answers = await asyncio.gather(*asked, return_exceptions=True)
    given = [one for one in answers if not isinstance(one, BaseException)]
    errors = [one for one in answers if isinstance(one, BaseException)]
    lasting = [one for one in errors if not isinstance(one, PassingError)]
    if lasting or not given:
        raise (lasting or errors)[0]
    first, *others = (manner.log_odds_of(connection.url, one, len(pairs)) for one in given)
    for other in others:
        if not likeness.same_model(first, other, exact=manner.log_odds):
            raise UnsupportedServerError(
                f"{connection.url} gives now {listed(first)} and now {listed(other)} as log-odds "
                "of the same pairs: more than one model answers there. Where a balancer stands "
                "before them, wait until all serve the same one, or pass the address of each "
                "server as base_url"
            )
    return tuple(first)


async def _version(connection: Connection) -> tuple[str | None, bool]:
    """The version of vLLM, and whether it is the gateway instead."""
    try:
        answer = await connection.get("/version")
    except EngineError:
        return None, False
    if isinstance(answer, dict) and answer.get("server") == GATEWAY:
        return None, True
    version = answer.get("version") if isinstance(answer, dict) else None
    return (version if isinstance(version, str) else None), False


async def _health_path(connection: Connection) -> str | None:
    for path in HEALTH_PATHS:
        try:
            await connection.get(path)
        except (RefusedError, AnswerFaultError):
            continue
        return path
    return None


def _log(found: Discovery) -> None:
    dialect = found.manner.dialect
    logger.info(
        "%s serves %s on %s; asked by %s with %s, prompt made by the %s",
        found.url,
        found.model,
        found.software,
        dialect.path,
        "text" if dialect.takes_text else "token ids",
        found.manner.formatting,
    )
    if found.open_without_key:
        logger.warning(
            "%s answers %s even without the key, as vLLM does outside /v1: whoever reaches the "
            "port can use the model",
            found.url,
            dialect.path,
        )
    warning = _UNSEEN.get((found.manner.formatting, found.manner.evidence))
    if warning and not found.ours:
        logger.warning("%s makes the prompt by a template of its own; %s", found.url, warning)
