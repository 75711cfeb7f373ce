"""Make the tables of a task in the workspace's database, or adopt those of another program.

They are the tables with the rows of a task, and those of its answers. A `TableSpec` contains the
requirements of a task on a table, `TaskTables` those on all its tables. To adopt a table means to
check it and to add the columns and indexes that askrows needs. The marker index of a task is made
last, so its existence proves that the adoption was completed.

- Existing values never change. A second adoption changes nothing.
- The other program may go on using the table.
- Row ids keep their type in the table and are text everywhere else. Queries read an id with a CAST.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Identity,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    cast,
    distinct,
    exc,
    func,
    select,
    text,
    update,
)
from sqlalchemy.types import TypeEngine

from askrows.pipeline.core.declaration import ID_COLUMN
from askrows.pipeline.core.errors import RefusedRowError
from askrows.pipeline.core.settings import Settings
from askrows.pipeline.core.text import plural
from askrows.pipeline.rows.folder_files import make_file_table
from askrows.pipeline.rows.reflection import (
    TYPES_BY_KIND,
    ColumnNeed,
    ReflectedColumns,
    find_storable_ids,
    quote_name,
    read_columns,
    read_key_and_index_columns,
)
from askrows.pipeline.rows.refusals import (
    make_adoption_error,
    translate_refusals,
    write_rows_and_list_refused,
)
from askrows.pipeline.rows.write_to import AnswerTarget, make_answer_target, make_derived_targets
from askrows.pipeline.store.database import change_matching_rows, count_rows, describe_error
from askrows.pipeline.store.schema import NUMBER_COLUMN_TYPE, BigId, UtcTime, has_index
from askrows.pipeline.store.task_record import TaskRecord

DEFAULT_SETTINGS = Settings()
# Types of the columns of rows that are made, and values that existing columns must store.
_ROW_TYPES: Mapping[str, TypeEngine[Any]] = {"integer": BigInteger(), "real": NUMBER_COLUMN_TYPE}
_ROW_NEEDS = {
    "integer": ColumnNeed.INTEGER,
    "real": ColumnNeed.NUMBER,
    "json": ColumnNeed.JSON,
}
# The same for the columns of answers, by the kind of the field.
_RECORD_TYPES: Mapping[str, Any] = {**TYPES_BY_KIND, "json": Text(), "time": UtcTime()}
_RECORD_NEEDS = {"text": ColumnNeed.TEXT, "json": ColumnNeed.JSON, "time": ColumnNeed.TIME}


@dataclass(frozen=True, kw_only=True)
class TableSpec:
    """Requirements of a task for a table. It can make or adopt that table."""

    # The table as it is made if it does not exist.
    definition: Table
    # Columns that an existing table must have; adoption never adds these.
    required_columns: tuple[str, ...]
    # Values that columns must store, if `definition` does not imply it.
    column_needs: Mapping[str, ColumnNeed] = field(default_factory=dict)
    # Add the other columns of `definition` to an existing table that lacks them.
    adds_columns: bool = False
    # Columns that get an index. If `id` is among them, ids must be unique and not empty.
    indexed_columns: tuple[str, ...] = ()
    # Name and remaining SQL of the index that is made last. The table is adopted if it exists.
    marker_index: tuple[str, str] | None = None
    # Columns that get a value in all rows of an adopted table at once.
    filled_columns: tuple[str, ...] = ()
    # Column that refers to rows of another table by their ids; its type is that of these ids. Such
    # a table gets answers, so no other column may require a value.
    reference: str = ""

    @property
    def name(self) -> str:
        """Return the table's name."""
        return self.definition.name

    @property
    def _checked_columns(self) -> Sequence[str]:
        """Return the names of the columns that an adopted table must have."""
        return self.definition.c.keys() if self.adds_columns else self.required_columns

    def find_missing_parts(self, tx: Connection) -> list[str]:
        """Return the missing table, or the columns that it must have and lacks, as phrases."""
        columns = read_columns(tx, self.name)
        if not columns:
            return [f"the table {self.name}"]
        return [
            f"the column {self.name}.{name}"
            for name in self._checked_columns
            if name not in columns
        ]

    def list_additions(self, tx: Connection) -> list[str]:
        """Return the missing parts that adoption adds, and "an index" if the table needs any.

        The index is in the list even if it exists already.
        """
        indexes = ["an index"] if self.indexed_columns or self.marker_index else []
        return [*self.find_missing_parts(tx), *indexes]

    def is_marked(self, tx: Connection) -> bool:
        """Return whether the index exists that marks the table as adopted."""
        return self.marker_index is not None and has_index(tx, self.name, self.marker_index[0])

    def read_checked_columns(self, tx: Connection) -> ReflectedColumns:
        """Return the columns of the existing table after a check; empty if there is no table.

        Raises:
            ConfigurationError: A required column is missing, a column cannot store the values that
                it must store, or a new row of a table with a `reference` needs values that askrows
                does not write.
        """
        columns = read_columns(tx, self.name)
        if not columns:
            return {}

        problems = [f"`{name}` is missing" for name in self.required_columns if name not in columns]
        for name in self._checked_columns:
            if name in columns:
                problems += self._describe_unstorable_values(tx, name, columns)
        if self.reference:
            problems += [
                f"`{name}` needs a value that askrows does not write"
                for name, column in columns.items()
                if name not in self.definition.c
                and not column["nullable"]
                and column["default"] is None
            ]
        if problems:
            raise make_adoption_error(self.name, f"does not fit: {', '.join(problems)}")
        return columns

    def _describe_unstorable_values(
        self, tx: Connection, column_name: str, columns: ReflectedColumns
    ) -> list[str]:
        """Return a phrase with the values that a column must store, but cannot; empty if it can.

        A computed column can store nothing. The columns `id` and `reference` must be able to store
        ids, and `reference` the same kind and range of ids as the other table. The need of another
        column is whole numbers for an integer column of the definition, else the entry of
        `column_needs`, else text.
        """
        defined_type = self.definition.c[column_name].type
        need = self.column_needs.get(column_name, ColumnNeed.TEXT)
        if column_name in {"id", self.reference}:
            need = ColumnNeed.ID
        elif isinstance(defined_type, Integer):
            need = ColumnNeed.INTEGER
        if not need.accepts(tx, columns[column_name]):
            return [f"`{column_name}` must store {need.value[0]} (not computed)"]

        referred_ids = find_storable_ids(tx, defined_type)
        if (
            column_name == self.reference
            and find_storable_ids(tx, columns[column_name]["type"]) != referred_ids
        ):
            return [f"`{column_name}` must store {referred_ids.kind} like the ids it refers to"]
        return []

    def create_or_adopt(self, tx: Connection) -> list[str]:
        """Make the table, or add to an existing table the columns and indexes that it lacks.

        An existing table is checked before it is changed. Then missing columns are added. Each row
        must accept a change of `filled_columns`. Indexes follow, and last the `marker_index`, whose
        existence proves a complete adoption.

        Args:
            tx: The caller's transaction, which must be rolled back after an error.

        Returns:
            One line for the user, with the number of rows and the new columns, if columns were
            added to an existing table. Else an empty list.

        Raises:
            ConfigurationError: The table cannot be adopted, or the database refuses a change.
        """
        columns = self.read_checked_columns(tx)
        missing_columns = [name for name in self._checked_columns if name not in columns]
        try:
            if columns:
                self._add_columns_and_check_ids(tx, missing_columns)
                self._check_rows_accept_filled_columns(tx)
            else:
                self.definition.create(tx)
            self._create_missing_indexes(tx)
        except exc.DBAPIError as error:
            reason = f"cannot be adopted: {describe_error(error)}"
            raise make_adoption_error(self.name, reason) from error

        if not columns or not missing_columns:
            return []
        count = plural(count_rows(tx, self.definition), "row")
        added_names = ", ".join(missing_columns)
        return [f"adopted the {self.name} table ({count}): added {added_names}"]

    def _add_columns_and_check_ids(self, tx: Connection, names: Sequence[str]) -> None:
        """Add columns, which may be NULL, to an existing table; then check its ids.

        The ids are checked only if `id` is in `indexed_columns`.

        Raises:
            ConfigurationError: An id is missing, empty or not unique.
        """
        table = quote_name(self.name)
        for name in names:
            column_type = self.definition.c[name].type.compile(tx.dialect)
            tx.execute(text(f"ALTER TABLE {table} ADD COLUMN {quote_name(name)} {column_type}"))

        if "id" in self.indexed_columns:
            row_id = cast(self.definition.c.id, Text)
            distinct_ids = func.count(distinct(func.nullif(row_id, "")))
            counting = select(func.count(), distinct_ids).select_from(self.definition)
            count, usable_count = tx.execute(counting).one()
            if count != usable_count:
                unusable = f"{count - usable_count:,} of {count:,}"
                reason = f"has rows whose `id` is missing, empty or repeated ({unusable})"
                raise make_adoption_error(self.name, reason)

    def _check_rows_accept_filled_columns(self, tx: Connection) -> None:
        """Check that each row accepts a value in `filled_columns`; no row is changed.

        Raises:
            ConfigurationError: A rule or trigger refuses the change of a row.
        """
        if not self.filled_columns:
            return
        (row_id,) = self.definition.primary_key
        same_values = {name: self.definition.c[name] for name in self.filled_columns}

        def write_same_values(ids: Sequence[Any]) -> None:
            """Set each filled column of some rows to its own value."""
            with translate_refusals(self.name):
                change_matching_rows(tx, update(self.definition).values(same_values), row_id, ids)

        row_ids = tx.execute(select(row_id).order_by(row_id)).scalars().all()
        with tx.begin_nested() as savepoint:
            refused_rows = write_rows_and_list_refused(
                tx, row_ids, write_same_values, refusals=RefusedRowError
            )
            savepoint.rollback()
        if refused_rows:
            refused_id, error = refused_rows[0]
            raise make_adoption_error(
                self.name,
                f"refuses a change of its row {refused_id}: {error.database_message}",
                hint="correct this row, or the rule or trigger that refuses it, "
                "then run the same command again",
            )

    def _create_missing_indexes(self, tx: Connection) -> None:
        """Make the missing indexes, then the marker index if it is missing."""
        table = quote_name(self.name)
        for name in self._find_unindexed_columns(tx):
            index = quote_name(f"askrows_{self.name}_{name}")
            tx.execute(text(f"CREATE INDEX IF NOT EXISTS {index} ON {table} ({quote_name(name)})"))

        if self.marker_index is not None:
            mark_name, mark_sql = self.marker_index
            tx.execute(text(f"CREATE INDEX IF NOT EXISTS {mark_name} ON {table} {mark_sql}"))

    def _find_unindexed_columns(self, tx: Connection) -> list[str]:
        """Return the columns with which no key or index of the existing table begins."""
        first_columns = {
            key[0] for key in read_key_and_index_columns(tx, self.name, only_unique=False)
        }
        return [name for name in self.indexed_columns if name not in first_columns]


