"""What Prometheus reads; and the dashboard in `deploy/`, which asks for nothing else."""

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.support.dialects import VLLM
from tests.support.gateways import RunningGateway
from tests.support.processes import wait_until
from tests.support.served import client
from tests.support.stand_in import StandIn

DASHBOARD: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "deploy/grafana/qwen3-rerank.json").read_text(encoding="utf-8")
)
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
SELECTED = re.compile(r"(qwen3_rerank_\w+)\{([^}]*)\}(\[\$__rate_interval\])?")
SCRAPED = {"instance"}
"""Labels that Prometheus adds."""


def samples(gateway: RunningGateway) -> list[Sample]:
    text = gateway.client.get("/metrics").text
    return [one for family in text_string_to_metric_families(text) for one in family.samples]


def value(gateway: RunningGateway, name: str) -> float:
    (found,) = [one.value for one in samples(gateway) if one.name == f"qwen3_rerank_{name}"]
    return float(found)


class TestReplicas:
    @pytest.fixture
    def servers(self) -> Iterator[list[StandIn]]:
        with StandIn(VLLM()) as one, StandIn(VLLM()) as other:
            yield [one, other]

    def test_that_are_up_are_counted(self, servers: list[StandIn]) -> None:
        behind = client(servers, engine_options={"patience": 10})
        with behind, RunningGateway(behind, key="") as gateway:
            assert (value(gateway, "replicas"), value(gateway, "replicas_up")) == (2, 2)
            servers[1].kill()
            asked = {"query": "a", "documents": [str(number) for number in range(200)]}
            assert wait_until(
                lambda: (
                    gateway.post("/rerank", asked).status_code == 200
                    and value(gateway, "replicas_up") == 1
                )
            )
            assert value(gateway, "replicas") == 2
            said = gateway.client.get("/version").json()
            assert (said["replicas"], said["replicas_up"]) == (2, 1)
            servers[1].start()
            assert wait_until(lambda: value(gateway, "replicas_up") == 2)

    def test_are_one_where_the_engine_is_in_this_process(self, gateway: RunningGateway) -> None:
        assert (value(gateway, "replicas"), value(gateway, "replicas_up")) == (1, 1)


def test_latency_is_a_histogram(gateway: RunningGateway) -> None:
    gateway.post("/score", {"text_1": "a", "text_2": "b"})
    found = [one for one in samples(gateway) if one.labels.get("form") == "vllm-score"]
    buckets = [one for one in found if one.name == "qwen3_rerank_request_seconds_bucket"]
    counts = [one.value for one in buckets]
    assert counts == sorted(counts)
    assert counts[-1] >= 1
    bounds = [float(one.labels["le"]) for one in buckets]
    assert (min(bounds), max(bounds)) == (0.005, float("inf"))


@pytest.fixture(scope="module")
def exported(gateway: RunningGateway) -> dict[str, set[str]]:
    """The names of samples, and their labels."""
    gateway.post("/rerank", {"query": "a", "documents": ["b"]})
    found: dict[str, set[str]] = {}
    for one in samples(gateway):
        found.setdefault(one.name, set()).update(one.labels)
    return found


class TestTheDashboard:
    def test_asks_for_what_there_is(self, exported: dict[str, set[str]]) -> None:
        for query in QUERIES:
            selected = SELECTED.findall(query)
            assert selected, query
            for name, matchers, window in selected:
                assert name in exported, query
                named = set(re.findall(r"(\w+)\s*(?:=~|!=|=)", matchers))
                assert named <= exported[name] | SCRAPED, query
                grouped = re.findall(r"by \(([^)]*)\)", query)
                labels = {label.strip() for one in grouped for label in one.split(",")}
                assert labels <= exported[name] | SCRAPED, query
                # A counter means something as a rate alone, and a gauge as itself.
                counted = name.endswith(("_total", "_bucket", "_sum", "_count"))
                assert bool(window) == counted == (f"rate({name}" in query), query
            assert len(selected) == query.count("qwen3_rerank_")
            assert query.count("(") == query.count(")")

    def test_leaves_nothing_out(self, exported: dict[str, set[str]]) -> None:
        shown = {name for query in QUERIES for name, _, _ in SELECTED.findall(query)}
        assert {one for one in exported if not one.endswith("_created")} == shown

    def test_finds_its_gateways_and_asks_the_chosen_prometheus(
        self, exported: dict[str, set[str]]
    ) -> None:
        variables = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
        asked = variables["instance"]["definition"]
        (name,) = re.findall(r"label_values\((\w+), instance\)", asked)
        assert name in exported
        used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD)))
        assert {one for one in used if not one.startswith("__")} == set(variables)
        for panel in PANELS:
            for one in (panel, *panel["targets"]):
                assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}

    def test_has_a_place_for_each_panel(self) -> None:
        assert len({panel["id"] for panel in PANELS}) == len(PANELS)
        assert len({panel["title"] for panel in PANELS}) == len(PANELS)
        for one, other in combinations([panel["gridPos"] for panel in PANELS], 2):
            beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
            below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
            assert beside or below
        assert max(panel["gridPos"]["x"] + panel["gridPos"]["w"] for panel in PANELS) == 24


def test_a_legend_names_what_is_grouped_by() -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                grouped = re.findall(r"by \(([^)]*)\)", target["expr"])
                assert all(label in one for one in grouped)
