"""What RAG platforms send, word for word, to the address that `docs/gateway.md` has typed in.

Each row is taken from a platform's public source: how it makes an address of what was typed, its
headers and body, and what it reads of the answer. A platform that asks by an SDK is in
`tests/support/real_clients.py` beside it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from qwen3_ascend_rerank import Reranker
from tests.support.gateways import KEY, RunningGateway
from tests.support.pages import in_chinese, text_of

QUERY = "What is the capital of China?"
TEXTS = [
    "Bread needs flour.",
    "Beijing is the capital of China.",
    "The capital of France is Paris.",
    "北京<|im_end|>是中国的首都。",
]
Body = Mapping[str, Any]
Read = Callable[[Any], dict[int, float]]
PAGE = "docs/gateway.md"


def results(said: Any) -> dict[int, float]:
    return {row["index"]: row["relevance_score"] for row in said["results"]}


def bare_list(said: Any) -> dict[int, float]:
    return {row["index"]: row["score"] for row in said}


def with_tokens(said: Any) -> dict[int, float]:
    """As FastGPT, and older RAGFlow for Xinference."""
    assert said["meta"]["tokens"]["input_tokens"] + said["meta"]["tokens"]["output_tokens"] > 0
    return results(said)


def with_usage(said: Any) -> dict[int, float]:
    """As RAGFlow for SiliconFlow, and New-API, which bills by it."""
    assert said["usage"]["total_tokens"] == said["usage"]["prompt_tokens"] > 0
    return results(said)


def with_texts(said: Any) -> dict[int, float]:
    """As Dify for Xinference, where each document comes back."""
    for row in said["results"]:
        document = row["document"]
        assert (document if isinstance(document, str) else document["text"]) == TEXTS[row["index"]]
    return results(said)


def texts_of_tei(said: Any) -> dict[int, float]:
    """As Dify for Text Embeddings Inference."""
    assert all(row["text"] == TEXTS[row["index"]] for row in said)
    return bare_list(said)


@dataclass(frozen=True)
class Platform:
    """One way in which a platform asks."""

    name: str
    typed: str
    """What is typed as its address, after the host."""
    path: str
    """What it makes of that."""
    body: Body
    source: str
    read: Read = results
    headers: Mapping[str, str] = field(default_factory=lambda: {"Authorization": f"Bearer {KEY}"})
    kept: int = len(TEXTS)
    """How many come back."""

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


JINA: Body = {"model": "any", "query": QUERY, "documents": TEXTS}
PLATFORMS = [
    Platform(
        "Dify OpenAI-API-compatible",
        "/v1",
        "/v1/rerank",
        {**JINA, "top_n": len(TEXTS)},
        "langgenius/dify-official-plugins models/openai_api_compatible/models/rerank/rerank.py",
    ),
    Platform(
        "Dify OpenAI-API-compatible, its SDK",
        "/v1",
        "/v1/rerank",
        {**JINA, "top_n": None, "return_documents": True},
        "langgenius/dify-plugin-sdks interfaces/model/openai_compatible/rerank.py",
    ),
    Platform(
        "Dify OpenAI-API-compatible, documents as objects",
        "/v1",
        "/v1/rerank",
        {
            **JINA,
            "documents": [{"content": [{"type": "text", "text": text}]} for text in TEXTS],
            "top_n": 2,
        },
        "langgenius/dify-official-plugins models/openai_api_compatible/models/rerank/rerank.py",
        kept=2,
    ),
    Platform(
        "Dify OpenAI-API-compatible, documents called texts",
        "/v1",
        "/v1/rerank",
        {"model": "any", "query": QUERY, "texts": TEXTS, "top_n": len(TEXTS)},
        "langgenius/dify-official-plugins, option docs_field_name",
    ),
    Platform(
        "Dify Xinference",
        "",
        "/v1/rerank",
        {**JINA, "top_n": None, "max_chunks_per_doc": None, "return_documents": True},
        "langgenius/dify-official-plugins models/xinference/models/rerank/rerank.py",
        with_texts,
    ),
    Platform(
        "Dify Text Embedding Inference",
        "",
        "/rerank",
        {"query": QUERY, "texts": TEXTS, "return_text": True},
        "langgenius/dify-official-plugins models/huggingface_tei/models/helper.py",
        texts_of_tei,
    ),
    Platform(
        "RAGFlow Xinference",
        "",
        "/v1/rerank",
        {**JINA, "return_documents": "true", "return_len": "true"},
        "infiniflow/ragflow rag/llm/rerank_model.py XInferenceRerank",
        with_tokens,
    ),
    Platform(
        "RAGFlow OpenAI-API-Compatible",
        "/v1",
        "/v1/rerank",
        {**JINA, "top_n": len(TEXTS)},
        "infiniflow/ragflow rag/llm/rerank_model.py OpenAI_APIRerank",
    ),
    Platform(
        "RAGFlow VLLM, by Cohere's SDK",
        "/v1",
        "/v1/v1/rerank",
        {**JINA, "top_n": len(TEXTS), "return_documents": False},
        "infiniflow/ragflow rag/llm/rerank_model.py CoHereRerank",
    ),
    Platform(
        "RAGFlow SILICONFLOW",
        "/v1",
        "/v1/rerank",
        {
            **JINA,
            "top_n": len(TEXTS),
            "return_documents": False,
            "max_chunks_per_doc": 1024,
            "overlap_tokens": 80,
        },
        "infiniflow/ragflow rag/llm/rerank_model.py SILICONFLOWRerank",
        with_usage,
    ),
    Platform(
        "RAGFlow LocalAI",
        "/v1",
        "/rerank",
        {**JINA, "top_n": len(TEXTS)},
        "infiniflow/ragflow rag/llm/rerank_model.py LocalAIRerank",
    ),
    Platform(
        "FastGPT",
        "/v1/rerank",
        "/v1/rerank",
        JINA,
        "labring/FastGPT packages/service/core/ai/rerank/index.ts",
        with_tokens,
    ),
    Platform(
        "MaxKB vLLM, by Cohere's SDK",
        "/v1",
        "/v2/rerank",
        {**JINA, "top_n": 3},
        "1Panel-dev/MaxKB apps/models_provider/impl/vllm_model_provider/model/reranker.py",
        kept=3,
    ),
    Platform(
        "MaxKB Xinference",
        "",
        "/v1/rerank",
        {
            **JINA,
            "top_n": 3,
            "max_chunks_per_doc": None,
            "return_documents": True,
            "return_len": None,
            "kwargs": "{}",
        },
        "1Panel-dev/MaxKB apps/models_provider/impl/xinference_model_provider/model/reranker.py",
        with_texts,
        kept=3,
    ),
    Platform(
        "Open WebUI",
        "/v1/rerank",
        "/v1/rerank",
        {**JINA, "top_n": len(TEXTS)},
        "open-webui/open-webui backend/open_webui/retrieval/models/external.py",
        headers={
            "Authorization": f"Bearer {KEY}",
            "X-OpenWebUI-User-Name": "x",
            "X-OpenWebUI-User-Role": "admin",
        },
    ),
    Platform(
        "New-API",
        "",
        "/v1/rerank",
        {
            **JINA,
            "top_n": 2,
            "return_documents": True,
            "max_chunk_per_doc": 8,
            "overlap_tokens": 80,
        },
        "QuantumNous/new-api dto/rerank.go, relay/channel/jina/adaptor.go",
        with_usage,
        kept=2,
    ),
    Platform(
        "New-API, type Ali",
        "",
        "/api/v1/services/rerank/text-rerank/text-rerank",
        {
            "model": "any",
            "input": {"query": QUERY, "documents": TEXTS},
            "parameters": {"top_n": 2, "return_documents": True},
        },
        "QuantumNous/new-api relay/channel/ali/rerank.go",
        lambda said: results(said["output"]),
        kept=2,
    ),
    Platform(
        "Cherry Studio",
        "",
        "/v1/rerank",
        {**JINA, "top_n": 3},
        "CherryHQ/cherry-studio src/main/knowledge/reranker/strategies/DefaultStrategy.ts",
        kept=3,
    ),
    Platform(
        "Cherry Studio, a provider called tei",
        "",
        "/v1/rerank",
        {"query": QUERY, "texts": TEXTS, "return_text": True},
        "CherryHQ/cherry-studio src/main/knowledge/reranker/strategies/TeiStrategy.ts",
        bare_list,
    ),
    Platform(
        "Cherry Studio, Voyage",
        "/voyage",
        "/voyage/v1/rerank",
        {**JINA, "top_k": 3},
        "CherryHQ/cherry-studio src/main/knowledge/reranker/strategies/VoyageStrategy.ts",
        lambda said: results({"results": said["data"]}),
        kept=3,
    ),
]


def ask(gateway: RunningGateway, platform: Platform, **headers: str) -> httpx.Response:
    given = {**platform.headers, **headers}
    return httpx.post(gateway.url + platform.path, json=platform.body, headers=given, timeout=60)


@pytest.mark.parametrize("platform", PLATFORMS, ids=str)
class TestEveryPlatform:
    def test_reads_the_scores_of_the_core(
        self, gateway: RunningGateway, core: Reranker, platform: Platform
    ) -> None:
        answer = ask(gateway, platform)
        assert answer.status_code == 200, answer.text
        right = core.rerank(QUERY, TEXTS, top_n=platform.kept)
        found = platform.read(answer.json())
        assert list(found) == [one.index for one in right]  # FastGPT takes the first for the best
        assert list(found.values()) == pytest.approx([one.score for one in right], abs=1e-6)

    def test_is_refused_with_another_key(self, gateway: RunningGateway, platform: Platform) -> None:
        answer = ask(gateway, platform, Authorization="Bearer another")
        assert answer.status_code == 401
        assert "API key" in answer.text

    def test_is_on_the_page(self, gateway: RunningGateway, platform: Platform) -> None:
        first = platform.name.replace(",", "").split()[0]
        for page in (PAGE, in_chinese(PAGE)):
            rows = [line for line in text_of(page).splitlines() if line.startswith(f"| {first}")]
            assert any(f"`http://HOST:8000{platform.typed}`" in row for row in rows), first


def test_a_platform_without_a_key_is_answered_where_none_is_wanted(core: Reranker) -> None:
    """Dify sends an empty ``Authorization`` then, and others the word null."""
    with RunningGateway(Reranker("lexical", max_length=512), key="") as gateway:
        for value in ("", "Bearer null", "Bearer undefined"):
            assert ask(gateway, PLATFORMS[0], Authorization=value).status_code == 200


class TestHowAModelIsValidated:
    def test_by_dify_for_xinference(self, gateway: RunningGateway) -> None:
        for base in ("", "/v1"):  # who types /v1 where none belongs is understood
            wanted = httpx.get(f"{gateway.url}{base}/v1/cluster/auth")
            assert (wanted.status_code, wanted.json()) == (200, {"auth": True})
            said = gateway.client.get(f"{base}/v1/models/any-uid").json()
            assert said["model_type"] == "rerank"

    def test_by_dify_for_tei(self, gateway: RunningGateway) -> None:
        said = gateway.client.get("/info").json()
        assert "reranker" in said["model_type"]
        assert said["max_input_length"] == 512
        assert said["max_client_batch_size"] > 0
