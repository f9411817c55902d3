"""Engine options are read-only, and show no secret of any name."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from qwen3_ascend_rerank import InvalidInputError, Reranker
from qwen3_ascend_rerank.commands.doctor.trust import _command
from qwen3_ascend_rerank.components.component import RerankComponent
from qwen3_ascend_rerank.components.settings import RerankSettings
from qwen3_ascend_rerank.engines import EngineSpec
from qwen3_ascend_rerank.engines.options import (
    checked_options,
    names_secret,
    public_options,
    revealed,
)

SECRETS = [
    *(
        "hf_token",
        "HF_TOKEN",
        "token",
        "auth_token",
        "accessToken",
        "api_key",
        "apikey",
        "X-Api-Key",
    ),
    *("key", "password", "db_password", "passwd", "passphrase", "client_secret", "secrets"),
    *("credentials", "authorization", "proxy-authorization", "cookie", "auth", "basic_auth"),
    *("headers", "default_headers", "extra_headers", "private_key", "api_keys", "access_tokens"),
]
HARMLESS = [
    *("max_tokens", "max_num_batched_tokens", "batch_tokens", "tokens", "tokenizer", "token_ids"),
    *(
        "tokenizer_mode",
        "eos_token",
        "pad_token",
        "sort_key",
        "device",
        "dtype",
        "key_bits",
        "author",
    ),
    *("keyboard", "secretary", "tokens_per_second", "max_model_len", "compile", "revision"),
]


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_told_by_its_name(name: str) -> None:
    assert names_secret(name)


@pytest.mark.parametrize("name", HARMLESS)
def test_a_harmless_name_is_not_taken_for_one(name: str) -> None:
    assert not names_secret(name)


GIVEN: dict[str, Any] = {
    "hf_token": "grain-1",
    "nested": {"api_key": "grain-2", "batch_tokens": 64, "deep": [{"password": "grain-3"}]},
    "headers": {"X-Whatever": "grain-4"},
    "auth": ("user", "grain-5"),
    "proxy": "http://user:grain-6@proxy:3128",
    "args": ["hf_grain7grain7grain7grain7"],
    "max_tokens": 7,
    "max_num_batched_tokens": "8k",
    "use_auth_token": True,
    "device": "cpu",
}
PUBLIC = {
    "nested": {"batch_tokens": 64},
    "max_tokens": 7,
    "max_num_batched_tokens": "8k",
    "use_auth_token": True,
    "device": "cpu",
}


def settings_of(make: Callable[..., Any]) -> list[str]:
    made = make(base_url="http://127.0.0.1:1", engine_options=GIVEN)
    texts = [repr(made), str(made), str(made.engine_options)]
    texts += [str(pickle.dumps(made))] if make is not RerankSettings else []
    texts += [str(made.model_dump()), made.model_dump_json()] if make is not Reranker else []
    return [*texts, repr(copy.deepcopy(made))]


@pytest.mark.parametrize("make", [Reranker, RerankSettings, RerankComponent])
def test_no_secret_is_shown_or_written_down(make: Callable[..., Any]) -> None:
    written = settings_of(make)
    assert not [text for text in written if "grain" in text]
    assert all("8k" in text and "batch_tokens" in text for text in written)


def test_what_is_written_down_has_the_rest() -> None:
    assert public_options(checked_options(GIVEN)) == PUBLIC
    assert pickle.loads(pickle.dumps(Reranker(engine_options=GIVEN))).engine_options == PUBLIC
    assert copy.copy(Reranker(engine_options=GIVEN)).engine_options == checked_options(GIVEN)


def test_an_engine_gets_everything_in_plain_sight() -> None:
    assert revealed(checked_options(GIVEN)) == GIVEN
    spec = EngineSpec("vllm", "m", 100, None, checked_options(GIVEN))
    assert spec.make()._arguments == GIVEN  # type: ignore[attr-defined]
    assert "grain" not in repr(spec)
    other = EngineSpec("vllm", "m", 100, None, checked_options({**GIVEN, "hf_token": "another"}))
    assert spec.key != other.key


def test_the_command_that_doctor_advises_has_no_secret() -> None:
    command = _command(EngineSpec("torch", "m", 100, None, checked_options(GIVEN)))
    assert "grain" not in command
    assert "batch_tokens" in command


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.binary(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from([*SECRETS, *HARMLESS]), inner, max_size=4)
        ),
        max_leaves=12,
    )
)
@settings(max_examples=60, deadline=None)
def test_hiding_loses_nothing_and_what_is_public_is_plain(value: Any) -> None:
    hidden = checked_options({"value": value})
    assert revealed(hidden) == {"value": value}
    assert "Secret" not in repr(public_options(hidden)).replace("secret", "")
    assert checked_options(hidden) == hidden


# -- read-only -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda options: options.update(device="npu"),
        lambda options: options.setdefault("dtype", "float16"),
        lambda options: options.pop("device"),
        lambda options: options.clear(),
        lambda options: options.__setitem__("device", "npu"),
        lambda options: options.__delitem__("device"),
    ],
)
@pytest.mark.parametrize("make", [Reranker, RerankComponent])
def test_what_is_assigned_within_the_options_is_refused(make: Any, change: Any) -> None:
    options = {"device": "cpu"}
    made = make(model="lexical", engine_options=options)
    with pytest.raises(InvalidInputError, match="engine_options cannot be changed"):
        change(made.engine_options)
    options["device"] = "npu"
    assert made.engine_options == {"device": "cpu"}
    assert json.dumps(made.engine_options) == '{"device": "cpu"}'


@pytest.mark.parametrize("wrong", ["device=cpu", ["device"], 3, {1: "cpu"}])
def test_options_that_are_no_names_and_values_are_refused(wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match="engine_options is of type .* pass a dict"):
        Reranker("lexical", engine_options=wrong)


def test_a_secret_that_is_one_already_stays_one() -> None:
    options = checked_options({"plain": SecretStr("grain")})
    assert (options["plain"], public_options(options)) == (SecretStr("grain"), {})
    assert revealed(options) == {"plain": "grain"}
