"""Read the rows of a user's task from a file, from a SELECT, or from Python code.

The SELECT runs on the workspace's database or on another database.

A file that ends within a row, or changes while it is read, is refused, because the rows that it
lacks were not removed by the user. A query is run once. Its rows are hashed and written to a
temporary file. They are read from there only if their hash is not that of the last reading.
"""

import contextlib
import hashlib
import json
import re
import tempfile
import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jsonlines

from askrows.pipeline.core.column_placeholders import find_column_by_exact_or_folded_name
from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.declaration import (
    DEFAULT_READ_OPTIONS,
    ID_COLUMN,
    DatabaseTable,
    Declaration,
    Folder,
    ReadOptions,
)
from askrows.pipeline.core.errors import AskrowsError, ConfigurationError, InputError
from askrows.pipeline.core.files import hash_file, list_parquet_files, require_utf8_path
from askrows.pipeline.core.settings import read_variable
from askrows.pipeline.core.text import INVALID_TEXT, plural
from askrows.pipeline.rows.answer_views import EXPORT_COLUMNS
from askrows.pipeline.rows.cells import (
    encode_row_as_json,
    find_value_kind,
    hash_text,
    merge_kinds,
    to_compact_json,
    to_plain_row_with_notes,
    to_plain_value,
)
from askrows.pipeline.rows.csv_table import open_csv
from askrows.pipeline.rows.headers import number_repeated_names
from askrows.pipeline.rows.named_cells import open_json, open_parquet
from askrows.pipeline.rows.reflection import (
    find_storable_ids,
    quote_name,
    quote_text,
    read_columns,
)
from askrows.pipeline.rows.row_findings import ReadRow, SourceRow, make_excerpt
from askrows.pipeline.rows.sheet import open_sheet
from askrows.pipeline.rows.source_file import SourceFile, SourceTable
from askrows.pipeline.store.database import Connection, Store
from askrows.pipeline.store.task_record import TaskRecord

FILE_HINT = (
    "use a CSV file with a header, a JSON list of objects, JSON lines, an .xlsx or a Parquet file"
)
# `items` of a declaration whose rows are in memory.
MEMORY_ROWS = "<rows given in Python>"
# The beginning of the names of columns that askrows adds to those of the source.
RESERVED_PREFIX = "askrows_"
# A column of the query of a `DatabaseTable`: the cells that are stored beside the table, as JSON.
EXTRA_CELLS_COLUMN = "askrows_extra_cells"
# A view of PostgreSQL has room for 1,600 columns.
MAX_COLUMNS = 1_500
# Our own choice: a view over large tables may need minutes for its first row.
TIMEOUT_S = 300.0
# After this time all rows of a query with a cursor are read, to find removed rows and rows that
# were added late with an older cursor value.
FULL_READ_INTERVAL = timedelta(days=7)
# The setting of the workspace's database in messages.
_DATABASE_SETTING = re.compile("ASKROWS_DATABASE_URL=?")
NO_KINDS: Mapping[str, str] = MappingProxyType({})


class TableFile(SourceFile):
    """A file, or a folder of Parquet files, whose columns and rows are read.

    The columns are found when they, or rows, are read first. That reads the first rows of JSON, a
    whole sheet, and the columns of bytes of Parquet files.
    """

    @cached_property
    def _table(self) -> SourceTable:
        """Return the columns and the reader of the rows, which the module of the format makes."""
        with self.translate_errors(OSError, UnicodeError):
            if self.format == "csv":
                return open_csv(self)
            if self.format == "xlsx":
                return open_sheet(self)
            if self.format == "parquet":
                return open_parquet(self)
            return open_json(self)

    @property
    def names(self) -> Sequence[str]:
        """Return the names of the columns.

        A column without a name is called `column_4` by its position. For JSON they are the names in
        the first rows.

        Raises:
            InputError: The file cannot be read, has no header, or an option does not fit it.
            ConfigurationError: The file is Parquet, and pyarrow is not installed.
        """
        return self._table.names

    def read_rows(self) -> Iterator[ReadRow]:
        """Yield each row, and a finding for each faulty row, in the order of the file.

        Each call reads the file again, to its end. A sheet is not read again: it is in memory. A
        finding describes why its row is rejected.

        Raises:
            InputError: The file cannot be read, or is damaged so that its next rows are uncertain.
        """
        with self.translate_errors(OSError, UnicodeError):
            yield from self._table.read_rows()


