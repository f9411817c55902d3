"""Which files are the model: one rule for every engine, and no folder that leaves a choice."""

import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from qwen3_ascend_rerank import (
    CorruptModelError,
    ModelNotFoundError,
    Reranker,
    UnsupportedModelError,
)
from qwen3_ascend_rerank.models import open_checkpoint
from tests.models.conftest import Folder, edit_weights
from tests.support.variants import LENGTH

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


def beside(name: str, content: str | bytes = b"") -> Callable[[Path], Any]:
    def change(folder: Path) -> None:
        file = folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


def instead(name: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / WEIGHTS).rename(folder / name)


def modules(*kinds: str) -> Callable[[Path], Any]:
    content = [
        {"idx": place, "name": str(place), "type": f"sentence_transformers.x.{kind}"}
        for place, kind in enumerate(kinds)
    ]
    return beside("modules.json", json.dumps(content))


def old_file_beside_shards(folder: Path) -> None:
    names = sorted(load_file(folder / WEIGHTS))
    shard = "model-00001-of-00001.safetensors"
    shutil.copy(folder / WEIGHTS, folder / shard)
    beside(INDEX, json.dumps({"weight_map": dict.fromkeys(names, shard)}))(folder)


def two_files_with_one_weight(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    save_file(weights, folder / first)
    save_file({"model.norm.weight": weights["model.norm.weight"]}, folder / second)
    index = dict.fromkeys(weights, first) | {"model.norm.weight": second}
    beside(INDEX, json.dumps({"weight_map": index}))(folder)


FOREIGN: dict[str, tuple[Callable[[Path], Any], type[Exception], str]] = {
    "adapter beside the base": (
        beside("adapter_config.json", "{}"),
        UnsupportedModelError,
        r"an adapter \(PEFT, LoRA\).*\(adapter_config\.json\); merge it .* convert BASE TARGET",
    ),
    "adapter's weights beside the base": (
        beside("adapter_model.safetensors"),
        UnsupportedModelError,
        r"an adapter .*\(adapter_model\.safetensors\)",
    ),
    "adapter alone": (
        lambda folder: [
            beside("adapter_config.json", "{}")(folder),
            (folder / "config.json").unlink(),
            (folder / WEIGHTS).unlink(),
        ],
        UnsupportedModelError,
        "an adapter .* merge it",
    ),
    "embedding model": (
        lambda folder: (folder / "1_Pooling").mkdir(),
        UnsupportedModelError,
        "embedding model",
    ),
    "embedding model by its modules": (
        modules("Transformer", "Pooling", "Normalize"),
        UnsupportedModelError,
        "embedding model",
    ),
    "another head of sentence-transformers": (
        modules("Transformer", "Dense"),
        UnsupportedModelError,
        "modules.json, which names Dense",
    ),
    "GGUF": (instead("model-q8_0.gguf"), UnsupportedModelError, r"GGUF.*\(model-q8_0\.gguf\)"),
    "ONNX": (instead("model.onnx"), UnsupportedModelError, "exported for another runtime"),
    "OpenVINO": (instead("openvino_model.bin"), UnsupportedModelError, "openvino_model.bin"),
    "Mistral's layout beside": (
        beside("consolidated.safetensors"),
        UnsupportedModelError,
        "Mistral's layout",
    ),
    "an old file beside newer shards": (
        old_file_beside_shards,
        UnsupportedModelError,
        "more than one set of weights: model-00001-of-00001.safetensors and model.safetensors",
    ),
    "two formats": (
        beside("pytorch_model.bin"),
        UnsupportedModelError,
        "more than one set of weights: model.safetensors and pytorch_model.bin",
    ),
    "a stray file of weights": (
        beside("extra.safetensors"),
        UnsupportedModelError,
        "more than one set of weights: extra.safetensors and model.safetensors",
    ),
    "one weight in two files": (
        two_files_with_one_weight,
        UnsupportedModelError,
        r"model\.norm\.weight is in model-00001-of-00002\.safetensors and in model-00002",
    ),
    "shards without their index": (
        instead("model-00001-of-00001.safetensors"),
        CorruptModelError,
        r"neither model\.safetensors nor model\.safetensors\.index\.json",
    ),
    "an index of other files": (
        lambda folder: [
            instead("model-1.safetensors")(folder),
            beside(INDEX, '{"weight_map": {"a": "model-2.safetensors"}}')(folder),
        ],
        CorruptModelError,
        "lacks model-2.safetensors, which model.safetensors.index.json names; fetch it again",
    ),
    "an index cut off": (
        beside(INDEX, '{"weight_map": {"a'),
        CorruptModelError,
        r"index\.json cannot be read",
    ),
    "an index that leaves the folder": (
        beside(INDEX, '{"weight_map": {"a": "../other.safetensors"}}'),
        CorruptModelError,
        "cannot be read as an index",
    ),
    "a dead link": (
        lambda folder: [
            (folder / WEIGHTS).unlink(),
            (folder / WEIGHTS).symlink_to("blobs/gone"),
        ],
        CorruptModelError,
        "a link to a file that is not there; fetch it again",
    ),
    "a pointer of Git LFS": (
        beside(WEIGHTS, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
        CorruptModelError,
        "git lfs pull",
    ),
    "cut off": (
        lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100]),
        CorruptModelError,
        r"model\.safetensors cannot be read: .*damaged or cut off: fetch it again",
    ),
    "nothing but checkpoints of training": (
        lambda folder: [
            (folder / WEIGHTS).unlink(),
            beside("checkpoint-500/model.safetensors")(folder),
        ],
        CorruptModelError,
        "holds no weights .*checkpoint-500 is not read",
    ),
    "no config.json but a folder that has one": (
        lambda folder: [
            beside("checkpoint-500/config.json", "{}")(folder),
            (folder / "config.json").unlink(),
        ],
        CorruptModelError,
        "no config.json; did you mean its folder checkpoint-500",
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_folder_that_is_no_whole_single_model_is_refused_by_name(
    kind: str, folder: Folder
) -> None:
    change, error, message = FOREIGN[kind]
    model = folder()
    change(model)
    with pytest.raises(error, match=message) as caught:
        open_checkpoint(str(model))
    if error is UnsupportedModelError:
        assert "fetch" not in str(caught.value)  # nothing is missing or damaged


@pytest.mark.parametrize("engine", ["torch", "vllm"])
@pytest.mark.parametrize("kind", ["adapter beside the base", "an old file beside newer shards"])
def test_every_engine_refuses_it_in_the_same_words(kind: str, engine: str, folder: Folder) -> None:
    if find_spec(engine) is None:
        pytest.skip(f"needs {engine}")
    change, error, message = FOREIGN[kind]
    model = folder()
    change(model)
    with Reranker(model, engine=engine, max_length=LENGTH) as reranker:
        with pytest.raises(error, match=message):
            reranker.start()


def as_hub_cache(folder: Path) -> Path:
    """Files as links to blobs, as the Hugging Face hub keeps them."""
    blobs = folder.parent / "blobs"
    blobs.mkdir()
    for number, file in enumerate(sorted(folder.iterdir())):
        file.rename(blobs / str(number))
        file.symlink_to(blobs / str(number))
    return folder


def as_torch(folder: Path) -> Path:
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()
    return folder


GOOD: dict[str, Callable[[Path], Any]] = {
    "links": as_hub_cache,
    "checkpoints of training beside": lambda folder: [
        beside("checkpoint-500/adapter_config.json")(folder),
        beside("checkpoint-500/model.safetensors")(folder),
        beside("training_args.bin")(folder),
        beside("optimizer.pt")(folder),
        beside("rng_state.pth")(folder),
        beside("trainer_state.json", "{}")(folder),
    ],
    "sentence-transformers' reranker": lambda folder: [
        modules("Transformer", "LogitScore")(folder),
        beside("config_sentence_transformers.json", "{}")(folder),
    ],
    "a GGUF file beside": beside("model-q8_0.gguf"),
    "an ONNX export in a folder of its own": beside("onnx/model.onnx"),
    "torch's own format": lambda folder: [as_torch(folder), beside("training_args.bin")(folder)],
}


@pytest.mark.parametrize("kind", GOOD)
def test_what_people_rightly_have_goes_on_working(kind: str, folder: Folder) -> None:
    model = folder()
    expected = set(open_checkpoint(str(model)).tensors)
    GOOD[kind](model)
    assert set(open_checkpoint(str(model)).tensors) == expected


def test_other_shards_than_an_index_names_are_not_read(folder: Folder) -> None:
    model = folder(files="shards")
    beside("model-00001-of-00007.safetensors")(model)
    files = {tensor.file.name for tensor in open_checkpoint(str(model)).tensors.values()}
    assert files == {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}


def test_a_file_is_no_folder(folder: Folder) -> None:
    file = folder() / "model-q4.gguf"
    file.write_bytes(b"GGUF")
    with pytest.raises(ModelNotFoundError, match=r"is a file; .* serve it with llama\.cpp"):
        open_checkpoint(str(file))


def test_the_weights_stay_unread_where_they_are_not_wanted(folder: Folder) -> None:
    model = folder()
    (model / WEIGHTS).unlink()
    assert open_checkpoint(str(model), weights=False).tensors == {}


def lora(weights: dict[str, Any]) -> None:
    weights["model.layers.0.self_attn.q_proj.lora_A.default.weight"] = torch.zeros(2, 32)


def int8(weights: dict[str, Any]) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    weights[name] = weights[name].to(torch.int8)
    weights["model.layers.0.mlp.up_proj.weight_scale"] = torch.ones(48, 1)


def embedding(weights: dict[str, Any]) -> None:
    for name in list(weights):
        weights[name.removeprefix("model.")] = weights.pop(name)


CONTENT: dict[str, tuple[Callable[[dict[str, Any]], Any], type[Exception], str]] = {
    "a weight missing": (
        lambda weights: weights.pop("model.layers.1.mlp.up_proj.weight"),
        CorruptModelError,
        r"lacks 1 weights, model\.layers\.1\.mlp\.up_proj\.weight first; fetch it again",
    ),
    "a layer too many": (
        lambda weights: weights.update({"model.layers.2.mlp.up_proj.weight": torch.zeros(48, 32)}),
        UnsupportedModelError,
        r"1 weights that have no place in its model, model\.layers\.2",
    ),
    "integers that config.json does not explain": (
        int8,
        UnsupportedModelError,
        r"no plain numbers, model\.layers\.0\.mlp\.up_proj\.weight first \(I8, in model\.safe",
    ),
    "scales beside floats": (
        lambda weights: weights.update({"model.layers.0.mlp.up_proj.weight_scale": torch.ones(1)}),
        UnsupportedModelError,
        "a quantised model whose config.json does not say so",
    ),
    "an adapter's weights": (lora, UnsupportedModelError, "an adapter that was not merged"),
    "an embedding model's names": (embedding, UnsupportedModelError, "names of an embedding model"),
    "a head for scores": (
        lambda weights: weights.update({"score.weight": torch.zeros(1, 32)}),
        UnsupportedModelError,
        r"score\.weight .*config\.json should say Qwen3ForSequenceClassification",
    ),
    "another width": (
        lambda weights: weights.update({"model.norm.weight": torch.ones(31)}),
        CorruptModelError,
        r"model\.norm\.weight in the shape \(31,\) .* asks for \(32,\); the two belong to differ",
    ),
}


@pytest.mark.parametrize("kind", CONTENT)
def test_weights_that_are_not_exactly_the_models_are_refused(kind: str, folder: Folder) -> None:
    change, error, message = CONTENT[kind]
    model = folder()
    edit_weights(model, change)
    with pytest.raises(error, match=message):
        open_checkpoint(str(model))


def test_an_untied_model_without_its_head_is_refused(folder: Folder) -> None:
    model = folder(tie="untied")
    edit_weights(model, lambda weights: weights.pop("lm_head.weight"))
    with pytest.raises(CorruptModelError, match=r"lm_head\.weight first, and config\.json does no"):
        open_checkpoint(str(model))
