"""Texts read only as far as needed: the ids are those of the whole text, to the last one."""

import json
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from qwen3_ascend_rerank import DEFAULT_INSTRUCTION, QueryTooLongError
from qwen3_ascend_rerank.models.lexical import tokenizer_file
from qwen3_ascend_rerank.prompts import QwenTokenizer, boundaries, build_batch, load_tokenizer
from qwen3_ascend_rerank.prompts import tokenizer as reading
from tests.support.fine_tunes import added, small
from tests.support.qwen_tokenizer import ADDED, SPECIAL

CONTROL = SPECIAL + ADDED
PIECES = [
    "word", "Word", " ", "  ", "\t", "\n", "\r\n", "\n\n", "\u00a0", "\u3000", "\u200b", "\u0085",
    "\x1c", "1", "23", "½", "².", "中", "中国", "。", ",", ".", "...", "'s", "'S", "'ll", "'l", "'",
    "don't", "é", "e\u0301", "\u0301", "\u0316\u0301", "<", "\u0338", "か\u3099", "한", "\u11ab",
    "\u1112\u1161", "क\u093c", "🙂", "👩\u200d👩\u200d👧", "\u212a", "\u037e", "-", "_", "x = 1;",
    "العربية", "ไทย", "\ufeff", "\ud83d", "\ude42", "[DRUG]", "[ drug ]", "[", "]", "[N\u00e9]",
    "[Ne\u0301]", *CONTROL[:3], "<|im_", "<think>",
]  # fmt: skip
TEXTS = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=30).map("".join),
    st.text(max_size=60),
    st.text(alphabet=" \n\r\ta1.'é\u0301中。", max_size=60),
)
plenty = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def fine_tune(**attributes: bool) -> QwenTokenizer:
    own = ["[DRUG]", "[ drug ]", "[N\u00e9]", "中国", "don", " x", "1", "。"]
    return QwenTokenizer(small([added(one, **attributes) for one in own]))


TOKENIZERS = {
    "plain": fine_tune,
    "stripping": lambda: fine_tune(lstrip=True, rstrip=True),
    "single_word": lambda: fine_tune(single_word=True, rstrip=True),
    "normalized": lambda: fine_tune(normalized=True, lstrip=True),
}


@pytest.fixture(scope="module", params=["qwen", *TOKENIZERS])
def tokenizer(request: pytest.FixtureRequest, qwen_file: Path) -> QwenTokenizer:
    return load_tokenizer(qwen_file) if request.param == "qwen" else TOKENIZERS[request.param]()


@pytest.fixture(scope="module", params=[1, 7])
def little_at_once(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "READ_AT_ONCE", request.param)
        patch.setattr(reading, "READ_WHOLE", 0)
        patch.setattr(reading, "RUN", 3)
        patch.setattr(boundaries, "STEP", 5)
        yield


@plenty
@given(text=TEXTS)
@example("\n \na")
@example("   1")
@example("a \n \n b")
def test_parts_of_a_text_give_the_ids_of_the_whole(
    tokenizer: QwenTokenizer, little_at_once: None, text: str
) -> None:
    (whole,) = tokenizer.encode([" " + text])
    (found,) = tokenizer.read([text], 10**6, lead=" ")
    assert found.ids == whole
    assert found.whole
    for count in range(len(whole)):
        (some,) = tokenizer.read([text], count, lead=" ")
        assert len(some.ids) > count
        assert some.ids[: count + 1] == whole[: count + 1]
    assert found.read == " " + tokenizer.readable(text)


def test_no_cut_goes_through_an_added_token_that_only_composition_makes(
    little_at_once: None,
) -> None:
    tokenizer = QwenTokenizer(small([added("n\u00e9 1", normalized=True)]))
    text = "word ne\u0301 1 word " * 4
    (whole,) = tokenizer.encode([" " + text])
    for count in range(len(whole)):
        (some,) = tokenizer.read([text], count, lead=" ")
        assert some.ids[: count + 1] == whole[: count + 1]


