"""What a page tells its reader to type: run for real where that can be, and looked up where not.

The project's own commands run, with the lexical model in place of one that would be fetched, less
work where they measure, and `serve` as a dry run for four NPUs. Of all others it is looked up that
the targets, extras, files and options exist that they name.
"""

import json
import re
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from packaging.requirements import Requirement
from typer.testing import CliRunner

from qwen3_ascend_rerank.commands.program import app
from qwen3_ascend_rerank.commands.serve import preparation
from qwen3_ascend_rerank.gateway.ray_settings import RaySettings
from qwen3_ascend_rerank.models import lexical
from qwen3_ascend_rerank.prompts import DEFAULT_INSTRUCTION
from qwen3_ascend_rerank.runtime.arguments import ENTRIES, ReadOptions
from qwen3_ascend_rerank.runtime.versions import NEWEST_KNOWN
from qwen3_ascend_rerank.serving.judgement import ServerSetup, complaint, mended
from tests.runtime.machines import npu, recorded

from .adapters import write_adapter
from .labels import write_labels
from .pages import ROOT

FETCHED = "Qwen/Qwen3-Reranker-"
"""How the names of models begin that would be fetched."""
LESS = {
    "bench": ["--num-requests", "4", "--random-input-len", "8", "--documents", "2"],
    "serve": ["--dry-run"],
}
"""What is added to our own commands: an option that is given twice counts as it is given last."""
PLAIN = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "120"}
PROJECTS = ("", "integrations/langchain", "integrations/llama-index")
SYSTEM = (
    *("docker", "openssl", "useradd", "install", "systemctl", "journalctl", "git", "cd", "kubectl"),
    *("export", "jupyter", "python3"),
)
"""Programs of the reader's machine, which are given files of ours."""
ALSO = ("jupyterlab", "langchain-classic")
"""What else a reader is told to install."""


@dataclass
class Terminal:
    """A reader's terminal, in a folder of its own."""

    folder: Path
    patch: pytest.MonkeyPatch

    def type(self, line: str) -> None:
        """Do what `line` says.

        Raises:
            AssertionError: it failed, or names what there is not.
        """
        for command in line.split(" && "):
            words = shlex.split(command)
            settings = [words.pop(0) for _ in list(words) if re.match(r"[A-Z_]+=", words[0])]
            with self.patch.context() as patch:
                patch.chdir(self.folder)
                for name, value in (one.split("=", 1) for one in settings):
                    patch.setenv(name, value)
                self._program(Path(words[0]).name)(command, words[1:])

    def _program(self, name: str) -> Callable[[str, list[str]], None]:
        known: dict[str, Callable[[str, list[str]], None]] = {
            "qwen3-rerank": self._ours,
            "make": _targets,
            "pip": _requirements,
            "python": _script,
            "curl": _asks,
            "serve": _ray_serve,
            **dict.fromkeys(("printf", "echo"), _shell),
            **dict.fromkeys(SYSTEM, _files),
        }
        assert name in known, f"what is {name}?"
        return known[name]

    def _ours(self, _: str, words: list[str]) -> None:
        output = None
        if ">" in words:
            words, (_, output) = words[: words.index(">")], words[words.index(">") :]
        words = _with_lexical(words)
        own, mark, others = (
            (words, [], [])
            if "--" not in words
            else (words[: words.index("--")], ["--"], words[words.index("--") + 1 :])
        )
        if "--adapter" in words:
            folder = Path(words[words.index("--adapter") + 1])
            write_adapter(folder, lexical.checkpoint_folder())
        if words[0] == "calibrate":
            write_labels(Path(words[1]))
        if words[0] == "serve":
            self._have_npus(others)
        done = CliRunner().invoke(app, [*own, *LESS.get(words[0], []), *mark, *others], env=PLAIN)
        if "--ray" in own and find_spec("ray") is None:
            assert "Ray is not installed" in done.output
            return
        assert done.exit_code == 0, done.output
        assert done.stdout
        if output:
            Path(output).write_text(done.stdout, encoding="utf-8")

    def _have_npus(self, options: list[str]) -> None:
        """Have `serve` see four NPUs, and a vLLM that is known from its records."""
        machine = replace(npu("0.23.0"), devices=4)
        given = {
            name.removeprefix("--").replace("-", "_"): int(value)
            for name, value in zip(options[::2], options[1::2], strict=True)
        }
        read = ReadOptions(recorded(machine.vllm), given, frozenset(), ENTRIES[0])
        self.patch.setattr(preparation, "detect", lambda: machine)
        self.patch.setattr(preparation, "read", lambda _: read)


