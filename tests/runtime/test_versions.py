"""The table of hazards, row by row."""

import dataclasses
import os

import pytest

from qwen3_ascend_rerank.runtime.plan import Deployment, plan
from qwen3_ascend_rerank.runtime.versions import HAZARDS
from tests.runtime.machines import VERSIONS, accepted, cpu, cuda, npu, planned, refused

WHOLE = {"max_model_len": 8193}
UNCHUNKED = WHOLE | {"enable_chunked_prefill": False, "max_num_batched_tokens": 8193}
UNCACHED = UNCHUNKED | {"enable_prefix_caching": False}


class TestContext:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_has_a_token_more_than_the_longest_prompt(self, version):
        assert planned(cuda(version), max_length=512).settings["max_model_len"] == 513

    def test_of_the_user_is_kept(self):
        made = planned(cuda("0.31.0"), max_length=512, max_model_len=1024)
        made.check()
        assert "max_model_len" not in made.settings

    def test_must_not_be_filled_up_to_0_31(self):
        assert refused(
            cuda("0.31.0"), "never finishes.*at least 513", max_length=512, max_model_len=512
        )
        assert accepted(cuda("0.32.0"), max_length=512, max_model_len=512)

    def test_that_is_too_short_is_told_once(self):
        assert len(planned(cuda("0.31.0"), max_length=512, max_model_len=511).refusals) == 1

    def test_must_hold_the_longest_prompt_from_0_32(self):
        assert refused(
            cuda("0.32.0"), "turned away.*at least 512", max_length=512, max_model_len=511
        )


class TestAnyPlatform:
    @pytest.mark.parametrize("version", ["0.7.3", "0.8.5.post1", "0.9.1", "0.9.2rc1", "0.9.1+cpu"])
    def test_before_0_9_2_there_is_no_classifier(self, version):
        assert refused(cuda(version), f"vLLM {version}".replace("+", r"\+") + ".*0.9.2 or newer")

    def test_from_0_9_2_there_is(self):
        assert accepted(cuda("0.9.2"))

    @pytest.mark.parametrize("version", ["0.9.2", "0.10.0", "0.10.1", "0.10.1.1", "0.10.1.post2"])
    def test_tensor_parallel_needs_0_10_2(self, version):
        assert refused(cuda(version), "0.10.2 or newer.*23804", tensor_parallel_size=2)
        assert accepted(cuda(version), tensor_parallel_size=1)
        assert accepted(cuda("0.10.2"), tensor_parallel_size=2)

    @pytest.mark.parametrize("version", ["0.9.2", "0.11.0", "0.17.1"])
    def test_quantised_needs_0_18(self, version):
        assert refused(cuda(version), "0.18.0 or newer", quantization={"quant_method": "fp8"})
        assert accepted(cuda(version))
        assert accepted(cuda("0.18.0"), quantization={"quant_method": "fp8"})

    def test_quantised_while_loading_needs_0_18_too(self):
        made = plan(cuda("0.17.0"), Deployment(512, {"quantization": "fp8"}), {})
        assert "quantised" in str(made.refusals[0])

    def test_made_up_weights_are_refused(self):
        assert refused(cuda("0.23.0"), "random numbers; leave it out", load_format="dummy")
        assert refused(npu("0.23.0"), "random numbers", load_format="dummy")
        assert accepted(cuda("0.23.0"), load_format="safetensors")

    def test_modelslim_is_for_npus(self):
        described = {"model_quant_type": "W8A8", "lm_head.weight": "FLOAT"}
        for machine in (cuda("0.23.0"), cpu("0.30.0")):
            assert refused(
                machine, "ModelSlim .* use vllm-ascend on an NPU", quantization=described
            )
        assert planned(npu("0.23.0"), quantization=described).settings["quantization"] == "ascend"
        assert "dtype" not in planned(npu("0.23.0"), quantization=described).settings
        asked = plan(npu("0.23.0"), Deployment(512, {"quantization": "fp8"}, described), {})
        assert "quantization='fp8' was asked for" in str(asked.refusals[0])

    def test_modelslim_with_scales_by_token_is_for_bfloat16(self):
        described = {"model_quant_type": "W8A8_DYNAMIC", "model.layers.0.weight": "W8A8_DYNAMIC"}
        made = planned(npu("0.23.0"), quantization=described)
        assert made.settings["dtype"] == "bfloat16"
        asked = plan(npu("0.23.0"), Deployment(512, {"dtype": "float16"}, described), {})
        assert "dtype='float16' was asked for; leave it out" in str(asked.refusals[0])
        on_310p = planned(npu("0.23.0", chip="310P3"), quantization=described)
        assert on_310p.settings["dtype"] == "float16"

    def test_0_9_2_is_coarse_below_float32(self):
        assert "coarse" in str(planned(cuda("0.9.2")).warnings[0])
        assert "coarse" in str(planned(cuda("0.9.2"), dtype="bfloat16").warnings[0])
        assert not planned(cuda("0.9.2"), dtype="float32").warnings
        assert not planned(cuda("0.10.0")).warnings
        assert not planned(cpu("0.9.2")).warnings

    def test_an_npu_without_its_plugin_stays_idle(self):
        beside = dataclasses.replace(cpu("0.18.0"), platform="npu", devices=1)
        assert "idle" in str(planned(beside).warnings[0])
        assert not planned(cpu("0.18.0")).warnings

    def test_a_plugin_without_its_npu_is_said(self):
        beside = dataclasses.replace(npu("0.18.0"), platform="cuda")
        assert "VLLM_PLUGINS" in str(planned(beside).warnings[0])
        assert not planned(npu("0.18.0")).warnings


