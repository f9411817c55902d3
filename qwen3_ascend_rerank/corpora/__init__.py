"""Retrieval collections from and to files: queries, a corpus, what is relevant, what was found.

records      a document, a collection, a run
lines        files line by line; an error says which
corpus       documents that stay in their file until they are asked for
reading      queries, qrels and runs: JSON lines, TREC, tables with tabs; a folder as BEIR has it
ir_datasets  collections of that package, by their ids
writing      the same to files, whole or not at all
"""

from .corpus import read_corpus
from .reading import iter_run, read_collection, read_qrels, read_queries, read_run
from .records import Collection, CorpusDocument, Qrels, Run, falling
from .writing import run_lines, write_corpus, write_qrels, write_queries, write_run

__all__ = [
    "Collection",
    "CorpusDocument",
    "Qrels",
    "Run",
    "falling",
    "iter_run",
    "read_collection",
    "read_corpus",
    "read_qrels",
    "read_queries",
    "read_run",
    "run_lines",
    "write_corpus",
    "write_qrels",
    "write_queries",
    "write_run",
]