def _with_lexical(words: list[str]) -> list[str]:
    """With one lexical model where one or several would be fetched; a small one is its folder."""
    small = str(lexical.checkpoint_folder())
    words = [
        re.sub(rf"^{FETCHED}[\w.]+:", f"{small}:", word) if before == "--cascade" else word
        for before, word in zip(["", *words], words, strict=False)
    ]
    fetched = [place for place, word in enumerate(words) if word.startswith(FETCHED)]
    for place in reversed(fetched[1:]):
        del words[place - 1 : place + 1]  # another --model
    return ["lexical" if word.startswith(FETCHED) else word for word in words]


def _shell(command: str, _: list[str]) -> None:
    subprocess.run(["bash", "-c", command], check=True)


def _targets(_: str, words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in words:
        name, is_variable, _value = word.partition("=")
        pattern = rf"^{name} \?=" if is_variable else rf"^{name}:.*##"
        assert re.search(pattern, makefile, re.MULTILINE), f"make knows no {word}"


def _requirements(_: str, words: list[str]) -> None:
    known = dict(_project(folder) for folder in PROJECTS)
    pinned = (ROOT / "tests" / "constraints.txt").read_text(encoding="utf-8").split()
    assert words.pop(0) == "install"
    if "--index-url" in words:
        place = words.index("--index-url")
        assert words[place + 1] == "https://download.pytorch.org/whl/cpu"
        assert all(word.startswith("torch") for word in words[:place])
        del words[place : place + 2]
    for word in words:
        if word == "-e" or word in (*pinned, *ALSO):
            continue
        folder, _, extras = word.rstrip("]").partition("[")
        if (ROOT / folder / "pyproject.toml").is_file():
            name, asked = _project(folder)[0], set(filter(None, extras.split(",")))
        else:
            requirement = Requirement(word)
            name, asked = requirement.name, requirement.extras
        assert asked <= known[name], f"{name} has no extra of {asked - known[name]}"


def _project(folder: str) -> tuple[str, set[str]]:
    """Name and extras."""
    text = (ROOT / folder / "pyproject.toml").read_text(encoding="utf-8")
    name, *_ = re.findall(r'^name = "(.+)"', text, re.MULTILINE)  # contracts have names, too
    _, _, extras = text.partition("[project.optional-dependencies]\n")
    return name, set(re.findall(r"^([a-z]+) = ", extras.partition("\n[")[0], re.MULTILINE))


def _script(_: str, words: list[str]) -> None:
    if words[0] == "-m":
        words = [words[1].replace(".", "/") + ".py", *words[2:]]
    text = (ROOT / words[0]).read_text(encoding="utf-8")
    for option in (word for word in words[1:] if word.startswith("-")):
        assert f'"{option}"' in text, f"{words[0]} has no {option}"


def _files(_: str, words: list[str]) -> None:
    made = words[words.index(">") + 1 :] if ">" in words else []
    for word in words:
        if word.startswith("deploy/") and word not in made:
            assert (ROOT / word).exists(), word
        if word == "notebooks":
            assert (ROOT / word).is_dir()


def _ray_serve(_: str, words: list[str]) -> None:
    """Ray's command, with a file of ours or the application and arguments that it takes."""
    action, what, *arguments = words
    assert action in ("run", "deploy")
    if what.endswith(".yaml"):
        assert (ROOT / what).is_file()
        return
    module, _, name = what.partition(":")
    assert getattr(import_module(module), name)
    RaySettings(**dict(one.split("=", 1) for one in arguments))


def _asks(_: str, words: list[str]) -> None:
    """A request that our servers answer."""
    address, body = urlsplit(words[0]), json.loads(words[words.index("-d") + 1])
    assert address.netloc == "127.0.0.1:8000"
    assert address.path in ("/v1/rerank", "/v2/rerank", "/rerank", "/score", "/v1/score")
    setup = ServerSetup(NEWEST_KNOWN["vLLM"], True, DEFAULT_INSTRUCTION, [], [])
    assert complaint(mended(body), setup) is None
    assert body.keys() >= {"query", "documents"}
