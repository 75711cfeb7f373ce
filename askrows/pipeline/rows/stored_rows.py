"""Store, read and hash the values of a user task's rows, and define the states of the rows."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, Subquery, and_, case, func, or_, select, true

from askrows.pipeline.rows.cells import MAX_INTEGER, to_compact_json
from askrows.pipeline.rows.row_state import RowState
from askrows.pipeline.rows.task_rows import TaskRows
from askrows.pipeline.store import answers as stored_answers
from askrows.pipeline.store.answers import OTHER, PERSON
from askrows.pipeline.store.database import read_matching_rows
from askrows.pipeline.store.rows import NO_HASH
from askrows.pipeline.store.schema import rows as rows_table
from askrows.pipeline.store.task_record import TaskRecord

# Columns of `make_rows_subquery`.
KEY_COLUMN = "askrows_key"
ROW_NUMBER_COLUMN = "askrows_row"
PLACE_COLUMN = "askrows_place"
HASH_COLUMN = "askrows_hash"
VALUES_COLUMN = "askrows_values"
UNUSABLE_COLUMN = "askrows_unusable"
CHANGED_AT_COLUMN = "askrows_changed_at"
IMAGE_STATE_COLUMN = "askrows_seen"
INDEX_TEXT_COLUMN = "askrows_index_text"
_NO_VALUES = "{}"
# The values of a row as JSON: derived values, then those of its source.
_ALL_VALUES = case(
    (func.coalesce(rows_table.c.derived, _NO_VALUES) == _NO_VALUES, rows_table.c.row),
    (rows_table.c.row == _NO_VALUES, rows_table.c.derived),
    else_=func.substr(rows_table.c.derived, 1, func.length(rows_table.c.derived) - 1)
    + ","
    + func.substr(rows_table.c.row, 2),
)
_COLUMN_BY_NAME = {
    KEY_COLUMN: rows_table.c.row_id,
    ROW_NUMBER_COLUMN: rows_table.c.n,
    # NULL for a gone row.
    PLACE_COLUMN: case((rows_table.c.n > 0, rows_table.c.n)),
    VALUES_COLUMN: _ALL_VALUES,
    HASH_COLUMN: rows_table.c.input_hash,
    "askrows_empty": rows_table.c.is_empty,
    "askrows_gone_at": rows_table.c.gone_at,
    CHANGED_AT_COLUMN: rows_table.c.changed_at,
    UNUSABLE_COLUMN: rows_table.c.unusable,
    IMAGE_STATE_COLUMN: rows_table.c.seen,
    INDEX_TEXT_COLUMN: rows_table.c.index_text,
}


def make_rows_subquery(task: str) -> Subquery:
    """Return a subquery of the stored rows of a task, with their values as JSON."""
    columns = (column.label(name) for name, column in _COLUMN_BY_NAME.items())
    return select(*columns).where(rows_table.c.task == task).subquery("task_rows")


def make_task_rows_with_states(
    task: TaskRecord,
    rows: Subquery,
    prompt_version: str,
    *,
    has_other_values: bool = False,
) -> TaskRows:
    """Return the stored rows of a task as a table with states, sorted as in the source.

    A row is stale, answered, open, empty, unusable, refused or gone from its source. It is answered
    if a person, another program, or a model under the prompt version gave an answer that was
    applied. An answered row that changed and has no content any more is not answered, unless a
    person corrected it. A row is unusable because of its image, or because another program wrote a
    value that is no answer.

    Args:
        rows: The subquery of the task's rows; see `make_rows_subquery`.
        prompt_version: The prompt version in use.
        has_other_values: Other programs may have answered rows, in the table of `write_to=`.
    """
    columns = rows.c
    has_images = bool(task.image_columns)
    is_gone = columns.askrows_gone_at.is_not(None)
    has_content = and_(~is_gone, ~columns.askrows_empty)
    if has_images:
        has_content &= columns.askrows_unusable.is_(None)

    row_id = columns.askrows_key
    is_corrected = stored_answers.is_answered(task.name, row_id, PERSON)
    has_model_answer = stored_answers.is_answered(task.name, row_id, prompt_version)
    is_answered = has_model_answer | is_corrected
    unusable_reason: ColumnElement[Any] = columns.askrows_unusable
    shown_reason = unusable_reason
    if has_other_values:
        is_answered |= stored_answers.is_answered(task.name, row_id, OTHER)
        other_reason = stored_answers.select_unusable_reason(task.name, row_id)
        unusable_reason = func.coalesce(unusable_reason, other_reason)
        shown_reason = case((~is_answered, unusable_reason), else_=shown_reason)
    asked_hash = stored_answers.select_newest_model_answer(
        task.name, row_id, prompt_version, "input_hash"
    )
    has_other_input = func.coalesce(asked_hash, columns.askrows_hash) != columns.askrows_hash
    if not has_images:
        # Rows have the input that was asked, except for images, which are read when asked.
        has_other_input = columns.askrows_changed_at.is_not(None) & has_other_input

    is_askable_again = and_(has_content, has_model_answer, ~is_corrected)
    is_refused = columns.askrows_hash == NO_HASH
    line = f"{task.line_noun} " + columns.askrows_seen + ": "
    state_words = {}
    if task.words:
        *_, answered_word, empty_word = task.words
        state_words = {RowState.ANSWERED: answered_word, RowState.EMPTY: empty_word}
    is_still_answered = is_answered & or_(has_content, is_corrected, ~has_other_input)
    return TaskRows(
        task.name,
        rows,
        is_answered=is_still_answered,
        is_open=has_content & ~is_answered & unusable_reason.is_(None),
        is_empty=columns.askrows_empty,
        is_unusable=unusable_reason.is_not(None) if has_images or has_other_values else None,
        is_askable_again=is_askable_again,
        has_other_input=has_other_input,
        is_refused=is_refused,
        is_gone=is_gone,
        row_reason=case((is_refused, line), else_="") + shown_reason,
        state_words=state_words,
        id_column=KEY_COLUMN,
        order_column=ROW_NUMBER_COLUMN,
        own_prompt_version=prompt_version,
        has_no_key=true() if task.has_made_key else is_refused,
        place=columns.askrows_place,
    )


def read_input_changes(
    tx: Connection, task: TaskRecord, prompt_version: str, row_ids: Sequence[str]
) -> dict[str, dict[str, tuple[Any, Any]]]:
    """Return the changed values since a prompt version's newest answers to rows, by row id.

    A row has, for each changed column that is asked about, the value that was asked and the present
    value. A row is left out if the values that were asked are not stored: it did not change since
    it was asked, only its image changed, or it changed twice while it was asked.
    """
    asked_hash = stored_answers.select_newest_model_answer(
        task.name, rows_table.c.row_id, prompt_version, "input_hash"
    )
    query = select(rows_table.c.row_id, rows_table.c.asked_row, rows_table.c.row, asked_hash).where(
        rows_table.c.task == task.name, rows_table.c.asked_row.is_not(None)
    )
    changes_by_id = {}
    for row_id, asked_row, row, input_hash in read_matching_rows(
        tx, query, rows_table.c.row_id, row_ids
    ):
        old_values = parse_stored_values(asked_row)
        new_values = parse_stored_values(row)
        if hash_input(old_values, task.asked_columns) == input_hash:
            changes_by_id[row_id] = {
                name: (old_values.get(name), new_values.get(name))
                for name in task.asked_columns
                if old_values.get(name) != new_values.get(name)
            }
    return changes_by_id


def parse_stored_values(row: str) -> dict[str, Any]:
    """Parse the JSON of a stored row; return its values by column, without columns of None."""
    values: dict[str, Any] = orjson.loads(row)
    return values


def hash_input(values: Mapping[str, Any], asked_columns: Sequence[str]) -> str:
    """Return the SHA-256 of the values of the columns that are asked about, as hex."""
    asked_values = {name: values.get(name) for name in asked_columns}
    return hashlib.sha256(orjson.dumps(asked_values, option=orjson.OPT_SORT_KEYS)).hexdigest()


def to_stored_value(value: Any, kind: str) -> Any:
    """Return a plain value as a column of a kind stores it.

    Values of a JSON column, lists and objects become JSON. Whole numbers beyond 64 bits become
    text.
    """
    if kind == "json" or isinstance(value, list | dict):
        return to_compact_json(value)
    if isinstance(value, int) and not -MAX_INTEGER - 1 <= value <= MAX_INTEGER:
        return str(value)
    return value


def has_only_blanks(values: Mapping[str, Any], columns: Sequence[str]) -> bool:
    """Return whether a row has only None and blank texts in these columns; False for no columns."""
    if not columns:
        return False
    return all(is_blank_cell(values.get(name)) for name in columns)


def is_blank_cell(value: Any) -> bool:
    """Return whether a cell is None, empty or a text of blanks only."""
    return value is None or (isinstance(value, str) and not value.strip())
