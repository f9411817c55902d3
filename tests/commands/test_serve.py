"""`qwen3-rerank serve --bare`: what it runs, what it prints, and what it refuses."""

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from qwen3_ascend_rerank import Reranker, models
from qwen3_ascend_rerank.commands.program import app
from qwen3_ascend_rerank.commands.serve import preparation
from qwen3_ascend_rerank.commands.serve.address import check_free, is_loopback, near, url
from qwen3_ascend_rerank.commands.serve.view import shell_line
from qwen3_ascend_rerank.errors import InvalidInputError, UnsupportedModelError
from qwen3_ascend_rerank.gateway.secret import find_key
from qwen3_ascend_rerank.models import Checkpoint, tokenizer_file
from qwen3_ascend_rerank.models.lexical import checkpoint_folder
from qwen3_ascend_rerank.prompts import load_tokenizer
from qwen3_ascend_rerank.runtime.arguments import ENTRIES, ReadOptions
from qwen3_ascend_rerank.runtime.detect import Machine
from qwen3_ascend_rerank.serving import abilities, gate, ready
from qwen3_ascend_rerank.serving.judgement import ServerSetup
from qwen3_ascend_rerank.serving.template import template_text
from tests.runtime.machines import VERSIONS, cpu, cuda, npu, recorded
from tests.support.servers import VLLMServer, free_port
from tests.support.variants import Variant, write

SECRET = "sesame-open-7"
ASKED: dict[str, Any] = {
    "query": "What is the capital of China?",
    "documents": [
        "Bread is made of flour, water and salt.",
        "Beijing is the capital of China.",
        "The capital of France is Paris.",
    ],
}


@dataclass
class Done:
    """What a run of the command did."""

    status: int
    printed: str
    """Standard output."""
    told: str
    """Standard error, on one line."""
    lines: list[list[str]] = field(init=False)
    """The commands that were printed, as words."""

    def __post_init__(self) -> None:
        self.lines = [shlex.split(line) for line in self.printed.splitlines()]


Serve = Callable[..., Done]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("QWEN3_RERANK_API", "VLLM_", "ASCEND_", "CUDA_")):
            monkeypatch.delenv(name)