def resolve_query_or_path(declaration: Declaration, path: Path) -> str:
    """Return the query of a task, or the absolute path of its row file.

    If the rows are in memory, it is MEMORY_ROWS.

    Args:
        path: The task's file, to whose folder the path of the row file is relative.
    """
    if isinstance(declaration.items, Folder):
        return declaration.items.query
    if isinstance(declaration.items, DatabaseTable):
        return _make_table_query(declaration.items, declaration.keys[0], declaration.name)
    if declaration.is_query or declaration.items == MEMORY_ROWS:
        return str(declaration.items)
    return str((path.parent / declaration.items).resolve())


def _make_table_query(items: DatabaseTable, key: str, task: str) -> str:
    """Return the query of the rows of a table, with the cells that are stored beside it."""
    columns = [f"t.{quote_name(name)}" for name in items.kinds]
    key_column = f"t.{quote_name(key)}"
    name_column = f"t.{quote_name(items.file_key or key)}"
    return (
        f"SELECT {', '.join(columns)}, e.cells AS {EXTRA_CELLS_COLUMN} "  # noqa: S608 - quoted
        f"FROM {quote_name(items.name)} AS t LEFT JOIN askrows_extra_cells AS e "
        f"ON e.task = {quote_text(task)} AND e.row_id = CAST({key_column} AS TEXT) "
        f"AND e.name = CAST({name_column} AS TEXT) ORDER BY {key_column}"
    )


def open_source(
    store: Store,
    declaration: Declaration,
    path: Path,
    cursor: "QueryCursor | None" = None,
    *,
    stored_kinds: Mapping[str, str] = NO_KINDS,
) -> "RowSource":
    """Return the source of a task's rows; its columns are read already, its rows when iterated.

    The source is a query of the database that `source=` names, a query of `store`, rows in memory,
    or a file. It need not be closed. A `DatabaseTable` or a `Folder` has its declared columns, see
    `read_declared_column_kinds`.

    Args:
        store: The database of a query without `source=`.
        path: The task's file.
        cursor: Selects new rows of a query. All rows are read if it is omitted.
        stored_kinds: Kinds of columns at the last reading, which columns without any value keep.

    Raises:
        InputError: The query, file or database cannot be read.
    """
    if declaration.is_query:
        with open_query_database(store, declaration.source, path.parent) as database:
            query = resolve_query_or_path(declaration, path)
            source = QuerySource(database, query, cursor, stored_kinds=stored_kinds)
        if isinstance(declaration.items, DatabaseTable | Folder):
            source.columns = store.query(read_declared_column_kinds, declaration.items)
        return source
    if declaration.items == MEMORY_ROWS:
        return rows_by_task_path[path]

    items_path = Path(resolve_query_or_path(declaration, path))
    return open_row_file(declaration, items_path, stored_kinds=stored_kinds)


def read_declared_column_kinds(tx: Connection, items: DatabaseTable | Folder) -> dict[str, str]:
    """Return the kinds of the declared columns of a table, by name.

    With `file_key=`, the ids have the kind of the table's own id column. The table need not exist.
    """
    kinds = items.kinds
    if isinstance(items, DatabaseTable) and items.file_key:
        id_column = read_columns(tx, items.name).get(ID_COLUMN)
        if id_column is not None:
            ids = find_storable_ids(tx, id_column["type"])
            kinds[ID_COLUMN] = "integer" if ids.kind == "whole numbers" else "text"
    return kinds


def open_row_file(
    declaration: Declaration, path: Path, *, stored_kinds: Mapping[str, str]
) -> "FileSource":
    """Return a file as the source of a task's rows, read with the options of the declaration.

    Args:
        declaration: The declaration of the task, with its key.
        path: The file.
        stored_kinds: Kinds of columns at the last reading, which columns without any value keep.

    Raises:
        InputError: The file cannot be read.
    """
    options = ReadOptions(declaration.sheet, declaration.encoding, declaration.header)
    source = FileSource(path, options, stored_kinds=stored_kinds)
    if not declaration.has_made_key:
        source.key_columns = [
            find_column_by_exact_or_folded_name(name, source.columns) or name
            for name in declaration.keys
        ]
    return source


def read_file_stamp(path: Path) -> str | None:
    """Return size and time of change of a file as text; None for a folder or a missing file."""
    if not path.is_file():
        return None
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}"


