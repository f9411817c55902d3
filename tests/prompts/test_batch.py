"""The prompt: exact to the token, truncated safely, closed to injection."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from qwen3_ascend_rerank import DEFAULT_INSTRUCTION, QueryTooLongError, UnsupportedModelError
from qwen3_ascend_rerank.errors import CorruptModelError
from qwen3_ascend_rerank.prompts import QwenTokenizer, build_batch, load_tokenizer
from tests.support import official
from tests.support.qwen_tokenizer import ADDED, SPECIAL

SUFFIX = [151645, 198, 151644, 77091, 198, 151667, 271, 151668, 271]
TRICKY = [
    "plain text",
    "",
    " ",
    "  two spaces first",
    "ends with spaces   ",
    "\n",
    "\n\nnewlines first",
    "ends with newlines\n\n",
    "\ttabs\t\t",
    "windows\r\nlines\r\n",
    "\r\n\r\n",
    "中文段落,没有空格。",
    "中文 mixed with English 和数字 2026",
    "<|im_",
    "<|im_start",
    ">: colon",
    ":",
    ": :",
    "\u0301 combining first",
    "e\u0301 composes",
    "\u00a0no-break space",
    "\u3000ideographic space",
    "\u200bzero width",
    "🙂 emoji 👩‍👩‍👧 family",
    "\x00 control \x1f",
    "'s 't contractions",
    "العربية עברית",
    "ไทย हिन्दी 한국어 日本語",
]
CONTROL = SPECIAL + ADDED


def plain(texts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Without control tokens, whose spelling Hypothesis may take from this project's own code."""
    return texts.filter(lambda text: not any(control in text for control in CONTROL))


TEXTS = st.one_of(
    st.sampled_from(TRICKY),
    plain(st.text(max_size=60)),
    st.text(
        alphabet=st.characters(codec="utf-8", categories=["Lo", "Mn", "Zs", "Po"]), max_size=40
    ),
    st.text(alphabet=" \n\r\t:<>|_aA中é\u0301", max_size=30),
    st.lists(st.sampled_from(["the ", "模型", "\n", " x", "ing", "？", "12"]), max_size=40).map(
        "".join
    ),
)
WITH_CONTROL = st.lists(
    st.one_of(st.sampled_from(CONTROL), st.text(max_size=8)), min_size=1, max_size=6
).map("".join)
slow_first_run = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def tokenizer(qwen_file: Path) -> QwenTokenizer:
    return load_tokenizer(qwen_file)


@pytest.fixture(scope="module")
def reference(qwen_file: Path) -> Any:
    return PreTrainedTokenizerFast(
        tokenizer_file=str(qwen_file),
        padding_side="left",
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
    )


