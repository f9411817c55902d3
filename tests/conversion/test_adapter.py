"""An adapter that is merged on the way answers as PEFT's own forward pass does."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from qwen3_ascend_rerank import CorruptModelError, ModelNotFoundError, UnsupportedModelError
from qwen3_ascend_rerank.conversion import convert
from tests.conversion.test_convert import log_odds
from tests.support.adapters import ALL, peft_answers, write_adapter
from tests.support.variants import Variant, answers, write

TIED, UNTIED = Variant(), Variant(tie="untied", files="shards")
ADAPTERS: dict[str, tuple[Variant, dict[str, Any]]] = {
    "attention": (TIED, {}),
    "every layer, sharded": (UNTIED, {"target_modules": ALL}),
    "rslora": (TIED, {"use_rslora": True, "r": 16, "target_modules": ALL}),
    "patterns": (
        UNTIED,
        {
            "target_modules": ALL,
            "rank_pattern": {"q_proj": 2, r"layers\.1\.mlp\.up_proj": 6},
            "alpha_pattern": {"q_proj": 3, "down_proj": 32},
        },
    ),
    "both embeddings": (UNTIED, {"target_modules": ["q_proj", "embed_tokens", "lm_head"]}),
    "the tied input": (TIED, {"target_modules": ["q_proj", "embed_tokens"]}),
    "the tied output": (TIED, {"target_modules": ["q_proj", "lm_head"]}),
    "whole embeddings": (UNTIED, {"modules_to_save": ["embed_tokens", "lm_head"]}),
    "a whole norm": (TIED, {"modules_to_save": ["input_layernorm"]}),
    "one layer": (TIED, {"layers_to_transform": [1]}),
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_merged_adapter_answers_as_peft(name: str, tmp_path: Path) -> None:
    variant, settings = ADAPTERS[name]
    source = write(variant, tmp_path / "source")
    adapter = write_adapter(tmp_path / "adapter", source, **settings)
    made = convert(source, tmp_path / "target", adapter=adapter)
    assert made.merged > 0
    expected = peft_answers(source, adapter)
    assert max(abs(a - b) for a, b in zip(expected, answers(variant), strict=True)) > 0.05
    assert log_odds(tmp_path / "target") == pytest.approx(expected, abs=1e-4)


def test_fan_in_fan_out_means_nothing_to_linear_layers_as_in_peft(tmp_path: Path) -> None:
    source = write(TIED, tmp_path / "source")
    adapter = write_adapter(tmp_path / "adapter", source)
    edit(adapter, fan_in_fan_out=True)
    convert(source, tmp_path / "target", adapter=adapter)
    assert log_odds(tmp_path / "target") == pytest.approx(peft_answers(source, adapter), abs=1e-4)


def test_a_head_for_scores_that_was_trained_is_the_head(tmp_path: Path) -> None:
    source = write(TIED, tmp_path / "source")
    adapter = write_adapter(tmp_path / "adapter", source)
    row = torch.randn(1, 32)
    rewrite(adapter, lambda tensors: tensors.update({"base_model.model.score.weight": row}))
    edit(adapter, task_type="SEQ_CLS", modules_to_save=["score"])
    convert(source, tmp_path / "target", adapter=adapter)
    assert torch.equal(load_file(tmp_path / "target" / "model.safetensors")["score.weight"], row)


def test_a_bfloat16_base_is_rounded_once(tmp_path: Path) -> None:
    source = write(TIED, tmp_path / "source")
    halved = {k: v.bfloat16() for k, v in load_file(source / "model.safetensors").items()}
    save_file(halved, source / "model.safetensors", metadata={"format": "pt"})
    adapter = write_adapter(tmp_path / "adapter", source)
    convert(source, tmp_path / "target", adapter=adapter)
    name = "model.layers.1.self_attn.q_proj"
    saved = load_file(adapter / "adapter_model.safetensors")
    a, b = (saved[f"base_model.model.{name}.lora_{one}.weight"].float() for one in "AB")
    expected = (halved[f"{name}.weight"].float() + b @ a * 2).bfloat16()
    found = load_file(tmp_path / "target" / "model.safetensors")[f"{name}.weight"]
    assert (found.float() - expected.float()).abs().max() <= expected.abs().max() / 128
    assert (found != expected).float().mean() < 0.01  # where the sum lies between two


# -- refused ------------------------------------------------------------------------------------


def edit(folder: Path, **changes: Any) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def rewrite(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def lose(part: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        def change(tensors: dict[str, Any]) -> None:
            for key in [one for one in tensors if part in one]:
                del tensors[key]

        rewrite(folder, change)

    return spoil


def cut(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def pickled(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


FIRST = "base_model.model.model.layers.0.self_attn.q_proj"
SPOILT: list[tuple[Callable[[Path], None], type[Exception], str]] = [
    (lambda one: edit(one, use_dora=True), UnsupportedModelError, r"DoRA.*merge_and_unload"),
    (lambda one: edit(one, peft_type="IA3"), UnsupportedModelError, "of the kind 'IA3'"),
    (lambda one: edit(one, init_lora_weights="pissa_niter_4"), UnsupportedModelError, "pissa"),
    (lambda one: edit(one, r=8), CorruptModelError, "has the rank 4 for"),
    (lambda one: edit(one, lora_alpha=None), CorruptModelError, "says lora_alpha None"),
    (
        lambda one: edit(one, base_model_name_or_path="Qwen/Qwen3-Embedding-0.6B"),
        UnsupportedModelError,
        "an adapter for Qwen/Qwen3-Embedding-0.6B, not for",
    ),
    (
        lambda one: rewrite(
            one, lambda t: t.update({f"{FIRST}.lora_magnitude_vector.weight": torch.ones(128)})
        ),
        UnsupportedModelError,
        "no part of a plain LoRA",
    ),
    (
        lambda one: rewrite(one, lambda t: t.update({f"{FIRST}.lora_A.weight": torch.ones(0)})),
        CorruptModelError,
        "before the shards of training were gathered",
    ),
    (lose("layers.0.self_attn.q_proj.lora_A"), CorruptModelError, "only one half of the adapter"),
    (lose("layers.0.self_attn.q_proj"), CorruptModelError, "lacks 1 of the parts"),
    (cut, CorruptModelError, "damaged or cut off"),
    (pickled, CorruptModelError, r"but adapter_model\.bin; save the adapter as safetensors"),
    (
        lambda one: (one / "adapter_config.json").unlink(),
        CorruptModelError,
        "has no adapter_config",
    ),
]


@pytest.mark.parametrize(("spoil", "kind", "told"), SPOILT)
def test_what_cannot_be_merged_is_refused(
    spoil: Callable[[Path], None], kind: type[Exception], told: str, tmp_path: Path
) -> None:
    source = write(TIED, tmp_path / "source")
    adapter = write_adapter(tmp_path / "adapter", source)
    spoil(adapter)
    with pytest.raises(kind, match=told):
        convert(source, tmp_path / "target", adapter=adapter)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["adapter", "source"]


def test_an_adapter_for_another_size_is_refused(tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter", write(TIED, tmp_path / "source"))
    with pytest.raises(UnsupportedModelError, match=r"for another base: it changes .* \(128, 32\)"):
        convert("lexical", tmp_path / "target", adapter=adapter)


@pytest.mark.parametrize(
    "asked",
    [
        "Qwen/Qwen3-Reranker-0.6B",
        "/root/.cache/modelscope/hub/models/Qwen/Qwen3-Reranker-0___6B",
        "/data/mine",
    ],
)
def test_its_base_may_be_named_as_people_do(asked: str, tmp_path: Path) -> None:
    source = write(TIED, tmp_path / "Qwen3-Reranker-0.6B")
    adapter = write_adapter(tmp_path / "adapter", source)
    edit(adapter, base_model_name_or_path=asked)
    convert(source, tmp_path / "target", adapter=adapter)
    edit(adapter, base_model_name_or_path="Qwen/Qwen3-Reranker-4B")
    with pytest.raises(UnsupportedModelError, match="give the model that it was trained on"):
        convert(source, tmp_path / "other", adapter=adapter)


def test_a_folder_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="there is no folder"):
        convert("lexical", tmp_path / "target", adapter=tmp_path / "none")
