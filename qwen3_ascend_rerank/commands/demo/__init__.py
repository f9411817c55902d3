"""`qwen3-rerank demo`: what reranking does to BM25's order, through three doors that must agree."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from ...errors import MissingDependencyError
from ...models.lexical import NAME as LEXICAL
from ...reranker import Reranker
from ..screen import waiting
from .trial import Corpus, Trial, load_corpus
from .view import conclude, introduce, show

INSTALL = (
    "pip install -e '.[demo]' -e integrations/langchain -e integrations/llama-index in a clone, or "
    "`make demo`, which does that"
)


def demo(
    model: Annotated[
        str,
        typer.Option(help="Hub id, folder, or lexical, which matches words and needs no network."),
    ] = LEXICAL,
    engine: Annotated[
        str, typer.Option(help="vllm, torch, or auto for the best one that is there.")
    ] = "auto",
) -> None:
    """Show what reranking does, in English and Chinese.

    For each question: the order of BM25 and the order after reranking, through the core, LangChain
    and LlamaIndex, which must agree.
    """
    corpus = load_corpus()
    introduce(corpus.passages, len(corpus.questions), model)
    with _quiet_frameworks(), Reranker(model, engine=engine) as reranker:
        with waiting(f"loading {model}"):
            _import_pipelines()
            reranker.start()
        began, trials = time.perf_counter(), []
        for trial in _try_out(corpus, reranker):
            trials.append(trial)
            show(trial, corpus.passages, len(trials))
    conclude(trials, time.perf_counter() - began)
    if not all(trial.agreed for trial in trials):
        raise typer.Exit(1)


def _try_out(corpus: Corpus, reranker: Reranker) -> Iterator[Trial]:
    from .pipelines import PIPELINES
    from .retrieval import Bm25

    bm25 = Bm25(corpus.passages)
    for question in corpus.questions:
        doors = {name: rank(question.text, bm25, reranker) for name, rank in PIPELINES.items()}
        yield Trial(question, bm25.search(question.text), doors)


def _import_pipelines() -> None:
    try:
        from .pipelines import PIPELINES  # noqa: F401 - only to see that it is there
    except ModuleNotFoundError as error:
        raise MissingDependencyError(f"the demo needs {error.name}; {INSTALL}") from error


@contextmanager
def _quiet_frameworks() -> Iterator[None]:
    """What the frameworks warn their developers of is nothing to look at here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
