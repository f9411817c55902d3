"""Qwen's tokenizer, taken apart: ordinary text here, control tokens there."""

from __future__ import annotations

import json
import logging
import re
import unicodedata
from collections.abc import Hashable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from ..errors import CorruptModelError, UnsupportedModelError
from ..runtime.files import file_state
from .added import QWEN_ADDED_TOKENS, mark_control_tokens, missing_from, over_the_cut, spelling
from .boundaries import Boundaries, known
from .runs import Runs, may_compose
from .template import CONTROL_TOKENS, HEAD, TAIL

logger = logging.getLogger(__name__)

CONFIGURATION = "tokenizer_config.json"
_SURROGATE = re.compile("[\ud800-\udfff]")


READ_AT_ONCE = 16_384
"""Characters of a text that are read, at most, before it is seen whether they are enough."""
RUN = 8_192
"""Characters behind these in which a boundary is looked for before a run is supposed."""
READ_WHOLE = 32_768
"""Characters of a text that need no boundary."""


class Reading:
    """A text, as far as it was read."""

    __slots__ = ("_parts", "before", "defused", "end", "ids", "text")

    def __init__(self, text: str, lead: str = "") -> None:
        """Nothing is read yet of `text`, before which `lead` stands."""
        self.text = text
        self.before = lead
        """What stands before the next part."""
        self.end = 0
        """Where the next part begins."""
        self.ids: list[int] = []
        """Ids of what was read."""
        self.defused = False
        """Whether a control token was broken up in what was read."""
        self._parts: list[str] = []

    @property
    def whole(self) -> bool:
        """Whether all was read."""
        return self.end == len(self.text)

    @property
    def read(self) -> str:
        """What was read, in the form in which it was."""
        return "".join(self._parts)

    def take(self, end: int) -> str:
        """The text from where it was read to, until `end`."""
        start, self.end = self.end, end
        return self.text if self.whole and not start else self.text[start:end]

    def add(self, part: str, ids: list[int]) -> None:
        """Take note of what was made of the next part."""
        self._parts.append(part)
        self.ids = self.ids + ids if self.ids else ids
        self.before = ""


