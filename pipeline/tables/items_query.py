"""The rows of items that a SELECT on the workspace's own database gives.

It is run once: its rows go to a temporary file, and are read from there as often as they are needed.
"""

import contextlib
import json
import re
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.core.errors import ConfigurationError, InputError
from pipeline.store.database import Store
from pipeline.tables.findings import excerpt
from pipeline.tables.item_values import plain_row
from pipeline.tables.items import check_names
from pipeline.tables.items_file import kinds_of
from pipeline.tables.read import SourceRow

TIMEOUT_S = 300.0  # ours: a view over large tables may need minutes for its first row
MOST_ROWS = 10_000_000  # after which a query is taken for one that never ends
_WORD = re.compile(r"[^\W\d][\w$]*")
_RENAMED = "give it another name in the query, with AS"


class ItemsQuery:
    """What a query gave: `columns` are its columns with their kinds; each `iter` reads the rows anew."""

    notes: Sequence[str] = ()
    sha256 = None  # what it gives may be another thing the next time

    def __init__(self, store: Store, sql: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """Run the query to its end.

        Raises:
            ConfigurationError: there is no room for its rows.
            InputError: the database refuses it, it gave no row for `timeout_s` seconds, it does not end, or its columns
                have no names that a table can have.
        """
        query = sql.strip().removesuffix(";")
        if "\0" in query:  # where a driver would end the text
            raise InputError("the query holds a NUL character; nothing was written", hint="remove it")
        self._rows = tempfile.TemporaryFile(mode="w+", encoding="ascii")  # noqa: SIM115 - closed with this object
        weakref.finalize(self, self._rows.close)
        with _room_needed(), store.selected(query, timeout_s=timeout_s) as found:
            _check_named(found.names, query)
            check_names(found.names, source="the query", hint=_RENAMED)
            self._names = found.names
            kinds = dict(zip(found.names, found.kinds, strict=True))
            self.columns = kinds_of(map(self._keep, _counted(found.rows)), kinds, source="the query")
            self._rows.flush()

    def __iter__(self) -> Iterator[SourceRow]:
        """Yield the rows in the order of the query; `line` counts them from 1."""
        self._rows.seek(0)
        for number, line in enumerate(self._rows, start=1):
            yield SourceRow(number, dict(zip(self._names, json.loads(line), strict=True)))

    def _keep(self, row: Sequence[Any]) -> dict[str, Any]:
        values = plain_row(dict(zip(self._names, row, strict=True)))
        self._rows.write(f"{json.dumps(list(values.values()))}\n")
        return values


@contextlib.contextmanager
def _room_needed() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            f"the items cannot be kept in {tempfile.gettempdir()} while they are read: {error}; nothing was written",
            hint="free some room there, or set TMPDIR= to a folder that has some",
        ) from error


def _counted(rows: Iterator[Sequence[Any]]) -> Iterator[Sequence[Any]]:
    for number, row in enumerate(rows):
        if number == MOST_ROWS:
            raise InputError(
                f"the query gave more than {MOST_ROWS:,} rows and seems to have no end; nothing was written",
                hint="bound it, such as with LIMIT",
            )
        yield row


def _check_named(names: Sequence[str], query: str) -> None:
    """Refuse a query with columns that it gave no name.

    PostgreSQL calls them `?column?`; SQLite by their own text, which stands in the query without quotes around it.
    """
    for name in names:
        is_unnamed = not name.strip() or name == "?column?"
        if is_unnamed or (not _WORD.fullmatch(name) and _is_expression(name, query)):
            raise InputError(
                f"a column of the query has no name: {excerpt(name)!r}; nothing was written", hint=_RENAMED
            )


def _is_expression(name: str, query: str) -> bool:
    quoted = (f'"{name}"', f"`{name}`", f"[{name}]", f"'{name}'")
    return name in query and not any(one in query for one in quoted)
