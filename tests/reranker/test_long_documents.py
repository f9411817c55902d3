"""Long documents: what is scored of them, where the best of it is, and what that takes."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3_ascend_rerank import InvalidInputError, Reranker
from qwen3_ascend_rerank.testing import FakeEngine

QUERY = "capital of China"
NEEDLE = "Beijing is the capital of China."
FILLING = "The river flows slowly through the valley and nobody knows why it bends there. "
BOOK = "".join(
    f"On day {day} a boat came down with {day * 7919 % 1000} sacks of grain. "
    for day in range(1400)
)
"""More than 20,000 tokens, of which no passage is like another."""


def found(query: str, document: str) -> float:
    """What a fake engine says: whether the sentence stands whole in what it reads."""
    return 5.0 if NEEDLE in document else -5.0 + len(document) / 1e6


@pytest.fixture(scope="module")
def reader() -> Any:
    with Reranker("lexical", max_length=2048, passage_tokens=512) as reranker:
        yield reranker


@pytest.fixture(scope="module")
def finder() -> Any:
    with Reranker(FakeEngine(found), max_length=2048, passage_tokens=512) as reranker:
        yield reranker


def with_needle(place: int) -> tuple[str, int]:
    """The book with the sentence in it, between two words near `place`, and where."""
    place = BOOK.rfind(" ", 0, place) + 1
    return f"{BOOK[:place]}{NEEDLE} {BOOK[place:]}", place


# -- what it is for --------------------------------------------------------------------------------


@given(place=st.integers(0, len(BOOK)))
@settings(max_examples=40)
def test_a_sentence_is_found_wherever_it_stands_in_20_000_tokens(
    finder: Reranker, place: int
) -> None:
    document, place = with_needle(place)
    result = finder.rerank(QUERY, [document, FILLING], long_documents="max_passage")
    assert result.usage.prompt_tokens > 20_000
    best = result[0]
    assert (best.index, best.truncated) == (0, False)
    assert best.score > 0.9
    assert best.span is not None
    assert best.span[0] <= place <= best.span[1] - len(NEEDLE)
    assert best.text is document
    if place > 12_000:
        assert finder.score(QUERY, [document])[0] < 0.1  # it is cut off


def test_a_model_finds_it_and_says_where(reader: Reranker) -> None:
    document, place = with_needle(len(BOOK) * 2 // 3)
    (best,) = reader.rerank(QUERY, [document], long_documents="max_passage")
    assert best.score > 0.9
    assert best.span is not None
    assert best.span[0] <= place < best.span[1]
    assert reader.score(QUERY, [document])[0] < 0.1


def test_the_score_is_that_of_the_passage_as_a_document_of_its_own(reader: Reranker) -> None:
    (one,) = reader.rerank(QUERY, [BOOK[:9000] + NEEDLE], long_documents="max_passage")
    again = reader.rerank(QUERY, [one.passage])
    assert again[0].log_odds == pytest.approx(one.log_odds, abs=1e-5)
    assert again[0].span is None


def test_by_default_the_beginning_is_scored_and_nothing_is_cut_into_passages() -> None:
    engine = FakeEngine(found, max_length=256)
    with Reranker(engine) as reranker:
        (one,) = reranker.rerank(QUERY, [BOOK + NEEDLE])
    assert len(engine.pairs) == 1
    assert (one.span, one.truncated, one.passage) == (None, True, BOOK + NEEDLE)


def test_first_passages_are_a_few_and_the_rest_counts_as_cut() -> None:
    engine = FakeEngine(found, max_length=256)
    with Reranker(engine, long_documents="first_passages", passage_limit=3) as reranker:
        near = f"{BOOK[:400]}{NEEDLE} {BOOK[:5000]}"
        result = reranker.rerank(QUERY, [BOOK[:5000] + NEEDLE, near])
    assert [one.index for one in result] == [1, 0]
    assert NEEDLE in result[0].passage
    assert len(engine.pairs) == 6
    assert (result.usage.passages_scored, result.usage.documents_truncated) == (6, 2)


# -- policy ----------------------------------------------------------------------------------------


def test_a_call_says_otherwise_than_the_object_and_none_leaves_it() -> None:
    with Reranker(FakeEngine(found, max_length=256), long_documents="max_passage") as reranker:
        document = BOOK[:5000] + NEEDLE
        assert reranker.score(QUERY, [document])[0] > 0.9
        assert reranker.score(QUERY, [document], long_documents="truncate")[0] < 0.1
        assert reranker.score(QUERY, [document], long_documents=None)[0] > 0.9
        assert reranker.score_pairs([(QUERY, document)], long_documents="truncate")[0] < 0.1
        outcomes = reranker.rerank_many([(QUERY, [document])], long_documents="truncate")
        assert next(iter(outcomes)).unwrap()[0].truncated
        reranker.long_documents = "truncate"
        assert asyncio.run(reranker.ascore(QUERY, [document]))[0] < 0.1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"long_documents": "max"}, r"long_documents is 'max' \(str\); use one of truncate, max_"),
        ({"long_documents": None}, "long_documents is None"),
        ({"passage_tokens": 0}, "passage_tokens is 0"),
        ({"passage_overlap": 1.5}, "passage_overlap is 1.5"),
        ({"passage_tokens": 64, "passage_overlap": 64}, "pass passage_overlap <= 32"),
        ({"passage_limit": 0}, "passage_limit is 0"),
    ],
)
def test_settings_that_cannot_be_used_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Reranker("lexical", **settings)


def test_threshold_and_top_n_are_by_the_best_passage() -> None:
    documents = [BOOK[:5000], BOOK[:5000] + NEEDLE, NEEDLE]
    with Reranker(FakeEngine(found, max_length=256), long_documents="max_passage") as reranker:
        assert [one.index for one in reranker.rerank(QUERY, documents, threshold=0.5)] == [1, 2]
        assert [one.index for one in reranker.rerank(QUERY, documents, top_n=1)] == [1]


# -- cost ------------------------------------------------------------------------------------------


def test_equal_passages_and_documents_are_scored_once() -> None:
    engine = FakeEngine(found, max_length=256)
    with Reranker(engine, long_documents="max_passage", passage_overlap=0) as reranker:
        result = reranker.rerank(QUERY, [BOOK, BOOK, "Title. " + BOOK, FILLING])
    assert len(engine.pairs) == len(set(engine.pairs))
    usage = result.usage
    assert (usage.pairs_scored, usage.pairs_reused) == (3, 1)
    assert usage.passages_scored == len(engine.pairs) - 1


def test_a_pair_that_is_known_is_known_with_its_passage() -> None:
    engine = FakeEngine(found, max_length=256)
    document = BOOK[:5000] + NEEDLE
    with Reranker(engine, long_documents="max_passage", cache_size=10) as reranker:
        first = reranker.rerank(QUERY, [document])
        asked = len(engine.pairs)
        again = reranker.rerank(QUERY, [document])
        assert len(engine.pairs) == asked
        assert (again.usage.pairs_reused, again.usage.passages_scored) == (1, 0)
        assert list(again) == list(first)
        cut = reranker.rerank(QUERY, [document], long_documents="truncate")
        assert (cut[0].truncated, cut[0].span) == (True, None)  # another question


@pytest.mark.parametrize("takes_text", [False, True])
def test_it_works_where_ids_are_sent_and_where_text_is(takes_text: bool) -> None:
    engine = FakeEngine(found, max_length=256, takes_text=takes_text)
    document = BOOK[:3000] + "<|im_end|>" * 40 + NEEDLE + " " + BOOK[:3000]
    with Reranker(engine, long_documents="max_passage") as reranker:
        result = reranker.rerank(QUERY, [document])
    assert NEEDLE in result[0].passage
    assert bool(result.usage.texts_defused) is takes_text
    assert all(len(text) < 2000 for _, text in engine.pairs)


def test_unusual_texts_are_scored() -> None:
    texts = ["", " ", "\x00" * 5000, "<|im_start|>" * 900, "🙂" * 5000, "\ud83d" * 900, "\n" * 9999]
    with Reranker(FakeEngine(found), max_length=200, long_documents="max_passage") as reranker:
        result = reranker.rerank(QUERY, texts)
    assert sorted(one.index for one in result) == list(range(len(texts)))
    assert all(one.passage for one in result if one.text)


def test_an_error_names_the_document_of_the_caller() -> None:
    from qwen3_ascend_rerank import DocumentError

    class Picky(FakeEngine):
        async def score(self, batch: Any) -> list[float]:
            bad = [place for place, text in enumerate(batch.texts) if NEEDLE in text]
            if bad:
                raise DocumentError(bad[0], "cannot be read")
            return await super().score(batch)

    with Reranker(Picky(max_length=256), long_documents="max_passage") as reranker:
        with pytest.raises(DocumentError, match=r"documents\[2\] cannot be read"):
            reranker.rerank(QUERY, [BOOK[:9000], BOOK[:9000], BOOK[:5000] + NEEDLE])
