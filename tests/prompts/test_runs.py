"""The first ids of a run: those of every text that goes on behind it."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from qwen3_ascend_rerank.prompts.runs import Runs, may_compose
from tests.support.fine_tunes import small

ALPHABETS = [
    "a", "ab", "the", "thedrug", "wording", " ", " \n", "\n", "\r\n", " \t", "北京", "北京 ", ".",
    "...\n", "a'sl", "a.b ", "don ", " don't", "abc1", " .\n", "か한é",
]  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    parts = json.loads(small([]))
    return Tokenizer.from_str(json.dumps(parts | {"added_tokens": []}))


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from(ALPHABETS).flatmap(
        lambda letters: st.tuples(
            st.text(letters, min_size=1, max_size=60), st.text(letters, max_size=60)
        )
    )
)
def test_what_is_sure_of_a_beginning_is_right_whatever_follows(
    tokenizer: Tokenizer, texts: tuple[str, str]
) -> None:
    beginning, more = texts
    sure = Runs(tokenizer, stripping=False).first(beginning)
    assert tokenizer.encode(beginning + more).ids[: len(sure)] == sure


@pytest.mark.parametrize("run", ["a", " ", ".", "the", "wording", "北京", "\n", "...", "\u0301"])
def test_nearly_all_of_a_long_run_is_sure(tokenizer: Tokenizer, run: str) -> None:
    text = run * (2000 // len(run))
    sure = Runs(tokenizer, stripping=False).first(text)
    whole = tokenizer.encode(text + run).ids
    assert whole[: len(sure)] == sure
    assert len(sure) > 0.9 * len(whole)


@pytest.mark.parametrize("letter", ["\u0301", "\u3099", "\u11ab", "\u1161", "\u09be", "\ud83d"])
def test_what_may_compose_with_what_is_before_it_is_known(letter: str) -> None:
    assert may_compose(letter)
    assert not any(map(may_compose, "a1 .\n中か한é、"))
