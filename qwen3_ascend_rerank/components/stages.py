"""A cascade in words, ``SMALL:KEEP``: who is asked before the last model, and hands on how many.

What the settings say holds for all stages; only what belongs to one model does not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from ..checks import checked_list
from ..errors import InvalidInputError
from ..models.location import Location
from ..reranker import Reranker

FORM = (
    "give SMALL:KEEP, a model or its URL and how many documents it hands on, e.g. "
    "Qwen/Qwen3-Reranker-0.6B:20"
)
SHARED = (
    *("instruction", "max_length", "long_documents", "passage_tokens", "passage_overlap"),
    *("passage_limit", "cache_size", "selfcheck"),
)
"""Settings that all stages have. A tokenizer or a calibration is of one model; `top_n`, `threshold`
and `timeout` are of the whole."""

_HOST_ALONE = re.compile(r"https?://(\[[^\]/]*\]|[^:/]+)")


@dataclass(frozen=True, slots=True)
class Stage:
    """One model that is asked before others."""

    model: str
    """Hub id, folder, ``lexical``, or the URL where it is served."""
    keep: int
    """How many documents it hands on."""

    @classmethod
    def of(cls, text: str) -> Stage:
        """From ``SMALL:KEEP``.

        Raises:
            InvalidInputError: it is no such text.
        """
        model, _, keep = text.strip().rpartition(":")
        if not model.strip() or not (keep.isascii() and keep.isdecimal() and int(keep)):
            raise InvalidInputError(f"cascade has {text!r}; {FORM}")
        stage = cls(model.strip(), int(keep))
        if _HOST_ALONE.fullmatch(stage.model):
            raise InvalidInputError(
                f"cascade has {text!r}, whose number may be a port; if it is, give how many "
                f"documents it hands on behind it, {text.strip()}:20, else {model}/:{keep}"
            )
        return stage

    @property
    def served(self) -> bool:
        """Whether it runs elsewhere."""
        return self.model.startswith(("http://", "https://"))

    def reranker(self, settings: Mapping[str, Any], place: Location | None) -> Reranker:
        """Its Reranker; nothing is loaded yet.

        Args:
            settings: of the last model. Those of `SHARED` hold here too, and where both are loaded
                here, or both are served, the engine and its options.
            place: where its files are.

        Raises:
            InvalidInputError: a value that cannot be used.
        """
        own = {name: settings[name] for name in SHARED}
        if self.served == (settings["base_url"] is not None):
            own["engine_options"] = settings["engine_options"]
        if self.served:
            return Reranker(base_url=self.model, api_key=settings["api_key"], **own)
        if settings["base_url"] is None:
            own["engine"] = settings["engine"]
        # The constructor knows a place, as settings hand it on.
        return Reranker(cast("str", place or self.model), **own)

    def __str__(self) -> str:
        return f"{self.model}:{self.keep}"


def checked_cascade(given: Any) -> list[str] | None:
    """Stages before the last model, from a list or a text with commas between them; None: none.

    Raises:
        InvalidInputError: no such stages.
    """
    if given is None:
        return None
    if isinstance(given, str):
        given = [one for one in given.split(",") if one.strip()]
    texts = checked_list("cascade", given, str, f"{FORM}, or a list of these", FORM)
    return [str(Stage.of(text)) for text in texts] or None