@pytest.fixture
def dry_run(monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Prints what would run on a machine whose vLLM is known from its records alone."""

    def run(
        machine: Machine,
        *arguments: str,
        options: dict[str, Any] | None = None,
        server_options: tuple[str, ...] = (),
        model: str = "lexical",
    ) -> Done:
        read = ReadOptions(
            recorded(machine.vllm), options or {}, frozenset(server_options), ENTRIES[0]
        )
        monkeypatch.setattr(preparation, "detect", lambda: machine)
        monkeypatch.setattr(preparation, "read", lambda _: read)
        done = CliRunner().invoke(app, ["serve", model, "--bare", "--dry-run", *arguments])
        return Done(done.exit_code, done.stdout, " ".join(done.stderr.split()))

    return run


def value(command: list[str], flag: str) -> str:
    return command[command.index(flag) + 1]


class TestADryRun:
    @pytest.mark.parametrize("version", VERSIONS)
    @pytest.mark.parametrize("platform", [cuda, cpu, npu], ids=["cuda", "cpu", "npu"])
    def test_prints_a_command_for_every_version(
        self, dry_run: Serve, platform: Any, version: str
    ) -> None:
        done = dry_run(platform(version), "--max-length", "1024", "--port", "9000")
        assert done.status == 0, done.told
        (command,) = done.lines
        assert value(command, "--model") == str(checkpoint_folder())
        assert value(command, "--served-model-name") == "lexical"
        assert value(command, "--host") == "127.0.0.1"
        assert value(command, "--port") == "9000"
        assert value(command, "--max-model-len") == "1025"
        assert 'use Reranker(base_url="http://127.0.0.1:9000")' in done.told

    def test_sets_the_environment_and_clears_what_harms(
        self, dry_run: Serve, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("VLLM_USE_V2_MODEL_RUNNER", "1")
        (command,) = dry_run(npu("0.23.0")).lines
        assert command[:3] == ["env", "-u", "VLLM_USE_V2_MODEL_RUNNER"]
        (command,) = dry_run(cpu("0.30.0")).lines
        assert "VLLM_CPU_KVCACHE_SPACE=1" in command[: command.index(sys.executable)]

    def test_gives_replicas_a_port_and_devices_each(self, dry_run: Serve) -> None:
        machine = replace(npu("0.23.0"), devices=8)
        done = dry_run(
            machine,
            *("--replicas", "4", "--port", "9000", "--host", "0.0.0.0"),
            options={"tensor_parallel_size": 2},
        )
        assert [value(command, "--port") for command in done.lines] == [
            *("9000", "9001", "9002", "9003")
        ]
        assert [command[1] for command in done.lines] == [
            f"ASCEND_RT_VISIBLE_DEVICES={pair}" for pair in ("0,1", "2,3", "4,5", "6,7")
        ]
        host = socket.gethostname()
        assert f'Reranker(base_url=["http://{host}:9000", "http://{host}:9001"' in done.told

    def test_says_each_thing_once(self, dry_run: Serve) -> None:
        machine = replace(npu("0.13.0", vllm="0.14.0"), devices=2)
        told = dry_run(machine, "--replicas", "2").told
        assert told.count("enable_prefix_caching=False") == 1
        assert told.count("warning vllm-ascend 0.13.0: made for vLLM 0.13.0, found 0.14.0") == 1

    def test_passes_the_users_options_on(self, dry_run: Serve) -> None:
        words = ["--gpu-memory-utilization", "0.5", "--ssl-keyfile=a b"]
        done = dry_run(cuda("0.30.0"), "--", *words, options={"gpu_memory_utilization": 0.5})
        (command,) = done.lines
        place = command.index(words[0])
        assert command[place : place + 3] == words

    def test_fetches_no_weights(
        self, dry_run: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        fetched: list[bool] = []
        shutil.copy(tokenizer_file("lexical"), tmp_path)

        def open_checkpoint(model: str, *, weights: bool = True) -> Checkpoint:
            fetched.append(weights)
            found = models.open_checkpoint("lexical", weights=False)
            return replace(found, name=model, folder=tmp_path)

        monkeypatch.setattr(preparation, "open_checkpoint", open_checkpoint)
        done = dry_run(cuda("0.30.0"), model="Qwen/Qwen3-Reranker-0.6B")
        assert fetched == [False]
        (command,) = done.lines
        assert value(command, "--model") == str(tmp_path)
        assert value(command, "--served-model-name") == "Qwen/Qwen3-Reranker-0.6B"
        assert "a start without --dry-run fetches them" in done.told

    @pytest.mark.parametrize("version", VERSIONS)
    def test_has_a_template_where_this_vllm_applies_one(self, dry_run: Serve, version: str) -> None:
        done = dry_run(cuda(version))
        can = abilities.can(version, "template")
        assert ("--chat-template" in done.lines[0]) is can
        assert (f"vLLM {version} applies no template" in done.told) is not can
        assert self.setup(done).template is can
        assert self.setup(done).version == version
        assert "--chat-template" not in dry_run(cuda(version), "--no-template").lines[0]

    @pytest.mark.parametrize("version", VERSIONS)
    def test_refuses_everywhere_what_cannot_be_right(self, dry_run: Serve, version: str) -> None:
        for arguments in ([], ["--no-template"]):
            done = dry_run(cuda(version), *arguments)
            assert value(done.lines[0], "--middleware") == gate.MIDDLEWARE
            tokenizer = load_tokenizer(tokenizer_file("lexical"))
            assert self.setup(done).head == tokenizer.head
            assert self.setup(done).tail == tokenizer.tail

    def test_says_that_plain_texts_are_refused_without_a_template(self, dry_run: Serve) -> None:
        assert "are refused" not in dry_run(cuda("0.30.0")).told
        told = dry_run(cuda("0.30.0"), "--no-template").told
        assert "there is no template: this package's own clients send whole prompts" in told
        assert "plain queries and documents are refused" in told

    def test_gives_the_template_an_instruction(
        self, dry_run: Serve, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = 'Find "it" {{ 7 }} 中\n'
        done = dry_run(cuda("0.30.0"), "--instruction", asked)
        file = Path(value(done.lines[0], "--chat-template"))
        assert file.read_text() == template_text(asked)
        assert self.setup(done).instruction == asked
        monkeypatch.setenv("QWEN3_RERANK_INSTRUCTION", asked)
        assert dry_run(cuda("0.30.0")).lines[0] == done.lines[0]

    def test_takes_several_names(self, dry_run: Serve) -> None:
        names = ["lexical", "model___VLLM", "排序"]
        words = [word for name in names for word in ("--served-model-name", name)]
        (command,) = dry_run(cuda("0.30.0"), *words).lines
        place = command.index("--served-model-name")
        assert command[place + 1 : place + 4] == names
        assert command.count("--served-model-name") == 1

    def test_keeps_python_in_front(self, dry_run: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VLLM_USE_RUST_FRONTEND", "1")
        (command,) = dry_run(cuda("0.30.0")).lines
        assert command[:3] == ["env", "-u", "VLLM_USE_RUST_FRONTEND"]

    @staticmethod
    def setup(done: Done) -> ServerSetup:
        """What the server would be told of itself."""
        (given,) = (word for word in done.lines[0] if word.startswith(gate.VARIABLE))
        return ServerSetup(**json.loads(given.partition("=")[2]))


class TestTheKey:
    def test_is_not_printed_and_reaches_the_server(
        self, dry_run: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("QWEN3_RERANK_API_KEY", SECRET)
        file = tmp_path / "the key"
        file.write_text(f"{SECRET}\n")
        for options in ([], ["--api-key-file", str(file)]):
            done = dry_run(cuda("0.30.0"), *options)
            assert SECRET not in done.printed + done.told
            assert "api_key=…" in done.told
            line = done.printed.partition(sys.executable)[0] + "printenv VLLM_API_KEY"
            said = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
            assert said.stdout.strip() == SECRET

    def test_comes_from_the_file_before_the_environment(self, tmp_path: Path) -> None:
        file = tmp_path / "key"
        file.write_text(SECRET)
        key = find_key(file, {"VLLM_API_KEY": "other"})
        assert key is not None
        assert key.value.get_secret_value() == SECRET
        assert SECRET not in repr(key) + shell_line(["x"], {}, key)

    def test_of_this_package_comes_before_vllms(self) -> None:
        key = find_key(None, {"VLLM_API_KEY": "other", "QWEN3_RERANK_API_KEY": SECRET})
        assert key is not None
        assert key.value.get_secret_value() == SECRET

    def test_may_be_absent(self) -> None:
        assert find_key(None, {"VLLM_API_KEY": " "}) is None

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"\n", "key is empty"),
            (b"sesame two\nlines", "api_key cannot be sent"),
            (b"\xff\xfe", "not a text file"),
            (None, "cannot be read: No such file"),
        ],
    )
    def test_must_be_alone_in_its_file(
        self, content: bytes | None, message: str, tmp_path: Path
    ) -> None:
        file = tmp_path / "key"
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(InvalidInputError, match=message) as caught:
            find_key(file, {})
        assert "sesame" not in str(caught.value)

    @pytest.mark.parametrize(
        ("host", "key", "said"),
        [
            ("127.0.0.1", SECRET, "note vLLM asks for the API key on /v1 only, not on /classify"),
            ("0.0.0.0", None, "warning there is no API key"),
            ("0.0.0.0", SECRET, "warning vLLM asks for the API key on /v1 only, not on /classify"),
        ],
    )
    def test_guards_less_than_one_might_think_and_that_is_said(
        self,
        dry_run: Serve,
        monkeypatch: pytest.MonkeyPatch,
        host: str,
        key: str | None,
        said: str,
    ) -> None:
        if key:
            monkeypatch.setenv("VLLM_API_KEY", key)
        assert said in dry_run(cuda("0.30.0"), "--host", host).told


class TestRefused:
    @pytest.mark.parametrize(
        ("machine", "arguments", "options", "message"),
        [
            (cuda("0.10.1"), [], {"tensor_parallel_size": 2}, "score head does not survive tensor"),
            (npu("0.18.0", chip="310P3"), [], {}, "310P cannot run pooling models"),
            (cuda("0.30.0"), [], {"max_model_len": 100}, "give at least 8193"),
            (cuda("0.13.0"), ["--template"], {}, "does not apply a template to scores"),
            (cuda("0.13.0"), ["--instruction", "x"], {}, "leave --template and --instruction out"),
            (cuda("0.30.0"), ["--instruction", " "], {}, "instruction is ' ' (str); pass a str"),
            (
                cuda("0.30.0"),
                ["--instruction", "x", "--no-template"],
                {},
                "for the template, which --no-template leaves out",
            ),
            (
                cuda("0.30.0"),
                ["--instruction", "word " * 300, "--max-length", "300"],
                {},
                "shorten the query or the instruction, or raise max_length",
            ),
            (cuda("0.30.0"), [], {"chat_template": "x"}, "--chat-template cannot be passed on"),
            (npu("0.23.0"), ["--replicas", "2"], {}, "need 2 NPUs and 1 can be seen"),
            (cuda("0.30.0"), [], {"runner": "generate"}, "runner must be 'pooling'"),
            (cuda("0.30.0"), [], {"api_key": ["x"]}, "list of processes"),
        ],
    )
    def test_with_the_reason(
        self,
        dry_run: Serve,
        machine: Machine,
        arguments: list[str],
        options: dict[str, Any],
        message: str,
    ) -> None:
        of_server = tuple(options.keys() & {"api_key", "chat_template"})
        given = {name: options[name] for name in options if name not in of_server}
        done = dry_run(machine, *arguments, options=given, server_options=of_server)
        assert (done.status, done.printed) == (1, "")
        assert "error: " in done.told
        assert message in done.told

    @pytest.mark.parametrize(
        ("model", "message"),
        [
            ("./no/such/folder", "there is no model folder ./no/such/folder"),
            ("tests", "tests has no config.json"),
        ],
    )
    def test_where_there_is_no_such_model(self, dry_run: Serve, model: str, message: str) -> None:
        done = dry_run(cuda("0.30.0"), model=model)
        assert done.status == 1
        assert message in done.told

    def test_without_vllm(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(preparation, "detect", lambda: Machine("cpu", 0))
        done = CliRunner().invoke(app, ["serve", "lexical", "--bare", "--port", str(free_port())])
        assert done.exit_code == 1
        assert 'pip install "qwen3-ascend-rerank[npu]"' in done.stderr.replace("\n", " ")

    def test_where_a_port_is_taken(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            done = CliRunner().invoke(app, ["serve", "lexical", "--bare", "--port", str(port)])
        assert done.exit_code == 1
        assert f"cannot listen on port {port} of 127.0.0.1" in " ".join(done.stderr.split())

    @pytest.mark.parametrize("arguments", [["--port", "0"], ["--replicas", "0"], ["--dtype", "x"]])
    def test_as_usage(self, arguments: list[str]) -> None:
        assert CliRunner().invoke(app, ["serve", "lexical", *arguments]).exit_code == 2

    def test_an_option_of_vllm_is_told_its_place(self) -> None:
        done = CliRunner().invoke(app, ["serve", "lexical", "--dtype", "x"])
        assert "serve MODEL -- --dtype" in " ".join(done.stderr.replace("│", "").split())


class TestAStart:
    def test_becomes_the_server_with_the_key_in_its_environment_alone(
        self, dry_run: Serve, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dry_run(cpu("0.30.0"))  # from now on this is the machine
        monkeypatch.setenv("QWEN3_RERANK_API_KEY", SECRET)
        monkeypatch.setenv("KEPT", "1")
        started: list[Any] = []

        def become(*arguments: Any) -> None:
            started.append(arguments)
            raise SystemExit  # as for whoever called it: it does not return

        monkeypatch.setattr(os, "execve", become)
        CliRunner().invoke(app, ["serve", "lexical", "--bare", "--port", str(free_port())])
        program, command, environment = started[0]
        assert (program, command[0]) == (sys.executable, sys.executable)
        assert SECRET not in " ".join(command)
        assert environment["VLLM_API_KEY"] == SECRET
        assert environment["VLLM_CPU_KVCACHE_SPACE"] == "1"
        assert environment["KEPT"] == "1"
        assert SECRET not in environment[ready.VARIABLE]


class TestAddresses:
    def test_ports_beyond_the_last_are_refused(self) -> None:
        with pytest.raises(InvalidInputError, match="2 ports from 65535 on go beyond 65535"):
            check_free("127.0.0.1", range(65535, 65537))

    def test_every_port_is_tried(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(InvalidInputError, match=f"port {port} of 127.0.0.1: Address alr"):
                check_free("127.0.0.1", range(port - 1, port + 1))

    @pytest.mark.parametrize("host", ["192.0.2.7", "no-such-host.invalid"])
    def test_an_address_of_another_machine_is_named(self, host: str) -> None:
        with pytest.raises(InvalidInputError, match=f"of {host}: .*another --port or --host"):
            check_free(host, range(8000, 8001))

    @pytest.mark.parametrize(
        ("host", "loopback", "reached"),
        [
            ("127.0.0.1", True, "127.0.0.1"),
            ("127.8.8.8", True, "127.8.8.8"),
            ("localhost", True, "localhost"),
            ("::1", True, "::1"),
            ("0.0.0.0", False, "127.0.0.1"),
            ("::", False, "::1"),
            ("10.0.0.5", False, "10.0.0.5"),
            ("npu-7.example", False, "npu-7.example"),
        ],
    )
    def test_are_told_apart(self, host: str, loopback: bool, reached: str) -> None:
        assert is_loopback(host) is loopback
        assert near(host) == reached

    def test_a_client_is_given_one_that_it_can_use(self) -> None:
        assert url("::1", 80) == "http://[::1]:80"
        assert url("npu-7.example", 80) == "http://npu-7.example:80"
        assert url("0.0.0.0", 80) == f"http://{socket.gethostname()}:80"


@pytest.mark.vllm
class TestTheRealServer:
    """As the README starts it, asked as platforms ask: by plain texts."""

    def test_has_become_vllm_and_shows_no_key(self, vllm_server: VLLMServer) -> None:
        command = vllm_server.command_line()
        assert command[1:4] == ["-m", *ENTRIES[0]]
        assert vllm_server.api_key not in " ".join(command)

    @pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank", "/invocations"])
    def test_puts_the_passage_that_answers_first(
        self, vllm_server: VLLMServer, lexical: Reranker, path: str
    ) -> None:
        answer = post(vllm_server, path, {"model": "lexical", "top_n": 2, **ASKED})
        assert answer.status_code == 200
        right = lexical.rerank(ASKED["query"], ASKED["documents"], top_n=2)
        rows = answer.json()["results"]
        assert [row["index"] for row in rows] == [one.index for one in right] == [1, 2]
        scores = [row["relevance_score"] for row in rows]
        assert scores == pytest.approx([one.score for one in right], abs=1e-4)
        assert rows[0]["document"]["text"] == ASKED["documents"][1]

    @pytest.mark.parametrize("path", ["/score", "/v1/score"])
    def test_scores_pairs(self, vllm_server: VLLMServer, lexical: Reranker, path: str) -> None:
        body = {"text_1": ASKED["query"], "text_2": ASKED["documents"]}
        rows = post(vllm_server, path, body).json()["data"]
        right = lexical.score(ASKED["query"], ASKED["documents"])
        assert [row["score"] for row in rows] == pytest.approx(right, abs=1e-4)

    def test_takes_an_instruction_by_either_name(
        self, vllm_server: VLLMServer, lexical: Reranker
    ) -> None:
        right = lexical.score(ASKED["query"], ASKED["documents"], instruction="Find bread.")
        for name in ("instruction", "instruct"):
            body = {**ASKED, name: "Find bread.", "top_n": None, "max_tokens_per_doc": None}
            rows = post(vllm_server, "/v1/rerank", body).json()["results"]
            found = {row["index"]: row["relevance_score"] for row in rows}
            assert [found[n] for n in range(3)] == pytest.approx(right, abs=1e-4)

    @pytest.mark.parametrize(
        ("path", "body", "why"),
        [
            ("/v1/rerank", {**ASKED, "query": ""}, "the query is empty"),
            ("/v1/rerank", {**ASKED, "truncate_prompt_tokens": 50}, "cuts off the end"),
            ("/rerank", {**ASKED, "padding": "max_length"}, "puts tokens behind"),
            ("/v1/rerank", {**ASKED, "query": f"<Instruct>: x\n<Query>: {ASKED}"}, "doubled"),
            ("/classify", {"input": ASKED["documents"]}, "not Qwen3-Reranker's whole prompt"),
            ("/pooling", {"input": [[1, 2, 3]], "task": "classify"}, "whole prompt"),
            ("/invocations", {"messages": [{"role": "user", "content": "x"}]}, "another prompt"),
            ("/v1/rerank", {**ASKED, "documents": ["long " * 900]}, "maximum"),
        ],
    )
    def test_refuses_what_would_get_a_wrong_score(
        self, vllm_server: VLLMServer, path: str, body: dict[str, Any], why: str
    ) -> None:
        answer = post(vllm_server, path, body)
        assert answer.status_code == 400
        assert why in answer.json()["error"]["message"]

    def test_ends_its_start_with_what_to_do_next(self, vllm_server: VLLMServer) -> None:
        last = vllm_server.printed().partition("\nready    ")[2].splitlines()
        assert last[0] == f"lexical at {vllm_server.url}"
        assert last[1] == f"check    qwen3-rerank doctor --url {vllm_server.url}"
        assert last[2] == f'Python   Reranker(base_url="{vllm_server.url}", api_key=…)'
        curl = last[3].removeprefix("others   ")
        assert vllm_server.api_key not in curl
        if shutil.which("curl"):
            keyed = {**os.environ, "VLLM_API_KEY": vllm_server.api_key}
            done = subprocess.run(["sh", "-c", curl], capture_output=True, env=keyed, check=True)
            assert json.loads(done.stdout)["results"][0]["index"] == 1


def post(server: VLLMServer, path: str, body: dict[str, Any]) -> httpx.Response:
    """As anybody may who has the key."""
    key = {"Authorization": f"Bearer {server.api_key}"}
    return httpx.post(f"{server.url}{path}", json=body, headers=key, timeout=60)


class TestAModelThatCannotBeServed:
    def test_has_two_labels(self, tmp_path: Path) -> None:
        folder = write(Variant(head="two labels"), tmp_path / "model")
        prepared = SimpleNamespace(checkpoint=models.open_checkpoint(str(folder), weights=False))
        with pytest.raises(UnsupportedModelError, match=r"has two labels.* row 1 minus row 0"):
            preparation.check_servable(models.open_checkpoint(str(folder)), prepared)

    def test_has_two_heads(self, tmp_path: Path) -> None:
        folder = write(Variant(tie="trained"), tmp_path / "model")
        checkpoint = models.open_checkpoint(str(folder))
        with pytest.raises(UnsupportedModelError, match="set it to false"):
            preparation.check_servable(checkpoint, SimpleNamespace(checkpoint=checkpoint))

    def test_says_only_in_its_weights_how_many_labels_it_has(self, tmp_path: Path) -> None:
        folder = write(Variant(head="one label"), tmp_path / "model")
        file = folder / "config.json"
        content = json.loads(file.read_text())
        del content["id2label"]
        file.write_text(json.dumps(content))
        light = models.open_checkpoint(str(folder), weights=False)
        with pytest.raises(InvalidInputError, match="how many labels its head has; name its fold"):
            preparation.check_servable(
                models.open_checkpoint(str(folder)), SimpleNamespace(checkpoint=light)
            )


def test_a_server_is_told_what_takes_back_another_activation(
    dry_run: Serve, tmp_path: Path
) -> None:
    folder = write(Variant(head="one label"), tmp_path / "model")
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"problem_type": "regression"}))
    (command,) = dry_run(cuda("0.30.0"), "--max-length", "400", model=str(folder)).lines
    assert json.loads(value(command, "--hf-overrides")) == {"problem_type": None}


def test_a_longer_prompt_than_the_model_takes_is_refused(dry_run: Serve, tmp_path: Path) -> None:
    folder = write(Variant(), tmp_path / "model")
    refused = dry_run(cuda("0.30.0"), "--max-length", "4096", model=str(folder))
    assert refused.status != 0
    assert f"max_length is 4096 but {folder} takes at most 4095 tokens here" in refused.told
