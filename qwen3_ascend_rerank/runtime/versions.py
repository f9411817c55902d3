"""What each vLLM and vllm-ascend needs for right scores, as data.

* `HAZARDS`: what goes wrong in which releases, where, and what to do about it. A new release takes
  a new row, or a new end of an old one, and no code.
* `PAIRINGS`: what each vllm-ascend was made for.

`rules.py` has the form of a row, `plan.py` reads them. What an engine argument or pooling parameter
is called is not looked up by version at all but probed (`probes.py`).
"""

from __future__ import annotations

import math
import os
from types import MappingProxyType

from .detect import Platform
from .rules import (
    AtLeast,
    Draft,
    Force,
    Hazard,
    Pairing,
    Prefer,
    Refuse,
    Releases,
    SetVariable,
    Situation,
    Unset,
    Warn,
)

NEWEST_KNOWN = MappingProxyType({"vLLM": "0.33", "vllm-ascend": "0.30"})
"""The newest releases whose sources the tables below were checked against."""

DEFAULT_BATCHED_TOKENS = 2048
"""vLLM's own smallest default of ``max_num_batched_tokens``."""

FEW_CORES = 8
"""Up to here, a core that stands idle costs more than a tenth of the speed."""

HEAD_DIM = 128
"""Qwen3's size of a head where its configuration leaves it out."""


# ---- conditions and amounts -------------------------------------------------------------------


def tensor_parallel(situation: Situation) -> bool:
    """The model is split over several devices."""
    return bool((situation.option("tensor_parallel_size") or 1) > 1)


def quantised(situation: Situation) -> bool:
    """The checkpoint is quantised, or is to be while it is loaded."""
    return bool(situation.option("quantization") or situation.request.quantization)


def by_modelslim(situation: Situation) -> bool:
    """The checkpoint was quantised by Ascend's ModelSlim, which config.json does not say."""
    described = situation.request.quantization
    return bool(described) and "quant_method" not in described


def scaled_by_token(situation: Situation) -> bool:
    """ModelSlim's W8A8 with scales of activations on the fly, on another card than a 310P."""
    described = situation.request.quantization
    dynamic = by_modelslim(situation) and "W8A8_DYNAMIC" in described.values()
    return dynamic and not on_310p(situation)


def made_up_weights(situation: Situation) -> bool:
    """The weights are not those of the checkpoint."""
    return bool(situation.option("load_format") == "dummy")


def int8_kv_cache(situation: Situation) -> bool:
    """The KV cache is kept in int8, which ModelSlim calls C8."""
    dtype = str(situation.option("kv_cache_dtype") or "")
    return "int8" in dtype or situation.request.quantization.get("kv_cache_type") == "C8"


def reduced_precision(situation: Situation) -> bool:
    """The model does not run in float32."""
    return not str(situation.option("dtype")).endswith(("float32", "float"))


def on_310p(situation: Situation) -> bool:
    """The NPU is a 310P: Atlas 300I Duo, 300I Pro, 200I Pro."""
    return situation.machine.family == "310P"


def dynamic_batch(situation: Situation) -> bool:
    """vllm-ascend's own scheduler is on, which cuts prompts into chunks come what may."""
    config = situation.option("additional_config") or {}
    return bool(config.get("SLO_limits_for_dynamic_batch", -1) != -1)


def v2_model_runner(situation: Situation) -> bool:
    """The new model runner is asked for."""
    return situation.environ.get("VLLM_USE_V2_MODEL_RUNNER", "0") not in ("", "0")


def kv_cache_unsized(situation: Situation) -> bool:
    """The user leaves the size of the KV cache to vLLM."""
    return not (
        situation.option("kv_cache_memory_bytes") or situation.option("gpu_memory_utilization")
    )


def few_cores(_: Situation) -> bool:
    """One core more or less makes a difference."""
    affinity = getattr(os, "sched_getaffinity", None)  # a container's share, where Linux knows it
    return (len(affinity(0)) if affinity else os.cpu_count() or 1) <= FEW_CORES


def npu_missing(situation: Situation) -> bool:
    """No NPU is visible, though vLLM will look for one."""
    return situation.machine.platform != "npu"


def npu_idle(situation: Situation) -> bool:
    """There is an NPU that vLLM will not use."""
    return situation.machine.platform == "npu"


def no_cores(_: Draft) -> int:
    """All may compute."""
    return 0


def max_length(draft: Draft) -> int:
    """The longest prompt."""
    return draft.situation.request.max_length


