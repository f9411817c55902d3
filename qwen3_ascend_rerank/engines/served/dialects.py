"""The ways to ask a server for scores: one row each.

Sources: the request and response models of vLLM 0.9.2 to 0.32.0 (``entrypoints/…/protocol.py``);
https://jina.ai/reranker, https://docs.cohere.com/reference/rerank,
https://docs.voyageai.com/reference/reranker-api; SGLang's
``entrypoints/openai/serving_rerank.py``; the OpenAPI description of Text Embeddings Inference;
llama.cpp's ``tools/server/server-context.cpp``; "Text rerank" in Alibaba Cloud's Model Studio.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ...errors import InvalidInputError

Formatting = Literal["client", "server"]
"""Who makes Qwen3-Reranker's prompt of a query and a document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One way to ask. A field inside another is named with a dot: ``input.query``."""

    name: str
    """What `engine_options` call it."""
    path: str
    """Where it is answered."""
    spoken_by: str
    """Who answers it."""
    takes: Literal["ids", "text"]
    """Whole prompts as token ids; or a query and documents as text."""
    query: str = "query"
    """The field that holds the query, where text is taken."""
    documents: str = "documents"
    """The field that holds the documents, or the prompts."""
    count: str | None = None
    """The field that says for how many documents a score is wanted."""
    also: Mapping[str, Any] = field(default_factory=dict)
    """What else every request holds."""
    instruction: tuple[str, ...] = ()
    """Fields in which a template may take an instruction; none is believed unseen."""
    rows: str | None
    """The field of the answer that holds a row for each document; None: the answer itself."""
    score: str
    """The field of a row that holds the score, alone or as the only one of a list."""
    switches: Mapping[str, bool] = field(default_factory=dict)
    """Fields that, so set, may give log-odds instead of probabilities."""
    formatting: Formatting | None = None
    """Who makes the prompt, where the number of tokens does not tell."""
    blank: str = " "
    """Stands for an empty document where a server that makes the prompt refuses one, as vLLM 0.10
    to 0.15 do; SGLang refuses a blank one, too."""

    @property
    def takes_text(self) -> bool:
        """Whether the server tokenises, and reads control tokens in texts."""
        return self.takes == "text"


_ACTIVATION = {"use_activation": False}
"""vLLM from 0.11.1."""
_ACTIVATIONS = {"use_activation": False, "activation": False}
"""vLLM 0.10.1 to 0.11.0 take the second, which later releases get wrong."""
_EITHER = ("instruction", "instruct")
"""vLLM from 0.22 takes the first; SGLang, and gateways to Qwen's own service, the second."""

_SCORE = Dialect(
    name="score",
    path="/score",
    spoken_by="vLLM >= 0.9.2",
    takes="text",
    query="text_1",
    documents="text_2",
    instruction=_EITHER,
    rows="data",
    score="score",
    switches=_ACTIVATIONS,
)
_RERANK = Dialect(
    name="rerank",
    path="/rerank",
    spoken_by="vLLM >= 0.9.2, llama.cpp, Xinference, gateways",
    takes="text",
    count="top_n",
    also={"return_documents": False},
    instruction=_EITHER,
    rows="results",
    score="relevance_score",
    switches=_ACTIVATIONS,
)

DIALECTS = (
    Dialect(
        name="classify",
        path="/classify",
        spoken_by="vLLM >= 0.15",
        takes="ids",
        documents="input",
        rows="data",
        score="probs",
        switches=_ACTIVATION,
    ),
    Dialect(
        name="pooling",
        path="/pooling",
        spoken_by="vLLM >= 0.11.1",
        takes="ids",
        documents="input",
        also={"task": "classify"},
        rows="data",
        score="data",
        switches=_ACTIVATION,
    ),
    replace(_SCORE, name="v1-score", path="/v1/score"),
    _SCORE,
    replace(
        _RERANK,
        name="v1-rerank",
        path="/v1/rerank",
        spoken_by="vLLM >= 0.9.2, llama.cpp, Jina, SiliconFlow, LiteLLM, gateways",
    ),
    replace(
        _RERANK,
        name="sglang",
        path="/v1/rerank",
        spoken_by="SGLang",
        rows=None,
        score="score",
        switches={},
        formatting="server",
        blank=".",
    ),
    replace(
        _RERANK,
        name="voyage",
        path="/v1/rerank",
        spoken_by="Voyage, and gateways in its form",
        count="top_k",
        also={"return_documents": False, "truncation": False},
        instruction=(),
        rows="data",
        switches={},
    ),
    _RERANK,
    Dialect(
        name="tei",
        path="/rerank",
        spoken_by="Text Embeddings Inference, and servers in its form",
        takes="text",
        documents="texts",
        also={"raw_scores": False, "truncate": False},
        rows=None,
        score="score",
        switches={"raw_scores": True},
    ),
    replace(_RERANK, name="v2-rerank", path="/v2/rerank", spoken_by="vLLM >= 0.9.2, Cohere"),
    replace(
        _RERANK,
        name="reranks",
        path="/compatible-api/v1/reranks",
        spoken_by="DashScope (Bailian)",
        instruction=("instruct",),
        switches={},
    ),
    Dialect(
        name="dashscope",
        path="/api/v1/services/rerank/text-rerank/text-rerank",
        spoken_by="DashScope (Bailian)",
        takes="text",
        query="input.query",
        documents="input.documents",
        count="parameters.top_n",
        also={"parameters.return_documents": False},
        instruction=("parameters.instruct",),
        rows="output.results",
        score="relevance_score",
    ),
)
"""In the order in which they are tried: token ids first, then where a key is asked for."""

DIALECT_NAMES = tuple(dialect.name for dialect in DIALECTS)


def wanted_dialects(name: str | None) -> tuple[Dialect, ...]:
    """All of them, or the one that is named.

    Raises:
        InvalidInputError: there is no such dialect.
    """
    found = tuple(one for one in DIALECTS if name in (None, one.name))
    if not found:
        known = ", ".join(DIALECT_NAMES)
        raise InvalidInputError(f"dialect is {name!r}; use one of {known}, or leave it out")
    return found
