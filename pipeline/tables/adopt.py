"""Make the tables of a task, or adopt tables that another program made.

A `TableSpec` contains the requirements of a task on a table, `TaskTables` those on all its tables.
To adopt a table means to check it and to add the columns and indexes that findable needs. The
marker index of a task is made last, so its existence proves that the adoption was completed.

- Existing values never change. A second adoption changes nothing.
- The other program may go on using the table.
- Row ids keep their type in the table and are text everywhere else. Queries read an id with a CAST.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Identity,
    Integer,
    MetaData,
    Table,
    Text,
    cast,
    distinct,
    exc,
    func,
    select,
    text,
)

from pipeline.core.settings import Settings
from pipeline.core.text import plural
from pipeline.store.database import count_rows, describe_error, has_row
from pipeline.store.schema import has_index
from pipeline.tables.adoption_errors import adoption_error
from pipeline.tables.column_needs import ColumnNeed, IdColumnFacts, describe_id_column
from pipeline.tables.reflection import (
    TASK_TABLE_NAMES,
    ReflectedColumns,
    describe_column_type,
    is_indexed,
    is_sqlite,
    quote_identifier,
    read_columns,
    read_object_kind,
)

DEFAULT_SETTINGS = Settings()


@dataclass(frozen=True, kw_only=True)
class TableSpec:
    """Requirements of a task for a table. It can make or adopt that table."""

    # The table as it is made if it does not exist.
    definition: Table
    # Columns that an existing table must have; adoption never adds these.
    required_columns: tuple[str, ...]
    # Values that columns must store, if `definition` does not imply it.
    column_needs: Mapping[str, ColumnNeed] = field(default_factory=dict)
    # Last part of the hint in errors: how to do without this table.
    alternative_hint: object = "use another database"
    # Add the other columns of `definition` to an existing table that lacks them.
    adds_columns: bool = False
    # Columns that get an index. If `id` is among them, ids must be unique and not empty.
    indexed_columns: tuple[str, ...] = ()
    # Name and remaining SQL of the index that is made last. The table is adopted if it exists.
    marker_index: tuple[str, str] | None = None
    # Column that refers to rows of another table by their ids, and which ids that table has.
    reference: tuple[str, IdColumnFacts] | None = None
    # Raises ConfigurationError if an existing table is unsuitable for another reason.
    check_suitability: Callable[[Connection, ReflectedColumns], None] = field(
        default=lambda _tx, _columns: None,
    )

    @property
    def name(self) -> str:
        """Return the table's name."""
        return self.definition.name

    @property
    def row_id(self) -> ColumnElement[str]:
        """Return an expression for a row's id as text."""
        return cast(self.definition.c.id, Text)

    @property
    def _checked_columns(self) -> Sequence[str]:
        """Return the names of the columns that an adopted table must have."""
        return self.definition.c.keys() if self.adds_columns else self.required_columns

    def find_missing_columns(self, columns: ReflectedColumns) -> list[str]:
        """Return the columns that an adopted table must have and that are not in `columns`."""
        return [name for name in self._checked_columns if name not in columns]

    def _unindexed_columns(self, tx: Connection, columns: ReflectedColumns) -> list[str]:
        """Return the columns that still need an index, missing columns included."""
        return [
            name
            for name in self.indexed_columns
            if name not in columns or not is_indexed(tx, columns[name])
        ]

    def _index_name(self, suffix: str) -> str:
        """Return the name of an index that adoption makes."""
        return f"findable_{self.name}_{suffix}"

    def is_marked(self, tx: Connection) -> bool:
        """Return whether the index exists that marks the table as adopted."""
        return self.marker_index is not None and has_index(tx, self.name, self.marker_index[0])

    def is_complete(self, tx: Connection) -> bool:
        """Return whether the table exists with all columns, types and indexes that it must have.

        The mark of adoption and the ids are not checked.
        """
        columns = read_columns(tx, self.name)
        if not columns or self.find_missing_columns(columns):
            return False
        return not (self._unindexed_columns(tx, columns) or self._describe_misfits(tx, columns))

    def adopt(self, tx: Connection, *, is_first: bool) -> list[str]:
        """Make the table, or add to an existing table the columns and indexes that it lacks.

        An existing table is checked before it is changed. Then missing columns are added, then
        indexes, and last the `marker_index`, whose existence proves a complete adoption.

        If the spec indexes the column `id`, all ids are checked before. A later adoption skips this
        check if the table has all its indexes, except if the spec has `adds_columns` set.

        Args:
            tx: The caller's transaction, which must be rolled back after an error.
            is_first: The task's tables were never adopted completely.

        Returns:
            One line for the user, with the number of rows and the new columns, if the table existed
            before, and `is_first` is set or columns were added. Else an empty list.

        Raises:
            ConfigurationError: The table cannot be adopted, or the database refuses a change.
        """
        columns = self._read_suitable_columns(tx)
        missing_columns: list[str] = []
        unindexed_columns: list[str] = []
        if columns:
            missing_columns = self.find_missing_columns(columns)
            unindexed_columns = self._unindexed_columns(tx, columns)
        else:
            self.definition.create(tx)

        try:
            self._add_columns(tx, missing_columns)
            should_check_ids = is_first or self.adds_columns or bool(unindexed_columns)
            if columns and "id" in self.indexed_columns and should_check_ids:
                self._check_ids(tx)
            self._add_indexes(tx, unindexed_columns)
        except exc.DBAPIError as error:
            raise adoption_error(
                self.name,
                f"cannot be adopted: {describe_error(error)}",
                hint=f"make it a plain table, or {self.alternative_hint}",
            ) from error

        if not columns or not (is_first or missing_columns):
            return []
        count = count_rows(tx, self.definition)
        line = f"adopted the {self.name} table ({plural(count, 'row')})"
        if missing_columns:
            line += f": added {', '.join(missing_columns)}"
        return [line]

    def _add_columns(self, tx: Connection, names: Sequence[str]) -> None:
        """Add columns to the table; all may be NULL. Runs in the caller's transaction.

        Args:
            tx: The caller's transaction.
            names: Columns of `definition` that the table lacks; the database refuses others.
        """
        table = quote_identifier(tx, self.name)
        for name in names:
            column_type = self.definition.c[name].type.compile(tx.dialect)
            tx.execute(text(f"ALTER TABLE {table} ADD COLUMN {name} {column_type}"))

    def _add_indexes(self, tx: Connection, names: Sequence[str]) -> None:
        """Make an index for each of some columns, then the marker index if it is missing.

        If the database has an index of the new index's name (`findable_TABLE_COLUMN`), that index
        is dropped before. A spec without `marker_index` gets no marker index. Runs in the caller's
        transaction.

        Args:
            tx: The caller's transaction.
            names: The columns to index.
        """
        table = quote_identifier(tx, self.name)
        for name in names:
            index = quote_identifier(tx, self._index_name(name))
            # The index may be left from an earlier table of the same name.
            tx.execute(text(f"DROP INDEX IF EXISTS {index}"))
            tx.execute(text(f"CREATE INDEX {index} ON {table} ({name})"))

        if self.marker_index is not None:
            mark_name, mark_sql = self.marker_index
            tx.execute(text(f"CREATE INDEX IF NOT EXISTS {mark_name} ON {table} {mark_sql}"))

    def describe_adoption(self, tx: Connection) -> list[str]:
        """Return what `adopt` would add to an existing table, in at most one line; write nothing.

        The table must not be adopted yet. So if the spec has a `marker_index`, whose existence
        proves a complete adoption, the table always lacks at least this index. The line says "an
        index" even if several are missing.

        Returns:
            One line such as "the column tags, an index to `people`". An empty list if the table
            does not exist or lacks nothing.

        Raises:
            ConfigurationError: The table cannot be adopted.
        """
        columns = self._read_suitable_columns(tx)
        if not columns:
            return []

        additions = [f"the column {name}" for name in self.find_missing_columns(columns)]
        if self.marker_index is not None or self._unindexed_columns(tx, columns):
            additions.append("an index")
        if not additions:
            return []
        return [f"{', '.join(additions)} to `{self.name}`"]

    def make_server_definition(self, tx: Connection) -> Table:
        """Return the definition that the table of an SQLite file gets on a PostgreSQL server.

        Used to copy a workspace's SQLite file to a server. The result has the columns of
        `definition` that exist in the file, so it has no columns if the file lacks the table.
        Columns that only the file has are left out, and their values are not copied. The id and the
        column of `reference`, which contains ids of another table, become text unless they have an
        integer type in the file. Makes no table.
        """
        existing_columns = read_columns(tx, self.name)
        id_names = {"id"}
        if self.reference:
            id_names.add(self.reference[0])
        server_columns = list[Column[Any]]()
        for column in self.definition.columns:
            existing_column = existing_columns.get(column.name)
            if existing_column is not None:
                server_columns.append(
                    _make_server_column(
                        tx,
                        column,
                        existing_column,
                        is_id=column.name in id_names,
                    ),
                )
        return Table(self.name, MetaData(), *server_columns)

    def _read_suitable_columns(self, tx: Connection) -> ReflectedColumns:
        """Return the columns of the existing table after a check; empty if there is no table.

        Raises:
            ConfigurationError: The name belongs to a view or another object, a required column is
                missing, a column has an unsuitable type, or the spec's `check_suitability` refuses
                the table.
        """
        kind = read_object_kind(tx, self.name)
        if kind not in {None, "table"}:
            raise adoption_error(
                self.name,
                f"is no plain table ({kind})",
                hint=f"make it a table, or {self.alternative_hint}",
            )

        columns = read_columns(tx, self.name)
        if not columns:
            return {}

        missing_column = next((name for name in self.required_columns if name not in columns), None)
        if missing_column:
            raise adoption_error(
                self.name,
                f"has no `{missing_column}` column",
                hint=f"add it, or {self.alternative_hint}",
            )
        misfits = self._describe_misfits(tx, columns)
        if misfits:
            reason = f"has columns of unsuitable types: {', '.join(misfits)}"
            remedy = "create the table again" if is_sqlite(tx) else "ALTER TABLE … TYPE …"
            raise adoption_error(self.name, reason, hint=f"{remedy}, or {self.alternative_hint}")
        self.check_suitability(tx, columns)
        return columns

    def _describe_misfits(self, tx: Connection, columns: ReflectedColumns) -> list[str]:
        """Return for each column of an unsuitable type a phrase with its type and its need.

        Columns that the spec does not need are not checked, nor are missing columns.

        Args:
            tx: The transaction that read the columns; its dialect decides which types fit.
            columns: The existing columns of the table.
        """
        phrases: list[str] = []
        for name in self._checked_columns:
            column = columns.get(name)
            if column is None:
                continue
            need = self._find_unmet_need(tx, name, column)
            if need:
                type_note = describe_column_type(tx, column)
                phrases.append(f"`{column.name}`{type_note}, which must store {need}")
        return phrases

    def _find_unmet_need(self, tx: Connection, name: str, column: Column[Any]) -> str | None:
        """Return which values a column must store, but cannot; None if its type fits.

        The column of `reference` must store ids, either of the same kind as the other table's ids
        or as text. The need of another column is the entry of `column_needs`, else ids for the
        column `id`, whole numbers for an integer column of the definition, and text for all others.
        """
        reference_name, referred_ids = self.reference or ("", IdColumnFacts())
        if name == reference_name:
            is_id_column = ColumnNeed.ID.find_misfit(tx, column) is None
            kind = describe_id_column(tx, column).kind
            is_suitable = is_id_column and kind in {referred_ids.kind, "text"}
            return None if is_suitable else referred_ids.kind

        need = ColumnNeed.TEXT
        if name == "id":
            need = ColumnNeed.ID
        elif isinstance(self.definition.c[name].type, Integer):
            need = ColumnNeed.INTEGER
        return self.column_needs.get(name, need).find_misfit(tx, column)

    def _check_ids(self, tx: Connection) -> None:
        """Check that the rows' ids are present, different and not empty. Changes nothing.

        Raises:
            ConfigurationError: An id is missing, not unique or an empty text; on SQLite also if it
                is bytes or a floating-point number.
        """
        counting = select(func.count(), func.count(distinct(self.row_id))).select_from(
            self.definition,
        )
        count, distinct_count = tx.execute(counting).one()
        hint = "give each row a different id"
        if count != distinct_count:
            counts = f"{count - distinct_count:,} of {count:,}"
            raise adoption_error(
                self.name, f"has rows whose `id` is missing or repeated ({counts})", hint=hint
            )

        is_unusable = self.row_id == ""
        if is_sqlite(tx):
            is_unusable |= func.typeof(self.definition.c.id).in_(("blob", "real"))
        if has_row(tx, select(self.definition.c.id).where(is_unusable)):
            raise adoption_error(
                self.name,
                "has an `id` that is an empty text, bytes or a floating-point number",
                hint=hint,
            )


