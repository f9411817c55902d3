"""Which files of a folder are the model: one rule for every engine.

transformers and vLLM each choose among the files of a folder by rules of their own: beside an old
``model.safetensors`` and a new index one reads the file and the other the shards, ``consolidated``
files change vLLM's mind, and whoever has peft installed applies an adapter that nobody else sees.
So the files are chosen here, and a folder in which an engine could choose others is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CorruptModelError, ModelError, UnsupportedModelError

INDEX = "{}.index.json"
SAFETENSORS, TORCH = "model.safetensors", "pytorch_model.bin"
TRAINING_STATE = ("training_args", "optimizer", "scheduler", "sampler", "scaler", "rng_state")
"""How the names of files begin that training leaves beside a model."""

READABLE = (SAFETENSORS, "model-*-of-*.safetensors with its index", TORCH)


def called(name: str, folder: Path) -> str:
    """How errors call the model `name` in `folder`."""
    return name if Path(name).expanduser() == folder else f"{name} in {folder}"


# -- folders of something else -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Foreign:
    """Something that a folder can hold instead of a reranker, or beside one."""

    mark: Callable[[Path], str | None]
    """The file that gives it away, or None."""
    what: str
    """What it is."""
    way_out: str
    """What to do, for a person."""


def _any(*patterns: str, unless: tuple[str, ...] = ()) -> Callable[[Path], str | None]:
    """A file that matches one of `patterns`, in a folder without one that matches `unless`."""

    def mark(folder: Path) -> str | None:
        if any(True for pattern in unless for _ in folder.glob(pattern)):
            return None
        found = (file.name for pattern in patterns for file in sorted(folder.glob(pattern)))
        return next(found, None)

    return mark


def _pooling_module(folder: Path) -> str | None:
    """The module of sentence-transformers that makes an embedding of the model's output."""
    kinds = [str(one.get("type")) for one in _modules(folder)]
    pools = any(kind.rpartition(".")[2] == "Pooling" for kind in kinds)
    return "modules.json, which ends in Pooling" if pools else None


def _other_module(folder: Path) -> str | None:
    """A module of sentence-transformers that changes the score after the model."""
    kinds = [str(one.get("type")).rpartition(".")[2] for one in _modules(folder)]
    other = [kind for kind in kinds if kind not in ("Transformer", "LogitScore")]
    return f"modules.json, which names {other[0]}" if other else None


def _modules(folder: Path) -> list[dict[str, Any]]:
    content = read_json(folder / "modules.json")
    return [one for one in content if isinstance(one, dict)] if isinstance(content, list) else []


WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
EMBEDDING = "use the Qwen3-Reranker of the same size"
FOREIGN = (
    Foreign(
        _any("adapter_config.json", "adapter_model*"),
        "an adapter (PEFT, LoRA), which no engine here applies",
        "merge it into its base (qwen3-rerank convert BASE TARGET --adapter FOLDER) and name "
        "TARGET; if the base alone is meant, move the adapter away",
    ),
    Foreign(_any("1_Pooling"), "an embedding model", EMBEDDING),
    Foreign(_pooling_module, "an embedding model", EMBEDDING),
    Foreign(
        _other_module,
        "a pipeline of sentence-transformers with a step that no engine here takes",
        "use a checkpoint whose score is its model's own",
    ),
    Foreign(
        _any("*.gguf", unless=WEIGHTS),
        "a model in llama.cpp's format, GGUF, which neither torch nor vLLM runs here",
        "serve it with llama.cpp and pass base_url=, or use the checkpoint it was made from",
    ),
    Foreign(
        _any("*.onnx", "openvino_model.*", "tf_model.h5", "flax_model.*", unless=WEIGHTS),
        "a model exported for another runtime",
        "use the checkpoint it was made from, with its .safetensors files",
    ),
    Foreign(
        _any("consolidated*.safetensors", "consolidated*.pth"),
        "weights in Mistral's layout, which vLLM prefers to any others and torch does not read",
        f"keep one set of weights in the folder: {SAFETENSORS}, or shards with their index",
    ),
)
"""In the order in which a folder is looked at."""