@dataclass(frozen=True)
class TaskTables:
    """The tables of a task, which are made, adopted and moved to a server together."""

    # Returns the requirements in a database. The marker index of the last table proves that all
    # tables were adopted.
    make_specs: Callable[[Connection, Settings], Sequence[TableSpec]]

    def create_or_adopt(self, tx: Connection, settings: Settings = DEFAULT_SETTINGS) -> list[str]:
        """Adopt all tables of the task: make each, or add the columns and indexes that it lacks.

        Runs in the caller's transaction. A second call changes nothing.

        Args:
            tx: The caller's transaction.
            settings: Settings that the requirements of the tables depend on.

        Returns:
            A line for the user on each existing table that got new columns.

        Raises:
            ConfigurationError: A table cannot be adopted. The caller must roll back.
        """
        specs = self.make_specs(tx, settings)
        return list(chain.from_iterable(spec.create_or_adopt(tx) for spec in specs))

    def list_additions(self, tx: Connection, settings: Settings = DEFAULT_SETTINGS) -> list[str]:
        """Return what `create_or_adopt` adds to existing tables, a line per table; write nothing.

        Returns:
            A line for each existing table that lacks something. Empty if there is no such table, or
            if the tables are complete, see `is_complete`.

        Raises:
            ConfigurationError: A table cannot be adopted.
        """
        # Subclasses also check their indexes, which are no columns of another program.
        if TaskTables.is_complete(self, tx, settings):
            return []
        return [
            f"{', '.join(spec.list_additions(tx))} to `{spec.name}`"
            for spec in self.make_specs(tx, settings)
            if spec.read_checked_columns(tx)
        ]

    def is_complete(self, tx: Connection, settings: Settings = DEFAULT_SETTINGS) -> bool:
        """Return whether the tables are marked as adopted, and have all their columns.

        The time does not depend on the number of rows.
        """
        last_spec = self.make_specs(tx, settings)[-1]
        is_marked = last_spec.marker_index is None or last_spec.is_marked(tx)
        return is_marked and not self.find_missing_parts(tx, settings)

    def find_missing_parts(
        self,
        tx: Connection,
        settings: Settings = DEFAULT_SETTINGS,
    ) -> list[str]:
        """Return the missing tables and columns of adopted tables, as phrases; write nothing."""
        specs = self.make_specs(tx, settings)
        return list(chain.from_iterable(spec.find_missing_parts(tx) for spec in specs))

    def list_missing_tables(
        self,
        tx: Connection,
        settings: Settings = DEFAULT_SETTINGS,
    ) -> list[str]:
        """Return the names of the tables that do not exist; write nothing."""
        tables = self.list_definitions(tx, settings)
        return [table.name for table in tables if not read_columns(tx, table.name)]

    def list_definitions(
        self,
        tx: Connection,
        settings: Settings = DEFAULT_SETTINGS,
    ) -> list[Table]:
        """Return the definitions of the tables, as they are created if they do not exist."""
        return [spec.definition for spec in self.make_specs(tx, settings)]


