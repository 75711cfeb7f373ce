"""Make a table, or adopt one that another program made, by what a subject says of it in a `TableSpec`.

No cell that is there changes, and doing it again changes nothing. The other program may go on using the table. Its ids
stay what they are there and are text for the engine: a CAST reads them, and a text that is bound takes its type from
the column. SQLite's names know no case. Tables are named by the plain name; PostgreSQL finds it by its search path.
"""

import re
import string
import threading
import uuid
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar

from sqlalchemy import (
    NUMERIC,
    BigInteger,
    Column,
    ColumnElement,
    Computed,
    Connection,
    DefaultClause,
    Identity,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    Uuid,
    cast,
    distinct,
    exc,
    func,
    inspect,
    literal,
    select,
    text,
)
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.engine.reflection import Inspector, ObjectKind, ObjectScope
from sqlalchemy.types import NullType

from pipeline.core.errors import ConfigurationError
from pipeline.core.settings import Settings
from pipeline.store.database import cached_in_snapshot, describe_error
from pipeline.store.schema import has_index

Row = TypeVar("Row", bound=Sequence[Any])
Columns = Mapping[str, Column[Any]]
DEFAULTS = Settings()
_LOWER = str.maketrans(
    string.ascii_uppercase, string.ascii_lowercase
)  # names of SQLite know no case of these
_QUIET = threading.Lock()  # what warnings are shown is one thing for all threads
_SERVER_KINDS = {"r": "table", "p": "table", "v": "view", "m": "view"}
_KIND_HERE = text(
    "SELECT type FROM pragma_table_list WHERE schema = 'main' AND lower(name) = lower(:table)"
)
_KIND_THERE = text("SELECT relkind::text FROM pg_class WHERE oid = to_regclass(:table)")
_MADE = text(
    "SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'view') AND lower(name) = lower(:table)"
)
_WHOLE = re.compile(
    r"0|-?[1-9][0-9]{0,18}"
)  # as a database gives it back: no sign of plus, no leading zeros
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_PLACES = 3  # of a confidence
_MISMATCH = "foreign key mismatch"  # SQLite's words where a table refers to no key
_RAISED = "P0"  # how the SQLSTATE begins of what a trigger raises
_GENERATED = "428C9"  # SQLSTATE: the column takes no value but those that the database gives it
# Names of the tables of subjects: a server takes 5 ms of processor time for a look at columns, of however many tables.
_SUBJECT_TABLES = set[str]()


def is_sqlite(tx: Connection) -> bool:
    """Return whether the database is an SQLite file."""
    return tx.dialect.name == "sqlite"


def quoted(tx: Connection, name: str) -> str:
    """Return the name of a table or a column for SQL."""
    return tx.dialect.identifier_preparer.quote(name)


def folded(tx: Connection, column: str) -> str:
    """Return the name of a column as `columns_of` has it."""
    return (
        column.translate(_LOWER) if is_sqlite(tx) else str(column)
    )  # reflected, it may be a kind of its own


@cached_in_snapshot
def kind_of(tx: Connection, table: str, schema: str | None = None) -> str | None:
    """Return "table", "view", "virtual", or another word for what is no table; None where there is nothing."""
    if is_sqlite(tx):
        return None if schema else tx.execute(_KIND_HERE, {"table": table}).scalar()
    name = ".".join(quoted(tx, part) for part in (schema, table) if part)
    kind: str | None = tx.execute(_KIND_THERE, {"table": name}).scalar()
    return _SERVER_KINDS.get(str(kind), kind)


@cached_in_snapshot
def columns_of(tx: Connection, table: str, schema: str | None = None) -> dict[str, Column[Any]]:
    """Return the columns of a table by name, in their order; SQLite's in lower case. Empty where there is none."""
    name = tx.execute(_MADE, {"table": table}).scalar() if is_sqlite(tx) else table
    if name is None:
        return {}

    try:
        # warnings of types that SQLAlchemy does not know
        with _QUIET, warnings.catch_warnings(action="ignore", category=exc.SAWarning):
            if is_sqlite(tx):
                reflected_columns = _inspector(tx).get_columns(name)
            else:
                is_subject = schema is None and name in _SUBJECT_TABLES
                together = frozenset(_SUBJECT_TABLES) if is_subject else frozenset({name})
                reflected_columns = _server_columns(tx, together, schema).get(name, [])
    except exc.NoSuchTableError:
        return {}

    # keys and indexes are read when somebody asks for them: a server answers several queries for these alone
    table_here = Table(name, MetaData(), *map(_column_of, reflected_columns), schema=schema)
    return {folded(tx, column.name): column for column in table_here.columns}


