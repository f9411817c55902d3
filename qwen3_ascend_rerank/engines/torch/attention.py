"""Attention over the prompts of one pass, each of which sees its own tokens only.

The keys and values of a prompt are gathered from its prefix, which all documents of a query share,
and from its own tokens. Here prompts of like length are put into rows, for kernels that take a
batch; `ragged.py` puts one behind the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]

LIKENESS = 0.8
"""Shortest prompt that attends beside a longer one, as a part of the length that both get."""
GATHERED = 4
"""Tokens that attention gathers at once, as a multiple of those in the pass."""
BLOCK = 128
"""Queries of a prompt that attend together where there is a mask."""
DOCUMENTS = 16
"""Where `Shapes.rows` is larger, documents of a pass are rounded up to multiples of this."""


@dataclass(frozen=True, slots=True)
class Shapes:
    """What a device asks of shapes."""

    step: int = 1
    """Lengths are rounded up to multiples of this; if it is not 1, also to one of few in each
    octave, and numbers of prompts to powers of two, so that shapes repeat on a device that compiles
    for each."""
    rows: int = 1
    """The tokens of a whole pass are rounded up to a multiple of this."""
    attention: Literal["causal", "masked", "ragged"] = "causal"
    """How prompts attend. *causal*: by kernels without a mask, for which everything asks, from the
    first token on. *masked*: by kernels that take a mask, where what is before a prompt's own
    tokens asks nothing. *ragged*: the same without padding, and so without `step` and `rows`."""

    def tokens(self, count: int) -> int:
        """Tokens of a pass, rounded up."""
        return -(-self.length(count) // self.rows) * self.rows

    def length(self, count: int) -> int:
        """Tokens of a prompt, or of a part of one, rounded up."""
        if self.step == 1 or not count:
            return count
        step = max(self.step, 1 << max(0, count.bit_length() - 3))
        return -(-count // step) * step

    def prompts(self, count: int) -> int:
        """Prompts that attend together, rounded up."""
        return count if self.step == 1 else 1 << (count - 1).bit_length()

    def documents(self, count: int) -> int:
        """Documents of a pass, rounded up."""
        step = min(self.rows, DOCUMENTS)
        return -(-self.prompts(count) // step) * step


@dataclass(frozen=True, slots=True)
class Prompt:
    """Where the tokens of a prompt are; places count the tokens of the pass, then known ones."""

    before: Sequence[range]
    """Those that are known, or computed, for others too."""
    own: range

    def __len__(self) -> int:
        return self.shared + len(self.own)

    @property
    def shared(self) -> int:
        """How many tokens come before its own."""
        return sum(map(len, self.before))


def numbers(parts: Iterable[Sequence[int] | Numbers]) -> Numbers:
    """All numbers of `parts`, shape (numbers,); much faster for ranges than a list of them."""
    import numpy as np

    arrays = [
        np.arange(part.start, part.stop, dtype=np.int64)
        if isinstance(part, range)
        else np.asarray(part, np.int64)
        for part in parts
    ]
    return np.concatenate(arrays)


def as_tensor(parts: Iterable[Sequence[int]]) -> torch.Tensor:
    """The same as a tensor."""
    import torch

    return torch.from_numpy(numbers(parts))


def rows_at(rows: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """``rows[places]``, which takes a CPU three times as long."""
    return rows.index_select(0, places.flatten()).view(*places.shape, *rows.shape[1:])


@dataclass(frozen=True, slots=True)
class Group:
    """Prompts of like length that attend together, each in a row.

    Places count the tokens of the pass, and after them those of known prefixes.
    """

    places: torch.Tensor
    """Where the keys and values of each prompt are, shape (prompts, length)."""
    asking: torch.Tensor
    """Where its queries are, shape (prompts, queries)."""
    mask: torch.Tensor | None
    """What is added to the attention of queries to keys, shape (prompts, 1, queries, length);
    None: queries and keys are the same tokens, and attention is causal."""


@dataclass(frozen=True, slots=True)
class Groups:
    """All prompts of a pass, in groups."""

    groups: list[Group]
    queries: int
    """Of all groups, one group's behind the other's; rounded up."""
    answers: torch.Tensor
    """Of each token of the pass the query that answers for it, shape (tokens,). Where there are
    more tokens than ask, for a round number, any."""

    @classmethod
    def of(
        cls,
        prompts: Sequence[Prompt],
        computed: int,
        shapes: Shapes,
        device: torch.device,
        dtype: torch.dtype,
    ) -> Groups:
        """`prompts` of a pass of `computed` tokens."""
        return cls._of(prompts, computed, computed, shapes, device, dtype)

    @classmethod
    def of_ends(
        cls,
        prompts: Sequence[Prompt],
        computed: int,
        shapes: Shapes,
        device: torch.device,
        dtype: torch.dtype,
    ) -> Groups:
        """The same where the last token of each of `prompts` asks, and nobody else.

        What asks is no longer a place among the tokens of the pass, but the number of the prompt.
        """
        ends = [
            Prompt([*prompt.before, prompt.own], range(place, place + 1))
            for place, prompt in enumerate(prompts)
        ]
        asking = shapes.documents(len(ends))
        return cls._of(ends, asking, computed, shapes, device, dtype, apart=True)

    @classmethod
    def _of(
        cls,
        prompts: Sequence[Prompt],
        nobody: int,
        computed: int,
        shapes: Shapes,
        device: torch.device,
        dtype: torch.dtype,
        *,
        apart: bool = False,
    ) -> Groups:
        import numpy as np
        import torch

        def tensor(numbers: Numbers) -> torch.Tensor:
            return torch.from_numpy(numbers).to(device, non_blocking=True)

        groups = []
        answers, queries = np.zeros(nobody + 1, np.int64), 0
        for group in _alike(prompts, GATHERED * computed):
            rows = _Rows.of(group, shapes, nobody, apart=apart)
            outputs = np.concatenate(rows.outputs)
            answers[outputs] = np.arange(queries, queries + len(outputs))
            queries += len(outputs)
            mask = _mask(rows, device, dtype) if shapes.attention == "masked" else None
            groups.append(Group(tensor(np.stack(rows.places)), tensor(np.stack(rows.asking)), mask))
        return cls(groups, shapes.length(queries), tensor(answers[:-1]))

    def __call__(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> torch.Tensor:
        """Each token attends to those before it in its prompt; (tokens, heads, head_dim)."""
        attended = queries.new_empty(self.queries, *queries.shape[1:])
        start = 0
        for group in self.groups:
            stop = start + group.asking.numel()
            _attend(
                rows_at(queries, group.asking),
                rows_at(keys, group.places),
                rows_at(values, group.places),
                group.mask,
                attended[start:stop].view(*group.asking.shape, *queries.shape[1:]),
            )
            start = stop
        return rows_at(attended, self.answers)


def _alike(prompts: Sequence[Prompt], most: int) -> Iterator[list[Prompt]]:
    """Prompts, longest first, in groups that pad little and gather at most `most` tokens."""
    group: list[Prompt] = []
    before = own = 0
    for prompt in sorted(prompts, key=len, reverse=True):
        before, own = max(before, prompt.shared), max(own, len(prompt.own))
        length = before + own
        if group and (len(prompt) < LIKENESS * length or (len(group) + 1) * length > most):
            yield group
            group, before, own = [], prompt.shared, len(prompt.own)
        group.append(prompt)
    if group:
        yield group


@dataclass(slots=True)
class _Rows:
    """A `Group` in numbers: in each row what is before, padded in front, then a prompt's own."""

    before: int
    """Length of what is before, padding included."""
    places: list[Numbers]
    asking: list[Numbers]
    outputs: list[Numbers]
    padding: list[int]
    """How much of `before` is padding, prompt by prompt."""

    @classmethod
    def of(
        cls, group: Sequence[Prompt], shapes: Shapes, nobody: int, *, apart: bool = False
    ) -> _Rows:
        """`nobody` is the output of who asks for nothing; `apart`: who asks is no key."""
        if shapes.attention != "masked":
            return cls._whole(group, shapes, nobody)
        before = shapes.length(max(prompt.shared for prompt in group))
        own = 1 if apart else shapes.length(max(len(prompt.own) for prompt in group))
        made = cls(before, [], [], [], [])
        for prompt in group:
            gap, rest = before - prompt.shared, own - len(prompt.own)
            asking = numbers([prompt.own, [prompt.own[-1]] * rest])
            keys = [] if apart else [asking]
            made.places.append(numbers([[prompt.own[0]] * gap, *prompt.before, *keys]))
            made.asking.append(asking)
            made.outputs.append(numbers([prompt.own, [nobody] * rest]))
            made.padding.append(gap)
        return made._filled(shapes, nobody)

    @classmethod
    def _whole(cls, group: Sequence[Prompt], shapes: Shapes, nobody: int) -> _Rows:
        """Everything asks: padding comes last, where causal attention never looks."""
        length = shapes.length(max(map(len, group)))
        made = cls(0, [], [], [], [])
        for prompt in group:
            rest = length - len(prompt)
            places = numbers([*prompt.before, prompt.own, [prompt.own[-1]] * rest])
            made.places.append(places)
            # What a known prefix would ask is not known, and nobody looks at its answer.
            made.asking.append(places * (places < nobody))
            made.outputs.append(numbers([[nobody] * prompt.shared, prompt.own, [nobody] * rest]))
            made.padding.append(0)
        return made._filled(shapes, nobody)

    def _filled(self, shapes: Shapes, nobody: int) -> _Rows:
        """With prompts for nobody, where their number is rounded."""
        more = shapes.prompts(len(self.places)) - len(self.places)
        self.outputs += [numbers([[nobody] * len(self.asking[0])])] * more
        for rows in (self.places, self.asking):
            rows += rows[-1:] * more
        self.padding += self.padding[-1:] * more
        return self


