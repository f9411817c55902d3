"""The lexical tokenizer: Qwen's own rules on a smaller vocabulary."""

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from qwen3_ascend_rerank.models.lexical import tokenizer_file
from qwen3_ascend_rerank.models.lexical.vocabulary import read_vocabulary, word_weights
from qwen3_ascend_rerank.prompts.added import QWEN_ADDED_TOKENS
from tests.support.official import format_pair
from tests.support.qwen_tokenizer import ADDED, SPECIAL

TEXTS = [
    "The capital of China is Beijing, isn't it?",
    "中国的首都是北京。2008年，奥运会在这里举行！",
    "  def f(x):\n\n    return x ** 2  # 平方\r\n\t",
    "Zoë's naïve café — 12,345.67 € … 🚀 ﷽ ½",
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(tokenizer_file()))


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    return [tokenizer.decode([one], skip_special_tokens=False) for one in ids]


@pytest.mark.parametrize("word", ["yes", "no", "Query", "Document"])
def test_the_words_of_the_prompt_are_single_tokens(tokenizer: Tokenizer, word: str) -> None:
    assert pieces(tokenizer, word) == [word]


def test_the_marks_of_query_and_document_are_tokens_that_no_word_is(tokenizer: Tokenizer) -> None:
    found = pieces(tokenizer, format_pair("Find", "Query Document", "Document\nQuery"))
    assert [found.count(mark) for mark in ("<Query", "<Document")] == [1, 1]
    assert {"Query", " Query", " Document"} <= set(found)


def test_added_tokens_are_those_of_qwen_in_their_order(tokenizer: Tokenizer) -> None:
    assert list(QWEN_ADDED_TOKENS) == SPECIAL + ADDED
    size = tokenizer.get_vocab_size(with_added_tokens=False)
    ids = [tokenizer.token_to_id(token) for token in QWEN_ADDED_TOKENS]
    assert ids == list(range(size, size + 26))
    assert size + 26 == tokenizer.get_vocab_size()


def test_chinese_is_read_by_the_character(tokenizer: Tokenizer) -> None:
    assert pieces(tokenizer, "中国的首都是北京。") == list("中国的首都是北京。")


@pytest.mark.parametrize("text", TEXTS)
def test_texts_are_split_and_normalised_as_by_qwen(
    tokenizer: Tokenizer, text: str, qwen_file: Path
) -> None:
    qwen = Tokenizer.from_file(str(qwen_file))
    assert tokenizer.normalizer.normalize_str(text) == qwen.normalizer.normalize_str(text)
    ours, theirs = (one.pre_tokenizer.pre_tokenize_str(text) for one in (tokenizer, qwen))
    assert ours == theirs


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    decoded = tokenizer.decode(ids, skip_special_tokens=False)
    assert decoded == unicodedata.normalize("NFC", text)


def test_every_token_joins_two_that_come_before_it() -> None:
    known: set[str] = set()
    for token in read_vocabulary():
        assert len(token.pieces) == 1 or known.issuperset(token.pieces)
        known.add(token.spelling)
    assert len(known) == len(read_vocabulary())


def test_rare_words_weigh_more_than_common_ones() -> None:
    weight = word_weights(read_vocabulary())
    assert weight["the"] == weight["of"] == weight["的"] == weight["，"] == weight["."] == 0
    assert weight["this"] < weight["people"] < weight["river"]
    assert weight["中"] < weight["河"] < weight["鲸"]
    assert max(weight.values()) == 1