def max_length_and_one(draft: Draft) -> int:
    """One token more than the longest prompt."""
    return draft.situation.request.max_length + 1


def whole_prompt(draft: Draft) -> int:
    """Room for a prompt as long as the context in one step."""
    return max(int(draft.value("max_model_len")), DEFAULT_BATCHED_TOKENS)


def kv_cache_gibibytes(draft: Draft) -> int:
    """Room for two prompts as long as the context, and so for dozens of ordinary ones; in GiB."""
    config = draft.situation.request.config
    width = 2 if str(draft.value("dtype")).endswith(("float16", "half")) else 4
    heads = config.get("num_key_value_heads", 0) * config.get("head_dim", HEAD_DIM)
    token = 2 * config.get("num_hidden_layers", 0) * heads * width  # a key and a value a layer
    needed: int = 2 * draft.value("max_model_len") * token
    return max(1, math.ceil(needed / 2**30))


# ---- the rows ---------------------------------------------------------------------------------

NPU: frozenset[Platform] = frozenset({"npu"})
CUDA: frozenset[Platform] = frozenset({"cuda"})
CPU: frozenset[Platform] = frozenset({"cpu"})

UNCHUNKED = (
    Force("enable_chunked_prefill", False),
    AtLeast("max_num_batched_tokens", whole_prompt),
)
"""Both are needed: a larger budget alone still splits a prompt that comes late in a step."""

