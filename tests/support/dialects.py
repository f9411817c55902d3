"""What servers of Qwen3-Reranker say: vLLM of every release, and the others that can be asked.

vLLM's shapes are those of its releases 0.9.2 to 0.30.0; a test compares the answers of 0.30.0 with
those of the real server.
"""

import math
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from packaging.version import Version

from qwen3_ascend_rerank.prompts import DEFAULT_INSTRUCTION, HEAD, TAIL
from qwen3_ascend_rerank.results import probability

from .answering import RefusedError, Routes, Server, ranked
from .wire import Answer, Request

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
class Embeddings(VLLM):
    """vLLM with an embedding model, which has ``/score`` and ``/rerank``, too: of cosines."""

    hidden: tuple[str, ...] = ("/classify", "/pooling")
    paired: bool = False
    """Whether tokens of the query are counted for each document, as before 0.24."""
    ends: int = 1
    """Special tokens after each text: Qwen3-Embedding has one."""

    async def _of_pairs(self, body: Any, one: Any, other: Any) -> tuple[list[float], int]:
        self.check_model(body)
        others = [
            Counter(self.ids(text)) for text in ([other] if isinstance(other, str) else other)
        ]
        query = Counter(self.ids(one))
        counted = [query] * (len(others) if self.paired else 1) + others
        tokens = sum(text.total() + self.ends for text in counted)
        return [_cosine(query, text) for text in others], tokens


def _cosine(one: Counter[int], other: Counter[int]) -> float:
    lengths = (math.hypot(*text.values()) for text in (one, other))
    return sum(one[token] * other[token] for token in one) / max(math.prod(lengths), 1e-9)


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
    """A reranking service in the form of Jina and Cohere: texts in, `results` out."""

    path: str = "/v1/rerank"
    counted: Callable[[int], Any] = lambda tokens: {"usage": {"total_tokens": tokens}}
    """How it tells the number of tokens."""
    heeds: str | None = None
    """The field in which it takes an instruction; it ignores all others that it does not know."""
    template: Template = good_template

    def routes(self) -> Routes:
        return {("POST", self.path): self.rerank}

    async def rerank(self, body: Any) -> Any:
        self.check_model(body)
        rows, tokens = await self.rank(body, body["query"], body["documents"], body.get("top_n"))
        return {"model": self.model, **self.counted(tokens), "results": rows}

    async def rank(
        self, body: Any, query: str, documents: list[Any], top_n: int | None
    ) -> tuple[list[Any], int]:
        """Its rows for some documents, and how many tokens it read."""
        texts = [one if isinstance(one, str) else one["text"] for one in documents]
        instruction = body.get(self.heeds)
        prompts = [self.ids(self.template(query, one, instruction)) for one in texts]
        values = [probability(value) for value in await self.compute(prompts)]
        return ranked(texts, values, top_n), sum(map(len, prompts))


def as_siliconflow(tokens: int) -> Any:
    units = {"input_tokens": tokens, "output_tokens": 0, "search_units": 0, "classifications": 0}
    return {"meta": {"billed_units": units, "tokens": {"input_tokens": tokens, "output_tokens": 0}}}


def as_litellm(tokens: int) -> Any:
    """LiteLLM's proxy, in front of a server that counts."""
    units = {"search_units": None, "total_tokens": tokens}
    return {
        "meta": {"api_version": None, "billed_units": units, "tokens": {"input_tokens": tokens}}
    }


