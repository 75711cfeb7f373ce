"""Define the engine's tables, and create them.

- All names begin with `askrows_`, so the tables fit into another program's database.
- The first command that writes creates them. Columns that tasks add to that program's tables are
  added in the same transaction.
- The schema has a number, which grows with every change. A database with another number is
  refused.
"""

import json
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from itertools import chain
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
    RowMapping,
    Table,
    Text,
    TypeDecorator,
    insert,
    inspect,
    text,
)
from sqlalchemy.types import TypeEngine, UserDefinedType

from askrows.pipeline.core.errors import InconsistentError
from askrows.pipeline.core.states import ENDED_STATES, BatchState, Mode
from askrows.pipeline.store.database import Store, cached_in_snapshot

# SQLite numbers rows by itself only for INTEGER PRIMARY KEY.
BigId = BigInteger().with_variant(Integer, "sqlite")
# REAL is the only name of this type that SQLite's STRICT tables accept.
NUMBER_COLUMN_TYPE = Float().with_variant(REAL(), "sqlite")


class UtcTime(TypeDecorator[datetime]):
    """An aware UTC time; on SQLite, which has no type for it, ISO 8601 text.

    A cell with another text is read as None.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the column type of a database."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(Text())
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Convert an aware time to UTC, as a text for SQLite; None stays None.

        Raises:
            ValueError: The time has no time zone.
        """
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("naive time")
        utc_time = value.astimezone(UTC)
        if dialect.name == "sqlite":
            return utc_time.isoformat(" ")
        return utc_time

    def process_result_value(
        self,
        value: Any | None,
        dialect: Dialect,  # noqa: ARG002 - SQLAlchemy passes it
    ) -> datetime | None:
        """Return the time of a cell in UTC; None for NULL."""
        return None if value is None else to_utc_time(value)


def to_utc_time(cell: Any) -> datetime | None:
    """Convert a cell to a UTC time; a time without a zone is UTC.

    Returns:
        None if the cell is not a time.
    """
    try:
        moment = cell if isinstance(cell, datetime) else datetime.fromisoformat(str(cell).strip())
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


class ColumnTyped(UserDefinedType[Any]):
    """A value that takes the type of its column; PostgreSQL's driver sends it without a cast."""

    cache_ok = True

    def __init__(self, sql_type: str = "TEXT") -> None:
        """Set the SQL type with which a column of this type is created."""
        self.sql_type = sql_type

    def get_col_spec(self, **_: Any) -> str:
        """Return the type's name in SQL."""
        return self.sql_type


# PostgreSQL's type of that name. A command with an SQLite file does not import that dialect.
JSONB = ColumnTyped("JSONB")