@cached_in_snapshot
def _server_columns(
    tx: Connection, tables: frozenset[str], schema: str | None
) -> dict[str, list[ReflectedColumn]]:
    """Return the columns of those of some tables or views of a server that are there, by its name."""
    reflected = _inspector(tx).get_multi_columns(
        schema=schema, filter_names=sorted(tables), kind=ObjectKind.ANY, scope=ObjectScope.ANY
    )
    return {name: columns for (_, name), columns in reflected.items()}


@cached_in_snapshot
def _inspector(tx: Connection) -> Inspector:
    """Return what reads the catalogue, and knows what it has read."""
    return inspect(tx)


def _column_of(reflected: ReflectedColumn) -> Column[Any]:
    """Build a column from a reflected one, with its default, computed value or identity."""
    sources: list[Any] = []
    if reflected["default"] is not None:
        sources.append(DefaultClause(text(reflected["default"])))
    if "computed" in reflected:
        sources.append(Computed(**reflected["computed"]))
    if "identity" in reflected:
        sources.append(Identity(**reflected["identity"]))
    return Column(reflected["name"], reflected["type"], *sources, nullable=reflected["nullable"])


def is_found_by(tx: Connection, column: Column[Any]) -> bool:
    """Return whether a key or an index of a reflected table finds rows by a column without reading the table."""
    return any(one[:1] == [column.name] for one in _keys(tx, column.table, unique=False))


def unique_keys(tx: Connection, table: Table) -> list[set[str]]:
    """Return the names of the columns of each key that no two rows of a reflected table may share.

    Those of an expression, or that hold for some rows only, are left out: no row is told by them.
    """
    return [{folded(tx, one) for one in key} for key in _keys(tx, table, unique=True)]


def _keys(tx: Connection, table: Table, *, unique: bool) -> Iterator[list[str]]:
    """Yield the names of the columns of each key or index, of which the catalogue is asked when they are wanted."""
    inspector = _inspector(tx)
    name = str.__str__(
        table.name
    )  # as `columns_of` asks: the inspector keeps its answers by the kind of a name, too
    primary_key = inspector.get_pk_constraint(name, table.schema)["constrained_columns"]
    if primary_key:
        yield primary_key

    # warnings of indexes of expressions
    with _QUIET, warnings.catch_warnings(action="ignore", category=exc.SAWarning):
        constraints = inspector.get_unique_constraints(name, table.schema)
        indexes = inspector.get_indexes(name, table.schema)
    for constraint in constraints:
        yield constraint["column_names"]
    for index in indexes:
        names = [column for column in index["column_names"] if column is not None]
        is_partial = f"{tx.dialect.name}_where" in index.get("dialect_options", {})
        is_whole = not is_partial and len(names) == len(index["column_names"])
        if is_whole and (index["unique"] or not unique):
            yield names


_TEXTS = ("TEXT", "VARCHAR")
_WHOLES = ("SMALLINT", "INTEGER", "BIGINT")
_REALS = ("REAL", "DOUBLE_PRECISION")


class ColumnNeed(Enum):
    """What a column must be able to hold, in words, and the types of a server that do; SQLite's take all but ids.

    Every other type of a server is refused: domains, enums, arrays, and what fills texts up with blanks.
    """

    ID = "text, whole numbers or UUIDs", (*_TEXTS, *_WHOLES, "UUID")
    NAME = "text that is not filled up with blanks, such as VARCHAR", _TEXTS
    TEXT = "text", (*_TEXTS, "CHAR")
    NUMBER = "numbers or text", ("NUMERIC", *_REALS, *_WHOLES, *_TEXTS)
    SHARE = f"numbers from 0 to 1 with {_PLACES} places or more", ("NUMERIC", *_REALS)
    REAL = "double precision", ("DOUBLE_PRECISION",)
    INTEGER = "whole numbers", _WHOLES
    JSON = "JSON or text", ("JSON", "JSONB", *_TEXTS)
    TIME = "times or text", ("TIMESTAMP", *_TEXTS)
    DATE = "dates or text", ("DATE", *_TEXTS)
    BOOLEAN = "true and false", ("BOOLEAN",)

    def misfit(self, tx: Connection, one: Column[Any]) -> str | None:
        """Return what a reflected column would have to hold instead; None where a value comes back from it the same."""
        if one.computed is not None:
            return "values of its own, not computed ones"
        if is_sqlite(tx):
            takes = self is not ColumnNeed.ID or isinstance(one.type, String | Integer | NUMERIC)
        else:
            takes = one.type.__visit_name__ in self.value[1]
        if takes and self is ColumnNeed.SHARE and not is_sqlite(tx):
            places = getattr(one.type, "scale", None)
            takes = places is None or _PLACES <= places < (
                getattr(one.type, "precision", None) or 0
            )
        return None if takes else str(self.value[0])


