"""The rows of a file of items, with every column under its own name: CSV, JSON, JSON lines or Parquet.

A file is text to the letter, in the encoding that most of its lines need. A file that ends within a row, or
changes while it is read, is none: what it would leave out did not vanish from it.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.core.errors import InputError
from pipeline.core.files import check_named_in_utf8
from pipeline.tables import frames
from pipeline.tables.findings import Finding
from pipeline.tables.item_values import common_kind, kind_of_value, plain_row
from pipeline.tables.items import MAX_COLUMNS, check_names
from pipeline.tables.layout import Layout, TextRow
from pipeline.tables.table_file import RowsFile

_LAYOUT = Layout(
    key="",
    columns={},
    column_of=str,
    hint="items stand in a CSV file with a header, a JSON list of objects, JSON lines or a Parquet file",
)


class SourceRow(NamedTuple):
    """One row of a source of items: plain values by column; `line` is where it starts, or its number, from 1."""

    line: int
    values: Mapping[str, Any]


class ItemsFile(RowsFile):
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
        check_named_in_utf8(path)
        super().__init__(path, _LAYOUT)
        try:
            self.sha256 = _sha256_of(path)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}; nothing was imported") from None
        names = self._names()
        check_names([name for name in names if name], source=path)
        cells = self.rows(_LAYOUT, {}, plain=plain_row) if self.format != "csv" else ()
        found = (row.values for row in cells if isinstance(row, TextRow))
        self.columns = kinds_of(found, dict.fromkeys(filter(None, names)), source=path)
        unnamed = len(names) - len(self.columns) if self.format == "csv" else 0
        left_out = f"columns without a name are not read: {unnamed}" if unnamed else ""
        self.notes = [note for note in (self.encoding.note, left_out) if note and self.format != "parquet"]

    def __iter__(self) -> Iterator[SourceRow | Finding]:
        """Yield each row, and a finding for each that is none, in the order of the file.

        Raises:
            InputError: the file ends within a row, or it is not the file any more whose columns were read.
        """
        for row in self.rows(_LAYOUT, {}, plain=plain_row):
            yield SourceRow(row.line, row.values) if isinstance(row, TextRow) else row
        try:
            is_same = _sha256_of(self.path) == self.sha256
        except OSError:
            is_same = False
        if not is_same:
            raise InputError(f"{self.path} changed while it was read; no row was taken from it", hint="try again")

    def _names(self) -> list[str]:
        if self.format == "parquet":
            return frames.parquet_names(self.path)
        if self.format != "csv":
            return []
        names = list(self.header(_LAYOUT).names)
        if not any(names):
            raise InputError(f"{self.path} has no header that can be read; nothing was imported", hint=_LAYOUT.hint)
        return names


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
