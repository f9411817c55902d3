"""Actors of Ray, each with a copy of the model: Ray Data places, feeds and replaces them."""

from __future__ import annotations

import logging
import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..checks import checked_count
from ..errors import EngineDeadError, EngineError, InvalidInputError, MissingDependencyError
from ..reranker import Ranker
from ..runtime.devices import Kind, devices_taken, ray_options
from .blocks import Block, BlockReading, RankedBlock
from .maker import Maker
from .worker import BlockWorker, check_copies

logger = logging.getLogger(__name__)

READER_CPUS = 0.0
"""Of the task that reads, beside actors that may take every core. Not what an actor has, or Ray
would read in the actor."""
RETRIES = 3
"""How often a block is tried again whose actor died; then it is what kills them."""


@dataclass(frozen=True, slots=True)
class RayActors:
    """Blocks go to the actor that is free."""

    count: int
    """Most of them."""
    least: int | None = None
    """How many there are in any case; None: as many as `count`."""
    address: str | None = None
    """Of the cluster; None: that which is found here, else one of this machine alone."""
    kind: Kind = "auto"
    """Of device that each is placed by; ``auto``: what is plugged in here."""
    devices: int | None = None
    """How many of it each takes; None: what `engine_options` say of parallelism, else 1."""
    cpus: float = 1.0
    """CPU cores that each is given beside them."""

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InvalidInputError: one cannot be.
        """
        checked_count("count", self.count)
        if checked_count("least", self.least or self.count) > self.count:
            raise InvalidInputError(
                f"least is {self.least} and count is {self.count}; raise count, or lower least"
            )

    def rank(
        self,
        reranker: Ranker,
        reading: BlockReading,
        check: Callable[[tuple[Maker, ...]], object],
        *,
        texts: bool,
    ) -> Iterator[RankedBlock]:
        """See `Workers`; as they are done.

        Raises:
            MissingDependencyError: Ray is not installed.
            InvalidInputError: a Reranker of servers, or of an engine that cannot be copied.
            EngineDeadError: actors died again and again under the same block.
            RerankError: an engine failed.
        """
        copied, _ = check_copies(reranker)
        placed = ray_options(
            self.kind, self.devices or devices_taken(copied.engine_options), self.cpus
        )
        worker = BlockWorker(copied, texts=texts)
        yield from ranked_by_actors(self, reading, worker, placed, check)


def ranked_by_actors(
    actors: RayActors,
    reading: BlockReading,
    worker: Any,
    placed: Mapping[str, Any],
    check: Callable[[tuple[Maker, ...]], object],
) -> Iterator[RankedBlock]:
    """What comes of the blocks of `reading`, from actors with a copy of `worker`.

    Args:
        actors: how many, and where.
        reading: read in one task of the cluster, block after block as there is room.
        worker: has `rank`, as `BlockWorker`.
        placed: what Ray places an actor by.
        check: told who scores, for each block; raises where that must not be.
    """
    with _ray(actors.address) as ray:
        _tell_of_what_is_missing(ray, placed)
        try:
            for row in _pipeline(ray, actors, reading, worker, placed).iter_batches(
                batch_size=None, prefetch_batches=0
            ):
                for packed in row["block"]:
                    ranked: RankedBlock = pickle.loads(packed)  # noqa: S301 - of our own actors
                    if ranked.error is not None:
                        raise ranked.error
                    if ranked.makers:
                        check(ranked.makers)
                    if ranked.number >= 0:
                        yield ranked
        except ray.exceptions.RayActorError as error:
            raise EngineDeadError(
                f"actors died under the same block {RETRIES + 1} times (out of memory? Ray's logs "
                "say); what is written stays, and the same job goes on from it"
            ) from error
        except ray.exceptions.RayError as error:
            raise EngineError(f"Ray: {error}") from error


def _pipeline(
    ray: Any, actors: RayActors, reading: BlockReading, worker: Any, placed: Mapping[str, Any]
) -> Any:
    with warnings.catch_warnings():
        # Ray 2.60 discourages what it has no other name for yet: the number of retries.
        warnings.simplefilter("ignore", DeprecationWarning)
        return (
            ray.data.from_items([{"number": -1}], override_num_blocks=1)
            .map_batches(_Reader(reading), batch_size=None, num_cpus=READER_CPUS)
            .map_batches(
                _Actor,
                fn_constructor_kwargs={"worker": worker},
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(
                    min_size=actors.least or actors.count, max_size=actors.count
                ),
                max_task_retries=RETRIES,
                **placed,
            )
        )


class _Reader:
    """Reads the blocks, in a task."""

    def __init__(self, reading: BlockReading) -> None:
        self._reading = reading

    def __call__(self, _: Any) -> Iterator[dict[str, Any]]:
        for block in self._reading.blocks():
            yield {"block": [pickle.dumps(block)]}


class _Actor:
    """Ranks what it is given."""

    def __init__(self, worker: Any) -> None:
        self._worker = worker

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        return {"block": [pickle.dumps(self._ranked(packed)) for packed in batch["block"]]}

    def _ranked(self, packed: bytes) -> RankedBlock:
        block: Block = pickle.loads(packed)  # noqa: S301 - of our own reader
        ranked: RankedBlock = self._worker.rank(block) if block.asks else RankedBlock.begun(block)
        return ranked


def _tell_of_what_is_missing(ray: Any, placed: Mapping[str, Any]) -> None:
    """Ray waits for nodes that have what it lacks; who has none in mind should know."""
    there = ray.cluster_resources()
    wanted = {"CPU": placed["num_cpus"], "GPU": placed.get("num_gpus", 0)}
    wanted |= placed.get("resources", {})
    for name, count in wanted.items():
        if there.get(name, 0) < count:
            logger.warning(
                "an actor takes %g %s and the cluster has %g now; waiting until it has more",
                count,
                name,
                there.get(name, 0),
            )


@contextmanager
def _ray(address: str | None) -> Iterator[Any]:
    """Ray, connected, which hands on each block by itself and shows nothing of its own."""
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            'Ray is not installed; pip install "qwen3-ascend-rerank[ray]"'
        ) from error
    own = not ray.is_initialized()
    if own:
        try:
            ray.init(address, log_to_driver=False, logging_level="warning")
        except ConnectionError as error:
            raise InvalidInputError(f"no Ray cluster at {address}: {error}") from error
    talk = logging.getLogger("ray.data")
    level = talk.level
    talk.setLevel(logging.WARNING)
    context = ray.data.DataContext.get_current()
    before = {name: getattr(context, name) for name in _CONTEXT if hasattr(context, name)}
    for name in before:
        setattr(context, name, _CONTEXT[name])
    try:
        yield ray
    finally:
        talk.setLevel(level)
        for name, value in before.items():
            setattr(context, name, value)
        if own:
            ray.shutdown()


_CONTEXT = {"target_max_block_size": 1, "enable_progress_bars": False}
"""Of Ray Data: each of our blocks is one of its own, however small."""