@dataclass(frozen=True, kw_only=True)
class BatchRow:
    """One row of `askrows_batches`.

    Times are aware UTC, costs are in USD, files are relative to the workspace's directory. The
    counts from `answered` to `cost` are None until the batch is ingested.
    """

    number: int
    task: str
    # The version, for example `people@2/gemini-x`.
    version: str
    model: str
    # A trial stores only its cost.
    mode: Mode
    # The number of the live run's first batch. None for a Batch API batch, and for a single call.
    run: int | None
    state: BatchState
    # Why the batch is in its state.
    reason: str | None
    created_at: datetime
    # Its rows. Control requests are not among them.
    requests: int
    control_requests: int = 0
    request_file: str
    request_sha256: str
    request_size: int
    # The only backend and address to which the request file is sent. See the setting BACKEND.
    backend: str
    address: str
    # Estimated tokens and cost of all requests.
    estimated_in: int
    estimated_out: int
    estimated_cost: float
    # The date of the prices that the estimate uses.
    priced_on: str
    # Prompt tokens as counted from the text, before calibration.
    counted_in: int | None
    # The fingerprint of the declaration that was used. None for a shipped task.
    fingerprint: str | None
    # The name of the uploaded request file at the API.
    upload: str | None
    uploaded_at: datetime | None
    # Tries to create the remote batch, and consecutive refused tries.
    tries: int = 0
    refusals: int = 0
    create_sent_at: datetime | None
    # None if the reply to the create call was not seen.
    create_ended_at: datetime | None
    # Name and state of the batch at the API, and its own counts of ended and failed requests.
    remote_name: str | None
    remote_word: str | None
    remote_done: int | None
    remote_failed: int | None
    submitted_at: datetime | None
    cancel_asked_at: datetime | None
    # When the result was on disk, or the batch failed.
    over_at: datetime | None
    # Duplicate batches were searched for after the end.
    twins_checked: bool = False
    # The day, as the provider counts it, whose quota the live calls use, and their number.
    day: str | None
    calls: int = 0
    # Seconds of all replies in sum.
    seconds: float = 0
    result_file: str | None
    result_sha256: str | None
    # The SHA-256 of the result as it was downloaded, before it was translated.
    download_sha256: str | None
    # What shows that the result gives replies to the wrong requests. None if nothing shows it, and
    # empty if a person accepted the result in spite of it.
    held: str | None
    # Requests by outcome.
    answered: int | None
    refused: int | None
    invalid: int | None
    missing: int | None
    # Answers that were not applied to their rows.
    not_applied: int | None
    # Lines of the result file that match no request, repeat a request, or cannot be read.
    unknown: int | None
    duplicates: int | None
    unreadable: int | None
    tokens_in: int | None
    tokens_out: int | None
    # The cost of all replies, and the part of it for control requests.
    cost: float | None
    control_cost: float | None
    ended_at: datetime | None
    # Replies, answered or invalid, without a readable number of prompt tokens.
    uncounted: int = 0

    @property
    def applied_answers(self) -> int:
        """Return the number of answers that were applied to their rows."""
        return (self.answered or 0) - (self.not_applied or 0)

    @property
    def unmatched_lines(self) -> int:
        """Return how many lines of the result match no request, repeat one, or cannot be read."""
        return (self.unknown or 0) + (self.duplicates or 0) + (self.unreadable or 0)

    @property
    def replies(self) -> int:
        """Return the number of requests that got a reply of any outcome."""
        return (self.answered or 0) + (self.refused or 0) + (self.invalid or 0)

    @property
    def is_finished(self) -> bool:
        """Return whether the batch is in a state that never changes."""
        return self.state in ENDED_STATES

    @property
    def is_held(self) -> bool:
        """Return whether a person must decide what happens to the result of the batch."""
        return self.state is BatchState.DOWNLOADED and bool(self.held)


@dataclass(frozen=True)
class TagRunRow:
    """One row of `askrows_runs`; money is in USD."""

    number: int
    task: str
    # The version.
    version: str
    started_at: datetime
    # None while the run is open, and after its process died.
    ended_at: datetime | None
    # The most that the run may spend; None means no limit.
    budget: float | None
    # Why the run ended.
    why: str | None
    # A JSON list; see `skipped`.
    skips: str | None
    # The distinct requests that its newest command planned, and the rows that they cover.
    requests: int | None
    rows: int | None

    @property
    def skipped(self) -> tuple[str, ...] | None:
        """Return the prompt versions whose answers exclude a row from the run.

        None means that the answers of all versions do.
        """
        return None if self.skips is None else tuple(json.loads(self.skips))


class PilotVerdict(StrEnum):
    """How a pilot ended; a user may waive it explicitly."""

    PASSED = "passed"
    FAILED = "failed"
    WAIVED = "waived"


@dataclass(frozen=True)
class PilotRow:
    """One row of `askrows_pilots`."""

    number: int
    task: str
    # The version.
    version: str
    # The size and the random seed of the sample.
    size: int
    seed: int
    began_at: datetime
    # These are None while the pilot is open.
    ended_at: datetime | None = None
    verdict: PilotVerdict | None = None
    report: str | None = None


metadata = MetaData()
workspace = Table(
    "askrows_workspace",
    metadata,
    # Always 1: the table has one row.
    Column("one", Integer, primary_key=True, autoincrement=False),
    # The schema's number.
    Column("schema", Integer, nullable=False),
    Column("workspace_id", Text, nullable=False),
    # The first batch, answer or vector sets it.
    Column("backend", Text),
    # The address of the backend, set with it; empty for the local engine.
    Column("address", Text),
    # Grows with every change of a task's rows.
    Column("position", BigInteger, nullable=False, server_default=text("0")),
    # JSON: the position of the last change of each task's rows. An index that was read at an
    # earlier position is behind.
    Column("changes", Text, nullable=False, server_default=text("'{}'")),
    # Random. In a file, each transaction that changes a row of any table replaces it; a server has
    # a name for each snapshot of its own.
    Column("change_id", Text, nullable=False, server_default=text("''")),
)

_TYPES: dict[Any, Any] = {int: Integer, float: Float, bool: Boolean, datetime: UtcTime}


def _columns(names: str, column_type: Any = Text) -> list[Column[Any]]:
    """Return columns of a type.

    Args:
        names: Names with blanks between them. A name with a question mark may be NULL.
    """
    return [
        Column(name.removesuffix("?"), column_type, nullable=name.endswith("?"))
        for name in names.split()
    ]