@plenty
@given(text=TEXTS, repeat=st.integers(1, 4), room=st.integers(1, 30), as_text=st.booleans())
def test_a_prompt_is_that_of_the_whole_text(
    tokenizer: QwenTokenizer, little_at_once: None, text: str, repeat: int, room: int, as_text: bool
) -> None:
    document = text * repeat
    fixed = build_batch(tokenizer, "i", "q", [], 8192)
    max_length = len(fixed.prefix) + room + len(fixed.suffix)
    found = build_batch(tokenizer, "i", "q", [document], max_length, as_text=as_text)
    given = tokenizer.readable(document)
    given = tokenizer.defuse(given) if as_text else given
    (whole,) = tokenizer.encode([" " + given])
    assert found.truncated == [len(whole) > room]
    if as_text:
        assert tokenizer.encode([" " + found.texts[0]]) == found.documents
        assert len(found.documents[0]) <= room
        assert given.startswith(tokenizer.readable(found.texts[0]))
    else:
        assert found.documents == [whole[:room]]
        assert found.truncated[0] or found.texts == [document]


@pytest.mark.parametrize(
    "text",
    [
        "a" * 3000, "word" * 700, "没有空格" * 700, " " * 300 + "\n" + " " * 300, " " * 3000,
        "\n" * 3000, " \n" * 1500, "\u0301" * 3000, "中" * 3000, "." * 3000, "한" * 3000,
        "\r\n \t" * 800, "e\u0301" * 1500, "[DRUG]" * 500,
    ],
    ids=lambda text: repr(text[:4]),
)  # fmt: skip
def test_runs_without_a_boundary_are_read_right(
    tokenizer: QwenTokenizer, little_at_once: None, text: str
) -> None:
    for more in ("", " end", "end", "\u0301", "\u0316", "\n", "[DRUG]"):
        (whole,) = tokenizer.encode([" " + text + more])
        for count in (1, 10, 100):
            (found,) = tokenizer.read([text + more], count, lead=" ")
            assert found.ids[: count + 1] == whole[: count + 1]


def test_little_more_is_read_than_is_needed() -> None:
    tokenizer = load_tokenizer(tokenizer_file())
    for word in ("word and more, ", "没有空格的中文，", "x = f(1);\n", "12", "a\r\n"):
        (found,) = tokenizer.read([word * 200_000], 500)
        assert len(found.ids) > 500
        assert found.end < 10_000


def test_fifty_megabytes_take_neither_time_nor_memory() -> None:
    tokenizer = load_tokenizer(tokenizer_file())
    texts = ["The moon is far, and old. " * 40, "月亮很远，也很老。" * 40]
    documents = [text * (50_000_000 // len(text.encode())) for text in texts]
    short = [text * 200 for text in texts]
    for as_text in (False, True):
        build_batch(tokenizer, "i", "q", short, 8192, as_text=as_text)
        began = time.process_time()
        expected = build_batch(tokenizer, "i", "q", short, 8192, as_text=as_text)
        once = time.process_time() - began
        tracemalloc.start()
        began = time.process_time()
        found = build_batch(tokenizer, "i", "q", documents, 8192, as_text=as_text)
        taken = time.process_time() - began
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert found.documents == expected.documents
        assert found.texts == expected.texts
        assert found.truncated == [True, True]
        assert most < 20_000_000
        assert taken < 10 * once + 1


def test_a_query_without_end_is_refused_soon() -> None:
    tokenizer = load_tokenizer(tokenizer_file())
    with pytest.raises(QueryTooLongError, match="takes at least"):
        build_batch(tokenizer, DEFAULT_INSTRUCTION, "why " * 5_000_000, ["document"], 8192)


def test_a_tokenizer_that_splits_otherwise_reads_whole_texts() -> None:
    parts: dict[str, Any] = json.loads(small([]))
    (split, _) = parts["pre_tokenizer"]["pretokenizers"]
    split["pattern"]["Regex"] = r"\p{N}{1,3}|\p{L}+|."
    tokenizer = QwenTokenizer(json.dumps(parts))
    (found,) = tokenizer.read(["12345 " * 1000], 10)
    assert found.whole
    assert [found.ids] == tokenizer.encode(["12345 " * 1000])
