"""Added tokens: a fine-tune's own count as in its tokenizer; control tokens stay out of texts."""

import json
import logging
import tempfile
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from qwen3_ascend_rerank import DEFAULT_INSTRUCTION, UnsupportedModelError
from qwen3_ascend_rerank.models.lexical import tokenizer_file
from qwen3_ascend_rerank.prompts import QwenTokenizer, build_batch, load_tokenizer
from tests.support import official
from tests.support.fine_tunes import added, small, with_added
from tests.support.qwen_tokenizer import ADDED, SPECIAL

CONTROL = SPECIAL + ADDED
OWN = [
    "[DRUG]", "[ drug ]", "drug", "the", "a", "北京", "药", "é", "e\u0301", "[K]", " lead",
    "trail ", "<sep", "DRUG]", "[DRUG][GENE]", "Document", "Query>:", ":", "1", "12", "\n", "\n\n",
    "🙂", "yes",
]  # fmt: skip
WORDS = [
    *OWN, " ", "  ", "\n", "\t", " x", "word ", "模型", "。", "'s", "ing", "\u212a", "[\u212a]",
    "\u0301", "e", "<|im_", "|>", "\r\n", "\u3000", "_",
]  # fmt: skip
FLAGS = st.fixed_dictionaries(
    {name: st.booleans() for name in ("lstrip", "rstrip", "single_word", "normalized")}
)
TOKENS = st.lists(
    st.builds(lambda content, flags: added(content, **flags), st.sampled_from(OWN), FLAGS),
    min_size=1,
    max_size=4,
    unique_by=lambda token: unicodedata.normalize("NFC", token["content"]),
)
PLAIN = st.lists(st.sampled_from(WORDS), max_size=12).map("".join)
HOSTILE = st.lists(st.sampled_from([*WORDS, *CONTROL]), max_size=8).map("".join)


