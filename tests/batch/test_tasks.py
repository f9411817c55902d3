"""From rows to requests, and why a row is none."""

from typing import Any

import pytest

from qwen3_ascend_rerank.batch import Columns
from qwen3_ascend_rerank.batch.sources import Row
from qwen3_ascend_rerank.batch.tasks import Task, tasks


def made(
    *fields: dict[str, Any] | str, columns: Columns | None = None, for_run: bool = False
) -> list[Task]:
    """Of rows with these fields, or with this error."""
    rows = [
        Row("f", number, error=one) if isinstance(one, str) else Row("f", number, one)
        for number, one in enumerate(fields, 1)
    ]
    return list(tasks(rows, columns or Columns(), for_run=for_run))


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


def test_what_cannot_be_read_among_pairs_does_not_part_them() -> None:
    pair = {"id": 1, "query": "q", "document": "a"}
    first, second = made(pair, "not JSON", pair, "not UTF-8", {**pair, "id": 2})
    assert (first.request.documents, first.places) == (["a", "a"], [0, 2])
    assert [(one.row, one.id, one.reason) for one in first.rejects] == [
        (2, None, "not JSON"),
        (4, None, "not UTF-8"),
    ]
    assert (second.request.id, second.places, second.number) == (2, [0], 1)
    (alone, third) = made("not JSON", pair)
    assert (alone.request, third.request.documents) == (None, ["a"])


def test_pairs_of_one_id_have_one_instruction() -> None:
    pair = {"query": "q", "document": "a"}
    (task,) = made(
        {**pair, "id": 1, "document": None, "instruction": "A"},
        {**pair, "id": 1, "instruction": "B"},
        {**pair, "id": 1, "instruction": "C"},
    )
    assert (task.request.instruction, len(task.request.documents)) == ("B", 1)
    assert "the id is that of row 2, and the instruction is another one" in task.rejects[1].reason
    assert len(made({**pair, "instruction": "A"}, {**pair, "instruction": "B"})) == 2


class TestForARun:
    """Each id once, and no white space in it."""

    def test_a_query_that_comes_again_is_refused(self) -> None:
        found = made(
            {"id": 1, "query": "q", "document": "a"},
            {"id": 2, "query": "q", "document": "a"},
            {"id": "1", "query": "q", "document": "b"},
            {"query": "r", "documents": ["a"]},
            {"id": "3", "query": "r", "documents": ["a"]},
            {"id": "a b", "query": "r", "documents": ["a"]},
            for_run=True,
        )
        assert [task.request is not None for task in found] == [
            True,
            True,
            False,
            True,
            False,
            False,
        ]
        reasons = [reject.reason for task in found for reject in task.rejects]
        assert [reason.split(",")[0] for reason in reasons] == [
            "id 1 is there before",
            "id 3 is there before",
            "id is 'a b' (str); in a run it has no white space",
        ]

    def test_a_document_that_comes_again_is_refused(self) -> None:
        pair = {"id": 1, "query": "q", "document": "a"}
        ids: list[Any] = ["x", "x", None, "", "3"]
        (task,) = made(*({**pair, "document_id": one} for one in ids), for_run=True)
        assert task.document_ids == ["x", None, "3"]
        assert [reject.row for reject in task.rejects] == [2, 4]
        (task,) = made(*({**pair, "document_id": one} for one in ids))
        assert len(task.document_ids) == 5


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
        ({"query": "q", "documents": "[" * 100_000}, "documents is '[[["),
        ({"query": "q", "documents": [[["a"]]]}, "documents[0] is [['a']] (list)"),
        ({"query": b"\xff", "documents": ["a"]}, "query is b'\\xff' (bytes)"),
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


def test_columns_without_end_are_not_all_named() -> None:
    ((reject,),) = (one.rejects for one in made({f"{n}" * 100: n for n in range(100)}))
    assert "..., 29292" in reject.reason
    assert reject.reason.endswith("... and 70 more")
    assert len(reject.reason) < 1200


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
