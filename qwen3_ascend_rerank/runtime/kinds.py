"""Which kind of value an engine argument takes, as far as a rule reads it; vLLM judges the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..checks import checked_count, checked_flag, checked_share, described
from ..errors import InvalidInputError


def _checked_mapping(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidInputError(f"{name} is {described(value)}; pass a dict")
    return value


KINDS: Mapping[str, Callable[[str, Any], object]] = {
    "additional_config": _checked_mapping,
    "block_size": checked_count,
    "enable_chunked_prefill": checked_flag,
    "enable_prefix_caching": checked_flag,
    "enforce_eager": checked_flag,
    "gpu_memory_utilization": checked_share,
    "kv_cache_memory_bytes": checked_count,
    "max_model_len": checked_count,
    "max_num_batched_tokens": checked_count,
    "tensor_parallel_size": checked_count,
}
"""Engine argument → what makes sure that a rule can read it."""


def check_kinds(options: Mapping[str, Any]) -> None:
    """Raise for an engine argument of a kind that no rule could read.

    Raises:
        InvalidInputError: with the name and the value.
    """
    for name, check in KINDS.items():
        if options.get(name) not in (None, "auto"):
            check(name, options[name])
