"""Clients that nobody here wrote, each asked in its own way for the same ranking.

Each takes the gateway's URL, a key, a query, documents and how many to give back, and returns index
and score of each. Its packages are imported when it is called.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

Ranking = list[tuple[int, float]]
Ask = Callable[[str, str, str, Sequence[str], int], Ranking]


@dataclass(frozen=True)
class RealClient:
    """One of them."""

    name: str
    package: str
    """What must be installed."""
    ask: Ask
    mute: bool = False
    """Whether its errors say nothing."""

    def __str__(self) -> str:
        return self.name

    @property
    def is_here(self) -> bool:
        return find_spec(self.package.partition(".")[0]) is not None and _found(self.package)


def _found(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def _litellm(provider: str, base: str = "", **more: Any) -> Ask:
    def ask(url: str, key: str, query: str, documents: Sequence[str], top_n: int) -> Ranking:
        import litellm

        answer: Any = litellm.rerank(
            model=f"{provider}/any-name",
            query=query,
            documents=list(documents),
            top_n=top_n,
            api_base=f"{url}{base}",
            api_key=key,
            num_retries=0,
            **more,
        )
        return [(row["index"], row["relevance_score"]) for row in answer.results]

    return ask


def _cohere(version: int, base: str = "") -> Ask:
    def ask(url: str, key: str, query: str, documents: Sequence[str], top_n: int) -> Ranking:
        import cohere

        kind = cohere.ClientV2 if version == 2 else cohere.Client
        client = kind(api_key=key, base_url=f"{url}{base}")
        answer = client.rerank(model="any", query=query, documents=list(documents), top_n=top_n)
        return [(row.index, row.relevance_score) for row in answer.results]

    return ask


def _langchain_cohere(
    url: str, key: str, query: str, documents: Sequence[str], top_n: int
) -> Ranking:
    from langchain_cohere import CohereRerank

    reranker = CohereRerank(model="any", base_url=url, cohere_api_key=key, top_n=top_n)
    found = reranker.rerank(list(documents), query)
    return [(row["index"], row["relevance_score"]) for row in found]


def _llama_index(make: Callable[[str, str, int], Any]) -> Ask:
    def ask(url: str, key: str, query: str, documents: Sequence[str], top_n: int) -> Ranking:
        from llama_index.core.schema import NodeWithScore, TextNode

        nodes = [
            NodeWithScore(node=TextNode(text=text, id_=str(place)))
            for place, text in enumerate(documents)
        ]
        found = make(url, key, top_n).postprocess_nodes(nodes, query_str=query)
        return [(int(one.node.node_id), one.score) for one in found]

    return ask


def _tei(url: str, key: str, top_n: int) -> Any:
    from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

    return TextEmbeddingInference(base_url=url, auth_token=f"Bearer {key}", top_n=top_n)


def _jina(url: str, key: str, top_n: int) -> Any:
    from llama_index.postprocessor.jinaai_rerank import JinaRerank

    return JinaRerank(base_url=f"{url}/v1", api_key=key, model="any", top_n=top_n)


def _cohere_node(url: str, key: str, top_n: int) -> Any:
    from llama_index.postprocessor.cohere_rerank import CohereRerank

    return CohereRerank(base_url=url, api_key=key, model="any", top_n=top_n, max_retries=1)


def _xinference(url: str, key: str, query: str, documents: Sequence[str], top_n: int) -> Ranking:
    from xinference_client import RESTfulClient

    client = RESTfulClient(url, api_key=key)
    assert client.describe_model("any-uid")["model_type"] == "rerank"
    answer = client.get_model("any-uid").rerank(list(documents), query, top_n=top_n)
    return [(row["index"], row["relevance_score"]) for row in answer["results"]]


def _haystack(url: str, key: str, query: str, documents: Sequence[str], top_n: int) -> Ranking:
    from haystack import Document
    from haystack.utils import Secret
    from haystack_integrations.components.rankers.vllm import VLLMRanker

    ranker = VLLMRanker(
        model="any", api_base_url=f"{url}/v1", api_key=Secret.from_token(key), top_k=top_n
    )
    given = [Document(id=str(place), content=text) for place, text in enumerate(documents)]
    found = ranker.run(query=query, documents=given)["documents"]
    return [(int(one.id), one.score) for one in found]


def _voyage(url: str, key: str, query: str, documents: Sequence[str], top_n: int) -> Ranking:
    import voyageai

    client = voyageai.Client(api_key=key, base_url=f"{url}/v1", max_retries=0)
    answer = client.rerank(query, list(documents), model="rerank-2.5", top_k=top_n)
    return [(row.index, row.relevance_score) for row in answer.results]


def _dashscope(url: str, key: str, query: str, documents: Sequence[str], top_n: int) -> Ranking:
    import dashscope
    from dashscope.rerank import text_rerank

    dashscope.base_http_api_url = f"{url}/api/v1"
    answer = text_rerank.TextReRank.call(
        model="gte-rerank",
        query=query,
        documents=list(documents),
        top_n=top_n,
        return_documents=True,
        api_key=key,
    )
    if answer.status_code != 200:
        raise RuntimeError(f"{answer.status_code} {answer.code}: {answer.message}")
    return [(row.index, row.relevance_score) for row in answer.output.results]


LIGHT = (RealClient("dashscope", "dashscope.rerank", _dashscope),)
"""Those that `make test` has."""
OTHERS = (
    *(
        RealClient(f"litellm {provider} {base}", "litellm", _litellm(provider, base))
        for provider, base in (
            ("hosted_vllm", ""),
            ("hosted_vllm", "/v1"),
            ("jina_ai", ""),
            ("jina_ai", "/v1/rerank"),
            ("cohere", ""),
            ("cohere", "/v1"),
            ("cohere", "/v1/rerank"),
            ("infinity", "/infinity"),
            ("huggingface", ""),
            ("voyage", "/voyage"),
            ("together_ai", ""),
        )
    ),
    *(
        RealClient(f"cohere v{version} {base}", "cohere", _cohere(version, base))
        for version in (1, 2)
        for base in ("", "/v1")
    ),
    RealClient("langchain-cohere", "langchain_cohere", _langchain_cohere),
    RealClient("llama-index tei", "llama_index.postprocessor.tei_rerank", _llama_index(_tei), True),
    RealClient("llama-index jina", "llama_index.postprocessor.jinaai_rerank", _llama_index(_jina)),
    RealClient(
        "llama-index cohere", "llama_index.postprocessor.cohere_rerank", _llama_index(_cohere_node)
    ),
    RealClient("xinference", "xinference_client", _xinference),
    RealClient("haystack", "haystack_integrations.components.rankers.vllm", _haystack),
    RealClient("voyage", "voyageai", _voyage),
)
"""Those of `make test-full`."""
