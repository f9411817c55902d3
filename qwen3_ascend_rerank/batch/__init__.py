"""Files in, files out: jobs of any length, written block by block, that go on where they stopped.

sources   files, folders, globs and URLs, row by row
tasks     from rows to requests, and why a row is none
parts     the folder of a job: its parts, what was refused, and what it was made with
sizing   how many cards a job takes, and how long
job       one job: what is done already is not done again
"""

from .job import BatchReport, run_batch
from .parts import FORMATS
from .tasks import Columns

__all__ = ["FORMATS", "BatchReport", "Columns", "run_batch"]
