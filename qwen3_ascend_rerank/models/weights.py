"""Whether the weights of a checkpoint are those of the model that its ``config.json`` describes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ..errors import CorruptModelError, UnsupportedModelError
from .configuration import Configuration
from .folder import called
from .tensors import FLOATS, Tensor

EMBEDDING, LM_HEAD, SCORE = "model.embed_tokens.weight", "lm_head.weight", "score.weight"


def expected_shapes(configuration: Configuration, *, converted: bool) -> dict[str, tuple[int, ...]]:
    """Every weight of the model but its head, with its shape.

    Source: ``transformers/models/qwen3/modeling_qwen3.py``.
    """
    width, inner = configuration.hidden_size, configuration.intermediate_size
    size = configuration.head_dim
    queries = configuration.num_attention_heads * size
    keys = configuration.num_key_value_heads * size
    layer = {
        "input_layernorm": (width,),
        "self_attn.q_proj": (queries, width),
        "self_attn.k_proj": (keys, width),
        "self_attn.v_proj": (keys, width),
        "self_attn.q_norm": (size,),
        "self_attn.k_norm": (size,),
        "self_attn.o_proj": (width, queries),
        "post_attention_layernorm": (width,),
        "mlp.gate_proj": (inner, width),
        "mlp.up_proj": (inner, width),
        "mlp.down_proj": (width, inner),
    }
    shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (configuration.vocab_size, width)}
    for number in range(configuration.num_hidden_layers):
        shapes |= {f"model.layers.{number}.{name}.weight": shape for name, shape in layer.items()}
    shapes["model.norm.weight"] = (width,)
    if not converted and not configuration.tie_word_embeddings:
        shapes[LM_HEAD] = (configuration.vocab_size, width)
    return shapes


def check_weights(
    name: str,
    folder: Path,
    tensors: Mapping[str, Tensor],
    configuration: Configuration,
    *,
    converted: bool,
) -> None:
    """Refuse weights that are not exactly those of the model, all of them numbers as they are.

    Of the head of a converted checkpoint, and of one beside tied embeddings, only that it may be
    there; `heads.py` looks at both.

    Raises:
        UnsupportedModelError: weights that have no place in the model, or are quantised.
        CorruptModelError: weights are missing, or have another shape than ``config.json`` says.
    """
    shapes = expected_shapes(configuration, converted=converted)
    optional = {SCORE} if converted else {LM_HEAD}
    where = called(name, folder)
    if integers := [one for one, tensor in tensors.items() if tensor.dtype not in FLOATS]:
        tensor = tensors[integers[0]]
        raise UnsupportedModelError(
            f"{where} holds {len(integers)} weights that are no plain numbers, {integers[0]} first "
            f"({tensor.dtype}, in {tensor.file.name}), but config.json has no quantization_config "
            "that says how to read them; use the checkpoint that was not quantised"
        )
    if unexpected := [one for one in tensors if one not in shapes and one not in optional]:
        tensor = tensors[unexpected[0]]
        raise UnsupportedModelError(
            f"{where} holds {len(unexpected)} weights that have no place in its model, "
            f"{', '.join(unexpected[:3])} (in {tensor.file.name}){_cause(unexpected, shapes)}"
        )
    if missing := [one for one in shapes if one not in tensors]:
        raise CorruptModelError(
            f"{where} lacks {len(missing)} weights, {missing[0]} first"
            + _way_out(missing, configuration)
        )
    for one, shape in shapes.items():
        if tensors[one].shape != shape:
            raise CorruptModelError(
                f"{where} has {one} in the shape {tensors[one].shape} "
                f"({tensors[one].file.name}), where its config.json asks for {shape}; the two "
                "belong to different models"
            )


CAUSES = (
    (
        r"lora_|\.base_layer\.",
        "an adapter that was not merged; merge it (peft: merge_and_unload())",
    ),
    (
        r"scale|qweight|qzeros|g_idx|absmax|zero_point|offset",
        "a quantised model whose config.json does not say so; use the one that was not quantised",
    ),
    (
        r"^score\.bias$",
        "a bias that vLLM adds and transformers leaves out; train and save the head without",
    ),
    (
        r"^score\.",
        "a head for scores; if it is meant, config.json should say Qwen3ForSequenceClassification",
    ),
    (
        r"^lm_head\.",
        "a language model's head beside the architecture Qwen3ForSequenceClassification; keep one",
    ),
    (r"_orig_mod\.|^module\.", "a model saved from inside a wrapper; save it unwrapped"),
    (r"experts|\.gate\.", "a mixture of experts, which no Qwen3-Reranker is"),
)
"""What weights of such names are, and the way out."""


def _cause(unexpected: list[str], shapes: Mapping[str, object]) -> str:
    if all(f"model.{one}" in shapes for one in unexpected):
        return (
            ": these are the names of an embedding model, saved without a head; use the "
            "Qwen3-Reranker of the same size"
        )
    for pattern, cause in CAUSES:
        if any(re.search(pattern, one) for one in unexpected):
            return f": {cause}"
    return "; engines would leave them out or fail, use a checkpoint without them"


def _way_out(missing: list[str], configuration: Configuration) -> str:
    if missing == [LM_HEAD] and not configuration.tie_word_embeddings:
        return (
            ", and config.json does not say that tie_word_embeddings is true; fetch the missing "
            "file again, or correct config.json"
        )
    return "; fetch it again"
