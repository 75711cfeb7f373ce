"""The tables of the engine, under a schema number of their own, made by whichever command comes first.

All are named `findable_…`, so that they fit into another program's database; what the subjects need is added to the
tables of that program in the same transaction.
"""

import secrets
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    REAL,
    BigInteger,
    Boolean,
    Column,
    Connection,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    TypeDecorator,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.types import TypeEngine, UserDefinedType

from pipeline.core.errors import InconsistentError
from pipeline.store.database import Store

BigId = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up by itself only for INTEGER PRIMARY KEY
NUMBER = Float().with_variant(REAL(), "sqlite")  # REAL is the one name that STRICT tables take


class UtcTime(TypeDecorator[datetime]):
    """An aware UTC time, also on SQLite, which keeps no zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:  # noqa: ARG002 - theirs
        """Refuse naive times and turn aware ones to UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("naive time")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - theirs
        """Give SQLite's naive times their zone back."""
        return None if value is None else in_utc(value)


class IsoTime(UtcTime):
    """An aware UTC time in a subject's table: ISO 8601 text on SQLite, whatever the column of another program.

    A time without a zone is UTC, and a cell that tells no time is None.
    """

    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return what the database has for it."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Return what the column takes; refuse naive times."""
        moment = super().process_bind_param(value, dialect)
        return moment.isoformat(" ") if moment is not None and dialect.name == "sqlite" else moment

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - theirs
        """Return the time that a cell tells."""
        return value if value is None else time_of(value)


def in_utc(moment: datetime) -> datetime:
    """Return a time in UTC, which it is in where it has no zone."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def time_of(cell: Any) -> datetime | None:
    """Return the time that a cell tells, in UTC; None where it tells none."""
    try:
        return in_utc(cell if isinstance(cell, datetime) else datetime.fromisoformat(str(cell).strip()))
    except (ValueError, OverflowError):
        return None


class AsTheColumn(UserDefinedType[Any]):
    """A value that takes its type from where it stands; PostgreSQL's driver passes it on without a cast."""

    cache_ok = True

    def __init__(self, declared: str = "TEXT") -> None:
        """Take the name under which a column of this type is made."""
        self.declared = declared

    def get_col_spec(self, **_: Any) -> str:
        """Return the type's name in SQL."""
        return self.declared


metadata = MetaData()


workspace = Table(
    "findable_workspace",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),  # always 1
    Column("schema", Text, nullable=False),  # its number
    Column("workspace_id", Text, nullable=False),
    Column("backend", Text),  # bound by the first batch, answer or vector
    Column("position", BigInteger, nullable=False, server_default=text("0")),  # grows with every change of a subject
    # JSON: the position at which the items of each task changed last; an index read before is behind
    Column("changes", Text, nullable=False, server_default=text("'{}'")),
    Column("created_at", UtcTime, nullable=False),
)