def _mask(rows: _Rows, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Each query sees what is before, but for padding, and its own prompt up to itself."""
    import torch

    queries, length = len(rows.asking[0]), len(rows.places[0])
    gaps = sorted(set(rows.padding))
    masks = torch.full((len(gaps), queries, length), -torch.inf, dtype=dtype).triu_(rows.before + 1)
    for mask, gap in zip(masks, gaps, strict=True):
        mask[:, :gap] = -torch.inf
    # Most groups have one for all; kernels of other devices want it as often as there are prompts.
    made = masks[[gaps.index(gap) for gap in rows.padding]] if len(gaps) > 1 else masks
    mask = made.to(device, non_blocking=True).expand(len(rows.padding), -1, -1)[:, None]
    return mask if device.type == "cpu" else mask.contiguous()


def _attend(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor | None,
    attended: torch.Tensor,
) -> None:
    """Attention in each prompt, into `attended`; shapes (prompts, tokens, heads, head_dim)."""
    from torch.nn.functional import scaled_dot_product_attention

    if mask is not None:
        _attend_masked(queries, keys, values, mask, attended)
        return
    queries, keys, values = (one.transpose(1, 2) for one in (queries, keys, values))
    if (times := queries.shape[1] // keys.shape[1]) > 1:
        keys, values = (one.repeat_interleave(times, dim=1) for one in (keys, values))
    found = scaled_dot_product_attention(queries, keys, values, is_causal=True)
    attended.copy_(found.transpose(1, 2))


def _attend_masked(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor,
    attended: torch.Tensor,
) -> None:
    """`_attend` with a mask, block by block of queries, none of which meets keys behind it.

    Heads that share keys are asked one after the other, so that the keys need not be copied.
    """
    from torch.nn.functional import scaled_dot_product_attention

    prompts, asking, heads, width = queries.shape
    keys, values = keys.transpose(1, 2), values.transpose(1, 2)
    shared = keys.shape[1]
    parted = (prompts, asking, shared, heads // shared, width)
    queries, attended = queries.view(parted), attended.view(parted)
    if asking == 1:  # then these heads can be the queries of one
        attended[:, 0] = scaled_dot_product_attention(queries[:, 0], keys, values, attn_mask=mask)
        return
    before = keys.shape[2] - asking
    for start in range(0, asking, BLOCK):
        stop = min(start + BLOCK, asking)
        for head in range(heads // shared):
            attended[:, start:stop, :, head] = scaled_dot_product_attention(
                queries[:, start:stop, :, head].transpose(1, 2),
                keys[:, :, : before + stop],
                values[:, :, : before + stop],
                attn_mask=mask[:, :, start:stop, : before + stop],
            ).transpose(1, 2)