def _define_table(
    name: str,
    row_class: type,
    *further_items: Column[Any] | Constraint | Index,
    big: Collection[str] = (),
) -> Table:
    """Return a table with a column for each field of a dataclass; the first is the primary key.

    A field that can be None makes a column that may be NULL. The default of a field is the column's
    default in the database.

    Args:
        further_items: More columns, constraints and indexes.
        big: Names of integer fields that may exceed 32 bits.
    """
    columns: list[Column[Any]] = []
    for row_field in fields(row_class):
        python_type = (get_args(row_field.type) or (row_field.type,))[0]
        column_type = BigInteger if row_field.name in big else _TYPES.get(python_type, Text)
        has_no_default = row_field.default in {MISSING, None}
        server_default = None if has_no_default else text(json.dumps(row_field.default))
        columns.append(
            Column[Any](
                row_field.name,
                column_type,
                primary_key=not columns,
                nullable=NoneType in get_args(row_field.type),
                server_default=server_default,
                autoincrement=False,
            ),
        )
    return Table(name, metadata, *columns, *further_items)


batches = _define_table(
    "askrows_batches",
    BatchRow,
    Index("ix_askrows_batches_state", "state"),
    big=(
        "request_size",
        "estimated_in",
        "estimated_out",
        "counted_in",
        "tokens_in",
        "tokens_out",
    ),
)

# Every try to create a remote batch, and every duplicate batch.
creates = Table(
    "askrows_creates",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("batch", ForeignKey("askrows_batches.number"), nullable=False, index=True),
    Column("display_name", Text, nullable=False, index=True),
    # The number of the try; NULL for a duplicate.
    Column("try", Integer),
    Column("sent_at", UtcTime),
    # sent, refused, model refused, not sent, unclear, created, adopted, absent, or duplicate.
    Column("outcome", Text, nullable=False),
    # Only a duplicate has these columns.
    Column("remote_name", Text, unique=True),
    Column("estimated_cost", Float),
    *_columns("found_at? cancelled_at?", UtcTime),
)

# The state of each row under a version: claimed, answered or parked. An open row has no record.
row_claims = Table(
    "askrows_asks",
    metadata,
    # An empty `version` means every version. No index has the state, because each move would
    # write it again.
    *_columns("task row_id version state"),
    # NULL for the answer of an equal row.
    Column("batch", ForeignKey("askrows_batches.number")),
    # The line in the batch's request file, from 1.
    Column("line", Integer),
    # `reason` says why a row is parked.
    *_columns("input_hash reason?"),
    Column("at", UtcTime, nullable=False),
    # This key prevents that a row is asked, and paid for, twice under a version. The row comes
    # before the version, because open rows are looked up by row.
    PrimaryKeyConstraint("task", "row_id", "version"),
    Index("askrows_asks_of_batch", "batch", "line"),
    Index("askrows_asks_of_version", "task", "version", "input_hash"),
)

attempts = Table(
    "askrows_attempts",
    metadata,
    Column("id", BigId, primary_key=True),
    *_columns("task row_id version"),
    # NULL for the answer of an equal row that the row refused, and for a row that was recorded as
    # due.
    Column("batch", ForeignKey("askrows_batches.number"), index=True),
    Column("line", Integer),
    Column("at", UtcTime, nullable=False),
    # Whether the attempt counts against its row; false if the service failed.
    Column("charged", Boolean, nullable=False),
    Column("forgiven", Boolean, nullable=False, server_default=text("false")),
    *_columns("outcome reason"),
    Column("code", Integer),
    Column("excerpt", Text),
    Column("tokens_in", Integer, nullable=False, server_default=text("0")),
    Column("tokens_out", Integer, nullable=False, server_default=text("0")),
    Column("cost", Float, nullable=False, server_default=text("0")),
    # The service tier, which decides the price. NULL without a reply.
    Column("tier", Text),
    Index("askrows_attempts_of_row", "task", "row_id"),
)

