"""How well Ray Data keeps many actors busy, and what the driver holds meanwhile.

The real reader, the real actors' pool and the real driver of `qwen3-rerank batch --ray`, on a
cluster that claims more cores than there are, with workers that sleep as long as a card would
compute: a block of random length each. Ideal is all of the sleep, divided by the actors.

    python -m benchmarks.batch_scheduling --actors 64 --pairs 10000000
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from qwen3_ascend_rerank.batch.blocks import Block, BlockReading, RankedBlock
from qwen3_ascend_rerank.batch.ray_actors import RayActors, ranked_by_actors
from qwen3_ascend_rerank.batch.sources import Row
from qwen3_ascend_rerank.batch.tasks import Columns

DOCUMENTS = 100


@dataclass(frozen=True)
class MadeUpSource:
    """Requests with documents of a few letters."""

    requests: int
    url: str = "made-up"
    size: int | None = None

    def rows(self) -> Iterator[Row]:
        """One after the other."""
        for number in range(self.requests):
            documents = [f"document {number} {place}" for place in range(DOCUMENTS)]
            yield Row(self.url, number, {"id": number, "query": "query", "documents": documents})


@dataclass(frozen=True)
class Sleeper:
    """Takes as long as a card, and answers something."""

    pairs_a_second: float

    def rank(self, block: Block) -> RankedBlock:
        """A result for each request."""
        ranked = RankedBlock.begun(block)
        ranked.pairs = block.asks * DOCUMENTS
        chance = random.Random(block.number)
        time.sleep(seconds(ranked.pairs / self.pairs_a_second, chance))
        ranked.results = [
            {
                "request": task.number,
                "id": task.id,
                "query": "query",
                "results": [
                    {"index": place, "score": 0.5, "log_odds": 0.0, "truncated": False}
                    for place in range(DOCUMENTS)
                ],
            }
            for task in block.tasks
        ]
        return ranked


def seconds(usual: float, chance: random.Random) -> float:
    """Texts differ in length, and blocks with them."""
    return usual * chance.uniform(0.7, 1.3)


def scheduled(options: argparse.Namespace) -> dict[str, Any]:
    """What was found."""
    import ray

    ray.init(
        num_cpus=options.actors,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=2**30,
        logging_level="error",
    )
    source: Any = MadeUpSource(options.pairs // DOCUMENTS)
    reading = BlockReading([source], Columns(), options.block)
    usual = options.block * DOCUMENTS / options.pairs_a_second
    blocks = -(-source.requests // options.block)
    slept = sum(seconds(usual, random.Random(number)) for number in range(blocks))
    ended: list[float] = []
    memory: list[int] = []
    shared: list[int] = []
    process = psutil.Process()
    ranking = ranked_by_actors(
        RayActors(options.actors),
        reading,
        Sleeper(options.pairs_a_second),
        {"num_cpus": 1},
        lambda _: None,
    )
    with tempfile.TemporaryDirectory() as folder:
        for ranked in ranking:
            ended.append(time.perf_counter())
            memory.append(own_memory(process))
            shared.append(process.memory_info().shared)
            text = "".join(json.dumps(one) + "\n" for one in ranked.results)
            (Path(folder) / f"{ranked.number}").write_text(text)
            (Path(folder) / f"{ranked.number}").unlink()
    # From when every actor had begun to when the first of them had nothing more to do.
    head, tail = options.actors * 2, options.actors
    steady = ended[-tail] - ended[head]
    done = (len(ended) - head - tail) * usual
    return {
        "blocks": len(ended),
        "pairs": options.pairs,
        "of_ideal_steady": round(done / options.actors / steady, 3),
        "of_ideal_whole": round(slept / options.actors / (ended[-1] - ended[0] + usual), 3),
        "driver_mib": over_time(memory),
        "of_the_object_store_mib": over_time(shared),
    }


def own_memory(process: psutil.Process) -> int:
    """Resident bytes without those shared with others.

    Ray's object store is shared memory; what the driver has read of it once counts as resident,
    up to the whole of the store, and is no memory of the driver.
    """
    found = process.memory_info()
    return int(found.rss - getattr(found, "shared", 0))


def over_time(found: list[int]) -> dict[str, int]:
    """In MiB."""
    places = {"first": 0, "after a tenth": len(found) // 10, "middle": len(found) // 2, "last": -1}
    named = {name: round(found[place] / 2**20) for name, place in places.items()}
    return named | {"most": round(max(found) / 2**20)}


def main() -> None:
    """Schedule, and print what was found as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--actors", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=10_000_000)
    parser.add_argument("--block", type=int, default=100, help="requests of 100 documents each")
    parser.add_argument("--pairs-a-second", type=float, default=600.0, help="of one card")
    print(json.dumps(scheduled(parser.parse_args()), indent=1))


if __name__ == "__main__":
    main()
