"""The tables of the engine, under a schema number of their own, made by whichever command comes first.

All are named `findable_…`, so that they fit into another program's database; what the subjects need is added to the
tables of that program in the same transaction.
"""

import json
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from types import NoneType
from typing import Any, get_args

from sqlalchemy import (
    REAL,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Constraint,
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
    UniqueConstraint,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.types import TypeEngine, UserDefinedType

from pipeline.core.command_hint import CommandHint
from pipeline.core.errors import InconsistentError
from pipeline.core.settings import BUILT_IN
from pipeline.core.states import OVER, BatchState, Mode
from pipeline.store.database import Store, cached_in_snapshot

BigId = BigInteger().with_variant(
    Integer, "sqlite"
)  # SQLite counts up by itself only for INTEGER PRIMARY KEY
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
        """Return the time that a cell tells, to which SQLite gives no zone."""
        return None if value is None else time_of(value)


class IsoTime(UtcTime):
    """An aware UTC time in a subject's table: ISO 8601 text on SQLite; a cell that tells no time is None."""

    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return what the database has for it."""
        return dialect.type_descriptor(
            Text() if dialect.name == "sqlite" else DateTime(timezone=True)
        )

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Return what the column takes; refuse naive times."""
        moment = super().process_bind_param(value, dialect)
        return moment.isoformat(" ") if moment is not None and dialect.name == "sqlite" else moment


def time_of(cell: Any) -> datetime | None:
    """Return the time that a cell tells, in UTC, in which it is where it names no zone; None where it tells none."""
    try:
        moment = cell if isinstance(cell, datetime) else datetime.fromisoformat(str(cell).strip())
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


class ColumnTyped(UserDefinedType[Any]):
    """A value that takes its type from where it stands; PostgreSQL's driver passes it on without a cast."""

    cache_ok = True

    def __init__(self, declared: str = "TEXT") -> None:
        """Take the name under which a column of this type is made."""
        self.declared = declared

    def get_col_spec(self, **_: Any) -> str:
        """Return the type's name in SQL."""
        return self.declared


@dataclass(frozen=True, kw_only=True)
class BatchRow:
    """One batch as its rows stand; times are aware UTC, files relative to the workspace, costs in USD.

    What is of the account (`answered` … `ended_at`) is None until the batch is over; of a failed one all but its end.
    """

    number: int
    task: str
    extractor: str
    model: str
    way: Mode  # who answers; of a trial nothing is kept but the cost
    run: int | None  # of a live one the first of its run; None where it was asked by itself
    state: BatchState
    reason: str | None
    created_at: datetime
    requests: int
    request_file: str
    request_sha256: str
    request_size: int
    estimated_in: int
    estimated_out: int
    estimated_cost: float
    priced_on: str
    counted_in: int | None  # prompt tokens as counted from the text, before calibration
    fingerprint: str | None  # of the declaration it was asked with; None where the task is built in
    upload: str | None
    uploaded_at: datetime | None
    tries: int = 0
    refusals: int = 0
    create_sent_at: datetime | None
    create_ended_at: datetime | None  # None when the end of the create call was not seen
    remote_name: str | None
    remote_word: str | None
    remote_done: int | None
    submitted_at: datetime | None
    cancel_asked_at: datetime | None
    over_at: datetime | None
    twins_checked: bool = False
    day: str | None  # of the quota of our own calls (US/Pacific), and how many count towards it
    calls: int = 0
    seconds: float = 0  # that replies took in all
    result_file: str | None
    result_sha256: str | None
    result_size: int | None
    answered: int | None
    refused: int | None
    invalid: int | None
    missing: int | None
    not_applied: int | None
    unknown: int | None
    duplicates: int | None
    unreadable: int | None
    tokens_in: int | None
    tokens_out: int | None
    cost: float | None
    ended_at: datetime | None

    @property
    def taken(self) -> int:
        """Return how many items hold the answer that it brought."""
        return (self.answered or 0) - (self.not_applied or 0)

    @property
    def replies(self) -> int:
        """Return how many of its requests got a reply, whatever that says."""
        return (self.answered or 0) + (self.refused or 0) + (self.invalid or 0)

    @property
    def is_over(self) -> bool:
        """True when nothing will happen to this batch any more."""
        return self.state in OVER


@dataclass(frozen=True)
class TagRunRow:
    """One run as its row stands; money in USD, the cost of what it set out to ask is an estimate."""

    number: int
    task: str
    extractor: str
    mode: str  # tag or backfill
    started_at: datetime
    ended_at: datetime | None  # None while it goes on, or where its process died
    items: int  # to be asked, when it began
    estimated_cost: float
    budget: float | None  # that it may spend, None without a limit
    why: str | None  # it ended
    skips: str | None  # JSON

    @property
    def skipped(self) -> tuple[str, ...] | None:
        """Return the labels whose answers keep an item from being asked in it; None: those of any version."""
        return None if self.skips is None else tuple(json.loads(self.skips))


class PilotVerdict(StrEnum):
    """How a pilot ended; waived where it was skipped by name."""

    PASSED = "passed"
    FAILED = "failed"
    WAIVED = "waived"


@dataclass(frozen=True)
class PilotRow:
    """One pilot as its row stands: the size and seed of its sample; no verdict while it goes on."""

    number: int
    task: str
    extractor: str
    size: int
    seed: int
    began_at: datetime
    ended_at: datetime | None = None
    verdict: PilotVerdict | None = None
    report: str | None = None


PREFERRED = "prefer_versions"  # in the words of a task


@dataclass(frozen=True)
class TaskRecord:
    """One task: where its file is, its tables, and the version and fingerprint that answers are attributed to.

    `key` and `fields` are (name, kind) pairs, `columns` the kinds of the items' columns by name; `items` is a query or
    the path of a file, whose SHA-256 when it was imported is `items_sha256`. `words` is what else is
    known of the declaration: the label, the model, and such.
    """

    name: str
    path: str
    prefix: str
    items: str
    is_query: bool
    items_sha256: str | None
    key: tuple[tuple[str, str], ...]
    columns: Mapping[str, str]
    fields: tuple[tuple[str, str], ...]
    version: int
    fingerprint: str
    words: Mapping[str, Any]
    at: datetime

    @property
    def preferred(self) -> tuple[str, ...]:
        """Return the versions that PREFER_VERSIONS stored, in their order; empty if none."""
        return tuple(self.words.get(PREFERRED, ()))


metadata = MetaData()


workspace = Table(
    "findable_workspace",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),  # always 1
    Column("schema", Text, nullable=False),  # its number
    Column("workspace_id", Text, nullable=False),
    Column("backend", Text),  # bound by the first batch, answer or vector
    Column(
        "position", BigInteger, nullable=False, server_default=text("0")
    ),  # grows with every change of a subject
    # JSON: the position at which the items of each task changed last; an index read before is behind
    Column("changes", Text, nullable=False, server_default=text("'{}'")),
    Column("created_at", UtcTime, nullable=False),
)

