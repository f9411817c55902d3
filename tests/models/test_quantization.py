"""What a quantised checkpoint says of itself, and a head that is not as it says."""

import json
from pathlib import Path
from typing import Any

import pytest

from qwen3_ascend_rerank import UnsupportedModelError
from qwen3_ascend_rerank.models import open_checkpoint
from qwen3_ascend_rerank.models.quantization import quantization_name, read_quantization
from tests.support.variants import Variant, quantise, write

CONVERTED, ORIGINAL = Variant("one label"), Variant("original", "untied")


@pytest.mark.parametrize(
    ("files", "expected", "name"),
    [
        ({"config.json": {"model_type": "qwen3"}}, {}, ""),
        (
            {"config.json": {"quantization_config": {"quant_method": "fp8"}}},
            {"quant_method": "fp8"},
            "fp8",
        ),
        (
            {"config.json": {}, "quant_model_description.json": {"kv_cache_type": "C8"}},
            {"kv_cache_type": "C8"},
            "ModelSlim",
        ),
        (
            {"config.json": {}, "quant_model_description_w8a8.json": {"group_size": 0}},
            {"group_size": 0},
            "ModelSlim",
        ),
        ({"config.json": {"quantization_config": None}}, {}, ""),
        ({"config.json": {"quantization_config": "gguf"}}, {"quant_method": "gguf"}, "gguf"),
        ({"config.json": []}, {}, ""),
        ({}, {}, ""),
    ],
)
def test_is_read_from_the_folder(
    tmp_path: Path, files: dict[str, Any], expected: dict[str, Any], name: str
) -> None:
    for file, content in files.items():
        (tmp_path / file).write_text(json.dumps(content))
    assert read_quantization(tmp_path) == expected
    assert quantization_name(expected) == name


def quantised(folder: Path, variant: Variant = CONVERTED, **changes: Any) -> str:
    """A quantised model whose ``quantization_config`` is changed afterwards."""
    quantise(write(variant, folder), leave_out="lm_head")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] |= changes
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({}, "ignore"),
        ({"ignore": []}, "ignore"),
        ({"ignore": ["re:.*lm_head", "model.layers.0.mlp.score"]}, "ignore"),
        ({"config_groups": {"group_0": {"targets": ["re:.*mlp.*", "re:sc.*"]}}}, "ignore"),
        ({"quant_method": "fp8", "config_groups": None}, "ignored_layers"),
        (
            {"quant_method": "fp8", "config_groups": None, "modules_to_not_convert": ["lm_head"]},
            "ignored_layers",
        ),
    ],
)
def test_a_head_that_would_be_rounded_away_is_refused(
    tmp_path: Path, changes: dict[str, Any], field: str
) -> None:
    model = quantised(tmp_path / "model", **changes)
    with pytest.raises(UnsupportedModelError, match=f'add "score" to "{field}" there'):
        open_checkpoint(model)


@pytest.mark.parametrize(
    "changes",
    [
        {"ignore": ["score"]},
        {"ignore": ["lm_head", "re:^score$"]},
        {"config_groups": {"group_0": {"targets": ["re:.*self_attn.*"]}}},
        {"quant_method": "fp8", "config_groups": None, "modules_to_not_convert": ["score"]},
        {"quant_method": "gptq"},  # vLLM refuses a float where it expects qweight
    ],
)
def test_a_head_that_is_left_out_stays(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert open_checkpoint(quantised(tmp_path / "model", **changes)).labels is not None


def test_an_original_model_has_its_head_from_its_embedding(tmp_path: Path) -> None:
    assert open_checkpoint(quantised(tmp_path / "model", ORIGINAL, ignore=[])).quantization