HAZARDS = (
    Hazard(
        vllm=Releases(until="0.9.2"),
        fault="Qwen3-Reranker can only generate here, not classify",
        effects=(Refuse('use vLLM 0.9.2 or newer, or engine="torch"'),),
        source="vllm-project/vllm#19260",
    ),
    Hazard(
        vllm_ascend=Releases(),
        when=npu_missing,
        fault="no NPU is visible, yet vLLM runs on NPUs only while this is installed",
        effects=(Warn('set VLLM_PLUGINS to "" or uninstall vllm-ascend to use another device'),),
        source="vllm-project/vllm-ascend, entry point vllm.platform_plugins",
    ),
    Hazard(
        vllm=Releases(),
        platforms=CUDA | CPU,
        when=npu_idle,
        fault="the NPU stays idle, since vLLM uses it only through vllm-ascend",
        effects=(Warn('install the vllm-ascend that fits, or use engine="torch"'),),
        source="vllm-project/vllm-ascend, versioning policy",
    ),
    Hazard(
        vllm=Releases(until="0.32"),
        fault="a prompt that fills the context never finishes",
        effects=(AtLeast("max_model_len", max_length_and_one),),
        source="vllm-project/vllm#55427",
    ),
    Hazard(
        vllm=Releases("0.32"),
        fault="a prompt longer than the context is turned away",
        effects=(AtLeast("max_model_len", max_length),),
        source="vllm-project/vllm#55427",
    ),
    Hazard(
        vllm=Releases(until="0.10.2"),
        when=tensor_parallel,
        fault="the score head does not survive tensor parallelism: it crashes or scores wrongly",
        effects=(Refuse("use vLLM 0.10.2 or newer, or tensor_parallel_size=1"),),
        source="vllm-project/vllm#23804",
    ),
    Hazard(
        vllm=Releases(until="0.18"),
        when=quantised,
        fault="the score head is quantised with the model and gives 0, 0.5, 1 or crashes",
        effects=(Refuse("use vLLM 0.18.0 or newer, or a checkpoint that is not quantised"),),
        source="vllm-project/vllm#35849",
    ),
    Hazard(
        vllm=Releases(),
        when=made_up_weights,
        fault="load_format='dummy' fills the model with random numbers",
        effects=(Refuse("leave it out"),),
        source="vllm-project/vllm, config/load.py",
    ),
    Hazard(
        vllm=Releases(),
        platforms=CUDA | CPU,
        when=by_modelslim,
        fault="int8 weights of ModelSlim (quant_model_description.json) would be read as they are, "
        "without their scales",
        effects=(Refuse("use vllm-ascend on an NPU, or the checkpoint that was not quantised"),),
        source="vllm-project/vllm-ascend, guide Quantization",
    ),
    Hazard(
        vllm_ascend=Releases(),
        when=by_modelslim,
        fault="not every release recognises a checkpoint of ModelSlim unasked",
        effects=(Force("quantization", "ascend"),),
        source="vllm-project/vllm-ascend, guide Quantization",
    ),
    Hazard(
        vllm_ascend=Releases(),
        when=scaled_by_token,
        fault="the kernel for int8 weights of ModelSlim takes no scales in float16, and the engine "
        "dies",
        effects=(Force("dtype", "bfloat16"),),
        source="vllm-project/vllm-ascend#12907",
    ),
    Hazard(
        vllm=Releases(until="0.10"),
        platforms=NPU | CUDA,
        when=reduced_precision,
        fault="the score head computes in the model's precision, which makes bf16 scores coarse",
        effects=(Warn('use vLLM 0.10.0 or newer, or dtype="float32"'),),
        source="vllm-project/vllm, model_executor/models/adapters.py",
    ),
    Hazard(
        vllm=Releases("0.14", until="0.26"),
        platforms=CUDA,
        fault="a prompt computed in chunks can get a wrong score",
        effects=UNCHUNKED,
        source="vllm-project/vllm#48901",
    ),
    Hazard(
        vllm=Releases("0.12", until="0.14"),
        platforms=CPU,
        fault="the kernel of RMSNorm takes Qwen3's queries and keys for contiguous, and so gives "
        "other numbers",
        effects=(Prefer("compilation_config", {"custom_ops": ["-rms_norm"]}),),
        source="measured: off by 26 in log-odds, right without that kernel; vllm/_custom_ops.py",
    ),
    Hazard(
        vllm=Releases(),
        platforms=CPU,
        when=quantised,
        fault="kernels for quantised checkpoints take no float32, and the engine dies",
        effects=(Prefer("dtype", "bfloat16"),),
        source="measured with vLLM 0.30.0: int8_scaled_mm_with_quant",
    ),
    Hazard(
        vllm=Releases(),
        platforms=CPU,
        fault="most CPUs only emulate bfloat16, which would be taken",
        effects=(Prefer("dtype", "float32"),),
        source="measured: 2.5 times as fast without AMX or AVX512-BF16",
    ),
    Hazard(
        vllm=Releases(),
        platforms=CPU,
        fault="compiling takes longer than the rest of the start, and a C++ compiler",
        effects=(Prefer("enforce_eager", True),),
        source="measured: starts in half the time, and computes within a tenth of the speed",
    ),
    Hazard(
        vllm=Releases(),
        platforms=CPU,
        when=kv_cache_unsized,
        fault="the KV cache would take nearly all of the memory, or refuse to start with less",
        effects=(SetVariable("VLLM_CPU_KVCACHE_SPACE", kv_cache_gibibytes),),
        source="vllm-project/vllm, v1/worker/cpu_worker.py",
    ),
    Hazard(
        vllm=Releases(),
        platforms=CPU,
        when=few_cores,
        fault="newer releases keep a core free for the scheduler, which hardly uses it",
        effects=(SetVariable("VLLM_CPU_NUM_OF_RESERVED_CPU", no_cores),),
        source="measured: 1.16 times as fast on two cores that were not idle",
    ),
    Hazard(
        vllm=Releases("0.11.1"),
        platforms=CPU,
        fault="with blocks of 128 tokens few prompts share a whole cached block",
        effects=(Prefer("block_size", 32),),
        source="measured: twice as fast; CPUs take multiples of 32",
    ),
    Hazard(
        vllm_ascend=Releases("0.10.1rc1", until="0.13.0rc1"),
        fault="the batch is cut to its first rows when prompts end, so the engine dies (KeyError) "
        "on prompts computed in chunks",
        effects=UNCHUNKED,
        source="vllm-project/vllm-ascend#4481, #5687; measured with 0.11.0 and 512 tokens a step",
    ),
    Hazard(
        vllm_ascend=Releases("0.13", until="0.18.0rc1"),
        fault="attention of pooling models does not read the KV cache, so scores are wrong after a "
        "prefix cache hit or a second chunk",
        effects=(Force("enable_prefix_caching", False), *UNCHUNKED),
        source="vllm-project/vllm-ascend#7452; measured with 0.13.0: off by 9.9 in log-odds",
    ),
    Hazard(
        vllm_ascend=Releases("0.18.0rc1", until="0.26.0rc1"),
        fault="a step in which no prompt ends does not wait for the device, as in vLLM, where "
        "prompts in chunks got wrong scores so",
        effects=UNCHUNKED,
        source="vllm-project/vllm#48901; measured with 0.23.0 and 0.25.1rc1: the host writes into "
        "memory that the device may still be copying",
    ),
    Hazard(
        vllm_ascend=Releases("0.13", until="0.26.0rc1"),
        when=dynamic_batch,
        fault="SLO_limits_for_dynamic_batch cuts prompts into chunks, which can give wrong scores",
        effects=(Refuse("leave it out of additional_config"),),
        source="vllm-project/vllm-ascend, vllm_ascend/platform.py",
    ),
    Hazard(
        vllm_ascend=Releases(),
        when=int8_kv_cache,
        fault="attention over an int8 (C8) KV cache takes pooling models for encoders, which gives "
        "wrong scores",
        effects=(Refuse("use a checkpoint and kv_cache_dtype without an int8 KV cache"),),
        source="vllm-project/vllm-ascend, vllm_ascend/attention/attention_v1.py",
    ),
    Hazard(
        vllm_ascend=Releases(),
        when=v2_model_runner,
        fault="the V2 model runner cannot run pooling models",
        effects=(Unset("VLLM_USE_V2_MODEL_RUNNER"),),
        source="vllm-project/vllm-ascend#14542",
    ),
    Hazard(
        vllm_ascend=Releases(until="0.14"),
        when=on_310p,
        fault="310P cannot: the worker starts with an operator that it lacks, _npu_matmul_add_fp32",
        effects=(Refuse('use vllm-ascend 0.23.0 (0.20.2rc1 or newer), or engine="torch"'),),
        source="vllm-project/vllm-ascend#6199",
    ),
    Hazard(
        vllm_ascend=Releases("0.14", until="0.20.2rc1"),
        when=on_310p,
        fault="310P cannot run pooling models",
        effects=(Refuse('use vllm-ascend 0.23.0 (0.20.2rc1 or newer), or engine="torch"'),),
        source="vllm-project/vllm-ascend#6471; measured with 0.18.0",
    ),
    Hazard(
        vllm_ascend=Releases(),
        when=on_310p,
        fault="310P has no bfloat16",
        effects=(Force("dtype", "float16", same=("half",)),),
        source="vllm-project/vllm-ascend, tutorial Qwen3-Reranker",
    ),
    Hazard(
        vllm_ascend=Releases("0.20.2rc1"),
        when=on_310p,
        fault="310P needs graphs of few sizes and no fusion of norm and quantisation",
        effects=(
            Prefer("compilation_config", {"cudagraph_capture_sizes": [1024, 512]}),
            Prefer("additional_config", {"ascend_compilation_config": {"fuse_norm_quant": False}}),
        ),
        source="vllm-project/vllm-ascend, tutorial Qwen3-Reranker",
    ),
)


