"""What an engine must show before its first real score, and the report of it.

levels      how much it must show
selfcheck   everything that is asked, in order
invariants  what holds for any model
answers     what is known of published models and of the lexical one
likeness    whether two answers are one model's
examiner    who asks, and how near two answers must lie
report      what came back, and the error that says so
"""

from .levels import STRICTNESS, Level, checked_level
from .report import Check, Report
from .selfcheck import check_engine

__all__ = ["STRICTNESS", "Check", "Level", "Report", "check_engine", "checked_level"]