@dataclass(frozen=True)
class IdColumnFacts:
    """What ids a column holds: "text", "whole numbers" or "UUIDs", the largest number, the most characters.

    A server's column is `typed`, and holds nothing else; one of SQLite may hold text beside numbers.
    """

    kind: str = "text"
    largest: int = 2**63 - 1
    length: int | None = None
    typed: bool = False

    def key(self, value: str) -> str | None:
        """Return an id as the column gives it back; None where it does not fit in."""
        if self.kind == "whole numbers":
            is_one = _WHOLE.fullmatch(value) and -self.largest - 1 <= int(value) <= self.largest
            return value if is_one else None
        if self.kind == "UUIDs":
            return str(uuid.UUID(value)) if _UUID.fullmatch(value) else None
        return value if self.length is None or len(value) <= self.length else None

    def native(self, ids: Iterable[str]) -> list[str]:
        """Return those of some ids that the column can be asked for."""
        return [one for one in ids if not self.typed or self.key(one) is not None]


def ids_in(tx: Connection, own: Column[Any] | None) -> IdColumnFacts:
    """Return which ids a reflected column holds; text where it is not there."""
    kind = None if own is None else own.type
    typed = not is_sqlite(tx)
    if isinstance(kind, Uuid):
        return IdColumnFacts("UUIDs", typed=typed)
    if isinstance(kind, Integer):
        bits = (
            15
            if isinstance(kind, SmallInteger)
            else 63
            if isinstance(kind, BigInteger) or not typed
            else 31
        )
        return IdColumnFacts("whole numbers", 2**bits - 1, typed=typed)
    return IdColumnFacts(length=getattr(kind, "length", None) if typed else None, typed=typed)


def new_ids(
    tx: Connection, own: Column[Any], wanted: int, *, above: Callable[[], int] = lambda: 0
) -> Sequence[int | str] | None:
    """Return ids for new rows of a reflected table: UUIDs where ids are text, else numbers that none ever had.

    None where the database gives such. `above` finds the highest number that a row ever had, where those that are there
    do not tell.
    """
    counts = ids_in(tx, own).kind == "whole numbers"
    newest = None
    if counts:
        made = tx.execute(_MADE, {"table": own.table.name}).first() if is_sqlite(tx) else None
        if own.server_default is not None or "AUTOINCREMENT" in str(made and made.sql).upper():
            return None
        newest = tx.execute(select(func.max(own))).scalar()
    if not counts or isinstance(newest, str):
        return [str(uuid.uuid4()) for _ in range(wanted)]
    first = max(int(newest or 0), above()) + 1
    return range(first, first + wanted)


def for_nothing(found: Columns, names: Iterable[str]) -> dict[str, Any]:
    """Return what stands for nothing in those of some columns that take no NULL: the empty text, or 0."""
    return {
        name: "" if isinstance(found[name].type, String) else 0
        for name in names
        if not found[name].nullable
    }