# The rows of user tasks as their sources were read last, and the refused rows of all tasks (see
# `store.rows`).
rows = Table(
    "askrows_rows",
    metadata,
    Column("task", Text, primary_key=True),
    Column("row_id", Text, primary_key=True),
    # The place in the source as it was last read whole; below 1 for a gone row.
    Column("n", BigInteger, nullable=False),
    # JSON of the row's cells by column, without empty cells; the hash of its prompt's input.
    *_columns("row input_hash"),
    # The text to ask about, or to quote from, is blank.
    Column("is_empty", Boolean, nullable=False),
    # When the row was gone first; when its hash changed last.
    *_columns("gone_at? changed_at?", UtcTime),
    # For images: JSON of their inspection, and why they cannot be asked about. For a refused row:
    # its line, and why it was refused.
    *_columns("seen? unusable?"),
    # JSON of the values that functions of the task's file derive, and the text that is searched;
    # both are NULL until they are computed.
    *_columns("derived? index_text?"),
    # `row` as it was asked last before it changed; NULL for a row that did not change since.
    *_columns("asked_row?"),
    Index("askrows_rows_in_order", "task", "n"),
    Index("askrows_rows_of_input", "task", "input_hash"),
)

# Cells of imported files that have no column in the table of a task, as JSON (see
# `store.rows`).
extra_cells = Table(
    "askrows_extra_cells",
    metadata,
    *_columns("task row_id name cells"),
    PrimaryKeyConstraint("task", "row_id"),
)

answers = Table(
    "askrows_answers",
    metadata,
    Column("id", BigId, primary_key=True),
    *_columns("task row_id"),
    # NULL for the answer of an equal row, and for a correction.
    Column("batch", ForeignKey("askrows_batches.number"), index=True),
    # The line in the batch's request file, from 1.
    Column("line", Integer),
    # `answer` is JSON.
    *_columns("version input_hash answer"),
    # The answer before the merges of values; NULL if no merge changed it.
    *_columns("unmerged?"),
    Column("applied", Boolean, nullable=False),
    # The row's input had changed before the answer arrived.
    Column("outdated", Boolean, nullable=False, server_default=text("false")),
    *_columns("model_version response_id"),
    *_columns("tokens_in tokens_out", Integer),
    Column("cost", Float, nullable=False),
    # The service tier, as of an attempt.
    Column("tier", Text),
    Column("at", UtcTime, nullable=False),
    # That of the declaration which was asked; for a value of another program, that of its
    # judgement.
    Column("fingerprint", Text),
    # For a correction (version `person`): its author, and JSON of the values that it replaced.
    *_columns("who? before?"),
    # The number, from 1, of the row's correction that this correction undoes.
    Column("undoes", Integer),
    # JSON of the fields that this correction set, also to their present values. NULL if it undoes
    # a correction.
    Column("set_fields", Text),
    # Who reviewed the answer, and when.
    *_columns("reviewed_by?"),
    Column("reviewed_at", UtcTime),
    # Why the value of another program (version `other`) is no answer.
    *_columns("unusable?"),
    # JSON of the confidence of each field (see `store.confidences`).
    *_columns("confidences?"),
    # The least probability in it.
    Column("least_confidence", Float),
    # A row has one value of another program, also if two processes store it. The expression is NULL
    # for other versions, so that these may have several answers.
    Index(
        "askrows_answers_of_row",
        "task",
        "row_id",
        text("(CASE WHEN version = 'other' THEN 1 END)"),
        unique=True,
    ),
    # Without it, each list and each count of doubtful rows would read all answers.
    Index(
        "askrows_answers_by_confidence",
        "task",
        "least_confidence",
        sqlite_where=text("least_confidence IS NOT NULL"),
    ),
)


# Promoted builds of indexes.
builds = Table(
    "askrows_builds",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("position", BigInteger, nullable=False),
    Column("promoted_at", UtcTime, nullable=False),
)

# The journal. Kinds are batch, build, workspace, import, table, columns, merge and others.
events = Table(
    "askrows_events",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("at", UtcTime, nullable=False),
    *_columns("kind name old? new? why?"),
)

# A run of `tag` has a budget that counts from its start, and a version; it may take days.
runs = _define_table("askrows_runs", TagRunRow)
pilots = _define_table("askrows_pilots", PilotRow, big={"seed"})
# The rows that a person asked for again (see `store.again`).
again = Table(
    "askrows_again",
    metadata,
    *_columns("task row_id who"),
    # The newest model answer, of any row. The mark is done when its row has a newer one.
    Column("answer_id", BigInteger, nullable=False),
    Column("at", UtcTime, nullable=False),
    PrimaryKeyConstraint("task", "row_id"),
)
tasks = Table(
    "askrows_tasks",
    metadata,
    Column("name", Text, primary_key=True),
    # The file that declares the task, and JSON of its record.
    *_columns("path words"),
    # JSON: the fingerprint and document of each version.
    Column("asked", Text, nullable=False, server_default=text("'[]'")),
)

