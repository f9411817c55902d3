"""What ranks blocks in another process: a Reranker of its own, one block after the other."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

from ..errors import EngineError, InvalidInputError, RerankError
from ..reranker import Ranker, Reranker
from .blocks import Block, RankedBlock
from .maker import Maker
from .ranking import rank_blocks


@dataclass(slots=True)
class BlockWorker:
    """Ranks; what it hands back says who scored, and why where it could not."""

    reranker: Reranker
    texts: bool
    """Whether the documents' texts stand in the results."""
    _makers: tuple[Maker, ...] = field(default=(), init=False)

    def introduce(self) -> RankedBlock:
        """A block of nothing, by which to know who scores."""
        return self.rank(Block(-1))

    def rank(self, block: Block) -> RankedBlock:
        """What comes of a block; where the engine failed, it is started anew once."""
        try:
            try:
                return self._ranked(block)
            except EngineError:
                self._begin_anew()
                return self._ranked(block)
        except RerankError as error:
            return RankedBlock(block.number, error=error)

    def _begin_anew(self) -> None:
        before, self.reranker, self._makers = self.reranker, copy.copy(self.reranker), ()
        before.close()

    def _ranked(self, block: Block) -> RankedBlock:
        if not self._makers:
            self._makers = Maker.all_of(self.reranker)
        (ranked,) = rank_blocks(self.reranker, [block], None, texts=self.texts)
        ranked.makers = self._makers
        return ranked


def check_copies(ranker: Ranker) -> tuple[Reranker, str]:
    """A Reranker that can be copied into other processes, and its model.

    Raises:
        InvalidInputError: it asks servers, or has an engine of its own, or is a cascade.
    """
    if len(ranker.stages) > 1:
        raise InvalidInputError(
            "a cascade runs in one process; leave the others out, or make a job of each stage"
        )
    (reranker,) = ranker.stages
    if reranker.base_url is not None:
        raise InvalidInputError(
            "base_url is given, and servers have processes of their own; leave one of them out"
        )
    if not isinstance(reranker.model, str):
        raise InvalidInputError(
            f"model is {type(reranker.model).__name__}, which cannot be copied into other "
            "processes; give a hub id or a folder"
        )
    return reranker, reranker.model