@pytest.fixture(scope="module")
def bare_reference(qwen_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The official tokenizer without any added token."""
    parts = json.loads(qwen_file.read_text(encoding="utf-8"))
    parts["added_tokens"] = []
    file = tmp_path_factory.mktemp("bare") / "tokenizer.json"
    file.write_text(json.dumps(parts), encoding="utf-8")
    return PreTrainedTokenizerFast(tokenizer_file=str(file))


def prompts(
    tokenizer: QwenTokenizer, query: str, documents: list[str], max_length: int = 8192
) -> list[list[int]]:
    return list(build_batch(tokenizer, DEFAULT_INSTRUCTION, query, documents, max_length).prompts())


def official_prompts(
    reference: Any, query: str, documents: list[str], max_length: int = 8192, **more: Any
) -> list[list[int]]:
    pairs = [official.format_pair(DEFAULT_INSTRUCTION, query, text) for text in documents]
    return official.prompt_ids(reference, pairs, max_length, **more)


def test_head_and_tail_are_the_official_ids(tokenizer: QwenTokenizer) -> None:
    assert len(tokenizer.head) == 39
    assert tokenizer.head[:4] == [151644, 8948, 198, 60256]
    assert tokenizer.head[-5:] == [151645, 198, 151644, 872, 198]
    assert tokenizer.tail == SUFFIX
    assert (tokenizer.yes, tokenizer.no) == (9693, 2152)


def test_published_token_count_of_two_pairs(tokenizer: QwenTokenizer) -> None:
    # The vLLM Ascend tutorial reports 193 prompt tokens for its query against two documents.
    documents = [
        "The capital of China is Beijing.",
        (
            "Gravity is a force that attracts two bodies towards each other. It gives weight to "
            "physical objects and is responsible for the movement of planets around the sun."
        ),
    ]
    both = prompts(tokenizer, "What is the capital of China?", documents)
    assert sum(map(len, both)) == 193


@pytest.mark.parametrize("query", TRICKY)
def test_tricky_texts_give_the_official_ids(
    tokenizer: QwenTokenizer, reference: Any, query: str
) -> None:
    assert prompts(tokenizer, query, TRICKY) == official_prompts(reference, query, TRICKY)


@slow_first_run
@given(instruction=TEXTS, query=TEXTS, documents=st.lists(TEXTS, min_size=1, max_size=4))
def test_any_text_gives_the_official_ids(
    tokenizer: QwenTokenizer, reference: Any, instruction: str, query: str, documents: list[str]
) -> None:
    pairs = [official.format_pair(instruction, query, text) for text in documents]
    batch = build_batch(tokenizer, instruction, query, documents, 8192)
    assert list(batch.prompts()) == official.prompt_ids(reference, pairs, 8192)
    assert batch.truncated == [False] * len(documents)
    assert batch.texts == documents


@slow_first_run
@given(
    query=plain(st.text(max_size=20)),
    text=TEXTS,
    repeat=st.integers(1, 30),
    room=st.integers(1, 60),
)
def test_truncation_gives_the_official_ids(
    tokenizer: QwenTokenizer, reference: Any, query: str, text: str, repeat: int, room: int
) -> None:
    document = text * repeat
    empty = build_batch(tokenizer, DEFAULT_INSTRUCTION, query, [], 8192)
    max_length = len(empty.prefix) + room + len(empty.suffix)
    batch = build_batch(tokenizer, DEFAULT_INSTRUCTION, query, [document], max_length)
    (ids,) = batch.prompts()
    assert [ids] == official_prompts(reference, query, [document], max_length)
    assert len(ids) <= max_length
    assert ids[: len(batch.prefix)] == empty.prefix
    assert ids[-9:] == SUFFIX
    whole = prompts(tokenizer, query, [document])[0]
    assert batch.truncated == [len(whole) > max_length]


@slow_first_run
@given(instruction=WITH_CONTROL, query=WITH_CONTROL, document=WITH_CONTROL)
def test_control_tokens_in_texts_are_ordinary_text(
    tokenizer: QwenTokenizer,
    reference: Any,
    bare_reference: Any,
    instruction: str,
    query: str,
    document: str,
) -> None:
    (ids,) = build_batch(tokenizer, instruction, query, [document], 8192).prompts()
    pair = official.format_pair(instruction, query, document)
    assert [ids] == official.prompt_ids(reference, [pair], 8192, bare_reference)
    assert all(one < 151643 for one in ids[39:-9])


@pytest.mark.parametrize("control", CONTROL)
def test_no_control_token_leaves_its_slot(tokenizer: QwenTokenizer, control: str) -> None:
    text = f"good{control}{control} text"
    (ids,) = build_batch(tokenizer, text, text, [text], 8192).prompts()
    assert all(one < 151643 for one in ids[39:-9])


def test_text_of_a_truncated_document_is_cut_where_its_ids_are(tokenizer: QwenTokenizer) -> None:
    document = "中文段落。" * 100
    batch = build_batch(tokenizer, DEFAULT_INSTRUCTION, "q", [document, "short"], 120)
    assert batch.truncated == [True, False]
    assert document.startswith(batch.texts[0])
    assert 0 < len(batch.texts[0]) < len(document)
    assert batch.texts[1] == "short"
    assert batch.lengths() == [len(ids) for ids in batch.prompts()]


def test_a_query_without_room_for_a_document_names_the_numbers(tokenizer: QwenTokenizer) -> None:
    fixed = len(prompts(tokenizer, "why " * 50, [""])[0]) - 1
    with pytest.raises(QueryTooLongError, match=rf"max_length is {fixed} .* takes {fixed} tokens"):
        prompts(tokenizer, "why " * 50, ["document"], max_length=fixed)
    assert len(prompts(tokenizer, "why " * 50, ["document"], max_length=fixed + 1)[0]) == fixed + 1


def test_surrogates_become_characters_or_the_replacement_character(
    tokenizer: QwenTokenizer,
) -> None:
    lone, pair, face, replaced = tokenizer.encode(["a\ud83d b", "\ud83d\ude42", "🙂", "a\ufffd b"])
    assert lone == replaced
    assert pair == face


def test_settings_saved_with_a_tokenizer_are_not_obeyed(
    tokenizer: QwenTokenizer, qwen_file: Path
) -> None:
    parts = json.loads(qwen_file.read_text(encoding="utf-8"))
    parts["truncation"] = {
        "direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0,
    }  # fmt: skip
    parts["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {
            "<|endoftext|>": {"id": "<|endoftext|>", "ids": [151643], "tokens": ["<|endoftext|>"]}
        },
    }
    changed = QwenTokenizer(json.dumps(parts))
    assert prompts(changed, "query", TRICKY) == prompts(tokenizer, "query", TRICKY)


def test_a_tokenizer_of_another_model_is_refused(qwen_file: Path) -> None:
    parts = json.loads(qwen_file.read_text(encoding="utf-8"))
    parts["added_tokens"] = [one for one in parts["added_tokens"] if "think" not in one["content"]]
    with pytest.raises(UnsupportedModelError, match="no token <think>, </think>"):
        QwenTokenizer(json.dumps(parts))


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", '{"added_tokens": []}'])
def test_a_damaged_tokenizer_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text(content)
    with pytest.raises(CorruptModelError, match="tokenizer.json cannot be read"):
        load_tokenizer(file)
