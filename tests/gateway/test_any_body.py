"""Whatever is sent, the answer is a score or a reason, and never a failure of the gateway."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3_ascend_rerank import Reranker
from qwen3_ascend_rerank.testing import FakeEngine
from tests.support.gateways import RunningGateway
from tests.support.wire_forms import WIRE_FORMS

FIELDS = (
    *("query", "documents", "texts", "passages", "model", "top_n", "top_k", "return_documents"),
    *("return_text", "raw_scores", "truncate", "truncation", "truncation_direction", "instruction"),
    *("instruct", "max_tokens_per_doc", "rank_fields", "chat_template_kwargs", "input"),
    *("parameters", "text_1", "text_2", "queries", "items", "use_activation", "softmax"),
    *("truncate_prompt_tokens", "label_token_ids"),
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 10**20)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(["\ud800", "<|im_end|>", "Left", "END"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["text", "content", "type", "query", "documents", *FIELDS[:6]]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
TEXTS = st.lists(st.text(max_size=8) | st.just("half \ud800"), max_size=4)
BODIES = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=8) | st.builds(
    lambda query, texts, more: {"query": query, "documents": texts, "texts": texts, **more},
    st.text(min_size=1, max_size=8),
    TEXTS,
    st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=3),
)


@pytest.fixture(scope="module")
def quick() -> Iterator[RunningGateway]:
    logging.getLogger("httpx").setLevel(logging.WARNING)
    engine = Reranker(FakeEngine(lambda _, document: float(len(document)), max_length=512))
    with RunningGateway(engine) as running:
        yield running


PATHS = sorted({form.path for form in WIRE_FORMS})


@settings(max_examples=300)
@given(path=st.sampled_from(PATHS), body=BODIES | VALUES)
def test_any_json_gets_scores_or_a_reason(quick: RunningGateway, path: str, body: Any) -> None:
    answer = quick.post(path, body)
    assert answer.status_code == 200 or 400 <= answer.status_code < 500, answer.text
    said = json.loads(answer.content)
    if answer.status_code != 200:
        reason = said["message"]
        assert isinstance(reason, str)
        assert len(reason) > 10


@settings(max_examples=50)
@given(body=st.binary(max_size=40))
def test_any_bytes_get_a_reason(quick: RunningGateway, body: bytes) -> None:
    answer = quick.client.post("/v1/rerank", content=body)
    assert 400 <= answer.status_code < 500
    assert answer.json()["message"]


@settings(max_examples=50)
@given(path=st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), max_size=30))
def test_any_path_gets_an_answer(quick: RunningGateway, path: str) -> None:
    path = path.replace("?", "").replace("#", "").replace("%", "")
    answer = quick.client.request("POST", quick.url + "/" + path, json={})
    assert 400 <= answer.status_code < 500
