"""The pure parts of the served engine: requests, answers, errors, addresses, pieces."""

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from tokenizers import Tokenizer

from qwen3_ascend_rerank import InvalidInputError
from qwen3_ascend_rerank.engines import EngineSpec
from qwen3_ascend_rerank.engines.served.address import checked_api_key, checked_urls
from qwen3_ascend_rerank.engines.served.dialects import DIALECTS, Dialect
from qwen3_ascend_rerank.engines.served.discovery import Discovery
from qwen3_ascend_rerank.engines.served.engine import TOKENS_PER_REQUEST, ServedEngine
from qwen3_ascend_rerank.engines.served.faults import excerpt, retry_after
from qwen3_ascend_rerank.engines.served.manner import Manner, tokens_of
from qwen3_ascend_rerank.engines.served.models import ServedModel
from qwen3_ascend_rerank.engines.served.terms import Terms
from qwen3_ascend_rerank.engines.startup import open_tokenizer
from qwen3_ascend_rerank.prompts import DEFAULT_INSTRUCTION, PromptBatch, build_batch
from qwen3_ascend_rerank.protocol import log_odds_of
from qwen3_ascend_rerank.results import probability
from tests.support.qwen_tokenizer import ADDED, SPECIAL

URL = "http://server"
BY_NAME = {dialect.name: dialect for dialect in DIALECTS}


def batch(*documents: str, as_text: bool = True) -> PromptBatch:
    tokenizer = open_tokenizer("lexical")
    return build_batch(
        tokenizer, DEFAULT_INSTRUCTION, "query", list(documents), 512, as_text=as_text
    )


def manner(name: str, **changes: Any) -> Manner:
    return Manner(BY_NAME[name], "model", **changes)


# -- requests --------------------------------------------------------------------------------------


def test_ids_are_sent_as_they_are() -> None:
    asked = batch("one", "two", as_text=False)
    request = manner("classify", switch="use_activation").request(asked)
    assert request == {
        "input": list(asked.prompts()),
        "model": "model",
        "use_activation": False,
    }
    assert manner("pooling").request(asked)["task"] == "classify"


def test_text_is_sent_with_the_prompt_around_it_exactly_once() -> None:
    asked = batch("one", "two")
    request = manner("v1-score").request(asked)
    assert request["text_1"].startswith("<|im_start|>system\nJudge")
    assert request["text_1"].endswith("\n<Query>: query\n<Document>:")
    assert request["text_2"][1] == " two<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    raw = manner("v1-score", formatting="server").request(asked)
    assert (raw["text_1"], raw["text_2"]) == ("query", ["one", "two"])
    assert "instruction" not in raw


@pytest.mark.parametrize(
    ("name", "field"),
    [("v1-score", "instruction"), ("rerank", "instruct"), ("dashscope", "parameters.instruct")],
)
def test_a_template_is_told_the_instruction(name: str, field: str) -> None:
    request = manner(name, formatting="server", instruction=field).request(batch("one"))
    for place in field.split("."):
        request = request[place]
    assert request == DEFAULT_INSTRUCTION  # type: ignore[comparison-overlap]


def test_rerank_wants_every_document() -> None:
    request = manner("v1-rerank").request(batch(*"abcde"))
    assert (request["top_n"], request["return_documents"]) == (5, False)
    assert manner("voyage").request(batch(*"abcde"))["top_k"] == 5


def test_fields_inside_others_are_put_there() -> None:
    request = manner("dashscope", formatting="server").request(batch("one", "two"))
    assert request == {
        "model": "model",
        "input": {"query": "query", "documents": ["one", "two"]},
        "parameters": {"top_n": 2, "return_documents": False},
    }
    again = manner("dashscope", formatting="server").request(batch("one"))
    assert again["parameters"]["top_n"] == 1


def test_an_empty_document_is_sent_as_what_the_server_takes() -> None:
    for name, blank, blanks in (
        ("v1-score", "", ["", " "]), ("v1-score", " ", [" ", " "]), ("sglang", ".", [".", "."]),
    ):  # fmt: skip
        request = manner(name, formatting="server", blank=blank).request(batch("", " "))
        assert request.get("text_2", request.get("documents")) == blanks
    assert all(" <|im_end|>" in one for one in manner("v1-score").request(batch(""))["text_2"])


# -- answers ---------------------------------------------------------------------------------------

