"""Each notebook runs from its source without a network, and shows what it says."""

import re
from functools import cache
from importlib.util import find_spec
from typing import Any

import nbformat
import pytest

from notebooks import build
from notebooks.offline.handbook import questions

RAG = ("langchain_rag", "llama_index_rag")
NOWHERE = "http://127.0.0.1:9"
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "PYTHONWARNINGS": f"{build.QUIET},ignore:no font with Chinese",  # not all machines have one
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), NOWHERE),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1"),
}

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.filterwarnings("default"),  # of the machinery that starts kernels
]


@cache
def ran(name: str, servers: bool = False) -> Any:
    """The notebook after a clean run; the cells that need servers only where they are wanted."""
    notebook = build.read_source(name)
    notebook.cells = [one for one in notebook.cells if servers or build.SERVER not in tags(one)]
    return build.run(notebook, **OFFLINE)


def kept(name: str) -> Any:
    return nbformat.read(build.notebook_of(name), as_version=4)


def tags(cell: Any) -> list[str]:
    return cell.metadata.get("tags", [])


def text(cell: Any) -> str:
    """What a cell printed, and the text of what it showed."""
    outputs = cell.get("outputs", [])
    return "".join(one.get("text") or one.data["text/plain"] for one in outputs)


def texts(notebook: Any, tag: str) -> list[str]:
    return [text(cell) for cell in notebook.cells if tag in tags(cell)]


@pytest.mark.parametrize("name", build.NAMES)
def test_a_notebook_holds_the_cells_of_its_source(name: str) -> None:
    source, notebook = build.read_source(name), kept(name)
    assert [(one.cell_type, one.source, tags(one), one.id) for one in notebook.cells] == [
        (one.cell_type, one.source, tags(one), one.id) for one in source.cells
    ], f"run: python notebooks/build.py {name}"


@pytest.mark.parametrize("name", build.NAMES)
def test_a_notebook_shows_what_a_run_shows(name: str) -> None:
    fresh = {cell.id: text(cell) for cell in ran(name).cells if "varies" not in tags(cell)}
    assert {one.id: text(one) for one in kept(name).cells if one.id in fresh} == fresh


@pytest.mark.parametrize("name", build.NAMES)
def test_a_notebook_holds_nothing_of_the_machine_that_made_it(name: str) -> None:
    notebook = kept(name)
    outputs = [one for cell in notebook.cells for one in cell.get("outputs", [])]
    assert all(one.get("name") != "stderr" for one in outputs)
    written = nbformat.writes(notebook)
    assert not re.search(
        r'(?<![\w.…~])/(home|root|tmp|work|Users|usr)/|"execution":|\\u001b', written
    )
    assert notebook.metadata == {
        "kernelspec": build.KERNEL,
        "language_info": {"name": "python"},
    }


@pytest.mark.parametrize("name", RAG)
def test_reranking_changes_the_answer(name: str) -> None:
    before, after = (texts(ran(name), f"answer-{when}") for when in ("before", "after"))
    assert len(before) == len(after) == 2
    for wrong, right in zip(before, after, strict=True):
        (answered,) = (one for one in questions() if one.gold in right.split("Answer:")[-1])
        assert answered.gold not in wrong


@pytest.mark.parametrize("name", RAG)
def test_reranking_puts_the_right_passage_higher(name: str) -> None:
    (table,) = texts(ran(name), "all-questions")
    ranks = [
        (int(before), int(after))
        for before, after in re.findall(r"^ *(\d+) +(\d+) ", table, re.MULTILINE)
    ]
    assert len(ranks) == len(questions())
    assert all(before > 1 and after <= before for before, after in ranks)
    assert sum(after == 1 for _, after in ranks) >= 13


def test_rerank_events_are_seen() -> None:
    assert texts(ran("llama_index_rag"), "events") == [
        "start: 20 nodes, top_n 3, lexical\nend:   3 nodes, best 0.979\n"
    ]


def test_each_mistake_changes_the_score() -> None:
    (table,) = texts(ran("inside_a_score"), "mistakes")
    right, *mistakes = (line.split()[-4:] for line in table.splitlines()[1:])
    assert right == ["10.88", "6.41", "-2.31", "Beijing"]
    assert len(mistakes) == 5
    assert all(
        abs(float(a) - float(b)) > 2
        for one in mistakes
        for a, b in zip(one[:2], right[:2], strict=True)
    )
    assert mistakes[0][-1] == "Gravity"  # without a template


def test_a_control_token_in_a_document_opens_no_turn() -> None:
    (shown,) = texts(ran("inside_a_score"), "control")
    assert re.findall(r"(\d) turns", shown) == ["4", "3"]


def test_inside_a_score_the_last_document_becomes_the_first() -> None:
    (shown,) = texts(ran("inside_a_score"), "reranked")
    assert "The capital of China is Beijing." in shown
    (index,) = re.findall(r"^ +1 +(\d) .*Beijing", shown, re.MULTILINE)
    assert index == "2"


def test_serving_puts_the_answer_first() -> None:
    (shown,) = texts(ran("serving_on_ascend"), "answers")
    assert shown.splitlines() == [
        "before: The Black Sea ends where the river begins.",
        "after:  The river Danube ends in the Black Sea.",
    ]


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.skipif(find_spec("vllm") is None, reason="needs vLLM")
def test_two_replicas_serve_the_scores_of_this_process() -> None:
    (shown,) = texts(ran("serving_on_ascend", servers=True), "served")
    assert "same log-odds within 0.001: True" in shown
    assert "engine served" in shown


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.skipif(find_spec("vllm") is None, reason="needs vLLM")
def test_platforms_get_the_right_passage_and_a_reason_for_what_is_refused() -> None:
    first, refused = texts(ran("serving_on_ascend", servers=True), "platforms")
    assert first.endswith("The river Danube ends in the Black Sea.\n")
    assert refused.startswith("400 truncate_prompt_tokens is 50, and it cuts off the end")
