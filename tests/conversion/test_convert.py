"""An original checkpoint becomes one for sequence classification, with the same answers."""

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from qwen3_ascend_rerank import (
    DEFAULT_INSTRUCTION,
    CorruptModelError,
    InvalidInputError,
    ModelError,
    Reranker,
    UnsupportedModelError,
)
from qwen3_ascend_rerank.conversion import convert, storage
from qwen3_ascend_rerank.models import open_checkpoint, vllm_overrides
from tests.support import official
from tests.support.variants import (
    DOCUMENTS,
    LENGTH,
    QUERY,
    VARIANTS,
    Variant,
    answers,
    quantise,
    tokenizer_of,
    write,
)

ORIGINALS = [one for one in VARIANTS if one.head == "original" and not one.refused]


def log_odds(folder: Path, length: int = LENGTH) -> list[float]:
    """What TorchEngine gives."""
    with Reranker(folder, engine="torch", max_length=length, selfcheck="invariants") as reranker:
        found = {one.index: one.log_odds for one in reranker.rerank(QUERY, DOCUMENTS)}
    return [found[place] for place in range(len(found))]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {k: v for file in folder.glob("*.safetensors") for k, v in load_file(file).items()}


@pytest.mark.parametrize("variant", ORIGINALS, ids=str)
def test_a_converted_checkpoint_answers_as_the_original(variant: Variant, tmp_path: Path) -> None:
    source, target = write(variant, tmp_path / "source"), tmp_path / "target"
    made = convert(source, target)
    assert made.shards == (2 if variant.files == "shards" else 1)
    opened = open_checkpoint(str(target))
    assert opened.converted
    assert vllm_overrides(opened) == {} == vllm_overrides(opened, "4.51.3")
    assert log_odds(target) == pytest.approx(answers(variant), abs=1e-4)


@pytest.mark.parametrize("tie", ["tied", "untied"])
def test_bfloat16_is_kept_to_the_bit_and_the_head_is_exact(tie: str, tmp_path: Path) -> None:
    source = write(Variant(tie=tie, files="shards"), tmp_path / "source")
    for file in source.glob("*.safetensors"):
        halved = {name: one.bfloat16() for name, one in load_file(file).items()}
        save_file(halved, file, metadata={"format": "pt"})
    convert(source, tmp_path / "target")
    before, after = weights(source), weights(tmp_path / "target")
    tokenizer = tokenizer_of("plain")
    yes, no = map(tokenizer.convert_tokens_to_ids, ("yes", "no"))
    rows = before.pop("lm_head.weight", before["model.embed_tokens.weight"]).float()
    assert torch.equal(after.pop("score.weight")[0], rows[yes] - rows[no])
    assert after.keys() == before.keys()
    for name, one in before.items():
        assert after[name].dtype == torch.bfloat16
        assert torch.equal(after[name].view(torch.int16), one.view(torch.int16)), name


def test_numbers_are_rounded_to_bfloat16_as_torch_does() -> None:
    values = torch.cat(
        [
            torch.randn(10_000),
            torch.tensor([0.0, -0.0, 1e-40, 3e38, -3.4e38, float("inf")]),
            torch.tensor([0x3F808000, 0x3F818000, 0x3F808001]).int().view(torch.float32),  # halves
        ]
    )
    expected = values.bfloat16()
    found = storage.raw(values.numpy(), "BF16")
    assert found == expected.view(torch.int16).numpy().tobytes()
    assert torch.equal(torch.from_numpy(storage.numbers(found, "BF16")), expected.float())
    none = storage.raw(torch.tensor([float("nan")]).numpy(), "BF16")
    assert storage.numbers(none, "BF16")[0] != storage.numbers(none, "BF16")[0]


def test_transformers_loads_it_and_pads_as_it_likes(tmp_path: Path) -> None:
    convert(write(Variant(), tmp_path / "source"), tmp_path / "target")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "target").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "target")
    texts = [
        official.PREFIX + official.format_pair(DEFAULT_INSTRUCTION, QUERY, text) + official.SUFFIX
        for text in DOCUMENTS
    ]
    for side in ("left", "right"):
        tokenizer.padding_side = side
        batch = tokenizer(texts, return_tensors="pt", padding=True)
        with torch.no_grad():
            found = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        assert found[:, 0].tolist() == pytest.approx(answers(Variant()), abs=1e-4)


def test_yarn_stays_yarn(tmp_path: Path) -> None:
    source = write(Variant(layout="4.51"), tmp_path / "source")
    content = json.loads((source / "config.json").read_text())
    scaling = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
    (source / "config.json").write_text(json.dumps(content | {"rope_scaling": scaling}))
    convert(source, tmp_path / "target")
    before, after = (open_checkpoint(str(one)) for one in (source, tmp_path / "target"))
    assert after.configuration == before.configuration
    assert vllm_overrides(after) == {} == vllm_overrides(after, "4.51.3")
    assert log_odds(tmp_path / "target", 200) == pytest.approx(log_odds(source, 200), abs=1e-4)


