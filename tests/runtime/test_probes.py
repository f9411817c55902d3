"""The probes, on recorded signatures of each version."""

import dataclasses

import pytest

from qwen3_ascend_rerank.errors import EngineError, InvalidInputError
from qwen3_ascend_rerank.runtime.probes import (
    HF_OVERRIDES,
    Signatures,
    engine_arguments,
    log_odds_are_exact,
    pooling_parameters,
)
from qwen3_ascend_rerank.runtime.versions import NEWEST_KNOWN
from tests.runtime.machines import VERSIONS, cpu, cuda, npu, planned, recorded

POOLING = {
    "0.9.2": {"task": "score", "disable_log_requests": True},
    "0.10.0": {"task": "score", "disable_log_requests": True},
}
POOLER_CONFIG = {"0.9.2": {"override_pooler_config": {"softmax": False}}}
PARAMETERS = {
    "0.9.2": {},
    "0.10.0": {"task": "classify"},
    "0.10.1": {"task": "classify", "activation": False},
    "0.10.2": {"task": "classify", "activation": False},
    "0.11.0": {"task": "classify", "activation": False},
}


class TestProbes:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_choose_engine_arguments(self, version):
        expected = POOLING.get(version, {"runner": "pooling"}) | POOLER_CONFIG.get(version, {})
        signatures = recorded(version)
        assert engine_arguments(signatures, converted=True) == expected
        assert engine_arguments(signatures, converted=False) == {
            **expected,
            "hf_overrides": {
                "architectures": ["Qwen3ForSequenceClassification"],
                "classifier_from_token": ["no", "yes"],
                "is_original_qwen3_reranker": True,
            },
        }

    @pytest.mark.parametrize("version", VERSIONS)
    def test_choose_only_what_is_accepted(self, version):
        signatures = recorded(version)
        assert set(engine_arguments(signatures, converted=False)) <= signatures.engine_args
        assert set(pooling_parameters(signatures)) <= signatures.pooling_params

    @pytest.mark.parametrize("version", VERSIONS)
    def test_choose_pooling_parameters(self, version):
        newer = {"task": "classify", "use_activation": False}
        assert pooling_parameters(recorded(version)) == PARAMETERS.get(version, newer)

    @pytest.mark.parametrize("version", VERSIONS)
    def test_know_where_log_odds_come_out(self, version):
        assert log_odds_are_exact(recorded(version)) is (version != "0.10.0")

    @pytest.mark.parametrize("version", VERSIONS)
    def test_find_the_calls_as_they_are_made(self, version):
        signatures = recorded(version)
        assert signatures.encode[:3] == ("prompt", "pooling_params", "request_id")
        assert signatures.from_engine_args[0] == "engine_args"

    @pytest.mark.parametrize("version", VERSIONS)
    @pytest.mark.parametrize("platform", [cuda, cpu, npu], ids=["cuda", "cpu", "npu"])
    def test_find_every_setting_of_the_table(self, version, platform):
        machine = platform(version)
        if platform is npu:
            machine = dataclasses.replace(machine, chip="310P3")
        settings = planned(machine).settings
        assert set(settings) <= recorded(version).engine_args

    def test_prefer_the_name_that_works_where_both_exist(self):
        signatures = recorded("0.13.0")
        assert {"activation", "use_activation"} <= signatures.pooling_params
        assert "activation" not in pooling_parameters(signatures)

    def test_work_for_a_version_that_nobody_has_seen(self):
        signatures = dataclasses.replace(
            recorded("0.32.0"),
            engine_args=frozenset({"model", "runner"}),
            pooling_params=frozenset({"task"}),
        )
        assert engine_arguments(signatures, converted=True) == {"runner": "pooling"}
        assert pooling_parameters(signatures) == {"task": "classify"}
        assert not log_odds_are_exact(signatures)

    def test_say_when_there_is_no_way_to_pool(self):
        signatures = dataclasses.replace(recorded("0.32.0"), engine_args=frozenset({"model"}))
        with pytest.raises(EngineError, match=f"neither runner nor task.*{NEWEST_KNOWN['vLLM']}"):
            engine_arguments(signatures, converted=True)


class TestOptions:
    def test_of_the_user_pass_through(self):
        made = engine_arguments(
            recorded("0.32.0"), converted=True, options={"dtype": "float32", "block_size": 64}
        )
        assert made == {"dtype": "float32", "block_size": 64, "runner": "pooling"}

    def test_that_this_version_lacks_are_named(self):
        with pytest.raises(InvalidInputError, match="no engine argument swap_space"):
            engine_arguments(recorded("0.18.0"), converted=True, options={"swap_space": 4})

    def test_that_are_misspelt_get_a_hint(self):
        with pytest.raises(InvalidInputError, match="did you mean tensor_parallel_size"):
            engine_arguments(recorded("0.32.0"), converted=True, options={"tensor_paralel_size": 2})

    def test_are_merged_with_the_overrides(self):
        options = {"hf_overrides": {"head_dtype": "model"}}
        made = engine_arguments(recorded("0.32.0"), converted=False, options=options)
        assert made["hf_overrides"] == {"head_dtype": "model", **HF_OVERRIDES}
        assert options == {"hf_overrides": {"head_dtype": "model"}}

    def test_that_agree_with_ours_are_fine(self):
        options = {"runner": "pooling", "hf_overrides": {"classifier_from_token": ["no", "yes"]}}
        made = engine_arguments(recorded("0.32.0"), converted=False, options=options)
        assert made["hf_overrides"] == dict(HF_OVERRIDES)

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            ({"runner": "generate"}, "runner must be 'pooling'"),
            (
                {"hf_overrides": {"classifier_from_token": ["yes", "no"]}},
                r"hf_overrides\['classifier_from_token'\] must be \['no', 'yes'\]",
            ),
            ({"hf_overrides": len}, "hf_overrides must be"),
        ],
    )
    def test_that_contradict_ours_are_refused(self, options, named):
        with pytest.raises(InvalidInputError, match=named):
            engine_arguments(recorded("0.32.0"), converted=False, options=options)


class TestSignatures:
    def test_are_read_off_the_classes(self):
        @dataclasses.dataclass
        class Arguments:
            model: str = ""
            runner: str = ""

        class Parameters:
            __struct_fields__ = ("task", "use_activation")

        class Llm:
            @classmethod
            def from_engine_args(cls, engine_args, start=True): ...

            async def encode(self, prompt, pooling_params, request_id): ...

        read = Signatures.of(
            engine_args=Arguments,
            pooling_params=Parameters,
            pooler_config=Arguments,
            async_llm=Llm,
        )
        assert read.as_lists() == {
            "engine_args": ["model", "runner"],
            "pooling_params": ["task", "use_activation"],
            "pooler_config": ["model", "runner"],
            "encode": ["prompt", "pooling_params", "request_id"],
            "from_engine_args": ["engine_args", "start"],
        }

    @pytest.mark.parametrize("version", VERSIONS)
    def test_survive_being_recorded(self, version):
        assert Signatures.from_lists(recorded(version).as_lists()) == recorded(version)