_TYPES: dict[Any, Any] = {int: Integer, float: Float, bool: Boolean, datetime: UtcTime}


def _cells(names: str, kind: Any = Text) -> list[Column[Any]]:
    """Return columns of one kind by their names; one with a question mark may be NULL."""
    return [
        Column(name.removesuffix("?"), kind, nullable=name.endswith("?")) for name in names.split()
    ]


def _table_of(
    name: str, row: type, *more: Column[Any] | Constraint | Index, big: Collection[str] = ()
) -> Table:
    """Return the table of rows of a dataclass, whose first field is the key; what is `big` passes 32 bits."""
    columns: list[Column[Any]] = []
    for one in fields(row):
        kind = (get_args(one.type) or (one.type,))[0]
        made = BigInteger if one.name in big else _TYPES.get(kind, Text)
        default = None if one.default in {MISSING, None} else text(json.dumps(one.default))
        is_key = not columns
        may_lack = NoneType in get_args(one.type)
        columns.append(
            Column(
                one.name,
                made,
                primary_key=is_key,
                nullable=may_lack,
                server_default=default,
                autoincrement=False,
            )
        )
    return Table(name, metadata, *columns, *more)


batches = _table_of(
    "findable_batches",
    BatchRow,
    Index("ix_findable_batches_state", "state"),
    big=(
        "request_size",
        "estimated_in",
        "estimated_out",
        "result_size",
        "counted_in",
        "tokens_in",
        "tokens_out",
    ),
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
    Column(
        "outcome", Text, nullable=False
    ),  # sent, refused, not sent, unclear, created, adopted, absent; duplicate
    Column("note", Text),
    # of a duplicate
    Column("remote_name", Text, unique=True),
    Column("estimated_cost", Float),
    *_cells("found_at? cancelled_at?", UtcTime),
)