class FileSource(TableFile):
    """A file, or a folder of Parquet files, with the rows of a task.

    Each iteration reads the file anew.

    Attributes:
        sha256: Identifies the bytes of the file together with the reading options.
        stamp: Size and time of change of the file before it was read; None for a folder.
        columns: The columns with their kinds; all columns of CSV are text.
    """

    def __init__(
        self,
        path: Path,
        options: ReadOptions = DEFAULT_READ_OPTIONS,
        *,
        stored_kinds: Mapping[str, str] = NO_KINDS,
        export_columns: Sequence[Collection[str]] = EXPORT_COLUMNS,
    ) -> None:
        """Compute the file's hash, and find its columns with their kinds.

        The columns of CSV are found by its header and are all text. All rows of other formats are
        read once.

        Args:
            path: The file, or a folder of Parquet files.
            options: Encoding, sheet and header that a user set.
            stored_kinds: Kinds of columns at the last reading, see `find_column_kinds`.
            export_columns: Columns of exports, see `SourceFile`.

        Raises:
            InputError: The file cannot be read, has no header, or a database table cannot have its
                columns.
        """
        require_utf8_path(path)
        self.stamp = read_file_stamp(path)
        super().__init__(path, FILE_HINT, options=options, export_columns=export_columns)
        self.sha256 = self._compute_digest()
        # The kinds are found by the values of all rows, except that all cells of CSV are texts.
        rows = () if self.format == "csv" else self.read_rows()
        self.columns = find_column_kinds(
            (row.values for row in rows if isinstance(row, SourceRow)),
            self.names,
            source=path,
            stored_kinds=stored_kinds,
        )

    def __iter__(self) -> Iterator[ReadRow]:
        """Yield each row and each finding, then check that the file did not change.

        Raises:
            InputError: The file is damaged; or, after the last row, it changed since this object
                was created.
        """
        yield from self.read_rows()
        if self._compute_digest() != self.sha256:
            raise InputError(
                f"{self.path} changed while it was read; none of its rows was stored",
                hint="run the same command again",
            )

    def _compute_digest(self) -> str:
        """Return the SHA-256 of the paths and contents of all parts, and of the reading options."""
        with self.translate_errors(OSError):
            digests = [
                f"{part.relative_to(self.path)} {hash_file(part)}"
                for part in list_parquet_files(self.path)
            ]
        option_marks = [f"{name}={value}" for name, value in self.options.given_options.items()]
        return hash_text("\n".join([*digests, *option_marks]))


class MemorySource:
    """Rows in memory as a source of rows, with the interface of `FileSource`."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Convert rows to plain values, and read their columns and hash.

        Raises:
            InputError: The columns are not possible in a table.
        """
        self.notes = list[str]()
        self._rows = [to_plain_row_with_notes(row, self.notes) for row in rows]
        self.columns = find_column_kinds(self._rows, (), source=MEMORY_ROWS)
        self.sha256 = hash_text(to_compact_json(self._rows))

    def __iter__(self) -> Iterator[SourceRow]:
        """Yield each row, numbered from 1."""
        return (SourceRow(number, row) for number, row in enumerate(self._rows, start=1))


# Rows in memory that Python code handed over last, by path of their task.
rows_by_task_path: dict[Path, MemorySource] = {}


class QueryCursor:
    """Which rows of a query are read, by a column whose values grow.

    Attributes:
        column: The column as the task declares it.
        min_value: The greatest value of the last reading; None if all rows are read.
        is_part: Whether only new rows are read.
        read: The state to record for the next reading. `QuerySource` adds the greatest value.
    """

    def __init__(
        self,
        column: str,
        record: TaskRecord,
        *,
        query_id: str,
        now: datetime,
        must_read_all: bool,
    ) -> None:
        """Decide whether all rows are read, or only new rows.

        New rows have the greatest value of the last reading, or a greater value. All rows are read
        if `must_read_all` is set, if there was no reading before, if the last full reading is a
        week old, or if the query changed. Nothing is read or written here.

        Args:
            column: The column whose values grow.
            record: The task's record with the state of the last reading.
            query_id: Identifies the query; compared with the last reading.
            now: The current time.
            must_read_all: Read all rows.
        """
        last_read = record.cursor
        is_full_read = (
            must_read_all
            or last_read.get("of") != query_id
            or now - datetime.fromisoformat(last_read["full"]) >= FULL_READ_INTERVAL
        )
        self.column = column
        self.task_name = record.name
        self.min_value = None if is_full_read else last_read["seen"]
        self.is_part = self.min_value is not None
        self.read = {
            "of": query_id,
            "seen": self.min_value,
            "full": now.isoformat() if is_full_read else last_read["full"],
        }