# The number of this schema. Every change of a table adds 1.
SCHEMA_NUMBER = 6
# The kind of the journal's lines about tables of tasks that askrows created, not adopted.
TABLE_CREATED_EVENT = "table"
_SQLITE_WORKSPACE = "SELECT 1 FROM sqlite_master WHERE name = 'askrows_workspace'"
# After a wait for the lock of writers, to_regclass may answer from before the wait.
_SERVER_WORKSPACE = (
    "SELECT 1 FROM pg_tables WHERE tablename = 'askrows_workspace' "
    "AND schemaname = ANY (current_schemas(false))"
)
_SQLITE_INDEXES = "SELECT lower(tbl_name), name FROM sqlite_master WHERE type = 'index'"
_SERVER_INDEXES = (
    "SELECT indexed.relname, own.relname FROM pg_index "
    "JOIN pg_class own ON own.oid = indexrelid JOIN pg_class indexed ON indexed.oid = indrelid "
    "WHERE pg_table_is_visible(indrelid)"
)
# The PostgreSQL schema with the tables of jobs.
WORKER_SCHEMA = "askrows_worker"


def ensure_schema_and_adopt_tables(
    store: Store,
    adoptions: Sequence[Callable[[Connection], Sequence[str]]],
) -> list[str]:
    """Create the engine's tables if they are missing, and adopt tables of other programs.

    Runs in one transaction, which is committed. A new workspace gets a random id. The journal
    records the tables that an adoption creates.

    Args:
        adoptions: Functions that adopt tables and return a line for each change.

    Returns:
        The lines of all adoptions.

    Raises:
        InconsistentError: The schema of the workspace is not SCHEMA_NUMBER.
    """
    with store.write() as tx:
        if not detect_workspace_and_check_schema(tx):
            metadata.create_all(tx, checkfirst=False)
            tx.execute(
                insert(workspace).values(
                    one=1, schema=SCHEMA_NUMBER, workspace_id=secrets.token_hex(8)
                ),
            )

        tables_before = list_tables_of_others(tx)
        lines = list(chain.from_iterable(adopt(tx) for adopt in adoptions))
        for name in set(list_tables_of_others(tx)).difference(tables_before):
            tx.execute(
                insert(events).values(
                    at=datetime.now(UTC),
                    kind=TABLE_CREATED_EVENT,
                    name=name,
                    new="made",
                ),
            )
        return lines


@cached_in_snapshot
def detect_workspace_and_check_schema(tx: Connection) -> bool:
    """Return whether a database has a workspace.

    Raises:
        InconsistentError: The schema of the workspace is not SCHEMA_NUMBER.
    """
    query = _SQLITE_WORKSPACE if tx.dialect.name == "sqlite" else _SERVER_WORKSPACE
    if tx.exec_driver_sql(query).scalar() is None:
        return False

    number = read_workspace_row(tx)["schema"]
    if number != SCHEMA_NUMBER:
        raise InconsistentError(
            f"this database has the schema {number}, but this askrows needs the schema "
            f"{SCHEMA_NUMBER}; nothing was changed",
            hint="use the askrows that made the database, or another DATA and DATABASE_URL",
        )
    return True


@cached_in_snapshot
def read_workspace_row(tx: Connection) -> RowMapping:
    """Return the workspace's row, of whatever schema it is."""
    return tx.exec_driver_sql("SELECT * FROM askrows_workspace").mappings().one()


def list_tables_of_others(tx: Connection) -> list[str]:
    """Return the names of all tables except the engine's, sorted."""
    return sorted(name for name in inspect(tx).get_table_names() if not name.startswith("askrows_"))


def list_own_tables(tx: Connection, extra_tables: Collection[str]) -> list[str]:
    """Return the names of existing tables that are the engine's or in `extra_tables`."""
    return [
        name
        for name in inspect(tx).get_table_names()
        if name.startswith("askrows_") or name in extra_tables
    ]


def has_index(tx: Connection, table: str, name: str) -> bool:
    """Return whether a table has an index of that name."""
    # SQLite ignores the case of a table's name.
    folded_table = table.lower() if tx.dialect.name == "sqlite" else table
    return (folded_table, name) in list_indexes(tx)


@cached_in_snapshot
def list_indexes(tx: Connection) -> set[tuple[str, str]]:
    """Return the table and the name of each index; SQLite's tables in lower case.

    Every command calls it, so it does not use the slower reflection.
    """
    query = _SQLITE_INDEXES if tx.dialect.name == "sqlite" else _SERVER_INDEXES
    return {(table, name) for table, name in tx.exec_driver_sql(query)}
