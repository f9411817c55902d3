"""Spans, events and callbacks: exactly one rerank for each call, always ended."""

from __future__ import annotations

import asyncio

import pytest
from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.instrumentation.events.exception import ExceptionEvent
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent

from qwen3_ascend_rerank import EngineError

QUERY = "what is the answer?"


@pytest.fixture(params=["sync", "async"])
def rank(request):
    def rank(postprocessor, nodes, query=QUERY, **options):
        if request.param == "sync":
            return postprocessor.postprocess_nodes(nodes, query_str=query, **options)
        return asyncio.run(postprocessor.apostprocess_nodes(nodes, query_str=query, **options))

    return rank


def test_events_tell_the_query_the_nodes_before_and_after(rank, postprocessor, nodes, events):
    ranked = rank(postprocessor, nodes, top_n=2)
    start, end = events.reranks()
    assert isinstance(start, ReRankStartEvent)
    assert (start.query.query_str, start.top_n, start.model_name) == (QUERY, 2, postprocessor.model)
    assert [one.node for one in start.nodes] == [one.node for one in nodes]
    assert isinstance(end, ReRankEndEvent)
    assert [one.score for one in end.nodes] == [one.score for one in ranked]


def test_events_hold_nodes_of_their_own(rank, postprocessor, nodes, events):
    ranked = rank(postprocessor, nodes)
    for given in [*nodes, *ranked]:
        given.score = -1.0
    start, end = events.reranks()
    assert [one.score for one in start.nodes] == [0.9, 0.1, None]
    assert all(one.score >= 0 for one in end.nodes)
    assert start.nodes[0].node is nodes[0].node
    assert end.nodes[0].node is ranked[0].node


def test_without_top_n_the_start_tells_how_many_there_are(rank, postprocessor, nodes, events):
    rank(postprocessor, nodes)
    assert events.reranks()[0].top_n == 3


def test_events_come_in_pairs_for_no_nodes_at_all(rank, postprocessor, events):
    rank(postprocessor, [])
    start, end = events.reranks()
    assert (start.nodes, end.nodes) == ([], [])


def test_events_come_in_pairs_when_it_fails(rank, make, make_engine, nodes, events, spans):
    postprocessor = make(make_engine(error=OSError("gone")))
    with pytest.raises(EngineError):
        rank(postprocessor, nodes)
    start, end = events.reranks()
    assert len(start.nodes) == 3
    assert end.nodes == []
    assert len(spans.dropped_spans) == 1


def test_events_come_in_pairs_when_the_query_is_missing(rank, postprocessor, nodes, events):
    with pytest.raises(ValueError, match="no query"):
        rank(postprocessor, nodes, None)
    start, end = events.reranks()
    assert start.query is None
    assert end.nodes == []


def test_events_come_in_pairs_when_the_caller_gives_up(make, make_engine, nodes, events):
    postprocessor = make(make_engine(seconds=30))

    async def impatient():
        await asyncio.wait_for(postprocessor.apostprocess_nodes(nodes, query_str=QUERY), 0.1)

    with pytest.raises((TimeoutError, asyncio.TimeoutError)):
        asyncio.run(impatient())
    assert len(events.reranks()) == 2


def test_a_kept_order_is_traced_as_such(rank, make, make_engine, nodes, events):
    rank(make(make_engine(error=OSError("gone")), on_failure="keep_order"), nodes)
    start, end = events.reranks()
    assert [one.node_id for one in end.nodes] == [one.node_id for one in start.nodes]
    assert end.nodes[0].metadata["rerank_failure"] == "EngineError"
    [exception] = [event for event in events.events if isinstance(event, ExceptionEvent)]
    assert "gone" in str(exception.exception)


def test_a_call_has_one_span_and_its_events_belong_to_it(rank, postprocessor, nodes, events, spans):
    rank(postprocessor, nodes)
    [span] = spans.named("Qwen3AscendRerank")
    assert "postprocess_nodes" in span.id_
    assert {event.span_id for event in events.reranks()} == {span.id_}


def test_calls_at_once_have_a_span_each(postprocessor, nodes, events, spans):
    async def many():
        await asyncio.gather(
            *(postprocessor.apostprocess_nodes(nodes, query_str=f"{n}?") for n in range(10))
        )

    asyncio.run(many())
    assert len(spans.named("Qwen3AscendRerank")) == 10
    pairs = {}
    for event in events.reranks():
        pairs.setdefault(event.span_id, []).append(type(event))
    assert list(pairs.values()) == [[ReRankStartEvent, ReRankEndEvent]] * 10


def test_the_older_callbacks_hear_of_it(rank, postprocessor, nodes, legacy, callbacks):
    postprocessor.callback_manager = callbacks
    ranked = rank(postprocessor, nodes, top_n=2)
    [(kind, start)], [(_, end)] = legacy.started, legacy.ended
    assert kind == CBEventType.RERANKING
    assert start[EventPayload.QUERY_STR] == QUERY
    assert start[EventPayload.TOP_K] == 2
    assert start[EventPayload.MODEL_NAME] == postprocessor.model
    assert len(start[EventPayload.NODES]) == 3
    assert [one.score for one in end[EventPayload.NODES]] == [one.score for one in ranked]


def test_the_older_callbacks_hear_of_a_failure(rank, make, make_engine, nodes, legacy, callbacks):
    postprocessor = make(make_engine(error=OSError("gone")), callback_manager=callbacks)
    with pytest.raises(EngineError):
        rank(postprocessor, nodes)
    [(_, end)] = legacy.ended
    assert isinstance(end[EventPayload.EXCEPTION], EngineError)
