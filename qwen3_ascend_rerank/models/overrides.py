"""What vLLM must be told of a checkpoint, since it reads ``config.json`` by itself."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import Any

from packaging.version import Version

from .checkpoint import Checkpoint
from .configuration import RENAMED, Configuration
from .quantization import MODELSLIM, quantization_name, with_float_head
from .weights import SCORE

NEUTRAL: Mapping[str, Any] = MappingProxyType(
    {
        "problem_type": None,
        "sentence_transformers": {},
        "sbert_ce_default_activation_function": None,
        "method": None,
        "classifier_from_token": None,
        "is_original_qwen3_reranker": None,
    }
)
"""Keys of ``config.json`` that change what vLLM makes of a score, and what takes them back.

The first three choose a function other than the sigmoid, or none: after training with one label
transformers writes ``problem_type: regression``, and a server then answers with log-odds where a
probability is expected. The others turn a language model's head into one for scores.
"""


def vllm_overrides(checkpoint: Checkpoint, transformers: str | None = None) -> dict[str, Any]:
    """Entries of ``hf_overrides`` with which vLLM takes `checkpoint` for what it is.

    Empty for the published models.

    Args:
        checkpoint: the one that is to be loaded.
        transformers: the release that vLLM runs on; the installed one.
    """
    config, configuration = checkpoint.config, checkpoint.configuration
    overrides: dict[str, Any] = {name: value for name, value in NEUTRAL.items() if config.get(name)}
    release = transformers or _installed()
    stretched = config.get("max_position_embeddings") != configuration.max_position_embeddings
    if stretched:
        overrides["max_position_embeddings"] = configuration.max_position_embeddings
    unread = Version(release) < RENAMED and config.get("rope_theta") is None
    if stretched or unread:
        overrides |= configuration.rope.written_for(release)
    if checkpoint.labels and checkpoint.labels.count == 1 and not config.get("id2label"):
        overrides["num_labels"] = 1
    quantization = checkpoint.quantization
    if quantization_name(quantization) == MODELSLIM and SCORE not in quantization:
        overrides["quantization_config"] = with_float_head(quantization)
    return overrides


def _installed() -> str:
    try:
        return version("transformers")
    except PackageNotFoundError:  # then there is no vLLM either
        return str(RENAMED)


def expected_in_vllm(checkpoint: Checkpoint, theirs: Any) -> Configuration | None:
    """What vLLM should have read of `checkpoint`, where a user gave `hf_overrides` of their own.

    None where they are a function, which may change anything.
    """
    if not theirs:
        return checkpoint.configuration
    if not isinstance(theirs, Mapping):
        return None
    config = {**checkpoint.config, **theirs}
    if theirs.get("rope_scaling") or theirs.get("rope_parameters"):
        given = theirs.get("rope_parameters") or theirs["rope_scaling"]
        theta = given.get("rope_theta", checkpoint.configuration.rope.theta)
        config |= {"rope_parameters": {**given, "rope_theta": theta}}
        config |= {"rope_scaling": None, "rope_theta": None}
    return Configuration.read(config, "hf_overrides")
