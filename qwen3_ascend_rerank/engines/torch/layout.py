"""How the prompts of one pass lie in memory: one row of tokens, without padding.

The linear layers see every token once: those of a query's prefix, then those of each of its
documents. Only attention looks at prompts; there the keys and values of one are gathered from its
prefix, which all documents of a query share, and its own tokens, beside others of like length.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .attention import Groups, Prompt, Shapes, as_tensor
from .passes import Share
from .ragged import Ragged

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Layout:
    """One pass."""

    shares: Sequence[Share]
    tokens: torch.Tensor
    """Ids, shape (tokens,)."""
    positions: torch.Tensor
    """Position of each token in its prompt, shape (tokens,)."""
    prefixes: list[range]
    """Where the part of each share's prefix is that is computed."""
    unused: int
    """Known tokens that are made up, after those of all shares."""
    attention: Groups | Ragged
    ends: Groups | None
    """Attention for `last` alone, which is enough in the last layer; None: it is not done."""
    last: torch.Tensor
    """The last token of each document, share by share, shape (at least documents,)."""


def lay_out(
    shares: Sequence[Share], device: torch.device, dtype: torch.dtype, shapes: Shapes
) -> Layout:
    """Put `shares`, from `take_pass`, into one pass on `device`."""

    def tensor(parts: Iterable[Sequence[int]]) -> torch.Tensor:
        return as_tensor(parts).to(device, non_blocking=True)

    tokens: list[Sequence[int]] = []
    positions: list[range] = []
    prompts: list[Prompt] = []
    prefixes: list[range] = []
    documents: list[Prompt] = []
    count = 0
    computed = shapes.tokens(sum(share.tokens for share in shares))
    known = computed

    def add(own: Sequence[int], before: Sequence[range]) -> Prompt:
        nonlocal count
        prompt = Prompt(before, range(count, count + len(own)))
        count += len(own)
        if own:
            tokens.append(own)
            positions.append(range(prompt.shared, len(prompt)))
            prompts.append(prompt)
        return prompt

    for share in shares:
        before = range(known, known + share.known.length)
        known = before.stop
        prefixes.append(add(share.call.prefix[len(before) :], [before]).own)
        prefix = [before, prefixes[-1]]
        documents += [add(share.call.rows[row], prefix) for row in share.rows]
    last = [prompt.own[-1] for prompt in documents]
    spare = [0] * (computed - count)
    last += last[-1:] * (shapes.documents(len(last)) - len(last))
    return Layout(
        shares=shares,
        tokens=tensor([*tokens, spare]),
        positions=tensor([*positions, spare]),
        prefixes=prefixes,
        unused=shapes.length(known - computed) - (known - computed),
        attention=(
            Ragged.of(prompts, device)
            if shapes.attention == "ragged"
            else Groups.of(prompts, computed, shapes, device, dtype)
        ),
        ends=(
            Groups.of_ends(documents, computed, shapes, device, dtype)
            if shapes.attention == "masked"
            else None
        ),
        last=tensor([last]),
    )
