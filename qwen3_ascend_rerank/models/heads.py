"""What a score is read with: which rows of which weight, and that there is only one candidate."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CorruptModelError, UnsupportedModelError
from ..prompts import QwenTokenizer
from .configuration import Configuration
from .folder import read_json
from .tensors import Tensor, read_rows
from .weights import EMBEDDING, LM_HEAD, SCORE

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Labels:
    """Which outputs of a sequence classification model make the log-odds."""

    positive: int
    """The one that says that a document is relevant."""
    negative: int | None
    """The one that says that it is not; None where there is one output, the log-odds itself."""

    @property
    def count(self) -> int:
        """How many outputs there are."""
        return 1 if self.negative is None else 2


YES = {"label 1", "1", "yes", "true", "relevant", "positive", "match"}
NO = {"label 0", "0", "no", "false", "irrelevant", "not relevant", "non relevant", "nonrelevant",
      "negative", "no match"}  # fmt: skip
"""Names of labels, in small letters and with spaces only."""


def read_labels(
    name: str, config: Mapping[str, Any], configuration: Configuration, score: Tensor | None
) -> Labels:
    """What the head of a converted checkpoint gives, by its shape and the names in ``config.json``.

    Two labels are "not relevant" and "relevant" in this order unless their names say otherwise:
    the log-odds of softmax over both is their difference.

    Raises:
        CorruptModelError: the head is missing, or of another shape than ``config.json`` says.
        UnsupportedModelError: its outputs cannot be told to be a reranker's.
    """
    if score is None:
        raise CorruptModelError(
            f"{name} lacks {SCORE}, the head of a sequence classification model; fetch it again, "
            "or use the original checkpoint, whose architecture is Qwen3ForCausalLM"
        )
    rows, names = score.shape[0] if score.shape else 0, _names(name, config)
    stated = len(names) or config.get("num_labels") or rows
    if score.shape != (rows, configuration.hidden_size) or rows != stated:
        raise CorruptModelError(
            f"{name} has {SCORE} in the shape {score.shape} (in {score.file.name}), where its "
            f"config.json asks for {stated} labels of {configuration.hidden_size} numbers; the two "
            "belong to different models"
        )
    problem = config.get("problem_type")
    if rows == 1:
        return _one_label(name, names, problem)
    if rows == 2 and problem in (None, "single_label_classification"):
        return _two_labels(name, names)
    raise UnsupportedModelError(
        f"{name} has {rows} labels" + (f" and problem_type {problem!r}" if problem else "") + "; a "
        "reranker has one, or two of which one excludes the other"
    )


def _names(name: str, config: Mapping[str, Any]) -> list[str]:
    """Names of the labels in their order; empty where ``config.json`` has none."""
    labels = config.get("id2label") or {}
    try:
        by_place = {int(place): str(label) for place, label in labels.items()}
        return [by_place[place] for place in range(len(by_place))]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise CorruptModelError(
            f"the config.json of {name} has id2label {labels!r}; it should name labels 0, 1, …"
        ) from None


def _plain(label: str) -> str:
    return re.sub(r"[\W_]+", " ", label).strip().lower()


def _one_label(name: str, names: list[str], problem: object) -> Labels:
    if names and _plain(names[0]) in NO - {"label 0", "0"}:
        raise UnsupportedModelError(
            f"{name} has a single label {names[0]!r}, which would put the worst document first; "
            "rename it if a high output means a relevant document"
        )
    if problem == "regression":
        logger.warning(
            "%s was trained by regression: the order of documents is right, but what is shown as "
            "a probability is the sigmoid of its output, so choose a threshold by trying",
            name,
        )
    return Labels(0, None)


def _two_labels(name: str, names: list[str]) -> Labels:
    plain = [_plain(one) for one in names] or ["label 0", "label 1"]
    yes = [place for place, one in enumerate(plain) if one in YES]
    no = [place for place, one in enumerate(plain) if one in NO]
    if len(yes) != 1 or len(no) != 1:
        raise UnsupportedModelError(
            f"{name} has the labels {' and '.join(map(repr, names))}, which do not say which one "
            "means a relevant document; name them no and yes in the id2label of config.json"
        )
    return Labels(yes[0], no[0])


def check_tokenizer(
    name: str,
    folder: Path,
    configuration: Configuration,
    tensors: Mapping[str, Tensor],
    tokenizer: QwenTokenizer,
) -> None:
    """Refuse a checkpoint that does not belong to `tokenizer`, or has two heads for its "yes".

    Raises:
        UnsupportedModelError: ids without a row in the embedding; a score that is read off other
            tokens; a trained output embedding where ``config.json`` ties it to the input's.
    """
    if tokenizer.highest_id >= configuration.vocab_size:
        raise UnsupportedModelError(
            f"{name} has {configuration.vocab_size} rows of embedding but its tokenizer gives ids "
            f"up to {tokenizer.highest_id}: the two do not belong together; resize the embedding "
            "as it was for training, or point `tokenizer` at the right one"
        )
    _check_logit_score(name, folder, tokenizer)
    if configuration.tie_word_embeddings and LM_HEAD in tensors:
        _check_tied_head(name, tensors, tokenizer)


def _check_logit_score(name: str, folder: Path, tokenizer: QwenTokenizer) -> None:
    """sentence-transformers writes down which tokens a score is read off."""
    for file in sorted(folder.glob("*_LogitScore/config.json")):
        content = read_json(file)
        said = [content.get(f"{one}_token_id") for one in ("true", "false")]
        if said != [tokenizer.yes, tokenizer.no]:
            raise UnsupportedModelError(
                f"{name} reads its score off the tokens {said[0]} and {said[1]} ({file.parent.name}"
                f"), not off yes ({tokenizer.yes}) and no ({tokenizer.no}) as a Qwen3-Reranker; "
                "use sentence-transformers for it"
            )


def _check_tied_head(name: str, tensors: Mapping[str, Tensor], tokenizer: QwenTokenizer) -> None:
    rows = [tokenizer.yes, tokenizer.no]
    own, shared = (read_rows(tensors[one], one, rows) for one in (LM_HEAD, EMBEDDING))
    if not own.equal(shared):
        raise UnsupportedModelError(
            f"{name} has an {LM_HEAD} of its own (in {tensors[LM_HEAD].file.name}), but its "
            "config.json says tie_word_embeddings: true, and releases differ in which they "
            f"believe; set it to false if {LM_HEAD} is meant, else save the model without it"
        )
