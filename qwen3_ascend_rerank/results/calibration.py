"""P(relevant) from a score: what `qwen3-rerank calibrate` has fitted to a user's labels, applied.

P("yes") says how sure a model is, not how often it is right on your data. A calibration is a rising
function of the log-odds, so it changes no order. It holds for the model and the instruction that
it was fitted for, and is refused for others.
"""

from __future__ import annotations

import json
import math
import os
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..checks import described, is_number
from ..errors import InvalidInputError
from .records import probability

METHODS = ("platt", "isotonic")
FORM = "qwen3-rerank calibration"
"""What the file says of itself."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """A fitted function from log-odds to P(relevant), and what it was fitted for."""

    method: str
    """``platt``: sigmoid(slope * log-odds + intercept); ``isotonic``: lines between knots."""
    model: str
    """The model whose log-odds it takes."""
    instruction: str
    """The instruction under which they were scored."""
    slope: float = 1.0
    intercept: float = 0.0
    knots: tuple[tuple[float, float], ...] = ()
    """Log-odds that rise, each with its P(relevant) in [0, 1]; it is level on either side."""
    pairs: int = 0
    """Labelled pairs that it was fitted to."""
    relevant: int = 0
    """Those of them that are relevant."""

    def relevance(self, log_odds: float) -> float:
        """P(relevant) in [0, 1]."""
        if self.method == "platt":
            return probability(self.slope * log_odds + self.intercept)
        return _between(self.knots, log_odds)

    def check_instruction(self, instruction: str) -> None:
        """Refuse another instruction.

        Raises:
            InvalidInputError: it was fitted for another.
        """
        if instruction != self.instruction:
            raise InvalidInputError(
                f"calibration is for the instruction {self.instruction!r}, not for "
                f"{instruction!r}; calibrate for that one, or leave calibration out"
            )

    def check_model(self, model: str) -> None:
        """Refuse another model; a folder and a hub id may name the same one.

        Raises:
            InvalidInputError: it was fitted for another.
        """
        if _plain(model) != _plain(self.model):
            raise InvalidInputError(
                f"calibration is for the model {self.model}, not for {model}; calibrate for that "
                "one, or leave calibration out"
            )

    def to_dict(self) -> dict[str, Any]:
        """As the file has it; `calibration_of` reads it again."""
        own = {"platt": ("knots",), "isotonic": ("slope", "intercept")}[self.method]
        kept = {name: value for name, value in asdict(self).items() if name not in own}
        if "knots" in kept:
            kept["knots"] = [list(knot) for knot in self.knots]
        return {"form": FORM, "version": 1, **kept}


Given = str | os.PathLike[str] | Mapping[str, Any] | Calibration
"""A calibration, what its file holds, or where the file is."""


def calibration_of(given: Given | None) -> Calibration | None:
    """The calibration that `given` is or names; None: none.

    Raises:
        InvalidInputError: it cannot be read, or is none.
    """
    if given is None or isinstance(given, Calibration):
        return given
    content, source = (given, "calibration") if isinstance(given, Mapping) else _read(given)
    if content.get("form") != FORM or content.get("version") != 1:
        raise InvalidInputError(
            f"{source} holds no calibration of a form that is known; `qwen3-rerank calibrate` "
            "writes one"
        )
    known = {field.name for field in fields(Calibration)}
    try:
        made = Calibration(**{name: content[name] for name in known if name in content})
        knots = tuple((float(place), float(value)) for place, value in made.knots)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{source} cannot be used: {error}; calibrate anew") from None
    _check(made, knots, source)
    return Calibration(**{**asdict(made), "knots": knots})


def _read(given: str | os.PathLike[str]) -> tuple[Mapping[str, Any], str]:
    try:
        file = Path(given).expanduser()
        content = json.loads(file.read_text(encoding="utf-8"))
    except TypeError:
        raise InvalidInputError(
            f"calibration is {described(given)}; pass the file that `qwen3-rerank calibrate` wrote"
        ) from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidInputError(f"the calibration {given} cannot be read: {why}") from None
    if not isinstance(content, dict):
        raise InvalidInputError(f"{given} holds no JSON object, and so no calibration")
    return content, str(given)


def _check(made: Calibration, knots: Sequence[tuple[float, float]], source: str) -> None:
    places, values = [place for place, _ in knots], [value for _, value in knots]
    named = isinstance(made.model, str) and isinstance(made.instruction, str)
    usable = {
        "platt": all(map(is_number, (made.slope, made.intercept))) and 0 < made.slope < math.inf,
        "isotonic": bool(knots)
        and all(map(math.isfinite, places))
        and places == sorted(set(places))
        and values == sorted(values)
        and 0 <= values[0] <= values[-1] <= 1,
    }
    if not named or not usable.get(made.method):
        raise InvalidInputError(
            f"{source} cannot be used: its {made.method} function does not rise from 0 to 1, or it "
            "names no model and instruction; calibrate anew"
        )


def _between(knots: Sequence[tuple[float, float]], log_odds: float) -> float:
    """The line through `knots` at `log_odds`."""
    place = bisect_right(knots, log_odds, key=lambda knot: knot[0])
    if place in (0, len(knots)):
        return knots[min(place, len(knots) - 1)][1]
    (left, low), (right, high) = knots[place - 1 : place + 1]
    return low + (high - low) * (log_odds - left) / (right - left)


def _plain(model: str) -> str:
    """The last part of a name or a path, which a folder and a hub id have in common."""
    name = model.rstrip("/\\").replace("\\", "/").rpartition("/")[2]
    return name.replace("___", ".").lower()  # as ModelScope writes a dot
