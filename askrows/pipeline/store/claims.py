"""Claim rows for a batch, and record how each ended under a version: answered or parked.

- A row is *open* under a version if it has no record in `askrows_asks`.
- A claim is the INSERT of that record. Its primary key prevents that a row is asked, and paid for,
  twice under a version. An answered row that is asked again loses its old record in the same
  transaction; its answer stays. The claims of other versions are read before; this is exact,
  because only one process writes.
- A parked row is not asked again until a user unparks it.
- A blocked row is claimed or parked.
- To release a row is to delete its record, so that it is open again.
- If a row may be asked again after a failure, its record is deleted and the attempt stays.
- Rows that no version may ask (text of another program, a row that is being forgotten) are parked
  under the version "", which means every version.
- An attempt is a request that produced no answer. A charged attempt counts against its row, whose
  number of attempts is limited; an uncharged attempt failed because of the service.
- Unparking a row forgives its attempts: they stay stored, but no longer count.
- A lost live call is a live call that got no reply, although it may have been paid for.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Delete,
    Integer,
    Select,
    Update,
    and_,
    case,
    cast,
    delete,
    exc,
    func,
    insert,
    or_,
    select,
    text,
    update,
)

from askrows.pipeline.core.errors import StateConflictError
from askrows.pipeline.core.states import Mode, Outcome
from askrows.pipeline.store.database import (
    change_matching_rows,
    has_row,
    read_matching_rows,
    run_for_each_row,
    split_into_pages,
)
from askrows.pipeline.store.schema import attempts, batches, row_claims
from askrows.pipeline.store.schema import rows as stored_rows
from askrows.pipeline.store.task_record import has_version

# The reason of an attempt begins with this if its call got no reply and was perhaps paid for.
LOST_CALL_PREFIX = "no reply: "
# Reasons of replies that a larger `maxOutputTokens` may repair.
CUT_SHORT_REASONS = ("max-tokens", "max-tokens-empty")
# Claims that are checked or inserted by a single statement.
CLAIM_PAGE_ROWS = 2000
# After this many claims at once PostgreSQL counts the table again if it knows of less than
# MIN_KNOWN_FACTOR times as many. Otherwise its planner scans the table for each lookup.
MIN_CLAIMS_FOR_ANALYZE = 500
MIN_KNOWN_FACTOR = 10
CLAIMED = "claimed"
ANSWERED = "answered"
PARKED = "parked"
# The version under which a row is parked for all versions.
EVERY_VERSION = ""
# The reason why a row is parked until it is forgotten, so that nothing asks about it.
BEING_FORGOTTEN = "is being forgotten"
IS_CLAIMED = row_claims.c.state == CLAIMED
_IS_PARKED = row_claims.c.state == PARKED


class RowClaim(NamedTuple):
    """One row that a batch asks about, or that got the answer of an equal row."""

    row_id: str
    input_hash: str
    # The line in the batch's request file, from 1; None for the answer of an equal row.
    line: int | None = None
    # The answer is that of an equal row.
    is_of_equal_row: bool = False


def insert_claims(
    tx: Connection,
    task: str,
    version: str,
    rows: Sequence[RowClaim],
    *,
    batch: int,
    now: datetime,
) -> None:
    """Insert the claims of a batch on rows that the caller found to be open.

    A claim replaces an answered record of the row under the version.

    Raises:
        StateConflictError: A row has a claimed or parked record under the version.
    """
    claims = [
        {
            "task": task,
            "version": version,
            "state": CLAIMED,
            "batch": batch,
            "at": now,
            "row_id": row.row_id,
            "line": row.line,
            "input_hash": row.input_hash,
        }
        for row in rows
    ]
    _delete_answered_and_insert_records(tx, task, version, claims)
    _update_claim_statistics(tx, len(rows))


def _update_claim_statistics(tx: Connection, claim_count: int) -> None:
    """Run ANALYZE on the table of claims if PostgreSQL's row count for it is far too small.

    It is far too small if it is below MIN_KNOWN_FACTOR times the claims that were just inserted.
    Does nothing on SQLite, or for fewer than MIN_CLAIMS_FOR_ANALYZE claims.
    """
    if claim_count < MIN_CLAIMS_FOR_ANALYZE or tx.dialect.name != "postgresql":
        return

    query = text("SELECT reltuples FROM pg_class WHERE oid = 'askrows_asks'::regclass")
    known_count = tx.execute(query).scalar_one()
    if known_count < MIN_KNOWN_FACTOR * claim_count:
        tx.execute(text(f"ANALYZE {row_claims.name}"))


def _delete_answered_and_insert_records(
    tx: Connection, task: str, version: str, records: Sequence[Mapping[str, Any]]
) -> None:
    """Insert records of rows as claimed, answered or parked under a version.

    An answered record of such a row under the version is deleted before: the row is asked again, or
    it lost its answer, for example because another program deleted it. Runs in the caller's
    transaction.

    Args:
        records: The columns of `askrows_asks` for each row; all have the same state.

    Raises:
        StateConflictError: A row has a claimed or parked record under the version.
    """
    delete_answered = delete(row_claims).where(
        row_claims.c.task == task,
        row_claims.c.version == version,
        row_claims.c.state == ANSWERED,
    )
    change_matching_rows(
        tx, delete_answered, row_claims.c.row_id, [record["row_id"] for record in records]
    )
    try:
        for page in split_into_pages(records, CLAIM_PAGE_ROWS):
            run_for_each_row(tx, insert(row_claims), page)
    except exc.IntegrityError as error:
        raise StateConflictError(
            "a row of",
            task,
            expected_state="open",
            target_state=records[0]["state"],
        ) from error


class EarlierClaim(NamedTuple):
    """The claimed or answered record of a row."""

    state: str
    row_id: str


def find_claimed_or_answered_rows(
    tx: Connection,
    task: str,
    version: str,
    input_hashes: Sequence[str],
) -> dict[str, EarlierClaim]:
    """Return a claimed or answered record of a version by input hash, for each hash that has one.

    A claimed row is preferred to an answered row.
    """
    # "answered" sorts before "claimed", so a claimed row replaces an answered row, and a newer
    # answer an older one. Of rows that were answered at the same time, the last id is returned.
    query = (
        select(row_claims.c.input_hash, row_claims.c.state, row_claims.c.row_id)
        .where(
            row_claims.c.task == task,
            row_claims.c.version == version,
            row_claims.c.state.in_([CLAIMED, ANSWERED]),
        )
        .order_by(row_claims.c.state, row_claims.c.at, row_claims.c.row_id)
    )
    return {
        input_hash: EarlierClaim(state, row_id)
        for input_hash, state, row_id in read_matching_rows(
            tx, query, row_claims.c.input_hash, input_hashes
        )
    }


def read_claims_of_batch(
    tx: Connection,
    batch: int,
    *,
    after: int = 0,
    limit: int | None = None,
) -> list[RowClaim]:
    """Return the rows that a batch still claims, by their line in the request file.

    Args:
        after: Only rows after this line.
        limit: At most this many rows.
    """
    query = (
        select(
            row_claims.c.row_id,
            row_claims.c.input_hash,
            row_claims.c.line,
        )
        .where(row_claims.c.batch == batch, IS_CLAIMED)
        .where(row_claims.c.line > after)
        .order_by(row_claims.c.line)
        .limit(limit)
    )
    return [RowClaim(*row) for row in tx.execute(query)]


def list_claimed_row_ids(tx: Connection, numbers: Collection[int]) -> list[str]:
    """Return the ids of the rows that batches still claim, in any order."""
    query = select(row_claims.c.row_id).where(row_claims.c.batch.in_(numbers), IS_CLAIMED)
    return list(tx.execute(query).scalars())


class ClaimOutcomes(NamedTuple):
    """Rows by how their claims end."""

    answered: Sequence[RowClaim]
    # The reason of each parked row.
    parked: Mapping[RowClaim, str]
    # Rows that are open again.
    released: Sequence[RowClaim]


def end_claims(
    tx: Connection,
    task: str,
    version: str,
    batch: int,
    outcomes: ClaimOutcomes,
    *,
    now: datetime,
) -> None:
    """End claims of a batch: rows become answered, parked with a reason, or free.

    The record of a released row is deleted, so the row can be asked again. Runs in the caller's
    transaction, which the caller rolls back after an error.

    Raises:
        StateConflictError: The batch no longer claims all rows of `outcomes`.
    """
    is_claim = and_(
        row_claims.c.task == task,
        row_claims.c.version == version,
        row_claims.c.batch == batch,
        IS_CLAIMED,
    )
    end = update(row_claims).where(is_claim)
    moved = _end_claim_rows(tx, end.values(state=ANSWERED, at=now), outcomes.answered)
    for reason in dict.fromkeys(outcomes.parked.values()):
        parked_rows_of_reason = [row for row in outcomes.parked if outcomes.parked[row] == reason]
        park = end.values(state=PARKED, reason=reason, at=now)
        moved += _end_claim_rows(tx, park, parked_rows_of_reason)
    moved += _end_claim_rows(tx, delete(row_claims).where(is_claim), outcomes.released)

    if moved != len(outcomes.answered) + len(outcomes.parked) + len(outcomes.released):
        raise StateConflictError(
            "a row of",
            task,
            expected_state="claimed",
            target_state="finished",
        )


def _end_claim_rows(tx: Connection, change: Update | Delete, rows: Sequence[RowClaim]) -> int:
    """Run an UPDATE or DELETE for the records of some rows; return how many it changed."""
    return change_matching_rows(tx, change, row_claims.c.row_id, [row.row_id for row in rows])


def record_answered_or_parked(
    tx: Connection,
    task: str,
    version: str,
    outcomes: ClaimOutcomes,
    *,
    now: datetime,
) -> None:
    """Record open rows as answered or parked without a batch; ignore released rows.

    Raises:
        StateConflictError: A row has a claimed or parked record under the version.
    """
    ended_rows: list[tuple[RowClaim, str, str | None]] = [
        (row, ANSWERED, None) for row in outcomes.answered
    ]
    ended_rows += [(row, PARKED, reason) for row, reason in outcomes.parked.items()]
    records = [
        {
            "task": task,
            "version": version,
            "at": now,
            "row_id": row.row_id,
            "input_hash": row.input_hash,
            "state": state,
            "reason": reason,
            "batch": None,
            "line": None,
        }
        for row, state, reason in ended_rows
    ]
    _delete_answered_and_insert_records(tx, task, version, records)


def release_claims(tx: Connection, batch: int) -> int:
    """Release every row that a batch still claims; return their number."""
    return tx.execute(delete(row_claims).where(row_claims.c.batch == batch, IS_CLAIMED)).rowcount


def filter_claimed_ids(tx: Connection, task: str, row_ids: Sequence[str]) -> set[str]:
    """Return those of the row ids that are claimed."""
    return {
        row[0]
        for row in read_matching_rows(tx, select_claimed_ids(task), row_claims.c.row_id, row_ids)
    }


def find_claiming_batches(tx: Connection, task: str, row_ids: Sequence[str]) -> set[int]:
    """Return the numbers of the batches that claim any of these rows."""
    query = select(row_claims.c.batch).where(row_claims.c.task == task, IS_CLAIMED)
    return {row[0] for row in read_matching_rows(tx, query, row_claims.c.row_id, row_ids)}


def is_version_used(tx: Connection, task: str, prompt_version: str) -> bool:
    """Return whether a row is claimed, answered or parked under a prompt version, of any model."""
    is_of_version = has_version(row_claims.c.version, prompt_version)
    return has_row(tx, select(row_claims.c.row_id).where(row_claims.c.task == task, is_of_version))


def has_claims(tx: Connection, task: str) -> bool:
    """Return whether any row of a task is claimed."""
    return has_row(tx, select_claimed_ids(task))


def list_claimed_input_hashes(tx: Connection, task: str, version: str) -> Sequence[str]:
    """Return the input hashes of the rows that are claimed under a version."""
    query = select(row_claims.c.input_hash).where(
        row_claims.c.task == task,
        row_claims.c.version == version,
        IS_CLAIMED,
    )
    return tx.execute(query.distinct()).scalars().all()


def select_claimed_ids(task: str) -> Select[Any]:
    """Return a SELECT of the ids of claimed rows, under any version."""
    return select(row_claims.c.row_id).where(row_claims.c.task == task, IS_CLAIMED)


def find_highest_known_row_number(tx: Connection, task: str) -> int:
    """Return the highest number among the ids of rows that were asked about, parked or synced.

    Returns 0 if there is no such row, or no id is a number.
    """
    queries = (
        select(func.max(_cast_to_number(tx, table.c.row_id))).where(table.c.task == task)
        for table in (row_claims, attempts, stored_rows)
    )
    return max(tx.execute(query).scalar() or 0 for query in queries)


def _cast_to_number(tx: Connection, row_id: ColumnElement[str]) -> ColumnElement[Any]:
    """Cast an id to an integer; a non-numeric id is 0 on SQLite and NULL on PostgreSQL."""
    if tx.dialect.name == "sqlite":
        return cast(row_id, Integer)
    # PostgreSQL refuses to cast a text that is not a number.
    return case((row_id.regexp_match("^[0-9]{1,18}$"), cast(row_id, BigInteger)))


# Parked rows


def is_parked(prompt_version: str) -> ColumnElement[bool]:
    """Return the SQL condition that a record parks its row.

    Args:
        prompt_version: Only records of its models, and of every version; "" means all records.
    """
    if not prompt_version:
        return _IS_PARKED
    is_of_version = has_version(row_claims.c.version, prompt_version)
    return and_(_IS_PARKED, or_(row_claims.c.version == EVERY_VERSION, is_of_version))


def park_row_being_forgotten(tx: Connection, task: str, row_id: str, *, now: datetime) -> None:
    """Park a row that is being forgotten under every version.

    A row that is parked under every version already keeps its first reason.
    """
    record = select(row_claims.c.row_id).where(
        row_claims.c.task == task,
        row_claims.c.row_id == row_id,
        row_claims.c.version == EVERY_VERSION,
    )
    if not has_row(tx, record):
        outcomes = ClaimOutcomes((), {RowClaim(row_id, ""): BEING_FORGOTTEN}, ())
        record_answered_or_parked(tx, task, EVERY_VERSION, outcomes, now=now)


def unpark_and_forgive(
    tx: Connection,
    task: str,
    *,
    prompt_version: str = "",
    row_ids: Sequence[str] | None = None,
) -> list[str]:
    """Delete the parked records of rows, so that they can be asked, and forgive their attempts.

    Forgiven attempts no longer count against their rows. All attempts of an unparked row are
    forgiven, under whatever version. Records that park a row under every version (text of another
    program, rows being forgotten) stay. Runs in the caller's transaction.

    Args:
        prompt_version: Only rows that are parked under this prompt version, and only their records
            under it. "" means any version.
        row_ids: Only these rows; None means all rows of the task.

    Returns:
        The ids of the unparked rows, see `list_ids_user_may_unpark`.
    """
    free_ids = list_ids_user_may_unpark(tx, task, prompt_version=prompt_version, row_ids=row_ids)
    forgive = update(attempts).where(attempts.c.task == task).values(forgiven=True)
    change_matching_rows(tx, forgive, attempts.c.row_id, free_ids)
    release = delete(row_claims).where(row_claims.c.task == task, _may_user_unpark(prompt_version))
    change_matching_rows(tx, release, row_claims.c.row_id, free_ids)
    return free_ids


def forgive_attempts(tx: Connection, task: str, row_ids: Select[Any]) -> None:
    """Forgive the failed attempts of some rows of a task, so that they no longer count."""
    is_of_row = (attempts.c.task == task) & attempts.c.row_id.in_(row_ids)
    tx.execute(update(attempts).where(is_of_row, ~attempts.c.forgiven).values(forgiven=True))


def list_ids_user_may_unpark(
    tx: Connection,
    task: str,
    *,
    prompt_version: str = "",
    row_ids: Sequence[str] | None = None,
) -> list[str]:
    """Return the ids of parked rows that a user may unpark_and_forgive, sorted.

    These are rows with a parked record of a version. A record for every version does not count: it
    parks text of another program, or a row that is being forgotten.

    Args:
        prompt_version: Only rows that are parked under this prompt version; "" means under any
            version.
        row_ids: Only these rows; None means all rows.
    """
    query = (
        select(row_claims.c.row_id)
        .where(row_claims.c.task == task, _may_user_unpark(prompt_version))
        .distinct()
        .order_by(row_claims.c.row_id)
    )
    return [row[0] for row in read_matching_rows(tx, query, row_claims.c.row_id, row_ids)]


def _may_user_unpark(prompt_version: str) -> ColumnElement[bool]:
    """Return the SQL condition that a record parks its row, but not under every version."""
    return and_(is_parked(prompt_version), row_claims.c.version != EVERY_VERSION)


def is_of_task_without_index(task: str) -> ColumnElement[bool]:
    """Return the SQL condition that a record is of a task, which uses no index.

    A scan is faster to find a few among all records of a task: an index would read the table in
    random order.
    """
    # An index has the task itself, not the result of an operation on it.
    return row_claims.c.task + "" == task


class ParkedRecord(NamedTuple):
    """The record of a parked row."""

    row_id: str
    reason: str
    parked_at: datetime


def list_parked_rows(
    tx: Connection,
    task: str,
    *,
    prompt_version: str = "",
) -> list[ParkedRecord]:
    """Return a record of every parked row, oldest first.

    A row that is parked under several versions is returned once: with its first reason, at the
    place of its last record.

    Args:
        prompt_version: As in `is_parked`.
    """
    query = select(row_claims.c.row_id, row_claims.c.reason, row_claims.c.at).where(
        is_parked(prompt_version), is_of_task_without_index(task)
    )
    records = [ParkedRecord(*row) for row in tx.execute(query)]
    records.sort(key=lambda record: (record.parked_at, record.row_id, record.reason))

    # From the newest to the oldest, so that the oldest record of a row replaces the others.
    records_by_id = {record.row_id: record for record in reversed(records)}
    return list(reversed(records_by_id.values()))


def find_parked_reason(
    tx: Connection, task: str, row_id: str, *, prompt_version: str
) -> str | None:
    """Return why a row is parked; None if it is not parked.

    If it is parked for several reasons, the result is the first of them as a text.

    Args:
        prompt_version: As in `is_parked`.
    """
    query = select(func.min(row_claims.c.reason)).where(
        row_claims.c.task == task,
        row_claims.c.row_id == row_id,
        is_parked(prompt_version),
    )
    return tx.execute(query).scalar()


def filter_ids_being_forgotten(tx: Connection, task: str, row_ids: Sequence[str]) -> set[str]:
    """Return the ids of those rows that are being forgotten."""
    query = select(row_claims.c.row_id).where(
        row_claims.c.task == task,
        row_claims.c.version == EVERY_VERSION,
        row_claims.c.reason == BEING_FORGOTTEN,
        _IS_PARKED,
    )
    return {row[0] for row in read_matching_rows(tx, query, row_claims.c.row_id, row_ids)}


# Due rows: open rows for which a call outside of a run failed, or that were recorded as due.
# They are stored as attempts that are not charged.


class DueRetry(NamedTuple):
    """A row that is due for a retry, or was."""

    row_id: str
    # The time of the first failed try.
    first_failed_at: datetime
    # The reason of the newest failed try.
    reason: str
    # The number of failed calls.
    tries: int


def record_due_retry(
    tx: Connection,
    task: str,
    version: str,
    row_id: str,
    *,
    reason: str,
    now: datetime,
) -> None:
    """Record a row as due, so that the next command retries it.

    Inserts an attempt without a batch that is not charged to the row and is forgiven, so it counts
    nowhere else.
    """
    tx.execute(
        insert(attempts).values(
            charged=False,
            forgiven=True,
            outcome=Outcome.MISSING,
            task=task,
            version=version,
            row_id=row_id,
            reason=reason,
            at=now,
        ),
    )


def iterate_rows_with_failed_single_calls(tx: Connection, task: str) -> Iterator[DueRetry]:
    """Yield the rows for which a call outside of a run got no reply, first failure first.

    A row is yielded once, with the time of its first failure, the reason of its newest failure and
    the number of calls (`tries`). Only live calls count, and only if the failure was not charged to
    the row. A record of `record_due_retry` counts as a failure without a call. Rows that were
    answered since are included: callers check whether a row is open.
    """
    single_batches = select(batches.c.number).where(
        batches.c.mode == Mode.LIVE,
        batches.c.run.is_(None),
    )
    query = (
        select(attempts.c.row_id, attempts.c.at, attempts.c.reason, attempts.c.batch)
        .where(
            attempts.c.task == task,
            ~attempts.c.charged,
            attempts.c.outcome == Outcome.MISSING,
            or_(attempts.c.batch.is_(None), attempts.c.batch.in_(single_batches)),
        )
        .order_by(attempts.c.id)
    )
    retries: dict[str, DueRetry] = {}
    for row_id, attempted_at, reason, batch in tx.execute(query):
        previous = retries.get(row_id, DueRetry(row_id, attempted_at, reason, 0))
        tries = previous.tries + (batch is not None)
        retries[row_id] = previous._replace(reason=reason, tries=tries)
    yield from sorted(retries.values(), key=lambda retry: (retry.first_failed_at, retry.row_id))


# ---- attempts


def count_charged_attempts(
    tx: Connection,
    task: str,
    version: str,
    row_ids: Sequence[str],
) -> dict[str, int]:
    """Return how many charged and unforgiven attempts each row has under a version, by row id.

    A charged attempt failed because of its row and counts against it. Rows without such attempts
    are left out.
    """
    return _count_unforgiven_attempts(
        tx, task, row_ids, attempts.c.version == version, attempts.c.charged
    )


def count_cut_short_attempts(tx: Connection, task: str, row_ids: Sequence[str]) -> dict[str, int]:
    """Count each row's unforgiven attempts that the token limit cut short.

    Returns:
        Counts by row id; rows without such attempts are left out.
    """
    return _count_unforgiven_attempts(tx, task, row_ids, attempts.c.reason.in_(CUT_SHORT_REASONS))


def count_service_failures_since_charge(
    tx: Connection,
    task: str,
    version: str,
    row_ids: Sequence[str],
    *,
    live: bool,
) -> dict[str, int]:
    """Return how often the service failed for each row since the row's last charged attempt.

    A failure of the service is an attempt under the version that is neither charged (counted
    against the row) nor forgiven. An answer in between does not reset the count.

    Args:
        row_ids: The rows to count for.
        live: Count only lost live calls, whose reason begins with LOST_CALL_PREFIX. False counts
            only the other failures, and of these only attempts that belong to a batch.

    Returns:
        Counts by row id; rows without such attempts are left out.
    """
    later_attempts = attempts.alias()
    is_same_row = (
        later_attempts.c[name] == attempts.c[name] for name in ("task", "version", "row_id")
    )
    has_later_charge = (
        select(later_attempts.c.id)
        .where(*is_same_row, later_attempts.c.charged, later_attempts.c.id > attempts.c.id)
        .exists()
    )

    is_lost_call = attempts.c.reason.startswith(LOST_CALL_PREFIX, autoescape=True)
    is_batch_failure = and_(attempts.c.batch.is_not(None), ~is_lost_call)
    return _count_unforgiven_attempts(
        tx,
        task,
        row_ids,
        attempts.c.version == version,
        ~attempts.c.charged,
        is_lost_call if live else is_batch_failure,
        ~has_later_charge,
    )


def _count_unforgiven_attempts(
    tx: Connection,
    task: str,
    row_ids: Sequence[str],
    *conditions: ColumnElement[bool],
) -> dict[str, int]:
    """Count each row's unforgiven attempts that meet all conditions; leave out rows without any."""
    query = (
        select(attempts.c.row_id, func.count())
        .where(attempts.c.task == task, ~attempts.c.forgiven, *conditions)
        .group_by(attempts.c.row_id)
    )
    counts = read_matching_rows(tx, query, attempts.c.row_id, row_ids)
    return {row[0]: row[1] for row in counts}