def oracle(specification: str) -> Any:
    """The tokenizer as transformers reads it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "tokenizer.json")
        file.write_text(specification, encoding="utf-8")
        return PreTrainedTokenizerFast(tokenizer_file=str(file))


def fine_tune(*tokens: dict[str, Any]) -> tuple[QwenTokenizer, Any]:
    specification = small(tokens)
    return QwenTokenizer(specification), oracle(specification)


def prompts(
    tokenizer: QwenTokenizer, query: str, documents: list[str], max_length: int = 8192
) -> list[list[int]]:
    return list(build_batch(tokenizer, DEFAULT_INSTRUCTION, query, documents, max_length).prompts())


def official_prompts(
    reference: Any, query: str, documents: list[str], max_length: int = 8192
) -> list[list[int]]:
    pairs = [official.format_pair(DEFAULT_INSTRUCTION, query, text) for text in documents]
    return official.prompt_ids(reference, pairs, max_length)


@settings(max_examples=80, deadline=None)
@given(tokens=TOKENS, query=PLAIN, documents=st.lists(PLAIN, min_size=1, max_size=4))
def test_own_tokens_give_the_ids_of_their_own_tokenizer(
    tokens: list[dict[str, Any]], query: str, documents: list[str]
) -> None:
    specification = small(tokens)
    assume(not any(token["content"] == ":" and token["rstrip"] for token in tokens))
    tokenizer = QwenTokenizer(specification)
    assert prompts(tokenizer, query, documents) == official_prompts(
        oracle(specification), query, documents
    )


@settings(max_examples=60, deadline=None)
@given(tokens=TOKENS, document=PLAIN, repeat=st.integers(1, 10), room=st.integers(1, 40))
def test_own_tokens_are_truncated_as_by_the_official_code(
    tokens: list[dict[str, Any]], document: str, repeat: int, room: int
) -> None:
    tokens = [token | {"content": f"[{token['content']}]"} for token in tokens]
    tokenizer, reference = fine_tune(*tokens)
    text = document.join(["", *(token["content"] for token in tokens)] * repeat)
    empty = build_batch(tokenizer, DEFAULT_INSTRUCTION, "q", [], 8192)
    max_length = len(empty.prefix) + room + len(empty.suffix)
    batch = build_batch(tokenizer, DEFAULT_INSTRUCTION, "q", [text], max_length)
    assert list(batch.prompts()) == official_prompts(reference, "q", [text], max_length)
    assert text.startswith(batch.texts[0])

    sent = build_batch(tokenizer, DEFAULT_INSTRUCTION, "q", [text], max_length, as_text=True)
    assert sent.lengths()[0] <= max_length
    assert list(sent.prompts()) == [reference.encode(sent.opening + one) for one in sent.closings()]


@settings(max_examples=80, deadline=None)
@given(tokens=TOKENS, extra=st.booleans(), document=HOSTILE)
def test_no_text_gives_a_control_token(
    tokens: list[dict[str, Any]], extra: bool, document: str
) -> None:
    tokens = [token | {"content": f"[{token['content']}]"} for token in tokens]
    if extra:
        tokens += [added("[PAD]", special=True), added("<S\u0301>", special=True, normalized=True)]
        document += "[PAD]<S\u0301><\u015a>"
    tokenizer, reference = fine_tune(*tokens)
    control = {reference.convert_tokens_to_ids(one) for one in CONTROL}
    control |= set(reference.convert_tokens_to_ids(["[PAD]", "<S\u0301>"] if extra else []))
    assert control == tokenizer.control_ids
    text = document.join(["", *(token["content"] for token in tokens)])
    (ids,) = prompts(tokenizer, text, [text])
    fixed = len(tokenizer.head), len(ids) - len(tokenizer.tail)
    assert not control.intersection(ids[slice(*fixed)])

    # The same of a text that another tokenizer reads.
    sent = build_batch(tokenizer, text, text, [text], 8192, as_text=True)
    (whole,) = [reference.encode(sent.opening + one) for one in sent.closings()]
    assert list(sent.prompts()) == [whole]
    inside = whole[len(tokenizer.head) : len(whole) - len(tokenizer.tail)]
    assert not control.intersection(inside)
    assert sent.defused == 3 * (extra or any(one in text for one in CONTROL))


@pytest.mark.parametrize("as_text", [False, True])
def test_own_tokens_stay_what_they_are_beside_control_tokens(as_text: bool) -> None:
    tokenizer, reference = fine_tune(added("[DRUG]", lstrip=True), added("[GENE]"))
    own = reference.convert_tokens_to_ids(["[DRUG]", "[GENE]"])
    text = "a [DRUG]<|im_end|> [GENE] of <think>[DRUG]"
    (ids,) = build_batch(tokenizer, "i", "q", [text], 8192, as_text=as_text).documents
    assert [one for one in ids if one in own] == [own[0], own[1], own[0]]


def test_ids_with_the_real_vocabulary(qwen_file: Path) -> None:
    tokens = [added("[DRUG]", lstrip=True), added("<gene>", normalized=True), added("drug")]
    specification = with_added(qwen_file, tokens)
    tokenizer = QwenTokenizer(specification)
    document = "take [DRUG] for <gene>, a drug<think> or drugs"
    (ids,) = build_batch(tokenizer, DEFAULT_INSTRUCTION, "[DRUG]?", [document], 8192).prompts()
    inert = [one for one in ids[39:-9] if one >= 151643]
    assert inert == [151669, 151669, 151670]
    assert (tokenizer.yes, tokenizer.no) == (9693, 2152)
    assert tokenizer.highest_id == 151670
    assert tokenizer.control_ids == set(range(151643, 151669))
    plain = document.replace("<think>", "")
    assert prompts(tokenizer, "q", [plain]) == official_prompts(oracle(specification), "q", [plain])


def test_special_tokens_of_a_fine_tune_are_control_tokens_and_a_text_with_one_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    specification = small([added("[PAD]", special=True)])
    tokenizer = QwenTokenizer(specification)
    (place,) = oracle(specification).encode("[PAD]")
    with caplog.at_level(logging.WARNING):
        tokenizer.encode(["no such thing"])
        assert not caplog.messages
        ids, again = tokenizer.encode(["a [PAD]", "a [PAD]"])
    assert place not in ids
    assert ids == again
    (message,) = caplog.messages
    assert message.startswith("a text holds [PAD], which the tokenizer marks as special")
    assert '"special": false' in message


@pytest.mark.parametrize(
    "token",
    [
        added(":", rstrip=True),
        added("<Document>:", rstrip=True),
        added("<Query>: cats\n<Document>:", rstrip=True),
        added(": "),
        added("<Document>: a"),
    ],
    ids=lambda token: token["content"],
)
def test_a_token_that_reaches_over_the_cut_is_refused(token: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedModelError, match="swallow the space"):
        fine_tune(token)


@pytest.mark.parametrize(
    "token",
    [
        added(":"),
        added(":", lstrip=True),
        added("Query>: "),
        added(" a"),
        added(" ", lstrip=True, rstrip=True),
        added("[DRUG]", lstrip=True, rstrip=True),
        added("<Document>:"),
    ],
    ids=lambda token: token["content"],
)
def test_a_token_at_the_cut_is_not(token: dict[str, Any]) -> None:
    tokenizer, reference = fine_tune(token)
    documents = ["", " ", "a", " a", "  [DRUG] x", ": a", "[DRUG]", "\n[DRUG]"]
    assert prompts(tokenizer, "a:", documents) == official_prompts(reference, "a:", documents)


def test_answers_are_words_of_the_vocabulary_not_added_tokens() -> None:
    parts = json.loads(small([added("yes", lstrip=True), added("no", special=True)]))
    vocabulary = parts["model"]["vocab"]
    tokenizer = QwenTokenizer(json.dumps(parts))
    assert (tokenizer.yes, tokenizer.no) == (vocabulary["yes"], vocabulary["no"])
    parts["model"]["merges"].remove(["ye", "s"])
    vocabulary["yez"] = vocabulary.pop("yes")
    with pytest.raises(UnsupportedModelError, match="it has no token yes"):
        QwenTokenizer(json.dumps(parts))


def test_tokens_that_take_turns_are_refused() -> None:
    # `tokenizers` itself takes the one in this process and the other in that.
    with pytest.raises(UnsupportedModelError, match="several added tokens for '\\[é\\]'"):
        fine_tune(added("[é]", normalized=True), added("[e\u0301]", normalized=True))


@pytest.mark.parametrize("content", [" ", "\n"])
def test_a_control_token_of_white_space_is_refused(content: str) -> None:
    with pytest.raises(UnsupportedModelError, match="part of most texts"):
        fine_tune(added(content, special=True))


def test_a_vocabulary_that_spells_a_control_token_is_refused() -> None:
    parts = json.loads(tokenizer_file().read_text(encoding="utf-8"))
    parts["pre_tokenizer"]["pretokenizers"].pop(0)  # nothing parts words any more
    parts["model"]["vocab"]["<think>"] = 10**6
    parts["model"]["ignore_merges"] = True
    with pytest.raises(UnsupportedModelError, match="control token <think> of a text"):
        QwenTokenizer(json.dumps(parts))


def test_a_tokenizer_that_lost_its_added_tokens_is_refused(tmp_path: Path) -> None:
    source = tokenizer_file()
    file = tmp_path / "tokenizer.json"
    file.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    configuration = json.loads(
        source.with_name("tokenizer_config.json").read_text(encoding="utf-8")
    )
    beside = tmp_path / "tokenizer_config.json"
    beside.write_text(json.dumps(configuration), encoding="utf-8")
    assert load_tokenizer(file)
    configuration["added_tokens_decoder"]["999999"] = added("[DRUG]")
    beside.write_text(json.dumps(configuration), encoding="utf-8")
    with pytest.raises(UnsupportedModelError, match=r"lacks the added token \[DRUG\] of"):
        load_tokenizer(file)
