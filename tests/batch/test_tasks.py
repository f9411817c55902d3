"""From rows to requests, and why a row is none."""

from typing import Any

import pytest

from qwen3_ascend_rerank.batch import Columns
from qwen3_ascend_rerank.batch.sources import Row
from qwen3_ascend_rerank.batch.tasks import Task, tasks


def made(*fields: dict[str, Any], columns: Columns | None = None) -> list[Task]:
    rows = [Row("f", number, one) for number, one in enumerate(fields, 1)]
    return list(tasks(rows, columns or Columns()))


def test_a_row_with_documents_is_a_request() -> None:
    (task,) = made({"id": 7, "query": "q", "documents": ["a", {"text": "b", "n": 1}], "more": 1})
    assert task.request is not None
    assert (task.request.query, task.request.documents, task.request.id) == ("q", ["a", "b"], 7)


def test_documents_may_be_written_as_json() -> None:
    (task,) = made({"query": "q", "documents": '["a", "b"]'})
    assert task.request is not None
    assert task.request.documents == ["a", "b"]


def test_pairs_that_follow_each_other_with_one_id_are_one_request() -> None:
    first, second, third = made(
        {"id": 1, "query": "q", "document": "a", "document_id": "x"},
        {"id": 1, "query": "q", "document": "b", "document_id": "y"},
        {"id": 2, "query": "q", "document": "c"},
        {"query": "other", "document": "d"},
        {"query": "other", "document": "e"},
    )
    assert [first.request.documents, second.request.documents] == [["a", "b"], ["c"]]
    assert (third.request.documents, third.request.id) == (["d", "e"], None)
    assert (first.document_ids, first.places) == (["x", "y"], [0, 1])
    assert [task.number for task in (first, second, third)] == [0, 1, 2]


def test_a_bad_pair_costs_itself() -> None:
    (task,) = made(
        {"id": 1, "query": "q", "document": "a"},
        {"id": 1, "query": "q", "document": None},
        {"id": 1, "query": "another", "document": "c"},
        {"id": 1, "query": "q", "document": "d"},
    )
    assert (task.request.documents, task.places) == (["a", "d"], [0, 3])
    assert [each.row for each in task.rejects] == [2, 3]
    assert "document is None" in task.rejects[0].reason
    assert "the id is that of row 1, and the query is another one" in task.rejects[1].reason


def test_columns_have_the_names_that_they_are_given() -> None:
    columns = Columns(query="q", documents="docs", id="qid", instruction="task")
    (task,) = made({"q": "a", "docs": ["b"], "qid": "c", "task": "Find it"}, columns=columns)
    assert (task.request.id, task.request.instruction) == ("c", "Find it")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"documents": ["a"]}, "no column query; there are documents"),
        ({"query": "q"}, "no column documents; there are query"),
        ({}, "no column query; there are none"),
        ({"query": None, "documents": ["a"]}, "query is None (NoneType)"),
        ({"query": " ", "documents": ["a"]}, "query is ' ' (str)"),
        ({"query": 3, "documents": ["a"]}, "query is 3 (int)"),
        ({"query": "q", "documents": None}, "documents is None (NoneType); it takes a list"),
        ({"query": "q", "documents": float("nan")}, "documents is nan (float); it takes a list"),
        ({"query": "q", "documents": []}, "documents is empty"),
        ({"query": "q", "documents": "text"}, "documents is 'text' (str); it takes a list"),
        ({"query": "q", "documents": ["a", 3]}, "documents[1] is 3 (int); it takes a text"),
        ({"query": "q", "documents": [{"no": "text"}]}, "documents[0] is {'no': 'text'} (dict)"),
        ({"query": "q", "documents": ["a\ud800"]}, "documents[0] has half a character at 1"),
        ({"query": "q\udc00", "documents": ["a"]}, "query has half a character at 1"),
    ],
)
def test_a_row_that_is_no_request_says_why(fields: dict[str, Any], reason: str) -> None:
    before, task, after = made(
        {"query": "q", "documents": ["a"]}, {**fields, "id": 5}, {"query": "q", "documents": ["a"]}
    )
    assert task.request is None
    (reject,) = task.rejects
    assert reject.reason.startswith(reason.split("; there are")[0])
    assert (reject.row, reject.id, before.number, after.number) == (2, 5, 0, 2)


def test_fields_are_read_before_the_text_of_an_object_and_of_a_pair() -> None:
    columns = Columns(fields=("title", "year"))
    document = {"text": "b", "title": "B", "year": 1999, "n": 1}
    (task,) = made({"query": "q", "documents": ["a", document]}, columns=columns)
    assert task.request is not None
    assert task.request.documents == ["a", "title: B\nyear: 1999\n\nb"]
    (pair,) = made({"query": "q", "document": "c", "title": "C", "year": ""}, columns=columns)
    assert pair.request is not None
    assert pair.request.documents == ["title: C\n\nc"]
    assert "fields" not in Columns().to_dict()  # so that a job that was begun before goes on
    assert columns.to_dict()["fields"] == ["title", "year"]