_PY39, _PY310, _PY312 = ">=3.9,<3.12", ">=3.10,<3.12", ">=3.10,<3.13"

PAIRINGS = (
    Pairing("0.7.3", ("0.7.3",), _PY39, "8.1.RC1", "2.5.1", "2.5.1", ">=4.45,<5"),
    Pairing("0.8.5rc1", ("0.8.5.post1",), _PY39, "8.1.RC1", "2.5.1", "2.5.1", ">=4.51,<5"),
    Pairing("0.9.1", ("0.9.1",), _PY39, "8.2.RC1", "2.5.1", "2.5.1.post1", ">=4.51,<5"),
    Pairing(
        "0.9.2rc1", ("0.9.2",), _PY39, "8.1.RC1", "2.5.1", "2.5.1.post1.dev20250619", ">=4.51.1,<5"
    ),
    Pairing(
        "0.10.0rc1", ("0.10.0",), _PY39, "8.2.RC1", "2.7.1", "2.7.1.dev20250724", ">=4.53,<4.54"
    ),
    Pairing(
        "0.10.1rc1",
        ("0.10.1", "0.10.1.1"),
        _PY39,
        "8.2.RC1",
        "2.7.1",
        "2.7.1.dev20250724",
        ">=4.55,<5",
    ),
    Pairing(
        "0.10.2rc1", ("0.10.2",), _PY39, "8.2.RC1", "2.7.1", "2.7.1.dev20250724", ">=4.55.2,<5"
    ),
    Pairing(
        "0.11.0rc0", ("0.11.0rc3",), _PY39, "8.2.RC1", "2.7.1", "2.7.1.dev20250724", ">=4.55.2,<5"
    ),
    Pairing("0.11.0rc1", ("0.11.0",), _PY39, "8.3.RC1", "2.7.1", "2.7.1", ">=4.55.2,<5"),
    Pairing("0.11.0rc2", ("0.11.0",), _PY39, "8.3.RC2", "2.7.1", "2.7.1", ">=4.55.2,<5"),
    Pairing(
        "0.11.0rc3", ("0.11.0",), _PY39, "8.3.RC2", "2.7.1", "2.7.1.post1", ">=4.55.2,<=4.57.1"
    ),
    Pairing("0.11.0", ("0.11.0",), _PY39, "8.3.RC2", "2.7.1", "2.7.1.post1", ">=4.55.2,<=4.57.1"),
    Pairing("0.12.0rc1", ("0.12.0",), _PY310, "8.3.RC2", "2.8.0", "2.8.0", ">=4.56,<=4.57.1"),
    Pairing("0.13.0rc1", ("0.13.0",), _PY310, "8.3.RC2", "2.8.0", "2.8.0", ">=4.57.3,<5"),
    Pairing("0.13.0rc2", ("0.13.0",), _PY310, "8.5.0", "2.8.0", "2.8.0.post1", ">=4.57.3,<5"),
    Pairing("0.13.0rc3", ("0.13.0",), _PY310, "8.5.1", "2.8.0", "2.8.0.post2", ">=4.57.4,<5"),
    Pairing("0.13.0", ("0.13.0",), _PY310, "8.5.0", "2.8.0", "2.8.0.post2", ">=4.57.4,<5"),
    Pairing("0.14.0rc1", ("0.14.1",), _PY310, "8.5.0", "2.9.0", "2.9.0", ">=4.57.3,<5"),
    Pairing("0.15.0rc1", ("0.15.0",), _PY310, "8.5.0", "2.9.0", "2.9.0", ">=4.57.4,<5"),
    Pairing("0.16.0rc1", ("0.16.0",), _PY310, "8.5.1", "2.9.0", "2.9.0", ">=4.57.4,<5"),
    Pairing("0.17.0rc1", ("0.17.0",), _PY310, "8.5.1", "2.9.0", "2.9.0", ">=4.57.4,<5"),
    Pairing("0.18.0rc1", ("0.18.0",), _PY310, "8.5.1", "2.9.0", "2.9.0", ">=4.57.4,<5"),
    Pairing(
        "0.18.0", ("0.18.0",), _PY310, "8.5.1", "2.9.0", "2.9.0.post1+git4c901a4", ">=4.57.4,<5"
    ),
    Pairing("0.19.1rc1", ("0.19.1",), _PY310, "8.5.1", "2.9.0", "2.9.0", "==5.5.3"),
    Pairing("0.20.2rc1", ("0.20.2",), _PY310, "9.0.0", "2.10.0", "2.10.0", "==5.5.3"),
    Pairing("0.21.0rc1", ("0.21.0",), _PY312, "9.0.0", "2.10.0", "2.10.0", "==5.5.4"),
    Pairing("0.22.1rc1", ("0.22.1",), _PY312, "9.0.0", "2.10.0", "2.10.0", "==5.5.4"),
    Pairing("0.23.0rc1", ("0.23.0",), _PY312, "9.0.1", "2.10.0", "2.10.0.post2", "==5.5.4"),
    Pairing("0.23.0", ("0.23.0",), _PY312, "9.1.0", "2.10.0", "2.10.0.post4", "==5.5.4"),
    Pairing("0.25.1rc1", ("0.25.1",), _PY312, None, "2.10.0", "2.10.0.post2", "==5.14.1"),
    Pairing("0.26.0rc1", ("0.26.0",), _PY312, None, "2.10.0", "2.10.0.post4", "==5.14.1"),
    Pairing("0.27.1rc1", ("0.27.1",), _PY312, None, "2.10.0", "2.10.0.post4", "==5.14.1"),
    Pairing("0.28.0rc1", ("0.28.0",), _PY312, None, "2.10.0", "2.10.0.post4", "==5.14.1"),
    Pairing("0.29.0rc1", ("0.29.0",), _PY312, None, "2.10.0", "2.10.0.post4", "==5.14.1"),
    Pairing("0.30.0rc1", ("0.30.0",), _PY312, "9.2.0", "2.10.0", "2.10.0.post4", "==5.14.1"),
    Pairing("0.30.0rc2", ("0.30.0",), _PY312, "9.2.0", "2.10.0", "2.10.0.post4", "==5.14.1"),
)
"""The release compatibility matrix of vllm-ascend's versioning policy; transformers, and what the
policy does not have yet, from the metadata of wheels or sources. A post-release counts as its
release."""
