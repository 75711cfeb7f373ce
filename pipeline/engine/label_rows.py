"""Read the rows of a file of labels, with the line and column of each fault.

Each line has the key of a row, and columns named like fields have the right values. The column
`reviewed` marks answers as reviewed. Other columns of the rows, of an export and of a list are
ignored.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.core.answer_fields import AnswerField, map_answer_fields
from pipeline.core.errors import InputError
from pipeline.core.text import MAX_CLEANED_CHARS, join_first, plural, suggest_similar
from pipeline.engine.corrections import UNCHANGED_MESSAGE
from pipeline.engine.task import Task
from pipeline.tables.answer_views import ANSWERED_AT, CONFIDENCE_SUFFIX, EXTRACTOR
from pipeline.tables.cells import to_prompt_text
from pipeline.tables.columns import fold_name
from pipeline.tables.export import REASON_COLUMN
from pipeline.tables.grid import Grid
from pipeline.tables.row_findings import SourceRow
from pipeline.tables.row_table import STATE_COLUMN
from pipeline.tables.source import FileSource
from pipeline.tables.stored_rows import is_blank_cell

MAX_LISTED_FAULTS = 20
_MAX_LISTED_COLUMNS = 12
CORRECT_LINES_HINT = "correct these lines, then type the command again"
# An export adds these columns to those of the source and the answer.
_EXPORT_COLUMNS = frozenset(
    {EXTRACTOR, ANSWERED_AT, STATE_COLUMN, REASON_COLUMN, "tokens_in", "tokens_out", "cost"}
)
# Prefixes of such columns, and of fields, whose names the source has, too.
_ANSWER_PREFIX = "answer_"
_ROW_PREFIX = "row_"
# Cells of the column `reviewed` in lower case: whether the row is reviewed.
_MARKS = {
    **dict.fromkeys(("true", "yes", "y", "1", "1.0", "x"), True),
    **dict.fromkeys(("false", "no", "n", "0", "0.0"), False),
}


class LabelFault(NamedTuple):
    """A fault of a file of labels."""

    line: int
    # Empty if the fault is about the whole line.
    column: str
    message: str


class LabelFileError(InputError):
    """A file of labels has faults; nothing was changed."""

    def __init__(
        self, path: Path, faults: Sequence[LabelFault], *, hint: object = CORRECT_LINES_HINT
    ) -> None:
        """Make the message, which lists the first faults by line."""
        lines = [f"{path} has {plural(len(faults), 'fault')}; {UNCHANGED_MESSAGE}"]
        for fault in sorted(faults)[:MAX_LISTED_FAULTS]:
            column = f", column {fault.column}" if fault.column else ""
            lines.append(f"line {fault.line}{column}: {fault.message}")
        if len(faults) > MAX_LISTED_FAULTS:
            lines.append(f"and {len(faults) - MAX_LISTED_FAULTS:,} more")
        super().__init__("\n".join(lines), hint=hint)
        self.faults = faults


class LabelColumns(NamedTuple):
    """The columns of a file of labels."""

    # Names of the columns with the parts of a row's key.
    key: Sequence[str]
    fields_by_column: Mapping[str, str]
    # The column that marks rows as reviewed; "" if there is none.
    review: str
    ignored: Sequence[str]

    @property
    def filled(self) -> list[str]:
        """Return the columns that can have labels or marks."""
        return [*self.fields_by_column, *filter(None, [self.review])]

    def find_column(self, field_name: str) -> str:
        """Return the column of a field, or the name itself if no column has this field."""
        columns = [name for name, other in self.fields_by_column.items() if other == field_name]
        return columns[0] if columns else field_name


class LabelledRow(NamedTuple):
    """A line with labels or a mark of review."""

    line: int
    # The key, or the name of the row.
    key_text: str
    # The right values by field.
    values: Mapping[str, Any]
    # The answer is to be marked as reviewed. False if the file says that nobody looked at the row,
    # None if it says nothing.
    is_reviewed: bool | None


def match_columns(task: Task, source: FileSource, grid: Grid) -> LabelColumns:
    """Return which columns of a file have the key, fields and marks, and which are ignored.

    - The labels of a field are in the column `answer_FIELD` if the file has it, otherwise in the
      column `FIELD`.
    - Other columns that an export or a list of the rows has are ignored: columns of the source,
      version, state, cost and so on.
    - Any other column is an error, for example a comment that a person added.

    Args:
        grid: The list of the rows. Its review column is the column with the marks.

    Raises:
        LabelFileError: The file has an unknown column, or its marks may be values of a field.
        InputError: A key column is missing, or there is neither a column of a field nor one of
            marks.
    """
    names = [name for name in source.names if name]
    key = _find_key_columns(task, names, source.path)
    columns_by_folded_name = {fold_name(name): name for name in names if name not in key}
    review = columns_by_folded_name.pop(fold_name(grid.judgements.review_name), "")
    fields_by_column: dict[str, str] = {}
    fields = task.prompt.answer_model.model_fields
    for field_name in fields:
        exported_name = f"{_ANSWER_PREFIX}{field_name}"
        if exported_name in fields or fold_name(exported_name) not in columns_by_folded_name:
            exported_name = field_name
        column = columns_by_folded_name.get(fold_name(exported_name))
        if column is not None:
            fields_by_column[column] = field_name

    other_names = [name for name in names if name not in {*key, *fields_by_column, review}]
    unknown_names = [
        name
        for name in other_names
        if name not in grid.listed_names and not _is_known_column(task, name)
    ]
    known_names = [
        *task.rows.key_columns,
        *filter(None, [grid.judgements.review_name]),
        *grid.column_names,
    ]
    faults = [
        LabelFault(1, name, _describe_unknown_column(name, list(fields), known_names))
        for name in unknown_names
    ]
    field_column = f"{_ANSWER_PREFIX}{grid.judgements.review_name}"
    if review in fields and field_column not in names:
        # An export has the field under its own name; its values would mark rows as reviewed.
        message = f"this marks rows as reviewed; name the column of the field {field_column!r}"
        faults.append(LabelFault(1, review, message))
    if faults:
        raise LabelFileError(source.path, faults)
    if not fields_by_column and not review:
        raise InputError(
            f"{source.path} has no column with labels; {UNCHANGED_MESSAGE}",
            hint=f"name a column like a field of the answer: {join_first(list(fields))}",
        )
    return LabelColumns(key, fields_by_column, review, other_names)


def _find_key_columns(task: Task, names: Sequence[str], path: Path) -> Sequence[str]:
    """Return the columns of a file that contain the keys of its rows.

    These are the key columns of the task. If the task has no key columns, it is a single column:
    the first of the task's `name_columns`, such as `id`, that the file has.

    Args:
        names: The columns of the file.
        path: The file, for the message.

    Raises:
        InputError: A key column is missing.
    """
    columns_by_folded_name = {fold_name(name): name for name in names}
    key_names = task.rows.key_columns or task.rows.name_columns
    columns = [
        columns_by_folded_name[fold_name(name)]
        for name in key_names
        if fold_name(name) in columns_by_folded_name
    ]
    if not task.rows.key_columns:
        # Each of the names is enough.
        columns = columns[:1]
    if not columns or len(columns) < len(task.rows.key_columns):
        needed = " and ".join(repr(name) for name in key_names)
        raise InputError(
            f"{path} has no column {needed} with the keys of the rows; {UNCHANGED_MESSAGE}",
            hint=f"its columns are {join_first(names)}",
        )
    return columns


def _is_known_column(task: Task, name: str) -> bool:
    """Return whether a column is one of the rows, or is added to them by an export."""
    if task.user_file is not None and name in task.user_file.record.columns:
        return True
    fields = task.prompt.answer_model.model_fields
    plain_name = name.removeprefix(_ANSWER_PREFIX)
    return (
        plain_name in _EXPORT_COLUMNS
        or name.removeprefix(_ROW_PREFIX) in {STATE_COLUMN, REASON_COLUMN}
        or plain_name.removesuffix(CONFIDENCE_SUFFIX) in fields
    )


def _describe_unknown_column(name: str, fields: Sequence[str], known_names: Sequence[str]) -> str:
    """Return that a column is unknown, which columns are known, and the most similar one."""
    other_names = [other for other in dict.fromkeys(known_names) if other not in fields]
    message = (
        f"this is neither a field ({join_first(fields, _MAX_LISTED_COLUMNS)}) nor another "
        f"column of the rows ({join_first(other_names, _MAX_LISTED_COLUMNS)})"
    )
    suggestion = suggest_similar(name, [*fields, *other_names], is_quoted=True)
    return f"{message}; {suggestion}" if suggestion else message


def read_labelled_rows(
    task: Task,
    source: FileSource,
    columns: LabelColumns,
) -> tuple[list[LabelledRow], list[LabelFault]]:
    """Read the rows of a file that have a label or a mark; return them, and the faults of lines.

    A mark counts only if it says that a person reviewed the row. Rows without a label and without
    such a mark are left out. Unreadable rows, wrong marks, rows with labels but without a key, and
    repeated keys, also of rows without labels, are faults.
    """
    fields = map_answer_fields(task.prompt.answer_model)
    labelled_rows: list[LabelledRow] = []
    faults: list[LabelFault] = []
    lines_by_key: dict[str, int] = {}
    for row in source:
        if not isinstance(row, SourceRow):
            faults.append(LabelFault(row.line, row.column, row.reason))
            continue
        line = row.line_number
        values = {
            field_name: _parse_cell(fields[field_name], row.values[column])
            for column, field_name in columns.fields_by_column.items()
            if not is_blank_cell(row.values.get(column))
        }
        mark = to_prompt_text(row.values.get(columns.review)).strip().lower()
        if mark and mark not in _MARKS:
            message = (
                f"write true, yes, 1 or x, or leave it empty, not {mark[:MAX_CLEANED_CHARS]!r}"
            )
            faults.append(LabelFault(line, columns.review, message))
        is_reviewed = _MARKS.get(mark)
        is_labelled = bool(values or is_reviewed)

        key_cells = [row.values.get(name) for name in columns.key]
        blank_names = [
            name for name, cell in zip(columns.key, key_cells, strict=True) if is_blank_cell(cell)
        ]
        if blank_names:
            if is_labelled:
                faults.append(LabelFault(line, blank_names[0], "the key is blank"))
            continue
        key_text = task.rows.join_key([to_prompt_text(cell) for cell in key_cells])
        first_line = lines_by_key.setdefault(key_text.strip(), line)
        if first_line != line:
            faults.append(make_repetition_fault(line, key_text, first_line, columns))
        elif is_labelled:
            labelled_rows.append(LabelledRow(line, key_text, values, is_reviewed))
    return labelled_rows, faults


def make_repetition_fault(
    line: int,
    key_text: str,
    first_line: int,
    columns: LabelColumns,
) -> LabelFault:
    """Return the fault that a line has the key of an earlier line."""
    return LabelFault(
        line,
        ", ".join(columns.key),
        f"{key_text!r} is in line {first_line}, too",
    )


def _parse_cell(field: AnswerField, cell: Any) -> Any:
    """Return the value of a cell; a list or an object is a value already."""
    if isinstance(cell, list | dict):
        return cell
    return field.parse(to_prompt_text(cell).strip())
