"""Where a model's files are: a folder, the Hugging Face hub, ModelScope, or the lexical model.

Set ``VLLM_USE_MODELSCOPE=True`` to fetch from ModelScope, as for vLLM itself; the hub's own
variables (``HF_ENDPOINT``, ``HF_HUB_OFFLINE``, ``HF_HOME``, ``HF_TOKEN``) work as usual.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import (
    CorruptModelError,
    InvalidInputError,
    MissingDependencyError,
    ModelNotFoundError,
    UnsupportedModelError,
)
from ..prompts import QwenTokenizer
from . import lexical
from .configuration import Configuration
from .folder import refuse_foreign, weight_files
from .heads import Labels, check_tokenizer, read_labels
from .quantization import check_quantized_head, read_quantization
from .tensors import Tensor, read_tensors
from .weights import SCORE, check_weights

TOKENIZER_FILE = "tokenizer.json"
_SMALL = ["*.json", "*.txt", "*.jinja"]
_WEIGHTS = ["*.safetensors"]
_ORIGINAL = "Qwen3ForCausalLM"
_CONVERTED = "Qwen3ForSequenceClassification"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A reranker's files, all of them in one local folder."""

    name: str
    """The model as it was asked for."""
    folder: Path
    """Where its files are."""
    config: dict[str, Any]
    """Its ``config.json``."""
    configuration: Configuration
    """What of that decides a score."""
    quantization: Mapping[str, Any] = field(default_factory=dict)
    """How it says that it is quantised (`read_quantization`); empty where it is not."""
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    """Its weights by name; empty where it was opened without them."""
    labels: Labels | None = None
    """What its head gives, if it is converted and was opened with its weights."""

    @property
    def converted(self) -> bool:
        """Whether it is a sequence classification model with a head for scores.

        An original checkpoint is a causal language model; its score is read off the rows of
        "yes" and "no" of its output embedding.
        """
        return bool(self.config["architectures"] == [_CONVERTED])

    def check_length(self, max_length: int, *, spare: int = 0, longest: int | None = None) -> None:
        """Refuse prompts longer than the model takes.

        Args:
            max_length: the longest prompt, in tokens.
            spare: tokens that the engine needs beyond it.
            longest: what the model takes, if that was changed for this engine.

        Raises:
            InvalidInputError: it takes less.
        """
        limit = (longest or self.configuration.longest) - spare
        if max_length > limit:
            raise InvalidInputError(
                f"max_length is {max_length} but {self.name} takes at most {limit} tokens"
                + (f" here, since {spare} of its {limit + spare} must stay free" if spare else "")
            )

    def check(self, tokenizer: QwenTokenizer) -> None:
        """Refuse the checkpoint if it does not belong to `tokenizer`.

        Raises:
            UnsupportedModelError: ids without a row in the embedding, a score that is read off
                other tokens than "yes" and "no", or two heads that could be meant.
        """
        check_tokenizer(self.name, self.folder, self.configuration, self.tensors, tokenizer)


def open_checkpoint(model: str, *, weights: bool = True) -> Checkpoint:
    """Find, fetch where needed, and recognise the checkpoint of `model`.

    Args:
        model: a folder, a hub id such as ``Qwen/Qwen3-Reranker-0.6B``, or ``lexical``.
        weights: whether its weights are fetched and looked at too; no numbers are read.

    Raises:
        ModelNotFoundError: no such folder; or no such model, or no way to reach the hub.
        UnsupportedModelError: a model of another kind, or more than one that could be meant.
        CorruptModelError: files are missing or damaged, or contradict each other.
    """
    wanted = _SMALL + _WEIGHTS if weights else _SMALL
    folder = lexical.checkpoint_folder() if model == lexical.NAME else _fetch(model, wanted)
    refuse_foreign(model, folder)
    config = _read_config(folder)
    kind, architectures = config.get("model_type"), config.get("architectures")
    if kind != "qwen3" or architectures not in ([_ORIGINAL], [_CONVERTED]):
        raise UnsupportedModelError(
            f"{model} is not a Qwen3 reranker: its config.json says model_type {kind!r}, "
            f"architectures {architectures!r}; use a Qwen3-Reranker (0.6B, 4B, 8B), original "
            f"({_ORIGINAL}) or converted ({_CONVERTED}). A server of another reranker can be used "
            "through base_url"
        )
    opened = Checkpoint(
        model,
        folder,
        config,
        Configuration.read(config, folder / "config.json"),
        read_quantization(folder),
    )
    return _with_weights(opened) if weights else opened


