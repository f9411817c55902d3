"""Reranker: what both ecosystems and the command line call.

ranker    the calls, whoever answers them
reranker  a model that answers: its settings, copies
cascade   several that answer one after the other
judging   from a request to what the model says of each document, each pair once
many      any number of requests, read as they go
"""

from .cascade import CascadeReranker
from .ranker import Ranker
from .reranker import DEFAULT_MODEL, SETTINGS, Reranker, fixed_setting

__all__ = ["DEFAULT_MODEL", "SETTINGS", "CascadeReranker", "Ranker", "Reranker", "fixed_setting"]
