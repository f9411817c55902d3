"""Where a model is, as it was when somebody asked for it.

A relative path means another folder after ``os.chdir``, a link can be switched, and files can be
exchanged where they lie. None of these may give a question to another model than was asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path

from ..runtime.files import file_state
from . import lexical

_PARTS = (".json", ".safetensors", ".bin", ".pt", ".txt", ".jinja")
"""What a model's files end in."""


@dataclass(frozen=True, slots=True)
class Location:
    """A folder or file that was found, or a name that says the same everywhere."""

    asked: str
    """As it was asked for, to be shown."""
    absolute: str
    """The same, whatever the working folder becomes; links are as they were given."""
    real: str
    """Where the files are, with links followed; a hub id or ``lexical`` as it is."""
    state: Hashable = field(default=(), repr=False)
    """Of the files there, as far as names, sizes and times tell."""

    @classmethod
    def of(cls, asked: str) -> Location:
        """Where `asked` is now: a folder, a file, a hub id, or ``lexical``."""
        path = Path(os.path.expanduser(asked))  # noqa: PTH111 - leaves a user that is not there
        if asked == lexical.NAME or "\0" in asked or not (_is_path(asked) or path.exists()):
            return cls(asked, asked, asked)
        absolute = str(path.absolute())
        real = os.path.realpath(absolute)
        return cls(asked, absolute, real, _state(Path(real)))

    @property
    def mistaken(self) -> bool:
        """Whether a name that said the same everywhere has become that of a folder."""
        return not self.state and not _is_path(self.real) and Path(self.real).exists()

    def __deepcopy__(self, memo: dict[int, object]) -> Location:
        return self  # nothing in it changes

    def __reduce__(self) -> tuple[Callable[[str, str], Location], tuple[str, str]]:
        # Found anew where it is unpickled, but not below another working folder.
        return _again, (self.absolute, self.asked)


def _is_path(asked: str) -> bool:
    """Whether `asked` can be nothing but a path: a hub id has one slash, and no folder's signs."""
    return Path(asked).is_absolute() or asked.startswith((".", "~")) or asked.count("/") != 1


def _again(absolute: str, asked: str) -> Location:
    found = Location.of(absolute)
    return Location(asked, found.absolute, found.real, found.state)


def _state(place: Path) -> Hashable:
    try:
        files = [place]
        if place.is_dir():
            files = sorted(each for each in place.iterdir() if each.suffix in _PARTS)
        return tuple((each.name, file_state(each)) for each in files)
    except OSError:  # whoever loads it says what is wrong
        return ()
