"""Open the source of a task's rows: a file, a query, or rows from Python."""

from collections.abc import Mapping
from pathlib import Path

from pipeline.core.declaration import Declaration, ReadOptions
from pipeline.engine import task_file
from pipeline.engine.memory_rows import MEMORY_ROWS, MemorySource
from pipeline.store.database import Store
from pipeline.tables.source import (
    NO_KINDS,
    FileSource,
    QueryCursor,
    QuerySource,
    open_other_database,
)

RowSource = FileSource | QuerySource | MemorySource


def resolve_items(declaration: Declaration, path: Path) -> str:
    """Return the query of a task, or the absolute path of its row file.

    Args:
        path: The task's file, to whose folder the path of the row file is relative.
    """
    if declaration.is_query or declaration.items == MEMORY_ROWS:
        return str(declaration.items)
    return str((path.parent / declaration.items).resolve())


def open_source(
    store: Store | None,
    declaration: Declaration,
    path: Path,
    cursor: QueryCursor | None = None,
    *,
    stored_kinds: Mapping[str, str] = NO_KINDS,
) -> RowSource:
    """Return the source of a task's rows; its columns are read already, its rows when iterated.

    The source is a query of the database that `source=` names, a query of `store`, rows in memory,
    or a file. It need not be closed.

    Args:
        store: The database of a query without `source=`.
        path: The task's file.
        cursor: Selects new rows of a query. All rows are read if it is omitted.
        stored_kinds: Kinds of columns at the last reading, which columns without any value keep.

    Raises:
        InputError: The query, file or database cannot be read.
    """
    if declaration.source:
        with open_other_database(declaration.source, path.parent) as other_database:
            return QuerySource(other_database, declaration.items, cursor, stored_kinds=stored_kinds)
    if declaration.is_query and store is not None:
        return QuerySource(store, declaration.items, cursor, stored_kinds=stored_kinds)
    if declaration.items == MEMORY_ROWS:
        return task_file.rows_by_task_path[path]

    options = ReadOptions(declaration.sheet, declaration.encoding, declaration.header)
    return FileSource(Path(resolve_items(declaration, path)), options, stored_kinds=stored_kinds)
