"""What servers of Qwen3-Reranker say: vLLM of every release, SGLang, and the Jina and Cohere form.

vLLM's shapes are those of its releases 0.9.2 to 0.30.0; a test compares the answers of 0.30.0 with
those of the real server.
"""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from packaging.version import Version

from qwen3_ascend_rerank.prompt import DEFAULT_INSTRUCTION, HEAD, TAIL
from qwen3_ascend_rerank.results import probability

from .answering import RefusedError, Routes, Server, ranked

Template = Callable[[str, str, str | None], str]
"""Query, document and instruction to a prompt."""


def good_template(query: str, document: str, instruction: str | None) -> str:
    """The official prompt, as a server may be given it."""
    opening = f"<Instruct>: {instruction or DEFAULT_INSTRUCTION}\n<Query>: {query}\n<Document>: "
    return f"{HEAD}{opening}{document}{TAIL}"


def short_template(query: str, document: str, instruction: str | None) -> str:
    """The same with its last newline lost, as Jinja loses it."""
    return good_template(query, document, instruction)[:-1]


@dataclass
class VLLM(Server):
    """vLLM, as of a release."""

    version: str = "0.30.0"
    max_model_len: int = 1024
    template: Template | None = None
    raw: bool = False
    """Whether it was started without an activation: 0.9.2 with `PoolerConfig(softmax=False)`."""

    def __post_init__(self) -> None:
        self.guarded = ("/v1", "/v2", "/inference") if self.since("0.22") else ("/v1",)

    def since(self, version: str) -> bool:
        return Version(self.version) >= Version(version)

    def routes(self) -> Routes:
        reads = {"/version": self.tell_version, "/health": self.healthy, "/v1/models": self.models}
        writes = {
            "/tokenize": self.tokenize,
            "/classify": self.classify,
            "/pooling": self.pooling,
            **dict.fromkeys(("/score", "/v1/score"), self.score),
            **dict.fromkeys(("/rerank", "/v1/rerank", "/v2/rerank"), self.rerank),
        }
        return {("GET", path): route for path, route in reads.items()} | {
            ("POST", path): route for path, route in writes.items()
        }

    def error(self, refusal: RefusedError) -> Any:
        if self.since("0.10.1"):
            return {"error": refusal.parts}
        return super().error(refusal)

    async def tell_version(self, _: Any) -> Any:
        return {"version": self.version}

    async def models(self, _: Any) -> Any:
        card = {
            "id": self.model,
            "object": "model",
            "created": int(time.time()),
            "owned_by": "vllm",
            "root": f"/models/{self.model}",
            "parent": None,
            "max_model_len": self.max_model_len,
            "permission": [],
        }
        return {"object": "list", "data": [card]}

    async def tokenize(self, body: Any) -> Any:
        self.check_model(body)
        ids = self._of_messages(body) if "messages" in body else self.ids(body["prompt"])
        return {"count": len(ids), "max_model_len": self.max_model_len, "tokens": ids}

    def _of_messages(self, body: Any) -> list[int]:
        """Ids of a prompt that the server's own template makes."""
        if self.template is None:
            raise RefusedError("default chat template is no longer allowed; you must provide one")
        texts = {message["role"]: message["content"] for message in body["messages"]}
        instruction = texts.get("system") if self.since("0.22") else None
        return self.ids(self.template(texts["query"], texts["document"], instruction))

    async def classify(self, body: Any) -> Any:
        values, tokens = await self._of_input(body)
        rows = [
            {"index": place, "label": "LABEL_0", "probs": [value], "num_classes": 1}
            for place, value in enumerate(values)
        ]
        return self._list("classify", rows, tokens)

    async def pooling(self, body: Any) -> Any:
        if not self.since("0.11.1") or body.get("task") != "classify":
            raise RefusedError("this stand-in pools only for the task classify")
        values, tokens = await self._of_input(body, ids_since="0.9.2")
        rows = [
            {"index": place, "object": "pooling", "data": [value]}
            for place, value in enumerate(values)
        ]
        return self._list("pool", rows, tokens)

    async def score(self, body: Any) -> Any:
        one, other = (
            _first(body, "text_1", "data_1", "queries"),
            _first(body, "text_2", "data_2", "documents", "items"),
        )
        if one is None or other is None:
            raise RefusedError("Field required")
        values, tokens = await self._of_pairs(body, one, other)
        rows = [{"index": n, "object": "score", "score": value} for n, value in enumerate(values)]
        return self._list("score", rows, tokens)

    async def rerank(self, body: Any) -> Any:
        documents = body["documents"]
        values, tokens = await self._of_pairs(body, body["query"], documents)
        usage = {"total_tokens": tokens}
        if self.since("0.13"):
            usage["prompt_tokens"] = tokens
        return {
            "id": f"rerank-{uuid.uuid4().hex}",
            "model": self.model,
            "usage": usage,
            "results": ranked(documents, values, body.get("top_n") or None),
        }

    async def _of_input(self, body: Any, ids_since: str = "0.15") -> tuple[list[float], int]:
        self.check_model(body)
        prompts = body["input"]
        if isinstance(prompts, str) or (prompts and isinstance(prompts[0], int)):
            prompts = [prompts]
        if not self.since(ids_since) and any(not isinstance(prompt, str) for prompt in prompts):
            raise RefusedError("Input should be a valid string", kind="Bad Request")
        return await self._values(
            body, [self.ids(one) if isinstance(one, str) else one for one in prompts]
        )

    async def _of_pairs(self, body: Any, one: Any, other: Any) -> tuple[list[float], int]:
        self.check_model(body)
        ones, others = ([x] if isinstance(x, str) else x for x in (one, other))
        if not others:
            raise RefusedError("At least one text_pair element must be given")
        if len(ones) == 1:
            ones = ones * len(others)
        if len(ones) != len(others):
            raise RefusedError("Input lengths must be either 1:1, 1:N or N:N")
        if not self.since("0.16") and self.since("0.10") and not all([*ones, *others]):
            raise RefusedError("Only one multi-modal item is supported")
        instruction = body.get("instruction") if self.since("0.22") else None
        return await self._values(
            body, [self._pair(*pair, instruction) for pair in zip(ones, others, strict=True)]
        )

    def _pair(self, query: str, document: str, instruction: str | None) -> list[int]:
        if self.template and self.since("0.14"):
            return self.ids(self.template(query, document, instruction))
        if self.since("0.10"):
            return self.ids(query + document)
        return self.ids(query) + self.ids(document)

    async def _values(self, body: Any, prompts: list[list[int]]) -> tuple[list[float], int]:
        """What it says of each prompt, and how many tokens they have."""
        if not prompts:
            raise RefusedError("You must pass at least one prompt")
        if not all(prompts):
            raise RefusedError("The decoder prompt cannot be empty")
        if (longest := max(map(len, prompts))) > self.max_model_len:
            raise RefusedError(
                f"This model's maximum context length is {self.max_model_len} tokens. However, "
                f"your prompt contains {longest} input tokens."
            )
        values = await self.compute(prompts)
        if self._activates(body):
            values = [probability(value) for value in values]
        return values, sum(map(len, prompts))

    def _activates(self, body: Any) -> bool:
        """Whether the sigmoid is applied; in 0.11.1 to 0.13 `activation: false` is not obeyed."""
        obeyed = {"use_activation"} if self.since("0.11.1") else set()
        if (self.since("0.10.1") and not self.since("0.11.1")) or (
            self.since("0.14") and not self.since("0.16")
        ):
            obeyed.add("activation")
        return not self.raw and not any(body.get(name) is False for name in obeyed)

    def _list(self, prefix: str, rows: list[Any], tokens: int) -> Any:
        return {
            "id": f"{prefix}-{uuid.uuid4().hex}",
            "object": "list",
            "created": int(time.time()),
            "model": self.model,
            "data": rows,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0},
        }


