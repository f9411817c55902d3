"""Which model a server serves, and the tokenizer that goes with it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from ... import lexical
from ...errors import ModelError, ModelNotFoundError, UnsupportedServerError
from ...models import TOKENIZER_FILE, tokenizer_file
from .connection import Connection
from .faults import AnswerFaultError, RefusedError

QWEN_TOKENIZER = "Qwen/Qwen3-Reranker-0.6B"
"""Has the tokenizer of every Qwen3-Reranker."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model as ``/v1/models`` lists it."""

    name: str | None
    """What it is called there; None where the server does not say."""
    root: str | None = None
    """The hub id or the folder that it was loaded from."""
    max_model_len: int | None = None
    """Longest prompt in tokens that the server takes."""

    @property
    def origin(self) -> str | None:
        """What it is, whatever it is called: a hub id, a folder, or ``lexical``."""
        if self.root and re.fullmatch(rf"{lexical.NAME}(-[0-9a-f]+)?", PurePath(self.root).name):
            return lexical.NAME
        return self.root or self.name

    def __str__(self) -> str:
        return str(self.name) if self.origin == self.name else f"{self.name} ({self.origin})"


async def served_model(connection: Connection, wanted: str | None) -> ServedModel:
    """The model that is `wanted`, by name, hub id or folder; or the only one there.

    One model can have several names, of which answers carry the first.

    Raises:
        ModelNotFoundError: it is not served; or there are several, and none is wanted.
        UnsupportedServerError: none is listed, and none is wanted.
    """
    try:
        models = _listed(await connection.get("/v1/models"))
    except (RefusedError, AnswerFaultError):
        models = []
    if not models and wanted is not None:
        return ServedModel(wanted)  # it will say itself whether it knows the name
    if not models:
        raise UnsupportedServerError(
            f"{connection.url} lists no model at /v1/models; if it gives scores, pass its model as "
            "model, else check the address"
        )
    names = ", ".join(map(str, models[:8]))
    if wanted is not None:
        fitting = [one for one in models if wanted in (one.name, one.root, one.origin)]
        if not fitting:
            raise ModelNotFoundError(
                f"{connection.url} serves {names}, not {wanted}; pass what is served as model, "
                "or leave model out"
            )
        return fitting[0]
    first = models[0]
    if any(one.root is None or one.root != first.root for one in models[1:]):
        raise ModelNotFoundError(f"{connection.url} serves {names}; pass one of them as model")
    return first


def _listed(answer: Any) -> list[ServedModel]:
    rows = answer.get("data") if isinstance(answer, dict) else None
    return [
        ServedModel(row["id"], _if(str, row.get("root")), _if(int, row.get("max_model_len")))
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, dict) and isinstance(row.get("id"), str) and not row.get("parent")
    ]  # a row with a parent is an adapter, which a reranker's head knows nothing of


def _if(kind: type, value: Any) -> Any:
    return value if isinstance(value, kind) else None


def find_tokenizer(model: ServedModel, given: str | None) -> Path:
    """The ``tokenizer.json`` of a served model: the one given, its own, or that of all Qwen3.

    Raises:
        ModelNotFoundError: there is none here, and none can be fetched.
    """
    if given is not None:
        return tokenizer_file(given)
    own = model.origin
    try:
        if own == lexical.NAME or (own and (Path(own) / TOKENIZER_FILE).is_file()):
            return tokenizer_file(own)
        if own and own.count("/") == 1 and not own.startswith(("/", ".", "~")):
            return tokenizer_file(own)
    except ModelError:
        pass  # a name that only the server knows
    try:
        return tokenizer_file(QWEN_TOKENIZER)
    except ModelNotFoundError as error:
        raise ModelNotFoundError(
            f"no tokenizer for {model} is to be had: {error}; name a folder with a "
            f"{TOKENIZER_FILE} of Qwen3 as tokenizer"
        ) from error


async def check_tokenizer(
    connection: Connection, model: ServedModel, prompt: str, ids: list[int], file: Path
) -> int | None:
    """Make sure that the server makes `ids` of `prompt` too, where it can be asked.

    Returns:
        The longest prompt that it takes, if it says so.

    Raises:
        UnsupportedServerError: its tokenizer is another one.
    """
    request = {"model": model.name, "prompt": prompt, "add_special_tokens": False}
    try:
        answer = await connection.post("/tokenize", request)
        found = list(answer["tokens"])
    except (RefusedError, AnswerFaultError, KeyError, TypeError):
        return None
    if found != ids:
        raise UnsupportedServerError(
            f"{connection.url} has another tokenizer than {file}: it makes {len(found)} tokens of "
            f"a prompt of {len(ids)}; name the folder or hub id of the model that it serves as "
            "tokenizer"
        )
    longest = answer.get("max_model_len")
    return longest if isinstance(longest, int) else None
