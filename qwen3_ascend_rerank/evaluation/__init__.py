"""Whether reranking helps on your data: measures, models and costs side by side.

first_stage   what there is to rerank: BM25 over the corpus
measures      nDCG, MRR, MAP and the others, as ir-measures has them
scoring       what a model says of the candidates, and what that costs
rankings      from scores to the order of a run: by model, by k, by fusion
statistics    how sure a difference is
evaluate      all of it for a collection
report        what came of it: figures, and the queries behind them
charts        pictures of it
page          a report to be opened in a browser
mteb          a Reranker as a cross-encoder of mteb
published     the prompt of the published figures, for comparison
"""

from .evaluate import evaluate
from .first_stage import bm25
from .measures import MEASURES
from .page import write_page
from .report import Evaluation

__all__ = ["MEASURES", "Evaluation", "bm25", "evaluate", "write_page"]
