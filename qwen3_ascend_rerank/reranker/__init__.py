"""Reranker: what both ecosystems and the command line call.

reranker  its face: settings, calls, copies
judging   from a request to what the model says of each document, each pair once
many      any number of requests, read as they go
"""

from .reranker import DEFAULT_MODEL, SETTINGS, Reranker, fixed_setting

__all__ = ["DEFAULT_MODEL", "SETTINGS", "Reranker", "fixed_setting"]