# ---- the tables of a user's task


def make_task_tables(record: TaskRecord) -> TaskTables | None:
    """Return the tables of a task; None if its source takes no new rows. Nothing is read."""
    if not record.table:
        return None
    return TaskTables(partial(_make_specs, record))


def _make_answer_record_spec(target: AnswerTarget, id_type: TypeEngine[Any]) -> TableSpec:
    """Return the requirements of a table with a record for each answer, with the ids of files."""
    kinds = {**dict(target.task.fields), **target.column_kinds}
    definition = Table(
        target.table_name,
        MetaData(),
        Column(target.column_name, id_type),
        Column("provider", Text),
        Column("model", Text),
        *(Column(name, _RECORD_TYPES[kind]) for name, kind in kinds.items()),
        PrimaryKeyConstraint(*target.key_names),
        sqlite_with_rowid=False,
    )
    needs = {name: _RECORD_NEEDS[kind] for name, kind in kinds.items() if kind in _RECORD_NEEDS}
    index_name = f"askrows_{target.table_name}_of_{target.column_name.removesuffix('_id')}"
    return TableSpec(
        definition=definition,
        required_columns=(*target.key_names, *needs),
        column_needs=needs,
        reference=target.column_name,
        marker_index=(index_name, f"({', '.join(target.key_names)})"),
    )


