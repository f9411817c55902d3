"""The recipes in `deploy/`: each one parsed, and its command given to the real command line."""

import configparser
import fnmatch
import json
import re
import shlex
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from qwen3_ascend_rerank.commands.program import app
from qwen3_ascend_rerank.commands.serve.supervisor import Patience
from qwen3_ascend_rerank.gateway.secret import VARIABLES
from qwen3_ascend_rerank.gateway.settings import GatewaySettings

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "systemd" / "qwen3-rerank.service"
SETTINGS = DEPLOY / "systemd" / "qwen3-rerank.env"

TO_AN_END = GatewaySettings().drain_seconds + Patience().grace
"""Seconds in which the gateway ends what it answers, and then its replicas."""
INSTRUCTIONS = {
    *("ARG", "FROM", "COPY", "RUN", "ENV", "VOLUME", "EXPOSE", "HEALTHCHECK", "CMD", "WORKDIR"),
}
DEVICES = ["/dev/davinci0", "/dev/davinci_manager", "/dev/devmm_svm", "/dev/hisi_hdc"]
"""What vllm-ascend's installation page gives a container, for one NPU."""
DRIVER = [
    *("/usr/local/dcmi", "/usr/local/bin/npu-smi", "/usr/local/Ascend/driver/lib64"),
    *("/usr/local/Ascend/driver/version.info", "/etc/ascend_install.info"),
]
"""What it mounts of the host."""


def served(command: list[str]) -> dict[str, Any]:
    """What the command line makes of ``qwen3-rerank serve …``.

    Raises:
        click.UsageError: an option that there is not.
    """
    program, name, *arguments = command
    assert (Path(program).name, name) == ("qwen3-rerank", "serve")
    command_line: Any = typer.main.get_command(app)
    return dict(command_line.commands["serve"].make_context("serve", arguments).params)


