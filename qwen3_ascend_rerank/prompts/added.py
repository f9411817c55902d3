"""Added tokens: which of a tokenizer's may stand in a text, and which must never come from one.

Qwen's own are control tokens, all 26 of them: the model has learnt what they mean for the course of
a prompt, though the tokenizer's file calls only some of them special (not ``<think>``, say). So
they are known by name.

Of the tokens that a fine-tune adds, the plain ones are words like any other: they count as its
own tokenizer has them. Those that it marks as special (``[PAD]``, or the tokens of a format of its
own) are control tokens too: nothing tells a harmless one from one with a meaning for the course of
a prompt, and a text must not be able to say that. Where a text holds one all the same, a warning
says what to do if the texts that the fine-tune has learnt from held it too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tokenizers import AddedToken

from .template import LAST_LABEL

QWEN_SPECIAL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>",
    "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>",
    "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
"""Those of Qwen3's added tokens that its tokenizer's file marks as special, by rising id."""
QWEN_ADDED_TOKENS = (
    *QWEN_SPECIAL_TOKENS, "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>",
    "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<tool_response>",
    "</tool_response>", "<think>", "</think>",
)  # fmt: skip
"""All that Qwen3 adds to its vocabulary, by rising id."""

NOTHING = r"(?!)"


def mark_control_tokens(added: Iterable[dict[str, Any]]) -> None:
    """Mark all control tokens among `added_tokens` of a ``tokenizer.json`` as special."""
    for token in added:
        token["special"] = token.get("special", False) or token["content"] in QWEN_ADDED_TOKENS


def over_the_cut(added: Iterable[AddedToken]) -> list[str]:
    """Those that can reach over the cut before the space that begins every document.

    Only such a token makes the ids of the pieces differ from those of the whole: one that is spelt
    across the cut, or that ends at it and takes the space along. (One that begins behind the cut
    may take the space from the right: it does so in the whole, too.)
    """
    return [token.content for token in added if _reaches_over(token.content, token.rstrip)]


def _reaches_over(content: str, rstrip: bool) -> bool:
    if rstrip and _touch(content, LAST_LABEL):
        return True
    cuts = (place + 1 for place, letter in enumerate(content) if letter == LAST_LABEL[-1])
    return any(content[cut:].startswith(" ") and _touch(content[:cut], LAST_LABEL) for cut in cuts)


def _touch(left: str, label: str) -> bool:
    return label.endswith(left) or left.endswith(label)


def spelling(contents: Iterable[str]) -> re.Pattern[str]:
    """Finds any of `contents`, the longest at a place; nothing where there are none."""
    longest_first = sorted(filter(None, contents), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or NOTHING)


def missing_from(added: Iterable[str], configuration: Mapping[str, Any]) -> list[str]:
    """Plain added tokens that a ``tokenizer_config.json`` names and a ``tokenizer.json`` lacks."""
    named = configuration.get("added_tokens_decoder")
    tokens = named.values() if isinstance(named, dict) else ()
    known = {*added, *QWEN_ADDED_TOKENS}
    return [
        token["content"]
        for token in tokens
        if isinstance(token, dict)
        and isinstance(token.get("content"), str)
        and not token.get("special")
        and token["content"] not in known
    ]