def _make_specs(
    record: TaskRecord,
    tx: Connection,
    settings: Settings,  # noqa: ARG001 - fixed names
) -> list[TableSpec]:
    """Return the requirements of the tables of a task, by which they are made or adopted.

    A `DatabaseTable` is the only table of its task. With a `Folder` there are the table of files,
    and that of `write_to=` if it gets records, which refer to the ids of files. Missing columns,
    also those of `write_to=` and `derive=`, and indexes are added to an existing table of files;
    that of records must have all columns.
    """
    if not record.has_folder:
        return [_make_row_spec(record)]

    table_name = record.table
    new_id_column: Column[Any] = Column("id", BigId, Identity(), primary_key=True)
    file_table = make_file_table(table_name, new_id_column, sqlite_autoincrement=True)
    for name, kind in find_filled_column_kinds(record).items():
        if name not in file_table.c:
            file_table.append_column(Column(name, _ROW_TYPES.get(kind, Text())))
    specs = [
        TableSpec(
            definition=file_table,
            required_columns=("id", "path"),
            adds_columns=True,
            indexed_columns=("id", "path"),
            marker_index=(f"askrows_{table_name}_hash", "(hash)"),
        )
    ]
    target = make_answer_target(record, record.write_to) if record.write_to else None
    if target is not None and target.has_records:
        id_column = read_columns(tx, table_name).get("id")
        id_type = new_id_column.type if id_column is None else id_column["type"]
        specs.append(_make_answer_record_spec(target, id_type))
    return specs


