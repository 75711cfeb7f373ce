"""A file as a source of rows for a task of one's own: text to the letter, and no row of a file that is not whole.

A file that ends within a row, or changes while it is read, is none: what it would leave out did not vanish from it.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.core.errors import InputError
from pipeline.core.files import check_named_in_utf8, sha256_of
from pipeline.tables.findings import Finding
from pipeline.tables.item_values import common_kind, kind_of_value
from pipeline.tables.items import MAX_COLUMNS, check_names
from pipeline.tables.read import SourceFile, SourceRow

HINT = "items stand in a CSV file with a header, a JSON list of objects, JSON lines or a Parquet file"


class ItemsFile(SourceFile):
    """One file; each `iter` reads it anew.

    `sha256` is of its bytes, `columns` are its columns with their kinds (of CSV all text).
    """

    def __init__(self, path: Path) -> None:
        """Read the file once, for its columns.

        Raises:
            InputError: there is no such file, it is damaged or empty, or no table can have its columns.
            ConfigurationError: it is Parquet, and pyarrow is not installed.
        """
        check_named_in_utf8(path)
        super().__init__(path, HINT)
        with self._readable():
            self.sha256 = sha256_of(path)
        names = list(filter(None, self.names))
        check_names(names, source=path)
        if self.format == "csv" and not names:
            raise InputError(f"{path} has no header that can be read; nothing was imported", hint=HINT)
        rows = () if self.format == "csv" else (row.values for row in self.rows() if isinstance(row, SourceRow))
        self.columns = kinds_of(rows, dict.fromkeys(names), source=path)

    def __iter__(self) -> Iterator[SourceRow | Finding]:
        """Yield each row, and a finding for each that is none, in the order of the file.

        Raises:
            InputError: the file ends within a row, or it is not the file any more whose columns were read.
        """
        yield from self.rows()
        with self._readable():
            if sha256_of(self.path) != self.sha256:
                raise InputError(f"{self.path} changed while it was read; no row was taken from it", hint="try again")


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
