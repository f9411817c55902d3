"""What the LangChain and LlamaIndex classes are made of; an integration needs nothing below.

settings     every setting with its meaning and default; the command line has them too
stages       a cascade in words
environment  settings from `QWEN3_RERANK_<NAME>`
component    what a component of either framework has around its Reranker
silence      how long a server that gives no sign of life is waited for
"""

from ..checks import checked_list, nearest
from ..engines.options import public_options
from ..engines.served.address import API_KEY_VARIABLE
from ..prompts.request import checked_query
from ..results.fusion import checked_scores
from .component import (
    RELEVANCE,
    RELEVANCE_SCORE,
    RELEVANCE_SPAN,
    RELEVANCE_STAGE,
    RERANK_FAILURE,
    RETRIEVAL_SCORE,
    CallOptions,
    Outcome,
    RerankComponent,
    marked_metadata,
    marks_of,
)
from .settings import RerankSettings, refuse_unknown

__all__ = [
    "API_KEY_VARIABLE",
    "RELEVANCE",
    "RELEVANCE_SCORE",
    "RELEVANCE_SPAN",
    "RELEVANCE_STAGE",
    "RERANK_FAILURE",
    "RETRIEVAL_SCORE",
    "CallOptions",
    "Outcome",
    "RerankComponent",
    "RerankSettings",
    "checked_list",
    "checked_query",
    "checked_scores",
    "marked_metadata",
    "marks_of",
    "nearest",
    "public_options",
    "refuse_unknown",
]
