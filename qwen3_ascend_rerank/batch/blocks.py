"""Blocks: what is ranked in one place, and written at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from ..errors import RerankError
from .maker import Maker
from .runs import RunSource
from .sources import Source
from .tasks import Columns, Reject, Task, tasks

CHARACTERS = 2**25
"""Of the texts of a block, after which it is full whatever it was to hold: memory is bounded."""


@dataclass(slots=True)
class Block:
    """Requests that follow each other."""

    number: int
    """Among those of the job, from 0."""
    tasks: list[Task] = field(default_factory=list)
    """Empty where the block was written by an earlier run."""
    written: int | None = None
    """How many requests an earlier run wrote or refused; None where none did."""

    @property
    def asks(self) -> int:
        """How many requests there are to rank."""
        return sum(task.request is not None for task in self.tasks)


@dataclass(slots=True)
class RankedBlock:
    """What came of a block."""

    number: int
    rejects: list[Reject] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)
    """As they are written, in order."""
    pairs: int = 0
    """That were scored."""
    tokens: int = 0
    """Of their prompts."""
    truncated: int = 0
    """Documents of which the model saw only the beginning."""
    written: int | None = None
    """As in the block."""
    seconds: float = 0.0
    """That it took from when the engine was ready and the block was read."""
    makers: tuple[Maker, ...] = ()
    """Who scored it, where that was another process."""
    error: RerankError | None = None
    """Why it could not be ranked, where that was another process."""

    @classmethod
    def begun(cls, block: Block) -> RankedBlock:
        """With what is known before anything is ranked."""
        rejects = [reject for task in block.tasks for reject in task.rejects]
        return cls(block.number, rejects, written=block.written)


@dataclass(frozen=True, slots=True)
class BlockReading:
    """How the blocks of a job are read; the same each time, whoever reads."""

    sources: Sequence[Source | RunSource]
    columns: Columns
    size: int
    """Requests a block."""
    written: frozenset[int] = frozenset()
    """Numbers of the blocks that earlier runs wrote; their texts are not kept."""
    for_run: bool = False
    """Whether the results become a run."""

    def blocks(self) -> Iterator[Block]:
        """All blocks, in order.

        Raises:
            InvalidInputError: a file cannot be read at all.
        """
        rows = chain.from_iterable(source.rows() for source in self.sources)
        block = Block(0)
        count = characters = asked = 0
        for task in tasks(rows, self.columns, for_run=self.for_run):
            if count == self.size or characters >= CHARACTERS:
                yield self._closed(block, asked)
                block = Block(block.number + 1)
                count = characters = asked = 0
            count += 1
            if task.request is not None:
                asked += 1
                characters += len(task.request.query) + sum(map(len, task.request.documents))
            if block.number not in self.written:
                block.tasks.append(task)
        if count:
            yield self._closed(block, asked)

    def _closed(self, block: Block, asked: int) -> Block:
        if block.number in self.written:
            block.written = asked
        return block