batches = Table(
    "findable_batches",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("task", Text, nullable=False),
    Column("extractor", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("way", Text, nullable=False),  # who answers: batch, live, or trial, of which nothing is kept but the cost
    Column("run", Integer),  # of a live one the first of its run; NULL where it was asked by itself
    Column("state", Text, nullable=False, index=True),
    Column("reason", Text),
    Column("created_at", UtcTime, nullable=False),
    # the request file
    Column("requests", Integer, nullable=False),
    Column("request_file", Text, nullable=False),  # relative to the workspace
    Column("request_sha256", Text, nullable=False),
    Column("request_size", BigInteger, nullable=False),
    Column("estimated_in", BigInteger, nullable=False),
    Column("estimated_out", BigInteger, nullable=False),
    Column("estimated_cost", Float, nullable=False),
    Column("priced_on", Text, nullable=False),
    # at the API
    Column("upload", Text),
    Column("uploaded_at", UtcTime),
    Column("tries", Integer, nullable=False, server_default=text("0")),
    Column("refusals", Integer, nullable=False, server_default=text("0")),
    Column("create_sent_at", UtcTime),
    Column("create_ended_at", UtcTime),  # NULL when the end of the create call was not seen
    Column("remote_name", Text),
    Column("remote_word", Text),
    Column("remote_done", Integer),
    Column("submitted_at", UtcTime),
    Column("cancel_asked_at", UtcTime),
    Column("over_at", UtcTime),
    Column("twins_checked", Boolean, nullable=False, server_default=text("false")),
    # our own calls: the day of their quota (US/Pacific), how many count towards it, and how long replies took in all
    Column("day", Text),
    Column("calls", Integer, nullable=False, server_default=text("0")),
    Column("seconds", Float, nullable=False, server_default=text("0")),
    # the result file
    Column("result_file", Text),
    Column("result_sha256", Text),
    Column("result_size", BigInteger),
    Column("counted_in", BigInteger),  # prompt tokens as counted from the text, before calibration
    Column("fingerprint", Text),  # of the declaration it was asked with; NULL where the task is built in
    # what it came to, with its end; of a failed one only when that was
    *(Column(outcome, Integer) for outcome in ("answered", "refused", "invalid", "missing")),
    *(Column(fault, Integer) for fault in ("not_applied", "unknown", "duplicates", "unreadable")),
    *(Column(counted, BigInteger) for counted in ("tokens_in", "tokens_out")),
    Column("cost", Float),
    Column("ended_at", UtcTime),
)

# every create that was sent, and every remote batch of ours that was found beside the adopted one
creates = Table(
    "findable_creates",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("batch", ForeignKey("findable_batches.number"), nullable=False, index=True),
    Column("display_name", Text, nullable=False, index=True),
    Column("try", Integer),  # NULL of a duplicate
    Column("sent_at", UtcTime),
    Column("outcome", Text, nullable=False),  # sent, refused, not sent, unclear, created, adopted, absent; duplicate
    Column("note", Text),
    # of a duplicate
    Column("remote_name", Text, unique=True),
    Column("estimated_cost", Float),
    Column("found_at", UtcTime),
    Column("cancelled_at", UtcTime),
)

asks = Table(
    "findable_asks",
    metadata,
    Column("task", Text, nullable=False),
    Column("item_id", Text, nullable=False),
    Column("extractor", Text, nullable=False),  # label/model; empty: every version
    Column("state", Text, nullable=False),  # claimed, answered, parked; in no index, which every move would write anew
    Column("batch", ForeignKey("findable_batches.number")),  # NULL of what was told by an equal row
    Column("line", Integer),  # in its request file, from 1
    Column("input_hash", Text, nullable=False),
    Column("reason", Text),  # it is parked
    Column("at", UtcTime, nullable=False),
    # one ask a row under a version: this key is what lets nothing be asked, and paid for, twice. The row comes before
    # the version, because each look for open rows is by row
    PrimaryKeyConstraint("task", "item_id", "extractor"),
    Index("findable_asks_of_batch", "batch", "line"),
    Index("findable_asks_of_version", "task", "extractor", "input_hash"),
)

attempts = Table(
    "findable_attempts",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("task", Text, nullable=False),
    Column("item_id", Text, nullable=False),
    Column("extractor", Text, nullable=False),
    Column("batch", ForeignKey("findable_batches.number"), index=True),  # NULL: told by an equal row, or due
    Column("line", Integer),
    Column("at", UtcTime, nullable=False),
    Column("charged", Boolean, nullable=False),  # to the item; false when the service failed
    Column("forgiven", Boolean, nullable=False, server_default=text("false")),
    Column("outcome", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("code", Integer),
    Column("excerpt", Text),
    Column("tokens_in", Integer, nullable=False, server_default=text("0")),
    Column("tokens_out", Integer, nullable=False, server_default=text("0")),
    Column("cost", Float, nullable=False, server_default=text("0")),
    Index("findable_attempts_of_item", "task", "item_id"),
)

# the rows of tasks that users declare, as their sources were last read
rows = Table(
    "findable_rows",
    metadata,
    Column("task", Text, primary_key=True),
    Column("item_id", Text, primary_key=True),
    Column("n", BigInteger, nullable=False),  # the order of first sight
    Column("row", Text, nullable=False),  # JSON: its values by column, without those that are none
    Column("input_hash", Text, nullable=False),  # of what is asked about
    Column("is_empty", Boolean, nullable=False),  # that is blank, or what must be quoted
    Column("gone_at", UtcTime),  # vanished from the source
    Column("changed_at", UtcTime),  # when the hash last changed
    # where it has images: what a look at them saw (JSON), and why it cannot be asked about with them
    Column("seen", Text),
    Column("unusable", Text),
    Index("findable_rows_in_order", "task", "n"),
    Index("findable_rows_of_input", "task", "input_hash"),
)

answers = Table(
    "findable_answers",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("task", Text, nullable=False),
    Column("item_id", Text, nullable=False),
    Column("batch", ForeignKey("findable_batches.number"), index=True),  # NULL: told by an equal row, or due
    Column("line", Integer),  # in its request file, from 1
    Column("extractor", Text, nullable=False),
    Column("input_hash", Text, nullable=False),
    Column("answer", Text, nullable=False),  # JSON
    Column("applied", Boolean, nullable=False),
    Column("outdated", Boolean, nullable=False, server_default=text("false")),  # the input had changed meanwhile
    Column("model_version", Text, nullable=False),
    Column("response_id", Text, nullable=False),
    Column("tokens_in", Integer, nullable=False),
    Column("tokens_out", Integer, nullable=False),
    Column("cost", Float, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("fingerprint", Text),
    # of what a person wrote in the place of an answer, which is one of the extractor `person`
    Column("who", Text),
    Column("before", Text),  # JSON as of an answer: what stood there
    Column("undoes", Integer),  # the number of an earlier edit of the item, from 1
    Index("findable_answers_of_item", "task", "item_id"),
)

builds = Table(
    "findable_builds",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("count", Integer, nullable=False),
    Column("model", Text, nullable=False),
    Column("dim", Integer, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("promoted_at", UtcTime, nullable=False),
)

events = Table(
    "findable_events",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("at", UtcTime, nullable=False),
    Column("kind", Text, nullable=False),  # batch, build, workspace, import, columns, merge, …
    Column("name", Text, nullable=False),
    Column("old", Text),
    Column("new", Text),
    Column("why", Text),
)

# what a `tag` set out to do: its budget counts since it began, and a backfill goes on over days
runs = Table(
    "findable_runs",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("task", Text, nullable=False),
    Column("extractor", Text, nullable=False),
    Column("mode", Text, nullable=False),  # tag or backfill
    Column("started_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime),  # NULL while it goes on, or where its process died
    Column("items", Integer, nullable=False),  # to be asked, when it began
    Column("estimated_cost", Float, nullable=False),
    Column("budget", Float),  # USD that it may spend, NULL without a limit
    Column("why", Text),  # it ended
    Column("skips", Text),  # JSON: of a backfill, whose answers keep an item from being asked; NULL: those of any
)

# a few items asked and looked at before all of them are
pilots = Table(
    "findable_pilots",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("task", Text, nullable=False),
    Column("extractor", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("began_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime),  # NULL while it goes on
    Column("verdict", Text),  # passed, failed or waived
    Column("report", Text),  # relative to the workspace
)

# the tasks that users declared in files of their own, as each was when it was used last; JSON is of `store.tasks`
tasks = Table(
    "findable_tasks",
    metadata,
    Column("name", Text, primary_key=True),
    Column("path", Text, nullable=False),  # of the file, absolute
    Column("prefix", Text, nullable=False, unique=True),  # of its tables
    Column("items", Text, nullable=False),  # a query, or the path of a file, absolute
    Column("is_query", Boolean, nullable=False),
    Column("items_sha256", Text),  # of the file that was imported last
    Column("key", Text, nullable=False),  # JSON: [[column, kind], …]
    Column("columns", Text, nullable=False),  # JSON: {column: kind} of the items
    Column("fields", Text, nullable=False),  # JSON: [[field, kind], …] of an answer
    Column("version", Integer, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("words", Text, nullable=False),  # JSON: what else is known of the declaration without its file
    Column("at", UtcTime, nullable=False),
    Column("asked", Text, nullable=False, server_default=text("'[]'")),  # JSON: what each version was asked with
)


HEAD = "0022"  # one more whenever a table changes; `0001` to `0021` are of the tables before
BEFORE = "findable_version"  # the table that has the number, up to `0021`
OPENED_BY = {  # the last commit each
    "0017": "c9e9ce54",
    "0018": "2fef5f7a",
    "0019": "b92ccecb",
    "0020": "983e53b3",
    "0021": "b565137c",
}
FIRST = "20ee0c6d"  # the last commit that opens the tables up to `0016`


def ensure_schema(store: Store, adoptions: Sequence[Callable[[Connection], Sequence[str]]]) -> list[str]:
    """Make the schema where there is none, and return a line for each change to tables that were there before.

    `adoptions` are the subjects' own functions, which return what they changed. Doing it twice changes nothing.

    Raises:
        InconsistentError: another version of findable made this database; nothing was changed.
    """
    with store.write() as tx:
        if not is_schema_current(tx):
            make_schema(tx)
            row = {"one": 1, "schema": HEAD, "workspace_id": secrets.token_hex(8), "created_at": datetime.now(UTC)}
            tx.execute(insert(workspace).values(row))
        return [line for adopt in adoptions for line in adopt(tx)]


def is_schema_current(tx: Connection) -> bool:
    """Return whether the engine's tables are there, which are those of this version.

    Raises:
        InconsistentError: another version of findable made this database.
    """
    if not is_workspace(tx):
        return False
    known = text(f"SELECT version_num FROM {BEFORE}")  # noqa: S608 - a constant
    is_before = inspect(tx).has_table(BEFORE)
    number = str(tx.execute(known if is_before else select(workspace.c.schema)).scalar() or "")
    if number > HEAD:
        raise InconsistentError(
            f"this database was made by a newer findable (schema {number}); nothing was changed",
            hint="install the newer version",
        )
    if number < HEAD:
        before = OPENED_BY.get(number, FIRST)
        raise InconsistentError(
            f"this database was made by an older findable (schema {number}), and the last commit that opens it is "
            f"{before}; nothing was changed",
            hint=f"git checkout {before}, make export, then git checkout -, and import what it wrote into a new DATA=",
        )
    return True


def is_workspace(tx: Connection) -> bool:
    """Return whether a database holds a workspace, of any version of findable."""
    return any(map(inspect(tx).has_table, (workspace.name, BEFORE)))


def other_tables(tx: Connection) -> list[str]:
    """Return the names of all tables but the engine's, in alphabetical order."""
    return sorted(name for name in inspect(tx).get_table_names() if not name.startswith("findable_"))


def engine_tables() -> list[str]:
    """Return the names of all tables of the engine, in alphabetical order."""
    return sorted(metadata.tables)


def our_tables(tx: Connection, besides: Collection[str] = ()) -> list[str]:
    """Return the names of the tables that are ours, of any version of findable, or among these."""
    return [name for name in inspect(tx).get_table_names() if name.startswith("findable_") or name in besides]


_HAS_INDEX = (
    text(
        "SELECT 1 FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid "
        "WHERE i.indrelid = to_regclass(:table) AND c.relname = :name"
    ),
    text("SELECT 1 FROM pragma_index_list(:table) WHERE name = :name"),
)
"""Whether a table has an index, on PostgreSQL and on SQLite."""


def has_index(tx: Connection, table: str, name: str) -> bool:
    """Return whether a table has an index of that name; for every start, quicker than reflection."""
    found = _HAS_INDEX[tx.dialect.name == "sqlite"]
    return tx.execute(found, {"table": table, "name": name}).first() is not None


def make_schema(tx: Connection) -> None:
    """Make every table of the engine, in the caller's transaction."""
    metadata.create_all(tx, checkfirst=False)