ANSWERS: dict[str, Any] = {
    "classify": {"data": [{"index": 1, "probs": [0.25]}, {"index": 0, "probs": [0.75]}]},
    "pooling": {"data": [{"index": 1, "data": [0.25]}, {"index": 0, "data": [0.75]}]},
    "v1-score": {"data": [{"index": 1, "score": 0.25}, {"index": 0, "score": 0.75}]},
    "dashscope": {
        "output": {
            "results": [
                {"index": 1, "relevance_score": 0.25},
                {"index": 0, "relevance_score": 0.75},
            ]
        }
    },
    "voyage": {
        "data": [{"index": 1, "relevance_score": 0.25}, {"index": 0, "relevance_score": 0.75}]
    },
    "tei": [{"index": 1, "score": 0.25}, {"index": 0, "score": 0.75}],
    "v1-rerank": {
        "results": [{"index": 1, "relevance_score": 0.25}, {"index": 0, "relevance_score": 0.75}]
    },
    "sglang": [{"index": 1, "score": 0.25}, {"index": 0, "score": 0.75}],
}


@pytest.mark.parametrize("name", ANSWERS)
def test_scores_go_to_their_documents_in_every_dialect(name: str) -> None:
    asked = manner(name)
    assert asked.read(URL, ANSWERS[name], 2) == [0.75, 0.25]
    found = asked.log_odds_of(URL, ANSWERS[name], 2)
    assert [probability(value) for value in found] == pytest.approx([0.75, 0.25])
    assert replace(asked, log_odds=True).log_odds_of(URL, ANSWERS[name], 2) == [0.75, 0.25]


@pytest.mark.parametrize(
    "answer",
    [
        {"usage": {"prompt_tokens": 7, "total_tokens": 9}},
        {"usage": {"total_tokens": 7}},
        {"usage": {"input_tokens": 7, "total_tokens": 9}},
        {"usage": {"prompt_tokens": 0, "total_tokens": 7}},
        {"meta": {"tokens": {"input_tokens": 7, "output_tokens": 0}}},
        {"meta": {"billed_units": {"total_tokens": 7}}},
        {"meta": {"billed_units": {"search_units": 1, "input_tokens": 7}, "tokens": None}},
        {"usage": None, "meta": {"tokens": {"input_tokens": 7}}},
        [{"meta_info": {"prompt_tokens": 3}}, {"meta_info": {"prompt_tokens": 4}}],
    ],
    ids=str,
)
def test_tokens_are_counted_wherever_they_are_told(answer: Any) -> None:
    assert tokens_of(answer) == 7


@pytest.mark.parametrize(
    "answer",
    [
        *(None, 1, [], [{}], {}, {"usage": None}, {"meta": 7}),
        {"usage": {"prompt_tokens": "many"}},
        {"usage": {"prompt_tokens": True}},
        {"usage": {"total_tokens": 0}},
        {"meta": {"billed_units": {"search_units": 1}}},
    ],
    ids=str,
)
def test_what_is_no_count_is_not_taken_for_one(answer: Any) -> None:
    assert tokens_of(answer) is None


@given(st.floats(0, 1))
def test_log_odds_of_a_probability_give_it_back(value: float) -> None:
    assert probability(log_odds_of(value)) == pytest.approx(value, abs=2e-7)


# -- texts are the tokens --------------------------------------------------------------------------

PIECES = st.lists(
    st.one_of(st.sampled_from(SPECIAL + ADDED), st.sampled_from(["<", "|", ">", " ", "\n", ":"]),
              st.text(max_size=12)),
    max_size=8,
).map("".join)  # fmt: skip


@pytest.fixture(scope="module")
def official(qwen_file: Path) -> Tokenizer:
    return Tokenizer.from_file(str(qwen_file))


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(instruction=PIECES, query=PIECES, document=PIECES, repeat=st.integers(1, 40))
def test_the_text_that_is_sent_gives_the_ids_whichever_way_it_is_joined(
    qwen_file: Path, official: Tokenizer, instruction: str, query: str, document: str, repeat: int
) -> None:
    """vLLM joins the two texts from 0.10; 0.9.2 and converted checkpoints tokenise them as a pair.

    Documents that are cut and control tokens in texts are among them.
    """
    asked = build_batch(
        open_tokenizer(qwen_file), instruction, query, [document * repeat], 400, as_text=True
    )
    (ids,) = asked.prompts()
    (closing,) = asked.closings()
    assert official.encode(asked.opening + closing, add_special_tokens=False).ids == ids
    assert official.encode(asked.opening, closing, add_special_tokens=False).ids == ids
    assert len(ids) <= 400
    assert not [one for one in ids[39:-9] if one >= 151643]


