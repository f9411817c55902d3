"""How the prompts of one pass lie in memory: one row of tokens, without padding.

The linear layers see every token once: those of a query's prefix, then those of each of its
documents. Only attention looks at prompts; there the keys and values of one are gathered from its
prefix, which all documents of a query share, and its own tokens, beside others of like length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .passes import Share

if TYPE_CHECKING:
    import torch

LIKENESS = 0.8
"""Shortest prompt that attends beside a longer one, as a part of the length that both get."""
GATHERED = 4
"""Tokens that attention gathers at once, as a multiple of those in the pass."""


@dataclass(frozen=True, slots=True)
class Shapes:
    """What a device asks of shapes."""

    step: int = 1
    """Lengths are rounded up to multiples of this; if it is not 1, also to one of few in each
    octave, and numbers of prompts to powers of two, so that shapes repeat on a device that compiles
    for each."""
    masked: bool = False
    """Whether attention takes a mask. Then what is before a prompt's own tokens asks nothing; else
    it must ask too, since kernels without a mask are causal from the first token on."""

    def length(self, count: int) -> int:
        """`count`, rounded up."""
        if self.step == 1 or not count:
            return count
        step = max(self.step, 1 << max(0, count.bit_length() - 3))
        return -(-count // step) * step

    def prompts(self, count: int) -> int:
        """`count`, rounded up."""
        return count if self.step == 1 else 1 << (count - 1).bit_length()


@dataclass(frozen=True, slots=True)
class Group:
    """Prompts of like length that attend together, each in a row.

    Places count the tokens of the pass, and after them those of known prefixes.
    """

    places: torch.Tensor
    """Where the keys and values of each prompt are, shape (prompts, length)."""
    asking: torch.Tensor
    """Where its queries are, shape (prompts, queries)."""
    outputs: torch.Tensor
    """Which token of the pass each query answers for, or none, shape (prompts * queries,)."""
    mask: torch.Tensor | None
    """What is added to the attention of queries to keys, shape (prompts, 1, queries, length);
    None: queries and keys are the same tokens, and attention is causal."""


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
    groups: list[Group]
    last: torch.Tensor
    """The last token of each document, share by share, shape (at least documents,)."""


@dataclass(frozen=True, slots=True)
class _Prompt:
    before: Sequence[int]
    """Places of the tokens that are computed, or known, for others too."""
    own: range

    def __len__(self) -> int:
        return len(self.before) + len(self.own)


def lay_out(
    shares: Sequence[Share], device: torch.device, dtype: torch.dtype, shapes: Shapes
) -> Layout:
    """Put `shares`, from `take_pass`, into one pass on `device`."""
    import torch

    def tensor(values: Sequence[int] | Sequence[Sequence[int]]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.long).to(device, non_blocking=True)

    tokens: list[int] = []
    positions: list[int] = []
    prompts: list[_Prompt] = []
    prefixes: list[range] = []
    last: list[int] = []
    computed = shapes.length(sum(share.tokens for share in shares))
    known = computed

    def add(own: Sequence[int], before: Sequence[int]) -> range:
        place = range(len(tokens), len(tokens) + len(own))
        tokens.extend(own)
        positions.extend(range(len(before), len(before) + len(own)))
        if own:
            prompts.append(_Prompt(before, place))
        return place

    for share in shares:
        before = range(known, known + share.known.length)
        known = before.stop
        prefixes.append(add(share.call.prefix[len(before) :], before))
        prefix = [*before, *prefixes[-1]]
        last += [add(share.call.rows[row], prefix)[-1] for row in share.rows]
    spare = [0] * (computed - len(tokens))
    last += last[-1:] * (shapes.prompts(len(last)) - len(last))
    return Layout(
        shares=shares,
        tokens=tensor(tokens + spare),
        positions=tensor(positions + spare),
        prefixes=prefixes,
        unused=shapes.length(known - computed) - (known - computed),
        groups=[
            Group(
                tensor(rows.places),
                tensor(rows.asking),
                tensor(rows.outputs),
                _mask(rows, device, dtype) if shapes.masked else None,
            )
            for group in _alike(prompts, GATHERED * computed)
            for rows in [_Rows.of(group, shapes, computed)]
        ],
        last=tensor(last),
    )


def _alike(prompts: Sequence[_Prompt], most: int) -> Iterator[list[_Prompt]]:
    """Prompts, longest first, in groups that pad little and gather at most `most` tokens."""
    group: list[_Prompt] = []
    before = own = 0
    for prompt in sorted(prompts, key=len, reverse=True):
        before, own = max(before, len(prompt.before)), max(own, len(prompt.own))
        length = before + own
        if group and (len(prompt) < LIKENESS * length or (len(group) + 1) * length > most):
            yield group
            group, before, own = [], len(prompt.before), len(prompt.own)
        group.append(prompt)
    if group:
        yield group


@dataclass(slots=True)
class _Rows:
    """A `Group` in numbers: in each row what is before, padded in front, then a prompt's own."""

    before: int
    """Length of what is before, padding included."""
    places: list[list[int]]
    asking: list[list[int]]
    outputs: list[int]
    padding: list[int]
    """How much of `before` is padding, prompt by prompt."""

    @classmethod
    def of(cls, group: Sequence[_Prompt], shapes: Shapes, nobody: int) -> _Rows:
        """`nobody` is the output of who asks for nothing."""
        if not shapes.masked:
            return cls._whole(group, shapes, nobody)
        before = shapes.length(max(len(prompt.before) for prompt in group))
        own = shapes.length(max(len(prompt.own) for prompt in group))
        made = cls(before, [], [], [], [])
        for prompt in group:
            gap, rest = before - len(prompt.before), own - len(prompt.own)
            asking = [*prompt.own, *[prompt.own[-1]] * rest]
            made.places.append([prompt.own[0]] * gap + [*prompt.before, *asking])
            made.asking.append(asking)
            made.outputs += [*prompt.own, *[nobody] * rest]
            made.padding.append(gap)
        return made._filled(shapes, nobody)

    @classmethod
    def _whole(cls, group: Sequence[_Prompt], shapes: Shapes, nobody: int) -> _Rows:
        """Everything asks: padding comes last, where causal attention never looks."""
        length = shapes.length(max(map(len, group)))
        made = cls(0, [], [], [], [])
        for prompt in group:
            rest = length - len(prompt)
            places = [*prompt.before, *prompt.own, *[prompt.own[-1]] * rest]
            made.places.append(places)
            # What a known prefix would ask is not known, and nobody looks at its answer.
            made.asking.append([place if place < nobody else 0 for place in places])
            made.outputs += [*[nobody] * len(prompt.before), *prompt.own, *[nobody] * rest]
            made.padding.append(0)
        return made._filled(shapes, nobody)

    def _filled(self, shapes: Shapes, nobody: int) -> _Rows:
        """With prompts for nobody, where their number is rounded."""
        more = shapes.prompts(len(self.places)) - len(self.places)
        self.outputs += [nobody] * more * len(self.asking[0])
        for rows in (self.places, self.asking):
            rows += rows[-1:] * more
        self.padding += self.padding[-1:] * more
        return self


def _mask(rows: _Rows, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Each query sees what is before, but for padding, and its own prompt up to itself."""
    import torch

    queries, length = len(rows.asking[0]), len(rows.places[0])
    key = torch.arange(length)
    padding = torch.tensor(rows.padding)[:, None, None]
    reach = rows.before + torch.arange(queries)[:, None]
    seen = (key >= padding) & (key <= reach)
    mask = torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, -torch.inf)
    return mask[:, None].to(device, non_blocking=True)