def test_the_template_says_the_instruction(tmp_path: Path) -> None:
    convert("lexical", tmp_path / "target", instruction='Find "the" drug.')
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "target")
    pair = [{"role": "query", "content": "q"}, {"role": "document", "content": "d"}]
    told = [{"role": "system", "content": "Otherwise."}, *pair]
    expected = official.PREFIX + official.format_pair('Find "the" drug.', "q", "d")
    text = tokenizer.apply_chat_template(pair, tokenize=False)
    assert text == expected + official.SUFFIX
    assert "<Instruct>: Otherwise." in tokenizer.apply_chat_template(told, tokenize=False)


# -- refused, and nothing left ------------------------------------------------------------------


def spoil_shard(folder: Path) -> None:
    file = folder / "model-00002-of-00002.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def lose_shard(folder: Path) -> None:
    (folder / "model-00002-of-00002.safetensors").unlink()


def lose_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (spoil_shard, "the file is damaged or cut off: fetch it again"),
        (lose_shard, "lacks model-00002-of-00002.safetensors"),
        (lose_tokenizer, "has no tokenizer.json"),
    ],
)
def test_a_half_written_source_is_told_of(spoil: Any, told: str, tmp_path: Path) -> None:
    source = write(Variant(files="shards"), tmp_path / "source")
    spoil(source)
    with pytest.raises(CorruptModelError, match=told):
        convert(source, tmp_path / "target")
    assert [one.name for one in tmp_path.iterdir()] == ["source"]


def test_a_model_that_is_converted_already_is_refused(tmp_path: Path) -> None:
    source = write(Variant("one label"), tmp_path / "source")
    with pytest.raises(UnsupportedModelError, match="already; use it as it is"):
        convert(source, tmp_path / "target")


def test_a_quantised_model_is_refused(tmp_path: Path) -> None:
    source = write(Variant(tie="untied"), tmp_path / "source")
    quantise(source, leave_out="lm_head")
    with pytest.raises(UnsupportedModelError, match="is quantised; convert the one that was not"):
        convert(source, tmp_path / "target")


def test_an_embedding_model_is_refused(tmp_path: Path) -> None:
    source = write(Variant(), tmp_path / "source")
    (source / "1_Pooling").mkdir()
    with pytest.raises(ModelError, match="an embedding model"):
        convert(source, tmp_path / "target")


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    source = write(Variant(), tmp_path / "source")
    torch.save(load_file(source / "model.safetensors"), source / "pytorch_model.bin")
    (source / "model.safetensors").unlink()
    with pytest.raises(UnsupportedModelError, match="save it as safetensors first"):
        convert(source, tmp_path / "target")


def test_a_target_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "mine").write_text("mine")
    with pytest.raises(InvalidInputError, match="is there already"):
        convert("lexical", target)
    assert [one.name for one in target.iterdir()] == ["mine"]


def test_what_fails_on_the_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(Variant(files="shards"), tmp_path / "source")

    def cut_off(one: storage.Stored) -> Any:
        yield b""
        raise OSError("No space left on device")

    monkeypatch.setattr(storage.Stored, "pieces", cut_off)
    with pytest.raises(OSError, match="No space left"):
        convert(source, tmp_path / "target")
    assert [one.name for one in tmp_path.iterdir()] == ["source"]


def test_a_disk_without_room_is_told_of_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(InvalidInputError, match=r"0\.0 GB free"):
        convert("lexical", tmp_path / "target")
    assert [one.name for one in tmp_path.iterdir()] == []


def test_it_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None;"
        "from qwen3_ascend_rerank.conversion import convert;"
        f"convert('lexical', {str(tmp_path / 'target')!r})"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "target" / "model.safetensors").is_file()


# -- others load it -----------------------------------------------------------------------------


@pytest.mark.full
@pytest.mark.skipif(find_spec("sentence_transformers") is None, reason="not installed")
@pytest.mark.filterwarnings("ignore")
def test_sentence_transformers_gives_the_same(tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder

    convert(write(Variant(), tmp_path / "source"), tmp_path / "target")
    model = CrossEncoder(str(tmp_path / "target"), device="cpu")
    expected = torch.tensor(answers(Variant()))
    pairs = [(QUERY, text) for text in DOCUMENTS]
    found = model.predict(pairs, activation_fn=torch.nn.Identity())
    assert found.tolist() == pytest.approx(expected.tolist(), abs=1e-4)
    assert model.predict(pairs).tolist() == pytest.approx(expected.sigmoid().tolist(), abs=1e-4)
    with Reranker(
        tmp_path / "target",
        engine="torch",
        instruction="Another.",
        max_length=LENGTH,
        selfcheck="off",
    ) as reranker:
        scores = reranker.score(QUERY, DOCUMENTS)
    assert model.predict(pairs, prompt="Another.").tolist() == pytest.approx(scores, abs=1e-4)