class TestCuda:
    @pytest.mark.parametrize("version", ["0.14.0", "0.14.0rc1", "0.18.0", "0.25.1", "0.26.0.dev7"])
    def test_prompts_are_not_chunked_from_0_14_to_0_25(self, version):
        made = planned(cuda(version))
        assert made.settings == UNCHUNKED
        assert "48901" in str(made.adjustments[0])

    @pytest.mark.parametrize("version", ["0.11.0", "0.13.0", "0.26.0", "0.32.0"])
    def test_before_and_after_they_may_be(self, version):
        made = planned(cuda(version))
        assert made.settings == WHOLE
        assert not made.adjustments

    def test_a_short_context_keeps_an_ordinary_budget(self):
        made = planned(cuda("0.18.0"), max_length=256)
        assert made.settings["max_num_batched_tokens"] == 2048

    def test_a_larger_budget_is_kept(self):
        made = planned(cuda("0.18.0"), max_num_batched_tokens=32768)
        made.check()
        assert "max_num_batched_tokens" not in made.settings

    def test_a_smaller_budget_is_refused(self):
        assert refused(cuda("0.18.0"), "give at least 8193", max_num_batched_tokens=4096)

    def test_the_budget_follows_the_context_of_the_user(self):
        made = planned(cuda("0.18.0"), max_model_len=10000)
        assert made.settings["max_num_batched_tokens"] == 10000

    def test_chunks_that_were_asked_for_are_refused(self):
        assert refused(
            cuda("0.25.0"), "enable_chunked_prefill=True was asked", enable_chunked_prefill=True
        )
        assert accepted(cuda("0.26.0"), enable_chunked_prefill=True)
        assert accepted(cuda("0.25.0"), enable_chunked_prefill=False)


