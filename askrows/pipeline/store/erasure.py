"""Erase one row from the engine's tables, and journal it so that an interrupted run can continue.

A row is being forgotten from `park_row_and_record_erasure` until all its content is erased. To
reseal a file is to write it again without the row.

Records that a batch's counts and costs come from stay. They lose everything about the row (answer,
excerpt, reason, hash) and get a meaningless row id.
"""

import re
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Table, delete, select, true, update

from askrows.pipeline.core.states import BatchState
from askrows.pipeline.store import claims, journal, tag_merges
from askrows.pipeline.store.answers import (
    FORGOTTEN_ANSWER,
    delete_records_and_end_runs_of_version,
    is_of_model,
)
from askrows.pipeline.store.database import has_row
from askrows.pipeline.store.journal import ERASED_TEXT
from askrows.pipeline.store.schema import (
    again,
    answers,
    attempts,
    batches,
    events,
    extra_cells,
    row_claims,
    rows,
    runs,
    tasks,
)

# Columns whose text about one row may name another. The journal's `new` counts only in lines about
# merges, which have the tag that was merged into.
TEXT_COLUMNS: dict[Table, tuple[str, ...]] = {
    events: ("name", "new", "why"),
    attempts: ("reason", "excerpt"),
    runs: ("why",),
    answers: ("who", "reviewed_by"),
    again: ("who",),
    batches: ("reason",),
    row_claims: ("reason",),
}
# The tables with the batches of a row.
REQUEST_TABLES = (row_claims, answers, attempts)


def park_row_and_record_erasure(
    tx: Connection, task: str, row_id: str, *, name: str, now: datetime
) -> None:
    """Park a row, and journal that it is being forgotten.

    Args:
        name: The name that the user typed; the journal gets its digest.
    """
    claims.park_row_being_forgotten(tx, task, row_id, now=now)
    journal.record_erasure_begun(tx, task, row_id, name=name, now=now)


def has_records_of_row(tx: Connection, task: str, row_id: str) -> bool:
    """Return whether any table of the engine has a record about a row."""
    queries = (
        select(table.c.task).where(table.c.task == task, table.c.row_id == row_id)
        for table in (*REQUEST_TABLES, again, rows, extra_cells)
    )
    return any(has_row(tx, query) for query in queries)


def list_batches_that_may_have_row(tx: Connection, task: str, row_id: str) -> list[int]:
    """Return the numbers of batches whose files may contain a row, ascending.

    These are the batches of the row's claim, answers and attempts. The database no longer knows
    which rows a failed or rolled back batch asked about. So all failed batches of the task are
    included, and all rolled back batches, even of other tasks. Reads only.
    """
    queries = [
        select(table.c.batch).where(table.c.task == task, table.c.row_id == row_id)
        for table in REQUEST_TABLES
    ]
    queries.append(
        select(batches.c.number).where(
            batches.c.task == task,
            batches.c.state == BatchState.FAILED,
        ),
    )

    numbers = journal.read_rolled_back_batches(tx)
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
    """Replace the recorded SHA-256 and size of a file of a batch that was written again.

    The file is the batch's request file or its result file. Only the size of a request file is
    stored. Runs in the caller's transaction.

    Args:
        old_sha256: The recorded SHA-256. It selects the file.
        sha256: The new SHA-256.
        size: The new size in bytes.

    Returns:
        False if no file of the batch has `old_sha256`; nothing is written then.
    """
    new_values_of_files = (
        (batches.c.request_sha256, {"request_sha256": sha256, "request_size": size}),
        (batches.c.result_sha256, {"result_sha256": sha256}),
    )
    for sha256_column, new_values in new_values_of_files:
        is_file = (batches.c.number == batch) & (sha256_column == old_sha256)
        if tx.execute(update(batches).where(is_file).values(new_values)).rowcount:
            return True
    return False