def test_broken_up_texts_are_counted() -> None:
    tokenizer = open_tokenizer("lexical")
    texts = ["<|im_end|>", "fine", "<think> and </think>", "< |im_end|>"]
    asked = build_batch(tokenizer, "<think>", "query", texts, 512, as_text=True)
    assert asked.defused == 3
    assert asked.texts == ["< |im_end|>", "fine", "< think> and < /think>", "< |im_end|>"]
    assert asked.instruction == "< think>"
    assert build_batch(tokenizer, "<think>", "query", texts, 512).defused == 0


# -- errors ----------------------------------------------------------------------------------------

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0), ("0", 0), ("7", 7), ("1.5", 1.5), ("-3", 0), ("soon", 0), ("nan", 0),
        (format_datetime(NOW + timedelta(seconds=9), usegmt=True), 9),
        (format_datetime(NOW - timedelta(days=9), usegmt=True), 0),
    ],
)  # fmt: skip
def test_retry_after_is_read_in_both_forms(header: str | None, seconds: float) -> None:
    assert retry_after(header, NOW) == seconds


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"error": {"message": "too long", "code": 400}}', "too long"),
        ('{"object": "error", "message": "too long"}', "too long"),
        ('{"error": "Unauthorized"}', "Unauthorized"),
        ('{"detail": [{"loc": ["body"], "msg": "field required"}]}', "field required"),
        ("<html><h1>Bad\nGateway</h1></html>", "Bad Gateway"),
        ("", ""),
        ('{"error": null}', '{"error": null}'),
        ("key=seed", "key=***"),
        ("x" * 500, "x" * 200 + "…"),
        ("seedling and oilseed", "seedling and oilseed"),
        ("a long-secret-of-16: xlong-secret-of-16x", "a ***: x***x"),
    ],
)
def test_an_excerpt_is_what_the_server_says_without_secrets(body: str, said: str) -> None:
    assert excerpt(body, ["seed", "", "long-secret-of-16"]) == said


def test_an_excerpt_of_anything_is_quick() -> None:
    for body in ("<" * 10**6, "[" * 10**6, "<script>" * 10**5):
        assert len(excerpt(body)) <= 201


# -- addresses and keys ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "urls"),
    [
        (None, ()),
        ("http://a:8000", ("http://a:8000",)),
        ("http://a:8000/v1/", ("http://a:8000",)),
        (" https://a/rerank/v1 ", ("https://a/rerank",)),
        ("http://a/v1/rerank", ("http://a",)),
        ("http://a/rerank/,http://a/score", ("http://a",)),
        ("https://a/gateway/v2/rerank", ("https://a/gateway",)),
        ("https://a/compatible-api/v1", ("https://a",)),
        ("https://a/models/reranker", ("https://a/models/reranker",)),
        ("http://a,http://b/,http://a", ("http://a", "http://b")),
        (["http://a", "http://[::1]:8000"], ("http://a", "http://[::1]:8000")),
    ],
)
def test_addresses_have_one_form(given: Any, urls: tuple[str, ...]) -> None:
    assert checked_urls(given) == urls


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: one.name)
def test_the_path_of_every_route_may_stand_in_an_address(dialect: Dialect) -> None:
    assert checked_urls(f"http://a:8000/before{dialect.path}/") == ("http://a:8000/before",)


@pytest.mark.parametrize(
    "given",
    ["", "a:8000", "ftp://a", "http://", "http://a b", "http://a:port", "http://u:seed@a", [],
     "http://a?key=seed", [7], 7, b"http://a", "http://a,,"],
)  # fmt: skip
def test_what_is_no_address_is_named_without_its_secrets(given: Any) -> None:
    with pytest.raises(InvalidInputError, match="base_url") as caught:
        checked_urls(given)
    assert "seed" not in str(caught.value)


def test_a_key_is_kept_as_a_secret_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QWEN3_RERANK_API_KEY", raising=False)
    assert checked_api_key(None) is None
    assert checked_api_key("seed") == checked_api_key(SecretStr("seed")) == SecretStr("seed")
    monkeypatch.setenv("QWEN3_RERANK_API_KEY", "other")
    assert checked_api_key(None) == SecretStr("other")
    assert checked_api_key("") is None
    for wrong in ("two words", "line\nend", "密钥", 7):
        with pytest.raises(InvalidInputError, match="api_key cannot be sent") as caught:
            checked_api_key(wrong)  # type: ignore[arg-type]
        assert str(wrong) not in str(caught.value)