def refuse_foreign(name: str, folder: Path) -> None:
    """Refuse the folder of model `name` if it holds something else than one whole model.

    Raises:
        UnsupportedModelError: it does; the error names the file and the way out.
    """
    for row in FOREIGN:
        if mark := row.mark(folder):
            raise UnsupportedModelError(
                f"{called(name, folder)} holds {row.what} ({mark}); {row.way_out}"
            )


# -- the weights -------------------------------------------------------------------------------


def weight_files(name: str, folder: Path) -> tuple[Path, ...]:
    """The files with the weights of model `name` in `folder`; every engine reads these.

    Raises:
        UnsupportedModelError: two sets of weights, of which engines would read different ones.
        CorruptModelError: no weights, or some of the files that an index names are missing.
    """
    safetensors = _names(folder, "*.safetensors")
    torch = [one for one in _names(folder, "*.bin") if not one.startswith(TRAINING_STATE)]
    whole = [one for one in torch if one.startswith("pytorch_model")]
    if safetensors and whole:
        raise _two_sets(name, folder, [safetensors[0], whole[0]])
    if safetensors:
        chosen = _choose(name, folder, safetensors, SAFETENSORS, read_unindexed=False)
    elif whole:
        chosen = _choose(name, folder, torch, TORCH, read_unindexed=True)
    else:
        raise _no_weights(name, folder)
    return tuple(folder / one for one in chosen)


def _choose(
    name: str, folder: Path, there: list[str], single: str, *, read_unindexed: bool
) -> list[str]:
    """Of the weight files `there`, those that are the model.

    Either the one named `single`, or the shards that its index names. With `read_unindexed` vLLM
    also reads whatever no index names, so that nothing else may be there.
    """
    index = folder / INDEX.format(single)
    if not index.is_file():
        if there == [single]:
            return there
        if single in there:
            raise _two_sets(name, folder, there)
        raise CorruptModelError(
            f"{called(name, folder)} holds {', '.join(there[:3])} but neither {single} "
            f"nor {index.name}, which says what belongs together; fetch it again, or save the "
            "model anew"
        )
    named = _named(index)
    if missing := [one for one in named if one not in there]:
        raise CorruptModelError(
            f"{called(name, folder)} lacks {', '.join(missing[:3])}, which {index.name} "
            "names; fetch it again"
        )
    others = [one for one in there if one not in named]
    if single in others or (others and read_unindexed):
        raise _two_sets(name, folder, [named[0], *others])
    return named


def _named(index: Path) -> list[str]:
    """The files that an index names, each once."""
    content = read_json(index)
    weights = content.get("weight_map") if isinstance(content, dict) else None
    names = set(weights.values()) if isinstance(weights, dict) and weights else {None}
    if not all(isinstance(one, str) and Path(one).name == one for one in names):
        raise CorruptModelError(f"{index} cannot be read as an index of weights; fetch it again")
    return sorted(str(one) for one in names)


def _names(folder: Path, pattern: str) -> list[str]:
    """Files of `folder`, links to files included.

    Raises:
        CorruptModelError: one is a link to a file that is not there.
    """
    found = sorted(folder.glob(pattern))
    if dead := [file for file in found if not file.exists()]:
        raise CorruptModelError(f"{dead[0]} is a link to a file that is not there; fetch it again")
    return [file.name for file in found if file.is_file()]


def _two_sets(name: str, folder: Path, files: list[str]) -> ModelError:
    return UnsupportedModelError(
        f"{called(name, folder)} holds more than one set of weights: "
        f"{' and '.join(files[:3])}. Engines would read different ones; keep the one that is meant"
    )


def _no_weights(name: str, folder: Path) -> ModelError:
    others = [file.name for file in _likely_weights(folder)]
    beside = f"; {', '.join(others[:3])} is not read" if others else ""
    return CorruptModelError(
        f"{called(name, folder)} holds no weights ({', '.join(READABLE)}){beside}; "
        "fetch them, or name the folder that has them"
    )


def _likely_weights(folder: Path) -> Iterator[Path]:
    for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.gguf", "checkpoint-*"):
        yield from sorted(folder.glob(pattern))


def read_json(file: Path) -> Any:
    """What a JSON file holds; None where it is missing.

    Raises:
        CorruptModelError: it is there and cannot be read.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CorruptModelError(f"{file} cannot be read: {error}; fetch it again") from error
