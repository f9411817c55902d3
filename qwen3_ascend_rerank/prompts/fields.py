"""What is known of a document, before its text: title, date, source, as lines that a model reads.

``title: Beijing``, a line for each field, then a blank line and the text, as LlamaIndex puts
metadata before a node's text. A prompt that is full loses its end, so the fields stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..checks import checked_list, checked_text, described
from ..errors import InvalidInputError


def checked_fields(fields: str | Iterable[str] | None) -> list[str] | None:
    """Names of fields, from a list or a text with commas between them; None: none.

    Raises:
        InvalidInputError: no such names.
    """
    if fields is None:
        return None
    if isinstance(fields, str):
        fields = [one.strip() for one in fields.split(",")]
    names = checked_list("metadata_fields", fields, str, "pass a list of names", "pass a name")
    for name in names:
        checked_text("metadata_fields", name)
    if len(set(names)) < len(names):
        raise InvalidInputError(f"metadata_fields is {described(names)}; name each field once")
    return names or None


def with_fields(text: str, metadata: Mapping[str, Any], fields: Sequence[str] | None) -> str:
    """`text` behind those of `fields` that `metadata` has; what is None or empty is left out."""
    lines = [f"{name}: {_said(metadata[name])}" for name in fields or () if name in metadata]
    lines = [one for one in lines if not one.endswith(": ")]
    return "\n".join([*lines, "", text]) if lines else text


def _said(value: Any) -> str:
    """A value on one line."""
    if value is None:
        return ""
    several = isinstance(value, list | tuple | set | frozenset)
    said = ", ".join(map(str, value)) if several else str(value)
    return " ".join(said.split())
