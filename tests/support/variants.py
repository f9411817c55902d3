"""One small Qwen3-Reranker in every form that people save it in, and what it should answer.

The weights are random, the tokenizer is the lexical model's. Files are written by hand, so that a
form does not depend on the release of transformers that the tests run on.
"""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from packaging.version import Version
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from qwen3_ascend_rerank import DEFAULT_INSTRUCTION
from qwen3_ascend_rerank.models.lexical import tokenizer_file
from tests.support import official

QUERY = "What does [DRUG] do?"
DOCUMENTS = [
    "The capital of China is Beijing.",
    "Take [DRUG] twice a day, never [DRUG][DRUG].",
    "",
    "的 量子 moon.\n\nforce " * 12,
]
OWN = "[DRUG]"
"""The token that some fine-tunes add."""
LENGTH = 400
THETA = 1_000_000.0
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
}


@dataclass(frozen=True)
class Variant:
    """One way to save the model."""

    head: str = "original"
    """``original``, ``one label`` or ``two labels``."""
    tie: str = "tied"
    """``tied``, ``untied``, or ``trained``: a head of its own though the embeddings are tied."""
    layout: str = "5"
    """The release of transformers whose ``config.json`` it has: ``4.51`` or ``5``."""
    files: str = "single"
    """``single`` or ``shards``."""
    vocabulary: str = "plain"
    """``plain``, ``padded``, or ``resized`` for a token of its own."""

    @property
    def refused(self) -> bool:
        """Whether it has two heads that could be meant."""
        return (self.head, self.tie) == ("original", "trained")

    def __str__(self) -> str:
        return ", ".join((self.head, self.tie, self.layout, self.files, self.vocabulary))


VARIANTS = [
    Variant(*choice)
    for choice in itertools.product(
        ("original", "one label", "two labels"),
        ("tied", "untied", "trained"),
        ("4.51", "5"),
        ("single", "shards"),
        ("plain", "padded", "resized"),
    )
]


def write(variant: Variant, folder: Path) -> Path:
    """The files of `variant`."""
    folder.mkdir(parents=True)
    tokenizer = tokenizer_of(variant.vocabulary)
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    model = whole_model(variant.tie, variant.vocabulary)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    head = weights.pop("lm_head.weight")
    yes, no = map(tokenizer.convert_tokens_to_ids, ("yes", "no"))
    if variant.head == "one label":
        weights["score.weight"] = (head[yes] - head[no])[None]
    elif variant.head == "two labels":
        weights["score.weight"] = torch.stack([head[no], head[yes]])
    elif variant.tie != "tied":
        weights["lm_head.weight"] = head
    _write_weights(folder, weights, variant.files)
    content = _config(variant, len(model.get_input_embeddings().weight))
    (folder / "config.json").write_text(json.dumps(content))
    return folder


def answers(variant: Variant, query: str = QUERY, documents: Sequence[str] = ()) -> list[float]:
    """The log-odds of the official computation, with the head that is meant."""
    return _answers(variant.tie, variant.vocabulary, query, tuple(documents or DOCUMENTS))


@cache
def _answers(tie: str, vocabulary: str, query: str, documents: tuple[str, ...]) -> list[float]:
    tokenizer = tokenizer_of(vocabulary)
    pairs = [official.format_pair(DEFAULT_INSTRUCTION, query, text) for text in documents]
    prompts = official.prompt_ids(tokenizer, pairs, LENGTH)
    yes, no = map(tokenizer.convert_tokens_to_ids, ("yes", "no"))
    return official.log_odds(whole_model(tie, vocabulary), prompts, yes, no)


@cache
def tokenizer_of(vocabulary: str) -> PreTrainedTokenizerFast:
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(tokenizer_file()))
    if vocabulary == "resized":
        tokenizer.add_tokens([AddedToken(OWN, normalized=False)])
    return tokenizer


@cache
def whole_model(tie: str, vocabulary: str) -> Any:
    """The model in memory, its head in ``lm_head`` whatever its ``config.json`` will say."""
    rows = len(tokenizer_of(vocabulary)) + (37 if vocabulary == "padded" else 0)
    torch.manual_seed(11)
    rope: dict[str, Any] = {"rope_theta": THETA}
    if Version(transformers.__version__) >= Version("5"):
        rope = {"rope_parameters": {"rope_type": "default", **rope}}
    config = Qwen3Config(
        **SIZES, **rope, vocab_size=rows, tie_word_embeddings=False, initializer_range=0.4
    )
    model = Qwen3ForCausalLM(config).eval()
    if tie == "tied":
        with torch.no_grad():
            model.lm_head.weight.copy_(model.get_input_embeddings().weight)
    return model


