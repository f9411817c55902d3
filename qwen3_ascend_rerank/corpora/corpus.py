"""Documents that stay in their file until they are asked for: in memory is where each begins."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..errors import InvalidInputError
from .lines import TextLine, is_json_lines, lines_of, opened
from .records import CorpusDocument

ID_FIELDS = ("_id", "id", "docid", "doc_id", "document_id")
TEXT_FIELDS = ("text", "contents", "content", "page_content")
"""Where a document's id and text are looked for, in this order."""


class FileCorpus(Mapping[str, CorpusDocument]):
    """The documents of a file by their ids; whatever their length, little memory.

    Safe to use from many threads. The file must stay as it is.
    """

    def __init__(self, file: str | os.PathLike[str]) -> None:
        """Read it once, and see that every line can be used.

        Raises:
            InvalidInputError: the file, or a line of it, cannot be used; an id is there twice.
        """
        self.file = Path(file)
        self._offsets: dict[str, int] = {}
        for line in lines_of(file):
            document = parse_document(line)
            _refuse_twice(document.id, self._offsets, line)
            self._offsets[document.id] = line.offset
        _refuse_none(self._offsets, self.file)

    def __getitem__(self, id_: str) -> CorpusDocument:
        offset = self._offsets[id_]
        with opened(self.file) as file:
            file.seek(offset)
            line = TextLine(self.file, 0, offset, file.readline())
        try:
            document = parse_document(line)
        except InvalidInputError:
            document = None
        if document is None or document.id != id_:
            raise InvalidInputError(
                f"{self.file} has changed since it was read: document {id_!r} is no longer at byte "
                f"{offset:,}; begin anew"
            )
        return document

    def __contains__(self, id_: object) -> bool:
        return id_ in self._offsets

    def __iter__(self) -> Iterator[str]:
        return iter(self._offsets)

    def __len__(self) -> int:
        return len(self._offsets)


def read_corpus(file: str | os.PathLike[str]) -> Mapping[str, CorpusDocument]:
    """The documents of a file by their ids.

    Args:
        file: JSON lines, with an id (`ID_FIELDS`), a text (`TEXT_FIELDS`), perhaps a title and
            anything else; or rows of id, text and perhaps a title with tabs between. Only where
            each document begins is kept in memory; of a file packed by gzip, all of it.

    Raises:
        InvalidInputError: the file, or a line of it, cannot be used; an id is there twice.
    """
    path = Path(file)
    if path.suffix != ".gz":
        return FileCorpus(path)
    documents: dict[str, CorpusDocument] = {}
    for line in lines_of(path):
        document = parse_document(line)
        _refuse_twice(document.id, documents, line)
        documents[document.id] = document
    _refuse_none(documents, path)
    return documents


def parse_document(line: TextLine) -> CorpusDocument:
    """The document that a line holds.

    Raises:
        InvalidInputError: it holds none.
    """
    if not is_json_lines(line.file):
        id_, text, *titles = _row(line)
        return CorpusDocument(id_, text, "".join(titles))
    fields = line.json()
    id_ = line.first(fields, ID_FIELDS, "id")
    text = line.first(fields, TEXT_FIELDS, "text")
    title = fields.get("title") or ""
    if not isinstance(title, str):
        raise line.error(f"title of document {id_!r} is no text; give a text or none")
    known = {*ID_FIELDS, "title", next(name for name in TEXT_FIELDS if name in fields)}
    return CorpusDocument(id_, text, title, {k: v for k, v in fields.items() if k not in known})


def _row(line: TextLine) -> list[str]:
    cells = line.text().split("\t")
    if not 2 <= len(cells) <= 3:
        raise line.error(
            f"{len(cells)} columns; give id, text and perhaps a title with tabs between, or JSON "
            "lines in a file whose name ends in .jsonl"
        )
    return cells


def _refuse_twice(id_: str, known: Mapping[str, object], line: TextLine) -> None:
    if id_ in known:
        raise line.error(f"the document {id_!r} is there twice; give each an id of its own")


def _refuse_none(known: Mapping[str, object], file: Path) -> None:
    if not known:
        raise InvalidInputError(f"{file} holds no document; give a file with one a line")
