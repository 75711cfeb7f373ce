"""The rows of a file of items, with every column under its own name: CSV, JSON, JSON lines or Parquet.

A file is text to the letter, in the encoding that most of its lines need. A file that ends within a row, or
changes while it is read, is none: what it would leave out did not vanish from it.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from pipeline.core.errors import InputError
from pipeline.core.files import check_named_in_utf8
from pipeline.tables import csv_file, json_file, parquet_file
from pipeline.tables.findings import Finding
from pipeline.tables.item_values import common_kind, kind_of_value, plain_row
from pipeline.tables.items import MAX_COLUMNS, check_names
from pipeline.tables.layout import Layout, TextRow
from pipeline.tables.table_file import format_of, read_header_of, size_of
from pipeline.tables.text_file import detect

_LAYOUT = Layout(
    key="",
    columns={},
    column_of=str,
    hint="items stand in a CSV file with a header, a JSON list of objects, JSON lines or a Parquet file",
    guesses=False,
)


class SourceRow(NamedTuple):
    """One row of a source of items: plain values by column; `line` is where it starts, or its number, from 1."""

    line: int
    values: Mapping[str, Any]


class ItemsFile:
    """One file; each `iter` reads it anew.

    `sha256` is of its bytes, `columns` are its columns with their kinds (of CSV all text) and `notes` lines on the
    whole file.
    """

    def __init__(self, path: Path) -> None:
        """Read the file once, for its columns.

        Raises:
            InputError: there is no such file, it is damaged or empty, or no table can have its columns.
            ConfigurationError: it is Parquet, and pyarrow is not installed.
        """
        self.path = path
        check_named_in_utf8(path)
        try:
            size_of(path, _LAYOUT)
            self.sha256 = _sha256_of(path)
            self._encoding = detect(path, guesses=True)
            self.format = format_of(path, self._encoding, _LAYOUT)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}; nothing was imported") from None
        names = self._names()
        check_names([name for name in names if name], source=path)
        cells = self._rows() if self.format != "csv" else ()
        found = (row.values for row in cells if isinstance(row, TextRow))
        self.columns = kinds_of(found, dict.fromkeys(filter(None, names)), source=path)
        unnamed = len(names) - len(self.columns) if self.format == "csv" else 0
        left_out = f"{unnamed} columns without a name are not read" if unnamed > 1 else ""
        left_out = left_out or ("a column without a name is not read" if unnamed else "")
        self.notes = [note for note in (self._encoding.note, left_out) if note and self.format != "parquet"]

    def __iter__(self) -> Iterator[SourceRow | Finding]:
        """Yield each row, and a finding for each that is none, in the order of the file.

        Raises:
            InputError: the file ends within a row, or it is not the file any more whose columns were read.
        """
        for row in self._rows():
            yield SourceRow(row.line, row.values) if isinstance(row, TextRow) else row
        try:
            is_same = _sha256_of(self.path) == self.sha256
        except OSError:
            is_same = False
        if not is_same:
            raise InputError(f"{self.path} changed while it was read; no row was taken from it", hint="try again")

    def _names(self) -> list[str]:
        """Return the names of the columns as far as the beginning of the file tells them."""
        if self.format == "parquet":
            return parquet_file.parquet_names(self.path)
        if self.format != "csv":
            return []
        names = list(read_header_of(self.path, self._encoding, _LAYOUT).names)
        if not any(names):
            raise InputError(f"{self.path} has no header that can be read; nothing was imported", hint=_LAYOUT.hint)
        return names

    def _rows(self) -> Iterator[TextRow | Finding]:
        try:
            if self.format == "parquet":
                yield from parquet_file.parquet_rows(self.path, layout=_LAYOUT, ignored={}, plain=plain_row)
                return
            with self._encoding.open(self.path) as file:
                yield from self._checked(self._of_text(file))
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror}; no row was taken from it") from None

    def _of_text(self, file: TextIO) -> Iterator[TextRow | Finding]:
        lines = self._encoding.lines(file, max_line=_LAYOUT.max_line)
        if self.format == "csv":
            return csv_file.csv_rows(*csv_file.read_header(lines, path=self.path, layout=_LAYOUT))
        if self.format == "jsonl":
            return json_file.json_rows(json_file.of_lines(lines, layout=_LAYOUT), layout=_LAYOUT, ignored={})
        documents = map(self._whole, json_file.of_list(file, layout=_LAYOUT))
        return json_file.json_rows(documents, layout=_LAYOUT, ignored={})

    def _whole(self, document: json_file.Document | Finding) -> json_file.Document | Finding:
        """Return an element of a JSON list; a list that is not whole ends the reading."""
        if isinstance(document, Finding):
            raise InputError(
                f"{self.path}, line {document.line}: {document.reason}; no row was taken from it", hint="mend the file"
            )
        return document

    def _checked(self, rows: Iterator[TextRow | Finding]) -> Iterator[TextRow | Finding]:
        """Yield rows; a quote that is open to the end of the file ends the reading."""
        last: TextRow | Finding | None = None
        for last in rows:
            yield last
        if isinstance(last, Finding) and last.reason.startswith(csv_file.OPEN_QUOTE):
            raise InputError(
                f"{self.path}, line {last.line}: {csv_file.OPEN_QUOTE}, to the end of the file; "
                "no row was taken from it",
                hint="close the quote, or double it where it is part of the text",
            )


def kinds_of(rows: Iterable[Mapping[str, Any]], first: Mapping[str, str | None], *, source: object) -> dict[str, str]:
    """Return the columns of plain rows with their kinds, beginning with what is known of them; text where nothing is.

    Raises:
        InputError: no table can have the columns.
    """
    kinds = dict(first)
    for row in rows:
        for name, value in row.items():
            kind = kinds.get(name)
            if name not in kinds or kind != "json":
                kinds[name] = common_kind(kind, kind_of_value(value))
        if len(kinds) > MAX_COLUMNS:
            break
    check_names(list(kinds), source=source)
    return {name: kind or "text" for name, kind in kinds.items()}


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