class TestCpu:
    def test_quantised_is_not_computed_in_float32(self):
        made = planned(cpu("0.30.0"), quantization={"quant_method": "compressed-tensors"})
        assert made.settings["dtype"] == "bfloat16"

    @pytest.mark.parametrize("version", ["0.12.0", "0.13.0", "0.13.0+cpu"])
    def test_0_12_and_0_13_do_without_their_kernel_of_rms_norm(self, version):
        assert planned(cpu(version)).settings["compilation_config"] == {"custom_ops": ["-rms_norm"]}

    @pytest.mark.parametrize("version", ["0.11.2", "0.14.0"])
    def test_their_neighbours_use_theirs(self, version):
        assert "compilation_config" not in planned(cpu(version)).settings

    def test_runs_in_float32(self):
        assert planned(cpu("0.30.0")).settings["dtype"] == "float32"
        assert "dtype" not in planned(cpu("0.30.0"), dtype="bfloat16").settings
        assert "dtype" not in planned(cuda("0.30.0")).settings

    def test_is_not_compiled_for(self):
        assert planned(cpu("0.11.0")).settings["enforce_eager"] is True
        assert "enforce_eager" not in planned(cpu("0.11.0"), enforce_eager=False).settings
        assert "enforce_eager" not in planned(cuda("0.11.0")).settings

    @pytest.mark.parametrize(
        ("max_length", "options", "gibibytes"),
        [
            (16, {}, "1"),
            (8192, {}, "4"),
            (8192, {"dtype": "bfloat16"}, "2"),
            (8192, {"dtype": "half"}, "2"),
            (1024, {"max_model_len": 32768}, "14"),
        ],
    )
    def test_its_kv_cache_holds_two_whole_prompts(self, max_length, options, gibibytes):
        config = {"num_hidden_layers": 28, "num_key_value_heads": 8, "head_dim": 128}
        made = planned(cpu("0.30.0"), max_length=max_length, config=config, **options)
        assert made.environment["VLLM_CPU_KVCACHE_SPACE"] == gibibytes

    def test_its_kv_cache_of_the_user_is_kept(self):
        for made in (
            planned(cpu("0.30.0"), environ={"VLLM_CPU_KVCACHE_SPACE": "9"}),
            planned(cpu("0.30.0"), gpu_memory_utilization=0.5),
            planned(cpu("0.30.0"), kv_cache_memory_bytes=2**30),
            planned(cuda("0.30.0")),
        ):
            assert "VLLM_CPU_KVCACHE_SPACE" not in made.environment

    @pytest.mark.parametrize(("cores", "reserved"), [(1, "0"), (8, "0"), (9, None), (64, None)])
    def test_few_cores_all_compute(self, cores, reserved, monkeypatch):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
        name = "VLLM_CPU_NUM_OF_RESERVED_CPU"
        assert planned(cpu("0.30.0")).environment.get(name) == reserved
        assert name not in planned(cpu("0.30.0"), environ={name: "1"}).environment
        assert name not in planned(cuda("0.30.0")).environment

    def test_blocks_of_32_share_prefixes(self):
        assert planned(cpu("0.11.1")).settings["block_size"] == 32
        assert planned(cpu("0.30.0")).settings["block_size"] == 32

    def test_blocks_are_left_alone_where_32_is_not_taken(self):
        assert "block_size" not in planned(cpu("0.11.0")).settings
        assert "block_size" not in planned(cuda("0.30.0")).settings

    def test_blocks_of_the_user_are_kept(self):
        assert "block_size" not in planned(cpu("0.30.0"), block_size=128).settings


class TestNpu:
    @pytest.mark.parametrize(
        "version", ["0.13.0rc1", "0.13.0", "0.14.0rc1", "0.17.0rc1", "0.18.0.dev3"]
    )
    def test_nothing_is_cached_or_chunked_from_0_13_to_0_17(self, version):
        made = planned(npu(version, vllm="0.13.0"))
        assert made.settings == UNCACHED
        assert "7452" in str(made.adjustments[0])

    @pytest.mark.parametrize("version", ["0.10.1rc1", "0.11.0rc3", "0.11.0", "0.12.0rc1"])
    def test_nothing_is_chunked_from_0_10_1_to_0_12(self, version):
        made = planned(npu(version))
        assert made.settings == UNCHUNKED
        assert "4481" in str(made.adjustments)

    def test_before_nothing_is_changed(self):
        assert planned(npu("0.10.0rc1")).settings == WHOLE

    @pytest.mark.parametrize("version", ["0.18.0rc1", "0.18.0", "0.23.0.post1", "0.25.1rc1"])
    def test_nothing_is_chunked_from_0_18_to_0_25(self, version):
        assert planned(npu(version)).settings == UNCHUNKED

    def test_nothing_is_assumed_after(self):
        assert planned(npu("0.26.0rc1")).settings == WHOLE

    def test_caching_that_was_asked_for_is_refused(self):
        assert refused(
            npu("0.13.0"), "enable_prefix_caching=True.*leave it out", enable_prefix_caching=True
        )
        assert accepted(npu("0.18.0"), enable_prefix_caching=True)

    def test_a_plugin_that_is_turned_off_changes_nothing(self):
        machine = dataclasses.replace(
            npu("0.18.0", chip="310P3", vllm="0.26.0"), platform="cpu", vllm_platform="cuda"
        )
        made = planned(machine, environ={"VLLM_USE_V2_MODEL_RUNNER": "1"}, kv_cache_dtype="int8")
        assert made.settings == WHOLE
        assert not any((made.environment, made.adjustments, made.warnings, made.refusals))

    def test_the_fault_of_cuda_is_not_looked_for_by_the_version_of_vllm(self):
        assert planned(npu("0.10.0rc1", vllm="0.14.0")).settings == WHOLE

    def test_dynamic_batches_are_refused(self):
        config = {"SLO_limits_for_dynamic_batch": 50}
        assert refused(npu("0.13.0"), "SLO_limits", additional_config=config)
        assert refused(npu("0.25.1rc1"), "SLO_limits", additional_config=config)
        assert accepted(npu("0.13.0"), additional_config={"SLO_limits_for_dynamic_batch": -1})
        assert accepted(npu("0.12.0rc1"), additional_config=config)
        assert accepted(npu("0.26.0rc1"), additional_config=config)

    def test_an_int8_cache_is_refused(self):
        assert refused(npu("0.23.0"), "C8", kv_cache_dtype="int8")
        assert refused(npu("0.18.0"), "C8", quantization={"kv_cache_type": "C8"})
        assert accepted(npu("0.23.0"), kv_cache_dtype="auto")
        assert accepted(npu("0.23.0"), quantization={"model_quant_type": "W8A8"})
        assert accepted(cuda("0.23.0"), kv_cache_dtype="int8_per_token_head")

    @pytest.mark.parametrize("value", ["1", "true"])
    def test_the_v2_model_runner_is_turned_off(self, value):
        made = planned(npu("0.23.0"), environ={"VLLM_USE_V2_MODEL_RUNNER": value})
        assert made.environment == {"VLLM_USE_V2_MODEL_RUNNER": None}
        assert any("VLLM_USE_V2_MODEL_RUNNER unset" in str(each) for each in made.adjustments)

    @pytest.mark.parametrize("environ", [{}, {"VLLM_USE_V2_MODEL_RUNNER": "0"}])
    def test_the_v1_model_runner_is_left_alone(self, environ):
        assert not planned(npu("0.23.0"), environ=environ).environment

    def test_the_v2_model_runner_is_left_to_other_platforms(self):
        assert not planned(cuda("0.30.0"), environ={"VLLM_USE_V2_MODEL_RUNNER": "1"}).environment