class QuerySource:
    """The rows of a query, which are kept in a temporary file; each iteration reads them anew.

    Attributes:
        sha256: Identifies the names of the columns and all values, in their order; None with a
            cursor, because it selects other rows at each reading.
        columns: The columns with their kinds.
        cursor: Which rows were read, and the state to record for the next reading; None: all rows.
        notes: Notes for users.
    """

    sha256: str | None = None

    def __init__(
        self,
        store: Store,
        sql: str,
        cursor: QueryCursor | None = None,
        *,
        stored_kinds: Mapping[str, str] = NO_KINDS,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Run a query, and write its rows to a temporary file that this object closes.

        All rows are read, to find the kinds of the columns. Repeated names are numbered. With
        a cursor, more queries find its greatest value first.

        Args:
            store: The database of the query.
            sql: A SELECT statement.
            cursor: Which rows are read; its `read` is updated. None: all rows.
            stored_kinds: Kinds of columns at the last reading, see `find_column_kinds`.
            timeout_s: Seconds until each query is cancelled.

        Raises:
            InputError: The query fails, a table cannot have its columns, or the cursor's column is
                NULL in a row.
            ConfigurationError: The temporary file cannot be written.
        """
        self.notes = list[str]()
        self.cursor = cursor
        query = sql.strip().removesuffix(";")
        if cursor is not None:
            query = _number_repeated_query_columns(store, query, self.notes, timeout_s=timeout_s)
            query = _advance_cursor_and_limit_query(store, query, cursor, timeout_s=timeout_s)
            if cursor.is_part:
                message = f"only rows with {cursor.column} from {cursor.min_value} on are read"
                full_command = CommandHint("tag", task=cursor.task_name, full=True)
                self.notes.append(f"{message}; `{full_command}` reads all rows")

        # The file has a JSON object in each line, and is closed together with this object.
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        try:
            with store.open_read_only_user_query(query, timeout_s=timeout_s) as selection:
                column_names = number_repeated_names(selection.column_names, self.notes)
                self.columns = find_column_kinds(
                    self._store_and_yield_rows(column_names, selection.rows),
                    column_names,
                    source="the query",
                    stored_kinds=stored_kinds,
                    is_part=cursor is not None and cursor.is_part,
                )
            self._file.seek(0)
            digest = hashlib.file_digest(self._file, "sha256").hexdigest()
        except OSError as error:
            message = f"the rows of the query cannot be stored in {tempfile.gettempdir()}: {error}"
            hint = "free disk space there, or set TMPDIR= to a folder with free space"
            raise ConfigurationError(f"{message}; nothing was written", hint=hint) from error

        if cursor is None:
            self.sha256 = hash_text(" ".join([digest, *self.columns]))

    def __iter__(self) -> Iterator[SourceRow]:
        """Yield the rows in the order of the query, from the temporary file, numbered from 1."""
        self._file.seek(0)
        rows = jsonlines.Reader(self._file, loads=json.loads)
        for row_number, row in enumerate(rows, start=1):
            yield SourceRow(row_number, row)

    def _store_and_yield_rows(
        self, column_names: Sequence[str], rows: Iterable[Sequence[Any]]
    ) -> Iterator[Mapping[str, Any]]:
        """Write the rows to the temporary file as plain values, and yield them."""
        writer = jsonlines.Writer(self._file, dumps=encode_row_as_json)
        for cells in rows:
            row = to_plain_row_with_notes(dict(zip(column_names, cells, strict=True)), self.notes)
            writer.write(row)
            yield row


RowSource = FileSource | QuerySource | MemorySource


def _number_repeated_query_columns(
    store: Store, query: str, notes: list[str], *, timeout_s: float = TIMEOUT_S
) -> str:
    """Return a query whose columns have different names, for use within another query.

    A database renames a repeated column of an inner query, or cannot name it. The query is returned
    unchanged if no name is repeated.

    Args:
        notes: A note about repeated names is appended to this list.

    Raises:
        InputError: The query fails.
    """
    with store.open_read_only_user_query(query, timeout_s=timeout_s) as selection:
        column_names = number_repeated_names(selection.column_names, notes)
        if column_names == selection.column_names:
            return query
    quoted_names = ", ".join(map(quote_name, column_names))
    # The query is the user's own.
    return f"WITH numbered({quoted_names}) AS (\n{query}\n) SELECT * FROM numbered"  # noqa: S608


def _advance_cursor_and_limit_query(
    store: Store, query: str, cursor: QueryCursor, *, timeout_s: float
) -> str:
    """Return the query for the rows from the cursor's value on, and set the cursor's next value.

    Rows with the cursor's value itself are included. The next value, the greatest value of the
    query, is read before the rows, so that rows which arrive meanwhile are read again the next
    time. It is written into `cursor.read`, unless no row has a value, or the value is an unsound
    text. The query is returned unchanged if the cursor has no
    value yet, so that all rows are read. If the query lacks the cursor's column, it is returned
    unchanged and nothing is set: the caller reports missing columns together.

    Raises:
        InputError: The cursor's column is NULL in a row, so changes of the row would be missed.
    """
    source = f"FROM (\n{query}\n) AS q"
    with store.open_read_only_user_query(
        f"SELECT * {source} LIMIT 0", timeout_s=timeout_s
    ) as selection:
        name = find_column_by_exact_or_folded_name(cursor.column, selection.column_names)
    if name is None:
        return query

    column = f"q.{quote_name(name)}"
    condition = "1 = 1"
    if cursor.min_value is not None:
        is_text = isinstance(cursor.min_value, str)
        literal = quote_text(cursor.min_value) if is_text else cursor.min_value
        condition = f"{column} >= {literal}"

    counts = f"max({column}) AS highest, count(*) - count({column}) AS empty_rows"
    counting_query = f"SELECT {counts} {source} WHERE {condition} OR {column} IS NULL"
    with store.open_read_only_user_query(counting_query, timeout_s=timeout_s) as selection:
        max_value, null_count = next(selection.rows)

    if null_count:
        raise InputError(
            f"cursor= names {name!r}, which is NULL in {plural(null_count, 'row')} of the query; "
            "nothing was written",
            hint="changes of these rows would be missed; use COALESCE(…) in the query",
        )
    # A text that cannot be stored is left out: the next reading then begins at the same value.
    is_unsound = isinstance(max_value, str) and INVALID_TEXT.search(max_value)
    if max_value is not None and not is_unsound:
        cursor.read["seen"] = to_plain_value(max_value)
    if cursor.min_value is None:
        return query
    return f"SELECT * {source} WHERE {condition}"


def query_rows_by_id(store: Store, record: TaskRecord, ids: Sequence[str]) -> Iterable[SourceRow]:
    """Run a task's query for the rows with some ids, and return these rows in the query's order.

    The rows are numbered from 1. Ids that the query does not return are skipped. A row whose key
    occurs twice is returned twice.

    Args:
        store: The database of the query.
        record: The task's record, with the query and the key columns.
        ids: The ids; callers pass at most MAX_LOOKUP_KEYS, because databases limit the conditions
            of a query.

    Raises:
        InputError: The query fails, or takes longer than TIMEOUT_S seconds.
    """
    query = _number_repeated_query_columns(store, record.items.strip().removesuffix(";"), [])
    conditions = " OR ".join(f"({_make_key_condition(record, row_id)})" for row_id in ids)
    # The query is the user's own.
    return QuerySource(store, f"SELECT * FROM (\n{query}\n) AS q WHERE {conditions}")  # noqa: S608


def _make_key_condition(record: TaskRecord, row_id: str) -> str:
    """Return the SQL condition for the row with an id.

    The id of a key of several columns is a JSON list with a part for each column.

    Args:
        record: The task's record with the key columns.
        row_id: The id.
    """
    parts = [row_id] if len(record.key) == 1 else json.loads(row_id)
    conditions = list[str]()
    for (name, kind), part in zip(record.key, parts, strict=True):
        literal = part if kind == "integer" else quote_text(str(part))
        conditions.append(f"q.{quote_name(name)} = {literal}")
    return " AND ".join(conditions)


@contextlib.contextmanager
def open_query_database(store: Store | None, source: str, folder: Path) -> Iterator[Store]:
    """Open the database that `source=` names for reading, and close it after the block.

    An AskrowsError of the opening or of the block is raised again as the same class, with a message
    that says that it is about `source=`. InputErrors, and errors of other classes, are raised
    unchanged.

    Args:
        store: The database of queries without `source=`, which stays open.
        source: The address of the database, or `$` and the name of the variable that contains it.
            The variable is in the environment or in `.env`.
        folder: The path of a SQLite file in the address is relative to this folder.

    Yields:
        The database. Callers only read it.

    Raises:
        InputError: The variable is not set.
        AskrowsError: The database cannot be opened.
    """
    if store is not None and not source:
        yield store
        return

    address = _resolve_address(source, folder)
    if not address:
        raise InputError(
            f"source= names {source}, which is neither in the environment nor in .env; "
            "nothing was asked",
            hint=f"write {source[1:]}=postgresql+psycopg://user:password@host/database into .env",
        )

    try:
        with contextlib.closing(Store(address, is_own_database=False)) as other_database:
            yield other_database
    except InputError:
        raise
    except AskrowsError as error:
        message = _DATABASE_SETTING.sub("source=", error.message)
        hint = _DATABASE_SETTING.sub("source=", error.hint)
        raise type(error)(f"the database of source=: {message}", hint=hint) from error


def find_source_database_file(source: str, folder: Path) -> str:
    """Return the absolute path of the SQLite file of `source=`; "" for a server or no file.

    Args:
        source: The address of the database, or `$` and the name of the variable that contains it.
        folder: The path of a SQLite file in the address is relative to this folder.
    """
    scheme, _, file_path = _resolve_address(source, folder).partition(":///")
    # The options of the address may contain a password.
    return file_path.partition("?")[0] if scheme == "sqlite" else ""


def _resolve_address(source: str, folder: Path) -> str:
    """Return the address of `source=` with an absolute path; "" if its variable is not set."""
    address = source
    if source.startswith("$"):
        address = read_variable(source[1:])
    scheme, separator, file_path = address.partition(":///")
    if separator and scheme == "sqlite":
        return f"sqlite:///{(folder / file_path).resolve()}"
    return address


def find_column_kinds(
    rows: Iterable[Mapping[str, Any]],
    first_names: Sequence[str],
    *,
    source: object,
    stored_kinds: Mapping[str, str] = NO_KINDS,
    is_part: bool = False,
) -> dict[str, str]:
    """Return the columns of plain values with their kinds.

    Args:
        rows: The rows; they are read to the end, or until there are too many columns.
        first_names: Names of columns that are known before, in order.
        source: The source of the rows, for messages.
        stored_kinds: Kinds that columns without any value keep.
        is_part: These are only some of the rows; columns keep a stored kind that fits the values.

    Returns:
        The kind of each column, `first_names` before new columns. It is text for a column without
        any value that has no stored kind.

    Raises:
        InputError: A table cannot have these columns.
    """
    check_column_names(first_names, source=source)
    kinds = {name: stored_kinds.get(name) if is_part else None for name in first_names}
    for row in rows:
        for name, value in row.items():
            kind = find_value_kind(value)
            if kind != kinds.get(name, ""):
                kinds[name] = merge_kinds(kinds.get(name), kind)
        if len(kinds) > MAX_COLUMNS:
            break
    check_column_names(list(kinds), source=source)
    return {name: kind or stored_kinds.get(name, "text") for name, kind in kinds.items()}


def check_column_names(
    names: Sequence[str],
    *,
    source: object = "",
) -> None:
    """Check that a database view can have columns with these names.

    Args:
        names: The names.
        source: The beginning of the message; may be empty.

    Raises:
        InputError: A name is blank, contains NUL or invalid UTF-8, begins with `askrows_` (except
            EXTRA_CELLS_COLUMN) or occurs twice (in any case), or there are more than MAX_COLUMNS.
    """
    message_start = f"{source}: " if source else ""
    folded_names = set[str]()
    for name in names:
        fault = ""
        if not name.strip() or INVALID_TEXT.search(name):
            fault = "has no name, or one with NUL or invalid UTF-8"
        elif name.casefold().startswith(RESERVED_PREFIX) and name != EXTRA_CELLS_COLUMN:
            fault = f"begins with {RESERVED_PREFIX}, which is reserved for columns of askrows"
        elif name.casefold() in folded_names:
            fault = "occurs twice (case does not matter)"
        if fault:
            raise InputError(
                f"{message_start}the column {make_excerpt(name)!r} {fault}; nothing was changed",
                hint="rename it in the source, for example in a query with AS",
            )
        folded_names.add(name.casefold())

    if len(names) > MAX_COLUMNS:
        raise InputError(
            f"{message_start}there are {len(names):,} columns, "
            f"more than the limit of {MAX_COLUMNS:,}; nothing was changed",
            hint="leave out columns that the prompt does not need",
        )