def find_filled_column_kinds(record: TaskRecord) -> dict[str, str]:
    """Return the kinds of the columns of `write_to=` and `derive=` in the table of the rows."""
    targets = list(make_derived_targets(record).values())
    if record.write_to is not None:
        targets.append(make_answer_target(record, record.write_to))
    return {
        target.column_name: target.column_kinds[target.column_name]
        for target in targets
        if target.table_name == record.table and not target.has_records
    }


def _make_row_spec(record: TaskRecord) -> TableSpec:
    """Return the requirements of a task's table: columns of its rows, and those that askrows fills.

    An existing table must have the columns of the rows; with `file_key=`, only this column and
    `id`. Other columns, also those of `write_to=` and `derive=` if they are in this table, are
    added. With `file_key=` the table gets missing indexes, and one that marks it as adopted.
    """
    key, _ = record.key[0]
    # The columns of the rows come first, and keep their kinds.
    kinds = {**record.columns, **find_filled_column_kinds(record), **record.columns}
    needs = {name: _ROW_NEEDS[kind] for name, kind in kinds.items() if kind in _ROW_NEEDS}
    # A column of whole numbers would round the values.
    needs |= {
        name: ColumnNeed.FRACTION
        for name, kind in kinds.items()
        if kind == "real" and name not in record.columns
    }
    columns: list[Column[Any]] = [
        Column(
            name,
            _ROW_TYPES.get(kind, Text()),
            primary_key=name == key,
            unique=name == record.file_key,
            nullable=name not in {key, record.file_key},
        )
        for name, kind in kinds.items()
    ]
    if record.file_key:
        columns[0] = Column(ID_COLUMN, BigId, Identity(), primary_key=True)
    spec = TableSpec(
        definition=Table(
            record.table,
            MetaData(),
            *columns,
            # SQLite must not reuse the id of a deleted row.
            sqlite_autoincrement=bool(record.file_key),
        ),
        required_columns=tuple(record.columns),
        column_needs=needs | {key: ColumnNeed.ID},
        adds_columns=True,
        filled_columns=tuple(
            target.column_name
            for target in make_derived_targets(record).values()
            if target.table_name == record.table
        ),
    )
    if not record.file_key:
        return spec

    # This small index only marks the table as adopted.
    marker_sql = f"({ID_COLUMN}) WHERE {quote_name(record.file_key)} IS NULL"
    return replace(
        spec,
        required_columns=(ID_COLUMN, record.file_key),
        indexed_columns=(ID_COLUMN, record.file_key),
        marker_index=(f"askrows_{record.table}_unnamed", marker_sql),
    )
