"""The conversion itself: what is written, and that it is there whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import Tokenizer

from ..errors import (
    CorruptModelError,
    InvalidInputError,
    MissingDependencyError,
    UnsupportedModelError,
)
from ..models import TOKENIZER_FILE, Checkpoint, open_checkpoint
from ..models.overrides import NEUTRAL
from ..models.weights import EMBEDDING, LM_HEAD, SCORE
from ..prompts import DEFAULT_INSTRUCTION, QwenTokenizer, load_tokenizer
from ..serving.template import check_tokenizer, template_text
from .adapter import Adapter, open_adapter
from .storage import BLOCK, Planned, Stored, raw, stored, write

if TYPE_CHECKING:
    from .storage import Numbers

TEMPLATE_FILE = "chat_template.jinja"
"""Where transformers and sentence-transformers look for it; vLLM is told."""
COPIED = (
    *(TOKENIZER_FILE, "vocab.json", "merges.txt", "special_tokens_map.json", "added_tokens.json"),
    *("LICENSE", "LICENSE.txt", "NOTICE"),
)
"""Files that are taken over as they are."""
PADDING = "<|endoftext|>"
"""What Qwen3 pads with."""
_ROOM_FOR_A_PROMPT = 4096


@dataclass(frozen=True, slots=True)
class Converted:
    """What was written."""

    folder: Path
    shards: int
    """Files of weights."""
    size: int
    """Their bytes."""
    merged: int
    """Weights that the adapter changed, the head among them."""


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    adapter: str | os.PathLike[str] | None = None,
    instruction: str = DEFAULT_INSTRUCTION,
) -> Converted:
    """Make a sequence classification checkpoint of an original Qwen3-Reranker.

    Its one output is the log-odds: ``score.weight`` is the row of "yes" of the output embedding
    less that of "no", in float32. Every other weight is the source's, to the bit, or with the
    adapter merged, computed in float32 and rounded once. Memory stays small whatever the size.

    Args:
        source: a folder or a hub id; a causal language model.
        target: a folder that is not there yet, or is empty. It appears when all is written.
        adapter: a folder with a LoRA adapter in PEFT's layout that is merged on the way.
        instruction: what makes a document relevant, where a request to a server of the checkpoint
            says nothing else.

    Raises:
        InvalidInputError: `target` holds something already, or its disk has no room.
        ModelError: `source` or `adapter` is no such model, or is damaged.
        MissingDependencyError: numpy or safetensors is not installed.
        OSError: `target` cannot be written.
    """
    _check_libraries()
    place = Path(target).expanduser().absolute()
    _check_free(place)
    opened = open_checkpoint(os.fspath(source))
    _refuse_unless_original(opened)
    tokens = opened.folder / TOKENIZER_FILE
    if not tokens.is_file():
        raise CorruptModelError(
            f"{opened.folder} has no {TOKENIZER_FILE}; take it from where the model comes from"
        )
    tokenizer = load_tokenizer(tokens)
    opened.check(tokenizer)
    check_tokenizer(tokens, instruction, _ROOM_FOR_A_PROMPT, way_out="mend it")
    change = open_adapter(Path(adapter).expanduser(), opened) if adapter is not None else None
    shards = _planned(opened, tokenizer, change)
    size = sum(one.size for shard in shards for one in shard.values())
    with _whole_or_nothing(place, size) as folder:
        _write_weights(folder, shards)
        padding = _write_tokenizer(folder, opened.folder)
        _write_config(folder, opened, padding)
        (folder / TEMPLATE_FILE).write_text(
            template_text(instruction), encoding="utf-8", newline="\n"
        )
        open_checkpoint(str(folder)).check(tokenizer)
    merged = {*change.deltas, *change.whole} if change else ()
    return Converted(place, len(shards), size, len(merged))


def _check_libraries() -> None:
    try:
        import numpy  # noqa: F401
        import safetensors  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"converting needs {error.name}, which is not installed; "
            'pip install "qwen3-ascend-rerank[torch]"'
        ) from error


def _refuse_unless_original(opened: Checkpoint) -> None:
    if opened.converted:
        raise UnsupportedModelError(
            f"{opened.name} is a sequence classification checkpoint already; use it as it is, or "
            "convert the original that it was made from"
        )
    if opened.quantization:
        raise UnsupportedModelError(
            f"{opened.name} is quantised; convert the one that was not, then quantise the result "
            "and leave score.weight out"
        )
    if others := [one.file for one in opened.tensors.values() if one.file.suffix != ".safetensors"]:
        raise UnsupportedModelError(
            f"{opened.name} keeps its weights in {others[0].name}; save it as safetensors first "
            "(transformers: save_pretrained())"
        )


# -- the weights -------------------------------------------------------------------------------


def _planned(
    opened: Checkpoint, tokenizer: QwenTokenizer, adapter: Adapter | None
) -> list[dict[str, Planned]]:
    """What each file of weights will hold."""
    files = sorted({one.file for one in opened.tensors.values()})
    base = {name: one for file in files for name, one in stored(file).items()}
    shards = [
        {
            name: _weight(name, one, adapter)
            for name, one in base.items()
            if one.file == file and name != LM_HEAD
        }
        for file in files
    ]
    # Where the output embedding was, a file could be left empty otherwise.
    place = files.index(base[LM_HEAD].file) if LM_HEAD in base else len(files) - 1
    shards[place][SCORE] = _head(base, tokenizer, adapter)
    return shards


def _weight(name: str, one: Stored, adapter: Adapter | None) -> Planned:
    if adapter is None or name not in {*adapter.deltas, *adapter.whole}:
        return Planned(one.dtype, one.shape, one.pieces)
    return Planned(one.dtype, one.shape, partial(_merged, name, one, adapter))


def _merged(name: str, one: Stored, adapter: Adapter) -> Iterator[bytes]:
    """The bytes of a weight with what the adapter makes of it."""
    source, delta = adapter.whole.get(name, one), adapter.deltas.get(name)
    step = max(1, BLOCK // max(1, one.size // one.shape[0]))
    for first in range(0, one.shape[0], step):
        count = min(step, one.shape[0] - first)
        values = source.rows(first, count)
        yield raw(values if delta is None else values + delta.rows(first, count), one.dtype)


def _head(base: Mapping[str, Stored], tokenizer: QwenTokenizer, adapter: Adapter | None) -> Planned:
    """The difference of two rows of the output embedding, or the head that was trained instead."""
    if adapter and SCORE in adapter.whole:
        row = adapter.whole[SCORE].rows()
    else:
        yes, no = (_output_row(base, place, adapter) for place in (tokenizer.yes, tokenizer.no))
        row = yes - no
    return Planned("F32", (1, row.shape[1]), lambda: iter([raw(row, "F32")]))


def _output_row(base: Mapping[str, Stored], place: int, adapter: Adapter | None) -> Numbers:
    """A row of the output embedding, shape (1, width).

    One that is tied to the input's is the base's: in training, too, an adapter of the input
    embedding alone does not reach it.
    """
    source = base.get(LM_HEAD, base[EMBEDDING])
    if adapter is None:
        return source.rows(place, 1)
    row, delta = adapter.whole.get(LM_HEAD, source).rows(place, 1), adapter.deltas.get(LM_HEAD)
    return row if delta is None else row + delta.rows(place, 1)


def _write_weights(folder: Path, shards: list[dict[str, Planned]]) -> None:
    if len(shards) == 1:
        write(folder / "model.safetensors", shards[0])
        return
    index: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        write(folder / file, shard)
        index |= dict.fromkeys(shard, file)
    size = sum(one.size for shard in shards for one in shard.values())
    _write_json(
        folder / "model.safetensors.index.json",
        {"metadata": {"total_size": size}, "weight_map": dict(sorted(index.items()))},
    )


# -- what is beside them -----------------------------------------------------------------------


def _write_tokenizer(folder: Path, source: Path) -> int:
    """Copy the tokenizer, and give the id that it pads with."""
    for name in COPIED:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    file = source / "tokenizer_config.json"
    content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    content.pop("chat_template", None)  # the one for chats; ours is beside it
    if content.get("tokenizer_class") in (None, "TokenizersBackend"):  # 4.x knows it not
        content["tokenizer_class"] = "PreTrainedTokenizerFast"
    padding = content.setdefault("pad_token", None) or PADDING
    content["pad_token"] = padding
    _write_json(folder / "tokenizer_config.json", content)
    spelling = padding["content"] if isinstance(padding, dict) else padding
    found = Tokenizer.from_file(str(folder / TOKENIZER_FILE)).token_to_id(spelling)
    if found is None:
        raise UnsupportedModelError(
            f"{source} pads with {spelling!r} (tokenizer_config.json), which its {TOKENIZER_FILE} "
            "has not; the two do not belong together"
        )
    return int(found)


def _write_config(folder: Path, opened: Checkpoint, padding: int) -> None:
    """The source's ``config.json`` for the other head, under names that every release reads."""
    kept = {
        name: value
        for name, value in opened.config.items()
        if name not in {*NEUTRAL, "_name_or_path", "auto_map", "num_labels"}
    }
    dtype = kept.get("dtype") or kept.get("torch_dtype")
    described = opened.configuration
    content = {
        **kept,
        **described.written_for("4.51"),
        **described.written_for("5.0"),
        "architectures": ["Qwen3ForSequenceClassification"],
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
        "pad_token_id": padding,
        **({"dtype": dtype, "torch_dtype": dtype} if dtype else {}),
    }
    _write_json(folder / "config.json", content)


def _write_json(file: Path, content: object) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    file.write_text(text, encoding="utf-8", newline="\n")


# -- whole, or not at all ----------------------------------------------------------------------


def _check_free(target: Path) -> None:
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.exists() or target.is_symlink():
        raise InvalidInputError(
            f"{target} is there already; name a folder that is not, or is empty"
        )


@contextmanager
def _whole_or_nothing(target: Path, size: int) -> Iterator[Path]:
    """A folder beside `target` that takes its place at the end, and goes if anything fails."""
    target.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target.parent).free
    if free < size:
        raise InvalidInputError(
            f"{target.parent} has {free / 1e9:.1f} GB free, and {size / 1e9:.1f} GB are to be "
            "written; name a folder on another disk"
        )
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        folder = aside / target.name
        folder.mkdir()  # with the rights that a new folder has here
        yield folder
        folder.replace(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
