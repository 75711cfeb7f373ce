"""Add a row to the table of a task, and ask about it at once with a live call.

The transaction that stores the row also marks it as due. If the process dies before the call, or
the call fails, the next command asks about the row.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from askrows.pipeline.batch.run import Run
from askrows.pipeline.batch.run_result import RunResult
from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.errors import ConfigurationError, InputError, TakenError
from askrows.pipeline.core.report import Report, make_table
from askrows.pipeline.rows.columns import parse_column_map
from askrows.pipeline.rows.database_table import (
    find_file_key_column,
    insert_table_rows,
    parse_document_row_with_notes,
    read_table_rows_by_key,
    store_extra_cells,
)
from askrows.pipeline.rows.row_findings import SoundRow
from askrows.pipeline.rows.row_sync import RowSync
from askrows.pipeline.run.units import ask_single_rows
from askrows.pipeline.store import claims, workspace
from askrows.pipeline.store.database import Connection
from askrows.pipeline.store.task_record import TaskRecord
from askrows.pipeline.tasks import claiming
from askrows.pipeline.tasks.derived_values import update_derived_values
from askrows.pipeline.tasks.other_values import sync_values_of_other_programs

# Our choice: how long a person at a terminal waits until a limit allows a call.
PATIENCE_S = 5.0
# Our choice: the call ends after this time, answered or not. The help of the command names it.
MAX_ANSWER_S = 6.5
# Why a new row is due, as the database stores it.
DUE_REASON = "saved, not asked yet"


@dataclass(frozen=True)
class AddedRow:
    """A new row as it is stored."""

    # Its key, or the value of `file_key=`.
    row: str
    row_id: str
    # The fields of the answer; empty if there is none.
    answer: Mapping[str, Any] = field(default_factory=dict)
    # The derived values by name.
    derived: Mapping[str, Any] = field(default_factory=dict)
    # Why there is no answer; empty if there is one, or if no call was made.
    problem: str = ""
    # How long the call took; None if no call was made.
    took_s: float | None = None
    # Why the row is not asked again; empty if it is not parked.
    parked: str = ""
    # A later command asks about the row.
    is_row_due: bool = False
    # Which members of the document were read as columns, and which were not.
    notes: Sequence[str] = ()

    def to_report(self) -> Report:
        """Return the report of a command: the row with its answer, or why there is none."""
        values = {"row": self.row, **self.derived, **self.answer}
        figures = {**asdict(self), "answer": self.answer or None}
        report = Report(figures, f"{self.row} added", notes=list(self.notes))
        report.parts.append(make_table([values], " ".join(values)))
        problem = self.parked or self.problem
        if problem:
            report.warnings.append(f"{self.row} is stored without an answer: {problem}")
        elif self.took_s is not None:
            report.notes.append(f"{self.row} answered in {self.took_s:.1f} s")
        return report


def add_row(run: Run, data: bytes, *, document_name: str, mapping: str) -> AddedRow:
    """Store the row of a JSON document in the table of the task, and ask about it at once.

    The task is synced first if its file changed. An empty row is only stored. The cost is not
    confirmed. The call gets at most MAX_ANSWER_S seconds. If no answer comes, nothing is raised:
    the result has the reason, and the row stays due or is parked.

    Args:
        run: The run of a task with a `DatabaseTable`.
        data: The JSON document.
        document_name: Name of the document in messages.
        mapping: The setting MAP, which assigns names of the document to columns.

    Raises:
        InputError: The rows of the task are in no table, the document is no row of it, or its key
            exists already. Nothing was stored.
        ConfigurationError: No key is set, or the model does not exist. Nothing was stored.
        RefusedRowError: A rule of the table refuses the row.
        KeyboardInterrupt: Ctrl-C during the call. The row stays stored.
    """
    record = find_table_record(run)
    if run.task.user_file.declared_fingerprint != record.fingerprint:
        run = run.sync_task()
    row, notes = parse_document_row_with_notes(
        data,
        record,
        parse_column_map(mapping),
        document_name=document_name,
        read_cells=run.task.user_file.run_read_function,
    )
    added = _store_row_and_mark_due(run, row, notes, reason=DUE_REASON)
    if not added.is_row_due:
        problem = "not asked: it has no text to ask about"
        return replace(reload_row(run, added), problem=problem)

    run.workspace.display.say(f"asking about {added.row}…")
    # The start of the client is no part of the call. The call reports its own failure.
    with contextlib.suppress(ConfigurationError):
        run.client.open()
    started_at_s = run.workspace.monotonic()
    result = RunResult()
    ask_single_rows(run, result, [added.row_id], patience_s=PATIENCE_S, deadline_s=MAX_ANSWER_S)
    took_s = run.workspace.monotonic() - started_at_s
    answered = reload_row(run, added)
    return replace(answered, problem=explain_missing_answer(result), took_s=took_s)


def find_table_record(run: Run) -> TaskRecord:
    """Return the record of the run's task, whose table takes new rows.

    Raises:
        InputError: The rows of the task are in no such table.
    """
    record = run.task.record
    if not record.table or record.has_folder:
        raise InputError(
            f"task {run.task.subject} has no table that takes new rows; nothing was stored",
            hint="add the row to the source of the task, or declare items=DatabaseTable(…)",
        )
    return record


def store_row(
    run: Run, data: bytes, *, document_name: str, reason: str, max_write_wait_s: float
) -> AddedRow:
    """Store the row of a JSON document as it is, and mark it as due; the model is not called.

    Args:
        run: The run of a task with a `DatabaseTable`.
        data: The JSON document.
        document_name: Name of the document in messages.
        reason: Why the row is due, as recorded in the database and shown by commands.
        max_write_wait_s: How many seconds to wait for another writer.

    Raises:
        InputError: The document is no row, a value would be changed to fit its column, or the key
            exists already.
        ConfigurationError: The row can be asked, but no key is set or the model does not exist.
        UnavailableError: Another process writes for longer than `max_write_wait_s`.
    """
    record = find_table_record(run)
    row, notes = parse_document_row_with_notes(
        data,
        record,
        (),
        document_name=document_name,
        read_cells=run.task.user_file.run_read_function,
        accepts_changes=False,
    )
    return _store_row_and_mark_due(
        run, row, notes, reason=reason, max_write_wait_s=max_write_wait_s
    )


def _store_row_and_mark_due(
    run: Run,
    row: SoundRow,
    notes: Sequence[str],
    *,
    reason: str,
    max_write_wait_s: float | None = None,
) -> AddedRow:
    """Store a row in its table and with the task, and mark it as due unless it is empty.

    All is written in one transaction. The notes are printed before, and a warning for each changed
    value.

    Args:
        max_write_wait_s: How many seconds to wait for another writer; None means the usual time.

    Raises:
        TakenError: The key exists already.
        ConfigurationError: The row can be asked, but no key is set or the model does not exist.
        UnavailableError: Another process writes for longer than `max_write_wait_s`.
    """
    record = find_table_record(run)
    for note in notes:
        run.workspace.display.say(note)
    for change in row.findings:
        run.workspace.display.warn(f"{row.key}: {change.column}: {change.reason} ({change.value})")
    can_be_asked = all(row.values.get(name) for name in record.required_columns)
    if can_be_asked:
        # A missing configuration is raised before the row is stored.
        run.open_client()

    with run.workspace.store.write(max_write_wait_s=max_write_wait_s) as tx:
        if read_table_rows_by_key(tx, record, [row.key]):
            raise _make_taken_error(run, record, row.key)
        insert_table_rows(tx, record, [row.values])
        added = _store_inserted_row_with_task(tx, run, row)
        if added.is_row_due:
            claims.record_due_retry(
                tx,
                record.name,
                run.version,
                added.row_id,
                reason=reason,
                now=run.workspace.now(),
            )
    return replace(added, notes=list(notes))


def _make_taken_error(run: Run, record: TaskRecord, key: str) -> TakenError:
    show_command = run.task.nouns.command("show", row=key)
    import_command = CommandHint("import", task=run.task.nouns.task_option)
    return TakenError(
        f"the table {record.table} has the row {key!r} already; nothing was stored",
        hint=f"`{show_command}` shows it; `{import_command}` changes rows",
        field=find_file_key_column(record),
    )


def _store_inserted_row_with_task(tx: Connection, run: Run, row: SoundRow) -> AddedRow:
    """Store with the task a row that was just inserted into its table.

    A value of another program where `write_to=` writes becomes an answer, and the derived values
    are computed, and written where `derive=` names columns. A row that is not empty is due.
    """
    task = run.task
    record = task.record
    now = run.workspace.now()
    store_extra_cells(tx, record, [row])
    table_row = read_table_rows_by_key(tx, record, [row.key])[row.key]
    row_id = str(table_row[record.key[0][0]])
    stored_row = RowSync(run.workspace.store, record, now).store_inserted_row(
        tx, table_row, row.extra_cells
    )
    workspace.record_row_change(tx, record.name)
    sync_values_of_other_programs(tx, task, now=now, row_ids=[row_id])
    update_derived_values(tx, task, [row_id])
    return AddedRow(row.key, row_id, is_row_due=not stored_row["is_empty"])


def reload_row(run: Run, added: AddedRow) -> AddedRow:
    """Return an added row with its answer, derived values and state as they are stored now.

    Raises:
        InputError: The row was deleted.
    """
    task = run.task
    with run.workspace.store.read() as tx:
        row_id = added.row_id
        row = task.read_rows(tx, [row_id]).get(row_id)
        if row is None:
            raise InputError(f"{added.row} was deleted meanwhile")
        answer = task.read_preferred_values(tx, [row_id])[row_id]
        parked_reason = claims.find_parked_reason(
            tx, task.name, row_id, prompt_version=task.parked_version
        )
        is_row_due = row_id in claiming.find_due_ids(tx, task)
    return replace(
        added,
        answer=answer,
        derived={name: row[name] for name in task.record.derived},
        parked=parked_reason or "",
        is_row_due=is_row_due,
    )


def explain_missing_answer(result: RunResult) -> str:
    """Return why a call for one row gave no answer; "" if it did, or if no reason is known.

    The reason is the error that stopped the calls, else the first failure, else why nothing was
    asked.
    """
    # The reply may arrive just after the deadline.
    if result.answered_by_calls:
        return ""
    reasons = [reason for _, reason in result.first_failures]
    if result.stop.reason:
        reasons.insert(0, result.stop.message)
    if result.idle_reason:
        reasons.append(f"not asked: {result.idle_reason}")
    return next(filter(None, reasons), "")