@dataclass
class SGLang(Server):
    """SGLang with its template for Qwen3-Reranker: a bare list, best first, of P(yes)."""

    def routes(self) -> Routes:
        return {
            ("GET", "/health"): self.healthy,
            ("GET", "/get_model_info"): self.model_info,
            ("GET", "/v1/models"): self.models,
            ("POST", "/v1/rerank"): self.rerank,
        }

    async def model_info(self, _: Any) -> Any:
        return {"model_path": self.model, "is_generation": True}

    async def models(self, _: Any) -> Any:
        card = {"id": self.model, "object": "model", "owned_by": "sglang", "max_model_len": 1024}
        return {"object": "list", "data": [card]}

    async def rerank(self, body: Any) -> Any:
        query, documents = body["query"], body["documents"]
        if not query.strip() or not documents or not all(text.strip() for text in documents):
            raise RefusedError("Each document cannot be empty or whitespace only")
        prompts = [self.ids(good_template(query, one, body.get("instruct"))) for one in documents]
        values = await self.compute(prompts)
        rows = ranked(documents, [probability(value) for value in values], body.get("top_n"))
        return [
            {
                "score": row["relevance_score"],
                "document": row["document"]["text"],
                "index": row["index"],
                "meta_info": {"id": uuid.uuid4().hex},
            }
            for row in rows
        ]


@dataclass
class Jina(Server):
    """A plain reranking service in the form of Jina and Cohere: texts in, `results` out."""

    path: str = "/v1/rerank"

    def routes(self) -> Routes:
        return {("POST", self.path): self.rerank}

    async def rerank(self, body: Any) -> Any:
        self.check_model(body)
        documents = [one if isinstance(one, str) else one["text"] for one in body["documents"]]
        prompts = [self.ids(good_template(body["query"], one, None)) for one in documents]
        values = [probability(value) for value in await self.compute(prompts)]
        return {
            "model": self.model,
            "usage": {"total_tokens": sum(map(len, prompts))},
            "results": ranked(documents, values, body.get("top_n")),
        }


def _first(body: Any, *names: str) -> Any:
    return next((body[name] for name in names if name in body), None)
