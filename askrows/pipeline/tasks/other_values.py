"""Values that another program wrote into the columns of `write_to=`.

They are stored as answers of the version OTHER. A value that is no answer is stored with the
reason, and makes its row unusable.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection

from askrows.pipeline.core.files import hash_file
from askrows.pipeline.core.text import plural
from askrows.pipeline.rows.cells import (
    hash_text,
    parse_cell_if_json,
    parse_json_text_list,
    to_plain_value,
)
from askrows.pipeline.rows.row_state import RowState
from askrows.pipeline.rows.stored_rows import KEY_COLUMN, VALUES_COLUMN
from askrows.pipeline.rows.write_to import OtherValue
from askrows.pipeline.store import answers
from askrows.pipeline.store.database import split_into_pages, update_rows_by_id
from askrows.pipeline.store.schema import answers as answers_table
from askrows.pipeline.store.workspace import record_row_change
from askrows.pipeline.tasks.declaration_changes import hash_document
from askrows.pipeline.tasks.derived_values import update_derived_values
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.tasks.task_file import find_source_file
from askrows.pipeline.tasks.task_values import KeptValues

if TYPE_CHECKING:
    from pydantic import BaseModel

# The JSON of a value of another program that is no answer.
NO_ANSWER = "{}"


class _Judgement(NamedTuple):
    """Whether a value of another program is an answer."""

    value: OtherValue
    # The answer; NO_ANSWER for an empty or invalid value.
    answer_json: str
    # The place of an invalid value, and why it is invalid.
    reason: str | None

    def make_fingerprint(self, judge_id: str) -> str | None:
        """Return a hash of the judgement and of all that it depends on; None if that is unknown."""
        if not judge_id:
            return None
        parts = (judge_id, self.value.row_json, self.value.cells, self.answer_json, self.reason)
        return hash_text(repr(parts))

    def is_current(self, judge_id: str) -> bool:
        """Return whether the stored judgement of the value need not be repeated."""
        fingerprint = self.make_fingerprint(judge_id)
        return fingerprint is not None and fingerprint == self.value.fingerprint


class _OtherChanges(NamedTuple):
    """Rows with another value of another program than is stored."""

    row_ids: list[str]
    # Ids of stored values that are replaced or deleted.
    removed_ids: list[int]
    # The columns of new values.
    new_values: list[dict[str, Any]]
    # New fingerprints of stored values that stay, with their ids.
    new_fingerprints: list[tuple[str | None, int]]

    def add_changes_of_judgement(self, judgement: _Judgement, judge_id: str) -> None:
        """Add the changes that a judgement makes to the stored value of a row.

        An equal stored value stays; only a new fingerprint is added. An empty value removes it.
        """
        value = judgement.value
        fingerprint = judgement.make_fingerprint(judge_id)
        if (judgement.answer_json, judgement.reason) == (value.answer_json, value.unusable):
            if value.answer_id is not None and fingerprint != value.fingerprint:
                self.new_fingerprints.append((fingerprint, value.answer_id))
            return

        self.row_ids.append(value.row_id)
        if value.answer_id is not None:
            self.removed_ids.append(value.answer_id)
        if not value.is_empty:
            new_value = {
                "row_id": value.row_id,
                "input_hash": value.input_hash,
                "answer": judgement.answer_json,
                "unusable": judgement.reason,
                "fingerprint": fingerprint,
            }
            self.new_values.append(new_value)


def sync_values_of_other_programs(
    tx: Connection, task: Task, *, now: datetime, row_ids: Sequence[str] | None = None
) -> None:
    """Store the values of another program in the columns of `write_to=`, as answers of OTHER.

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
    for changes in _find_changes_by_other_programs(tx, task, row_ids):
        update_rows_by_id(tx, answers_table, ("fingerprint",), changes.new_fingerprints)
        if not changes.row_ids:
            continue
        if task.answer_target is not None and task.answer_target.is_in_own_table:
            answers.mark_model_answers_unapplied(tx, task.name, changes.row_ids)
        answers.replace_values_of_other_programs(
            tx, task.name, changes.removed_ids, changes.new_values, now=now
        )
        record_row_change(tx, task.name)
        update_derived_values(tx, task, changes.row_ids)


def has_other_changes(tx: Connection, task: Task) -> bool:
    """Return whether another program's table shows other values than those that are stored.

    It is also true if stored values must be judged again, because the task's file changed.

    Raises:
        ConfigurationError: Code of the task's file failed.
    """
    return next(_find_changes_by_other_programs(tx, task, None), None) is not None


def count_kept_values(tx: Connection, task: Task, row_ids: Sequence[str]) -> KeptValues:
    """Return how many rows, which have no answer any more, have another program's value."""
    if task.answer_target is None:
        return KeptValues()
    written_count = task.answer_target.count_filled_rows(tx, row_ids)
    return KeptValues(task.answer_target.label if written_count else "", written_count)


