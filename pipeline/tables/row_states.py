"""The states of a user task's rows, as SQL conditions over the stored rows."""

from sqlalchemy import ColumnElement, Subquery, and_, func, or_

from pipeline.store import answers as stored_answers
from pipeline.store.answers import PERSON
from pipeline.store.rows import NO_HASH
from pipeline.store.task_record import TaskRecord
from pipeline.tables.row_table import RowStates, RowTable
from pipeline.tables.stored_values import KEY_COLUMN

# State of a row with an image that cannot be sent.
UNUSABLE_STATE = "unusable"


def make_row_table(
    task: TaskRecord,
    rows: Subquery,
    prompt_version: str,
    *,
    is_written: ColumnElement[bool] | None = None,
) -> RowTable:
    """Return the stored rows of a task as a table with states, sorted as in the source.

    A row is stale, answered, open, empty, unusable (its image), refused or missing in the source.
    It is answered if a person, or a model under the prompt version, gave an answer that was
    applied. An answered row that changed and has no content any more is not answered.

    Args:
        rows: The subquery of the task's rows; see `make_rows_subquery`.
        prompt_version: The prompt version in use.
        is_written: Another condition that a row is answered, by another program.
    """
    columns = rows.c
    has_images = bool(task.members.image_columns)
    is_missing = columns.findable_gone_at.is_not(None)
    has_content = and_(~is_missing, ~columns.findable_empty)
    if has_images:
        has_content &= columns.findable_unusable.is_(None)

    row_id = columns.findable_key
    is_corrected = stored_answers.is_answered(task.name, row_id, PERSON)
    has_model_answer = stored_answers.is_answered(task.name, row_id, prompt_version)
    is_answered = has_model_answer | is_corrected
    if is_written is not None:
        is_answered |= is_written
    asked_hash = stored_answers.newest_model_answer(task.name, row_id, prompt_version, "input_hash")
    has_other_input = func.coalesce(asked_hash, columns.findable_hash) != columns.findable_hash
    if not has_images:
        # Rows have the input that was asked, except for images, which are read when asked.
        has_other_input = columns.findable_changed_at.is_not(None) & has_other_input

    is_askable_again = and_(has_content, has_model_answer, ~is_corrected)
    other_states = tuple[tuple[str, ColumnElement[bool]], ...]()
    if has_images:
        other_states = ((UNUSABLE_STATE, columns.findable_unusable.is_not(None)),)
    return RowTable(
        task.name,
        rows,
        RowStates(
            ("answered", is_answered & or_(has_content, is_corrected, ~has_other_input)),
            ("open", ~columns.findable_empty),
            "empty",
            other_states,
            is_refused=columns.findable_hash == NO_HASH,
            is_missing=is_missing,
        ),
        has_content & ~is_answered,
        is_askable_again=is_askable_again,
        has_other_input=has_other_input,
        id_column=KEY_COLUMN,
        order_column="findable_row",
        own_prompt_version=prompt_version,
    )
