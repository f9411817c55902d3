"""Calibration: P(relevant) and a threshold, fitted to a user's labels.

labels      pairs that a person has judged, and their log-odds
fit         the function from log-odds to P(relevant)
thresholds  the score from which on a precision or a recall is reached, and how sure that is
report      how well it fits pairs that it has not seen
"""

from .fit import fit
from .labels import JudgedPair, Labelled, judged_pairs, read_labels, scored
from .report import CalibrationReport, examine
from .thresholds import Proposal, propose

__all__ = [
    "CalibrationReport",
    "JudgedPair",
    "Labelled",
    "Proposal",
    "examine",
    "fit",
    "judged_pairs",
    "propose",
    "read_labels",
    "scored",
]
