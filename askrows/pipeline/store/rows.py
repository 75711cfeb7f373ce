"""Store the rows of a source, and sync them with a new reading of the source.

- Rows are stored in `askrows_rows`. A row that its source no longer has becomes gone.
- User tasks have all their rows here. Passages have only refused rows of their files here.
- A reading is staged in a temporary table, for which nobody waits. A few statements of a single
  transaction then write new and changed rows, restore rows that were gone, and mark rows that the
  source no longer has. A process that dies before leaves nothing.
- A row that no task can ask about (without a key, for example) is *refused*. It is stored, so that
  every row of the source has a state: its hash is empty, `unusable` says why it was refused, and
  `seen` is its line.
- Cells of imported files that have no column in the table of a task are stored with the row's id,
  and with its name: if another program gives the id to a row of another name, they are not the
  cells of that row.
"""

import contextlib
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    MetaData,
    Select,
    Table,
    Text,
    Update,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from askrows.pipeline.store.database import (
    PAGE_ROWS,
    Store,
    count_rows,
    has_row,
    make_insert,
    read_matching_rows,
    run_for_each_row,
    stream_rows,
)
from askrows.pipeline.store.schema import extra_cells, row_claims, rows

# PostgreSQL counts the table again after this number of new rows. Otherwise its planner expects
# no rows.
MIN_NEW_ROWS_FOR_ANALYZE = 10_000
# The columns that a reading sets.
STAGED_COLUMNS = ("row", "input_hash", "is_empty", "seen", "unusable")
# The input hash of a refused row.
NO_HASH = ""
IS_REFUSED = rows.c.input_hash == NO_HASH
# The beginning of the ids of refused rows of imported files.
FILE_REFUSAL_PREFIX = "refused-"
_staged = Table(
    "askrows_read",
    MetaData(),
    Column("row_id", Text, primary_key=True),
    Column("n", BigInteger, nullable=False),
    Column("row", Text),
    Column("input_hash", Text),
    Column("is_empty", Boolean),
    Column("seen", Text),
    Column("unusable", Text),
    prefixes=["TEMPORARY"],
)


class RefusedRow(NamedTuple):
    """A row of a source that no task can ask about."""

    # From 1.
    line: int
    reason: str
    # As they were read, by column.
    cells: Mapping[str, Any]

    @property
    def message(self) -> str:
        """Return the line and the reason as a text."""
        return f"line {self.line}: {self.reason}"

    def to_columns(self, row_id: str) -> dict[str, Any]:
        """Return the columns of `askrows_rows`, except `task` and `n`."""
        return {
            "row_id": row_id,
            "row": json.dumps(self.cells, ensure_ascii=False, separators=(",", ":")),
            "input_hash": NO_HASH,
            "is_empty": True,
            "seen": str(self.line),
            "unusable": self.reason,
        }


class SyncCounts(NamedTuple):
    """The number of rows that a reading changed, without refused rows."""

    new: int = 0
    # Known rows with another input hash.
    changed: int = 0
    # Known rows with the same input hash.
    unchanged: int = 0
    # Those of them with other values in columns that are not asked about.
    unasked_changes: int = 0
    # Changed or unchanged rows that had been gone.
    returned: int = 0
    # Rows that are gone now.
    gone: int = 0
    # Known rows that were written again, and rows that are gone now.
    rewritten: int = 0


