"""What the LangChain and the LlamaIndex class cost above the core, per document.

The same query and documents go through `Reranker.rerank` and through each class, sync and async,
with no handlers attached. The scores come from the core's cache, so that what is measured is not
drowned by a model. Each figure is the difference of the medians, divided by the documents.

    python benchmarks/integration_overhead.py --documents 100 --calls 200
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from statistics import median

from langchain_core.documents import Document
from langchain_qwen3_ascend_rerank import Qwen3AscendRerank as LangChainRerank
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.postprocessor.qwen3_ascend_rerank import Qwen3AscendRerank as LlamaIndexRerank

from qwen3_ascend_rerank import Reranker
from qwen3_ascend_rerank.testing import FakeEngine

QUERY = "What is the capital of China?"
WORDS = 100
TARGETS = {"LangChain": 30.0, "LlamaIndex": 60.0}
"""Microseconds a document."""


def timed(calls: int, call: Callable[[], object]) -> float:
    """Median seconds of `call`."""
    seconds = []
    for _ in range(calls):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return median(seconds)


async def timed_async(calls: int, call: Callable[[], Awaitable[object]]) -> float:
    """Median seconds of awaiting `call`."""
    seconds = []
    for _ in range(calls):
        began = time.perf_counter()
        await call()
        seconds.append(time.perf_counter() - began)
    return median(seconds)


def main() -> None:
    """Measure, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--documents", type=int, default=100, help="documents in each call")
    parser.add_argument("--calls", type=int, default=200, help="calls timed for each figure")
    arguments = parser.parse_args()

    count, calls = arguments.documents, arguments.calls
    texts = [f"passage {n} " + "word " * WORDS for n in range(count)]
    metadata = {"source": "a.md", "page": 7, "title": "A title"}
    documents = [Document(text, id=str(n), metadata=metadata) for n, text in enumerate(texts)]
    nodes = [
        NodeWithScore(node=TextNode(text=text, metadata=metadata), score=0.5) for text in texts
    ]

    with Reranker(FakeEngine(), cache_size=4 * count) as reranker:
        langchain = LangChainRerank(reranker=reranker)
        llama_index = LlamaIndexRerank(reranker=reranker)
        seen = [node.get_content(llama_index.metadata_mode) for node in nodes]

        sync: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "LangChain": (
                lambda: reranker.rerank(QUERY, texts),
                lambda: langchain.compress_documents(documents, QUERY),
            ),
            "LlamaIndex": (
                lambda: reranker.rerank(QUERY, seen),
                lambda: llama_index.postprocess_nodes(nodes, query_str=QUERY),
            ),
        }
        native: dict[
            str, tuple[Callable[[], Awaitable[object]], Callable[[], Awaitable[object]]]
        ] = {
            "LangChain": (
                lambda: reranker.arerank(QUERY, texts),
                lambda: langchain.acompress_documents(documents, QUERY),
            ),
            "LlamaIndex": (
                lambda: reranker.arerank(QUERY, seen),
                lambda: llama_index.apostprocess_nodes(nodes, query_str=QUERY),
            ),
        }

        print(f"{calls} calls with {count} documents of {WORDS} words each; µs a document.\n")
        print("| class | path | core | class | overhead | target |")
        print("|---|---|---|---|---|---|")
        for name, target in TARGETS.items():
            core, whole = (timed(calls, call) for call in sync[name])
            print(_row(name, "sync", core, whole, count, target))
            core, whole = (asyncio.run(timed_async(calls, call)) for call in native[name])
            print(_row(name, "async", core, whole, count, target))


def _row(name: str, path: str, core: float, whole: float, count: int, target: float) -> str:
    core, whole = core * 1e6 / count, whole * 1e6 / count
    overhead = f"{whole - core:.1f}"
    return f"| {name} | {path} | {core:.1f} | {whole:.1f} | {overhead} | <= {target:.0f} |"


if __name__ == "__main__":
    main()