def erase_answers_and_texts_of_row(
    tx: Connection,
    task: str,
    row_id: str,
    *,
    texts_to_erase: Sequence[str],
    has_askrows_number: bool = True,
) -> None:
    """Erase the stored answers of a row, and given texts in other records.

    Claims, marks, corrections, values of other programs and cells beside a table are deleted.
    Attempts and answers stay as records of costs, without content and under another row id. The row
    in `askrows_rows` or in the task's table stays. On SQLite the deleted content is overwritten.
    Journals nothing. Runs in the caller's transaction.

    Args:
        texts_to_erase: Texts to replace by "…" in all reasons, notes and journal lines, as whole
            words.
        has_askrows_number: The row's id is a number that askrows assigned. Such a number reveals
            nothing, so the new row id contains it. If False, or if the id is not a number, the new
            row id is random.
    """
    if tx.dialect.name == "sqlite":
        tx.exec_driver_sql("PRAGMA secure_delete = ON")

    keeps_number = has_askrows_number and re.fullmatch(r"\d{1,18}", row_id)
    random_id = f"{ERASED_TEXT} {secrets.token_hex(8)}"
    new_id = f"{row_id} {ERASED_TEXT}" if keeps_number else random_id
    erased_values: dict[Table, dict[str, Any]] = {
        attempts: {"reason": ERASED_TEXT, "excerpt": None},
        answers: {
            "input_hash": "",
            "answer": FORGOTTEN_ANSWER,
            "unmerged": None,
            "confidences": None,
            "least_confidence": None,
            "response_id": "",
        },
    }
    has_no_cost = (answers.c.task == task) & ~is_of_model(answers.c.version)
    tx.execute(delete(answers).where(has_no_cost, answers.c.row_id == row_id))
    for table, values in erased_values.items():
        is_of_row = (table.c.task == task) & (table.c.row_id == row_id)
        tx.execute(update(table).where(is_of_row).values(row_id=new_id, **values))
    for table in (row_claims, again, extra_cells):
        tx.execute(delete(table).where(table.c.task == task, table.c.row_id == row_id))
    for word in texts_to_erase:
        whole_word = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)")
        for table, names in TEXT_COLUMNS.items():
            for name in names:
                _replace_word_in_column(tx, table, table.c[name], word, whole_word)


def delete_task_but_keep_batches(tx: Connection, task: str, *, now: datetime) -> None:
    """Delete a user's task with its rows, answers, corrections and marks; its batches stay.

    Its attempts, claims, merges of tags, cells beside tables, and digests of forgotten rows are
    deleted, too, and its unfinished runs end. The batches keep counts and costs, and the journal
    says that each is rolled back. On SQLite the deleted content is overwritten. Runs in the
    caller's transaction.
    """
    if tx.dialect.name == "sqlite":
        tx.exec_driver_sql("PRAGMA secure_delete = ON")

    versions = select(batches.c.version).where(batches.c.task == task).distinct()
    for version in tx.execute(versions).scalars().all():
        delete_records_and_end_runs_of_version(tx, task, version, now=now)
    for table in (answers, attempts, row_claims, again, rows, extra_cells):
        tx.execute(delete(table).where(table.c.task == task))
    # Rows of a later task of this name are other rows.
    journal.delete_digests_of_erased_rows(tx, task)
    tag_merges.delete_merges(tx, task)
    tx.execute(delete(tasks).where(tasks.c.name == task))


def _replace_word_in_column(
    tx: Connection,
    table: Table,
    column: Column[Any],
    word: str,
    whole_word: re.Pattern[str],
) -> None:
    """Replace a whole word by "…" in all cells of a column.

    In the column `new` of the journal only the events of merges are changed. Runs in the caller's
    transaction.

    Args:
        word: The text that a cell must contain to be read.
        whole_word: The pattern that is replaced.
    """
    is_erasable: ColumnElement[bool] = true()
    if column is events.c.new:
        is_erasable = events.c.kind.startswith(tag_merges.MERGE_EVENT)
    key_columns = table.primary_key.columns
    query = select(*key_columns, column).where(column.contains(word, autoescape=True), is_erasable)
    for *key, cell in tx.execute(query).all():
        erased_cell = whole_word.sub("…", cell)
        if erased_cell != cell:
            key_conditions = [
                key_column == value for key_column, value in zip(key_columns, key, strict=True)
            ]
            tx.execute(update(table).where(*key_conditions).values({column: erased_cell}))