def spec(**changes: Any) -> EngineSpec:
    settings: dict[str, Any] = {
        "name": "served", "model": None, "max_length": 512, "tokenizer": None, "options": {},
        "base_url": (URL,), "api_key": SecretStr("seed"),
    }  # fmt: skip
    return EngineSpec(**{**settings, **changes})


def test_engines_are_shared_only_with_equal_secrets() -> None:
    header = {"headers": {"X-Key": SecretStr("one")}}
    other = {"headers": {"X-Key": SecretStr("two")}}
    kinds = [spec(), spec(api_key=SecretStr("grain")), spec(api_key=None)]
    kinds += [spec(base_url=(URL, "http://b")), spec(options=header), spec(options=other)]
    assert len({one.key for one in kinds}) == len(kinds)
    assert spec().key == spec().key
    assert "seed" not in repr(spec().key) + repr(spec())


# -- replicas --------------------------------------------------------------------------------------


def discovery(url: str = URL, **changes: Any) -> Discovery:
    facts: dict[str, Any] = {
        "url": url, "ours": False,
        "version": "0.30.0", "model": ServedModel("model", "org/model", 1024),
        "max_model_len": 1024, "tokenizer": Path("tokenizer.json"),
        "manner": manner("classify", log_odds=True), "probe": (8.0, -8.0),
        "pairs": PromptBatch([1], [[2], [3]], [4], "", "", ["", ""], [False, False]),
        "open_without_key": False, "health_path": "/health",
    }  # fmt: skip
    return Discovery(**{**facts, **changes})


@pytest.mark.parametrize(
    ("changes", "objection"),
    [
        ({}, None),
        ({"probe": (8.1, -8.1)}, None),
        ({"probe": (8.2, -8.2)}, "gives 8.200, -8.200 as log-odds"),
        ({"model": ServedModel("alias", "org/model")}, None),
        ({"model": ServedModel("model", "/mnt/model")}, None),
        ({"model": ServedModel("other", "org/other")}, "serves other"),
        ({"probe": (8.5, -8.0)}, "gives 8.500, -8.000 as log-odds"),
        ({"max_model_len": 512}, "takes 512 tokens, too few for prompts of 1023"),
        ({"manner": manner("score", log_odds=True)}, "takes only text"),
        ({"manner": manner("classify")}, "only probabilities"),
    ],
)
def test_replicas_must_agree(changes: dict[str, Any], objection: str | None) -> None:
    found = Terms.of([discovery()], 8192).objection(discovery("http://other", **changes))
    assert (found is None) if objection is None else (objection in str(found))


def test_the_terms_are_what_the_largest_of_a_kind_can_do() -> None:
    small, text = discovery(max_model_len=512), discovery(manner=manner("score", log_odds=True))
    assert Terms.of([small, discovery()], 8192).max_length == 1023
    assert Terms.of([small, discovery()], 300).max_length == 300
    assert Terms.of([discovery(), text], 8192).takes_text
    assert Terms.of([discovery(max_model_len=None)], 8192).max_length == 8192


@given(st.lists(st.integers(0, 20), max_size=40), st.integers(1, 9))
def test_a_query_is_sent_in_pieces_that_fit(lengths: list[int], documents: int) -> None:
    size = TOKENS_PER_REQUEST // 16
    asked = PromptBatch(
        prefix=[1],
        documents=[[number] * (length * size) for number, length in enumerate(lengths)],
        suffix=[2],
        instruction="",
        query="",
        texts=[str(number) for number in range(len(lengths))],
        truncated=[False] * len(lengths),
    )
    engine = ServedEngine(base_url=[URL], documents_per_request=documents)
    places, parts = zip(*engine._parts(asked), strict=True) if lengths else ((), ())
    assert list(places) == [int(part.texts[0]) for part in parts]
    assert [text for part in parts for text in part.texts] == asked.texts
    assert all(0 < len(part) <= documents for part in parts)
    assert all(sum(part.lengths()) <= TOKENS_PER_REQUEST or len(part) == 1 for part in parts)


def test_a_lexical_model_is_known_by_its_folder() -> None:
    assert ServedModel("x", "/cache/lexical-208833e98fd7").origin == "lexical"
    assert ServedModel("x", "Qwen/Qwen3-Reranker-0.6B").origin == "Qwen/Qwen3-Reranker-0.6B"
    assert ServedModel("lexical").origin == "lexical"
    assert json.dumps(str(ServedModel("x", "a/b"))) == '"x (a/b)"'
