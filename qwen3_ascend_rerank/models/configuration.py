"""Every value of ``config.json`` that decides a score, in one form for all releases.

transformers 5 writes other names than 4.x reads, and what a release does not find it replaces by a
default: the base of the rotary embedding becomes 10,000 in transformers and 1,000,000 in vLLM, and
yarn's factor another number in 4.51. So the values are read here, checked, written down under the
names that a release looks for, and compared with what was loaded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from packaging.version import Version

from ..errors import CorruptModelError, UnsupportedModelError

NAMES = {
    "vocab_size": int,
    "hidden_size": int,
    "intermediate_size": int,
    "num_hidden_layers": int,
    "num_attention_heads": int,
    "num_key_value_heads": int,
    "head_dim": int,
    "rms_norm_eps": float,
    "hidden_act": str,
    "max_position_embeddings": int,
    "tie_word_embeddings": bool,
}
DEFAULTS: Mapping[str, Any] = {
    "head_dim": 128,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}
"""What every release takes where ``config.json`` says nothing (transformers, Qwen3Config)."""

ROPE_TYPES = {
    "default": (),
    "linear": ("factor",),
    "yarn": (
        "factor",
        "original_max_position_embeddings",
        "attention_factor",
        "beta_fast",
        "beta_slow",
        "mscale",
        "mscale_all_dim",
    ),
}
"""Rotary embeddings that all releases compute alike, and what each takes. The others depend on the
length of what is computed together (dynamic, longrope), or are not Qwen3's."""


RENAMED = Version("5.0.dev0")
"""From here on transformers keeps the rotary embedding in ``rope_parameters``."""


@dataclass(frozen=True, slots=True)
class Rope:
    """The rotary embedding."""

    theta: float
    """The base of its frequencies."""
    kind: str = "default"
    """One of `ROPE_TYPES`."""
    options: Mapping[str, float] = field(default_factory=dict)
    """What that kind takes, e.g. ``factor``."""

    def written_for(self, transformers: str) -> dict[str, Any]:
        """Under the names that this release of transformers looks for."""
        scaling = {"rope_type": self.kind, **self.options}
        if Version(transformers) >= RENAMED:
            return {"rope_parameters": {"rope_theta": self.theta, **scaling}}
        plain = self.kind == "default"
        return {"rope_theta": self.theta, "rope_scaling": None if plain else scaling}

    def frequencies(self, head_dim: int) -> tuple[list[float], float]:
        """Angles per position of each pair of dimensions, and the factor of cosines and sines.

        Source: Peng et al., YaRN, arXiv 2309.00071, sections 3.2 and 3.4, as transformers computes
        it (``modeling_rope_utils.py``).
        """
        plain = [self.theta ** (-pair / head_dim) for pair in range(0, head_dim, 2)]
        if self.kind == "default":
            return plain, 1.0
        factor = self.options["factor"]
        if self.kind == "linear":
            return [angle / factor for angle in plain], 1.0
        low, high = self._yarn_range(head_dim)
        kept = [1 - min(max((pair - low) / (high - low), 0), 1) for pair in range(len(plain))]
        turned = [
            angle / factor * (1 - keep) + angle * keep
            for angle, keep in zip(plain, kept, strict=True)
        ]
        return turned, self._yarn_scale(factor)

    def _yarn_range(self, head_dim: int) -> tuple[float, float]:
        """Pairs between which frequencies pass from kept to divided."""
        original = self.options["original_max_position_embeddings"]

        def pair(turns: float) -> float:
            length = original / (turns * 2 * math.pi)
            return head_dim * math.log(length) / (2 * math.log(self.theta))

        low = max(math.floor(pair(self.options.get("beta_fast") or 32)), 0)
        high = min(math.ceil(pair(self.options.get("beta_slow") or 1)), head_dim - 1)
        return low, high if high != low else high + 0.001

    def _yarn_scale(self, factor: float) -> float:
        def scale(weight: float) -> float:
            return 0.1 * weight * math.log(factor) + 1 if factor > 1 else 1.0

        given, over, under = map(self.options.get, ("attention_factor", "mscale", "mscale_all_dim"))
        if given is not None:
            return given
        return scale(over) / scale(under) if over and under else scale(1)


@dataclass(frozen=True, slots=True)
class Configuration:
    """What decides a score, as ``config.json`` says it."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rms_norm_eps: float
    hidden_act: str
    max_position_embeddings: int
    """As the file says; with yarn the length to which it stretches the original one."""
    tie_word_embeddings: bool
    rope: Rope

    @classmethod
    def read(cls, config: Mapping[str, Any], source: Path | str) -> Configuration:
        """Read ``config.json``, or what a library made of it; `source` names it in errors.

        Raises:
            CorruptModelError: a value is missing, or is none.
            UnsupportedModelError: a value that engines do not read alike, or contradict each other.
        """
        _refuse_what_differs(config, source)
        values = {name: _value(config, name, kind, source) for name, kind in NAMES.items()}
        rope = _read_rope(config, int(values["max_position_embeddings"]), source)
        if rope.kind == "yarn":
            # Also keeps transformers 4.51, which takes yarn's factor for the ratio of this to the
            # original length, and vLLM 0.30, which no longer multiplies.
            original = rope.options["original_max_position_embeddings"]
            values["max_position_embeddings"] = int(original * rope.options["factor"])
        return cls(**values, rope=rope)

    @property
    def longest(self) -> int:
        """The longest prompt that the model takes, in tokens."""
        stretched = self.rope.options["factor"] if self.rope.kind == "linear" else 1
        return int(self.max_position_embeddings * stretched)

    def written_for(self, transformers: str) -> dict[str, Any]:
        """The same as a ``config.json`` which that release of transformers reads as it is meant."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        del values["rope"]
        full = {"attention_bias": False, "use_sliding_window": False, "sliding_window": None}
        return {**values, **full, **self.rope.written_for(transformers)}

    def differences(self, loaded: Configuration) -> list[str]:
        """What `loaded`, read from a loaded model, holds otherwise; each in words."""
        mine, other = asdict(self), asdict(loaded)
        return [
            f"{name} is {other[name]!r} instead of {mine[name]!r}"
            for name in mine
            if mine[name] != other[name]
        ]