def as_cohere(_: int) -> Any:
    """A search is one unit, whatever it holds."""
    return {"meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}}


@dataclass
class Voyage(Jina):
    """Its rows stand in `data`, and it refuses what it does not know."""

    async def rerank(self, body: Any) -> Any:
        known = {"query", "documents", "model", "top_k", "return_documents", "truncation"}
        if unknown := sorted(body.keys() - known):
            raise RefusedError(f"Argument '{unknown[0]}' is not supported by our API")
        self.check_model(body)
        rows, tokens = await self.rank(body, body["query"], body["documents"], body.get("top_k"))
        data = [{name: row[name] for name in ("relevance_score", "index")} for row in rows]
        usage = {"usage": {"total_tokens": tokens}}
        return {"object": "list", "data": data, "model": self.model, **usage}


@dataclass
class DashScope(Jina):
    """Alibaba's own service, in both of its forms."""

    heeds: str | None = "instruct"
    native: bool = True
    """Which of the forms is there."""

    def routes(self) -> Routes:
        if self.native:
            return {("POST", "/api/v1/services/rerank/text-rerank/text-rerank"): self.rerank_native}
        return {("POST", "/compatible-api/v1/reranks"): self.rerank}

    async def rerank_native(self, body: Any) -> Any:
        self.check_model(body)
        given, wanted = body["input"], body.get("parameters", {})
        rows, tokens = await self.rank(
            wanted, given["query"], given["documents"], wanted.get("top_n")
        )
        if not wanted.get("return_documents"):
            rows = [{name: row[name] for name in ("index", "relevance_score")} for row in rows]
        usage = {"usage": {"total_tokens": tokens}, "request_id": uuid.uuid4().hex}
        return {"output": {"results": rows}, **usage}


@dataclass
class TEI(Server):
    """Text Embeddings Inference: a bare list, best first, and not a word of tokens."""

    template: Template | None = None
    most: int = 32
    """How many texts a request may hold."""

    def routes(self) -> Routes:
        return {
            ("GET", "/info"): self.info,
            ("GET", "/health"): self.healthy,
            ("POST", "/tokenize"): self.tokenize,
            ("POST", "/rerank"): self.rerank,
        }

    async def info(self, _: Any) -> Any:
        limits = {"max_input_length": 1024, "max_client_batch_size": self.most}
        return {"model_id": self.model, "model_type": {"reranker": {"id2label": {}}}, **limits}

    async def tokenize(self, body: Any) -> Any:
        inputs = body["inputs"]
        texts = [inputs] if isinstance(inputs, str) else inputs
        return [[{"id": token, "special": False} for token in self.ids(text)] for text in texts]

    async def rerank(self, body: Any) -> Any:
        query, texts = body["query"], body["texts"]
        if len(texts) > self.most:
            raise RefusedError(f"batch size {len(texts)} > maximum allowed {self.most}", 422)
        prompts = [self.ids(self._prompt(query, text)) for text in texts]
        values = await self.compute(prompts)
        if not body.get("raw_scores"):
            values = [probability(value) for value in values]
        rows = ranked(texts, values, None)
        return [{"index": row["index"], "score": row["relevance_score"]} for row in rows]

    def _prompt(self, query: str, text: str) -> str:
        return self.template(query, text, None) if self.template else query + text


@dataclass
class LlamaCpp(Server):
    """llama.cpp's server, as of its build 11434 with a Qwen3-Reranker in GGUF.

    Its template knows one instruction; it names the model that it was asked for; what it does not
    know it ignores, `prompt` in a request to ``/tokenize`` among it.
    """

    context: int = 1024

    def routes(self) -> Routes:
        paths = ("/rerank", "/reranking", "/v1/rerank", "/v1/reranking")
        return {
            ("GET", "/health"): self.healthy,
            ("GET", "/v1/models"): self.models,
            ("POST", "/tokenize"): self.tokenize,
            **{("POST", path): self.rerank for path in paths},
        }

    async def answer(self, request: Request) -> Answer:
        answer = await super().answer(request)
        if answer.body == b'{"detail":"Not Found"}':
            error = {"message": "File Not Found", "type": "not_found_error", "code": 404}
            return Answer.of({"error": error}, 404)
        return answer

    async def models(self, _: Any) -> Any:
        meta = {"n_ctx": self.context, "n_ctx_train": 40960}
        card = {"id": self.model, "object": "model", "owned_by": "llamacpp", "meta": meta}
        return {"models": [{"name": self.model}], "object": "list", "data": [card]}

    async def tokenize(self, body: Any) -> Any:
        return {"tokens": self.ids(body["content"]) if "content" in body else []}

    async def rerank(self, body: Any) -> Any:
        like_tei = "texts" in body
        query, documents = body["query"], body["texts" if like_tei else "documents"]
        prompts = [self.ids(good_template(query, one, None)) for one in documents]
        if (longest := max(map(len, prompts))) > self.context:
            raise RefusedError(f"request ({longest} tokens) exceeds the available context size")
        values = [probability(value) for value in await self.compute(prompts)]
        label = "score" if like_tei else "relevance_score"
        rows = [
            {"index": row["index"], label: row["relevance_score"]}
            for row in ranked(documents, values, body.get("top_n"))
        ]
        if like_tei:
            return rows
        tokens = sum(map(len, prompts))
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"model": body.get("model", self.model), "usage": usage, "results": rows}


@dataclass
class Ollama(Server):
    """A server of chat models, which scores nothing."""

    def routes(self) -> Routes:
        return {("GET", "/v1/models"): self.models, ("GET", "/"): self.healthy}

    async def models(self, _: Any) -> Any:
        card = {"id": self.model, "object": "model", "created": 1, "owned_by": "library"}
        return {"object": "list", "data": [card]}


@dataclass
class ChatVLLM(VLLM):
    """vLLM without `--runner pooling`: routes without handlers until 0.15, no routes from 0.18."""

    def routes(self) -> Routes:
        routes = super().routes()
        scoring = [path for kind, path in routes if kind == "POST" and path != "/tokenize"]
        for path in scoring:
            if self.since("0.18"):
                del routes["POST", path]
            else:
                routes["POST", path] = self.refuse
        return routes

    async def refuse(self, _: Any) -> Any:
        raise RefusedError("The model does not support Rerank (Score) API")


def _first(body: Any, *names: str) -> Any:
    return next((body[name] for name in names if name in body), None)
