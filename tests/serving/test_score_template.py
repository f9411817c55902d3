"""Our score template, rendered as vLLM does it: by transformers, for a query and a document."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from qwen3_ascend_rerank import DEFAULT_INSTRUCTION
from qwen3_ascend_rerank.errors import InvalidInputError, QueryTooLongError, UnsupportedModelError
from qwen3_ascend_rerank.models import lexical, tokenizer_file
from qwen3_ascend_rerank.prompts import CONTROL_TOKENS, build_batch, load_tokenizer
from qwen3_ascend_rerank.serving.template import FILE as TEMPLATE
from qwen3_ascend_rerank.serving.template import (
    MAKES_SEGMENTS,
    check_inputs,
    check_tokenizer,
    template_file,
    template_text,
)
from tests.support import official
from tests.support.qwen_tokenizer import ADDED, SPECIAL

TEXTS = st.one_of(
    st.text(max_size=60),
    st.text(alphabet=" \n\r\t:<>|_{}%#aA中é\u0301", max_size=30),
    st.sampled_from(
        ["", "{{ messages }}", "{% raw %}", "<b>&amp; 'x' \"y\"</b>", "\r\n", "北京。\n\n", "  x  "]
    ),
)
HOSTILE = st.lists(
    st.one_of(st.sampled_from(SPECIAL + ADDED), st.text(max_size=8)), min_size=1, max_size=6
).map("".join)


def messages(query: str, document: str) -> list[dict[str, str]]:
    return [{"role": "query", "content": query}, {"role": "document", "content": document}]


@pytest.fixture(scope="module")
def tokenizer(qwen_file: Path) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_file=str(qwen_file))


@pytest.fixture(scope="module")
def render(tokenizer: PreTrainedTokenizerFast) -> Any:
    official_one = TEMPLATE.read_text(encoding="utf-8")

    def ids(
        query: str, document: str, *, template: str = official_one, **arguments: Any
    ) -> list[int]:
        text = tokenizer.apply_chat_template(
            messages(query, document), chat_template=template, tokenize=False, **arguments
        )
        return tokenizer(text)["input_ids"]

    return ids


def prompt(
    file: Path, query: str, document: str, instruction: str = DEFAULT_INSTRUCTION
) -> list[int]:
    """What our own clients send where only text can be sent; harmless texts are as they are."""
    batch = build_batch(load_tokenizer(file), instruction, query, [document], 40960, as_text=True)
    return next(batch.prompts())


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(instruction=st.none() | TEXTS | HOSTILE, query=TEXTS | HOSTILE, document=TEXTS | HOSTILE)
def test_it_gives_the_very_ids_of_our_own_prompt(
    render: Any, qwen_file: Path, instruction: str | None, query: str, document: str
) -> None:
    arguments = {} if instruction is None else {"instruction": instruction}
    expected = prompt(qwen_file, query, document, arguments.get("instruction", DEFAULT_INSTRUCTION))
    assert render(query, document, **arguments) == expected


QUOTED = st.text(alphabet="\"'\\{}%#-\n\r\t abnx0u中\u2028😀", min_size=1, max_size=30)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(served=(TEXTS | QUOTED | HOSTILE).filter(str.strip), query=TEXTS, document=TEXTS)
def test_an_instruction_of_the_server_gives_the_official_ids(
    render: Any,
    tokenizer: PreTrainedTokenizerFast,
    qwen_file: Path,
    served: str,
    query: str,
    document: str,
) -> None:
    """Whatever is in it: quotes, braces, line feeds; control tokens are broken up."""
    template = template_text(served)
    assert render(query, document, template=template) == prompt(qwen_file, query, document, served)
    plain = [load_tokenizer(qwen_file).defuse(one) for one in (served, query, document)]
    pair = official.format_pair(*plain)
    assert (
        render(query, document, template=template)
        == official.prompt_ids(tokenizer, [pair], 40960)[0]
    )


def test_a_request_brings_another_instruction_than_the_servers(
    render: Any, qwen_file: Path
) -> None:
    template = template_text("Find bread.")
    found = render("q", "d", template=template, instruction="Find it.")
    assert found == prompt(qwen_file, "q", "d", "Find it.")
    found = render("q", "d", template=template, instruction=None)  # null in chat_template_kwargs
    assert found == prompt(qwen_file, "q", "d", "Find bread.")


def test_a_template_is_kept_in_a_file_of_its_own() -> None:
    assert template_file() == TEMPLATE
    one, other = template_file("Find bread."), template_file("Find {{ it }}.")
    assert one != other
    assert one.read_text(encoding="utf-8") == template_text("Find bread.")
    assert template_file("Find bread.") == one
    assert sorted(one.parent.glob(".score_template*")) == []


@pytest.mark.parametrize("instruction", ["", " \n", "\udcff"])
def test_what_is_no_instruction_is_refused(instruction: str) -> None:
    with pytest.raises(InvalidInputError, match="instruction is"):
        template_text(instruction)


def test_a_tokenizer_that_adds_to_a_text_is_refused(tmp_path: Path) -> None:
    good = tokenizer_file("lexical")
    check_tokenizer(good, DEFAULT_INSTRUCTION, 400)
    with pytest.raises(QueryTooLongError, match="shorten the query or the instruction"):
        check_tokenizer(good, "word " * 400, 400)
    specification = json.loads(good.read_text(encoding="utf-8"))
    (end,) = (one for one in specification["added_tokens"] if one["content"] == "<|im_end|>")
    text = {"Sequence": {"id": "A", "type_id": 0}}
    specification["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [text, {"SpecialToken": {"id": "<|im_end|>", "type_id": 0}}],
        "pair": [text, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {
            "<|im_end|>": {"id": "<|im_end|>", "ids": [end["id"]], "tokens": ["<|im_end|>"]}
        },
    }
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(specification), encoding="utf-8")
    with pytest.raises(UnsupportedModelError, match="plain queries and documents would get wrong"):
        check_tokenizer(file, DEFAULT_INSTRUCTION, 400)


@pytest.mark.parametrize("control", SPECIAL + ADDED)
def test_no_control_token_of_the_vocabulary_gets_through(
    render: Any, tokenizer: PreTrainedTokenizerFast, qwen_file: Path, control: str
) -> None:
    found = render(f"a{control}", f"{control}b", instruction=control)
    added = {tokenizer.convert_tokens_to_ids(one) for one in SPECIAL + ADDED}
    of_the_prompt = [one for one in prompt(qwen_file, "a", "b") if one in added]
    assert [one for one in found if one in added] == of_the_prompt
    assert set(CONTROL_TOKENS) < {*SPECIAL, *ADDED}


def test_an_instruction_that_is_no_text_is_written_out(render: Any, qwen_file: Path) -> None:
    assert render("q", "d", instruction=5) == prompt(qwen_file, "q", "d", "5")


@pytest.mark.full
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of vLLM's imports
@pytest.mark.skipif(find_spec("vllm") is None, reason="needs vLLM")
def test_vllm_itself_renders_it_so(tokenizer: PreTrainedTokenizerFast, qwen_file: Path) -> None:
    from vllm.renderers.hf import safe_apply_chat_template

    asked = {"query": "中国的首都？ <think>", "document": "北京。\n\n", "instruction": "Find it."}
    text = safe_apply_chat_template(
        None,
        tokenizer,
        messages(asked["query"], asked["document"]),
        chat_template=TEMPLATE.read_text(encoding="utf-8"),
        tools=None,
        tokenize=False,
        instruction=asked["instruction"],
        something_else="ignored",
    )
    assert tokenizer(text)["input_ids"] == prompt(qwen_file, **asked)


@pytest.mark.parametrize(
    ("said", "transformers_", "refused"),
    [
        ({"tokenizer_class": "Qwen2Tokenizer"}, "4.57.6", False),
        ({"tokenizer_class": "PreTrainedTokenizerFast"}, "4.57.6", True),
        ({"tokenizer_class": "PreTrainedTokenizerFast"}, "5.2.0", False),
        ({}, "4.51.0", True),
        ({"model_input_names": ["input_ids", "attention_mask"]}, "4.51.0", False),
        (
            {
                "tokenizer_class": "Qwen2Tokenizer",
                "model_input_names": ["input_ids", "token_type_ids"],
            },
            "5.2.0",
            True,
        ),
    ],
)
def test_a_tokenizer_that_makes_more_than_ids_is_refused(
    tmp_path: Path, said: dict[str, object], transformers_: str, refused: bool
) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(said))
    if refused:
        with pytest.raises(UnsupportedModelError, match="makes token_type_ids of texts"):
            check_inputs(tmp_path, transformers_)
    else:
        check_inputs(tmp_path, transformers_)


def test_the_installed_transformers_is_on_the_right_side() -> None:
    makes = "token_type_ids" in PreTrainedTokenizerFast.model_input_names
    assert makes == (transformers.__version__ in MAKES_SEGMENTS)


def test_the_lexical_model_makes_ids_alone_whatever_the_release() -> None:
    check_inputs(lexical.checkpoint_folder(), "4.51.0")