def _make_server_column(
    tx: Connection,
    column: Column[Any],
    existing_column: Column[Any],
    *,
    is_id: bool,
) -> Column[Any]:
    """Return the definition that a column of an SQLite file gets on a PostgreSQL server.

    An id column is BIGINT if the file's column stores whole numbers, else text; other columns have
    the type of `column`. Cells may be NULL if they may be NULL in the file and the column is no
    primary key. An identity is kept only if the file's column stores whole numbers.

    Args:
        tx: The transaction that reads the SQLite file.
        column: The column as findable makes it.
        existing_column: The reflected column of the SQLite file.
        is_id: The column contains ids, either of this table or of the table that it refers to.
    """
    is_integer = describe_id_column(tx, existing_column).kind == "whole numbers"
    column_type = column.type
    if is_id and is_integer:
        column_type = BigInteger()
    elif is_id:
        column_type = Text()
    identity = [Identity()] if column.identity is not None and is_integer else []

    return Column(
        column.name,
        column_type,
        *identity,
        primary_key=column.primary_key,
        nullable=existing_column.nullable and not column.primary_key,
        autoincrement=bool(identity),
    )


class TaskTables:
    """The tables of a task, which are made, adopted and moved to a server together."""

    def __init__(
        self,
        make_specs: Callable[[Connection, Settings], Sequence[TableSpec]],
        *,
        names: Collection[str],
    ) -> None:
        """Store the requirements, and register the names for reading all columns at once.

        Args:
            make_specs: Returns the requirements in a database. The marker index of the last table
                proves that all tables were adopted.
            names: Usual names of the tables.
        """
        self.make_specs = make_specs
        TASK_TABLE_NAMES.update(names)

    def adopt(self, tx: Connection, settings: Settings = DEFAULT_SETTINGS) -> list[str]:
        """Adopt all tables of the task: make each, or add the columns and indexes that it lacks.

        Runs in the caller's transaction. A second call changes nothing.

        Args:
            tx: The caller's transaction.
            settings: Settings that the requirements of the tables depend on.

        Returns:
            A line for the user on each existing table that was adopted for the first time or got
            new columns. New tables have no line.

        Raises:
            ConfigurationError: A table cannot be adopted. The caller must roll back.
        """
        specs = self.make_specs(tx, settings)
        is_first = not specs[-1].is_marked(tx)
        lines: list[str] = []
        for spec in specs:
            lines += spec.adopt(tx, is_first=is_first)
        return lines

    def adoption_plan(self, tx: Connection, settings: Settings = DEFAULT_SETTINGS) -> list[str]:
        """Return what `adopt` would add to existing tables, in one line per table. Writes nothing.

        Returns:
            A line for each existing table that lacks something. Empty if there is no such table, or
            if the tables are adopted, see `is_adopted`.

        Raises:
            ConfigurationError: A table cannot be adopted.
        """
        # Subclasses also check their views. A view that is made again is not another program's.
        if TaskTables.is_adopted(self, tx, settings):
            return []

        lines: list[str] = []
        for spec in self.make_specs(tx, settings):
            lines += spec.describe_adoption(tx)
        return lines

    def is_adopted(self, tx: Connection, settings: Settings = DEFAULT_SETTINGS) -> bool:
        """Return whether the tables are marked as adopted, and are complete.

        The time does not depend on the number of rows.
        """
        specs = self.make_specs(tx, settings)
        if not specs[-1].is_marked(tx):
            return False
        return all(spec.is_complete(tx) for spec in specs)

    def find_missing_parts(
        self,
        tx: Connection,
        settings: Settings = DEFAULT_SETTINGS,
    ) -> list[str]:
        """Return the missing tables and columns of adopted tables, as phrases; write nothing."""
        missing_parts = list[str]()
        for spec in self.make_specs(tx, settings):
            columns = read_columns(tx, spec.name)
            if columns:
                missing_columns = spec.find_missing_columns(columns)
                missing_parts += [f"the column {spec.name}.{name}" for name in missing_columns]
            else:
                missing_parts.append(f"the table {spec.name}")
        return missing_parts

    def list_made_columns(
        self,
        tx: Connection,
        settings: Settings = DEFAULT_SETTINGS,
    ) -> dict[str, tuple[str, ...]]:
        """Return the column names of each table that `adopt` makes if it is missing, by table."""
        return {
            spec.name: tuple(spec.definition.c.keys()) for spec in self.make_specs(tx, settings)
        }

    def list_server_tables(
        self,
        tx: Connection,
        settings: Settings = DEFAULT_SETTINGS,
    ) -> list[Table]:
        """Return a server's definitions of all tables; see `TableSpec.make_server_definition`."""
        return [spec.make_server_definition(tx) for spec in self.make_specs(tx, settings)]