asks = Table(
    "findable_asks",
    metadata,
    # of the extractor (label/model) an empty one is every version; the state (claimed, answered, parked) is in no
    # index, which every move would write anew
    *_cells("task item_id extractor state"),
    Column("batch", ForeignKey("findable_batches.number")),  # NULL of what was told by an equal row
    Column("line", Integer),  # in its request file, from 1
    *_cells("input_hash reason?"),  # why it is parked
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
    *_cells("task item_id extractor"),
    Column(
        "batch", ForeignKey("findable_batches.number"), index=True
    ),  # NULL: told by an equal row, or due
    Column("line", Integer),
    Column("at", UtcTime, nullable=False),
    Column("charged", Boolean, nullable=False),  # to the item; false when the service failed
    Column("forgiven", Boolean, nullable=False, server_default=text("false")),
    *_cells("outcome reason"),
    Column("code", Integer),
    Column("excerpt", Text),
    Column("tokens_in", Integer, nullable=False, server_default=text("0")),
    Column("tokens_out", Integer, nullable=False, server_default=text("0")),
    Column("cost", Float, nullable=False, server_default=text("0")),
    Column(
        "tier", Text
    ),  # which served it, by which it is priced; NULL: no reply, or one of before there was a choice
    Index("findable_attempts_of_item", "task", "item_id"),
)

# the rows of tasks that users declare, as their sources were last read, and the refused rows of all (see `store.rows`)
rows = Table(
    "findable_rows",
    metadata,
    Column("task", Text, primary_key=True),
    Column("item_id", Text, primary_key=True),
    Column(
        "n", BigInteger, nullable=False
    ),  # grows in the order of the source, as it was last read whole
    *_cells(
        "row input_hash"
    ),  # JSON: its values by column, without those that are none; and of what is asked about
    Column("is_empty", Boolean, nullable=False),  # that is blank, or what must be quoted
    *_cells(
        "gone_at? changed_at?", UtcTime
    ),  # vanished from the source; when the hash last changed
    # where it has images: what a look at them saw (JSON), and why it cannot be asked about with them; of a refused row
    # its line, and why it was refused
    *_cells("seen? unusable?"),
    Index("findable_rows_in_order", "task", "n"),
    Index("findable_rows_of_input", "task", "input_hash"),
)

answers = Table(
    "findable_answers",
    metadata,
    Column("id", BigId, primary_key=True),
    *_cells("task item_id"),
    Column(
        "batch", ForeignKey("findable_batches.number"), index=True
    ),  # NULL: told by an equal row, or due
    Column("line", Integer),  # in its request file, from 1
    *_cells("extractor input_hash answer"),  # JSON
    Column("applied", Boolean, nullable=False),
    Column(
        "outdated", Boolean, nullable=False, server_default=text("false")
    ),  # the input had changed meanwhile
    *_cells("model_version response_id"),
    *_cells("tokens_in tokens_out", Integer),
    Column("cost", Float, nullable=False),
    Column("tier", Text),  # as of an attempt
    Column("at", UtcTime, nullable=False),
    Column("fingerprint", Text),
    # of what a person wrote in the place of an answer, which is one of the extractor `person`; what stood there (JSON)
    *_cells("who? before?"),
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
    *_cells(
        "kind name old? new? why?"
    ),  # batch, build, workspace, import, table, columns, merge, …
)

runs = _table_of(
    "findable_runs", TagRunRow
)  # a budget counts since its run began, and a backfill goes on over days
pilots = _table_of("findable_pilots", PilotRow, big={"seed"})
tasks = _table_of(
    "findable_tasks",
    TaskRecord,
    Column(
        "asked", Text, nullable=False, server_default=text("'[]'")
    ),  # JSON: what each version was asked with
    UniqueConstraint("prefix"),
)

HEAD = "0023"  # one more whenever a table changes; `0001` to `0021` are of the tables before
UPGRADES = {  # what makes the next one of a schema
    "0022": [f"ALTER TABLE {table.name} ADD COLUMN tier TEXT" for table in (attempts, answers)],
}
TABLE_MADE = (
    "table"  # of the journal's lines about tables of subjects that were made, and not adopted
)
WORKER_SCHEMA = "findable_worker"  # of PostgreSQL, with the tables of jobs
BEFORE = "findable_version"  # the table that has the number, up to `0021`
# the last commit each
OPENED_BY = {
    "0017": "c9e9ce54",
    "0018": "2fef5f7a",
    "0019": "b92ccecb",
    "0020": "983e53b3",
    "0021": "b565137c",
}
FIRST = "20ee0c6d"  # the last commit that opens the tables up to `0016`


