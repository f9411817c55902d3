"""The server's command line: for each version its own words, and nothing that spoils scores."""

import json
import sys

import pytest

from qwen3_ascend_rerank.errors import InvalidInputError
from qwen3_ascend_rerank.runtime.arguments import ENTRIES, ReadOptions
from qwen3_ascend_rerank.runtime.probes import HF_OVERRIDES
from qwen3_ascend_rerank.serving import abilities, command, template
from tests.runtime.machines import VERSIONS, cpu, cuda, npu, planned, recorded


def reading(version, options, server_options=(), entry=ENTRIES[0]):
    return ReadOptions(recorded(version), options, frozenset(server_options), entry)


def line(machine, *, passed_on=(), converted=False, entry=ENTRIES[0], more=None, **options):
    """The command line on `machine`, for a user who gave `options` as `passed_on`."""
    return command.command(
        reading(machine.vllm, options, entry=entry),
        planned(machine, **options),
        model="/models/m",
        **{"names": ["m"], **(more or {})},
        converted=converted,
        host="127.0.0.1",
        port=8000,
        passed_on=passed_on,
    )


def value(words, flag):
    return words[words.index(flag) + 1]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("converted", [False, True])
def test_each_version_is_made_a_reranker_in_its_own_words(version, converted):
    words = line(cuda(version), converted=converted)
    old = version in ("0.9.2", "0.10.0")
    flag, word = ("--task", "score") if old else ("--runner", "pooling")
    assert value(words, flag) == word
    assert ("--disable-log-requests" in words) is old
    assert value(words, "--max-model-len") == "8193"
    assert ("--hf-overrides" in words) is not converted
    if not converted:
        assert json.loads(value(words, "--hf-overrides")) == dict(HF_OVERRIDES)


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
        (npu("0.11.0"), ["--no-enable-chunked-prefill"], ["--no-enable-prefix-caching"]),
        (cuda("0.18.0"), ["--no-enable-chunked-prefill"], []),
        (cuda("0.30.0"), [], ["--no-enable-chunked-prefill", "--dtype"]),
        (cpu("0.30.0"), ["--block-size", "--enforce-eager"], []),
    ],
)
def test_known_faults_are_avoided(machine, wanted, unwanted):
    words = line(machine)
    assert set(wanted) <= set(words)
    assert not set(unwanted) & set(words)


def test_a_310p_gets_what_its_tutorial_says():
    words = line(npu("0.23.0", chip="310P3"))
    assert value(words, "--dtype") == "float16"
    sizes = json.loads(value(words, "--compilation-config"))
    assert sizes == {"cudagraph_capture_sizes": [1024, 512]}


def test_the_model_comes_first_and_the_command_can_be_run():
    assert line(cuda("0.30.0"))[:5] == [sys.executable, "-m", ENTRIES[0][0], "--model", "/models/m"]
    newer = line(cuda("0.33.0"), entry=ENTRIES[1])
    assert newer[1:5] == ["-m", "vllm.entrypoints.cli.main", "serve", "/models/m"]


def test_the_template_and_what_stands_before_the_routes_are_named():
    more = {"template": template.FILE, "middleware": ["a.A", "b.B"], "names": ["m", "M 一"]}
    words = line(cuda("0.30.0"), more=more, passed_on=["--middleware", "their.Own"])
    assert value(words, "--chat-template") == str(template.FILE)
    assert template.FILE.is_file()
    place = words.index("--served-model-name")
    assert words[place + 1 : place + 3] == ["m", "M 一"]
    flags = [place for place, word in enumerate(words) if word == "--middleware"]
    assert [words[place + 1] for place in flags] == ["their.Own", "a.A", "b.B"]


def test_options_of_the_user_are_passed_on_and_not_repeated():
    passed_on = ["--dtype=half", "--enforce_eager"]
    words = line(cpu("0.30.0"), passed_on=passed_on, dtype="half", enforce_eager=True)
    place = words.index("--dtype=half")
    assert words[place : place + 2] == passed_on
    assert not {"--dtype", "--enforce-eager"} & set(words)


def test_what_must_be_joined_comes_behind_the_users_own():
    given = {"head_dtype": "model"}
    passed_on = ["--hf-overrides", json.dumps(given)]
    words = line(cuda("0.30.0"), passed_on=passed_on, hf_overrides=given)
    first, last = (place for place, word in enumerate(words) if word == "--hf-overrides")
    assert json.loads(words[first + 1]) == given
    assert json.loads(words[last + 1]) == {**given, **HF_OVERRIDES}


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
        ({}, ["chat_template"], "brings Qwen3-Reranker's own; --instruction before the --"),
    ],
)
def test_what_has_a_better_place_is_not_passed_on(options, server_options, message):
    with pytest.raises(InvalidInputError, match=message):
        command.check_passed_on(reading("0.30.0", options, server_options))


@pytest.mark.parametrize(
    ("version", "template", "instruction"),
    [
        ("0.9.2", False, False),
        ("0.13.0", False, False),
        ("0.14.0rc1", False, False),
        ("0.14.0", True, False),
        ("0.21.0", True, False),
        ("0.22.0", True, True),
        ("0.33.0", True, True),
        ("main", True, True),
    ],
)
def test_what_a_version_can_do_is_known(version, template, instruction):
    assert abilities.can(version, "template") is template
    assert abilities.can(version, "instruction") is instruction


def test_parallel_servers_take_more_devices():
    options = {"tensor_parallel_size": 2, "pipeline_parallel_size": 3, "data_parallel_size": None}
    assert command.devices_of(reading("0.30.0", options)) == 6
    assert command.devices_of(reading("0.30.0", {})) == 1