def describe_unusable_values(tx: Connection, task: Task) -> str:
    """Return a text that counts the rows with a value of another program that is no answer.

    It names the first of these rows, with the reason. It is "" if there is no such row.
    """
    if task.answer_target is None:
        return ""
    table = task.rows
    reason = answers.select_unusable_reason(task.name, table.row_id)
    is_unusable = table.has_state(RowState.UNUSABLE) & reason.is_not(None)
    example = tx.execute(table.select_rows(is_unusable).add_columns(reason).limit(1)).first()
    if example is None:
        return ""
    row_id, text = example
    (name,) = table.read_names(tx, [row_id]).values()
    row_count = plural(table.count_rows(tx, is_unusable), "row")
    return f"{row_count} with a value that is no answer ({name}: {text})"


def _find_changes_by_other_programs(
    tx: Connection, task: Task, row_ids: Sequence[str] | None
) -> Iterator[_OtherChanges]:
    """Yield the differences of another program's table from the stored values, by pages of rows.

    A value is judged only if it is new, or if itself, its row or the task's file changed since it
    was judged. Values that askrows wrote, and pages without a difference, are left out. Nothing is
    yielded without `write_to=`.

    Args:
        row_ids: Only these rows; None means all rows.
    """
    target = task.answer_target
    if target is None:
        return
    model = task.record.model or task.settings.copy_with_backend_defaults(task.provider).model
    # A vocabulary limits only the answers of models and people.
    answer_model = target.restrict_to_shown_fields(task.declaration.answer)
    judge_id = _identify_judge(task)
    values = target.read_current_and_stored_values(tx, task.stored_rows, model, row_ids)
    for page in split_into_pages(values):
        fields_by_id = {value.row_id: _read_fields(task, value) for value in page}
        unstored_ids = {value.row_id for value in page if value.answer_id is None}
        unstored_fields = {row_id: fields_by_id[row_id] for row_id in unstored_ids}
        own_ids = target.find_rows_showing_stored_answer(tx, unstored_fields, model)
        judgements = list[_Judgement]()
        for value in page:
            stored_judgement = _Judgement(value, value.answer_json or "", value.unusable)
            if value.row_id in own_ids or stored_judgement.is_current(judge_id):
                continue
            judgement = _judge_value_as_answer(
                task, value, fields_by_id[value.row_id], answer_model
            )
            judgements.append(judgement)

        # A judged value may equal an answer of askrows although its cell does not.
        unstored_values = {
            judgement.value.row_id: json.loads(judgement.answer_json)
            for judgement in judgements
            if judgement.value.row_id in unstored_ids
        }
        own_ids = target.find_rows_showing_stored_answer(tx, unstored_values, model)
        changes = _OtherChanges([], [], [], [])
        for judgement in judgements:
            if judgement.value.row_id not in own_ids:
                changes.add_changes_of_judgement(judgement, judge_id)
        if changes.row_ids or changes.new_fingerprints:
            yield changes


def _identify_judge(task: Task) -> str:
    """Return a text that differs if values may be judged otherwise than before.

    It is empty if the task has no file, because its functions may change without a trace.
    """
    file = find_source_file(Path(task.record.path))
    if not file.is_file():
        return ""
    schema = task.declaration.answer.model_json_schema()
    return hash_document(
        {"file": hash_file(file), "schema": schema, "version": task.prompt_version}
    )


def _read_fields(task: Task, value: OtherValue) -> dict[str, Any]:
    """Return a value of another program by field of the answer; empty for an empty value."""
    if value.is_empty:
        return {}
    return {name: _read_cell(task, name, cell) for name, cell in value.cells.items()}


def _judge_value_as_answer(
    task: Task,
    value: OtherValue,
    fields: Mapping[str, Any],
    answer_model: "type[BaseModel]",
) -> _Judgement:
    """Judge whether a value of another program is an answer.

    An empty value is NO_ANSWER without a reason, and an invalid value is NO_ANSWER with a reason.

    Args:
        fields: The value by field; see `_read_fields`.
        answer_model: The answer model, or one with only the fields that the table shows.

    Raises:
        ConfigurationError: Code of the task's file failed.
    """
    if value.is_empty:
        return _Judgement(value, NO_ANSWER, None)
    row = task.unpack_row({KEY_COLUMN: value.row_id, VALUES_COLUMN: value.row_json})
    validation = task.validate_values_as_answer(fields, row, answer_model, row_id=value.row_id)
    if validation.answer is None:
        assert task.answer_target is not None  # noqa: S101 - it has the value
        reason = f"{task.answer_target.label}: {validation.reasons[0]}"
        return _Judgement(value, NO_ANSWER, reason)
    return _Judgement(value, validation.answer.model_dump_json(), None)


def _read_cell(task: Task, field_name: str, cell: Any) -> Any:
    """Return the cell that another program wrote as a value of a field; check nothing.

    JSON is parsed; the members of a list of texts become texts. Any other cell is a plain value.
    """
    if dict(task.record.fields)[field_name] != "json":
        return to_plain_value(cell)
    is_text_list = any(
        field.name == field_name and field.kind == "list" and field.parts[0].kind == "text"
        for field in task.answer_fields
    )
    texts = parse_json_text_list(cell) if is_text_list else None
    return parse_cell_if_json(cell) if texts is None else texts