@dataclass(frozen=True, kw_only=True)
class TableSpec:
    """What a subject needs of a table.

    `made` is the table as findable makes it; its columns are added to one that lacks them where `adds`, but for those
    that it `needs`. `holds` says what columns must hold where that does not follow from their types; `refers` names one
    with the ids of another table. Indexes are added for the columns in `found_by`; an id among them must tell rows
    apart, and be no empty text. `mark` is the name and the rest of an index that is made last: where it is, the table
    was adopted. `refuses` raises where something else stands against the table. `elsewhere` is a way out.
    """

    made: Table
    needs: tuple[str, ...]
    holds: Mapping[str, ColumnNeed] = field(default_factory=dict)
    elsewhere: object = "use another database"
    adds: bool = False
    found_by: tuple[str, ...] = ()
    mark: tuple[str, str] | None = None
    refers: tuple[str, IdColumnFacts] | None = None
    refuses: Callable[[Connection, Columns], None] = field(default=lambda _tx, _columns: None)

    @property
    def name(self) -> str:
        """Return the table's name."""
        return self.made.name

    @property
    def item_id(self) -> ColumnElement[str]:
        """Return a row's id as text."""
        return cast(self.made.c.id, Text)

    @property
    def _wanted(self) -> Sequence[str]:
        return self.made.c.keys() if self.adds else self.needs

    def _missing(self, found: Columns) -> list[str]:
        return [name for name in self._wanted if name not in found]

    def _unfound(self, tx: Connection, found: Columns) -> list[str]:
        """Return by which columns no row is found without reading the table."""
        return [
            name for name in self.found_by if name not in found or not is_found_by(tx, found[name])
        ]

    def _index(self, name: str) -> str:
        return f"findable_{self.name}_{name}"

    def is_marked(self, tx: Connection) -> bool:
        """Return whether a table with a mark was adopted."""
        return self.mark is not None and has_index(tx, self.name, self.mark[0])

    def is_whole(self, tx: Connection) -> bool:
        """Return whether the table has all that is added to it, and columns that hold what they must."""
        found = columns_of(tx, self.name)
        return bool(found) and not (
            self._missing(found) or self._unfound(tx, found) or self._misfits(tx, found)
        )

    def adopt(self, tx: Connection, *, first: bool) -> list[str]:
        """Make the table, or add to an existing one what it lacks; `first`: its ids were not looked at before.

        Return a line on what was done to one that is adopted. Nothing is changed, and ConfigurationError says so, where
        what has its name cannot be.
        """
        found = self._judged(tx)
        table = quoted(tx, self.name)
        added, unfound = (self._missing(found), self._unfound(tx, found)) if found else ([], [])
        if not found:
            self.made.create(tx)
        try:
            for name in added:
                kind = self.made.c[name].type.compile(tx.dialect)
                tx.execute(text(f"ALTER TABLE {table} ADD COLUMN {name} {kind}"))
            if "id" in added:
                tx.execute(
                    text(f"CREATE UNIQUE INDEX {quoted(tx, self._index('own_id'))} ON {table} (id)")
                )
            if found and "id" in self.found_by and (first or self.adds or unfound):
                self._settle_ids(tx)
            for name in unfound:
                index = quoted(tx, self._index(name))
                tx.execute(text(f"DROP INDEX IF EXISTS {index}"))  # of a table of this name before
                tx.execute(text(f"CREATE INDEX {index} ON {table} ({name})"))
            if self.mark is not None:
                tx.execute(
                    text(f"CREATE INDEX IF NOT EXISTS {self.mark[0]} ON {table} {self.mark[1]}")
                )
        except exc.DBAPIError as error:
            why = f"cannot be adopted: {describe_error(error)}"
            raise unfit(
                self.name, why, hint=f"make it a plain table, or {self.elsewhere}"
            ) from error
        if not found or not (first or added):
            return []
        count = tx.execute(select(func.count()).select_from(self.made)).scalar_one()
        said = f"adopted the {self.name} table ({count:,} {'row' if count == 1 else 'rows'})"
        return [said + (f": added {', '.join(added)}" if added else "")]

    def planned(self, tx: Connection) -> list[str]:
        """Return what `adopt` would add to a table that another program made, and raise as it; nothing without one."""
        if not (found := self._judged(tx)):
            return []
        missing = self._missing(found)
        columns = (
            f"the {'column' if len(missing) == 1 else 'columns'} {', '.join(missing)}"
            if missing
            else ""
        )
        index = "an index" if self.mark is not None or self._unfound(tx, found) else ""
        added = " and ".join(filter(None, (columns, index)))
        return [f"{added} to `{self.name}`"] if added else []

    def as_moved(self, tx: Connection) -> Table:
        """Return a table of an SQLite file as it is to be on a server: those of our columns that are there.

        Ids that are no whole numbers become text.
        """
        found = columns_of(tx, self.name)
        columns = list[Column[Any]]()
        ids = {"id", self.refers[0] if self.refers else "id"}
        for one in (one for one in self.made.columns if one.name in found):
            there = found[one.name]
            is_key = one.primary_key
            is_whole = ids_in(tx, there).kind == "whole numbers"
            kind = one.type if one.name not in ids else BigInteger() if is_whole else Text()
            counts = [Identity()] if one.identity is not None and is_whole else []
            how: dict[str, Any] = {
                "nullable": there.nullable and not is_key,
                "autoincrement": bool(counts),
            }
            columns.append(Column(one.name, kind, *counts, primary_key=is_key, **how))
        return Table(self.name, MetaData(), *columns)

    def _judged(self, tx: Connection) -> Columns:
        if (kind := kind_of(tx, self.name)) not in {None, "table"}:
            why = (
                f"is a {kind}{' table' * (kind == 'virtual')} here"
                if kind in {"view", "virtual"}
                else "is no table"
            )
            raise unfit(self.name, why, hint=f"make it a table, or {self.elsewhere}")
        if not (found := columns_of(tx, self.name)):
            return {}
        if lacking := next((name for name in self.needs if name not in found), None):
            raise unfit(
                self.name, f"has no `{lacking}` column", hint=f"add it, or {self.elsewhere}"
            )
        if wrong := self._misfits(tx, found):
            mended = "make the table anew" if is_sqlite(tx) else "ALTER TABLE … TYPE …"
            why = f"has columns of other types: {', '.join(wrong)}"
            raise unfit(self.name, why, hint=f"{mended}, or {self.elsewhere}")
        self.refuses(tx, found)
        return found

    def _misfits(self, tx: Connection, found: Columns) -> list[str]:
        """Return which of the columns hold something else, and what they must hold, in words."""
        name, ids = self.refers or ("", IdColumnFacts())
        wrong = {
            one: self._holds(one).misfit(tx, found[one])
            for one in self._wanted
            if one in found and one != name
        }
        if (own := found.get(name)) is not None:
            fits = ColumnNeed.ID.misfit(tx, own) is None and ids_in(tx, own).kind in {
                ids.kind,
                "text",
            }
            wrong[name] = None if fits else ids.kind
        kinds = {one: found[one].type for one, must in wrong.items() if must}
        told = {
            one: "" if isinstance(kind, NullType) else f" ({kind.compile(tx.dialect).lower()})"
            for one, kind in kinds.items()
        }
        return [
            f"`{found[one].name}`{kind}, which must hold {wrong[one]}" for one, kind in told.items()
        ]

    def _holds(self, name: str) -> ColumnNeed:
        usual = (
            ColumnNeed.INTEGER if isinstance(self.made.c[name].type, Integer) else ColumnNeed.TEXT
        )
        return self.holds.get(name, ColumnNeed.ID if name == "id" else usual)

    def _settle_ids(self, tx: Connection) -> None:
        """Number rows without an id where SQLite has ids of findable's; check that ids are unique and come back."""
        own = self.made.c.id
        table = quoted(tx, self.name)
        if is_sqlite(tx) and has_index(tx, self.name, self._index("own_id")):
            newest = tx.execute(select(func.max(own))).scalar() or 0
            waiting = f"SELECT rowid AS at, row_number() OVER (ORDER BY rowid) AS place FROM {table} WHERE id IS NULL"  # noqa: S608 - quoted
            numbered = f"UPDATE {table} SET id = {newest} + place FROM ({waiting}) WHERE {table}.rowid = at"  # noqa: S608
            try:
                with tx.begin_nested():
                    tx.execute(text(numbered))
            except exc.IntegrityError:
                rowids = tx.execute(text(f"SELECT rowid FROM {table} WHERE id IS NULL"))  # noqa: S608
                number = text(f"UPDATE {table} SET id = rowid WHERE rowid = :rowid")  # noqa: S608
                for rowid in rowids.all():
                    write_each(
                        tx, self.name, [rowid], lambda rows: tx.execute(number, rows[0]._asdict())
                    )
                raise
        counted = select(func.count(), func.count(distinct(self.item_id))).select_from(self.made)
        count, apart = tx.execute(counted).one()
        hint = "give every row an id of its own"
        if count != apart:
            why = f"has rows whose `id` is missing or not theirs alone ({count - apart:,} of {count:,})"
            raise unfit(self.name, why, hint=hint)
        if is_sqlite(tx) and self._has(tx, func.typeof(own).in_(("blob", "real"))):
            why = "has ids that are bytes or floating-point numbers"
            raise unfit(self.name, why, hint="use ids that are whole numbers or text")
        if self._has(tx, self.item_id == ""):
            raise unfit(self.name, "has a row whose `id` is an empty text", hint=hint)

    def _has(self, tx: Connection, condition: ColumnElement[bool]) -> bool:
        return (
            tx.execute(select(literal(1)).select_from(self.made).where(condition).limit(1)).first()
            is not None
        )