class Test310P:
    @pytest.mark.parametrize("version", ["0.14.0rc1", "0.18.0", "0.19.1rc1"])
    def test_cannot_pool_from_0_14_to_0_19(self, version):
        assert refused(npu(version, chip="310P3"), "310P cannot.*0.23.0")
        assert accepted(npu(version, chip="910B3"))
        assert accepted(npu(version, chip=None))

    @pytest.mark.parametrize("version", ["0.20.2rc1", "0.23.0", "0.23.0.post1"])
    def test_pools_in_float16_from_0_20_2(self, version):
        made = planned(npu(version, chip="310P3"))
        made.check()
        assert made.settings["dtype"] == "float16"
        assert made.settings["compilation_config"] == {"cudagraph_capture_sizes": [1024, 512]}
        assert made.settings["additional_config"]

    @pytest.mark.parametrize("version", ["0.9.2rc1", "0.11.0", "0.13.0"])
    def test_cannot_start_before_0_14(self, version):
        assert refused(npu(version, chip="310P3"), "_npu_matmul_add_fp32.*0.23.0")
        assert accepted(npu("0.23.0", chip="310P3"))
        assert accepted(npu("0.13.0", chip="910B3"))

    @pytest.mark.parametrize("dtype", ["float16", "half", "auto", "torch.float16"])
    def test_takes_every_name_of_float16(self, dtype):
        assert accepted(npu("0.23.0", chip="310P3"), dtype=dtype)

    @pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
    def test_takes_nothing_else(self, dtype):
        assert refused(npu("0.23.0", chip="310P3"), f"dtype='{dtype}' was asked", dtype=dtype)

    def test_settings_of_the_user_are_kept(self):
        made = planned(npu("0.23.0", chip="310P3"), additional_config={"weight_nz_mode": 1})
        assert "additional_config" not in made.settings

    def test_other_chips_keep_their_dtype(self):
        settings = planned(npu("0.23.0", chip="910B3")).settings
        assert not {"dtype", "compilation_config", "additional_config"} & set(settings)


@pytest.mark.parametrize("hazard", HAZARDS, ids=lambda hazard: hazard.fault[:40])
def test_a_row_says_what_goes_wrong_what_to_do_and_how_it_is_known(hazard):
    assert hazard.fault
    assert hazard.effects
    assert hazard.source
    assert hazard.platforms
    assert hazard.vllm or hazard.vllm_ascend
