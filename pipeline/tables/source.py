"""Where the rows of a task of one's own come from: a file, or a SELECT on the workspace's own database or another.

A file that ends within a row, or changes while it is read, is none: what it would leave out did not vanish from it. A
query is run once; its rows go to a temporary file, and are read from there as often as they are needed.
"""

import contextlib
import json
import re
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pipeline.core.command_hint import OptionHint
from pipeline.core.declaration import AS_IT_IS, MAX_COLUMN, ReadOptions, column_named
from pipeline.core.errors import ConfigurationError, FindableError, InputError
from pipeline.core.files import check_named_in_utf8, parts_of, sha256_of
from pipeline.core.settings import variable
from pipeline.core.text import UNSOUND, restore_formula
from pipeline.store.database import Store
from pipeline.store.schema import TaskRecord
from pipeline.tables.cells import (
    bytes_note,
    common_kind,
    holds_bytes,
    kind_of_value,
    plain_row,
    plain_value,
    text_hash,
)
from pipeline.tables.read import SourceFile, SourceRow
from pipeline.tables.row_import import Finding, excerpt

HINT = "items stand in a CSV file with a header, a JSON list of objects, JSON lines, an .xlsx or a Parquet file"
OWN = "findable_"  # begins the names of the columns that are not the source's
MAX_COLUMNS = 1_500  # a view of PostgreSQL has room for 1,600
TIMEOUT_S = 300.0  # ours: a view over large tables may need minutes for its first row
READ = "read"  # among a task's words: what was read of its query
WEEK = timedelta(
    days=7
)  # after which all is read, for what went, and for what came late with an older value
_RENAMED = "give it another name in the query, with AS"


class FileSource(SourceFile):
    """One file, or a folder of Parquet files; each `iter` reads it anew.

    `sha256` is of its bytes, with the options that were given, `columns` are its columns with their kinds (of CSV all
    text).
    """

    def __init__(self, path: Path, options: ReadOptions = AS_IT_IS) -> None:
        """Read the file once, for its columns; it is an InputError, too, where no table can have these."""
        check_named_in_utf8(path)
        self.path = path
        self.options = options
        self.sha256 = self._digest() if parts_of(path) else ""
        super().__init__(path, HINT, options=options)
        if self.format == "csv":
            self.names = [restore_formula(name) for name in self.names]
        names = list(filter(None, self.names))
        check_names(names, source=path)
        if self.format in {"csv", "xlsx"} and not names:
            raise InputError(f"{path} has no header that can be read; nothing was read", hint=HINT)
        rows = (
            ()
            if self.format == "csv"
            else (row.values for row in self.rows() if isinstance(row, SourceRow))
        )
        self.columns = kinds_of(rows, dict.fromkeys(names), source=path)

    def __iter__(self) -> Iterator[SourceRow | Finding]:
        """Yield each row, and a finding for each that is none; InputError where the file is not whole, or another.

        Cells of CSV that an export neutralized are as they were before it.
        """
        for row in self.rows():
            if self.format == "csv" and isinstance(row, SourceRow):
                yield row._replace(
                    values={name: restore_formula(cell) for name, cell in row.values.items()}
                )
            else:
                yield row
        if self._digest() != self.sha256:
            raise InputError(
                f"{self.path} changed while it was read; no row was taken from it", hint="try again"
            )

    def _digest(self) -> str:
        with self._readable():
            if self.path.is_file():
                return " ".join([sha256_of(self.path), *self._marks()])
            parts = (
                f"{one.relative_to(self.path)} {sha256_of(one)}" for one in parts_of(self.path)
            )
            return text_hash("\n".join(parts))

    def _marks(self) -> list[str]:
        """Return what tells one reading of the same bytes from another; a sheet has no name before it."""
        return [
            value if name == "sheet" else f"{name}={value}"
            for name, value in self.options.given.items()
        ]


class QueryCursor:
    """How much of a query is read, by a column that grows: what is new, or all, for `of`, what it was read for before.

    `since` is the greatest value of the last reading, None where all is read, `known` the kinds of the columns then;
    `read` is what to know of this reading at the next one, of which that is to be told.
    """

    def __init__(
        self, column: str, record: TaskRecord, *, of: str, at: datetime, is_whole: bool
    ) -> None:
        read = record.words.get(READ, {})
        known = record.columns
        whole = (
            is_whole or read.get("of") != of or at - datetime.fromisoformat(read["full"]) >= WEEK
        )
        self.column = column
        self.known = {} if whole else known
        self.since = None if whole else read["seen"]
        self.read = {
            "of": of,
            "seen": self.since,
            "full": at.isoformat() if whole else read["full"],
        }


