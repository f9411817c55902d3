"""Rows of files, wherever they are; a bad row is no end."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from qwen3_ascend_rerank import InvalidInputError, MissingDependencyError
from qwen3_ascend_rerank.batch import sources
from qwen3_ascend_rerank.batch.sources import Row, find


def rows(place: Path | str) -> list[Row]:
    return [row for source in find([str(place)]) for row in source.rows()]


DOUBLED = "(within quotes, a quote is doubled)"


def told(found: list[Row]) -> list[tuple[int, Any]]:
    return [(row.number, row.error or row.fields) for row in found]


def test_json_lines_with_bad_rows_among_them(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"a": 1}\n\n{"a"\n[1]\n{"a": "\xff"}\r\n{"a": "\xe5\x8c\x97"}')
    found = told(rows(file))
    assert [number for number, _ in found] == [1, 3, 4, 5, 6]
    assert (found[0][1], found[4][1]) == ({"a": 1}, {"a": "北"})
    assert "not JSON" in found[1][1]
    assert found[2][1] == "no JSON object but list"
    assert found[3][1] == "not UTF-8 (byte 0xff)"


def test_csv_with_bad_rows_among_them(tmp_path: Path) -> None:
    file = tmp_path / "r.csv"
    file.write_bytes(b'\xef\xbb\xbfa,b\n1,"two\nlines"\n3\n\xff,4\n\n5,6\n')
    assert told(rows(file)) == [
        (3, {"a": "1", "b": "two\nlines"}),
        (4, "1 fields instead of 2"),
        (5, "not UTF-8"),
        (7, {"a": "5", "b": "6"}),
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b'a,b\n1,"open\n2,x\n3,y\n',
            [(4, f"no CSV: lines 2 to 4: unexpected end of data {DOUBLED}")],
        ),
        (
            b'a,b\n1,"so" it says\n2,x\n',
            [
                (2, f"no CSV: ',' expected after '\"' {DOUBLED}"),
                (3, {"a": "2", "b": "x"}),
            ],
        ),
        (b"a,a,b\n1,2,3\n", [(2, {"a (twice)": "2", "b": "3"})]),
        (b"a;b\n1;2\n", [(2, {"a;b": "1;2"})]),
        (b"a,b\n", []),
        (b"", []),
        (
            "a,b\n1,2".encode("utf-16"),
            [(2, "the first row, which names the columns: not UTF-8")],
        ),
    ],
    ids=["open", "inner", "twice", "semicolons", "names alone", "empty", "utf-16"],
)
def test_csv_that_is_none(tmp_path: Path, content: bytes, said: list[tuple[int, Any]]) -> None:
    (tmp_path / "r.csv").write_bytes(content)
    assert told(rows(tmp_path / "r.csv")) == said


def test_tabs_separate_too(tmp_path: Path) -> None:
    (tmp_path / "r.tsv").write_text("a\tb\n1, 2\t3\n")
    assert told(rows(tmp_path / "r.tsv")) == [(2, {"a": "1, 2", "b": "3"})]


def test_parquet_with_lists_and_bad_text(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    bad = arrow.array([b"good", b"\xff"]).view(arrow.string())
    table = arrow.table({"query": bad, "documents": [["a", "b"], None]})
    pq.write_table(table, tmp_path / "r.parquet")
    good, wrong = told(rows(tmp_path / "r.parquet"))
    assert good == (1, {"query": "good", "documents": ["a", "b"]})
    assert "not UTF-8" in wrong[1]


def test_parquet_of_every_writer(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    table = arrow.table(
        {
            "query": arrow.array(["q"]).dictionary_encode(),
            "documents": arrow.array([["a", "b"]], arrow.large_list(arrow.large_string())),
            "document": arrow.array([b"\xe5\x8c\x97"]),  # without a word of its being text
            "texts": arrow.array([[b"a"]], arrow.list_(arrow.binary())),
            "picture": arrow.array([b"\x89PNG"]),
        }
    )
    pq.write_table(table, tmp_path / "r.parquet")
    ((_, fields),) = told(rows(tmp_path / "r.parquet"))
    assert fields == {
        "query": "q",
        "documents": ["a", "b"],
        "document": "北",
        "texts": ["a"],
        "picture": b"\x89PNG",
    }


def test_parquet_without_its_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "r.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError, match=r"qwen3-ascend-rerank\[batch\]"):
        rows(tmp_path / "r.parquet")


def test_a_folder_a_glob_and_packed_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    hidden = (
        "_hidden.jsonl",
        ".not.jsonl",
        "_temporary/e.jsonl",
        "deep/.trash/e.jsonl",
        "_SUCCESS",
    )
    for name in ("b.jsonl", "a.jsonl", "deep/c.jsonl", "other.txt", *hidden):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text('{"a": 1}\n')
    with gzip.open(tmp_path / "d.jsonl.gz", "wt") as file:
        file.write('{"a": "packed"}\n')
    names = [Path(source.url).name for source in find([str(tmp_path)])]
    assert names == ["a.jsonl", "b.jsonl", "d.jsonl.gz", "c.jsonl"]
    assert [Path(one.url).name for one in find([f"{tmp_path}/[ab].jsonl"])] == [
        "a.jsonl",
        "b.jsonl",
    ]
    (tmp_path / "other.txt").unlink()
    assert len(find([f"{tmp_path}/*"])) == 3
    assert len(find([f"{tmp_path}/**"])) == 4
    assert [Path(one.url).name for one in find([f"{tmp_path}/_temporary/*"])] == ["e.jsonl"]
    assert told(rows(tmp_path / "d.jsonl.gz")) == [(1, {"a": "packed"})]


def test_what_a_job_writes_is_no_input_of_it(tmp_path: Path) -> None:
    for name in ("a.jsonl", "out/part-00000.jsonl", "out2/b.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('{"a": 1}\n')
    found = find([str(tmp_path)], apart_from=f"{tmp_path}/out/")
    assert [Path(source.url).name for source in found] == ["a.jsonl", "b.jsonl"]
    assert len(find([str(tmp_path)], apart_from=str(tmp_path))) == 3
    assert len(find([f"{tmp_path}/*/*.jsonl"], apart_from=f"{tmp_path}/out")) == 1
    named = f"{tmp_path}/out/part-00000.jsonl"
    assert [one.url for one in find([named], apart_from=f"{tmp_path}/out")] == [named]


def test_a_file_that_is_given_twice_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("")
    with pytest.raises(InvalidInputError, match=r"a\.jsonl is given twice; name it once"):
        find([str(tmp_path), f"{tmp_path}/*.jsonl"])


def test_zstandard_of_several_frames_is_read_to_its_end(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    frame = arrow.compress(b'{"a": 1}\n' * 1000, codec="zstd", asbytes=True)
    (tmp_path / "r.jsonl.zst").write_bytes(frame * 3)
    assert len(rows(tmp_path / "r.jsonl.zst")) == 3000
    (tmp_path / "r.jsonl.zst").write_bytes(frame + frame[:-5])
    with pytest.raises(InvalidInputError, match=r"r\.jsonl\.zst cannot be read"):
        rows(tmp_path / "r.jsonl.zst")


def test_a_url_that_fsspec_knows() -> None:
    fsspec = pytest.importorskip("fsspec")
    fsspec.filesystem("memory").pipe_file("/rows/r.jsonl", b'{"a": 1}\n')
    (source,) = find(["memory://rows/r.jsonl"])
    assert (source.url, source.size) == ("memory:///rows/r.jsonl", 9)
    assert told(list(source.rows())) == [(1, {"a": 1})]


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("nothing.jsonl", "nothing.jsonl names no file; give files of .jsonl"),
        ("*.jsonl", "names no file"),
        ("text.txt", "text.txt is of no kind that is read"),
        ("what://a/b.jsonl", "cannot be read: Protocol not known: what"),
    ],
)
def test_what_cannot_be_found_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("a")
    with pytest.raises(InvalidInputError) as caught:
        find([place])
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["r.jsonl.gz", "r.jsonl.xz", "r.parquet"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    whole = gzip.compress(b'{"a": 1}\n' * 100_000)
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidInputError, match="cannot be read"):
        rows(tmp_path / name)


def test_every_suffix_has_a_reader() -> None:
    assert set(sources.SUFFIXES.values()) == set(sources.KINDS)