def ensure_schema(
    store: Store, adoptions: Sequence[Callable[[Connection], Sequence[str]]]
) -> list[str]:
    """Make the schema where there is none, adopt other tables, and return a line for each change to these."""
    with store.write() as tx:
        if is_workspace(tx):
            while not is_schema_current(tx):
                number = str(tx.execute(select(workspace.c.schema)).scalar())
                for statement in UPGRADES[number]:
                    tx.execute(text(statement))
                tx.execute(update(workspace).values(schema=f"{int(number) + 1:04}"))
        else:
            metadata.create_all(tx, checkfirst=False)
            row = {
                "one": 1,
                "schema": HEAD,
                "workspace_id": secrets.token_hex(8),
                "created_at": datetime.now(UTC),
            }
            tx.execute(insert(workspace).values(row))
        before = other_tables(tx)
        lines = [line for adopt in adoptions for line in adopt(tx)]
        for name in set(other_tables(tx)).difference(before):
            made = {"at": datetime.now(UTC), "kind": TABLE_MADE, "name": name, "new": "made"}
            tx.execute(insert(events).values(made))
        return lines


@cached_in_snapshot
def is_schema_current(tx: Connection) -> bool:
    """Return whether the engine's tables are there as they are now; those that cannot be brought to it are refused."""
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
    if number < HEAD and number not in UPGRADES:
        before = OPENED_BY.get(number, FIRST)
        place = {"data": "new"} | ({"database_url": "…"} if tx.dialect.name != "sqlite" else {})
        export = CommandHint("export", to="people.jsonl")
        import_again = CommandHint("import", **{BUILT_IN[0]: "people.jsonl"}, **place)
        raise InconsistentError(
            f"this database was made by an older findable (schema {number}), and the last commit that opens it is "
            f"{before}; nothing was changed",
            hint=f"`git checkout {before} && {export} && git checkout - && {import_again}` takes the people over; "
            "an import leaves tags out, so copy the file's lists of tags into the column tags there, or they are paid "
            "again",
        )
    return number == HEAD


@cached_in_snapshot
def is_workspace(tx: Connection) -> bool:
    """Return whether a database holds a workspace, of any version of findable."""
    return any(map(inspect(tx).has_table, (workspace.name, BEFORE)))


def other_tables(tx: Connection) -> list[str]:
    """Return the names of all tables but the engine's, in alphabetical order."""
    return sorted(
        name for name in inspect(tx).get_table_names() if not name.startswith("findable_")
    )


def our_tables(tx: Connection, besides: Collection[str]) -> list[str]:
    """Return the names of the tables that are ours, of any version of findable, or among these."""
    return [
        name
        for name in inspect(tx).get_table_names()
        if name.startswith("findable_") or name in besides
    ]


@cached_in_snapshot
def has_index(tx: Connection, table: str, name: str) -> bool:
    """Return whether a table has an index of that name; for every start, quicker than reflection."""
    found = "SELECT 1 FROM pragma_index_list(:table) WHERE name = :name"
    if tx.dialect.name != "sqlite":
        of_table = "SELECT indexrelid FROM pg_index WHERE indrelid = to_regclass(:table)"
        found = f"SELECT 1 FROM pg_class WHERE oid IN ({of_table}) AND relname = :name"  # noqa: S608 - constants
    return tx.execute(text(found), {"table": table, "name": name}).first() is not None


def damage(tx: Connection) -> list[str]:
    """Return the damage of an SQLite file, which is read whole for that; a server looks itself.

    Rows of a batch that is not there are what only SQLite lets another program make.
    """
    if tx.dialect.name != "sqlite":
        return []
    said = [str(row[0]) for row in tx.execute(text("PRAGMA integrity_check(20)"))]
    every = Counter(
        row[0] for row in tx.execute(text("PRAGMA foreign_key_check")) if row[2] == batches.name
    )
    loose = [
        f"{count} rows of {table} name a batch that is not there"
        for table, count in sorted(every.items())
    ]
    return [line for line in said if line != "ok"] + loose