class StagedRows(NamedTuple):
    """The rows of a source in a temporary table of a connection."""

    store: Store
    # The connection with the temporary table.
    connection: Connection

    def insert_and_commit(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows, given by column name, into the temporary table, and commit."""
        with self.connection.begin():
            run_for_each_row(self.connection, insert(_staged), records)

    @contextlib.contextmanager
    def sync_rows_in_transaction(
        self,
        task: str,
        *,
        now: datetime,
        is_part: bool = False,
    ) -> Iterator[tuple[Connection, SyncCounts]]:
        """Sync the rows of a task with the staged rows, then run a block in the same transaction.

        The sync comes before the block, and the commit at its end. New and changed rows are
        written, and rows that were gone are restored. A changed row that was asked keeps its old
        cells in `asked_row`. Rows that are not staged become gone, and refused rows that are not
        staged are deleted, except those of imported files, which get the last numbers. The number
        of a row is its place in the source; a gone row has a number below 1.

        Args:
            is_part: Only some rows of the source were read. No row is marked, deleted or
                renumbered, and new rows are numbered after all others.

        Yields:
            The transaction, and the counts, which leave out refused rows.
        """
        with self.store.write(connection=self.connection) as tx:
            is_server = tx.dialect.name != "sqlite"
            if is_server:
                tx.exec_driver_sql(f"ANALYZE {_staged.name}")

            counts = self._count_changes(tx, task, is_part=is_part)
            last_n = 0
            if is_part:
                last_n = _read_last_n(tx, task)
            if counts.changed:
                tx.execute(_make_asked_rows_update(task))
            written_count = tx.execute(
                self._make_upsert_of_changed_rows(task, now, last_n=last_n)
            ).rowcount
            if not is_part:
                # Rows that are gone are searched for only if there are any.
                if counts.gone:
                    # They leave their numbers to rows of the source, and keep their order.
                    gone_n = rows.c.n - _measure_number_range(tx, task)
                    vanished = update(rows).where(_is_present(task), ~_is_staged())
                    tx.execute(vanished.values(gone_at=now, n=gone_n))
                # The refused rows of imported files stay until their file is imported again.
                is_of_source = IS_REFUSED & ~rows.c.row_id.startswith(FILE_REFUSAL_PREFIX)
                tx.execute(delete(rows).where(rows.c.task == task, is_of_source, ~_is_staged()))
                is_moved = _is_stored_row(task) & (rows.c.n != _staged.c.n)
                tx.execute(update(rows).where(is_moved).values(n=_staged.c.n))
                self._move_file_refusals_to_the_end(tx, task)
            if is_server and counts.new > MIN_NEW_ROWS_FOR_ANALYZE:
                tx.exec_driver_sql(f"ANALYZE {rows.name}")
            rewritten_count = written_count - counts.new + counts.gone
            yield tx, counts._replace(rewritten=rewritten_count)

    def _move_file_refusals_to_the_end(self, tx: Connection, task: str) -> None:
        """Number the refused rows of imported files after all staged rows, in their order.

        If one of them is among the staged rows, all are moved, so that no two get one number.
        """
        staged_count = tx.execute(select(func.max(_staged.c.n))).scalar() or 0
        is_file_refusal = and_(
            rows.c.task == task, IS_REFUSED, rows.c.row_id.startswith(FILE_REFUSAL_PREFIX)
        )
        first_n = tx.execute(select(func.min(rows.c.n)).where(is_file_refusal)).scalar()
        if first_n is not None and first_n <= staged_count:
            tx.execute(update(rows).where(is_file_refusal).values(n=rows.c.n + staged_count))

    def preview_sync_counts(self, task: str) -> SyncCounts:
        """Return the counts that a sync of a task with these rows would have; write nothing."""
        with self.connection.begin():
            return self._count_changes(self.connection, task, is_part=False)

    def read_rows_that_would_change(self, task: str) -> list[tuple[str, str, str]]:
        """Return the rows that a sync would insert or change and that can be asked about.

        Returns:
            The id, the input hash and the values as JSON of each row; changed rows come first.
        """
        is_changed = rows.c.input_hash.is_distinct_from(_staged.c.input_hash)
        is_askable = ~_staged.c.is_empty & _staged.c.unusable.is_(None)
        query = (
            select(_staged.c.row_id, _staged.c.input_hash, _staged.c.row)
            .select_from(_staged.outerjoin(rows, _is_stored_row(task)))
            .where(is_changed, _staged.c.input_hash != NO_HASH, is_askable)
            .order_by(rows.c.row_id.is_(None), _staged.c.n)
        )
        with self.connection.begin():
            return [tuple(row) for row in self.connection.execute(query)]

    def read_rows_that_would_be_gone(self, task: str, *, limit: int) -> list[str]:
        """Return the values as JSON of rows that a sync would record as gone."""
        has_vanished = _is_present(task) & ~_is_staged()
        query = select(rows.c.row).where(has_vanished).order_by(rows.c.n)
        with self.connection.begin():
            return list(self.connection.execute(query.limit(limit)).scalars())

    def _count_changes(self, tx: Connection, task: str, *, is_part: bool) -> SyncCounts:
        """Count the changes of a sync before it. Refused rows are left out; `rewritten` is 0.

        Args:
            is_part: Only some rows of the source were read, so none is gone.
        """
        is_changed = rows.c.input_hash != _staged.c.input_hash
        query = (
            select(
                func.count(),
                func.count(rows.c.row_id),
                func.count(case((is_changed, 1))),
                func.count(case((~is_changed & (rows.c.row != _staged.c.row), 1))),
                func.count(rows.c.gone_at),
            )
            .select_from(_staged.outerjoin(rows, _is_stored_row(task)))
            .where(_staged.c.input_hash != NO_HASH)
        )
        staged_count, known_count, changed_count, unasked_count, returned_count = tx.execute(
            query
        ).one()
        gone_count = 0
        if not is_part:
            present_count = count_rows(tx, rows, _is_present(task))
            gone_count = present_count - (known_count - returned_count)
        return SyncCounts(
            new=staged_count - known_count,
            changed=changed_count,
            unchanged=known_count - changed_count,
            unasked_changes=unasked_count,
            returned=returned_count,
            gone=gone_count,
        )

    def _make_upsert_of_changed_rows(self, task: str, now: datetime, *, last_n: int) -> Any:
        """Return the statement that writes the staged rows that are new, differ or were gone.

        Equal rows are left out. An updated row is no longer gone, and has no derived values. Its
        `changed_at` becomes `now` only if its input hash is new.

        Args:
            last_n: The number after which new rows are numbered.
        """
        # A server locks every row that the statement gets, so rows that are equal are left out.
        differs = or_(
            rows.c.gone_at.is_not(None),
            *(rows.c[name].is_distinct_from(_staged.c[name]) for name in STAGED_COLUMNS),
        )
        changed_rows = (
            select(
                literal(task),
                _staged.c.row_id,
                _staged.c.n + last_n,
                *(_staged.c[name] for name in STAGED_COLUMNS),
            )
            .select_from(_staged.outerjoin(rows, _is_stored_row(task)))
            .order_by(_staged.c.n)
            .where(differs)
        )
        columns = ["task", "row_id", "n", *STAGED_COLUMNS]
        statement = make_insert(rows, self.connection.dialect.name).from_select(
            columns,
            changed_rows,
        )

        new_row = statement.excluded
        has_new_hash = rows.c.input_hash != new_row.input_hash
        new_time = literal(now, rows.c.changed_at.type)
        values = {name: new_row[name] for name in STAGED_COLUMNS}
        values["gone_at"] = None
        values["derived"] = None
        values["changed_at"] = case((has_new_hash, new_time), else_=rows.c.changed_at)
        return statement.on_conflict_do_update(index_elements=["task", "row_id"], set_=values)


def _is_present(task: str) -> ColumnElement[bool]:
    """Return the SQL condition that a row of a task is in its source, and is not refused."""
    return (rows.c.task == task) & rows.c.gone_at.is_(None) & ~IS_REFUSED


def _is_staged() -> ColumnElement[bool]:
    """Return the SQL condition that a stored row is staged."""
    return select(_staged.c.row_id).where(_staged.c.row_id == rows.c.row_id).exists()


def _is_stored_row(task: str) -> ColumnElement[bool]:
    """Return the SQL condition that joins a staged row with its stored row."""
    return (rows.c.task == task) & (rows.c.row_id == _staged.c.row_id)


@contextlib.contextmanager
def open_staging_table(store: Store) -> Iterator[StagedRows]:
    """Create a temporary table for the rows of a source, and drop it at the end of the block.

    Rows in this table are staged: `sync_rows_in_transaction` writes them to `askrows_rows`. Staged
    rows that are not synced in the block are discarded.

    Yields:
        The staged rows, on a connection of their own.
    """
    with store.open_connection() as connection:
        with connection.begin():
            _staged.create(connection)
        try:
            yield StagedRows(store, connection)
        finally:
            # A lost connection has dropped the table already.
            with contextlib.suppress(Exception), connection.begin():
                _staged.drop(connection)


def _make_asked_rows_update(task: str) -> Update:
    """Return the statement that copies `row` to `asked_row` for rows that a sync will change.

    Only rows whose present input was asked, and whose input hash changes, are selected.
    """
    has_new_hash = exists().where(
        _staged.c.row_id == rows.c.row_id, _staged.c.input_hash != rows.c.input_hash
    )
    was_asked = exists().where(
        row_claims.c.task == rows.c.task,
        row_claims.c.row_id == rows.c.row_id,
        row_claims.c.input_hash == rows.c.input_hash,
    )
    is_changing = (rows.c.task == task) & has_new_hash & was_asked
    return update(rows).where(is_changing).values(asked_row=rows.c.row)


def _read_last_n(tx: Connection, task: str) -> int:
    """Return the highest `n` of a task's rows; 0 if it has none."""
    return tx.execute(select(func.max(rows.c.n)).where(rows.c.task == task)).scalar() or 0


def _measure_number_range(tx: Connection, task: str) -> int:
    """Return how far the numbers of a task's rows reach from the lowest, or 1, to the highest."""
    query = select(func.min(rows.c.n), func.max(rows.c.n)).where(rows.c.task == task)
    lowest, highest = tx.execute(query).one()
    return int(highest - min(lowest, 1) + 1)


def read_image_inspections(
    tx: Connection, task: str, row_ids: Sequence[str]
) -> dict[str, str | None]:
    """Return the stored inspection (JSON) of the images of rows, by row id."""
    query = select(rows.c.row_id, rows.c.seen).where(rows.c.task == task)
    return {row[0]: row[1] for row in read_matching_rows(tx, query, rows.c.row_id, row_ids)}


def select_ids_changed_at(task: str, *, changed_at: datetime) -> Select[Any]:
    """Return a SELECT of the ids of the rows whose input changed last at a time."""
    return select(rows.c.row_id).where(rows.c.task == task, rows.c.changed_at == changed_at)


def has_rows(tx: Connection, task: str) -> bool:
    """Return whether a task has stored rows."""
    return has_row(tx, select(rows.c.row_id).where(rows.c.task == task))


def insert_or_replace_row(tx: Connection, task: str, row: Mapping[str, Any]) -> None:
    """Insert a row of a source after all others, without derived values.

    A stored row with its id is replaced, and is no longer gone.

    Args:
        row: `row_id` and the columns that a reading sets.
    """
    record = {**row, "task": task, "n": _read_last_n(tx, task) + 1}
    values = {**record, "gone_at": None, "derived": None}
    statement = make_insert(rows, tx.dialect.name).values(values)
    tx.execute(statement.on_conflict_do_update(index_elements=["task", "row_id"], set_=values))


def list_ids_without_derived_values(tx: Connection, task: str) -> list[str]:
    """Return the ids of the rows of a task whose derived values are not computed yet, in order."""
    is_due = (rows.c.task == task) & rows.c.derived.is_(None) & ~IS_REFUSED
    return list(tx.execute(select(rows.c.row_id).where(is_due).order_by(rows.c.n)).scalars())


def iterate_derived_pages(tx: Connection, task: str) -> Iterator[dict[str, tuple[str, str | None]]]:
    """Yield pages of rows with derived values: (values as JSON, indexed text) by row id."""
    query = (
        select(rows.c.row_id, rows.c.derived, rows.c.index_text)
        .where(rows.c.task == task, rows.c.derived.is_not(None))
        .order_by(rows.c.n)
    )
    for page in stream_rows(tx, query, page=PAGE_ROWS).partitions():
        yield {row.row_id: (row.derived, row.index_text) for row in page}


def delete_derived_values(tx: Connection, task: str) -> None:
    """Delete the derived values and the indexed texts of all rows of a task."""
    has_derived = (rows.c.task == task) & rows.c.derived.is_not(None)
    tx.execute(update(rows).where(has_derived).values(derived=None, index_text=None))


def store_derived_values(tx: Connection, task: str, records: Sequence[Mapping[str, Any]]) -> None:
    """Store derived values of rows: `id`, `derived` (JSON) and `index_text`."""
    is_row = (rows.c.task == task) & (rows.c.row_id == bindparam("id"))
    run_for_each_row(tx, update(rows).where(is_row), records)


def delete_row(tx: Connection, task: str, row_id: str) -> None:
    """Delete a row if it exists."""
    tx.execute(delete(rows).where(rows.c.task == task, rows.c.row_id == row_id))


# Refused rows


def count_refused_rows(tx: Connection, task: str) -> int:
    """Count the refused rows of a task."""
    return count_rows(tx, rows, rows.c.task == task, IS_REFUSED)


class FileRefusalReplacement:
    """Replaces the refused rows of one file of a task whose rows are in a table of their own.

    The refused rows of other files stay.
    """

    def __init__(self, tx: Connection, task: str, path: str) -> None:
        """Delete the refused rows of an earlier import of the file, in the caller's transaction.

        Args:
            tx: The transaction of all later calls.
            path: The path of the file; its hash is part of the ids of refused rows.
        """
        self._tx = tx
        self._task = task
        file_hash = hashlib.sha256(path.encode()).hexdigest()[:16]
        self._id_prefix = f"{FILE_REFUSAL_PREFIX}{file_hash}-"
        self._count = 0
        is_of_file = rows.c.row_id.startswith(self._id_prefix, autoescape=True)
        tx.execute(delete(rows).where(rows.c.task == task, IS_REFUSED, is_of_file))

    def insert(self, refused: Collection[RefusedRow]) -> None:
        """Insert refused rows of the file into `askrows_rows`, after all rows of the task.

        They keep their order. Their ids contain a hash of the file's path and a number, which
        begins with 1 and continues in further calls.
        """
        last_n = _read_last_n(self._tx, self._task)
        records = list[dict[str, Any]]()
        for n, row in enumerate(refused, start=last_n + 1):
            self._count += 1
            columns = row.to_columns(f"{self._id_prefix}{self._count}")
            records.append({"task": self._task, "n": n, **columns})
        run_for_each_row(self._tx, insert(rows), records)


def delete_refused_rows_with_equal_cell(tx: Connection, task: str, words: Collection[str]) -> int:
    """Delete the refused rows of a task that have a cell equal to any of the words; count them.

    Case and blanks at the ends of a cell or word do not matter. Runs in the caller's transaction.
    """
    deleted_count = 0
    folded_words = {word.strip().casefold() for word in words}
    query = select(rows.c.row_id, rows.c.row).where(rows.c.task == task, IS_REFUSED)
    for row_id, cells in tx.execute(query).all():
        folded_cells = (str(cell).strip().casefold() for cell in json.loads(cells).values())
        if not folded_words.isdisjoint(folded_cells):
            delete_row(tx, task, row_id)
            deleted_count += 1
    return deleted_count


class RowExtraCells(NamedTuple):
    """All cells of a row that have no column in the table of its task."""

    row_id: str
    # The row's key in files.
    name: str
    # Cells by column.
    cells: Mapping[str, Any]


def read_extra_cells(
    tx: Connection, task: str, names_by_id: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Return the stored cells of rows by id; rows without cells, or of another name, are left out.

    Args:
        names_by_id: The present names of the rows by id.
    """
    columns = extra_cells.c
    query = select(columns.row_id, columns.name, columns.cells).where(columns.task == task)
    return {
        row_id: json.loads(cells)
        for row_id, name, cells in read_matching_rows(tx, query, columns.row_id, list(names_by_id))
        if name == names_by_id[row_id]
    }


def replace_extra_cells(tx: Connection, task: str, rows: Sequence[RowExtraCells]) -> None:
    """Store the cells of rows in place of their former cells."""
    statement = make_insert(extra_cells, tx.dialect.name)
    statement = statement.on_conflict_do_update(
        index_elements=["task", "row_id"],
        set_={name: statement.excluded[name] for name in ("name", "cells")},
    )
    records = [
        {
            "task": task,
            "row_id": row.row_id,
            "name": row.name,
            "cells": json.dumps(row.cells, ensure_ascii=False, separators=(",", ":")),
        }
        for row in rows
    ]
    run_for_each_row(tx, statement, records)


def delete_extra_cells(tx: Connection, task: str, row_id: str) -> None:
    """Delete the cells of a row."""
    columns = extra_cells.c
    tx.execute(delete(extra_cells).where(columns.task == task, columns.row_id == row_id))
