"""How many cards a job takes, and how long: arithmetic, and where its numbers come from."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from ..checks import described
from ..errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Geometry:
    """What decides how much a model computes for a token."""

    layers: int
    hidden: int
    heads: int
    key_value_heads: int
    intermediate: int
    head_dim: int = 128

    @property
    def weights(self) -> int:
        """Those of the linear layers: what is embedded is looked up, not computed."""
        attention = 2 * self.hidden * self.head_dim * (self.heads + self.key_value_heads)
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    def operations(self, tokens: int) -> float:
        """Floating-point operations for one token of a prompt of `tokens`, on average.

        Two for each weight; and for each earlier token, of which there are half of the prompt, two
        for the product with its key and two for that with its value, in each dimension.
        """
        earlier = (tokens + 1) / 2
        return 2 * self.weights + 4 * self.layers * self.heads * self.head_dim * earlier


SIZES = {
    "0.6B": Geometry(28, 1024, 16, 8, 3072),
    "4B": Geometry(36, 2560, 32, 8, 9728),
    "8B": Geometry(36, 4096, 32, 8, 12288),
}
"""Of Qwen3-Reranker, as its config.json files have them."""


@dataclass(frozen=True, slots=True)
class Speed:
    """What one card does, and how that is known."""

    tokens: float
    """Prompt tokens a second."""
    source: str


def measured(file: Path) -> Speed:
    """The best run that `qwen3-rerank bench --output` wrote.

    Raises:
        InvalidInputError: the file is none, or has no run that succeeded.
    """
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
        best = max(
            report["runs"], key=lambda run: run["total_token_throughput"] if run["completed"] else 0
        )
        tokens, engine = float(best["total_token_throughput"]), report["engine"]
        what = f"{engine['model']}, {engine['engine']} on {engine['device']}"
    except OSError as error:
        raise InvalidInputError(f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise InvalidInputError(
            f"{file} is no result of `qwen3-rerank bench --output FILE`"
        ) from None
    if not tokens > 0:
        raise InvalidInputError(f"{file} has no run in which requests succeeded")
    return Speed(tokens, f"measured: {what}, the best of {len(report['runs'])} runs")


def stated(peak: float, share: float, size: str, tokens: int) -> Speed:
    """What a card's stated peak allows.

    Args:
        peak: TFLOPS, dense, of the precision that is used.
        share: the part of it that is reached, in (0, 1].
        size: one of `SIZES`.
        tokens: of a prompt.
    """
    if size not in SIZES:
        raise InvalidInputError(f"size is {described(size)}; use one of {', '.join(SIZES)}")
    each = SIZES[size].operations(tokens)
    return Speed(
        peak * 1e12 * share / each,
        f"on paper: {peak:g} TFLOPS x {share:g} / {each / 1e9:.3f} GFLOP a token "
        f"(2 x {SIZES[size].weights / 1e6:,.0f} M weights, and attention over {tokens} tokens)",
    )


@dataclass(frozen=True, slots=True)
class Sizing:
    """A job on some cards."""

    pairs: float
    tokens: int
    """Of a pair's prompt that are computed."""
    speed: Speed
    spare: float
    """Part of the cards' time that is kept free."""

    @property
    def seconds(self) -> float:
        """On one card."""
        return self.pairs * self.tokens / (self.speed.tokens * (1 - self.spare))

    def cards(self, hours: float) -> int:
        """How many cards finish in `hours`."""
        return max(1, math.ceil(self.seconds / (hours * 3600)))

    def hours(self, cards: int) -> float:
        """How long `cards` take."""
        return self.seconds / cards / 3600


UNITS = {"": 1, "k": 1e3, "m": 1e6, "b": 1e9}


def checked_amount(name: str, text: str) -> float:
    """A number above 0 as people write it: 1e6, 10M, 250k, 2,000,000."""
    plain = text.strip().lower().replace(",", "").replace("_", "")
    unit = plain[-1:] if plain[-1:] in UNITS else ""
    try:
        amount = float(plain.removesuffix(unit)) * UNITS[unit]
    except ValueError:
        amount = math.nan
    if not 0 < amount < math.inf:
        raise InvalidInputError(f"{name} is {text!r}; give a number above 0, such as 250k or 10M")
    return amount
