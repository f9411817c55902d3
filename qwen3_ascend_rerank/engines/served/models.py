"""Which model a server serves, and the tokenizer that goes with it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from ...errors import ModelError, ModelNotFoundError, UnsupportedServerError
from ...models import TOKENIZER_FILE, lexical, tokenizer_file
from .connection import Connection
from .faults import (
    START,
    AnswerFaultError,
    MovedError,
    RedirectError,
    RefusedError,
    brief,
    together,
)

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
    most_documents: int | None = None
    """How many documents a request may hold; None where the server does not say."""

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
        RedirectError: the server is at another address.
    """
    replies: dict[str, str] = {}
    models: list[ServedModel] = []
    for path, read in LISTS.items():
        try:
            if models := read(await connection.get(path)):
                break
            replies[path] = "nothing that names a model"
        except (RefusedError, AnswerFaultError) as error:
            if isinstance(error, RedirectError) and not replies and wanted is None:
                raise
            replies[path] = brief(error)
    if not models and wanted is not None:
        return ServedModel(wanted)  # it will say itself whether it knows the name
    if not models:
        raise UnsupportedServerError(
            f"{connection.url} lists no model: {together(replies)}. If it gives scores, pass its "
            f"model as model; else {START}"
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
    """The rows of ``/v1/models``."""
    rows = answer.get("data") if isinstance(answer, dict) else None
    return [
        ServedModel(
            row["id"],
            _if(str, row.get("root")),
            _if(int, row.get("max_model_len")) or _context(row.get("meta")),
        )
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, dict) and isinstance(row.get("id"), str) and not row.get("parent")
    ]  # a row with a parent is an adapter, which a reranker's head knows nothing of


def _context(meta: Any) -> int | None:
    """llama.cpp's place for the longest prompt."""
    return _if(int, meta.get("n_ctx")) if isinstance(meta, dict) else None


def _described(answer: Any) -> list[ServedModel]:
    """The one model of Text Embeddings Inference's ``/info``."""
    if not isinstance(answer, dict) or not isinstance(answer.get("model_id"), str):
        return []
    name, length = answer["model_id"], _if(int, answer.get("max_input_length"))
    return [ServedModel(name, None, length, _if(int, answer.get("max_client_batch_size")))]


LISTS: dict[str, Callable[[Any], list[ServedModel]]] = {
    "/v1/models": _listed,
    "/info": _described,
}
"""Where servers say what they serve, in the order in which they are asked."""


def _if(kind: type, value: Any) -> Any:
    return value if isinstance(value, kind) and not isinstance(value, bool) else None


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


TOKENIZERS: tuple[tuple[str, str, Callable[[Any], list[Any]]], ...] = (
    ("prompt", "add_special_tokens", lambda answer: list(answer["tokens"])),
    ("content", "add_special", lambda answer: list(answer["tokens"])),
    ("inputs", "add_special_tokens", lambda answer: [token["id"] for token in answer[0]]),
)
"""How ``/tokenize`` is asked: the field of the text, the field that, if false, keeps it alone, and
where the ids are. vLLM and SGLang; llama.cpp, which answers the first with no tokens; Text
Embeddings Inference."""


async def check_tokenizer(
    connection: Connection, model: ServedModel, prompt: str, ids: list[int], file: Path
) -> int | None:
    """Make sure that the server makes `ids` of `prompt` too, where it can be asked.

    Returns:
        The longest prompt that it takes, if it says so.

    Raises:
        UnsupportedServerError: its tokenizer is another one.
    """
    for text, special, read in TOKENIZERS:
        try:
            answer = await connection.post(
                "/tokenize", {"model": model.name, text: prompt, special: False}
            )
            found = read(answer)
        except MovedError:
            return None
        except (RefusedError, AnswerFaultError, KeyError, TypeError, IndexError):
            continue
        if not found:
            continue  # another field is read
        if found != ids:
            raise UnsupportedServerError(
                f"{connection.url} has another tokenizer than {file}: it makes {len(found)} tokens "
                f"of a prompt of {len(ids)}; name the folder or hub id of the model that it serves "
                "as tokenizer"
            )
        return _if(int, answer.get("max_model_len")) if isinstance(answer, dict) else None
    return None
