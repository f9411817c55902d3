"""Every value that decides a score is read alike by all releases, or refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version
from transformers import Qwen3Config
from transformers.models.qwen3.modeling_qwen3 import Qwen3RotaryEmbedding

from qwen3_ascend_rerank import (
    CorruptModelError,
    EngineError,
    InvalidInputError,
    Reranker,
    UnsupportedModelError,
)
from qwen3_ascend_rerank.models import Configuration, expected_in_vllm, open_checkpoint
from qwen3_ascend_rerank.models.overrides import NEUTRAL, vllm_overrides
from tests.models.conftest import Folder, edit_config
from tests.support.variants import LENGTH, SIZES, quantise_by_modelslim

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}
NEWER = Version(transformers.__version__) >= Version("5")


def read(**values: Any) -> Configuration:
    return Configuration.read({**SIZES, "vocab_size": 100, **values}, "config.json")


SAME: dict[str, dict[str, Any]] = {
    "transformers 4": {"rope_theta": 5e5, "rope_scaling": None},
    "transformers 5": {"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}},
    "both": {"rope_theta": 5e5, "rope_parameters": {"rope_theta": 500_000}},
    "by kind of layer": {"rope_parameters": {"full_attention": {"rope_theta": 5e5}}},
}


@pytest.mark.parametrize("form", SAME)
def test_every_form_of_the_rotary_embedding_says_the_same(form: str) -> None:
    assert read(**SAME[form]) == read(rope_theta=5e5)


def test_yarn_is_read_in_every_form() -> None:
    old = read(rope_theta=1e6, rope_scaling={**YARN, "type": "yarn"})
    assert read(rope_parameters={**YARN, "rope_theta": 1e6}) == old
    assert old.longest == 4096
    plain = read(rope_theta=1e6, rope_scaling={"type": "linear", "factor": 2.0})
    assert plain.longest == 2 * SIZES["max_position_embeddings"]


def test_yarn_without_the_original_length_stretches_the_models_own() -> None:
    read_ = read(rope_theta=1e6, rope_scaling={"rope_type": "yarn", "factor": 2.0})
    assert read_.longest == 2 * SIZES["max_position_embeddings"]


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no base": ({}, UnsupportedModelError, "does not say rope_theta"),
    "two bases": (
        {"rope_theta": 1e4, "rope_parameters": {"rope_theta": 1e6}},
        UnsupportedModelError,
        r"contradicts itself: rope_theta is 1000000\.0 and 10000\.0",
    ),
    "two kinds": (
        {"rope_theta": 1e6, "rope_scaling": YARN, "rope_parameters": {"rope_type": "default"}},
        UnsupportedModelError,
        "contradicts itself: rope_type is 'default' and 'yarn'",
    ),
    "type and rope_type": (
        {"rope_theta": 1e6, "rope_scaling": {**YARN, "type": "linear"}},
        UnsupportedModelError,
        "is of type 'linear' and 'yarn'",
    ),
    "dynamic": (
        {"rope_theta": 1e6, "rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
        UnsupportedModelError,
        "'dynamic', whose angles engines do not compute alike",
    ),
    "what not every release knows of yarn": (
        {"rope_theta": 1e6, "rope_scaling": {**YARN, "truncate": False}},
        UnsupportedModelError,
        "yarn with truncate=False",
    ),
    "yarn without its factor": (
        {"rope_theta": 1e6, "rope_scaling": {"rope_type": "yarn"}},
        CorruptModelError,
        "does not say its factor",
    ),
    "a base that is none": ({"rope_theta": "1e6"}, CorruptModelError, "rope_theta is '1e6'"),
    "a part of a head": (
        {"rope_theta": 1e6, "partial_rotary_factor": 0.5},
        UnsupportedModelError,
        "partial_rotary_factor is 0.5",
    ),
    "biases": (
        {"rope_theta": 1e6, "attention_bias": True},
        UnsupportedModelError,
        "attention_bias",
    ),
    "a window": (
        {"rope_theta": 1e6, "use_sliding_window": True, "sliding_window": 64},
        UnsupportedModelError,
        "sliding window",
    ),
    "a window by layers": (
        {"rope_theta": 1e6, "layer_types": ["full_attention", "sliding_attention"]},
        UnsupportedModelError,
        "sliding window",
    ),
    "no width": ({"rope_theta": 1e6, "hidden_size": None}, CorruptModelError, "say hidden_size"),
    "a width that is none": (
        {"rope_theta": 1e6, "hidden_size": "32"},
        CorruptModelError,
        "hidden_size is '32', which cannot be used",
    ),
    "no layers": ({"rope_theta": 1e6, "num_hidden_layers": 0}, CorruptModelError, "layers is 0"),
    "a yes that is none": (
        {"rope_theta": 1e6, "tie_word_embeddings": "true"},
        CorruptModelError,
        "tie_word_embeddings is 'true'",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_releases_would_read_differently_is_refused_by_name(kind: str) -> None:
    values, error, message = REFUSED[kind]
    with pytest.raises(error, match=message):
        read(**values)


ropes = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"rope_type": st.just("linear"), "factor": st.floats(1, 8)}),
    st.fixed_dictionaries(
        {
            "rope_type": st.just("yarn"),
            "factor": st.sampled_from([1.0, 1.5, 2.0, 4.0, 6.25]),  # 4.51 takes whole lengths only
            "original_max_position_embeddings": st.sampled_from([512, 4096, 32768]),
        },
        optional={"attention_factor": st.floats(0.5, 2), "beta_fast": st.sampled_from([16, 32])},
    ),
)


@settings(deadline=None)
@given(theta=st.sampled_from([1e4, 1e6, 5e6]), rope=ropes, head_dim=st.sampled_from([16, 64, 128]))
def test_frequencies_are_those_of_transformers(
    theta: float, rope: dict[str, Any], head_dim: int
) -> None:
    wanted = read(rope_theta=theta, rope_scaling=rope or None, head_dim=head_dim)
    config = Qwen3Config(**wanted.written_for(transformers.__version__))
    rotary = Qwen3RotaryEmbedding(config)
    angles, scale = wanted.rope.frequencies(head_dim)
    assert torch.allclose(rotary.inv_freq, torch.tensor(angles), rtol=1e-4, atol=0)
    assert float(rotary.attention_scaling) == pytest.approx(scale, rel=1e-5)
    found = Configuration.read(config.to_dict(), "the loaded one")
    assert wanted.differences(found) == []


@pytest.mark.parametrize("layout", ["4.51", "5"])
def test_a_longer_prompt_than_yarn_allows_is_refused_with_the_right_limit(
    layout: str, folder: Folder
) -> None:
    model = folder(layout=layout)
    edit_config(model, rope_scaling=YARN, rope_theta=1e6, rope_parameters=None)
    for length, allowed in ((4096, True), (4097, False)):
        with Reranker(model, engine="torch", max_length=length, selfcheck="off") as reranker:
            if allowed:
                assert reranker.start().max_length == 4096
            else:
                with pytest.raises(InvalidInputError, match="takes at most 4096 tokens"):
                    reranker.start()


def test_a_model_that_was_loaded_otherwise_is_refused(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Configuration.written_for

    def otherwise(self: Configuration, release: str) -> dict[str, Any]:
        values = right(self, release)
        if NEWER:
            values["rope_parameters"]["rope_theta"] = 1e4
        else:
            values["rope_theta"] = 1e4
        return values

    monkeypatch.setattr(Configuration, "written_for", otherwise)
    with Reranker(folder(), engine="torch", max_length=LENGTH) as reranker:
        with pytest.raises(EngineError, match=r"config\.json otherwise than it is meant: rope is"):
            reranker.start()


class TestWhatVLLMIsTold:
    def test_is_nothing_of_a_published_model(self, folder: Folder) -> None:
        for layout, release in (("4.51", "4.57.1"), ("4.51", "5.24"), ("5", "5.24")):
            path = Path(folder(layout=layout))
            assert vllm_overrides(open_checkpoint(str(path)), release) == {}
            path.rename(path.with_name(f"{layout}-{release}"))

    def test_is_the_rotary_embedding_under_the_name_that_it_reads(self, folder: Folder) -> None:
        told = vllm_overrides(open_checkpoint(str(folder(layout="5"))), "4.57.1")
        assert told == {"rope_theta": 1e6, "rope_scaling": None}

    @pytest.mark.parametrize("release", ["4.57.1", "5.24"])
    def test_is_how_far_yarn_stretches(self, release: str, folder: Folder) -> None:
        model = folder(layout="4.51")
        edit_config(model, rope_scaling={**YARN, "original_max_position_embeddings": 2048})
        told = vllm_overrides(open_checkpoint(str(model)), release)
        assert told["max_position_embeddings"] == 8192
        assert ("rope_parameters" if release > "5" else "rope_scaling") in told

    def test_takes_back_what_would_change_a_servers_scores(self, folder: Folder) -> None:
        model = folder(head="one label")
        edit_config(
            model,
            problem_type="regression",
            sentence_transformers={"activation_fn": "torch.nn.modules.linear.Identity"},
        )
        told = vllm_overrides(open_checkpoint(str(model)), "5.24")
        assert told == {name: NEUTRAL[name] for name in ("problem_type", "sentence_transformers")}

    def test_is_the_number_of_labels_where_config_json_is_silent(self, folder: Folder) -> None:
        model = folder(head="one label")
        edit_config(model, id2label=None, label2id=None)
        assert vllm_overrides(open_checkpoint(str(model)), "5.24") == {"num_labels": 1}

    @pytest.mark.parametrize("head", ["original", "one label"])
    def test_is_that_the_head_of_a_modelslim_checkpoint_is_no_int8(
        self, head: str, folder: Folder
    ) -> None:
        model = quantise_by_modelslim(folder(head=head, layout="4.51"))
        told = vllm_overrides(open_checkpoint(str(model)), "5.24")
        if head != "original":  # then ModelSlim has seen it, and says so
            assert told == {}
            return
        described = told["quantization_config"]
        assert (described["quant_method"], described["score.weight"]) == ("ascend", "FLOAT")
        assert described["model_quant_type"] == "W8A8_DYNAMIC"
        assert described["model.layers.1.mlp.up_proj.weight"] == "W8A8_DYNAMIC"
        assert described["model.norm.weight"] == "FLOAT"
        assert not [one for one in described if one.endswith(("_scale", "_offset"))]

    def test_may_be_more_by_the_user(self, folder: Folder) -> None:
        checkpoint = open_checkpoint(str(folder(layout="5")), weights=False)
        expected = expected_in_vllm(checkpoint, {"rope_scaling": YARN})
        assert expected == read(
            rope_theta=1e6, rope_scaling=YARN, vocab_size=checkpoint.configuration.vocab_size,
            tie_word_embeddings=True,
        )  # fmt: skip
        assert expected_in_vllm(checkpoint, lambda config: config) is None
