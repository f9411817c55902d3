"""Every property of a LlamaIndex reranker, each on the real Reranker around a fake engine."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import math
import pickle
import threading
import time

import pytest
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import (
    Document,
    ImageNode,
    MetadataMode,
    NodeWithScore,
    QueryBundle,
    TextNode,
)
from llama_index.postprocessor.qwen3_ascend_rerank import Qwen3AscendRerank
from pydantic import ValidationError

from qwen3_ascend_rerank import (
    DEFAULT_INSTRUCTION,
    CascadeReranker,
    EngineError,
    InvalidInputError,
    Reranker,
    RerankerClosedError,
    RerankTimeoutError,
)
from qwen3_ascend_rerank.components.settings import RerankSettings
from qwen3_ascend_rerank.testing import FakeEngine

QUERY = "what is the answer?"


def ids(nodes: list[NodeWithScore]) -> list[str]:
    return [node.node_id for node in nodes]


def rank(postprocessor, nodes, query=QUERY, **options) -> list[NodeWithScore]:
    return postprocessor.postprocess_nodes(nodes, query_str=query, **options)


async def arank(postprocessor, nodes, query=QUERY, **options) -> list[NodeWithScore]:
    return await postprocessor.apostprocess_nodes(nodes, query_str=query, **options)


def test_class_hierarchy():
    assert issubclass(Qwen3AscendRerank, BaseNodePostprocessor)
    assert issubclass(Qwen3AscendRerank, RerankSettings)
    assert Qwen3AscendRerank.class_name() == "Qwen3AscendRerank"


# -- the ranking -----------------------------------------------------------------------------------


def test_chosen_fields_are_read_as_metadata_mode_reads_all():
    node = TextNode(text="It needs flour.", metadata={"title": "Bread", "date": "2024"})
    given = [NodeWithScore(node=node)]
    with Qwen3AscendRerank(model="lexical") as plain:
        every = rank(plain, given, "Bread")[0].score
        plain.metadata_fields = ["title", "date"]
        assert rank(plain, given, "Bread")[0].score == every
        plain.metadata_fields = "date"
        assert rank(plain, given, "Bread")[0].score < every
        again = rank(plain, given, "Bread")[0]
    assert again.node.get_content(MetadataMode.NONE) == "It needs flour."


def found(*scores):
    texts = ["China is large.", "The capital of China is Beijing.", "Bread needs flour."]
    return [
        NodeWithScore(node=TextNode(id_=str(place), text=text), score=score)
        for place, (text, score) in enumerate(zip(texts, scores, strict=True))
    ]


def test_the_retrievers_score_counts_where_it_is_asked_to():
    given = found(9.0, 1.0, 5.0)
    with Qwen3AscendRerank(model="lexical", fusion="weighted:0") as postprocessor:
        ranked = rank(postprocessor, given, "capital of China")
        assert ids(ranked) == ids(asyncio.run(arank(postprocessor, given))) == ["0", "2", "1"]
        assert [one.node.metadata["retrieval_score"] for one in ranked] == [9.0, 5.0, 1.0]
        scores = [one.score for one in ranked]
        assert scores == [one.node.metadata["relevance_score"] for one in ranked]
        assert scores != sorted(scores, reverse=True)
        top = postprocessor.postprocess_nodes(
            given, query_str="capital of China", top_n=1, threshold=scores[2]
        )
        assert ids(top) == ["1"]  # 2 and 0 score less
        postprocessor.fusion = "weighted:1"
        assert ids(rank(postprocessor, given, "capital of China")) == ["1", "0", "2"]
        postprocessor.fusion = None
        assert ids(rank(postprocessor, given, "capital of China")) == ["1", "0", "2"]


@pytest.mark.parametrize("score", [None, float("nan")])
def test_a_node_without_a_score_is_an_error_where_it_counts(score):
    with Qwen3AscendRerank(model="lexical", fusion="rrf", on_failure="keep_order") as postprocessor:
        with pytest.raises(InvalidInputError, match="document 2 has .* as the score of its node"):
            rank(postprocessor, found(1.0, 2.0, score), "capital of China")
        assert rank(postprocessor, [], "capital of China") == []


def test_a_cascade_is_a_setting():
    with Qwen3AscendRerank(model="lexical", cascade="lexical:2", fusion="rrf") as postprocessor:
        ranked = rank(postprocessor, found(3.0, 2.0, 1.0), "capital of China")
        assert sorted(one.node.metadata["relevance_stage"] for one in ranked) == [1, 2, 2]
        assert pickle.loads(pickle.dumps(postprocessor)).cascade == ["lexical:2"]
    with pytest.raises(ValueError, match="use rrf"):
        Qwen3AscendRerank(model="lexical", cascade="lexical:2", fusion="weighted:0.5")


def test_calibrated_relevance_stands_beside_the_score(tmp_path, nodes):
    file = tmp_path / "calibration.json"
    content = {"form": "qwen3-rerank calibration", "version": 1, "method": "isotonic"}
    content |= {"knots": [[-9, 0.25], [9, 0.25], [10, 0.5]], "model": "lexical"}
    file.write_text(json.dumps({**content, "instruction": DEFAULT_INSTRUCTION}))
    with Qwen3AscendRerank(model="lexical", calibration=str(file)) as postprocessor:
        for one in rank(postprocessor, nodes):
            assert one.node.metadata["relevance"] == 0.25
            assert "relevance" in one.node.excluded_llm_metadata_keys
            assert "relevance" not in one.node.get_content(MetadataMode.LLM)
        assert pickle.loads(pickle.dumps(postprocessor)).calibration == postprocessor.calibration


def test_the_best_node_comes_first(postprocessor, nodes):
    assert ids(rank(postprocessor, nodes)) == ["b", "g", "p"]
    assert ids(asyncio.run(arank(postprocessor, nodes))) == ["b", "g", "p"]


def test_the_score_is_the_probability_that_the_core_gives(make, engine, nodes):
    postprocessor = make(engine, metadata_mode=MetadataMode.NONE)
    ranked = rank(postprocessor, nodes)
    assert [n.score for n in ranked] == pytest.approx([1 / (1 + math.exp(-x)) for x in (4, 0, -4)])
    texts = [node.text for node in ranked]
    assert [n.score for n in ranked] == postprocessor.reranker.score(QUERY, texts)


def test_scores_reach_the_right_nodes_when_texts_repeat(postprocessor, engine):
    texts = ["good", "best", "good", "poor"]
    nodes = [NodeWithScore(node=TextNode(id_=str(i), text=t)) for i, t in enumerate(texts)]
    assert ids(rank(postprocessor, nodes)) == ["1", "0", "2", "3"]
    assert len(engine.pairs) == 3


def test_no_nodes_give_no_nodes_and_load_nothing(postprocessor, engine):
    assert rank(postprocessor, []) == []
    assert asyncio.run(arank(postprocessor, [])) == []
    assert engine.starts == 0


def test_a_query_is_needed_once(postprocessor, nodes):
    with pytest.raises(ValueError, match="no query"):
        postprocessor.postprocess_nodes(nodes)
    with pytest.raises(ValueError, match="no query"):
        asyncio.run(postprocessor.apostprocess_nodes(nodes))
    with pytest.raises(ValueError, match="both"):
        postprocessor.postprocess_nodes(nodes, QueryBundle(QUERY), QUERY)
    assert postprocessor.postprocess_nodes(nodes, QueryBundle(QUERY)) == rank(postprocessor, nodes)


# -- what happens to a node ------------------------------------------------------------------------


def test_id_metadata_relationships_embedding_and_type_survive(postprocessor, nodes):
    nodes.append(
        NodeWithScore(node=ImageNode(id_="i", text="a good picture", image_url="http://i"))
    )
    ranked = {one.node_id: one.node for one in rank(postprocessor, nodes)}
    for given in (one.node for one in nodes):
        node = ranked[given.node_id]
        assert type(node) is type(given)
        assert node.relationships == given.relationships
        assert node.embedding == given.embedding
        assert given.metadata.items() <= node.metadata.items()
    assert ranked["i"].image_url == "http://i"


def test_the_nodes_passed_in_are_not_touched(postprocessor, nodes):
    before = copy.deepcopy(nodes)
    ranked = rank(postprocessor, nodes)
    rank(postprocessor, nodes, "another question")
    assert nodes == before
    for one, given in zip(nodes, before, strict=True):
        assert one.score == given.score
        assert one.node.excluded_llm_metadata_keys == given.node.excluded_llm_metadata_keys
    assert not {id(one.node) for one in ranked} & {id(one.node) for one in nodes}


def test_both_scores_are_in_the_metadata_and_nobody_reads_them_out(postprocessor, nodes):
    b, g, p = rank(postprocessor, nodes)
    assert (b.metadata["retrieval_score"], p.metadata["retrieval_score"]) == (0.1, 0.9)
    assert "retrieval_score" not in g.metadata
    assert b.metadata["relevance_score"] == b.score
    for given, ranked in zip((nodes[1], nodes[2], nodes[0]), (b, g, p), strict=True):
        for mode in (MetadataMode.EMBED, MetadataMode.LLM):
            assert ranked.node.get_content(mode) == given.node.get_content(mode)


def test_a_second_rerank_scores_the_same_text_and_keeps_the_retrievers_score(postprocessor, nodes):
    once = rank(postprocessor, nodes)
    twice = rank(postprocessor, once)
    assert [one.score for one in twice] == [one.score for one in once]
    assert [one.metadata.get("retrieval_score") for one in twice][::2] == [0.1, 0.9]
    assert len(twice[0].node.excluded_llm_metadata_keys) == 5


@pytest.mark.parametrize(
    ("mode", "seen", "hidden"),
    [
        (MetadataMode.EMBED, ["title", "number"], ["secret"]),
        (MetadataMode.LLM, ["title", "secret"], ["number"]),
        (MetadataMode.ALL, ["title", "secret", "number"], []),
        (MetadataMode.NONE, [], ["title", "secret", "number"]),
    ],
)
def test_the_metadata_that_is_scored_can_be_chosen(make, engine, mode, seen, hidden):
    node = TextNode(
        text="best",
        metadata={"title": "T", "secret": "S", "number": 7},
        excluded_embed_metadata_keys=["secret"],
        excluded_llm_metadata_keys=["number"],
    )
    rank(make(engine, metadata_mode=mode), [NodeWithScore(node=node)])
    [(_, text)] = engine.pairs
    assert all(key in text for key in seen)
    assert not any(key in text for key in hidden)


# -- options ---------------------------------------------------------------------------------------


def test_top_n_may_be_a_field_or_none_or_an_option_of_each_call(make, engine, nodes):
    assert len(rank(make(engine), nodes)) == 3
    postprocessor = make(engine, top_n=2)
    assert ids(rank(postprocessor, nodes)) == ["b", "g"]
    assert ids(rank(postprocessor, nodes, top_n=1)) == ["b"]
    assert ids(asyncio.run(arank(postprocessor, nodes, top_n=1))) == ["b"]
    assert len(rank(postprocessor, nodes, top_n=10)) == 3
    assert postprocessor.top_n == 2


def test_none_lifts_a_limit_for_one_call(make, engine, nodes):
    postprocessor = make(engine, top_n=1, threshold=0.9)
    assert ids(rank(postprocessor, nodes)) == ["b"]
    assert len(rank(postprocessor, nodes, top_n=None, threshold=None)) == 3
    assert len(asyncio.run(arank(postprocessor, nodes, top_n=None, threshold=None))) == 3


def test_what_chose_the_engine_cannot_be_assigned_and_the_rest_is_checked(callbacks):
    postprocessor = Qwen3AscendRerank(model="lexical")
    for name, value in {"max_length": 100, "model": "other", "api_key": "k", "engine": "x"}.items():
        with pytest.raises(InvalidInputError, match=f"{name} of a Qwen3AscendRerank cannot"):
            setattr(postprocessor, name, value)
    for name, value in {"top_n": 0, "metadata_mode": "some", "on_failure": "ignore"}.items():
        with pytest.raises(InvalidInputError, match=f"{name} is"):
            setattr(postprocessor, name, value)
    postprocessor.callback_manager = callbacks  # as query engines do
    postprocessor.metadata_mode = "llm"
    assert postprocessor.metadata_mode is MetadataMode.LLM


def test_the_threshold_is_inclusive_and_comes_before_top_n(make, engine, nodes):
    postprocessor = make(engine, threshold=0.5)
    assert ids(rank(postprocessor, nodes)) == ["b", "g"]
    assert ids(rank(postprocessor, nodes, threshold=0.51, top_n=2)) == ["b"]


def test_the_instruction_reaches_the_prompt(make, engine, nodes):
    rank(make(engine), nodes)
    rank(make(engine, instruction="Find recipes"), nodes)
    rank(make(engine), nodes, instruction="Find laws")
    assert engine.instructions == [DEFAULT_INSTRUCTION, "Find recipes", "Find laws"]


def test_a_timeout_can_be_set_for_one_call(postprocessor, nodes):
    with pytest.raises(RerankTimeoutError):
        rank(postprocessor, nodes, timeout=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_n": 0}, "top_n is 0"),
        ({"threshold": 1.5}, "threshold is 1.5"),
        ({"timeout": 0}, "timeout is 0"),
        ({"instruction": " "}, "instruction is ' '"),
    ],
)
def test_a_wrong_option_is_named(postprocessor, nodes, options, message):
    with pytest.raises(InvalidInputError, match=message):
        rank(postprocessor, nodes, **options)
    with pytest.raises(ValidationError, match=message):
        Qwen3AscendRerank(**options)


def test_an_unknown_option_is_refused(postprocessor, nodes):
    with pytest.raises(TypeError, match="topn is no option of a call; did you mean top_n"):
        rank(postprocessor, nodes, topn=1)
    with pytest.raises(ValidationError, match="topn is no setting .* did you mean top_n"):
        Qwen3AscendRerank(topn=1)


def test_a_model_by_position_is_told_its_name():
    with pytest.raises(InvalidInputError, match="by name; pass model='lexical'"):
        Qwen3AscendRerank("lexical")


NODE = NodeWithScore(node=TextNode(text="a"))
WRONG_NODES = [
    ([TextNode(text="a")], r"nodes\[0\] is TextNode.* \(TextNode\); .* NodeWithScore\(node=node\)"),
    ([NODE, Document(text="b")], r"nodes\[1\] is Document.* \(Document\); pass NodeWithScore"),
    ([NODE, "x"], r"nodes\[1\] is 'x' \(str\); .* NodeWithScore\(node=TextNode\(text=text\)\)"),
    ([{"text": "a"}], r"nodes\[0\] is \{'text': 'a'\} \(dict\)"),
    ([None], r"nodes\[0\] is None \(NoneType\)"),
    (NODE, r"nodes is NodeWithScore.* \(NodeWithScore\); pass a list"),
    ({"a": NODE}, r"nodes is .* \(dict\); pass a list"),
    ("x", r"nodes is 'x' \(str\); pass a list"),
    (None, r"nodes is None \(NoneType\); pass a list"),
]


@pytest.mark.parametrize("asked", [{"query_str": QUERY}, {"query_bundle": QueryBundle(QUERY)}])
@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize(("wrong", "message"), WRONG_NODES)
def test_what_is_no_node_with_a_score_is_named(postprocessor, events, way, wrong, message, asked):
    sync, asynchronous = postprocessor.postprocess_nodes, postprocessor.apostprocess_nodes
    call = sync if way == "sync" else lambda *args, **kw: asyncio.run(asynchronous(*args, **kw))
    with pytest.raises(InvalidInputError, match=message):
        call(wrong, **asked)
    assert events.reranks() == []


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"query_bundle": QUERY}, r"query_bundle is a str; pass query_str='what is the answer\?'"),
        ({"query_bundle": 3}, r"query is 3 \(int\); pass a str"),
        ({"query_str": 3}, r"query is 3 \(int\); pass a str"),
        ({"query_str": " "}, "query is empty"),
        ({"query_bundle": QueryBundle("")}, "query is empty"),
        ({"query_bundle": QueryBundle(None)}, "query is None"),
        ({"query_str": QUERY, "top_n": "three"}, r"top_n is 'three' \(str\)"),
    ],
)
def test_a_query_or_option_of_another_kind_is_named(postprocessor, nodes, asked, message):
    with pytest.raises(InvalidInputError, match=message):
        postprocessor.postprocess_nodes(nodes, **asked)
    with pytest.raises(InvalidInputError, match=message):
        asyncio.run(postprocessor.apostprocess_nodes(nodes, **asked))


# -- async, threads and loops ----------------------------------------------------------------------


def test_async_calls_run_side_by_side_without_threads(make, make_engine, nodes):
    postprocessor = make(make_engine(seconds=0.3))

    async def many() -> int:
        await postprocessor.astart()
        waiting = asyncio.gather(*(arank(postprocessor, nodes, f"{n}?") for n in range(100)))
        await asyncio.sleep(0.15)
        during = threading.active_count()
        await waiting
        return during

    before = threading.active_count()
    began = time.perf_counter()
    during = asyncio.run(many())
    assert time.perf_counter() - began < 25  # one after another: 30 seconds
    assert during < before + 40  # those of the core's tokenizer pool, not one a call


def test_one_object_serves_several_loops_one_after_another_and_at_once(postprocessor, nodes):
    answers = [ids(asyncio.run(arank(postprocessor, nodes))) for _ in range(3)]

    def in_a_loop_of_its_own() -> None:
        answers.append(ids(asyncio.run(arank(postprocessor, nodes))))

    threads = [threading.Thread(target=in_a_loop_of_its_own) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [["b", "g", "p"]] * 7


# -- failure ---------------------------------------------------------------------------------------


def test_failures_are_raised(make, make_engine, nodes):
    postprocessor = make(make_engine(error=OSError("gone")))
    with pytest.raises(EngineError, match="gone"):
        rank(postprocessor, nodes)
    with pytest.raises(EngineError, match="gone"):
        asyncio.run(arank(postprocessor, nodes))


@pytest.mark.parametrize("way", ["sync", "async"])
def test_keep_order_goes_on_without_reranking(make, make_engine, nodes, caplog, way):
    postprocessor = make(
        make_engine(error=OSError("gone")), on_failure="keep_order", top_n=2, threshold=0.99
    )
    with caplog.at_level(logging.WARNING):
        if way == "sync":
            kept = rank(postprocessor, nodes)
        else:
            kept = asyncio.run(arank(postprocessor, nodes))
    assert ids(kept) == ["p", "b"]
    assert [one.score for one in kept] == [0.9, 0.1]
    assert [one.metadata["rerank_failure"] for one in kept] == ["EngineError"] * 2
    assert not any("relevance_score" in one.metadata for one in kept)
    assert kept[0].node.get_content(MetadataMode.LLM) == nodes[0].node.get_content(MetadataMode.LLM)
    assert "gone" in caplog.text
    assert "rerank_failure" not in nodes[0].metadata


@pytest.mark.parametrize("way", ["sync", "async"])
def test_keep_order_soon_gives_up_a_server_that_is_not_there(nodes, closed_url, caplog, way):
    began = time.perf_counter()
    with Qwen3AscendRerank(
        base_url=closed_url, on_failure="keep_order", patience=0.3, top_n=2
    ) as postprocessor:
        kept = (
            rank(postprocessor, nodes)
            if way == "sync"
            else asyncio.run(arank(postprocessor, nodes))
        )
    assert time.perf_counter() - began < 9  # the engine itself tries for 10 seconds
    assert ids(kept) == ["p", "b"]
    assert [one.metadata["rerank_failure"] for one in kept] == ["ServerUnavailableError"] * 2
    assert f"{closed_url} cannot be reached" in caplog.text


def test_a_timeout_counts_as_a_failure_and_a_wrong_argument_does_not(make, make_engine, nodes):
    postprocessor = make(make_engine(seconds=30), on_failure="keep_order", timeout=0.2)
    assert rank(postprocessor, nodes)[0].metadata["rerank_failure"] == "RerankTimeoutError"
    with pytest.raises(InvalidInputError, match="top_n"):
        rank(postprocessor, nodes, top_n=0)
    with pytest.raises(InvalidInputError, match="no query"):
        postprocessor.postprocess_nodes(nodes)


# -- life ------------------------------------------------------------------------------------------


def test_nothing_is_loaded_before_the_first_call(postprocessor, engine, nodes):
    assert engine.starts == 0
    rank(postprocessor, nodes)
    rank(postprocessor, nodes, "another question")
    assert engine.starts == 1


def test_copies_share_one_engine_and_close_one_by_one(loaded, nodes):
    one = Qwen3AscendRerank(model="lexical", top_n=1)
    others = [one.model_copy(update={"top_n": n}) for n in (1, 2, 3)] + [copy.deepcopy(one)]
    one.start()
    one.close()
    assert [len(rank(other, nodes)) for other in others] == [1, 2, 3, 1]
    assert len({id(other._core._held.lease._engine) for other in others}) == 1
    for other in others:
        other.close()
    with pytest.raises(RerankerClosedError):
        rank(others[0], nodes)


def test_context_managers_close_it_unless_the_reranker_was_handed_in(
    loaded, postprocessor, engine, nodes
):
    with postprocessor:
        rank(postprocessor, nodes)
    assert not engine.closed

    async def in_a_loop() -> None:
        async with Qwen3AscendRerank(model="lexical") as own:
            assert await arank(own, nodes)
        with pytest.raises(RerankerClosedError):
            await arank(own, nodes)

    asyncio.run(in_a_loop())


# -- settings --------------------------------------------------------------------------------------


def test_settings_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("QWEN3_RERANK_MODEL", "lexical")
    monkeypatch.setenv("QWEN3_RERANK_TOP_N", "3")
    monkeypatch.setenv("QWEN3_RERANK_ON_FAILURE", "keep_order")
    postprocessor = Qwen3AscendRerank(top_n=5)
    assert (postprocessor.model, postprocessor.top_n) == ("lexical", 5)
    assert postprocessor.on_failure == "keep_order"


def test_a_reranker_that_was_handed_in_speaks_for_itself(monkeypatch, engine):
    monkeypatch.setenv("QWEN3_RERANK_TOP_N", "9")
    reranker = Reranker(engine, top_n=3)
    assert Qwen3AscendRerank(reranker=reranker).top_n == 3
    with pytest.raises(ValidationError, match="model given beside reranker"):
        Qwen3AscendRerank(reranker=reranker, model="lexical")


def test_no_secret_is_written_down(monkeypatch):
    postprocessor = Qwen3AscendRerank(
        base_url="http://127.0.0.1:1",
        api_key="seed",
        engine_options={"hf_token": "seed", "nested": [{"password": "seed"}], "attempts": 2},
    )
    assert postprocessor.to_dict()["engine_options"] == {"attempts": 2}
    written = [str(postprocessor.to_dict()), postprocessor.to_json(), repr(postprocessor)]
    assert not [text for text in written if "seed" in text]
    monkeypatch.setenv("QWEN3_RERANK_API_KEY", "other")
    again = Qwen3AscendRerank.from_dict(postprocessor.to_dict())
    assert again.api_key.get_secret_value() == "other"


def test_it_goes_through_dicts_json_and_pickle(callbacks):
    postprocessor = Qwen3AscendRerank(
        model="lexical",
        top_n=2,
        metadata_mode=MetadataMode.LLM,
        on_failure="keep_order",
        callback_manager=callbacks,
    )
    assert Qwen3AscendRerank.from_dict(postprocessor.to_dict()) == postprocessor
    assert Qwen3AscendRerank.from_json(postprocessor.to_json()) == postprocessor
    assert pickle.loads(pickle.dumps(postprocessor)) == postprocessor
    assert json.loads(postprocessor.to_json())["class_name"] == "Qwen3AscendRerank"
    assert postprocessor.callback_manager is callbacks


def test_it_describes_its_settings_in_a_schema():
    schema = Qwen3AscendRerank.model_json_schema()
    assert {"model", "top_n", "on_failure", "metadata_mode"} <= schema["properties"].keys()
    assert "reranker" not in schema["properties"]


def test_the_place_of_the_best_passage_counts_in_the_nodes_own_text():
    text = "".join(f"straw {number} " for number in range(900)) + "needle"
    engine = FakeEngine(lambda _, text: 5.0 if "needle" in text or "title" in text else -5.0)
    with Reranker(engine, max_length=200) as core:
        postprocessor = Qwen3AscendRerank(reranker=core, long_documents="max_passage")
        node = TextNode(text=text, metadata={"source": "barn.md"})
        (best,) = postprocessor.postprocess_nodes([NodeWithScore(node=node)], query_str="needle?")
        start, end = best.metadata["relevance_span"]
        assert text[start:end].endswith("needle")
        assert end == len(text)
        assert "relevance_span" in best.node.excluded_llm_metadata_keys
        titled = TextNode(text=text[:-6], metadata={"title": "t" * 2000})
        (best,) = postprocessor.postprocess_nodes([NodeWithScore(node=titled)], query_str="x")
        assert best.metadata.get("relevance_span", [0])[0] == 0  # in the metadata, or at its edge


def test_a_cascade_is_taken_as_a_reranker_is():
    small, large = (FakeEngine(lambda _, text, at=at: float(text.split()[at])) for at in (0, 1))
    with CascadeReranker([(Reranker(small), 2), Reranker(large)], top_n=3) as cascade:
        postprocessor = Qwen3AscendRerank(reranker=cascade)
        given = [NodeWithScore(node=TextNode(text=text)) for text in ("9 1", "8 2", "7 3", "6 4")]
        ranked = postprocessor.postprocess_nodes(given, query_str="q")
        assert [one.text for one in ranked] == ["8 2", "9 1", "7 3"]
        assert [one.metadata["relevance_stage"] for one in ranked] == [2, 2, 1]
        assert "relevance_stage" in ranked[0].node.excluded_llm_metadata_keys
