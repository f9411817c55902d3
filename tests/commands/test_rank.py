"""`qwen3-rerank rank`, and how the program ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner, Result

from qwen3_ascend_rerank import Reranker, __version__
from qwen3_ascend_rerank.commands.inputs import Line
from qwen3_ascend_rerank.commands.program import app
from qwen3_ascend_rerank.commands.requests import IN_FLIGHT, _answers
from qwen3_ascend_rerank.components.settings import RerankSettings
from qwen3_ascend_rerank.testing import FakeEngine

QUERY = "capital of China"
BREAD, BEIJING, PARIS = (
    "Bread needs flour.",
    "Beijing is the capital of China.",
    "Paris is the capital of France.",
)
PASSAGES = [BREAD, BEIJING, PARIS]
CHINESE = ["面包要用面粉。", "北京是中国的首都。"]

PROGRAM = [sys.executable, "-c", "from qwen3_ascend_rerank.commands import main; main()"]


@pytest.fixture(autouse=True)
def engine(lexical: Reranker) -> Reranker:
    """Every command shares the engine that this Reranker holds."""
    return lexical


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("QWEN3_RERANK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("QWEN3_RERANK_MODEL", "lexical")
    monkeypatch.setenv("COLUMNS", "80")


def run(*arguments: str, stdin: str | bytes = "") -> Result:
    return CliRunner().invoke(app, ["rank", *arguments], input=stdin)


def ranked(*arguments: str, stdin: str | bytes = "") -> list[str]:
    """The texts, best first."""
    result = run(*arguments, "--format", "json", stdin=stdin)
    assert result.exit_code == 0, result.output
    return [document["text"] for document in json.loads(result.stdout)["documents"]]


def lines(result: Result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def error(result: Result, status: int = 1) -> str:
    """The error line; there is nothing else on standard error."""
    assert result.exit_code == status
    assert "Traceback" not in result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


def program(*arguments: str, **options) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*PROGRAM, *arguments], capture_output=True, timeout=60, **options)


class TestOutput:
    def test_table_shows_rank_index_score_and_text(self, engine: Reranker) -> None:
        query, names, first, second, third, *summary = run(QUERY, *PASSAGES).stdout.splitlines()
        assert query == QUERY
        assert names.split() == ["rank", "index", "score", "text"]
        best = engine.rerank(QUERY, PASSAGES)[0]
        assert first.split()[:3] == ["1", str(best.index), f"{best.score:.4f}"]  # as JSON has it
        assert first.rstrip().endswith(BEIJING)
        assert second.rstrip().endswith(PARIS)
        assert third.rstrip().endswith(BREAD)
        assert "3 of 3 passages" in " ".join(summary)

    def test_table_tells_loading_and_scoring_apart(self) -> None:
        told = " ".join(run(QUERY, *PASSAGES).stdout.split())
        assert re.search(r"loaded in \d+\.\d\d s, scored in \d+\.\d\d s$", told)
        told = " ".join(run(QUERY, *PASSAGES, "--timeout", "60").stdout.split())
        assert re.search(r"\d+\.\d\d s with loading$", told)

    def test_a_value_of_the_environment_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("QWEN3_RERANK_TOP_N", "zero")
        told = " ".join(run(QUERY, BEIJING).stderr.replace("│", "").split())
        assert "QWEN3_RERANK_TOP_N in the environment is 'zero'" in told
        assert "integer" in told
        monkeypatch.delenv("QWEN3_RERANK_TOP_N")
        told = " ".join(run(QUERY, BEIJING, "--top-n", "zero").stderr.replace("│", "").split())
        assert "environment" not in told

    def test_an_empty_query_loads_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Reranker, "start", lambda _: pytest.fail("it loads"))
        assert "query is empty" in run(" ", BEIJING).stderr

    def test_table_marks_what_was_truncated(self) -> None:
        shown = run(QUERY, BREAD, f"{BEIJING} " * 90, "--max-length", "150").stdout
        marked = [line for line in shown.splitlines() if "[truncated] " in line]
        assert len(marked) == 1
        assert BEIJING in marked[0]
        assert "1 truncated to fit" in " ".join(shown.split())

    def test_table_shows_the_best_passage_of_a_long_one_and_where_it_is(self) -> None:
        text = f"{BREAD} " * 90 + BEIJING
        options = (
            "--max-length",
            "150",
            "--long-documents",
            "max_passage",
            "--passage-overlap",
            "8",
        )
        shown = run(QUERY, text, *options).stdout
        assert re.search(rf"\[[\d,]+–{len(text):,}\] ", shown)
        assert "passages of long ones scored" in " ".join(shown.split())
        (row,) = json.loads(run(QUERY, text, *options, "--format", "json").stdout)["documents"]
        assert BEIJING in text[slice(*row["span"])]
        assert "use one of truncate" in run(QUERY, text, "--long-documents", "max").stderr

    def test_table_says_that_lexical_matches_words(self) -> None:
        assert "matches words; no language model" in run(QUERY, BEIJING).stdout

    def test_table_fits_the_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "50")
        shown = run("中国的首都", *(text * 9 for text in CHINESE)).stdout.splitlines()
        assert all(cell_len(line.rstrip()) <= 50 for line in shown[:4])
        assert shown[2].startswith("   1  ")
        assert shown[2].rstrip().endswith("…")
        assert {
            cell_len(line[: line.index(start)])
            for line, start in zip(shown[2:4], ("北京", "面包"), strict=True)
        } == {cell_len(shown[1][: shown[1].index("text")])}

    def test_table_keeps_a_passage_on_its_line_and_out_of_the_terminal(self) -> None:
        shown = run(QUERY, "Beijing\n[bold]is\x1b[31m the\rcapital[/]").stdout
        assert "Beijing [bold]is[31m the capital[/]" in shown
        assert "\x1b" not in shown

    def test_json_is_the_result(self, engine: Reranker) -> None:
        expected = json.loads(json.dumps(engine.rerank(QUERY, PASSAGES).to_dict()))
        printed = json.loads(run(QUERY, *PASSAGES, "--format", "json").stdout)
        assert printed.pop("usage").keys() == expected.pop("usage").keys()
        assert printed == expected

    def test_jsonl_is_a_document_a_line(self, engine: Reranker) -> None:
        documents = engine.rerank(QUERY, PASSAGES)
        assert lines(run(QUERY, *PASSAGES, "--format", "jsonl")) == [
            {"rank": rank, **asdict(document)} for rank, document in enumerate(documents, 1)
        ]

    def test_json_shows_chinese_as_it_is(self) -> None:
        assert '"北京是中国的首都。"' in run("中国的首都", *CHINESE, "--format", "json").stdout


class TestPassages:
    def test_from_a_text_file(self, tmp_path: Path) -> None:
        file = tmp_path / "passages.txt"
        file.write_bytes(f"\ufeff{BREAD}\r\n\r\n  \n{BEIJING}".encode())
        assert ranked(QUERY, "--file", str(file)) == [BEIJING, BREAD]

    def test_from_json_lines_with_everything_that_came_along(self, tmp_path: Path) -> None:
        file = tmp_path / "passages.JSONL"
        objects = [
            BREAD,
            {"text": BEIJING, "id": 7, "content": "kept"},
            {"page_content": PARIS, "metadata": {"source": "巴黎"}},
            {"content": "Flour", "score": 0.5},
        ]
        file.write_text("\n".join(map(json.dumps, objects)), encoding="utf-8")
        result = json.loads(run(QUERY, "--file", str(file), "--format", "json").stdout)
        extra = {one["text"]: one.get("extra") for one in result["documents"]}
        assert extra == {
            BREAD: None,
            BEIJING: {"id": 7, "content": "kept"},
            PARIS: {"metadata": {"source": "巴黎"}},
            "Flour": {"score": 0.5},
        }

    def test_fields_are_read_before_the_text_which_is_printed_alone(
        self, tmp_path: Path, engine: Reranker
    ) -> None:
        file = tmp_path / "passages.jsonl"
        file.write_text('{"text": "It needs flour.", "title": "Bread"}\n"It is large."\n')
        arguments = ("Bread", "--file", str(file), "--model", "lexical", "--format", "json")
        result = json.loads(run(*arguments, "--metadata-fields", "title").stdout)
        first = result["documents"][0]
        assert (first["text"], first["extra"]) == ("It needs flour.", {"title": "Bread"})
        assert [first["score"]] == engine.score("Bread", ["title: Bread\n\nIt needs flour."])

    def test_from_standard_input(self) -> None:
        assert ranked(QUERY, "-", stdin=f"{BREAD}\n{BEIJING}\n") == [BEIJING, BREAD]

    def test_from_standard_input_as_json_lines(self) -> None:
        stdin = json.dumps({"text": BEIJING})
        assert ranked(QUERY, "-", "--input-format", "jsonl", stdin=stdin) == [BEIJING]

    def test_from_everywhere_in_the_order_given(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("c\n")
        (tmp_path / "b.txt").write_text("d\n")
        files = ["--file", str(tmp_path / "a.txt"), "--file", str(tmp_path / "b.txt")]
        printed = json.loads(run("x", "a", "-", *files, "--format", "json", stdin="b").stdout)
        by_index = sorted(printed["documents"], key=lambda document: document["index"])
        assert [document["text"] for document in by_index] == ["a", "b", "c", "d"]

    def test_none_in_the_file_is_an_empty_result(self, tmp_path: Path) -> None:
        (tmp_path / "empty.txt").write_text("\n\n")
        result = run(QUERY, "--file", str(tmp_path / "empty.txt"))
        assert result.exit_code == 0
        assert "0 of 0 passages" in result.stdout


class TestSettings:
    def test_top_n(self) -> None:
        assert ranked(QUERY, *PASSAGES, "--top-n", "1") == [BEIJING]

    def test_threshold(self) -> None:
        assert BREAD not in ranked(QUERY, *PASSAGES, "--threshold", "0.5")

    def test_instruction(self) -> None:
        result = run(QUERY, BREAD, "--instruction", "Find bread", "--format", "json")
        assert json.loads(result.stdout)["instruction"] == "Find bread"

    def test_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("QWEN3_RERANK_TOP_N", "2")
        assert ranked(QUERY, *PASSAGES) == [BEIJING, PARIS]
        assert ranked(QUERY, *PASSAGES, "--top-n", "1") == [BEIJING]

    def test_engine_options(self) -> None:
        options = '{"dtype": "float32", "device": "cpu"}'
        assert ranked(QUERY, *PASSAGES, "--engine-options", options)[0] == BEIJING

    def test_help_shows_the_defaults(self) -> None:
        shown = run("--help").stdout
        assert "8192" in shown
        assert "QWEN3_RERANK_<NAME>" in shown


class TestRequests:
    def test_are_answered_in_order(self) -> None:
        requests = [
            {"query": QUERY, "documents": PASSAGES, "id": "first", "top_n": 1},
            {"query": "flour", "documents": [{"text": BREAD, "n": 1}], "instruction": "Find"},
            {"query": QUERY, "documents": [BREAD], "threshold": 0.99, "lang": "en"},
        ] * 4
        answers = lines(run("--requests", "-", stdin="\n".join(map(json.dumps, requests))))
        assert len(answers) == len(requests)
        assert [answer["query"] for answer in answers] == [one["query"] for one in requests]
        first, second, third = answers[:3]
        assert first["id"] == "first"
        assert [document["text"] for document in first["documents"]] == [BEIJING]
        assert second["id"] == 2
        assert second["instruction"] == "Find"
        assert second["documents"][0]["extra"] == {"n": 1}
        assert third["documents"] == []
        assert third["extra"] == {"lang": "en"}

    def test_come_from_a_file(self, tmp_path: Path) -> None:
        file = tmp_path / "requests.jsonl"
        file.write_text(json.dumps({"query": QUERY, "documents": []}))
        assert lines(run("--requests", str(file)))[0]["documents"] == []

    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            ("{", "not JSON: Expecting property name enclosed in double quotes (column 2)"),
            ("[]", "the request is an array; give an object"),
            ('{"documents": []}', "the request has no query"),
            ("{}", "the request has no query and no documents"),
            ('{"query": "x", "documents": "y"}', "documents is a string; give an array"),
            (
                '{"query": "x", "documents": ["y", null]}',
                "documents[1] is null; give a string or an object",
            ),
            (
                '{"query": "x", "documents": [{"texts": ""}]}',
                "documents[0] has no text; name it text, page_content, content",
            ),
            (
                '{"query": "x", "documents": [{"text": 3}]}',
                "documents[0] has a number as text; give a string",
            ),
            ('{"query": " ", "documents": []}', "query is empty; pass the question"),
            ('{"query": 1, "documents": []}', "query is 1 (int)"),
            ('{"query": "x", "documents": [], "top_n": 0}', "top_n is 0"),
            ('{"query": "x", "documents": [], "threshold": true}', "threshold is True"),
        ],
    )
    def test_bad_one_ends_after_those_before_it(self, bad: str, message: str) -> None:
        good = json.dumps({"query": QUERY, "documents": [BEIJING]})
        result = run("--requests", "-", stdin=f"{good}\n\n{bad}\n{good}\n")
        assert len(lines(result)) == 1
        assert error(result).startswith(f"standard input line 3: {message}")

    def test_bad_ones_leave_their_error_when_going_on(self, tmp_path: Path) -> None:
        file = tmp_path / "requests.jsonl"
        good = {"query": QUERY, "documents": [BEIJING]}
        named = {"id": "b", "query": "", "documents": []}
        file.write_bytes(
            b"\n".join([json.dumps(good).encode(), b"\xff{", json.dumps(named).encode()])
        )
        result = run("--requests", str(file), "--keep-going")
        answers = lines(result)
        assert answers[0]["documents"][0]["text"] == BEIJING
        assert answers[1] == {
            "id": 2,
            "error": f"{file} line 2: not UTF-8 (byte 0xff); save the file as UTF-8",
        }
        assert answers[2]["id"] == "b"
        assert error(result) == "2 requests failed; their lines say why"

    def test_missing_model_is_not_the_fault_of_a_request(self) -> None:
        stdin = json.dumps({"query": QUERY, "documents": [BEIJING]})
        result = run("--requests", "-", "--keep-going", "--model", "/nowhere", stdin=stdin)
        assert result.stdout == ""
        assert error(result).startswith("there is no model folder /nowhere")

    def test_are_read_only_as_far_as_needed(self) -> None:
        read = 0

        def many() -> Iterator[Line]:
            nonlocal read
            while True:
                read += 1
                yield Line("-", read, b'{"query": "x", "documents": ["y"]}')

        with Reranker(FakeEngine(seconds=0.01)) as reranker:
            answers = _answers(reranker, many(), RerankSettings(), keep_going=False)
            assert [next(answers)["id"] for _ in range(20)] == list(range(1, 21))
            assert read <= 20 + IN_FLIGHT
            answers.close()


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((" ", BREAD), "query is empty"),
            ((QUERY, BREAD, "--top-n", "0"), "top_n is 0"),
            ((QUERY, BREAD, "--threshold", "1.5"), "threshold is 1.5"),
            ((QUERY, BREAD, "--timeout", "0"), "timeout is 0"),
            ((QUERY, BREAD, "--max-length", "0"), "max_length is 0"),
            ((QUERY * 99, BREAD, "--max-length", "90"), "max_length is 90"),
            ((QUERY, BREAD, "--instruction", ""), "instruction is ''"),
            ((QUERY, BREAD, "--engine", "warp"), "engine is 'warp'"),
            ((QUERY, BREAD, "--engine-options", '{"warp": 9}'), "the torch engine takes no option"),
            ((QUERY, BREAD, "--model", "/nowhere"), "there is no model folder /nowhere"),
            ((QUERY, "--file", "/nowhere"), "/nowhere cannot be read: No such file or directory"),
            ((QUERY, "--file", "/"), "/ cannot be read: Is a directory"),
            (("--requests", "/nowhere"), "/nowhere cannot be read: No such file or directory"),
        ],
    )
    def test_of_the_package_are_one_line(self, arguments: tuple[str, ...], message: str) -> None:
        assert error(run(*arguments)).startswith(message)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b'"fine"\n{"text"}\n', "line 2: not JSON: Expecting ':' delimiter (column 8)"),
            (b"\n3", "line 2: the passage is a number; give a string or an object"),
            (b'{"title": ""}', "line 1: the passage has no text; name it text, page_content, con"),
            ("“中国”".encode("gbk"), "line 1: not UTF-8 (byte 0xa1); save the file as UTF-8"),
            ("x".encode("utf-16"), "line 1: not UTF-8 (byte 0xff); save the file as UTF-8"),
            (b"[" * 100_000, "line 1: not usable JSON"),
        ],
    )
    def test_in_a_file_name_the_line(self, content: bytes, message: str, tmp_path: Path) -> None:
        file = tmp_path / "passages.jsonl"
        file.write_bytes(content)
        assert error(run(QUERY, "--file", str(file))).startswith(f"{file} {message}")

    def test_in_the_environment_name_the_setting(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("QWEN3_RERANK_CACHE_SIZE", "many")
        said = "QWEN3_RERANK_CACHE_SIZE is 'many', which cannot be cache_size: Input should be a"
        assert error(run(QUERY, BREAD)).startswith(said)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((), "give a QUERY"),
            ((QUERY,), "give passages"),
            ((QUERY, "-", "--file", "-"), "can be read only once"),
            (("--requests", "-", QUERY), "--requests brings its own"),
            (("--requests", "-", "--format", "table"), "--requests prints JSON lines"),
            ((QUERY, BREAD, "--engine-options", "[]"), "give a JSON object"),
            ((QUERY, BREAD, "--max-length", "long"), "--max-length"),
            ((QUERY, BREAD, "--format", "xml"), "--format"),
        ],
    )
    def test_of_usage_end_with_2(self, arguments: tuple[str, ...], message: str) -> None:
        result = run(*arguments)
        assert result.exit_code == 2
        assert message in " ".join(result.stderr.replace("│", "").split())


class TestProgram:
    def test_speaks_utf8_in_any_locale(self) -> None:
        environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
        passages = ["北京是中国的首都。", "half a pair: \ud800"]
        result = program(
            *("rank", "capital", "-", "--input-format", "jsonl", "--format", "json"),
            input="\n".join(map(json.dumps, passages)).encode(),
            env=environment,
        )
        assert result.returncode == 0
        assert "北京是中国的首都。" in result.stdout.decode()
        printed = {document["text"] for document in json.loads(result.stdout)["documents"]}
        assert printed == set(passages)

    def test_says_its_version(self) -> None:
        assert CliRunner().invoke(app, ["--version"]).stdout == f"qwen3-rerank {__version__}\n"

    def test_is_quiet_about_a_closed_pipe(self) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        result = subprocess.run(
            [*PROGRAM, "rank", "x", "-", "--format", "json"],
            input=b"",
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=60,
        )
        os.close(writer)
        assert (result.returncode, result.stderr) == (1, b"")

    @pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to send")
    def test_is_quiet_about_ctrl_c(self) -> None:
        process = subprocess.Popen(
            [*PROGRAM, "rank", "--requests", "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b'{"query": "x", "documents": []}\n' * IN_FLIGHT)
        process.stdin.flush()
        process.stdout.readline()  # it is in the middle of its work
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        assert (process.returncode, errors) == (130, b"")

    @pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to send")
    def test_does_not_wait_for_a_model_that_is_being_loaded(self) -> None:
        code = (
            "import time\n"
            "from qwen3_ascend_rerank.engines.torch import engine\n"
            "engine.load = lambda *_, **__: (print('loading', flush=True), time.sleep(100))\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code + PROGRAM[2], "rank", "--model", "lexical", "x", "y"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"loading\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130
        assert b"Traceback" not in errors

    @pytest.mark.parametrize("package", ["typer", "rich"])
    def test_says_what_to_install(self, package: str) -> None:
        code = f"import sys; sys.modules[{package!r}] = None; " + PROGRAM[2]
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
        assert result.returncode == 1
        assert result.stderr.decode() == (
            f'error: the command line needs {package}; pip install "qwen3-ascend-rerank[cli]"\n'
        )

    def test_is_light_to_import(self) -> None:
        code = "import sys, qwen3_ascend_rerank.commands; print(*sys.modules)"
        loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
        assert not {"torch", "transformers", "typer", "rich"} & set(loaded.stdout.decode().split())


# -- a cascade -------------------------------------------------------------------------------------


def test_a_cascade_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["Bread needs flour.", "Beijing is the capital.", "China is large."]
    made = json.loads(
        run("capital of China", *texts, "--cascade", "lexical:2", "--format", "json").stdout
    )
    assert made["model"] == "lexical → lexical"
    assert sorted(one["stage"] for one in made["documents"]) == [1, 2, 2]
    assert [one["handed_on"] for one in made["stages"]] == [2, 0]
    monkeypatch.setenv("QWEN3_RERANK_CASCADE", "lexical:1")
    assert "[stage 2]" in run("capital of China", *texts).stdout


def test_a_cascade_ranks_requests(tmp_path: Path) -> None:
    request = {"query": "bread", "documents": ["bread", "salt", "wine"], "top_n": 1}
    (tmp_path / "r.jsonl").write_text(json.dumps(request) + "\n")
    (answer,) = lines(run("--requests", str(tmp_path / "r.jsonl"), "--cascade", "lexical:1"))
    assert [(one["index"], one["stage"]) for one in answer["documents"]] == [(0, 2)]


def test_a_cascade_that_is_none_is_said() -> None:
    assert "cascade has 'lexical'; give SMALL:KEEP" in error(
        run("bread", "bread", "--cascade", "lexical")
    )
