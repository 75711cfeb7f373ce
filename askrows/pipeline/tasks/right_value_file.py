"""Correct and confirm the answers of many rows by a file of right values.

Each line of the file has the key of a row, and columns named like fields have the right values. A
value that the answer has already is confirmed. A blank cell says nothing. A column `reviewed` makes
answers reviewed. Other columns of the rows, of an export and of a list are ignored.

A file is stored in one transaction or not at all. So a killed command stores nothing, and the same
file stored twice changes nothing the second time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from askrows.pipeline.core.answer_fields import AnswerField
from askrows.pipeline.core.command_hint import HintTemplate
from askrows.pipeline.core.declaration import ReadOptions
from askrows.pipeline.core.errors import AskrowsError, InputError, RefusedRowError
from askrows.pipeline.core.text import MAX_CLEANED_CHARS, join_first, plural, suggest_similar
from askrows.pipeline.rows.answer_views import CORRECTED_BY, EXPORT_COLUMNS, VERSION_COLUMN
from askrows.pipeline.rows.cells import to_prompt_text
from askrows.pipeline.rows.columns import fold_name
from askrows.pipeline.rows.grid import Grid
from askrows.pipeline.rows.row_findings import SourceRow
from askrows.pipeline.rows.source import FileSource
from askrows.pipeline.rows.stored_rows import is_blank_cell
from askrows.pipeline.rows.task_rows import STATE_COLUMN
from askrows.pipeline.store import answers, claims
from askrows.pipeline.store.database import Connection
from askrows.pipeline.tasks import corrections
from askrows.pipeline.tasks.corrections import UNCHANGED_MESSAGE, InvalidAnswerError, PlannedEdits
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.workspace.open_workspace import OpenWorkspace

MAX_LISTED_FAULTS = 20
_MAX_LISTED_FIELDS = 12
CORRECT_LINES_HINT = "correct these lines, then type the command again"
# Prefix of fields whose names the source has, too.
_ANSWER_PREFIX = "answer_"
# Cells of the column `reviewed` in lower case: whether the row is reviewed.
_REVIEW_WORDS = {
    **dict.fromkeys(("true", "yes", "y", "1", "1.0", "x"), True),
    **dict.fromkeys(("false", "no", "n", "0", "0.0"), False),
}


class LineFault(NamedTuple):
    """A fault of a line of the file."""

    line: int
    # Empty if the fault is about the whole line.
    column: str
    message: str


class FileFaultsError(InputError):
    """A file of right values has faults; nothing was changed."""

    def __init__(
        self, path: Path, faults: Sequence[LineFault], *, hint: object = CORRECT_LINES_HINT
    ) -> None:
        """Make the message, which lists the first MAX_LISTED_FAULTS faults by line."""
        lines = [f"{path} has {plural(len(faults), 'fault')}; {UNCHANGED_MESSAGE}"]
        for fault in sorted(faults)[:MAX_LISTED_FAULTS]:
            column = f", column {fault.column}" if fault.column else ""
            lines.append(f"line {fault.line}{column}: {fault.message}")
        if len(faults) > MAX_LISTED_FAULTS:
            lines.append(f"and {len(faults) - MAX_LISTED_FAULTS:,} more")
        super().__init__("\n".join(lines), hint=hint)


class _Columns(NamedTuple):
    """The columns of the file."""

    # Names of the columns with the parts of a row's key.
    key: Sequence[str]
    # Columns of right values, by field.
    by_field: Mapping[str, str]
    # The column that makes rows reviewed; "" if there is none.
    review: str
    ignored: Sequence[str]

    @property
    def key_text(self) -> str:
        """Return the names of the key columns for a message."""
        return ", ".join(self.key)


class _Line(NamedTuple):
    """A line with right values or a review."""

    number: int
    # The key, or the name of the row.
    key_text: str
    # The right values by field.
    values: Mapping[str, Any]
    # The answer is to be reviewed. False if the file says that nobody looked at the row,
    # None if it says nothing.
    is_reviewed: bool | None


@dataclass
class CorrectionFileReport:
    """Result of a file of right values."""

    path: str
    # Rows of the file with a right value or a review. They are the corrected, the
    # confirmed, the unchanged, and those that are only reviewed.
    labelled: int = 0
    # Rows whose answer has other values now.
    corrected: int = 0
    # Rows of which only present values became right values.
    confirmed: int = 0
    # Rows whose answer is reviewed now, and was not before.
    reviewed: int = 0
    # Rows that had all these right values and reviews before.
    unchanged: int = 0
    # Rows without right values: nobody looked at them, as the file says, and no value is changed.
    unlabelled: int = 0
    # Corrected rows that had no answer before.
    unanswered: int = 0
    # Number of changed values by field.
    changed_values: dict[str, int] = field(default_factory=dict)
    # Columns of the source or of an export, which are no fields.
    ignored_columns: list[str] = field(default_factory=list)
    # Notes about how the file was read.
    notes: list[str] = field(default_factory=list)
    is_dry: bool = False

    @property
    def has_changes(self) -> bool:
        """Return whether an answer is corrected, confirmed or reviewed."""
        return bool(self.corrected or self.confirmed or self.reviewed)

    @property
    def is_export(self) -> bool:
        """Return whether the file has the columns of an export, so that all cells are filled."""
        return {VERSION_COLUMN, STATE_COLUMN} <= set(self.ignored_columns)


def correct_and_review_by_file(
    workspace: OpenWorkspace,
    task: Task,
    path: Path,
    *,
    options: ReadOptions,
    editor_name: str,
    is_dry: bool,
) -> CorrectionFileReport:
    """Correct, confirm and review answers by the right values of a file, all in one transaction.

    The column `reviewed` says whether a person reviewed the row. An empty cell is neither value nor
    review.

    - An answer that differs from the right values is corrected.
    - An answer that agrees with them is confirmed, unless the row has a review: then the review
      alone says whether the row was reviewed.
    - Then the answers of rows with a positive review are reviewed.

    If one value or review is refused, nothing is stored.

    Args:
        path: A CSV, JSON, JSON lines, .xlsx or Parquet file with the key columns of the task.
        options: How the file is read.
        editor_name: Name of the editor.
        is_dry: Check the file and count the changes; store nothing.

    Returns:
        The counts of the rows.

    Raises:
        FileFaultsError: A row, column or value of the file is wrong; nothing was changed.
        InputError: The file cannot be read, lacks a key column, has neither a right value nor a
            review, or `editor_name` is invalid.
        ConfigurationError: Code of the task's file failed.
    """
    editor_name = corrections.normalize_editor_name(editor_name)
    with workspace.store.read() as tx:
        grid = task.make_grid(tx)
        # A list of the task's rows has the state, but not all columns of an export.
        export_columns = (*EXPORT_COLUMNS, {grid.state_name})
        source = FileSource(path, options, export_columns=export_columns)
        columns = _match_columns_or_raise(task, source, grid)
    source.key_columns = columns.key
    lines, faults = _read_labelled_lines(task, source, columns)
    if not lines and not faults:
        filled_columns = [*columns.by_field.values(), *filter(None, [columns.review])]
        raise InputError(
            f"{path} has no label; {UNCHANGED_MESSAGE}",
            hint=f"fill cells of {join_first(filled_columns)}",
        )

    edited_at = workspace.now()
    with workspace.store.read() if is_dry else workspace.store.write() as tx:
        lines_by_id, key_faults = _match_lines_to_rows(tx, task, lines, columns)
        planned = corrections.plan_valid_edits_and_refusals(
            tx,
            task,
            {row_id: line.values for row_id, line in lines_by_id.items() if line.values},
            editor_name=editor_name,
            edited_at=edited_at,
            # A review makes all fields right values, and nobody looked at a row without one. So a
            # list that was written to a file changes nothing if it is read again.
            unconfirmable_ids={
                row_id for row_id, line in lines_by_id.items() if line.is_reviewed is not None
            },
        )
        newly_reviewed_ids, review_faults = _choose_rows_to_review(
            tx, task, lines_by_id, planned, columns.review
        )
        faults += key_faults + review_faults
        refusals = planned.refusals
        if not (is_dry or faults or refusals) and (planned.new_edits or newly_reviewed_ids):
            refusals = corrections.store_acceptable_edits(tx, task, planned.new_edits)
            reviewed_answers = task.read_preferred_answers(tx, newly_reviewed_ids).values()
            answer_ids = [answer.id for answer in reviewed_answers]
            answers.store_or_remove_reviews(tx, answer_ids, who=editor_name, at=edited_at)
        for row_id, error in refusals.items():
            faults += _list_refusal_faults(error, lines_by_id[row_id].number, columns)
        # The error rolls the transaction back.
        if faults:
            hint = _make_hint(task, has_unknown_rows=bool(key_faults))
            raise FileFaultsError(path, faults, hint=hint)

    report = _make_correction_report(path, lines_by_id, planned, newly_reviewed_ids)
    report.ignored_columns = list(columns.ignored)
    report.notes = list(source.notes)
    report.is_dry = is_dry
    return report


# ---- the columns of the file


def _match_columns_or_raise(task: Task, source: FileSource, grid: Grid) -> _Columns:
    """Return which columns of a file have the key, fields and reviews, and which are ignored.

    - The right values of a field are in the column `answer_FIELD` if the file has it, otherwise in
      the column `FIELD`.
    - Other columns that an export or a list of the rows has are ignored: columns of the source,
      version, state, cost and so on.
    - Any other column is an error, for example a comment that a person added.

    Args:
        grid: The list of the rows. Its review column is the column with the reviews.

    Raises:
        FileFaultsError: The file has an unknown column, or its reviews may be values of a field.
        InputError: A key column is missing, or there is neither a column of a field nor one of
            reviews.
    """
    names = [name for name in source.names if name]
    key = _require_key_columns(task, names, source.path)
    columns_by_folded_name = {fold_name(name): name for name in names if name not in key}
    review_name = grid.judgements.review_name
    review = columns_by_folded_name.pop(fold_name(review_name), "")
    field_names = [answer_field.name for answer_field in task.answer_fields]
    column_by_field: dict[str, str] = {}
    for field_name in field_names:
        exported_name = f"{_ANSWER_PREFIX}{field_name}"
        if exported_name in field_names or fold_name(exported_name) not in columns_by_folded_name:
            exported_name = field_name
        column = columns_by_folded_name.get(fold_name(exported_name))
        if column is not None:
            column_by_field[field_name] = column

    used_names = {*key, *column_by_field.values(), review}
    other_names = [name for name in names if name not in used_names]
    faults = []
    for name in other_names:
        if name not in grid.columns and name.removeprefix(_ANSWER_PREFIX) != CORRECTED_BY:
            listed_fields = join_first(field_names, _MAX_LISTED_FIELDS)
            message = f"this is neither a field ({listed_fields}) nor a column of the rows"
            suggestion = suggest_similar(name, field_names)
            if suggestion:
                message = f"{message}; {suggestion}"
            faults.append(LineFault(1, name, message))
    field_column = f"{_ANSWER_PREFIX}{review_name}"
    if review in field_names and field_column not in names:
        # An export has the field under its own name; its values would make rows reviewed.
        message = f"this makes rows reviewed; name the column of the field {field_column!r}"
        faults.append(LineFault(1, review, message))
    if faults:
        raise FileFaultsError(source.path, faults)
    if not column_by_field and not review:
        raise InputError(
            f"{source.path} has no column with labels; {UNCHANGED_MESSAGE}",
            hint=f"name a column like a field of the answer: {join_first(field_names)}",
        )
    return _Columns(key, column_by_field, review, other_names)


def _require_key_columns(task: Task, names: Sequence[str], path: Path) -> Sequence[str]:
    """Return the columns of a file that contain the keys of its rows, in the order of the key.

    Args:
        names: The columns of the file.
        path: The file, for the message.

    Raises:
        InputError: A key column is missing.
    """
    columns_by_folded_name = {fold_name(name): name for name in names}
    columns = [
        columns_by_folded_name[fold_name(name)]
        for name in task.key_columns
        if fold_name(name) in columns_by_folded_name
    ]
    if len(columns) < len(task.key_columns):
        needed = " and ".join(repr(name) for name in task.key_columns)
        raise InputError(
            f"{path} has no column {needed} with the keys of the rows; {UNCHANGED_MESSAGE}",
            hint=f"its columns are {join_first(names)}",
        )
    return columns


# ---- the lines of the file


def _read_labelled_lines(
    task: Task, source: FileSource, columns: _Columns
) -> tuple[list[_Line], list[LineFault]]:
    """Read the lines of a file that have a right value or a review; return them, and the faults.

    A review counts only if it says that a person reviewed the row. Lines without a value and
    without such a review are left out. Unreadable rows, wrong reviews, rows with a value or review
    but without a key, and repeated keys, also of rows without values, are faults.
    """
    fields = {answer_field.name: answer_field for answer_field in task.answer_fields}
    lines: list[_Line] = []
    faults: list[LineFault] = []
    numbers_by_key: dict[str, int] = {}
    for row in source:
        if not isinstance(row, SourceRow):
            faults.append(LineFault(row.line, row.column, row.reason))
            continue
        number = row.line_number
        values = {
            field_name: _parse_cell(fields[field_name], row.values[column])
            for field_name, column in columns.by_field.items()
            if not is_blank_cell(row.values.get(column))
        }
        review = to_prompt_text(row.values.get(columns.review)).strip().lower()
        if review and review not in _REVIEW_WORDS:
            message = (
                f"write true, yes, 1 or x, or leave it empty, not {review[:MAX_CLEANED_CHARS]!r}"
            )
            faults.append(LineFault(number, columns.review, message))
        is_reviewed = _REVIEW_WORDS.get(review)
        has_content = bool(values or is_reviewed)

        key_cells = [row.values.get(name) for name in columns.key]
        if any(is_blank_cell(cell) for cell in key_cells):
            if has_content:
                faults.append(LineFault(number, columns.key_text, "the key is blank"))
            continue
        key_text = task.join_key_parts([to_prompt_text(cell) for cell in key_cells])
        first_number = numbers_by_key.setdefault(key_text.strip(), number)
        if first_number != number:
            faults.append(_make_repetition_fault(number, key_text, first_number, columns))
        elif has_content:
            lines.append(_Line(number, key_text, values, is_reviewed))
    return lines, faults


def _parse_cell(answer_field: AnswerField, cell: Any) -> Any:
    """Return the value of a cell; a list or an object is a value already."""
    if isinstance(cell, list | dict):
        return cell
    return answer_field.parse_typed_text_or_keep(to_prompt_text(cell).strip())


def _make_repetition_fault(
    number: int, key_text: str, first_number: int, columns: _Columns
) -> LineFault:
    """Return the fault that a line has the key of an earlier line."""
    return LineFault(number, columns.key_text, f"{key_text!r} is in line {first_number}, too")


def _match_lines_to_rows(
    tx: Connection,
    task: Task,
    lines: Sequence[_Line],
    columns: _Columns,
) -> tuple[dict[str, _Line], list[LineFault]]:
    """Return the lines by row id, and faults of unknown and repeated keys.

    A key is the id of a row, or another name that the task accepts for it (`Task.require_row_id`).
    Lines with a fault are left out of the mapping.
    """
    existing_ids = task.rows.filter_ids(tx, [line.key_text for line in lines])
    lines_by_id: dict[str, _Line] = {}
    faults: list[LineFault] = []
    for line in lines:
        row_id = line.key_text
        if row_id not in existing_ids:
            try:
                row_id = task.require_row_id(tx, row_id.strip())
            except InputError as error:
                faults.append(LineFault(line.number, columns.key_text, error.message))
                continue
        if row_id in lines_by_id:
            first_number = lines_by_id[row_id].number
            faults.append(_make_repetition_fault(line.number, line.key_text, first_number, columns))
        else:
            lines_by_id[row_id] = line
    return lines_by_id, faults


def _choose_rows_to_review(
    tx: Connection,
    task: Task,
    lines_by_id: Mapping[str, _Line],
    planned: PlannedEdits,
    column: str,
) -> tuple[list[str], list[LineFault]]:
    """Return the rows to review, and faults of the rows that cannot be reviewed.

    A row is reviewed if the file says so, unless its answer is reviewed already and the planned
    edits do not change it. A row cannot be reviewed if it is being forgotten or has no answer. Rows
    whose right values are refused are in neither list.

    Args:
        column: The column with the reviews, for the faults.
    """
    reviewed_ids = [
        row_id
        for row_id, line in lines_by_id.items()
        if line.is_reviewed and row_id not in planned.refusals
    ]
    stored_answers = task.read_preferred_answers(tx, reviewed_ids)
    forgotten_ids = claims.filter_ids_being_forgotten(tx, task.name, reviewed_ids)
    newly_reviewed_ids: list[str] = []
    faults: list[LineFault] = []
    for row_id in reviewed_ids:
        number = lines_by_id[row_id].number
        if row_id in forgotten_ids:
            faults.append(LineFault(number, column, "the row is being forgotten"))
        elif row_id not in stored_answers and row_id not in planned.new_edits:
            faults.append(LineFault(number, column, "the row has no answer to review"))
        elif row_id in planned.new_edits or stored_answers[row_id].reviewed_at is None:
            newly_reviewed_ids.append(row_id)
    return newly_reviewed_ids, faults


def _list_refusal_faults(
    error: AskrowsError, number: int, columns: _Columns
) -> Iterator[LineFault]:
    """Yield the faults of a line whose right values were refused by an error.

    An invalid answer has a fault for each invalid field. Any other error is a fault of the line.
    """
    if isinstance(error, RefusedRowError):
        yield LineFault(number, "", error.reason)
    elif isinstance(error, InvalidAnswerError):
        for name, message in error.faults.items():
            yield LineFault(number, columns.by_field.get(name, name), message)
    else:
        yield LineFault(number, "", error.message.removesuffix(f"; {UNCHANGED_MESSAGE}"))


def _make_hint(task: Task, *, has_unknown_rows: bool) -> object:
    """Return what to do about faults; unknown rows may be new in the source of the rows."""
    if not has_unknown_rows or not task.source_hint:
        return CORRECT_LINES_HINT
    return HintTemplate(
        f"{CORRECT_LINES_HINT}; `{{}}` reads new rows of the source",
        task.nouns.command("tag", dry=True),
    )


# ---- the report


def _make_correction_report(
    path: Path,
    lines_by_id: Mapping[str, _Line],
    planned: PlannedEdits,
    newly_reviewed_ids: Sequence[str],
) -> CorrectionFileReport:
    """Return the counts of the lines, of their planned edits and of the reviewed rows.

    A line whose review is negative and that changes no value counts only as unlabelled.
    """
    # A cell of a row that nobody looked at is a right value only if it changes the answer.
    unlabelled_ids = {
        row_id
        for row_id, line in lines_by_id.items()
        if line.is_reviewed is False and row_id not in planned.new_edits
    }
    changed_ids = planned.new_edits.keys() | set(newly_reviewed_ids)
    report = CorrectionFileReport(
        str(path),
        labelled=len(lines_by_id) - len(unlabelled_ids),
        reviewed=len(newly_reviewed_ids),
        unchanged=len(lines_by_id.keys() - changed_ids - unlabelled_ids),
        unlabelled=len(unlabelled_ids),
    )
    for new_edit in planned.new_edits.values():
        before = new_edit.edit.before
        changed_fields = [
            name for name, value in new_edit.edit.after.items() if before.get(name) != value
        ]
        for name in changed_fields:
            report.changed_values[name] = report.changed_values.get(name, 0) + 1
        report.corrected += bool(changed_fields)
        report.confirmed += not changed_fields
        report.unanswered += not before
    return report
