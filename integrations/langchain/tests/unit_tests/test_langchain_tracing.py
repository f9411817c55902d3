"""A tracer sees exactly one run for each rerank, with its parent, counts and scores."""

from __future__ import annotations

import asyncio

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, CallbackManager
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda, RunnablePassthrough

from qwen3_ascend_rerank import EngineError

QUERY = "what is the answer?"


def test_a_run_tells_query_counts_and_scores(compressor, documents, tracer):
    ranked = compressor.compress_documents(documents, QUERY, [tracer], top_n=2)
    [run] = tracer.all_runs()
    assert run.name == "Qwen3AscendRerank"
    assert run.run_type == "chain"
    assert run.inputs["query"] == QUERY
    assert run.inputs["options"]["top_n"] == 2
    assert len(run.inputs["documents"]) == 3
    assert run.outputs["documents"] == ranked
    assert run.outputs["scores"] == [document.metadata["relevance_score"] for document in ranked]
    assert run.outputs["usage"]["pairs_scored"] == 3
    assert run.outputs["engine"] == "fake"
    assert run.error is None


def test_async_calls_are_traced_alike(compressor, documents, tracer):
    asyncio.run(compressor.acompress_documents(documents, QUERY, [tracer]))
    [run] = tracer.all_runs()
    assert len(run.outputs["scores"]) == 3


def test_async_handlers_are_awaited(compressor, documents):
    class Handler(AsyncCallbackHandler):
        seen = 0

        async def on_chain_end(self, *_args, **_kwargs):
            await asyncio.sleep(0)
            self.seen += 1

    handler = Handler()
    asyncio.run(compressor.acompress_documents(documents, QUERY, [handler]))
    assert handler.seen == 1


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_batch_is_traced_input_by_input(compressor, documents, tracer, way):
    inputs = [{"query": f"{n}?", "documents": documents} for n in range(5)]
    config = {"callbacks": [tracer]}
    if way == "sync":
        compressor.batch(inputs, config)
    else:
        asyncio.run(compressor.abatch(inputs, config))
    assert sorted(run.inputs["query"] for run in tracer.reranks()) == [f"{n}?" for n in range(5)]


def test_no_documents_are_traced_too(compressor, tracer):
    compressor.compress_documents([], QUERY, [tracer])
    [run] = tracer.all_runs()
    assert run.outputs["documents"] == []


def test_a_failure_ends_the_run_with_its_error(make, make_engine, documents, tracer):
    compressor = make(make_engine(error=OSError("gone")))
    with pytest.raises(EngineError):
        compressor.compress_documents(documents, QUERY, [tracer])
    with pytest.raises(EngineError):
        asyncio.run(compressor.acompress_documents(documents, QUERY, [tracer]))
    assert len(tracer.all_runs()) == 2
    assert all("gone" in run.error for run in tracer.all_runs())


def test_a_kept_order_is_traced_as_such(make, make_engine, documents, tracer):
    compressor = make(make_engine(error=OSError("gone")), on_failure="keep_order")
    compressor.compress_documents(documents, QUERY, [tracer])
    [run] = tracer.all_runs()
    assert run.error is None
    assert run.outputs["failure"].startswith("EngineError: ")


def test_the_run_belongs_to_the_one_whose_callbacks_are_passed(compressor, documents, tracer):
    parent = CallbackManager.configure([tracer]).on_chain_start({"name": "parent"}, {})
    compressor.compress_documents(documents, QUERY, parent.get_child())
    parent.on_chain_end({})
    [root] = tracer.roots
    assert [child.name for child in root.child_runs] == ["Qwen3AscendRerank"]


def test_a_step_of_a_chain_is_a_child_of_the_chain(compressor, tracer):
    fetch = RunnableLambda(lambda _: [Document("best"), Document("poor")])
    chain = {"query": RunnablePassthrough(), "documents": fetch} | compressor
    chain.invoke(QUERY, {"callbacks": [tracer], "tags": ["mine"], "metadata": {"user": "u"}})
    [run] = tracer.reranks()
    [root] = tracer.roots
    assert run.parent_run_id == root.id
    assert "mine" in run.tags
    assert run.extra["metadata"]["user"] == "u"


def test_a_plain_call_inside_a_chain_is_a_child_of_the_chain(compressor, documents, tracer):
    chain = RunnableLambda(lambda query: compressor.compress_documents(documents, query))
    chain.invoke(QUERY, {"callbacks": [tracer]})
    [run] = tracer.reranks()
    assert run.parent_run_id == tracer.roots[0].id


def test_the_config_names_the_run(compressor, documents, tracer):
    given = {"query": QUERY, "documents": documents}
    compressor.invoke(given, {"callbacks": [tracer], "run_name": "second stage"})
    assert [run.name for run in tracer.roots] == ["second stage"]
