"""Erase one row from the engine's tables, and journal it so that an interrupted run can continue.

Records that a batch's counts and costs come from stay. They lose everything about the row (answer,
excerpt, reason, hash) and get a meaningless row id.
"""

import hashlib
import re
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Table, delete, select, true, update

from pipeline.core.states import BatchState
from pipeline.store import claims, edits, workspace
from pipeline.store.answers import FORGOTTEN_ANSWER, ROLLBACK_EVENT
from pipeline.store.schema import answers, asks, attempts, batches, creates, events, rows, runs

# Kinds of the journal's lines: a row that is being or was forgotten, a batch whose files were
# removed, and a forgotten row that its source may still have.
FORGET_EVENT = "forget"
CLEANED_EVENT = "clean"
BURIED_EVENT = "forgotten item"
# States of a line of FORGET_EVENT.
ERASURE_STARTED = "begun"
ERASURE_COMPLETED = "done"
# The text that replaces erased text.
ERASED_TEXT = "forgotten"
# Columns whose text about one row may name another. The journal's `new` counts only in lines about
# merges, which have the tag that was merged into.
TEXT_COLUMNS: dict[Table, tuple[str, ...]] = {
    events: ("name", "new", "why"),
    attempts: ("reason", "excerpt"),
    creates: ("note",),
    runs: ("why",),
    answers: ("who",),
    batches: ("reason",),
    asks: ("reason",),
}
# The tables with the batches of a row.
REQUEST_TABLES = (asks, answers, attempts)


def begin_erasure(tx: Connection, task: str, row_id: str, *, name: str, now: datetime) -> None:
    """Park a row, and journal that it is being forgotten.

    Args:
        name: The name that the user typed; the journal gets its digest.
    """
    claims.park_for_all_versions(tx, task, {row_id: claims.BEING_FORGOTTEN}, now=now)
    if row_id not in open_erasures(tx, name):
        digest = _digest(tx, name)
        workspace.record_event(
            tx,
            FORGET_EVENT,
            digest,
            old=None,
            new=ERASURE_STARTED,
            reason=row_id,
            now=now,
        )


def open_erasures(tx: Connection, name: str | None = None) -> list[str]:
    """Return the ids of rows that are being forgotten and not erased yet, oldest first.

    Args:
        name: Only rows that were named so in `begin_erasure`; None means all rows.
    """
    lines = workspace.events_of(tx, FORGET_EVENT, name and _digest(tx, name))
    return [line["why"] for line in lines if line["new"] == ERASURE_STARTED]


def finish_erasure(tx: Connection, name: str) -> None:
    """Change the journal's lines about a name: something was forgotten, without saying what."""
    is_of_name = (events.c.kind == FORGET_EVENT) & (events.c.name == _digest(tx, name))
    end = update(events).where(is_of_name)
    tx.execute(end.values(name=ERASED_TEXT, old=ERASURE_STARTED, new=ERASURE_COMPLETED, why=None))


def bury_row(tx: Connection, task: str, row_id: str, *, now: datetime) -> None:
    """Journal the digest of a forgotten row, so that its source does not import it again."""
    reason = f"{task}: what its source says of it is left out"
    digest = _digest(tx, f"{task} {row_id}")
    workspace.record_event(
        tx,
        BURIED_EVENT,
        digest,
        old=None,
        new=ERASED_TEXT,
        reason=reason,
        now=now,
    )


def make_buried_check(tx: Connection, task: str) -> Callable[[str], bool]:
    """Return a function that returns whether the row of an id was forgotten.

    The salted digests of forgotten rows are read from the journal now, not when the function is
    called.
    """
    query = select(events.c.name).where(events.c.kind == BURIED_EVENT)
    digests = set(tx.execute(query).scalars())
    salt = workspace.get_workspace(tx).workspace_id

    def is_buried(row_id: str) -> bool:
        return bool(digests) and _salted_digest(salt, f"{task} {row_id}") in digests

    return is_buried


def has_records(tx: Connection, task: str, row_id: str) -> bool:
    """Return whether any table of the engine has a record about a row."""
    queries = (
        select(table.c.task).where(table.c.task == task, table.c.item_id == row_id)
        for table in (*REQUEST_TABLES, rows)
    )
    return any(tx.execute(query.limit(1)).first() is not None for query in queries)


def batches_of_row(tx: Connection, task: str, row_id: str) -> list[int]:
    """Return the numbers of batches that may have asked about a row, ascending.

    These are the batches of the row's claim, answers and attempts. Failed batches of the task and
    rolled back batches of all tasks are included, because only their files show which rows they
    asked about.
    """
    queries = [
        select(table.c.batch).where(table.c.task == task, table.c.item_id == row_id)
        for table in REQUEST_TABLES
    ]
    is_failed = batches.c.state == BatchState.FAILED
    queries.append(select(batches.c.number).where(batches.c.task == task, is_failed))

    numbers = workspace.numbers_with_event(tx, ROLLBACK_EVENT)
    for query in queries:
        numbers.update(number for number in tx.execute(query).scalars() if number is not None)
    return sorted(numbers)


