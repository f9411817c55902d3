"""`qwen3-rerank doctor`: what it prints, how it ends, and that its advice can be followed."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from typer.main import get_command
from typer.testing import CliRunner

import qwen3_ascend_rerank.engines.startup as startup
from qwen3_ascend_rerank.commands.doctor import trust
from qwen3_ascend_rerank.commands.doctor.view import AREAS
from qwen3_ascend_rerank.commands.program import app
from qwen3_ascend_rerank.doctor import Diagnosis
from qwen3_ascend_rerank.engines import EngineSpec
from qwen3_ascend_rerank.runtime.detect import Answer
from qwen3_ascend_rerank.runtime.versions import PAIRINGS
from qwen3_ascend_rerank.trust import Check, Report
from tests.runtime.computers import Computer, ascend, npus, recorded
from tests.support.dialects import VLLM, SGLang, good_template, short_template
from tests.support.servers import API_KEY, VLLMServer
from tests.support.stand_in import StandIn

ROOT = Path(__file__).parents[2]
KEY = "sesame-9c4e"
PLAIN = {"NO_COLOR": "1", "TERM": "dumb"}


def doctor(*options: str, **environ: str):
    return CliRunner().invoke(app, ["doctor", *options], env={**PLAIN, **environ})


def diagnosed(*options: str, **environ: str) -> dict[str, list[dict[str, str]]]:
    """What `--json` says, by check."""
    done = doctor("--json", *options, **environ)
    by_check: dict[str, list[dict[str, str]]] = {}
    for each in json.loads(done.stdout)["diagnoses"]:
        by_check.setdefault(each["check"], []).append(each)
    return by_check


# ---- this machine -----------------------------------------------------------------------------


def test_this_machine_is_well() -> None:
    done = doctor()
    assert done.exit_code == 0, done.stdout
    for heading in ("NPU", "Computer", "Software", "What would run", "Models", "Scores"):
        assert f"{heading}\n" in done.stdout
    assert "torch 2" in done.stdout


def test_a_problem_makes_the_exit_status_1() -> None:
    done = doctor(VLLM_USE_MODELSCOPE="1")
    assert done.exit_code == 1
    assert "problem VLLM_USE_MODELSCOPE is set" in done.stdout
    assert "1 problem" in done.stdout.splitlines()[-1]


def test_programs_read_the_same_keys_in_every_case() -> None:
    done = doctor("--json")
    told = json.loads(done.stdout)
    assert set(told) == {"worst", "counts", "diagnoses"}
    assert set(told["counts"]) == {"ok", "note", "warning", "problem"}
    assert sum(told["counts"].values()) == len(told["diagnoses"]) > 8
    for each in told["diagnoses"]:
        assert set(each) == {"check", "severity", "found", "why", "step", "source"}


@pytest.mark.parametrize("columns", ["40", "200"])
def test_nothing_is_cut_off_on_a_narrow_terminal(columns: str) -> None:
    wide = doctor(COLUMNS="1000").stdout
    shown = doctor(COLUMNS=columns).stdout
    assert max(map(len, shown.splitlines())) <= int(columns)
    without_layout = ["".join(text.split()) for text in (wide, shown)]
    assert len(without_layout[0]) == len(without_layout[1])
    assert "\x1b" not in shown


def test_no_engine_is_imported() -> None:
    code = (
        "import sys; from qwen3_ascend_rerank.commands.program import app\n"
        "try: app(['doctor'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'torch_npu', 'transformers', 'vllm', 'vllm_ascend'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_settings_of_the_vllm_engine_are_shown_with_reasons() -> None:
    pytest.importorskip("vllm")
    found = diagnosed("--engine", "vllm")
    assert "vllm engine on cpu" in found["settings.engine"][0]["found"]
    assert any("block_size=32" in each["found"] for each in found["settings.changed"])


def test_a_wrong_option_is_an_error() -> None:
    done = doctor("--engine", "tpu")
    assert done.exit_code == 1
    assert "error: engine is 'tpu'" in done.stderr


# ---- scores -----------------------------------------------------------------------------------


def outcome(*, passed: bool) -> Report:
    check = Check("a match", "this and that", "> 0.9", "0.5", passed, "The template is missing.")
    return Report((check,), 10)


def test_what_the_last_probe_said_is_remembered() -> None:
    spec = EngineSpec("torch", "lexical", 777, None, {"batch_tokens": 100})
    never = trust.remembered(spec)
    assert never.severity == "note"
    assert "--engine torch --max-length 777 --engine-options" in never.step
    startup.remember(spec, outcome(passed=True))
    assert trust.remembered(spec).severity == "ok"
    startup.remember(spec, outcome(passed=False))
    assert trust.remembered(spec).severity == "problem"


def test_a_model_is_proven_where_it_would_run() -> None:
    found = diagnosed("--model", "lexical", "--max-length", "1024")
    (lexical,) = found["trust.selfcheck"]
    assert lexical["severity"] == "ok"
    assert re.fullmatch(r"lexical on the torch engine: (\d+) of \1 answers right", lexical["found"])
    assert "trust.probe" not in found


def test_a_wrong_answer_says_what_was_asked_and_what_fits() -> None:
    first, wrong = trust.judged("trust.selfcheck", "x", outcome(passed=False))
    assert (first.severity, first.found) == ("problem", "x: 0 of 1 answers right")
    assert wrong.found == "a match: expected > 0.9, found 0.5"
    assert wrong.step == "The template is missing."


def test_a_model_that_cannot_be_loaded_ends_in_a_finding() -> None:
    done = doctor("--model", "./nowhere", "--max-length", "1024")
    assert done.exit_code == 1
    assert "there is no model folder ./nowhere" in " ".join(done.stdout.split())


# ---- advice -----------------------------------------------------------------------------------


def hosts(folder: Path) -> Iterator[list[Diagnosis]]:
    """What the doctor says of machines on which much is wrong."""
    number = iter(range(100))

    def fresh() -> Computer:
        return Computer(folder / str(next(number)))

    for layout, pair, cann, count in (
        ("a2-24.1.0", "0.11.0", "8.5.1", 8),
        ("a3-26.0.rc2", "0.13.0", "8.5.0", 16),
        ("duo-25.2.0", "0.18.0", "9.1.0", 4),
        ("a5-25.7.rc1", "0.23.0", "8.5.1", 3),
        ("910-21.0.2", "0.18.0", "8.3.RC2", 2),
    ):
        computer = fresh()
        environ = ascend(computer, layout, pair, cann, count)
        unsourced = {"ASCEND_LAUNCH_BLOCKING": "1", "VLLM_USE_MODELSCOPE": "1"}
        yield computer.examine(model="Qwen/Qwen3-Reranker-4B", **environ)
        yield computer.examine(python="3.8.1", ASCEND_RT_VISIBLE_DEVICES="", **unsourced)
        yield computer.examine(VLLM_PLUGINS="", ASCEND_RT_VISIBLE_DEVICES="77", **environ)
    complaints = ("ret is -8005", "ret is -8020", "libdcmi.so: cannot open shared object", "what")
    for answer in [Answer("failed", said) for said in complaints] + [Answer("hung")]:
        computer = fresh()
        computer.plug(*npus(1), "devmm_svm", "hisi_hdc")
        computer.answers["npu-smi"] = answer
        yield computer.examine(model="./nowhere", engine="vllm")
    busy = fresh()
    busy.plug(*npus(2))
    busy.prints["npu-smi"] = recorded("a2-24.1.0")
    busy.write("/proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 10 kB\n")
    yield busy.examine(ASCEND_RT_VISIBLE_DEVICES="0")
    bare = fresh()
    bare.write("/proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 10 kB\n")
    bare.write("/sys/bus/pci/devices/a/vendor", "0x19e5")
    bare.write("/sys/bus/pci/devices/a/class", "0x120000")
    yield bare.examine(model="Qwen/Qwen3-Reranker-0.6B")


VARIABLES = {
    *("ASCEND_RT_VISIBLE_DEVICES", "ASCEND_LAUNCH_BLOCKING", "LD_LIBRARY_PATH", "VLLM_PLUGINS"),
    *("VLLM_USE_MODELSCOPE", "HF_HOME", "MODELSCOPE_CACHE", "QWEN3_RERANK_API_KEY"),
}
EXTRAS = re.search(
    r"\[project.optional-dependencies\]\n(.*?)\n\n",
    (ROOT / "pyproject.toml").read_text(encoding="utf-8"),
    re.DOTALL,
)[1]


def can_be_followed(command: str) -> bool:
    """Whether what stands in backquotes is something that there is."""
    program, *words = shlex.split(command)
    if program in CHECKERS:
        return CHECKERS[program](words)
    if program.startswith("--"):
        return is_our_option([program, *words])
    is_engine = program in ("engine=torch", "engine=vllm")
    return is_engine or program.startswith("/") or program in VARIABLES or program.count("/") == 1


def is_ours(words: list[str]) -> bool:
    name, *rest = words
    command = get_command(app).commands[name]
    words = ["MODEL" if word == "…" else word for word in rest]
    needs_model = name == "serve" and "MODEL" not in words
    command.make_context(name, [*words, *(["MODEL"] if needs_model else [])])
    return True


def is_our_option(words: list[str]) -> bool:
    options = {
        option: parameter
        for command in get_command(app).commands.values()
        for parameter in command.params
        for option in parameter.opts
    }
    if words[0] == "--engine-options":
        return isinstance(json.loads(words[1]), dict)
    return words[0] in options or words[0] == "--device"


def is_pip(words: list[str]) -> bool:
    pinned = {f"vllm=={row.vllm[-1]}" for row in PAIRINGS}
    pinned |= {f"vllm-ascend=={row.vllm_ascend}" for row in PAIRINGS}
    pinned |= {f"torch=={row.torch}" for row in PAIRINGS}
    pinned |= {f"transformers{row.transformers}" for row in PAIRINGS}
    for word in set(words) - {"install", "&&", "pip"}:
        requirement = Requirement(word)
        if requirement.name == "qwen3-ascend-rerank":
            assert all(f"\n{extra} = " in f"\n{EXTRAS}" for extra in requirement.extras), word
        else:
            assert word in pinned, word
    return words[0] == "install"


CHECKERS = {
    "qwen3-rerank": is_ours,
    "pip": is_pip,
    "export": lambda words: words[0].partition("=")[0] in VARIABLES,
    "unset": lambda words: set(words) <= VARIABLES,
    "source": lambda words: words[0].endswith("/set_env.sh"),
    "docker": lambda words: words[0] in ("pull", "run"),
    "npu-smi": lambda words: words[0] in ("info", "set"),
    "hf": lambda words: words[0] == "download",
    "modelscope": lambda words: words[:2] == ["download", "--model"],
    "sudo": lambda words: words[:3] == ["usermod", "-aG", "HwHiAiUser"],
    "dmesg": lambda words: not words,
    "curl": lambda words: words[-1].startswith("http"),
    "vllm": lambda words: words[0] == "serve",
}


def test_every_advice_names_something_that_there_is(tmp_path: Path) -> None:
    diagnoses = [each for host in hosts(tmp_path) for each in host]
    commands = {command for each in diagnoses for command in re.findall(r"`([^`]+)`", each.step)}
    assert len(commands) > 25
    assert [command for command in commands if not can_be_followed(command)] == []


def test_every_problem_has_a_next_step_and_a_heading(tmp_path: Path) -> None:
    diagnoses = [each for host in hosts(tmp_path) for each in host]
    assert len(diagnoses) > 50
    for diagnosis in diagnoses:
        area, _, name = diagnosis.check.partition(".")
        assert area in AREAS
        assert name
        assert diagnosis.step or diagnosis.severity in ("ok", "note")
        assert "\n" not in diagnosis.found + diagnosis.why + diagnosis.step


# ---- a server ---------------------------------------------------------------------------------

SHORT = ("--max-length", "400", "--engine-options", '{"request_timeout": 10}')


def test_a_server_that_is_well() -> None:
    with StandIn(VLLM(max_model_len=401)) as server:
        found = diagnosed("--url", server.url, *SHORT)
    assert found["server.model"][0]["found"] == f"{server.url}: vllm 0.30.0 serves lexical"
    assert found["server.asked"][0]["found"] == "asked by /classify with token ids, for log-odds"
    assert found["server.template"][0]["found"] == "it has no template"
    assert "/classify, /pooling" in found["server.routes"][0]["found"]
    (selfcheck,) = found["server.selfcheck"]
    assert selfcheck["severity"] == "ok"
    assert "ms for one short pair" in found["server.latency"][0]["found"]
    assert "server.prefix_cache" in found
    assert "npu.present" not in found


def test_routes_that_answer_without_the_key_are_told() -> None:
    with StandIn(VLLM(api_key=KEY, max_model_len=401)) as server:
        found = diagnosed("--url", server.url, *SHORT, QWEN3_RERANK_API_KEY=KEY)
    (key,) = found["server.key"]
    assert key["severity"] == "note"  # on the loopback
    assert key["found"].endswith("/tokenize, /classify, /pooling, /score, /rerank")


@pytest.mark.parametrize(
    ("dialect", "severity", "told"),
    [
        (VLLM(template=good_template, max_model_len=401), "ok", "are right"),
        (VLLM(template=short_template, max_model_len=401), "warning", "makes another prompt"),
        (
            VLLM(
                version="0.23.0",
                template=lambda query, document, _: f"{query} ## {document}",
                max_model_len=401,
            ),
            "warning",
            "its template is another one",
        ),
        (SGLang(), "warning", "newline"),
    ],
    ids=["right", "a newline short", "another", "SGLang"],
)
def test_a_template_is_recognised(dialect: VLLM, severity: str, told: str) -> None:
    with StandIn(dialect) as server:
        (template,) = diagnosed("--url", server.url, *SHORT)["server.template"]
    assert template["severity"] == severity
    assert told in template["found"] + template["why"]


def test_a_server_without_log_odds_is_told() -> None:
    with StandIn(VLLM(version="0.10.0", max_model_len=401)) as server:
        found = diagnosed("--url", server.url, *SHORT)
    assert "only probabilities" in found["server.log_odds"][0]["found"]


@pytest.fixture(scope="module")
def old_and_dead() -> dict[str, list[dict[str, str]]]:
    """What is said of an old server with a short context, and of one that is not there."""
    with StandIn(VLLM(version="0.13.0", max_model_len=401)) as server:
        urls = f"{server.url},http://127.0.0.1:9"
        return diagnosed("--url", urls, "--max-length", "512")


def test_what_its_version_gets_wrong_is_told(old_and_dead) -> None:
    (hazard,) = old_and_dead["server.hazard"]
    assert "vllm-ascend 0.13.0" in hazard["found"]
    assert "--no-enable-prefix-caching --no-enable-chunked-prefill" in hazard["step"]


def test_a_shorter_context_is_told(old_and_dead) -> None:
    (length,) = old_and_dead["server.max_length"]
    assert length["found"] == "prompts of up to 400 tokens, less than the 512 that are asked for"


def test_several_servers_are_examined_one_by_one(old_and_dead) -> None:
    assert [each["severity"] for each in old_and_dead["server.asked"]] == ["ok", "problem"]


def test_advice_for_servers_can_be_followed(old_and_dead) -> None:
    steps = [each["step"] for diagnoses in old_and_dead.values() for each in diagnoses]
    commands = {command for step in steps for command in re.findall(r"`([^`]+)`", step)}
    assert len(commands) > 3
    assert [command for command in commands if not can_be_followed(command)] == []


@pytest.mark.parametrize(
    ("key", "told"),
    [("wrong-key-7", "the key that was sent"), ("", "pass its key as api_key")],
    ids=["another key", "no key"],
)
def test_a_server_that_wants_another_key_is_a_problem(key: str, told: str) -> None:
    with StandIn(VLLM(api_key=KEY)) as server:
        done = doctor("--url", server.url, *SHORT, QWEN3_RERANK_API_KEY=key)
    assert done.exit_code == 1
    assert "401" in done.stdout
    assert told in " ".join(done.stdout.split())
    assert KEY not in done.output
    assert "wrong-key-7" not in done.output


def test_a_server_that_serves_another_model_is_a_problem() -> None:
    with StandIn(VLLM()) as server:
        done = doctor("--url", server.url, "--model", "Qwen/Qwen3-Reranker-8B")
    assert done.exit_code == 1
    assert "serves lexical, not Qwen/Qwen3-Reranker-8B" in " ".join(done.stdout.split())


def test_a_server_that_computes_wrongly_is_a_problem() -> None:
    async def wrong(prompts: list[list[int]]) -> list[float]:
        return [1.0 for _ in prompts]

    with StandIn(VLLM(compute=wrong, max_model_len=401)) as server:
        done = doctor("--url", server.url, *SHORT)
    assert done.exit_code == 1
    assert "answers right" in done.stdout


def test_no_server_at_all_ends_at_once_with_a_way_to_look() -> None:
    found = diagnosed("--url", "http://127.0.0.1:9")
    (asked,) = found["server.asked"]
    assert asked["severity"] == "problem"
    assert "`curl -i http://127.0.0.1:9/v1/models`" in str(asked)
    assert "`qwen3-rerank serve MODEL`" in str(asked)


def test_an_address_that_is_none_is_an_error() -> None:
    done = doctor("--url", "localhost:8000")
    assert done.exit_code == 1
    assert "error: base_url is 'localhost:8000'" in done.stderr


def test_the_real_server(vllm_server: VLLMServer) -> None:
    found = diagnosed("--url", vllm_server.url, *SHORT, QWEN3_RERANK_API_KEY=API_KEY)
    assert "serves lexical" in found["server.model"][0]["found"]
    assert "/classify, /pooling, /v1/score" in found["server.routes"][0]["found"]
    assert found["server.key"][0]["found"].endswith(
        "/tokenize, /classify, /pooling, /score, /rerank"
    )
    assert "/v1/" not in found["server.key"][0]["found"]
    assert "it has Qwen3-Reranker's template" in found["server.template"][0]["found"]
    assert {each["severity"] for each in found["server.selfcheck"]} == {"ok"}
