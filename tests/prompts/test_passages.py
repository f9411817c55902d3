"""Passages: each a document that fits, cut between characters, and together the whole text."""

import asyncio
import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qwen3_ascend_rerank import DEFAULT_INSTRUCTION, InvalidInputError
from qwen3_ascend_rerank.prompts import QwenTokenizer, build_batch, load_tokenizer
from qwen3_ascend_rerank.prompts.passages import Excerpts, PassageRules
from qwen3_ascend_rerank.prompts.preparation import prepare_passages
from qwen3_ascend_rerank.prompts.template import CONTROL_TOKENS

QUERY = "What bends the river?"
PIECES = [
    *(
        "the river ",
        "bends",
        " slowly, ",
        "模型会给每个段落打分。",
        "読み",
        "한국어 문장",
        "ไทยภาษา",
    ),
    *("e\u0301", "x\u0323\u0301", "각", "\u1100\u1161\u11a8", "👩‍👩‍👧", "👍🏽", "🇨🇳🇫🇷", "❤️"),
    *(
        "\r\n",
        "\n\n",
        "   ",
        "\t",
        "0123456789",
        "a" * 40,
        " " * 30,
        "<|im_end|>",
        "\x00",
        "\u200b",
    ),
    *(
        "\ud83d\ude42",
        "\ud83d",
        "\ude42",
        "café naïve ",
        "मनुष्य",
        "שלום",
        "¿Qué?",
        "🏴\U000e0067\U000e007f",
    ),
]
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=8), max_size=120).map("".join)


@pytest.fixture(scope="module")
def tokenizer(qwen_file: Path) -> QwenTokenizer:
    return load_tokenizer(qwen_file)


def cut(
    tokenizer: QwenTokenizer,
    documents: Sequence[str],
    max_length: int = 8192,
    limit: int | None = None,
    as_text: bool = False,
    **rules: Any,
) -> Excerpts:
    made = prepare_passages(
        tokenizer,
        DEFAULT_INSTRUCTION,
        QUERY,
        documents,
        max_length,
        PassageRules(**rules),
        limit,
        as_text=as_text,
    )
    return asyncio.run(made)


def spans(excerpts: Excerpts, document: int = 0) -> list[tuple[int, int]]:
    return [one.span for one in excerpts.of[document] if one.span is not None]


# -- what holds of every text ----------------------------------------------------------------------


@given(
    text=TEXTS,
    tokens=st.integers(1, 40),
    overlap=st.integers(0, 20),
    as_text=st.booleans(),
)
@example(text="bends\ua8b4", tokens=1, overlap=0, as_text=False)  # a mark of several tokens
@settings(max_examples=150)
@pytest.mark.filterwarnings("ignore")
def test_every_passage_is_the_document_that_its_text_would_be(
    tokenizer: QwenTokenizer, text: str, tokens: int, overlap: int, as_text: bool
) -> None:
    excerpts = cut(tokenizer, [text], tokens=tokens, overlap=overlap, as_text=as_text)
    (own,) = excerpts.of
    assert excerpts.whole == [True]
    for one in own:
        part = text if one.span is None else text[slice(*one.span)]
        alone = build_batch(tokenizer, DEFAULT_INSTRUCTION, QUERY, [part], 8192, as_text=as_text)
        assert excerpts.batch.documents[one.prompt] == alone.documents[0]
        assert excerpts.batch.texts[one.prompt] == tokenizer.readable(alone.texts[0])
        # Nothing is too long but what is one character.
        assert len(alone.documents[0]) <= tokens or clusters(part) == 1 or len(part) >= 64
    found = spans(excerpts)
    if not found:
        assert own[0].span is None
        return
    assert found == sorted(found)
    assert all(start < end for start, end in found)
    assert all(end < later_end for (_, end), (_, later_end) in pairwise(found))
    covered = "".join(
        text[max(start, before) : end]
        for (start, end), before in zip(found, [0, *(end for _, end in found)], strict=False)
    )
    assert re.sub(r"\s", "", covered) == re.sub(r"\s", "", text)  # between them is white space


@given(text=TEXTS, tokens=st.integers(8, 40), overlap=st.integers(0, 4))
@settings(max_examples=100)
@pytest.mark.filterwarnings("ignore")
def test_no_cut_parts_what_is_read_as_one_character(
    tokenizer: QwenTokenizer, text: str, tokens: int, overlap: int
) -> None:
    for place in {
        one
        for span in spans(cut(tokenizer, [text], tokens=tokens, overlap=overlap))
        for one in span
    }:
        if not 0 < place < len(text):
            continue
        before, here = text[place - 1], text[place]
        run = re.search(r"\W*$", text[:place])
        assert run is not None
        if len(run[0]) > 60:
            continue  # marks without end are cut somewhere
        assert unicodedata.category(here)[0] != "M"
        assert "\u200d" not in (before, here)
        assert not ("\ud800" <= before <= "\udbff" and "\udc00" <= here <= "\udfff")
        assert (before, here) != ("\r", "\n")


def clusters(text: str) -> int:
    """About how many characters a reader would count; marks of all scripts are like accents."""
    text = "".join("\u0301" if unicodedata.category(one)[0] == "M" else one for one in text)
    return len(
        re.findall(
            r"(?:\r\n|[\U0001f1e6-\U0001f1ff]{2}|[\ud800-\udbff][\udc00-\udfff]|.)(?:\u200d.|[\u0301\u1160-\u11ff\ud7b0-\ud7ff\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f])*",
            text,
            re.DOTALL,
        )
    )


# -- windows ---------------------------------------------------------------------------------------