def record_resealed_file(
    tx: Connection,
    batch: int,
    *,
    old_sha256: str,
    sha256: str,
    size: int,
) -> bool:
    """Replace the recorded SHA-256 and size of a batch's request, result or hash file.

    A hash file is recorded in the journal, without a size.

    Args:
        old_sha256: The recorded SHA-256. It selects the file.
        sha256: The new SHA-256.
        size: The new size in bytes.

    Returns:
        False if no file of the batch has `old_sha256`; nothing is written then.
    """
    is_hash_file = (
        (events.c.kind == CLEANED_EVENT)
        & (events.c.name == str(batch))
        & (events.c.new == old_sha256)
    )
    if tx.execute(update(events).where(is_hash_file).values(new=sha256)).rowcount:
        return True

    for file_kind in ("request", "result"):
        sha256_column = batches.c[f"{file_kind}_sha256"]
        size_column = batches.c[f"{file_kind}_size"]
        is_file = (batches.c.number == batch) & (sha256_column == old_sha256)
        seal = update(batches).where(is_file).values({sha256_column: sha256, size_column: size})
        if tx.execute(seal).rowcount:
            return True
    return False


def erase_row(
    tx: Connection,
    task: str,
    row_id: str,
    *,
    words: Sequence[str],
    is_number_ours: bool = True,
) -> None:
    """Erase a row's claims, attempts, answers and corrections, and words about it in all texts.

    Attempts and answers stay as records of costs, without content and under another row id. The
    row in `findable_rows` or in the task's table stays. On SQLite the deleted content is
    overwritten.

    Args:
        words: Texts to replace by "…" in all reasons, notes and journal lines, as whole words.
        is_number_ours: A numeric id was given by findable. It stays part of the new id, because it
            says nothing about the row.
    """
    if tx.dialect.name == "sqlite":
        tx.exec_driver_sql("PRAGMA secure_delete = ON")

    keeps_number = is_number_ours and re.fullmatch(r"\d{1,18}", row_id)
    random_id = f"{ERASED_TEXT} {secrets.token_hex(8)}"
    new_id = f"{row_id} {ERASED_TEXT}" if keeps_number else random_id
    erased_values: dict[Table, dict[str, Any]] = {
        attempts: {"reason": ERASED_TEXT, "excerpt": None},
        answers: {"input_hash": "", "answer": FORGOTTEN_ANSWER, "response_id": ""},
    }
    edits.delete_edits(tx, task, row_id)
    for table, values in erased_values.items():
        is_of_row = (table.c.task == task) & (table.c.item_id == row_id)
        tx.execute(update(table).where(is_of_row).values(item_id=new_id, **values))
    tx.execute(delete(asks).where(asks.c.task == task, asks.c.item_id == row_id))
    for word in words:
        _erase_word(tx, word)


def record_cleaned(
    tx: Connection,
    batch: int,
    *,
    reason: str,
    now: datetime,
    hashes: str | None = None,
) -> None:
    """Journal that a user removed the files of a batch.

    Args:
        hashes: The SHA-256 of the file with the hashes of their lines; None if there is none.
    """
    new = hashes or "files removed"
    workspace.record_event(tx, CLEANED_EVENT, batch, old=None, new=new, reason=reason, now=now)


def cleaned_batches(tx: Connection) -> dict[int, str]:
    """Return the batches whose files a user removed, each with the SHA-256 of its hash file.

    The SHA-256 is "" if there is no such file.
    """
    hashes = {}
    for line in workspace.events_of(tx, CLEANED_EVENT):
        new = str(line["new"])
        # A text with a blank is not a hash.
        hashes[int(line["name"])] = "" if " " in new else new
    return hashes


def _erase_word(tx: Connection, word: str) -> None:
    """Replace a whole word by "…" in all TEXT_COLUMNS."""
    whole_word = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)")
    for table, names in TEXT_COLUMNS.items():
        for name in names:
            _erase_in_column(tx, table, table.c[name], word, whole_word)


def _erase_in_column(
    tx: Connection,
    table: Table,
    column: Column[Any],
    word: str,
    whole_word: re.Pattern[str],
) -> None:
    """Replace a whole word by "…" in a column; in the journal's `new` only of merges.

    Args:
        word: The text that a cell must contain to be read.
        whole_word: The pattern that is replaced.
    """
    is_erasable: ColumnElement[bool] = true()
    if column is events.c.new:
        is_erasable = events.c.kind.startswith(edits.MERGE)
    key_columns = table.primary_key.columns
    query = select(*key_columns, column).where(column.contains(word, autoescape=True), is_erasable)
    for *key, cell in tx.execute(query).all():
        erased_cell = whole_word.sub("…", cell)
        if erased_cell != cell:
            is_row = [
                key_column == value for key_column, value in zip(key_columns, key, strict=True)
            ]
            tx.execute(update(table).where(*is_row).values({column: erased_cell}))


def _digest(tx: Connection, name: str) -> str:
    """Return the SHA-256 of a name, salted with the workspace's id."""
    return _salted_digest(workspace.get_workspace(tx).workspace_id, name)


def _salted_digest(salt: str, name: str) -> str:
    return hashlib.sha256(f"{salt} {name}".encode("utf-8", "replace")).hexdigest()
