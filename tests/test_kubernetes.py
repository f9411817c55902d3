"""The manifests in `deploy/kubernetes/`: what they name is there, and Kubernetes' schemas hold."""

import re
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from qwen3_ascend_rerank.gateway.settings import GatewaySettings
from tests.test_deploy import read_dockerfile, served

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "kubernetes"
NPUS = ("huawei.com/Ascend910", "huawei.com/Ascend310P")
"""What Huawei's device plugin calls an NPU of Atlas A2 and A3, and of 300I Duo."""
OWN_SETTINGS = {"ASCEND_VISIBLE_DEVICES": "void"}
"""What Ascend Docker Runtime is told for a pod without an NPU, by MindCluster's guide."""
SCHEMAS = ("1.25", "1.29", "1.33", "1.37")

KUSTOMIZATION: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text("utf-8"))
MANIFESTS: list[dict[str, Any]] = [
    one
    for file in KUSTOMIZATION["resources"]
    for one in yaml.safe_load_all((FOLDER / file).read_text("utf-8"))
]
WORKLOADS = [one for one in MANIFESTS if one["kind"] in ("Deployment", "StatefulSet")]
each_workload = pytest.mark.parametrize("workload", WORKLOADS, ids=lambda one: one["kind"])


def called(kind: str, name: str) -> dict[str, Any]:
    (found,) = [one for one in MANIFESTS if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def pod(workload: dict[str, Any]) -> dict[str, Any]:
    return dict(workload["spec"]["template"]["spec"])


def container(workload: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod(workload)["containers"]
    return dict(only)


def labels(workload: dict[str, Any]) -> set[tuple[str, str]]:
    return set(workload["spec"]["template"]["metadata"]["labels"].items())


def selected(selector: dict[str, str]) -> list[str]:
    """The workloads whose pods have all labels of `selector`."""
    return [one["kind"] for one in WORKLOADS if set(selector.items()) <= labels(one)]


def secrets() -> set[tuple[str, str]]:
    """Name and file of each secret that kustomize makes."""
    return {
        (one["name"], file) for one in KUSTOMIZATION["secretGenerator"] for file in one["files"]
    }


def test_there_is_what_was_asked_for() -> None:
    kinds = sorted(one["kind"] for one in MANIFESTS)
    budgets = ["PodDisruptionBudget"] * 2
    assert kinds == ["Deployment", *budgets, "Service", "Service", "StatefulSet"]


def test_every_file_is_a_resource() -> None:
    files = {file.name for file in FOLDER.glob("*.yaml")}
    assert files == {"kustomization.yaml", *KUSTOMIZATION["resources"]}


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda one: one["kind"])
def test_every_selector_selects_the_pods_of_one_workload(manifest: dict[str, Any]) -> None:
    selector = manifest["spec"]["selector"]
    (kind,) = selected(selector.get("matchLabels", selector))
    if manifest in WORKLOADS:
        assert kind == manifest["kind"]
    else:
        assert called(kind, manifest["metadata"]["name"])
    for spread in (
        manifest["spec"].get("template", {}).get("spec", {}).get("topologySpreadConstraints", [])
    ):
        assert selected(spread["labelSelector"]["matchLabels"]) == [kind]


@each_workload
def test_every_port_that_is_named_is_opened_where_the_command_listens(
    workload: dict[str, Any],
) -> None:
    (port,) = container(workload)["ports"]
    assert served(container(workload)["args"])["port"] == port["containerPort"]
    probes = ("startupProbe", "readinessProbe", "livenessProbe")
    for probe, way in product(probes, ("httpGet", "tcpSocket")):
        asked = container(workload)[probe].get(way, {"port": port["name"]})
        assert asked["port"] == port["name"]
        assert asked.get("path", "/health") == "/health"  # answered without a key
    for service in (one for one in MANIFESTS if one["kind"] == "Service"):
        if selected(service["spec"]["selector"]) == [workload["kind"]]:
            assert [one["targetPort"] for one in service["spec"]["ports"]] == [port["name"]]


@each_workload
def test_the_entry_point_of_the_image_is_kept(workload: dict[str, Any]) -> None:
    assert "command" not in container(workload)
    readme = (ROOT / "deploy" / "README.md").read_text("utf-8")
    assert f"--tag {container(workload)['image']} ." in readme
    assert [one["name"] for one in KUSTOMIZATION["images"]] == [container(workload)["image"]]


@each_workload
def test_every_volume_is_there_and_every_key_comes_from_a_secret(workload: dict[str, Any]) -> None:
    claims = workload["spec"].get("volumeClaimTemplates", [])
    volumes = {one["name"]: one for one in pod(workload)["volumes"]}
    mounts = {one["name"]: one["mountPath"] for one in container(workload)["volumeMounts"]}
    assert set(mounts) == {*volumes, *(one["metadata"]["name"] for one in claims)}
    generated = secrets()
    files = {
        Path(mounts[name]) / file
        for name, volume in volumes.items()
        for secret, file in generated
        if volume.get("secret", {}).get("secretName") == secret
    }
    given = served(container(workload)["args"])
    wanted = {given["api_key_file"], given["servers_key_file"]} - {None}
    assert wanted == files
    ignored = (ROOT / "deploy" / ".gitignore").read_text("utf-8").split()
    assert {file for _, file in generated} == set(ignored)


def test_what_is_kept_lies_where_the_image_looks() -> None:
    (volume,) = [rest for name, rest in read_dockerfile() if name == "VOLUME"]
    for one in WORKLOADS:
        mounts = {each["name"]: each["mountPath"] for each in container(one)["volumeMounts"]}
        assert mounts["models"] == volume


class TestTheGateway:
    gateway = called("Deployment", "qwen3-rerank")
    replicas = called("StatefulSet", "qwen3-rerank-replica")

    def test_asks_every_replica_by_its_name(self) -> None:
        service = called("Service", self.replicas["spec"]["serviceName"])
        assert service["spec"]["clusterIP"] == "None"
        assert service["spec"]["publishNotReadyAddresses"] is True
        port = service["spec"]["ports"][0]["port"]
        assert port == container(self.replicas)["ports"][0]["containerPort"]  # headless: no mapping
        pods = [
            f"{self.replicas['metadata']['name']}-{number}.{service['metadata']['name']}"
            for number in range(self.replicas["spec"]["replicas"])
        ]
        given = served(container(self.gateway)["args"])
        assert [urlsplit(url).netloc for url in given["base_url"]] == [f"{o}:{port}" for o in pods]

    def test_reads_texts_as_the_servers_model_does(self) -> None:
        given = served(container(self.gateway)["args"])
        assert given["tokenizer"] == served(container(self.replicas)["args"])["model"]

    def test_sends_the_key_that_the_servers_want(self) -> None:
        given = served(container(self.gateway)["args"])
        wanted = served(container(self.replicas)["args"])["api_key_file"]
        assert given["servers_key_file"] == wanted != given["api_key_file"]

    def test_ends_before_it_is_killed(self) -> None:
        (_, pause) = container(self.gateway)["lifecycle"]["preStop"]["exec"]["command"]
        grace = pod(self.gateway)["terminationGracePeriodSeconds"]
        assert grace > int(pause) + GatewaySettings().drain_seconds

    def test_is_there_while_it_is_replaced_and_while_nodes_are_drained(self) -> None:
        assert self.gateway["spec"]["replicas"] >= 2
        assert self.gateway["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
        for name in ("qwen3-rerank", "qwen3-rerank-replica"):
            assert called("PodDisruptionBudget", name)["spec"]["maxUnavailable"] == 1

    def test_takes_no_npu(self) -> None:
        asked = container(self.gateway)["resources"]
        assert not any(name in NPUS for kind in asked.values() for name in kind)
        given = {one["name"]: one["value"] for one in container(self.gateway)["env"]}
        assert given == OWN_SETTINGS


class TestTheReplicas:
    replicas = called("StatefulSet", "qwen3-rerank-replica")

    def test_take_an_npu_each_as_the_device_plugin_has_it(self) -> None:
        asked = container(self.replicas)["resources"]
        assert asked["requests"][NPUS[0]] == asked["limits"][NPUS[0]] == 1
        text = (FOLDER / "replicas.yaml").read_text("utf-8")
        assert set(re.findall(r"huawei\.com/\w+", text)) == set(NPUS)

    def test_are_vllms_own_servers_that_take_token_ids_alone(self) -> None:
        given = served(container(self.replicas)["args"])
        assert (given["bare"], given["template"], given["host"]) == (True, False, "0.0.0.0")

    def test_have_time_to_load(self) -> None:
        probe = container(self.replicas)["startupProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] >= 1800


@pytest.mark.full
@pytest.mark.skipif(
    find_spec("kubernetes_validate") is None,
    reason="needs kubernetes-validate; `make test-full` lays it over",
)
@pytest.mark.parametrize("version", SCHEMAS)
@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda one: one["kind"])
def test_every_manifest_has_the_form_that_kubernetes_wants(
    manifest: dict[str, Any], version: str
) -> None:
    import kubernetes_validate

    kubernetes_validate.validate(manifest, version, strict=True)
