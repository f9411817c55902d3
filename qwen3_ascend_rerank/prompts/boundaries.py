r"""Where a text may be cut so that its parts give, one after the other, the ids of the whole.

Qwen's tokenizer composes characters (NFC), looks for added tokens, splits what is between them with
a regular expression, and joins bytes inside each of the pieces. So a cut changes nothing if

* the character behind it is composed with nothing before it: ASCII, CJK ideographs and
  punctuation are not;
* no added token lies across it or touches it (one that begins or ends further away may take white
  space, but none from the other side, since the white space ends at each of the cuts below); and
* the expression has a boundary there, whatever stands further away. Its pieces are a letter run
  with at most one other character before it, one digit, a run of marks with at most one space
  before it and line ends behind, and white space, which looks ahead by one character. So there is
  one

  - between anything but white space and a space or a digit: no piece has a digit or white space
    (other than a line end) behind another character;
  - between a letter and a mark: no piece has a mark behind a letter;
  - between a line end and anything but white space: every piece ends with its last line end, if
    that is not followed by more white space.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from .added import spelling

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen2, Qwen2.5 and Qwen3 split a text."""

_IDEOGRAPHS = "\u4e00-\u9fa5"
_LETTERS = f"A-Za-z\u3041-\u3096\u30a1-\u30fa{_IDEOGRAPHS}\uac00-\ud7a3"
_MARKS = r"!-/:-@\[-`{-~、。！，：；？"
# Libraries differ in what they call white space.
_MAYBE_SPACE = r"\s\x1c-\x1f\x85\u180e\u200b\ufeff"
_BOUNDARY = re.compile(
    rf"(?<=[^{_MAYBE_SPACE}])(?=[ 0-9])|(?<=[{_LETTERS}])(?=[{_MARKS}])"
    rf"|(?<=[\r\n])(?=[!-~{_IDEOGRAPHS}])"
)
STEP = 4096
"""Characters that are searched at a time: a search holds up all other threads."""


class Boundaries:
    """Of the texts that one tokenizer reads."""

    def __init__(self, added: Iterable[str]) -> None:
        """`added`: its added tokens, as they are spelt in a text, composed or not."""
        added = list(added)
        self._added = spelling(added)
        # Characters that may be composed with others: at most four give one.
        self._reach = 4 * max(map(len, added), default=0) + 16

    def after(self, text: str, place: int, within: int) -> int | None:
        """The first one found at `place`, which is above 0, or at most `within` characters behind.

        The text's end is one. None: there is none so soon.
        """
        stop = min(place + within, len(text))
        for start in range(place, stop, STEP):
            for found in _BOUNDARY.finditer(text, start, min(start + STEP, stop) + 1):
                if self._free(text, found.start()):
                    return found.start()
        return len(text) if stop == len(text) else None

    def holds_added(self, text: str, start: int, end: int) -> bool:
        """Whether an added token is spelt in a part of `text`, or reaches into it."""
        return not self._free_of_added(text[max(0, start - self._reach) : end + self._reach])

    def _free(self, text: str, place: int) -> bool:
        return not self.holds_added(text, place, place)

    def _free_of_added(self, text: str) -> bool:
        if self._added.search(text):
            return False
        return text.isascii() or not self._added.search(unicodedata.normalize("NFC", text))


def known(parts: dict[str, Any]) -> bool:
    """Whether a ``tokenizer.json`` composes, splits and joins as it is assumed here."""
    try:
        split, byte_level = parts["pre_tokenizer"]["pretokenizers"]
        model = parts["model"]
        odd = ("dropout", "ignore_merges", "continuing_subword_prefix", "end_of_word_suffix")
        return (
            model["type"] == "BPE"
            and not any(model.get(name) for name in odd)
            and parts["normalizer"] == {"type": "NFC"}
            and split["type"] == "Split"
            and split["pattern"] == {"Regex": PATTERN}
            and (split["behavior"], split["invert"]) == ("Isolated", False)
            and byte_level["type"] == "ByteLevel"
            and not byte_level["add_prefix_space"]
            and not byte_level.get("use_regex", True)
        )
    except (KeyError, TypeError, ValueError):
        return False
