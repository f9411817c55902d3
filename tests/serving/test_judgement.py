"""Which requests vLLM's routes may answer: those whose prompt is the official one, and no other."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3_ascend_rerank import DEFAULT_INSTRUCTION
from qwen3_ascend_rerank.engines.served.dialects import DIALECTS
from qwen3_ascend_rerank.engines.served.manner import Manner
from qwen3_ascend_rerank.models import tokenizer_file
from qwen3_ascend_rerank.prompts import HEAD, TAIL, build_batch, load_tokenizer
from qwen3_ascend_rerank.serving.judgement import ServerSetup, complaint, mended

TOKENIZER = load_tokenizer(tokenizer_file("lexical"))
TEMPLATE = ServerSetup("0.30.0", True, DEFAULT_INSTRUCTION, TOKENIZER.head, TOKENIZER.tail)
OLD_TEMPLATE = replace(TEMPLATE, version="0.18.0")
NO_TEMPLATE = replace(TEMPLATE, template=False)
TOO_OLD = replace(NO_TEMPLATE, version="0.13.0")

QUERY, DOCUMENTS = "capital of China", ["Bread needs flour.", "Beijing is the capital of China."]
ASKED = f"{HEAD}<Instruct>: Find it.\n<Query>: {QUERY}\n"
RERANK = {"query": QUERY, "documents": DOCUMENTS}
SCORE = {"text_1": QUERY, "text_2": DOCUMENTS}
WHOLE = {"query": ASKED, "documents": [f"<Document>: {one}{TAIL}" for one in DOCUMENTS]}
"""As the tutorial of vllm-ascend has its users write it."""

TEXTS = st.text() | st.text(alphabet="<|im_startend>\n: QDIqueryocmnst", max_size=40)
PLAIN = [
    RERANK,
    SCORE,
    {"queries": QUERY, "documents": DOCUMENTS},
    {"queries": [QUERY, QUERY], "items": DOCUMENTS},
    {"data_1": QUERY, "data_2": DOCUMENTS[0]},
]


def ids(*documents: str, **changes: Any) -> list[list[int]]:
    batch = build_batch(TOKENIZER, DEFAULT_INSTRUCTION, QUERY, documents or DOCUMENTS, 400)
    return list(batch.prompts())


@pytest.mark.parametrize("request_", PLAIN)
def test_plain_texts_are_answered_where_there_is_a_template(request_: dict[str, Any]) -> None:
    assert complaint(request_, TEMPLATE) is None
    assert complaint(request_, OLD_TEMPLATE) is None


@pytest.mark.parametrize("request_", PLAIN)
@pytest.mark.parametrize(
    ("setup", "why"),
    [
        (NO_TEMPLATE, "it was started with --no-template; start it without"),
        (TOO_OLD, "vLLM 0.13.0 applies no template; serve with 0.14 or newer"),
    ],
)
def test_plain_texts_are_refused_where_there_is_none(
    request_: dict[str, Any], setup: ServerSetup, why: str
) -> None:
    assert why in str(complaint(request_, setup))


@pytest.mark.parametrize(
    "dialect", [one for one in DIALECTS if "vLLM" in one.spoken_by], ids=lambda one: one.name
)
@pytest.mark.parametrize("setup", [TEMPLATE, OLD_TEMPLATE, NO_TEMPLATE, TOO_OLD])
@settings(max_examples=20, deadline=None)
@given(instruction=TEXTS, query=TEXTS.filter(str.strip), documents=st.lists(TEXTS, min_size=1))
def test_our_own_clients_are_answered(
    dialect: Any, setup: ServerSetup, instruction: str, query: str, documents: list[str]
) -> None:
    """By whole prompts everywhere, and by plain texts where there is a template."""
    as_text = dialect.takes_text
    batch = build_batch(TOKENIZER, instruction, query, documents, 8192, as_text=as_text)
    manner = Manner(dialect, "m", formatting="server" if as_text and setup.template else "client")
    request = manner.request(batch)
    if manner.formatting == "client":
        assert complaint(request, setup) is None
    elif not query.lstrip().startswith(("<|im_start|>", "<Instruct>:")) and not any(
        one.lstrip().startswith("<Document>:") for one in documents
    ):
        assert complaint(mended(request), setup) is None


@pytest.mark.parametrize("setup", [NO_TEMPLATE, TOO_OLD])
def test_a_whole_prompt_in_two_texts_is_answered_without_a_template(setup: ServerSetup) -> None:
    assert complaint(WHOLE, setup) is None
    assert complaint({"input": WHOLE["query"] + WHOLE["documents"][0]}, setup) is None
    assert complaint({"input": [WHOLE["query"] + one for one in WHOLE["documents"]]}, setup) is None


@pytest.mark.parametrize(
    "request_",
    [
        WHOLE,
        {**RERANK, "query": ASKED},
        {**RERANK, "query": f"<Instruct>: Find it.\n<Query>: {QUERY}"},
        {**RERANK, "documents": [DOCUMENTS[0], f"{DOCUMENTS[1]}{TAIL}"]},
        {**RERANK, "documents": [f"<Document>: {one}" for one in DOCUMENTS]},
        {**SCORE, "text_2": WHOLE["documents"]},
    ],
)
def test_a_prompt_is_not_doubled(request_: dict[str, Any]) -> None:
    assert "it would be doubled; send the bare query" in str(complaint(request_, TEMPLATE))


@pytest.mark.parametrize(
    "request_",
    [
        {**WHOLE, "query": ASKED[:-1]},  # the document would follow the query directly
        {**WHOLE, "query": ASKED[1:]},
        {**WHOLE, "query": f"{HEAD}<Instruct>: Find it.\n<Query>:  \n"},  # asks nothing
        {**WHOLE, "query": f"{HEAD}<Instruct>: Find it.\n{QUERY}\n"},
        {**WHOLE, "query": ASKED.replace("capital", "<|im_end|>")},
        {**WHOLE, "documents": [one[:-1] for one in WHOLE["documents"]]},  # a newline is lost
        {**WHOLE, "documents": [f"<Document>: <|im_start|>{TAIL}"]},
        {**WHOLE, "documents": DOCUMENTS},
        {"text_1": [ASKED, QUERY], "text_2": WHOLE["documents"]},
        {"text_1": QUERY, "text_2": WHOLE["documents"]},
    ],
)
def test_a_prompt_that_is_not_whole_is_refused(request_: dict[str, Any]) -> None:
    for setup in (NO_TEMPLATE, TOO_OLD):
        assert "makes no prompt of a plain query" in str(complaint(request_, setup))


@pytest.mark.parametrize("setup", [TEMPLATE, NO_TEMPLATE])
@pytest.mark.parametrize(
    "prompts",
    [
        QUERY,
        [QUERY],
        [QUERY + DOCUMENTS[0]],
        [f"{HEAD}{QUERY}"],
        [f"{HEAD}{QUERY}{TAIL}"],
        [[1, 2, 3]],
        [1, 2, 3],
        [ids()[0], ids()[1][:-1]],
        [ids()[0][1:]],
        [[*TOKENIZER.head, *TOKENIZER.tail]],
        [None],
        {"prompt": QUERY},
    ],
    ids=str,
)
def test_what_is_no_whole_prompt_is_no_input(setup: ServerSetup, prompts: Any) -> None:
    assert "input is not Qwen3-Reranker's whole prompt" in str(complaint({"input": prompts}, setup))


def test_ids_are_answered_one_prompt_or_many() -> None:
    assert complaint({"input": ids()[0]}, TEMPLATE) is None
    assert (
        complaint({"input": ids(), "task": "classify", "use_activation": False}, TEMPLATE) is None
    )


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"truncate_prompt_tokens": 50}, "cuts off the end of the prompt"),
        ({"truncate_prompt_tokens": 50, "truncation_side": "left"}, "or its beginning"),
        ({"padding": "max_length"}, "puts tokens behind the prompt"),
        ({"query": " \n"}, "the query is empty; send the question"),
        ({"text_1": [QUERY, ""], "text_2": DOCUMENTS}, "the query is empty"),
        ({"query": 5}, "query holds int; send texts"),
        ({"documents": [{"text": "Bread"}]}, "documents holds dict; send texts"),
        ({"documents": {"content": []}}, "documents holds dict"),
        ({"messages": [{"role": "user", "content": QUERY}]}, "another prompt"),
        ({"chat_template": "{{ messages }}"}, "another prompt"),
        ({"chat_template_kwargs": {"continue_final_message": True}}, "nothing but instruction"),
        ({"chat_template_kwargs": {"instruction": None}}, "nothing but instruction"),
        ({"instruction": " "}, "must be a text that is not empty"),
        ({"instruction": ["Find it."]}, "must be a text"),
        ({"instruct": "Find it.", "instruction": "Find another."}, "leave one of them out"),
    ],
    ids=str,
)
def test_what_spoils_a_score_is_refused(fields: dict[str, Any], why: str) -> None:
    found = complaint(mended({**RERANK, **fields}), TEMPLATE)
    assert why in str(found)


@pytest.mark.parametrize(
    "fields",
    [
        {"top_n": 1, "return_documents": False, "model": "m", "user": "u"},
        {"instruction": "Find it."},
        {"instruct": "Find it."},
        {"chat_template_kwargs": {"instruction": "Find it."}},
        {"max_tokens_per_doc": 20, "padding": "do_not_pad", "use_activation": False},
    ],
    ids=str,
)
def test_what_does_no_harm_passes(fields: dict[str, Any]) -> None:
    assert complaint(mended({**RERANK, **fields}), TEMPLATE) is None


@pytest.mark.parametrize("name", ["instruction", "instruct"])
def test_an_instruction_that_would_be_ignored_is_refused(name: str) -> None:
    own = replace(OLD_TEMPLATE, instruction="Find it.")
    for instruction, setup in (("Find it.", OLD_TEMPLATE), (DEFAULT_INSTRUCTION, own)):
        found = complaint(mended({**RERANK, name: instruction}), setup)
        assert "is not heeded by vLLM 0.18.0" in str(found)
        assert "--instruction TEXT" in str(found)
        assert complaint({**RERANK, "chat_template_kwargs": {name: instruction}}, setup)
    assert complaint(mended({**RERANK, name: "Find it."}), own) is None


def test_limits_that_would_cut_a_whole_prompt_are_refused() -> None:
    for name in ("max_tokens_per_doc", "max_tokens_per_query"):
        assert "cuts into a prompt that is whole" in str(complaint({**WHOLE, name: 5}, TOO_OLD))
        assert complaint({**WHOLE, name: 0}, TOO_OLD) is None


def test_what_is_null_is_not_given_and_minus_one_cuts_nothing() -> None:
    nulls = dict.fromkeys(["top_n", "max_tokens_per_doc", "priority", "truncate_prompt_tokens"])
    assert mended({**RERANK, **nulls}) == RERANK
    assert mended({**RERANK, "truncate_prompt_tokens": -1}) == RERANK
    assert mended({**RERANK, "instruct": "Find it."}) == {**RERANK, "instruction": "Find it."}


@settings(deadline=None)
@given(
    request_=st.dictionaries(
        st.sampled_from(
            ["query", "documents", "text_1", "text_2", "input", "instruction", "padding", "items"]
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=6,
        ),
    )
)
@pytest.mark.parametrize("setup", [TEMPLATE, OLD_TEMPLATE, TOO_OLD])
def test_no_request_is_too_odd_to_be_judged(setup: ServerSetup, request_: dict[str, Any]) -> None:
    found = complaint(mended(request_), setup)
    assert found is None or found