def _config(variant: Variant, rows: int) -> dict[str, Any]:
    content: dict[str, Any] = {
        "model_type": "qwen3",
        "architectures": ["Qwen3ForCausalLM"],
        "vocab_size": rows,
        "tie_word_embeddings": variant.tie != "untied",
        "attention_bias": False,
        "use_sliding_window": False,
        "max_window_layers": 2,
        **SIZES,
    }
    if variant.head != "original":
        content["architectures"] = ["Qwen3ForSequenceClassification"]
        content["pad_token_id"] = 0
    if variant.head == "one label":
        content["id2label"], content["label2id"] = {"0": "LABEL_0"}, {"LABEL_0": 0}
    if variant.layout == "5":
        return content | {
            "dtype": "float32",
            "transformers_version": "5.24.0",
            "layer_types": ["full_attention"] * SIZES["num_hidden_layers"],
            "rope_parameters": {"rope_theta": THETA, "rope_type": "default"},
            "sliding_window": None,
        }
    return content | {
        "torch_dtype": "float32",
        "transformers_version": "4.51.3",
        "rope_theta": THETA,
        "rope_scaling": None,
        "sliding_window": 4096,
    }


def _write_weights(folder: Path, weights: dict[str, torch.Tensor], files: str) -> None:
    if files == "single":
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names, index = sorted(weights), {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file({name: weights[name] for name in part}, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(part, file)
    content = {"metadata": {"total_size": 0}, "weight_map": index}
    (folder / "model.safetensors.index.json").write_text(json.dumps(content))


def _rows_in_int8(folder: Path, *, also: str = "") -> dict[str, torch.Tensor]:
    """The weights of a written model, its projections in int8 with a scale beside each row."""
    weights = load_file(folder / "model.safetensors")
    for name in [one for one in weights if one.endswith("_proj.weight")]:
        scale = weights[name].abs().amax(1, keepdim=True) / 127
        weights[name] = (weights[name] / scale).round().to(torch.int8)
        weights[f"{name}_scale"] = scale
        if also:
            weights[f"{name}{also}"] = torch.zeros_like(scale)
    return weights


def quantise_by_modelslim(folder: Path) -> Path:
    """Make a written model one of ModelSlim's W8A8, whose activations get their scales on the fly.

    Its ``config.json`` stays as it is; what is int8 is said beside it, of every tensor.
    """
    weights = _rows_in_int8(folder, also="_offset")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    kinds = {one: "W8A8_DYNAMIC" if "_proj." in one else "FLOAT" for one in sorted(weights)}
    said = {"model_quant_type": "W8A8_DYNAMIC", "version": "1.0.0", **kinds}
    (folder / "quant_model_description.json").write_text(json.dumps(said, indent=1))
    return folder


def unquantised(folder: Path) -> Path:
    """A model beside `folder` that has its int8 weights in float."""
    made = folder.with_name(f"{folder.name} in float")
    made.mkdir()
    weights = load_file(folder / "model.safetensors")
    kept = {name: one for name, one in weights.items() if not name.endswith(("_scale", "_offset"))}
    for name, one in kept.items():
        if one.dtype == torch.int8:
            kept[name] = one.float() * weights[f"{name}_scale"]
    save_file(kept, made / "model.safetensors", metadata={"format": "pt"})
    for file in folder.glob("*.json"):
        if not file.name.startswith("quant_"):
            (made / file.name).write_bytes(file.read_bytes())
    return made


def quantise(folder: Path, *, leave_out: str) -> None:
    """Make the weights of a written model int8, each row with its scale, as compressed-tensors
    does; `leave_out` is what its configuration says was not quantised."""
    save_file(_rows_in_int8(folder), folder / "model.safetensors", metadata={"format": "pt"})
    kind = {"num_bits": 8, "type": "int", "symmetric": True}
    group = {
        "targets": ["Linear"],
        "weights": {**kind, "strategy": "channel", "dynamic": False},
        "input_activations": {**kind, "strategy": "token", "dynamic": True},
    }
    content = json.loads((folder / "config.json").read_text())
    content["quantization_config"] = {
        "quant_method": "compressed-tensors",
        "format": "int-quantized",
        "quantization_status": "compressed",
        "ignore": [leave_out],
        "config_groups": {"group_0": group},
    }
    (folder / "config.json").write_text(json.dumps(content))
