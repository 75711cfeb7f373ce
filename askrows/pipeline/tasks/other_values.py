"""Values that another program wrote where `write_to=` of a task writes.

They are stored as answers of the version OTHER. A value that is no answer is stored with the
reason, and makes its row unusable.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection

from askrows.pipeline.core.text import plural
from askrows.pipeline.rows.cells import parse_json_cell, parse_text_list, to_plain_value
from askrows.pipeline.rows.row_state import RowState
from askrows.pipeline.rows.stored_rows import KEY_COLUMN, VALUES_COLUMN
from askrows.pipeline.rows.write_to import AnswerTarget, OtherValue
from askrows.pipeline.store import answers
from askrows.pipeline.store.database import split_into_pages
from askrows.pipeline.store.workspace import record_row_change
from askrows.pipeline.tasks.derived_values import update_derived_values
from askrows.pipeline.tasks.task_values import KeptValues

if TYPE_CHECKING:
    from pydantic import BaseModel

    from askrows.pipeline.tasks.task import Task

# The JSON of a value of another program that is no answer.
NO_ANSWER = "{}"


class _OtherChanges(NamedTuple):
    """Rows with another value of another program than is stored."""

    row_ids: list[str]
    # Ids of stored values that are replaced or deleted.
    removed_ids: list[int]
    # The columns of new values.
    new_values: list[dict[str, Any]]


def sync_other_values(
    tx: Connection, task: "Task", *, now: datetime, row_ids: Sequence[str] | None = None
) -> None:
    """Store what another program wrote where `write_to=` writes, as answers of version OTHER.

    A value that is no answer is stored with the reason. In the table of the task's rows, a value of
    another program, or a blank cell, ends the answer of a model that was there. Stored values
    follow the table: a changed value is replaced, and a removed one is deleted. Answers that
    askrows wrote are not stored again. The derived values of changed rows are computed anew, and
    also written to the columns that `derive=` names. Runs in the caller's transaction.

    Args:
        now: The time of the new values.
        row_ids: Only these rows; None means all rows.

    Raises:
        ConfigurationError: Code of the task's file failed.
        RefusedRowError: Another program's table refuses a derived value.
    """
    for changes in _find_changes(tx, task, row_ids):
        if task.answer_target is not None and task.answer_target.is_in_own_table:
            answers.disapply_model_answers(tx, task.name, changes.row_ids)
        answers.replace_other_values(
            tx, task.name, changes.removed_ids, changes.new_values, now=now
        )
        record_row_change(tx, task.name)
        update_derived_values(tx, task, changes.row_ids)


def has_other_changes(tx: Connection, task: "Task") -> bool:
    """Return whether another program's table shows other values than those that are stored.

    Raises:
        ConfigurationError: Code of the task's file failed.
    """
    return next(_find_changes(tx, task, None), None) is not None


def count_kept_values(tx: Connection, task: "Task", row_ids: Sequence[str]) -> KeptValues:
    """Return how many rows, which have no answer any more, have another program's value."""
    if task.answer_target is None:
        return KeptValues()
    written_count = task.answer_target.count_written_rows(tx, row_ids)
    return KeptValues(task.answer_target.label if written_count else "", written_count)


def describe_unusable_values(tx: Connection, task: "Task") -> str:
    """Return how many rows have a value of another program that is no answer; "" for none.

    The first of them is named, with the reason.
    """
    if task.answer_target is None:
        return ""
    table = task.select_task_rows(tx)
    reason = answers.select_unusable_reason(task.name, table.row_id)
    is_unusable = table.has_state(RowState.UNUSABLE) & reason.is_not(None)
    example = tx.execute(table.select_rows(is_unusable).add_columns(reason).limit(1)).first()
    if example is None:
        return ""
    row_id, text = example
    (name,) = table.read_names(tx, [row_id]).values()
    row_count = plural(table.count_rows(tx, is_unusable), "row")
    return f"{row_count} with a value that is no answer ({name}: {text})"


def _find_changes(
    tx: Connection, task: "Task", row_ids: Sequence[str] | None
) -> Iterator[_OtherChanges]:
    """Yield by pages of rows what differs between another program's table and what is stored.

    Args:
        row_ids: Only these rows; None means all rows.
    """
    target = task.answer_target
    if target is None:
        return
    model = task.record.model or task.settings.for_backend(task.provider).model
    # A vocabulary limits only what models and people answer.
    answer_model = target.select_shown_fields(task.declaration.answer)
    values = target.read_other_values(tx, task.stored_rows, model, row_ids)
    for page in split_into_pages(values):
        judged_values = [
            (value, *_judge_value(task, value, target, answer_model)) for value in page
        ]
        unstored_values = {
            value.row_id: json.loads(answer_json)
            for value, answer_json, _ in judged_values
            if value.answer_id is None
        }
        own_ids = target.find_own_rows(tx, unstored_values, model)
        changes = _OtherChanges([], [], [])
        for value, answer_json, reason in judged_values:
            is_stored = (answer_json, reason) == (value.answer_json, value.unusable)
            if is_stored or value.row_id in own_ids:
                continue
            changes.row_ids.append(value.row_id)
            if value.answer_id is not None:
                changes.removed_ids.append(value.answer_id)
            if not value.is_empty:
                new_value = {"row_id": value.row_id, "input_hash": value.input_hash}
                changes.new_values.append({**new_value, "answer": answer_json, "unusable": reason})
        if changes.row_ids:
            yield changes


def _judge_value(
    task: "Task", value: OtherValue, target: AnswerTarget, answer_model: "type[BaseModel]"
) -> tuple[str, str | None]:
    """Return a value of another program as an answer in JSON, and why it is invalid, if so.

    The JSON is NO_ANSWER for an empty value, which has no reason, and for an invalid value. The
    reason names the place of the value.

    Args:
        answer_model: The answer model, or one with only the fields that the table shows.

    Raises:
        ConfigurationError: Code of the task's file failed.
    """
    if value.is_empty:
        return NO_ANSWER, None
    fields = {name: _read_cell(task, name, cell) for name, cell in value.cells.items()}
    row = task.unpack_row({KEY_COLUMN: value.row_id, VALUES_COLUMN: value.row_json})
    answer, reasons, _ = task.validate_values(fields, row, answer_model, row_id=value.row_id)
    if answer is None:
        return NO_ANSWER, f"{target.label}: {reasons[0]}"
    return answer.model_dump_json(), None


def _read_cell(task: "Task", field_name: str, cell: Any) -> Any:
    """Return the cell that another program wrote as a value of a field; check nothing.

    JSON is parsed; the members of a list of texts become texts. Any other cell is a plain value.
    """
    if dict(task.record.fields)[field_name] != "json":
        return to_plain_value(cell)
    is_text_list = any(
        field.name == field_name and field.kind == "list" and field.parts[0].kind == "text"
        for field in task.answer_fields
    )
    texts = parse_text_list(cell) if is_text_list else None
    return parse_json_cell(cell) if texts is None else texts
