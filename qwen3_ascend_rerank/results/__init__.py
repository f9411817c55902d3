"""What comes back: scores, the documents in their new order, and how both are shown.

records   one document with its score; what a call took
result    the documents of a call, best first
outcome   what came of one of many requests
ranking   from scores to an order, by log-odds
calibration  from log-odds to P(relevant), as it was fitted to a user's labels
cache     scores that are remembered
fusion    the model's scores and the retriever's made one
printing  documents as a table, in a terminal and in a notebook
"""

from .calibration import Calibration
from .fusion import Fusion
from .outcome import RerankOutcome
from .records import RankedDocument, StageReport, Usage, probability
from .result import RerankResult

__all__ = [
    "Calibration",
    "Fusion",
    "RankedDocument",
    "RerankOutcome",
    "RerankResult",
    "StageReport",
    "Usage",
    "probability",
]
