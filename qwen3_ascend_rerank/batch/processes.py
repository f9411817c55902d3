"""Several processes of this machine, each with a copy of the model on devices of its own."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from ..bridge.stream import stream
from ..checks import checked_count
from ..engines import choose_engine
from ..errors import EngineDeadError
from ..reranker import Ranker, Reranker
from ..runtime.detect import detect
from ..runtime.devices import devices_taken, share
from .blocks import Block, BlockReading, RankedBlock
from .maker import Maker
from .worker import BlockWorker, check_copies

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.queues import SimpleQueue

BLOCKS_EACH = 2
"""That a process has at once: one to rank, and one to go on with."""
_worker: BlockWorker | None = None
"""Of a child."""


@dataclass(frozen=True, slots=True)
class LocalProcesses:
    """Blocks go to the process that is free.

    As with everything that spawns, the program that uses them keeps its own work under
    ``if __name__ == "__main__":``.
    """

    count: int

    def __post_init__(self) -> None:
        """Check it.

        Raises:
            InvalidInputError: no number from 1.
        """
        checked_count("count", self.count)

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
            InvalidInputError: fewer devices than processes, or a Reranker of servers.
            EngineDeadError: a process ended in the middle of its work.
            RerankError: an engine failed.
        """
        spawn = multiprocessing.get_context("spawn")
        shares = spawn.SimpleQueue()
        copied, _ = check_copies(reranker)
        for environment in _environments(copied, self.count):
            shares.put(environment)
        alive, hold = spawn.Pipe(
            duplex=False
        )  # its end tells the processes to end, or that we died
        worker = BlockWorker(copied, texts=texts)
        pool = ProcessPoolExecutor(self.count, spawn, _begin, (shares, alive, worker))
        introduced = False

        def begin(block: Block) -> Future[RankedBlock]:
            nonlocal introduced
            if not block.asks:
                return _known(RankedBlock.begun(block))
            if not introduced:
                _checked(pool.submit(_introduce).result(), check)
                introduced = True
            return pool.submit(_rank, block)

        begun = stream(
            reading.blocks(), begin, lambda _: 1, BLOCKS_EACH * self.count, ordered=False
        )
        try:
            for _, future in begun:
                yield _checked(future.result(), check)
        except BrokenProcessPool as error:
            raise EngineDeadError(
                "a process of a model ended in the middle of its work: it was killed, or ran out "
                "of memory; what is written stays, and the same job goes on from it"
            ) from error
        except BaseException:
            hold.close()  # nobody waits for the blocks that are under way
            raise
        finally:
            pool.shutdown(cancel_futures=True)
            hold.close()
            alive.close()


def _checked(ranked: RankedBlock, check: Callable[[tuple[Maker, ...]], object]) -> RankedBlock:
    if ranked.error is not None:
        raise ranked.error
    if ranked.makers:
        check(ranked.makers)
    return ranked


def _known(ranked: RankedBlock) -> Future[RankedBlock]:
    future: Future[RankedBlock] = Future()
    future.set_result(ranked)
    return future


def _environments(reranker: Reranker, count: int) -> list[dict[str, str]]:
    """The variables by which each process has its own devices, or its own part of the cores."""
    engine = choose_engine(reranker.engine, check_copies(reranker)[1])
    machine = detect()
    platform = (machine.vllm_platform if engine == "vllm" else None) or machine.platform
    if str(reranker.engine_options.get("device", platform)).startswith("cpu"):
        platform = "cpu"
    if platform == "cpu" and engine == "torch":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, (cores or 1) // count))
        return [{"OMP_NUM_THREADS": threads}] * count
    each = devices_taken(reranker.engine_options)
    return share(machine, count, each, platform=platform)


def _begin(shares: SimpleQueue[dict[str, str]], alive: Connection, worker: BlockWorker) -> None:
    """In a child, before anything imports torch."""
    global _worker
    os.environ.update(shares.get())
    _worker = worker
    threading.Thread(target=_end_with, args=(alive,), daemon=True).start()


def _end_with(alive: Connection) -> None:
    wait([alive])
    os._exit(1)


def _introduce() -> RankedBlock:
    assert _worker is not None  # noqa: S101 - `_begin` came first
    return _worker.introduce()


def _rank(block: Block) -> RankedBlock:
    assert _worker is not None  # noqa: S101 - `_begin` came first
    return _worker.rank(block)
