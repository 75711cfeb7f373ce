"""Copies of answers in the table or column of another program that `write_to=` names."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection

from pipeline.engine.task_values import KeptValues
from pipeline.store.answers import applied_answers, find_corrected, read_model_answers
from pipeline.store.edits import NewEdit
from pipeline.store.workspace import TaskRecord
from pipeline.tables.write_target import TargetColumn
from pipeline.tables.write_to import (
    RowTarget,
    TargetValue,
    find_filled_rows,
    parse_row_target,
    write_column,
)


def make_row_target(
    record: TaskRecord,
    provider: str = "",
    preferred_versions: Sequence[str] = (),
    target: TargetColumn | None = None,
) -> RowTarget | None:
    """Return the table of another program that gets a row for each answer; else None.

    Args:
        target: The table and its column for the row id; those of `write_to=` if None.
    """
    target = target or parse_row_target(record.members.write_to)
    if target is None:
        return None
    return RowTarget(
        record,
        target.table,
        target.column,
        provider,
        preferred_versions,
        schema=target.schema,
    )


@dataclass(frozen=True)
class AnswerCopies:
    """Copies of a task's answers in another program's table; without `write_to=` there are none.

    All methods run in the caller's transaction.
    """

    record: TaskRecord
    # Table that gets a row for each answer; None if `write_to=` names a column, or is not set.
    row_target: RowTarget | None

    @property
    def has_column(self) -> bool:
        """Return whether a field of each answer is copied to a column of existing rows."""
        return self.row_target is None and self.record.members.write_to is not None

    def has_copy(self, row_id: ColumnElement[str], model: str) -> ColumnElement[bool] | None:
        """Return the SQL condition that the table has a row about an answer of a model.

        None if there is no table that gets a row for each answer.
        """
        if self.row_target is None:
            return None
        return self.row_target.has_written_row(row_id, model)

    def copy_answers(self, tx: Connection, values: Sequence[TargetValue]) -> None:
        """Copy new answers.

        In a column, an answer is written into an empty cell, or in place of an earlier answer. The
        cell of a row that a person corrected is not changed. A table is synced with the preferred
        answers, so corrections stay there, too.
        """
        row_ids = [value.row_id for value in values]
        if self.row_target is not None:
            self.row_target.sync_rows(tx, row_ids, later_answers=values)
        elif self.has_column:
            corrected_ids = find_corrected(tx, self.record.name, row_ids)
            former_answers = read_model_answers(tx, self.record.name, row_ids)
            writable = [value for value in values if value.row_id not in corrected_ids]
            write_column(tx, self.record, writable, former_answers=former_answers)

    def copy_corrected_answers(
        self,
        tx: Connection,
        new_edits: Mapping[str, NewEdit],
        current_answers: Mapping[str, Mapping[str, Any]],
    ) -> None:
        """Copy the answers of corrected rows in place of all other values.

        Args:
            new_edits: The stored edits by row id.
            current_answers: The preferred answers of these rows, if `has_column`.
        """
        if self.row_target is not None:
            self.row_target.sync_rows(tx, new_edits.keys(), overwrite=True)
        elif self.has_column:
            target_values = [
                TargetValue(row_id, "", json.dumps(current_answers[row_id]), new_edit.edit.at)
                for row_id, new_edit in new_edits.items()
            ]
            write_column(tx, self.record, target_values, should_overwrite=True)

    def remove_copies(
        self, tx: Connection, row_ids: Sequence[str], version: str | None = None
    ) -> None:
        """Delete the copies for some rows; the cells of a column become NULL.

        Cells with another value are left alone.

        Args:
            version: Only answers of this version, and no cell of a row that a person corrected.
        """
        if self.row_target is not None:
            self.row_target.sync_rows(tx, row_ids, removed_version=version or "")
        if not self.has_column:
            return

        sorted_ids = sorted(row_ids)
        corrected_ids = find_corrected(tx, self.record.name, sorted_ids) if version else set()
        former_answers: dict[str, list[str]] = {}
        cleared_values = []
        for row in applied_answers(tx, self.record.name, sorted_ids):
            answer = TargetValue(*row)
            if version in {None, answer.version} and answer.row_id not in corrected_ids:
                former_answers.setdefault(answer.row_id, []).append(answer.answer_json)
                cleared_values.append(answer._replace(answer_json="{}"))
        write_column(tx, self.record, cleared_values, former_answers=former_answers)

    def add_kept_values(
        self, tx: Connection, row_ids: Sequence[str], kept_values: KeptValues
    ) -> None:
        """Add the copies that stay after the answers of rows were deleted; see `Task`."""
        if self.row_target is None and not self.has_column:
            return

        answered_ids = read_model_answers(tx, self.record.name, row_ids).keys()
        unanswered_ids = [row_id for row_id in row_ids if row_id not in answered_ids]
        if self.row_target is not None:
            written_ids = self.row_target.find_written_rows(tx, unanswered_ids)
            kept_values.add(self.row_target.table_name, len(written_ids))
        else:
            column_name = str(self.record.members.write_to).rpartition("=")[0]
            filled_ids = find_filled_rows(tx, self.record, unanswered_ids)
            kept_values.add(column_name, len(filled_ids))