def defaults(text: str) -> str:
    """`text` as compose reads it where no variable is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def read_dockerfile() -> list[tuple[str, str]]:
    """Each instruction and its arguments."""
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#")).replace("\\\n", " ")
    pairs = (line.strip().partition(" ") for line in text.splitlines() if line.strip())
    return [(name, rest.strip()) for name, _, rest in pairs]


@pytest.fixture(scope="module")
def dockerfile() -> list[tuple[str, str]]:
    return read_dockerfile()


@pytest.fixture(scope="module")
def service() -> dict[str, Any]:
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(defaults(text))["services"]["reranker"])


class TestTheDockerfile:
    def test_has_known_instructions_and_begins_with_the_official_image(
        self, dockerfile: list[tuple[str, str]]
    ) -> None:
        assert {name for name, _ in dockerfile} <= INSTRUCTIONS
        (first, base), (second, image) = dockerfile[:2]
        assert (first, second, image) == ("ARG", "FROM", "${BASE}")
        assert re.fullmatch(r"BASE=quay\.io/ascend/vllm-ascend:v\d+\.\d+\.\d+", base)

    def test_keeps_the_entry_point_that_sets_canns_environment(
        self, dockerfile: list[tuple[str, str]]
    ) -> None:
        assert "ENTRYPOINT" not in dict(dockerfile)

    def test_ends_in_a_command_that_there_is(self, dockerfile: list[tuple[str, str]]) -> None:
        params = served(json.loads(dict(dockerfile)["CMD"]))
        assert params["host"] == "0.0.0.0"
        assert str(params["port"]) == dict(dockerfile)["EXPOSE"]

    def test_asks_for_its_health_where_it_listens(self, dockerfile: list[tuple[str, str]]) -> None:
        _, _, command = dict(dockerfile)["HEALTHCHECK"].partition("CMD ")
        program, flag, code = json.loads(command)
        compile(code, "HEALTHCHECK", "exec")
        assert (program, flag) == ("python3", "-c")
        assert "http://127.0.0.1:8000/health" in code

    def test_copies_what_there_is_and_what_the_build_may_see(
        self, dockerfile: list[tuple[str, str]]
    ) -> None:
        ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
        seen = [line.removeprefix("!") for line in ignored if line.startswith("!")]
        for name, rest in dockerfile:
            if name == "COPY":
                for source in rest.split()[:-1]:
                    assert (ROOT / source).exists()
                    assert any(fnmatch.fnmatch(source, pattern) for pattern in seen)

    def test_has_shell_that_can_be_parsed(self, dockerfile: list[tuple[str, str]]) -> None:
        for name, rest in dockerfile:
            if name == "RUN":
                subprocess.run(["sh", "-n", "-c", rest], check=True)


class TestCompose:
    def test_gives_the_card_and_its_driver(self, service: dict[str, Any]) -> None:
        assert service["devices"] == DEVICES
        mounted = [volume.split(":")[0] for volume in service["volumes"]]
        assert mounted == ["models", *DRIVER]

    def test_runs_a_command_that_there_is_with_the_key_from_a_secret(
        self, service: dict[str, Any]
    ) -> None:
        params = served(service["command"])
        assert params["model"] == "Qwen/Qwen3-Reranker-0.6B"
        assert params["api_key_file"] == Path("/run/secrets") / service["secrets"][0]

    def test_listens_on_the_loopback_of_the_host(self, service: dict[str, Any]) -> None:
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])

    def test_builds_what_is_here(self, service: dict[str, Any]) -> None:
        build = service["build"]
        assert (DEPLOY / build["context"]).resolve() == ROOT
        assert (ROOT / build["dockerfile"]).is_file()
        assert ("ARG", f"BASE={build['args']['BASE']}") in read_dockerfile()

    def test_ends_before_it_is_killed(self, service: dict[str, Any]) -> None:
        assert int(service["stop_grace_period"].removesuffix("s")) > TO_AN_END


@pytest.fixture(scope="module")
def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(UNIT.read_text(encoding="utf-8"))
    return parser


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    lines = SETTINGS.read_text(encoding="utf-8").splitlines()
    pairs = (line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return dict(pairs)


class TestSystemd:
    def test_runs_a_command_that_there_is(
        self, unit: configparser.ConfigParser, settings: dict[str, str]
    ) -> None:
        shell, flag, script = shlex.split(unit["Service"]["ExecStart"].replace("$$", "$"))
        assert (shell, flag) == ("/bin/bash", "-c")
        subprocess.run(["bash", "-n", "-c", script], check=True)
        _, _, command = script.partition("; exec ")
        words = subprocess.run(
            ["bash", "-c", f"printf '%s\\n' {command}"],
            env=settings,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        params = served(words)
        assert params["model"] == settings["MODEL"]
        assert (params["port"], params["replicas"]) == (8000, 4)

    def test_leaves_room_for_an_orderly_end(self, unit: configparser.ConfigParser) -> None:
        assert unit["Service"]["KillMode"] == "mixed"
        assert int(unit["Service"]["TimeoutStopSec"]) > TO_AN_END

    def test_reads_its_settings_from_where_the_readme_puts_them(
        self, unit: configparser.ConfigParser
    ) -> None:
        readme = (DEPLOY / "README.md").read_text(encoding="utf-8")
        assert f"install -m 600 deploy/systemd/{SETTINGS.name} /etc/{SETTINGS.name}" in readme
        assert unit["Service"]["EnvironmentFile"] == f"/etc/{SETTINGS.name}"

    @pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
    def test_satisfies_systemd(self) -> None:
        done = subprocess.run(
            ["systemd-analyze", "verify", str(UNIT)], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_no_recipe_holds_a_key() -> None:
    for file in filter(Path.is_file, DEPLOY.rglob("*")):
        text = file.read_text(encoding="utf-8")
        for name in VARIABLES:
            given = rf"{name}\s*[=:]\s*(?!\"\$\(cat )\S"  # from a file it may come
            assert not re.search(given, text), file
    assert "api-key" in (DEPLOY / ".gitignore").read_text(encoding="utf-8").split()


def test_the_docker_command_of_the_readme_gives_the_same_card() -> None:
    readme = (DEPLOY / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^docker run (?:.*\\\n)*.*", readme, re.MULTILINE)
    words = shlex.split(command.replace("\\\n", " "))
    given = list(pairwise(words))
    assert [after for word, after in given if word == "--device"] == DEVICES
    volumes = [after.split(":")[0] for word, after in given if word == "--volume"]
    assert volumes == ["models", *DRIVER]
    assert ("--publish", "127.0.0.1:8000:8000") in given
