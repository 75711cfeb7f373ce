"""Add a row to the table of a task, and ask about it at once with a live call.

The row is committed before the call. If the process dies meanwhile, or the call fails, the row is
open, and the next command asks about it.
"""

import contextlib
import json
from collections.abc import Sequence

from askrows.pipeline.batch.run import Run
from askrows.pipeline.batch.run_result import RunResult
from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.errors import ConfigurationError, InputError, TakenError
from askrows.pipeline.core.report import Report, make_table
from askrows.pipeline.rows.columns import parse_map
from askrows.pipeline.rows.database_table import (
    get_file_key,
    insert_table_rows,
    read_document_row,
    read_table_rows,
    store_extra_cells,
)
from askrows.pipeline.run.run_units import ask_single_rows

# Our choice: how long a person at a terminal waits until a limit allows a call.
PATIENCE_S = 5.0
# Our choice: the call ends after this time, answered or not. The help of the command names it.
MAX_ANSWER_S = 6.5


def add_row(run: Run, data: bytes, *, document_name: str, mapping: str) -> Report:
    """Store the row of a JSON document in the table of the task, and ask about it at once.

    The cost is not confirmed. If no answer comes, nothing is raised: the report has the reason, and
    the next command asks the row.

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
    """
    task = run.task
    record = task.user_file.record if task.user_file else None
    if task.user_file is None or record is None or not record.table or record.has_folder:
        raise InputError(
            f"task {task.subject} has no table that takes new rows; nothing was stored",
            hint="add the row to the source of the task, or declare items=DatabaseTable(…)",
        )
    row, notes = read_document_row(
        data,
        record,
        parse_map(mapping),
        document_name=document_name,
        read_cells=task.user_file.read_cells,
    )
    for change in row.findings:
        run.workspace.display.warn(f"{row.key}: {change.column}: {change.reason} ({change.value})")
    # A missing key or model is raised before the row is stored.
    run.open_client()
    with run.workspace.store.write() as tx:
        if read_table_rows(tx, record, [row.key]):
            show_command = CommandHint("show", task=task.subject, row=row.key)
            import_command = CommandHint("import", task=task.subject)
            raise TakenError(
                f"the table {record.table} has the row {row.key!r} already; nothing was stored",
                hint=f"`{show_command}` shows it; `{import_command}` changes rows",
                field=get_file_key(record),
            )
        insert_table_rows(tx, record, [row.values])
        store_extra_cells(tx, record, [row])
        row_id = read_table_rows(tx, record, [row.key])[row.key][record.key[0][0]]

    run = run.sync_task()
    run.workspace.display.say(f"asking about {row.key}…")
    result = RunResult()
    # The call reports its own failure.
    with contextlib.suppress(ConfigurationError):
        ask_single_rows(run, result, [str(row_id)], patience_s=PATIENCE_S, deadline_s=MAX_ANSWER_S)
    return _make_report(run, row.key, str(row_id), result, notes)


def _make_report(
    run: Run, key: str, row_id: str, result: RunResult, notes: Sequence[str]
) -> Report:
    """Return the report of an added row: its key, the answer, and why there is none."""
    with run.workspace.store.read() as tx:
        answers = run.task.read_preferred_answers(tx, [row_id])
        rows = run.task.select_task_rows(tx)
        is_empty = bool(rows.filter_ids(tx, [row_id], rows.is_empty))
    answer = json.loads(answers[row_id].answer) if row_id in answers else None
    problem = "" if answer else explain_missing_answer(result)
    if is_empty:
        problem = "not asked: it has no text to ask about"
    document = {"row": key, "answer": answer, "problem": problem, "notes": list(notes)}
    report = Report(document, f"{key} added", notes=list(notes))
    if answer:
        report.parts.append(make_table([answer], " ".join(answer)))
    else:
        report.warnings.append(f"{key} is stored without an answer: {problem}")
    return report


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