class QuerySource:
    """What a query gave: `columns` are its columns with their kinds; each `iter` reads the rows anew.

    With a `cursor` it may be a part of the rows; `read` is what to know of it then at the next reading.
    """

    notes: Sequence[str] = ()
    sha256 = None  # what it gives may be another thing the next time
    is_part = False
    read: Mapping[str, Any] | None = None

    def __init__(
        self,
        store: Store,
        sql: str,
        cursor: QueryCursor | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        query = asked = sql.strip().removesuffix(";")
        if cursor is not None:
            self.is_part = cursor.since is not None
            asked = _newer(store, query, cursor, timeout_s=timeout_s)
            self.read = cursor.read
            if self.is_part:
                told = f"read are rows with {cursor.column} from {cursor.since} on"
                self.notes = [f"{told}; {OptionHint(full=True)} reads all"]
        # Columns with bytes that are no text, and columns with a text: the former are left out, if they hold no text.
        self._left_out = set[str]()
        self._texts = set[str]()
        self._rows = tempfile.TemporaryFile(mode="w+", encoding="ascii")  # noqa: SIM115 - closed with this object
        weakref.finalize(self, self._rows.close)
        try:
            with store.selected(asked, timeout_s=timeout_s) as found:
                self._names = found.names
                check_names(found.names, source="the query", hint=_RENAMED)
                known = {} if cursor is None else cursor.known
                kinds = {name: known.get(name) for name in found.names}
                self.columns = kinds_of(self._kept(found.rows), kinds, source="the query")
                self._rows.flush()
            self._left_out -= self._texts
            self.columns = {
                name: kind for name, kind in self.columns.items() if name not in self._left_out
            }
            self.notes = [*self.notes, *filter(None, [bytes_note(sorted(self._left_out))])]
        except OSError as error:
            said = (
                f"the items cannot be kept in {tempfile.gettempdir()} while they are read: {error}"
            )
            hint = "free some room there, or set TMPDIR= to a folder that has some"
            raise ConfigurationError(f"{said}; nothing was written", hint=hint) from error

    def __iter__(self) -> Iterator[SourceRow]:
        """Yield the rows in the order of the query; `line` counts them from 1."""
        self._rows.seek(0)
        for number, line in enumerate(self._rows, start=1):
            values = dict(zip(self._names, json.loads(line), strict=True))
            for name in self._left_out:
                del values[name]
            yield SourceRow(number, values)

    def _kept(self, rows: Iterator[Sequence[Any]]) -> Iterator[dict[str, Any]]:
        for row in rows:
            values = dict(zip(self._names, row, strict=True))
            for name, value in values.items():
                if isinstance(value, str):
                    self._texts.add(name)
                elif name not in self._left_out and holds_bytes(value):
                    self._left_out.add(name)
            values = plain_row(values)
            self._rows.write(f"{json.dumps(list(values.values()))}\n")
            yield values


def _newer(store: Store, query: str, cursor: QueryCursor, *, timeout_s: float) -> str:
    """Return the query of the rows that are read, and note the greatest value, which is read first."""
    source = f"FROM (\n{query}\n) AS q"
    since = cursor.since
    with store.selected(f"SELECT * {source} LIMIT 0", timeout_s=timeout_s) as found:
        name = column_named(cursor.column, found.names)
    if name is None:  # which is told with what else is not there
        return query
    column = 'q."{}"'.format(name.replace('"', '""'))
    value = "'{}'".format(since.replace("'", "''")) if isinstance(since, str) else since
    newer = "" if since is None else f" WHERE {column} >= {value}"
    each = f"{newer} OR {column} IS NULL" if newer else ""
    counted = (
        f"SELECT max({column}) AS highest, count(*) - count({column}) AS empty_rows {source}{each}"
    )
    with store.selected(counted, timeout_s=timeout_s) as found:
        highest, empty = next(found.rows)
    if empty:
        said = f"cursor= names {name!r}, which is NULL in rows of the query ({empty:,}); nothing was written"
        raise InputError(
            said,
            hint="no change of these would be seen: fill it in, or say COALESCE(…) in the query",
        )
    if highest is not None:
        cursor.read["seen"] = plain_value(highest)
    return f"SELECT * {source}{newer}" if newer else query


def selected_rows(
    store: Store, record: TaskRecord, ids: Sequence[str], *, as_text: bool, timeout_s: float
) -> Iterator[SourceRow]:
    """Yield those rows of a task's query that have one of some ids; `as_text` compares texts, which no index helps."""
    query = record.items.strip().removesuffix(";")
    conditions = " OR ".join(
        f"({_key_condition(record, item_id, as_text=as_text)})" for item_id in ids
    )
    with store.selected(
        f"SELECT * FROM (\n{query}\n) AS q WHERE {conditions}",  # noqa: S608 - the user's own query
        timeout_s=timeout_s,
    ) as found:
        for number, row in enumerate(found.rows, start=1):
            values = json.dumps(plain_row(dict(zip(found.names, row, strict=True))))
            yield SourceRow(number, json.loads(values))


def _key_condition(record: TaskRecord, item_id: str, *, as_text: bool) -> str:
    parts = [item_id] if len(record.key) == 1 else json.loads(item_id)
    conditions = []
    for (name, kind), part in zip(record.key, parts, strict=True):
        column = 'q."{}"'.format(name.replace('"', '""'))
        literal = "'{}'".format(str(part).replace("'", "''"))
        if as_text:
            conditions.append(f"CAST({column} AS TEXT) = {literal}")
        else:
            conditions.append(f"{column} = {part if kind == 'integer' else literal}")
    return " AND ".join(conditions)


@contextlib.contextmanager
def other_database(source: str, folder: Path) -> Iterator[Store]:
    """Open another database for the length of a block, to be read; a relative path of a file is below a `folder`.

    The `source` is its address, or the name of the variable that holds it, with `$` before it.
    """
    address = variable(source[1:]) if source.startswith("$") else source
    if not address:
        said = f"source= names {source}, which is neither in the environment nor in .env; nothing was asked"
        raise InputError(
            said,
            hint=f"write {source[1:]}=postgresql+psycopg://user:password@host/database into .env",
        )
    scheme, is_file, place = address.partition(":///")
    if (folder / address).is_file():
        raise InputError(
            f"source= names a file, {address}, and not its address",
            hint=f"it is sqlite:///{address}",
        )
    if is_file and scheme == "sqlite":
        address = f"sqlite:///{(folder / place).resolve()}"
    try:
        store = Store(address, is_ours=False)
        with contextlib.closing(store):
            yield store
    except InputError:
        raise
    except FindableError as error:
        said, hint = (
            re.sub("FINDABLE_DATABASE_URL=?", "source=", one) for one in (error.message, error.hint)
        )
        raise type(error)(f"the database of source=: {said}", hint=hint) from error


def kinds_of(
    rows: Iterable[Mapping[str, Any]], first: Mapping[str, str | None], *, source: object
) -> dict[str, str]:
    """Return the columns of plain rows with their kinds, beginning with what is known of them, else text."""
    kinds = dict(first)
    for row in rows:
        for name, value in row.items():
            kinds[name] = common_kind(kinds.get(name), kind_of_value(value))
        if len(kinds) > MAX_COLUMNS:
            break
    check_names(list(kinds), source=source)
    return {name: kind or "text" for name, kind in kinds.items()}


def check_names(
    names: Sequence[str], *, source: object = "", hint: str = "rename it in the source"
) -> None:
    """Raise InputError for the first name of a column that a view cannot have; it begins with the `source`."""
    where = f"{source}: " if source else ""
    folded: dict[str, str] = {}
    for name in names:
        why = _why_not(name)
        other = folded.get(name.casefold())
        if not why and other is not None:
            why = (
                "is there twice"
                if other == name
                else f"differs from {excerpt(other)!r} only by case"
            )
        if why:
            raise InputError(
                f"{where}the column {excerpt(name)!r} {why}; nothing was changed", hint=hint
            )
        folded[name.casefold()] = name
    if len(names) > MAX_COLUMNS:
        said = f"{where}there are {len(names):,} columns, and a table holds {MAX_COLUMNS:,}; nothing was changed"
        raise InputError(said, hint="leave out those that the prompt does not need")


def _why_not(name: str) -> str:
    if not name.strip():
        return "has no name"
    if UNSOUND.search(name):
        return "has a name that is no text"
    if len(name.encode()) > MAX_COLUMN:
        return f"has a name of {len(name.encode())} bytes, and {MAX_COLUMN} are the most"
    return (
        f"begins with {OWN}, as findable's own columns do"
        if name.casefold().startswith(OWN)
        else ""
    )
