"""`qwen3-rerank demo`."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner, Result

from qwen3_ascend_rerank import Reranker
from qwen3_ascend_rerank.commands.demo.trial import Question, Trial, load_corpus
from qwen3_ascend_rerank.commands.program import app

pytest.importorskip("bm25s")
pytest.importorskip("langchain_classic")
pytest.importorskip("llama_index.core")

WIDTHS = (80, 120)
CORPUS = load_corpus()


def run(*arguments: str, width: int = WIDTHS[0]) -> Result:
    return CliRunner().invoke(app, ["demo", *arguments], env={"COLUMNS": str(width)})


@pytest.fixture(scope="module", params=WIDTHS)
def width(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def shown(lexical: Reranker, width: int) -> str:
    """What the demo shows, on the engine that `lexical` holds."""
    result = run(width=width)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


@pytest.fixture
def retrieval() -> Any:
    import qwen3_ascend_rerank.commands.demo.retrieval as module

    return module


class TestCorpus:
    def test_is_as_large_in_both_languages_as_promised(self) -> None:
        english = [passage for passage in CORPUS.passages if passage.isascii()]
        assert len(english) >= 18
        assert len(CORPUS.passages) - len(english) >= 18
        assert len(set(CORPUS.passages)) == len(CORPUS.passages)

    def test_asks_four_questions_in_each_language(self) -> None:
        assert [question.text.isascii() for question in CORPUS.questions].count(True) == 4
        assert len(CORPUS.questions) == 8

    def test_answers_a_question_in_its_own_language(self) -> None:
        for question in CORPUS.questions:
            assert CORPUS.passages[question.gold].isascii() == question.text.isascii()


class TestDemo:
    def test_shows_every_question(self, shown: str) -> None:
        for number, question in enumerate(CORPUS.questions, 1):
            assert f"{number}. {question.text}" in shown

    def test_shows_the_answer_before_and_after(self, shown: str) -> None:
        assert shown.count("★") >= 3 * len(CORPUS.questions)
        said = "".join(shown.split())
        for question in CORPUS.questions:  # whole, whatever the width
            assert "".join(CORPUS.passages[question.gold].split()) in said

    def test_says_how_the_questions_were_chosen(self, shown: str) -> None:
        assert "not how often it is needed" in " ".join(shown.split())

    def test_shows_enough_of_a_passage_to_know_it(self, shown: str) -> None:
        assert "How long does it take to get used to the dark" in shown

    def test_puts_the_answer_first_where_bm25_does_not(self, shown: str) -> None:
        counts = re.search(r"answer in first place +before (\d)/8, after (\d)/8", shown)
        assert counts is not None
        before, after = map(int, counts.groups())
        assert before <= 3
        assert after >= 7

    def test_shows_that_all_doors_agree(self, shown: str) -> None:
        assert "8/8 by core, LangChain, LlamaIndex" in shown
        assert shown.count("core, LangChain, LlamaIndex agree") == 8

    def test_says_what_lexical_is_and_how_to_run_the_real_model(self, shown: str) -> None:
        assert "matches words; it is no language model" in shown
        assert "make demo MODEL=Qwen/Qwen3-Reranker-0.6B" in shown

    def test_fits_the_terminal(self, shown: str, width: int) -> None:
        assert max(map(cell_len, shown.splitlines())) <= width

    def test_fails_if_the_doors_disagree(
        self, lexical: Reranker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from qwen3_ascend_rerank.commands.demo import pipelines

        def one(_question: str, bm25: Any, _reranker: Reranker) -> list[tuple[int, float]]:
            return [(index, 0.5) for index, _ in bm25.search(_question)]

        def other(_question: str, bm25: Any, _reranker: Reranker) -> list[tuple[int, float]]:
            return one(_question, bm25, _reranker)[::-1]

        monkeypatch.setattr(pipelines, "PIPELINES", {"front": one, "back": other})
        result = run()
        assert result.exit_code == 1
        assert "front, back disagree" in result.stdout
        assert "0/8 by front, back" in result.stdout

    @pytest.mark.parametrize(
        "package", ["bm25s", "langchain_classic", "langchain_qwen3_ascend_rerank", "llama_index"]
    )
    def test_says_what_to_install(self, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in list(sys.modules):
            if name.startswith((f"{package}.", "qwen3_ascend_rerank.commands.demo.")):
                monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, package, None)
        result = run()
        assert result.exit_code == 1
        assert re.match(rf"error: the demo needs {package}[\w.]*; pip install ", result.stderr)

    def test_names_a_model_that_is_not_there(self) -> None:
        result = run("--model", "/nowhere")
        assert result.exit_code == 1
        assert result.stderr.startswith("error: there is no model folder /nowhere")


class TestFirstStage:
    def test_takes_words_of_english_and_pairs_of_chinese(self, retrieval: Any) -> None:
        assert retrieval.words("The 3rd café, 最深的湖!") == [
            *("the", "3rd", "café"),
            *("最深", "深的", "的湖"),
        ]

    def test_finds_only_what_shares_a_word(self, retrieval: Any) -> None:
        bm25 = retrieval.Bm25(["Bread needs flour", "An egg", "flour flour flour", "An apple"])
        assert [index for index, _ in bm25.search("Flour?")] == [2, 0]
        assert bm25.search("nothing of the kind") == []


class TestTrial:
    trial = Trial(Question("?", gold=7), [(1, 3.0), (7, 2.0)], {"a": [(7, 0.9), (1, 0.1)]})

    def test_knows_the_place_of_the_answer(self) -> None:
        assert self.trial.place(self.trial.before) == 2
        assert self.trial.place(self.trial.after) == 1
        assert self.trial.place([(1, 3.0)]) is None

    @pytest.mark.parametrize(
        ("other", "agreed"),
        [
            ([(7, 0.9), (1, 0.1 + 1e-7)], True),
            ([(7, 0.9), (1, 0.1 + 1e-5)], False),
            ([(1, 0.9), (7, 0.1)], False),
            ([(7, 0.9)], False),
        ],
    )
    def test_knows_whether_doors_agree(self, other: list[tuple[int, float]], agreed: bool) -> None:
        doors = {**self.trial.doors, "b": other}
        assert Trial(self.trial.question, self.trial.before, doors).agreed is agreed