def _value(config: Mapping[str, Any], name: str, kind: type, source: Path | str) -> Any:
    value = config.get(name)
    if value is None:
        if name not in DEFAULTS:
            raise CorruptModelError(
                f"{source} does not say {name}, without which the model cannot be computed; take "
                "config.json from where the weights come from"
            )
        return DEFAULTS[name]
    whole = isinstance(value, kind) or (kind is float and isinstance(value, int))
    if not whole or (kind is not bool and isinstance(value, bool)) or _not_positive(value):
        raise CorruptModelError(f"{source}: {name} is {value!r}, which cannot be used")
    return float(value) if kind is float else value


def _not_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not value > 0


def _refuse_what_differs(config: Mapping[str, Any], source: Path | str) -> None:
    """Refuse what no Qwen3-Reranker has and engines treat each in their own way."""
    kinds = config.get("layer_types") or []
    window = config.get("use_sliding_window") and config.get("sliding_window")
    if any(kind != "full_attention" for kind in kinds) or window:
        raise UnsupportedModelError(
            f"{source}: some layers attend to a sliding window or otherwise than in full, as no "
            "Qwen3-Reranker does and engines compute differently; use a checkpoint without"
        )
    if config.get("attention_bias"):
        raise UnsupportedModelError(
            f"{source}: attention_bias is {config['attention_bias']!r}, but vLLM leaves a part of "
            "these biases out; no Qwen3-Reranker has any"
        )
    if config.get("partial_rotary_factor") not in (None, 1):
        raise UnsupportedModelError(
            f"{source}: partial_rotary_factor is {config['partial_rotary_factor']!r}, which not "
            "every engine knows; no Qwen3-Reranker has one"
        )


def _read_rope(config: Mapping[str, Any], longest: int, source: Path | str) -> Rope:
    """The rotary embedding, from whichever of its names there are."""
    forms = [_flat(config.get(name), name, source) for name in ("rope_parameters", "rope_scaling")]
    forms.append({"rope_theta": config.get("rope_theta")})
    stated: dict[str, Any] = {}
    for name, value in (pair for form in forms for pair in form.items()):
        if value is not None and stated.setdefault(name, value) != value:
            raise UnsupportedModelError(
                f"{source} contradicts itself: {name} is {stated[name]!r} and {value!r} "
                "(rope_parameters, rope_scaling, rope_theta), and releases of transformers read "
                "different ones; keep the right one"
            )
    kind = stated.pop("rope_type", "default")
    theta = _number(stated.pop("rope_theta", None), "rope_theta", source)
    if kind not in ROPE_TYPES:
        raise UnsupportedModelError(
            f"{source}: the rotary embedding is {kind!r}, whose angles engines do not compute "
            f"alike; those of {', '.join(ROPE_TYPES)} they do"
        )
    if kind == "default":
        return Rope(theta)
    if other := sorted(set(stated) - set(ROPE_TYPES[kind])):
        raise UnsupportedModelError(
            f"{source}: {kind} with {other[0]}={stated[other[0]]!r} is not read alike by every "
            f"engine; {kind} takes {', '.join(ROPE_TYPES[kind])}"
        )
    if "factor" not in stated:
        raise CorruptModelError(f"{source}: the rotary embedding {kind!r} does not say its factor")
    if kind == "yarn":
        stated.setdefault("original_max_position_embeddings", longest)
    return Rope(theta, kind, {name: _number(value, name, source) for name, value in stated.items()})


def _flat(form: Any, name: str, source: Path | str) -> dict[str, Any]:
    """Parameters of the rotary embedding, with the one name for its kind."""
    if form is None:
        return {}
    if isinstance(form, Mapping) and set(form) == {"full_attention"}:
        form = form["full_attention"]  # as transformers 5 can write it, by kind of layer
    if not isinstance(form, Mapping) or any(isinstance(each, Mapping) for each in form.values()):
        raise CorruptModelError(f"{source}: {name} is {form!r}, which cannot be used")
    flat = dict(form)
    if (kind := flat.pop("type", None)) is not None and flat.setdefault("rope_type", kind) != kind:
        raise UnsupportedModelError(
            f"{source} contradicts itself: {name} is of type {kind!r} and {flat['rope_type']!r}; "
            "keep the right one"
        )
    return flat


def _number(value: Any, name: str, source: Path | str) -> float:
    if value is None:
        raise UnsupportedModelError(
            f"{source} does not say {name}, for which transformers and vLLM take different "
            "defaults; take config.json from where the weights come from"
        )
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise CorruptModelError(f"{source}: {name} is {value!r}, which cannot be used")
    return float(value)