def test_neighbours_share_the_overlap_and_end_between_words(tokenizer: QwenTokenizer) -> None:
    text = "".join(f"Sentence number {number} says something of its own. " for number in range(400))
    found = spans(cut(tokenizer, [text], tokens=100, overlap=20))
    lengths = [len(tokenizer.encode([" " + text[slice(*span)]])[0]) for span in found]
    assert max(lengths) <= 100
    assert min(lengths[:-1]) > 90
    for (_, end), (start, _) in pairwise(found):
        shared = len(tokenizer.encode([text[start:end]])[0])
        assert 18 <= shared <= 30
        assert text[start].isalnum() != text[start - 1].isalnum()


def test_a_sentence_on_the_edge_stands_whole_in_one_of_both(tokenizer: QwenTokenizer) -> None:
    planted = "The bridge was built by monks."
    for words in range(60):
        text = "word " * words + planted + " word" * 200
        found = spans(cut(tokenizer, [text], tokens=64, overlap=16))
        assert any(planted in text[slice(*span)] for span in found)


def test_a_document_that_fits_is_read_in_one(tokenizer: QwenTokenizer) -> None:
    excerpts = cut(tokenizer, ["short", "", " "])
    assert [one.span for own in excerpts.of for one in own] == [None, None, None]
    assert excerpts.passages == 0


def test_a_passage_is_as_long_as_the_prompt_has_room_for(tokenizer: QwenTokenizer) -> None:
    text = "One river bends. " * 300
    excerpts = cut(tokenizer, [text], max_length=200)
    assert max(excerpts.batch.lengths()) <= 200
    assert min(excerpts.batch.lengths()[:2]) > 190


def test_first_passages_are_the_first_of_all_and_say_that_there_are_more(
    tokenizer: QwenTokenizer,
) -> None:
    text = "One river bends. " * 300
    every, first = cut(tokenizer, [text], tokens=64), cut(tokenizer, [text], tokens=64, limit=3)
    assert spans(first) == spans(every)[:3]
    assert (first.whole, every.whole) == ([False], [True])
    assert cut(tokenizer, [text[:300]], tokens=64, limit=3).whole == [True]


def test_equal_passages_have_one_prompt_whosever_they_are(tokenizer: QwenTokenizer) -> None:
    line = "The river bends here, and nobody knows why.\n"
    text = line * 60
    excerpts = cut(tokenizer, [text, "Title\n" + text, text, line], tokens=64, overlap=0)
    assert len({one.prompt for own in excerpts.of for one in own}) == len(excerpts.batch)
    assert len(set(excerpts.batch.texts)) == len(excerpts.batch) < len(excerpts.of[0])
    assert [one.prompt for one in excerpts.of[0]] == [one.prompt for one in excerpts.of[2]]
    assert excerpts.owner(excerpts.of[2][0].prompt) == 0


@pytest.mark.parametrize(
    "text",
    [
        "a" * 50_000,
        " " * 50_000,
        "\n" * 50_000 + "end",
        "\u0301" * 3_000,
        "中" * 20_000,
        "".join(CONTROL_TOKENS) * 500,
    ],
    ids=["one letter", "spaces", "lines", "marks", "ideographs", "control tokens"],
)
@pytest.mark.parametrize("as_text", [False, True])
def test_texts_without_a_place_to_cut_are_cut_in_time(
    tokenizer: QwenTokenizer, text: str, as_text: bool
) -> None:
    excerpts = cut(tokenizer, [text], tokens=100, as_text=as_text)
    assert max(map(len, excerpts.batch.documents)) <= 100
    assert spans(excerpts)[0][0] == 0
    assert not text[spans(excerpts)[-1][1] :].strip()


def test_room_for_a_single_token_reads_a_character_at_a_time(tokenizer: QwenTokenizer) -> None:
    prompt = build_batch(tokenizer, DEFAULT_INSTRUCTION, QUERY, [""], 8192)
    least = len(prompt.prefix) + len(prompt.suffix) + 1
    excerpts = cut(tokenizer, ["river 𓀀 bends", "𓀀𓁀"], max_length=least)
    assert set(excerpts.batch.lengths()) == {least}
    assert [text for text in excerpts.batch.texts if text] == ["river", "bends"]
    assert [one.span for one in excerpts.of[1]] == [(0, 1), (1, 2)]
    assert all(excerpts.batch.truncated[one.prompt] for one in excerpts.of[1])


def test_a_split_surrogate_pair_counts_as_the_caller_has_it(tokenizer: QwenTokenizer) -> None:
    text = "\ud83d\ude42 river " * 100
    found = spans(cut(tokenizer, [text], tokens=40, overlap=0))
    assert found[-1][1] >= len(text) - 1
    assert all(text[start] in "\ud83dr" for start, _ in found)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ((0, 0, 4), "passage_tokens is 0"),
        ((10, 6, 4), "passage_overlap is 6 and passage_tokens is 10: .* pass passage_overlap <= 5"),
        ((10, 10, 4), "passage_overlap is 10"),
        ((None, -1, 4), "passage_overlap is -1"),
        ((None, 10**9, 0), "passage_limit is 0"),
        (("512", 0, 4), r"passage_tokens is '512' \(str\)"),
    ],
)
def test_rules_that_cannot_be_kept_are_refused(rules: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        PassageRules.checked(*rules)


def test_a_huge_overlap_is_half_a_passage(tokenizer: QwenTokenizer) -> None:
    text = "One river bends. " * 300
    assert spans(cut(tokenizer, [text], max_length=200, overlap=10**9)) == spans(
        cut(tokenizer, [text], max_length=200, overlap=10**6)
    )
    assert len(spans(cut(tokenizer, [text], tokens=2, overlap=1))) < 2000
