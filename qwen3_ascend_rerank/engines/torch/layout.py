"""How the documents of one pass lie in memory: one row of tokens, without padding.

The linear layers see every token once: those of a query's prefix, then those of each of its
documents. Only attention looks at whole prompts; there a prompt is gathered from the prefix, which
all documents of a query share, and its own tokens, beside others of like length. What fills up the
shorter ones comes last, where causal attention never looks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .passes import Share

if TYPE_CHECKING:
    import torch

LIKENESS = 0.8
"""Shortest prompt that attends beside a longer one, as a part of its length."""
GATHERED = 4
"""Tokens that attention gathers at once, as a multiple of those in the pass."""


@dataclass(frozen=True, slots=True)
class Group:
    """Prompts of like length, (prompts, length) with the longest first, that attend together.

    Places count the tokens of the pass, and after them those of kept prefixes.
    """

    places: torch.Tensor
    """Where the tokens of each prompt are, shape (prompts, length)."""
    outputs: torch.Tensor
    """Places in the pass that get an output, shape (tokens,)."""
    sources: torch.Tensor
    """Where in the flattened group those outputs are, shape (tokens,)."""


@dataclass(frozen=True, slots=True)
class Layout:
    """One pass."""

    shares: Sequence[Share]
    tokens: torch.Tensor
    """Ids, shape (tokens,)."""
    positions: torch.Tensor
    """Position of each token in its prompt, shape (tokens,)."""
    prefixes: list[range | None]
    """Where each share's prefix is computed; None where it is kept from an earlier pass."""
    groups: list[Group]
    last: torch.Tensor
    """The last token of each document, share by share, shape (documents,)."""


@dataclass(frozen=True, slots=True)
class _Prompt:
    prefix: range
    own: range
    is_first: bool
    """Whether its outputs for the prefix count: they are the same in every prompt."""

    def __len__(self) -> int:
        return len(self.prefix) + len(self.own)


def lay_out(shares: Sequence[Share], device: torch.device, step: int = 1) -> Layout:
    """Put `shares` into one pass.

    Args:
        shares: from `take_pass`.
        device: where the tensors are to be.
        step: lengths are rounded up to multiples of this, and numbers of prompts to powers of two
            if it is not 1, so that shapes repeat on devices that compile for each.
    """
    import torch

    def tensor(values: Sequence[int] | Sequence[Sequence[int]]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.long).to(device, non_blocking=True)

    tokens: list[int] = []
    positions: list[int] = []
    prompts: list[_Prompt] = []
    prefixes: list[range | None] = []
    kept = _round(sum(share.tokens for share in shares), step)
    for share in shares:
        prefix = share.call.prefix
        if share.call.kept:
            place, kept = range(kept, kept + len(prefix)), kept + len(prefix)
            prefixes.append(None)
        else:
            place = range(len(tokens), len(tokens) + len(prefix))
            prefixes.append(place)
            tokens += prefix
            positions += range(len(prefix))
        for number, row in enumerate(share.rows):
            own = share.call.rows[row]
            at = range(len(tokens), len(tokens) + len(own))
            prompts.append(_Prompt(place, at, number == 0 and not share.call.kept))
            tokens += own
            positions += range(len(prefix), len(prefix) + len(own))
    last = [prompt.own[-1] for prompt in prompts]
    unused = _round(len(tokens), step) - len(tokens)
    prompts.sort(key=len, reverse=True)
    return Layout(
        shares=shares,
        tokens=tensor(tokens + [0] * unused),
        positions=tensor(positions + [0] * unused),
        prefixes=prefixes,
        groups=[
            Group(tensor(places), tensor(outputs), tensor(sources))
            for group in _alike(prompts, GATHERED * len(tokens))
            for places, outputs, sources in [_gather(group, step)]
        ],
        last=tensor(last),
    )


def _alike(prompts: Sequence[_Prompt], most: int) -> Iterator[list[_Prompt]]:
    """Prompts, longest first, in groups of like length of at most `most` tokens."""
    group: list[_Prompt] = []
    for prompt in prompts:
        if group and (
            len(prompt) < LIKENESS * len(group[0]) or (len(group) + 1) * len(group[0]) > most
        ):
            yield group
            group = []
        group.append(prompt)
    if group:
        yield group


def _gather(group: Sequence[_Prompt], step: int) -> tuple[list[list[int]], list[int], list[int]]:
    """The places, outputs and sources of a `Group`."""
    length = _round(len(group[0]), step)
    places: list[list[int]] = []
    outputs: list[int] = []
    sources: list[int] = []
    for prompt in group:
        wanted = [*prompt.prefix, *prompt.own]
        skipped = 0 if prompt.is_first else len(prompt.prefix)
        outputs += wanted[skipped:]
        start = len(places) * length
        sources += range(start + skipped, start + len(wanted))
        places.append(wanted + wanted[-1:] * (length - len(wanted)))
    if step > 1:
        places += places[-1:] * ((1 << (len(places) - 1).bit_length()) - len(places))
    return places, outputs, sources


def _round(count: int, step: int) -> int:
    return -(-count // step) * step
