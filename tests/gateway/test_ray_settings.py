"""What the Ray Serve application is told, and what it asks Ray for; none of it needs Ray."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from qwen3_ascend_rerank.errors import MissingDependencyError
from qwen3_ascend_rerank.gateway.ray_serve import ENGINE, app
from qwen3_ascend_rerank.gateway.ray_settings import RaySettings
from qwen3_ascend_rerank.runtime import devices
from qwen3_ascend_rerank.runtime.detect import Machine, Platform

RECIPE = Path(__file__).parents[2] / "deploy" / "ray" / "serve.yaml"
TP = '{"tensor_parallel_size": 2, "pipeline_parallel_size": 2}'


class TestWhatAnEngineIsPlacedBy:
    @pytest.mark.parametrize(
        ("given", "asked"),
        [
            ({"device": "npu"}, {"num_cpus": 1, "resources": {"NPU": 1}}),
            ({"device": "gpu"}, {"num_cpus": 1, "num_gpus": 1}),
            ({"device": "cpu"}, {"num_cpus": 1}),
            ({"device": "cpu", "cpus": "0.5"}, {"num_cpus": 0.5}),
            ({"device": "npu", "devices": "2"}, {"num_cpus": 1, "resources": {"NPU": 2}}),
            ({"device": "npu", "engine_options": TP}, {"num_cpus": 1, "resources": {"NPU": 4}}),
            ({"device": "gpu", "engine_options": TP, "devices": 1}, {"num_cpus": 1, "num_gpus": 1}),
        ],
    )
    def test_is_what_was_said(self, given: dict[str, Any], asked: dict[str, Any]) -> None:
        assert RaySettings(model="lexical", **given).actor_options == asked

    @pytest.mark.parametrize(
        ("platform", "asked"),
        [("npu", {"resources": {"NPU": 1}}), ("cuda", {"num_gpus": 1}), ("cpu", {})],
    )
    def test_is_what_is_plugged_in_where_nothing_was_said(
        self, monkeypatch: pytest.MonkeyPatch, platform: Platform, asked: dict[str, Any]
    ) -> None:
        monkeypatch.setattr(devices, "glance", lambda: Machine(platform, 1))
        assert RaySettings(model="lexical").actor_options == {"num_cpus": 1, **asked}


class TestArguments:
    def test_are_read_from_the_text_of_a_command_line(self) -> None:
        given = RaySettings(
            model="lexical", max_replicas="4", strict_model_name="true", engine_options=TP
        )
        assert (given.max_replicas, given.strict_model_name) == (4, True)
        assert given.engine_options["tensor_parallel_size"] == 2

    def test_come_from_the_environment_where_they_are_a_rerankers(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("QWEN3_RERANK_MODEL", "lexical")
        monkeypatch.setenv("QWEN3_RERANK_MAX_LENGTH", "300")
        given = RaySettings(max_length="200")
        assert (given.model, given.max_length) == ("lexical", 200)

    @pytest.mark.parametrize(
        ("given", "why"),
        [
            ({"max_replica": 2}, "did you mean max_replicas"),
            ({"min_replicas": 3}, "max_replicas is 1 and min_replicas is 3"),
            ({"min_replicas": 0}, "greater than or equal to 1"),
            ({"base_url": "http://a"}, "qwen3-rerank serve --base-url"),
            ({"cascade": "lexical:5"}, "this application runs one model"),
            ({"device": "tpu"}, "'auto', 'npu', 'gpu' or 'cpu'"),
            ({"engine_options": "[1"}, "give a JSON object"),
            ({"engine_options": "[1]"}, "valid dictionary"),
            ({"max_requests": "many"}, "valid integer"),
        ],
    )
    def test_that_cannot_be_used_are_named(self, given: dict[str, Any], why: str) -> None:
        with pytest.raises((ValidationError, TypeError), match=re.escape(why)):
            RaySettings(model="lexical", **given)

    def test_set_the_limits_of_the_gateway(self) -> None:
        limits = RaySettings(model="lexical", max_body_mib=2, request_timeout=9).limits
        assert (limits.names, limits.max_body_bytes) == (("lexical",), 2 * 2**20)
        assert limits.request_timeout == 9
        assert RaySettings(model="lexical", served_model_name="x").limits.names == ("x",)


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"qwen3-ascend-rerank\[ray\]"):
        app({"model": "lexical"})


def test_the_recipe_is_one_that_there_is() -> None:
    (application,) = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))["applications"]
    module, _, name = application["import_path"].partition(":")
    assert getattr(sys.modules[module], name) is app
    settings = RaySettings(**application["args"])
    assert settings.actor_options["resources"] == {"NPU": 1}
    (engine,) = application["deployments"]
    assert engine["name"] == ENGINE
    for limit in ("min_replicas", "max_replicas"):
        assert engine["autoscaling_config"][limit] == getattr(settings, limit)
