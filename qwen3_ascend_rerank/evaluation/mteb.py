"""A Reranker as a cross-encoder of mteb: for its leaderboards' tasks, in two stages.

The first stage's predictions are those that mteb writes with ``prediction_folder``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain, groupby
from pathlib import Path
from typing import Any

from ..checks import checked_count
from ..errors import InvalidInputError
from ..prompts.request import RerankRequest
from ..reranker import DEFAULT_MODEL, Reranker

TOP_K = 100
"""Candidates of a query, as the published figures have it; mteb's own default is 10."""
MODELS_OF_THE_AUTHORS = "Qwen/"


class MtebReranker:
    """What mteb calls a ``CrossEncoderProtocol``, around a `Reranker`.

    A pair's instruction is the one that its query came with (FollowIR), else that of the task in
    `instructions`, else the Reranker's own: never that of the task before. The query is the query
    alone, without the instruction that mteb appends to it as ``text``. Scores are log-odds, so that
    pairs whose probabilities round to 1 still have an order.
    """

    def __init__(
        self,
        model_name: str | Reranker = DEFAULT_MODEL,
        revision: str | None = None,
        device: str | None = None,
        *,
        instructions: dict[str, str] | None = None,
        **settings: Any,
    ) -> None:
        """Nothing is loaded yet.

        Args:
            model_name: hub id, folder, ``lexical``, or a Reranker, which its maker closes.
            revision: must be None; a model of a certain revision is a folder.
            device: where to compute, e.g. ``npu:0``.
            instructions: by the names of tasks; None: those of the published evaluation.
            settings: others of `Reranker`.

        Raises:
            InvalidInputError: a value that cannot be used.
        """
        if revision is not None:
            raise InvalidInputError(
                f"revision is {revision!r}; download it, and pass its folder as the model"
            )
        if isinstance(model_name, Reranker):
            self.reranker = model_name
        else:
            if device is not None:
                options = dict(settings.pop("engine_options", None) or {})
                settings["engine_options"] = {"device": device, **options}
            self.reranker = Reranker(model_name, **settings)
        self._instructions = published_instructions() if instructions is None else instructions

    @property
    def mteb_model_meta(self) -> Any:
        """What mteb says of the model: its own entry where it has one."""
        from mteb import get_model_meta
        from mteb.models import ModelMeta

        name = str(self.reranker.model or "served")
        if name.startswith(MODELS_OF_THE_AUTHORS):
            return get_model_meta(name)
        known = name if name.count("/") == 1 and not name.startswith("/") else Path(name).name
        full = known if "/" in known else f"qwen3-ascend-rerank/{known}"
        return ModelMeta.create_empty({"name": full, "is_cross_encoder": True})

    def instruction(self, task: str) -> str:
        """Of the pairs of a task that have none of their own."""
        return self._instructions.get(task, self.reranker.instruction)

    def predict(
        self,
        inputs1: Iterable[dict[str, Any]],
        inputs2: Iterable[dict[str, Any]],
        *,
        task_metadata: Any,
        hf_split: str = "",  # noqa: ARG002 - the three are mteb's
        hf_subset: str = "",  # noqa: ARG002
        prompt_type: Any = None,  # noqa: ARG002
        **_: Any,
    ) -> Any:
        """Log-odds of each pair, as a numpy array, shape (pairs,).

        Args:
            inputs1: batches of queries.
            inputs2: batches of documents, as many.
            task_metadata: of the task; its name chooses the instruction.
            hf_split: not used.
            hf_subset: not used.
            prompt_type: not used.

        Raises:
            RerankError: a pair cannot be scored.
        """
        import numpy as np

        own = self.instruction(task_metadata.name)
        pairs = zip(_queries(inputs1, own), _documents(inputs2), strict=True)
        scores: list[float] = []
        for outcome in self.reranker.rerank_many(_requests(pairs), top_n=None, threshold=None):
            result = outcome.unwrap()
            found = [0.0] * len(result)
            for one in result:
                found[one.index] = one.log_odds
            scores += found
        return np.asarray(scores)


def two_stage(tasks: Iterable[Any], predictions: str | Path, top_k: int = TOP_K) -> list[Any]:
    """Tasks of mteb that rerank what a first stage found.

    Args:
        tasks: retrieval tasks, as ``mteb.get_tasks`` gives them.
        predictions: the ``prediction_folder`` of the first stage's run.
        top_k: candidates of each query.

    Raises:
        InvalidInputError: the folder has no predictions for a task.
    """
    checked_count("top_k", top_k)

    def reranking(task: Any) -> Any:
        try:
            return task.convert_to_reranking(predictions, top_k=top_k)
        except FileNotFoundError as error:
            raise InvalidInputError(
                f"{predictions} has no predictions for {task.metadata.name}; run the first stage "
                "on it with prediction_folder="
            ) from error

    return list(map(reranking, tasks))


@cache
def published_instructions() -> dict[str, str]:
    """By the names of tasks, those of the published evaluation."""
    file = Path(__file__).with_name("instructions.json")
    table: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return {task: text for text, tasks in table["instructions"].items() for task in tasks}


def _queries(batches: Iterable[dict[str, Any]], own: str) -> Iterator[tuple[str, str]]:
    """Query and instruction of each pair."""
    for batch in batches:
        texts = batch.get("query", batch["text"])
        for text, given in zip(texts, batch.get("instruction", [None] * len(texts)), strict=True):
            yield text, given or own


def _documents(batches: Iterable[dict[str, Any]]) -> Iterator[str]:
    return chain.from_iterable(batch["text"] for batch in batches)


def _requests(pairs: Iterable[tuple[tuple[str, str], str]]) -> Iterator[RerankRequest]:
    """Pairs that follow each other with the same query are one request, which shares its prefix."""
    for (query, instruction), group in groupby(pairs, key=lambda pair: pair[0]):
        yield RerankRequest(query, [text for _, text in group], instruction=instruction)