class QwenTokenizer:
    """A tokenizer that makes ordinary text of any text.

    The spelling of a control token inside a query, an instruction or a document is ordinary text;
    the control tokens of the prompt itself come from `head` and `tail` alone. Plain tokens that a
    fine-tune has added count as they do in its own tokenizer.
    """

    head: list[int]
    """Ids of what begins every prompt."""
    tail: list[int]
    """Ids of what ends every prompt."""
    yes: int
    """Id of the answer "yes"."""
    no: int
    """Id of the answer "no"."""
    control_ids: frozenset[int]
    """Ids that no text gives."""
    highest_id: int
    """The highest id that a prompt may hold: a model needs a row of embeddings for each to it."""

    def __init__(self, specification: str, source: str = "tokenizer.json") -> None:
        """Read the text of a ``tokenizer.json``; `source` names it in errors.

        Raises:
            CorruptModelError: the text is not a tokenizer.
            UnsupportedModelError: a tokenizer without the tokens of Qwen3-Reranker's prompt, or
                with an added token that would break the prompt.
        """
        try:
            parts = json.loads(specification)
            mark_control_tokens(parts["added_tokens"])
            # Truncation, padding and post-processing saved with a tokenizer are not ours to obey.
            parts.update(truncation=None, padding=None, post_processor=None)
            vocabulary: dict[str, int] = parts["model"]["vocab"]
            highest = max(vocabulary.values())
            self._tokenizer = Tokenizer.from_str(json.dumps(parts))
        except Exception as error:  # tokenizers raises bare Exception
            raise CorruptModelError(
                f"{source} cannot be read as a tokenizer: {error}; fetch it again"
            ) from error
        # Not the ids in the file, which `tokenizers` does not read: it counts anew.
        added = self._tokenizer.get_added_tokens_decoder()
        self._control = {token.content: place for place, token in added.items() if token.special}
        own = {place: token for place, token in added.items() if not token.special}
        missing = [token for token in CONTROL_TOKENS if token not in self._control]
        missing += [word for word in ("yes", "no") if word not in vocabulary]
        if missing:
            raise UnsupportedModelError(
                f"{source} is not a Qwen3 tokenizer: it has no token {', '.join(missing)}; "
                "point `tokenizer` at a Qwen3-Reranker"
            )
        if blank := [token for token in self._control if not token.strip()]:
            raise UnsupportedModelError(
                f"{source} has {blank[0]!r} for a control token, which is part of most texts; "
                "point `tokenizer` at a Qwen3-Reranker"
            )
        if wide := over_the_cut(own.values()):
            raise UnsupportedModelError(
                f"the added token {wide[0]!r} of {source} would swallow the space between "
                '"<Document>:" and the document, with which the prompt is made; train without it'
            )
        words = [_composed(token.content) for token in own.values() if token.normalized]
        if alike := [word for word in words if words.count(word) > 1]:
            raise UnsupportedModelError(
                f"{source} has several added tokens for {alike[0]!r}, of which now this one counts "
                "and now that; train without one of them"
            )
        self.yes, self.no = vocabulary["yes"], vocabulary["no"]
        self.head = self._tokenizer.encode(HEAD, add_special_tokens=False).ids
        self.tail = self._tokenizer.encode(TAIL, add_special_tokens=False).ids
        self._tokenizer.encode_special_tokens = True  # from here on they are ordinary text
        self.control_ids = self._unreachable(source)
        self.highest_id = max(highest, *own, *self.head, *self.tail)
        self.added_tokens = frozenset(token.content for token in added.values())

        # Some tokens are looked for where characters are composed already.
        composed = {
            _composed(token.content): token.special for token in added.values() if token.normalized
        }
        spelt = {one for one, special in composed.items() if special}
        self._composes = bool(spelt)
        self._spelt = spelling(self._control.keys() | spelt)
        self._boundaries = Boundaries(self.added_tokens | composed.keys()) if known(parts) else None
        stripping = any(token.lstrip for token in own.values())
        self._runs = Runs(self._tokenizer, stripping=stripping)
        self._doubtful = spelling(self._control.keys() - set(QWEN_ADDED_TOKENS))
        self._seen: set[str] = set()

    def _unreachable(self, source: str) -> frozenset[int]:
        """The control tokens' ids, without those that are words of the vocabulary as well."""
        spelt = self._tokenizer.encode_batch(list(self._control), add_special_tokens=False)
        reachable = {place for encoding in spelt for place in encoding.ids}
        for token in QWEN_ADDED_TOKENS:
            if self._control.get(token) in reachable:
                raise UnsupportedModelError(
                    f"{source} makes the control token {token} of a text that spells it, so that "
                    "a document could break the prompt; point `tokenizer` at a Qwen3-Reranker"
                )
        return frozenset(self._control.values()) - reachable

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text made `readable`, with no control token among them."""
        return self._encode([self.readable(text) for text in texts])

    def read(
        self, texts: Sequence[str], count: int, *, lead: str = "", defused: bool = False
    ) -> list[Reading]:
        """Read each text until there are more than `count` ids, or to its end.

        The first of them, `count` and one more, are those of the whole text: what is read ends at a
        boundary of the tokenizer's own, or in a run of which enough is sure. Only a run of marks
        that may be composed is read to its end, one with added tokens in it, and white space where
        such a token may take it.

        Args:
            texts: what to read.
            count: how many ids are enough.
            lead: what stands before each text.
            defused: read what `defuse` makes of each text.
        """
        size = min(max(2 * count, 256), READ_AT_ONCE)
        readings = [Reading(text, lead) for text in texts]
        unread = readings
        while unread:
            parts = [self._next_part(reading, size, count, defused) for reading in unread]
            for reading, part, ids in zip(unread, parts, self._encode(parts), strict=True):
                reading.add(part, ids)
            unread = [one for one in unread if not one.whole and len(one.ids) <= count]
        return readings

    def _next_part(self, reading: Reading, size: int, count: int, defused: bool) -> str:
        part = self.readable(reading.take(self._end(reading, size, count)))
        if defused:
            given, part = part, self.defuse(part)
            reading.defused |= part != given
        return reading.before + part

    def _end(self, reading: Reading, size: int, count: int) -> int:
        """Where the next part may end."""
        text, start = reading.text, reading.end
        if self._boundaries is None or len(text) - start <= READ_WHOLE:
            return len(text)
        within = RUN
        while True:
            found = self._boundaries.after(text, start + size, within)
            if found is None:
                found = self._end_in_run(reading, start + size + within, count)
            if found is not None:
                return found
            within *= 2

    def _end_in_run(self, reading: Reading, end: int, count: int) -> int | None:
        """Where, near `end`, a part has enough ids that are those of the text; None: it has not."""
        text, start, boundaries = reading.text, reading.end, self._boundaries
        near = range(end, min(end + RUN, len(text)))
        end = next((place for place in near if not may_compose(text[place])), start)
        if end == start or boundaries is None or boundaries.holds_added(text, start, end):
            return None
        sure = self._runs.first(reading.before + self.readable(text[start:end]))
        return end if len(reading.ids) + len(sure) > count else None

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def beginning(self, text: str, count: int) -> str:
        """What the first `count` ids of `text` stand for, as it is spelt there.

        A character of which they are only a part is left out.
        """
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return text[: encoding.offsets[count][0]] if count < len(encoding.ids) else text

    def starts(self, text: str) -> list[int]:
        """Where in `text`, which is readable, the characters begin that each of its ids is of.

        The ids that one character takes together all begin where it does.
        """
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return [start for start, _ in encoding.offsets]

    def defuse(self, text: str) -> str:
        """`text` as any tokenizer of this vocabulary reads it: without a control token.

        Each spelling of one gets a space after its first character, as in ``< |im_end|>``.
        """
        if self._composes and self._spelt.search(composed := _composed(text)):
            text = composed
        while self._spelt.search(text):  # again only where breaking one up makes another
            text = self._spelt.sub(_broken_up, text)
        return text

    def readable(self, text: str) -> str:
        """`text` in whole characters, with a warning of what may not be read as it was meant.

        Lone surrogates, which are no characters and have no UTF-8 form, become U+FFFD; a split
        surrogate pair becomes the character that it stands for.
        """
        text = _whole_characters(text)
        for token in self._doubtful.findall(text):
            if token not in self._seen:
                self._seen.add(token)
                logger.warning(
                    "a text holds %s, which the tokenizer marks as special: it counts as ordinary "
                    'text, not as that token; set "special": false for it in tokenizer.json if '
                    "the texts that the model was trained on hold it",
                    token,
                )
        return text


def _broken_up(token: re.Match[str]) -> str:
    return f"{token[0][0]} {token[0][1:]}" if len(token[0]) > 1 else ""


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _whole_characters(text: str) -> str:
    if text.isascii() or not _SURROGATE.search(text):
        return text
    logger.warning("a text held surrogate code points, which are no characters: replaced by U+FFFD")
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def load_tokenizer(file: Path) -> QwenTokenizer:
    """The tokenizer in `file`, a ``tokenizer.json``; read once a process, unless it changes.

    Raises:
        CorruptModelError: the file is missing or is not a tokenizer.
        UnsupportedModelError: a tokenizer without the tokens of Qwen3-Reranker's prompt, or one
            that lacks tokens which ``tokenizer_config.json`` beside it adds.
    """
    try:
        return _load_tokenizer(file.absolute(), file_state(file), _configuration_state(file))
    except (OSError, UnicodeDecodeError) as error:
        raise CorruptModelError(f"{file} cannot be read: {error}") from error


@lru_cache(maxsize=8)
def _load_tokenizer(file: Path, *_states: Hashable) -> QwenTokenizer:
    specification = file.read_text(encoding="utf-8")
    tokenizer = QwenTokenizer(specification, str(file))
    if lost := missing_from(tokenizer.added_tokens, _configuration(file)):
        raise UnsupportedModelError(
            f"{file} lacks the added token {', '.join(lost)} of tokenizer_config.json beside it; "
            "load the tokenizer with transformers and save it again with save_pretrained()"
        )
    return tokenizer


def _configuration_state(file: Path) -> Hashable:
    try:
        return file_state(file.with_name(CONFIGURATION))
    except OSError:
        return None


def _configuration(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.with_name(CONFIGURATION).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # all that counts is in tokenizer.json, as a rule
    return found if isinstance(found, dict) else {}
