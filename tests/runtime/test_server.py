"""The server's command line: for each version its own words, and nothing that spoils scores."""

import json
import sys

import pytest

from qwen3_ascend_rerank.errors import EngineError, InvalidInputError
from qwen3_ascend_rerank.runtime import server
from qwen3_ascend_rerank.runtime.arguments import ENTRIES, Reading
from qwen3_ascend_rerank.runtime.probes import HF_OVERRIDES
from tests.runtime.machines import VERSIONS, cpu, cuda, npu, planned, recorded


def reading(version, options, server_options=(), entry=ENTRIES[0]):
    return Reading(recorded(version), options, frozenset(server_options), entry)


def line(machine, *, passed_on=(), converted=False, entry=ENTRIES[0], template=False, **options):
    """The command line on `machine`, for a user who gave `options` as `passed_on`."""
    return server.command(
        reading(machine.vllm, options, entry=entry),
        planned(machine, **options),
        model="/models/m",
        name="m",
        converted=converted,
        host="127.0.0.1",
        port=8000,
        template=template,
        passed_on=passed_on,
    )


def value(command, flag):
    return command[command.index(flag) + 1]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("converted", [False, True])
def test_each_version_is_made_a_reranker_in_its_own_words(version, converted):
    command = line(cuda(version), converted=converted)
    old = version in ("0.9.2", "0.10.0")
    flag, word = ("--task", "score") if old else ("--runner", "pooling")
    assert value(command, flag) == word
    assert ("--disable-log-requests" in command) is old
    assert value(command, "--max-model-len") == "8193"
    assert ("--hf-overrides" in command) is not converted
    if not converted:
        assert json.loads(value(command, "--hf-overrides")) == dict(HF_OVERRIDES)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("platform", [cuda, cpu, npu], ids=["cuda", "cpu", "npu"])
def test_only_options_that_the_version_has_are_used(version, platform):
    known = {each.replace("_", "-") for each in recorded(version).engine_args}
    known |= {"host", "port"}  # of the server, in every version
    used = {word.removeprefix("--") for word in line(platform(version)) if word.startswith("--")}
    assert {name.removeprefix("no-") for name in used} <= known


def test_a_server_gives_probabilities_also_where_an_engine_argument_says_so():
    assert "--override-pooler-config" not in line(cuda("0.9.2"))


@pytest.mark.parametrize(
    ("machine", "wanted", "unwanted"),
    [
        (
            npu("0.13.0"),
            ["--no-enable-prefix-caching", "--no-enable-chunked-prefill"],
            ["--block-size"],
        ),
        (npu("0.23.0"), ["--no-enable-chunked-prefill"], ["--no-enable-prefix-caching"]),
        (npu("0.11.0"), [], ["--no-enable-chunked-prefill"]),
        (cuda("0.18.0"), ["--no-enable-chunked-prefill"], []),
        (cuda("0.30.0"), [], ["--no-enable-chunked-prefill", "--dtype"]),
        (cpu("0.30.0"), ["--block-size", "--enforce-eager"], []),
    ],
)
def test_known_faults_are_avoided(machine, wanted, unwanted):
    command = line(machine)
    assert set(wanted) <= set(command)
    assert not set(unwanted) & set(command)


def test_a_310p_gets_what_its_tutorial_says():
    command = line(npu("0.23.0", chip="310P3"))
    assert value(command, "--dtype") == "float16"
    sizes = json.loads(value(command, "--compilation-config"))
    assert sizes == {"cudagraph_capture_sizes": [1024, 512]}


def test_the_model_comes_first_and_the_command_can_be_run():
    assert line(cuda("0.30.0"))[:5] == [sys.executable, "-m", ENTRIES[0][0], "--model", "/models/m"]
    newer = line(cuda("0.33.0"), entry=ENTRIES[1])
    assert newer[1:5] == ["-m", "vllm.entrypoints.cli.main", "serve", "/models/m"]


def test_the_template_is_ours():
    assert value(line(cuda("0.30.0"), template=True), "--chat-template") == str(server.TEMPLATE)
    assert server.TEMPLATE.is_file()


def test_options_of_the_user_are_passed_on_and_not_repeated():
    passed_on = ["--dtype=half", "--enforce_eager"]
    command = line(cpu("0.30.0"), passed_on=passed_on, dtype="half", enforce_eager=True)
    place = command.index("--dtype=half")
    assert command[place : place + 2] == passed_on
    assert not {"--dtype", "--enforce-eager"} & set(command)


def test_what_must_be_joined_comes_behind_the_users_own():
    given = {"head_dtype": "model"}
    passed_on = ["--hf-overrides", json.dumps(given)]
    command = line(cuda("0.30.0"), passed_on=passed_on, hf_overrides=given)
    first, last = (place for place, word in enumerate(command) if word == "--hf-overrides")
    assert json.loads(command[first + 1]) == given
    assert json.loads(command[last + 1]) == {**given, **HF_OVERRIDES}


@pytest.mark.parametrize("word", ["--hf-overrides.head_dtype", "--hf_overrides.method=none"])
def test_json_in_parts_would_replace_ours_and_is_refused(word):
    with pytest.raises(InvalidInputError, match="--hf-overrides as one JSON object"):
        line(cuda("0.30.0"), passed_on=[word, "model"])


def test_what_contradicts_a_reranker_is_refused():
    with pytest.raises(InvalidInputError, match="runner must be 'pooling'"):
        line(cuda("0.30.0"), passed_on=["--runner", "generate"], runner="generate")


@pytest.mark.parametrize(
    ("options", "server_options", "message"),
    [
        ({"model": "x"}, [], "--model cannot be passed on to vLLM: it is MODEL"),
        ({"served_model_name": ["x"]}, [], "use --served-model-name before the --"),
        ({}, ["host"], "use --host before the --"),
        ({}, ["port"], "use --port before the --"),
        ({}, ["api_key"], "list of processes.*VLLM_API_KEY.*--api-key-file"),
    ],
)
def test_what_has_a_better_place_is_not_passed_on(options, server_options, message):
    with pytest.raises(InvalidInputError, match=message):
        server.check_passed_on(reading("0.30.0", options, server_options), template=False)


def test_two_templates_exclude_each_other():
    given = reading("0.30.0", {}, ["chat_template"])
    server.check_passed_on(given, template=False)
    with pytest.raises(InvalidInputError, match="leave one out"):
        server.check_passed_on(given, template=True)


def test_versions_without_templates_refuse_one():
    for version in ("0.14.0", "0.33.0", "main"):
        server.check_template(cuda(version))
    with pytest.raises(EngineError, match=r"0\.13\.0 does not apply a template.*0\.14 or newer"):
        server.check_template(cuda("0.13.0"))


def test_parallel_servers_take_more_devices():
    options = {"tensor_parallel_size": 2, "pipeline_parallel_size": 3, "data_parallel_size": None}
    assert server.devices_of(reading("0.30.0", options)) == 6
    assert server.devices_of(reading("0.30.0", {})) == 1