class TaskTables:
    """The tables of a subject, which are made, adopted and moved together.

    `specs` says what is needed of them in a database; the last one's mark tells that all were adopted. `names` are the
    usual names of the tables.
    """

    def __init__(
        self,
        specs: Callable[[Connection, Settings], Sequence[TableSpec]],
        *,
        names: Collection[str],
    ) -> None:
        self.specs = specs
        _SUBJECT_TABLES.update(names)

    def adopt(self, tx: Connection, settings: Settings = DEFAULTS) -> list[str]:
        """Make the tables, or add to existing ones what they lack; return a line for each thing done to old ones.

        Doing it again changes nothing. ConfigurationError where what has the name of one cannot be adopted; nothing was
        changed.
        """
        specs = self.specs(tx, settings)
        first = not specs[-1].is_marked(tx)
        return [line for one in specs for line in one.adopt(tx, first=first)]

    def adoption_plan(self, tx: Connection, settings: Settings = DEFAULTS) -> list[str]:
        """Return what would be added to tables of another program, in words; nothing where they were adopted."""
        if TaskTables.is_adopted(
            self, tx, settings
        ):  # a view that is made anew is no other program's
            return []
        return [line for one in self.specs(tx, settings) for line in one.planned(tx)]

    def is_adopted(self, tx: Connection, settings: Settings = DEFAULTS) -> bool:
        """Return whether `adopt` would find nothing to do; as quick for a million rows as for one."""
        specs = self.specs(tx, settings)
        return specs[-1].is_marked(tx) and all(one.is_whole(tx) for one in specs)

    def makes(self, tx: Connection, settings: Settings = DEFAULTS) -> dict[str, tuple[str, ...]]:
        """Return each table that `adopt` makes where there is none, with its columns; a view has none here."""
        return {one.name: tuple(one.made.c.keys()) for one in self.specs(tx, settings)}

    def moved(self, tx: Connection, settings: Settings = DEFAULTS) -> list[Table]:
        """Return the tables of an SQLite file as they are to be on a server; see `TableSpec.as_moved`."""
        return [one.as_moved(tx) for one in self.specs(tx, settings)]