def _with_weights(opened: Checkpoint) -> Checkpoint:
    """The same with its weights, of which none is left out and none made up."""
    tensors = read_tensors(weight_files(opened.name, opened.folder))
    if opened.quantization:
        check_quantized_head(opened.name, opened.quantization, tensors)
    else:
        check_weights(
            opened.name, opened.folder, tensors, opened.configuration, converted=opened.converted
        )
    labels = None
    if opened.converted:
        labels = read_labels(opened.name, opened.config, opened.configuration, tensors.get(SCORE))
    return replace(opened, tensors=tensors, labels=labels)


def is_local(model: str) -> bool:
    """Whether the files of `model` are here, and nothing has to be fetched."""
    return model == lexical.NAME or Path(model).expanduser().is_dir()


def tokenizer_file(source: str | os.PathLike[str]) -> Path:
    """The ``tokenizer.json`` of `source`: a folder, the file itself, a hub id, or ``lexical``.

    Raises:
        ModelNotFoundError: it is nowhere to be found.
    """
    if source == lexical.NAME:
        return lexical.tokenizer_file()
    path = Path(source).expanduser()
    file = path if path.is_file() else _fetch(str(source), [TOKENIZER_FILE]) / TOKENIZER_FILE
    if not file.is_file():
        raise ModelNotFoundError(
            f"{source} has no {TOKENIZER_FILE}; name a folder or hub id that has one with "
            "`tokenizer`, e.g. Qwen/Qwen3-Reranker-0.6B"
        )
    return file


def _read_config(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        within = sorted(one.parent.name for one in folder.glob("*/config.json"))
        raise CorruptModelError(
            f"{folder} has no config.json; "
            + (
                f"did you mean its folder {within[-1]}?"
                if within
                else "it is no model folder, or its download was cut off"
            )
        ) from None
    except (OSError, ValueError) as error:
        raise CorruptModelError(f"{file} cannot be read: {error}; fetch it again") from error
    if not isinstance(config, dict):
        raise CorruptModelError(f"{file} holds no JSON object; fetch it again")
    return config


def _fetch(model: str, patterns: list[str]) -> Path:
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        raise ModelNotFoundError(
            f"{model} is a file; name the folder that holds it with its config.json and "
            "tokenizer.json"
            + (
                ". A GGUF file is llama.cpp's: serve it with llama.cpp and pass base_url="
                if path.suffix == ".gguf"
                else ""
            )
        )
    if path.exists() or path.is_absolute() or model.startswith((".", "~")) or model.count("/") != 1:
        raise ModelNotFoundError(
            f"there is no model folder {model}; give an existing folder, a hub id such as "
            f"Qwen/Qwen3-Reranker-0.6B, or {lexical.NAME}"
        )
    modelscope = os.environ.get("VLLM_USE_MODELSCOPE", "").lower() in ("1", "true")
    hub, other, download = (
        ("ModelScope", "unset VLLM_USE_MODELSCOPE to use the Hugging Face hub", _from_modelscope)
        if modelscope
        else ("the Hugging Face hub", "set VLLM_USE_MODELSCOPE=True or HF_ENDPOINT", _from_hub)
    )
    try:
        return Path(download(model, patterns))
    except MissingDependencyError:
        raise
    except Exception as error:  # each hub client has its own errors, of many kinds
        raise ModelNotFoundError(
            f"{model} could not be fetched from {hub}: {_in_one_line(error)}; check the name and "
            f"the network, {other}, or give a local folder"
        ) from error


def _from_hub(model: str, patterns: list[str]) -> str:
    from huggingface_hub import snapshot_download

    return snapshot_download(model, allow_patterns=patterns)


def _from_modelscope(model: str, patterns: list[str]) -> str:
    try:
        from modelscope import snapshot_download
    except ImportError as error:
        raise MissingDependencyError(
            "VLLM_USE_MODELSCOPE is set but modelscope is not installed; "
            'pip install "qwen3-ascend-rerank[modelscope]"'
        ) from error
    folder: str = snapshot_download(model, allow_patterns=patterns)
    return folder


def _in_one_line(error: Exception) -> str:
    """All that an error says: the cause may stand on any of its lines."""
    return " ".join(str(error).split()) or type(error).__name__
