"""Reading the fields of a request: null is as not given, what is wrong is named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ...checks import described
from ...errors import InvalidInputError

T = TypeVar("T")

_MISSING = object()
_FLAGS = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}


class Fields:
    """The fields of a JSON object; several names of one thing are asked for together."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        """Take what is not null."""
        self._content = {name: value for name, value in content.items() if value is not None}

    def __contains__(self, name: str) -> bool:
        return name in self._content

    def inner(self, name: str) -> Fields:
        """The object that a field holds; an empty one where there is none."""
        value = self._content.get(name, {})
        if not isinstance(value, Mapping):
            raise InvalidInputError(f"{name} is {described(value)}; send a JSON object")
        return Fields(value)

    def or_else(self, other: Fields) -> Fields:
        """These fields, and those of `other` that are not among them."""
        return Fields({**other._content, **self._content})

    def without(self, *names: str) -> Fields:
        """All but `names`."""
        return Fields({name: one for name, one in self._content.items() if name not in names})

    def query(self, *names: str) -> str:
        """A text, or an object that holds one."""
        name, value = self._required(*names)
        return text_of(name, value)

    def documents(self, *names: str, fields: Sequence[str] = ()) -> list[str]:
        """A list of texts, or of objects that hold one; of objects, `fields` alone if given."""
        name, value = self._required(*names)
        if not isinstance(value, list):
            raise InvalidInputError(f"{name} is {described(value)}; send a list of texts")
        return [text_of(f"{name}[{place}]", one, fields) for place, one in enumerate(value)]

    def listed(self, *names: str) -> list[str]:
        """A list of texts, of which a single one stands for itself."""
        name, value = self._required(*names)
        return self.documents(*names) if isinstance(value, list) else [text_of(name, value)]

    def text(self, *names: str) -> str | None:
        """A text; one that is blank is as not given. Several that differ contradict each other."""
        given = [(name, self._content[name]) for name in names if name in self._content]
        for name, value in given:
            if not isinstance(value, str):
                raise InvalidInputError(f"{name} is {described(value)}; send a text")
        texts = list(dict.fromkeys(value for _, value in given if value.strip()))
        if len(texts) > 1:
            raise InvalidInputError(f"{' and '.join(names)} say different things; send one of them")
        return texts[0] if texts else None

    def names(self, name: str) -> list[str]:
        """A list of texts; empty where it is not given."""
        value = self._content.get(name, [])
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise InvalidInputError(f"{name} is {described(value)}; send a list of texts")
        return value

    def count(self, *names: str, least: int = 0) -> int | None:
        """A whole number; None where none is given."""
        return self._read(names, lambda name, value: _count(name, value, least))

    def flag(self, *names: str) -> bool | None:
        """True or false; None where none is given."""
        return self._read(names, _flag)

    def refuse(self, name: str, why: str, *allowed: Any) -> None:
        """Refuse a field that asks for what would be another score, unless it is `allowed`.

        Raises:
            InvalidInputError: it is given.
        """
        if name in self._content and not any(_same(self._content[name], one) for one in allowed):
            value = described(self._content[name])
            raise InvalidInputError(f"{name} is {value}, {why}")

    def _read(self, names: Sequence[str], read: Callable[[str, Any], T]) -> T | None:
        name, value = self._first(*names)
        return None if value is _MISSING else read(name, value)

    def _required(self, *names: str) -> tuple[str, Any]:
        name, value = self._first(*names)
        if value is _MISSING:
            raise InvalidInputError(f"there is no {' or '.join(names)} in the request; send it")
        return name, value

    def _first(self, *names: str) -> tuple[str, Any]:
        found = ((name, self._content[name]) for name in names if name in self._content)
        return next(found, (names[0], _MISSING))


def text_of(name: str, value: Any, fields: Sequence[str] = ()) -> str:
    """The text of a query or a document: itself, or what an object holds.

    Args:
        name: how an error calls it.
        value: a text; an object with a ``text``; or one with ``content``: a text, or parts.
        fields: of an object, the fields whose texts are joined instead.

    Raises:
        InvalidInputError: it holds no text, or something beside it.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        if fields:
            return _joined(name, value, fields)
        if isinstance(text := value.get("text"), str):
            return text
        content = value.get("content")
        if isinstance(content, str):
            return content
        if isinstance(content, list):
            return "\n".join(_part(name, part) for part in content)
    raise InvalidInputError(
        f'{name} is {described(value)}; send a text, or an object with one as "text"'
    )


def _joined(name: str, value: Mapping[str, Any], fields: Sequence[str]) -> str:
    found = [str(value[one]) for one in fields if value.get(one) is not None]
    if not found:
        asked = " or ".join(fields)
        raise InvalidInputError(f"{name} has no {asked}, which rank_fields names; send what it has")
    return "\n".join(found)


def _part(name: str, part: Any) -> str:
    if isinstance(part, Mapping):
        if isinstance(text := part.get("text"), str):
            return text
        raise InvalidInputError(
            f"{name} has a part of type {described(part.get('type'))}; this model reads text alone"
        )
    return text_of(name, part)


def _count(name: str, value: Any, least: int) -> int:
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        value = int(value) if len(value) < 20 else value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidInputError(f"{name} is {described(value)}; send a whole number >= {least}")
    return value


def _flag(name: str, value: Any) -> bool:
    """As vLLM and other servers on pydantic read them; RAGFlow sends texts."""
    said = str(value).lower() if isinstance(value, str | int) else ""
    if said not in _FLAGS:
        raise InvalidInputError(f"{name} is {described(value)}; send true or false")
    return _FLAGS[said]


def _same(value: Any, other: Any) -> bool:
    return type(value) is type(other) and bool(value == other)