def unfit(name: str, why: str, *, hint: str) -> ConfigurationError:
    """Return the error for a table that cannot be adopted."""
    return ConfigurationError(f"`{name}` in this database {why}; nothing was changed", hint=hint)


def write_each(
    tx: Connection,
    table: str,
    rows: Sequence[Row],
    write: Callable[[Sequence[Row]], object],
) -> None:
    """Write rows of a table; the last cell of each is what a message calls it.

    Raises:
        ConfigurationError: A rule of the table's owner stops a row, such as a trigger that raises.
    """
    try:
        with tx.begin_nested():
            write(rows)
    except exc.DBAPIError as error:
        if not is_refusal(error):
            raise
        if len(rows) == 1:
            reason = f"refuses a change of its row {rows[0][-1]}: {describe_error(error)}"
            hint = "mend this row, or the rule or trigger that stops it, then run the same command again"
            raise unfit(table, reason, hint=hint) from error
        for row in rows:
            write_each(tx, table, [row], write)


def is_refusal(error: exc.DBAPIError) -> bool:
    """Return whether a rule of the table's owner stopped a statement: a constraint, a type, or a trigger."""
    state = str(getattr(error.orig, "sqlstate", ""))
    is_rule = (
        isinstance(error, exc.IntegrityError | exc.DataError)
        or state.startswith(_RAISED)
        or state == _GENERATED
    )
    return is_rule or _MISMATCH in str(error.orig)


def check_demands(name: str, found: Columns, *, known: Collection[str]) -> None:
    """Raise ConfigurationError where a row needs a column that is not written."""
    demanding = (one for key, one in found.items() if key not in known and not one.nullable)
    if unknown := [f"`{one.name}`" for one in demanding if one.server_default is None]:
        why = f"demands columns that are not ours: {', '.join(unknown)}"
        raise unfit(name, why, hint="give them defaults, or let them be NULL")
