"""Files in, files out: jobs of any length, written block by block, that go on where they stopped.

sources     files, folders, globs and URLs, row by row
runs        a TREC run, with its queries and its corpus, as rows
tasks       from rows to requests, and why a row is none
blocks      requests that are ranked in one place, and what came of them
ranking     blocks ranked by one Reranker; maker: who that is
parts       the folder of a job: its parts, what was refused, and what it was made with
job         one job: what is done already is not done again
processes, ray_actors   where else blocks are ranked: what each has is in worker
ray_data    a stage of a user's own pipeline
sizing      how many cards a job takes, and how long
"""

from .job import BatchReport, run_batch
from .parts import FORMATS
from .processes import LocalProcesses
from .ray_actors import RayActors
from .runs import RunInput
from .tasks import Columns

__all__ = [
    "FORMATS",
    "BatchReport",
    "Columns",
    "LocalProcesses",
    "RayActors",
    "RunInput",
    "run_batch",
]
