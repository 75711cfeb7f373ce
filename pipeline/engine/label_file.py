"""Correct and confirm the answers of many rows by a file of labels.

Each line of the file has the key of a row and the right values of fields. A value that the answer
has already is confirmed. A blank cell is no label. A column `reviewed` marks answers as reviewed.

A file is stored in one transaction, as one bulk edit, or not at all. So a killed command stores
nothing, and the same file stored twice changes nothing the second time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.core.declaration import ReadOptions, find_first_accepted_value
from pipeline.core.errors import FindableError, InputError, RefusedRowError
from pipeline.core.quotes import is_stored_quotation
from pipeline.core.text import MAX_CLEANED_CHARS, join_first, plural
from pipeline.engine import corrections
from pipeline.engine.corrections import UNCHANGED_MESSAGE, InvalidAnswerError, PlannedEdits
from pipeline.engine.task import Task
from pipeline.engine.user_task import UserTask
from pipeline.store import bulk_edits, claims, reviews
from pipeline.store.database import Connection, Store
from pipeline.tables.answer_views import ANSWERED_AT, CONFIDENCE_SUFFIX, EXTRACTOR
from pipeline.tables.cells import to_prompt_text
from pipeline.tables.columns import fold_name
from pipeline.tables.export import REASON_COLUMN, STATE_COLUMN
from pipeline.tables.row_findings import SourceRow
from pipeline.tables.source import FileSource

MAX_LISTED_FAULTS = 20
# An export adds these columns to those of the source and the answer.
_EXPORT_COLUMNS = frozenset(
    {EXTRACTOR, ANSWERED_AT, STATE_COLUMN, REASON_COLUMN, "tokens_in", "tokens_out", "cost"}
)
# Prefixes of such columns, and of fields, whose names the source has, too.
_ANSWER_PREFIX = "answer_"
_ROW_PREFIX = "row_"
# Cells of the column `reviewed`, in lower case. The second words, and empty cells, change nothing.
_REVIEWED_WORDS = frozenset({"true", "yes", "y", "1", "x"})
_UNREVIEWED_WORDS = frozenset({"false", "no", "n", "0", ""})


class LabelFault(NamedTuple):
    """A fault of a file of labels."""

    line: int
    # Empty if the fault is about the whole line.
    column: str
    message: str


class LabelFileError(InputError):
    """A file of labels has faults; nothing was changed."""

    def __init__(self, path: Path, faults: Sequence[LabelFault]) -> None:
        """Make the message, which lists the first faults by line."""
        lines = [f"{path} has {plural(len(faults), 'fault')}; {UNCHANGED_MESSAGE}"]
        for fault in sorted(faults)[:MAX_LISTED_FAULTS]:
            column = f", column {fault.column}" if fault.column else ""
            lines.append(f"line {fault.line}{column}: {fault.message}")
        if len(faults) > MAX_LISTED_FAULTS:
            lines.append(f"and {len(faults) - MAX_LISTED_FAULTS:,} more")
        super().__init__("\n".join(lines), hint="correct these lines, then type the command again")
        self.faults = faults


@dataclass
class LabelFileReport:
    """Result of a file of labels."""

    path: str
    # Number of the bulk edit; None if nothing was stored.
    number: int | None = None
    # Rows of the file with a label or a mark of review.
    labelled: int = 0
    # Rows whose answer has other values now.
    corrected: int = 0
    # Rows of which only present values became labels.
    confirmed: int = 0
    # Rows whose answer is marked as reviewed now, and was not before.
    reviewed: int = 0
    # Rows that had all these labels and marks before.
    unchanged: int = 0
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
    def is_export(self) -> bool:
        """Return whether the file has the columns of an export, so that all cells are filled."""
        return {EXTRACTOR, STATE_COLUMN} <= set(self.ignored_columns)


class _LabelColumns(NamedTuple):
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


class _LabelledRow(NamedTuple):
    """A line with labels or a mark of review."""

    line: int
    # The key, or the name of the row.
    name: str
    # The right values by field.
    values: Mapping[str, Any]
    # The answer is to be marked as reviewed.
    is_reviewed: bool


def correct_by_file(
    store: Store,
    task: Task,
    now: Callable[[], datetime],
    path: Path,
    *,
    options: ReadOptions,
    editor_name: str,
    is_dry: bool = False,
) -> LabelFileReport:
    """Correct, confirm and mark answers by the labels of a file, all in one transaction.

    An answer that differs from its labels is corrected; one that agrees is confirmed. Then the
    reviewed rows are marked. If one label or mark is refused, nothing is stored.

    Args:
        path: A CSV, JSON, JSON lines, .xlsx or Parquet file with the key columns of the task.
        options: How the file is read.
        editor_name: Name of the editor.
        is_dry: Check the file and count the changes; store nothing.

    Raises:
        LabelFileError: A row, column or value of the file is wrong; nothing was changed.
        InputError: The file cannot be read, has no label, lacks the key or a field, or the name is
            invalid.
        ConfigurationError: Code of the task's file failed.
    """
    editor_name = corrections.normalize_editor_name(editor_name)
    source = FileSource(path, options)
    with store.read() as tx:
        review_name = task.rows.grid(tx).review_name
    columns = _match_columns(task, source, review_name)
    labelled_rows, faults = _read_labelled_rows(task, source, columns)
    if not labelled_rows and not faults:
        raise InputError(
            f"{path} has no label; {UNCHANGED_MESSAGE}",
            hint=f"fill cells of {join_first(columns.filled)}",
        )
    report = LabelFileReport(
        str(path),
        labelled=len(labelled_rows),
        ignored_columns=list(columns.ignored),
        notes=list(source.notes),
        is_dry=is_dry,
    )
    edited_at = now()
    with store.read() if is_dry else store.write() as tx:
        rows_by_id, row_faults = _find_rows(tx, task, labelled_rows, columns)
        changes = {row_id: row.values for row_id, row in rows_by_id.items() if row.values}
        planned = corrections.plan_edits(
            tx, task, changes, editor_name=editor_name, edited_at=edited_at, confirms_values=True
        )
        marked_ids, mark_faults = _plan_marks(tx, task, rows_by_id, planned, columns.review)
        faults += row_faults + mark_faults
        refusals = planned.refusals
        if not (is_dry or faults or refusals) and (planned.new_edits or marked_ids):
            report.number, refusals = _store_bulk_edit(
                tx,
                task,
                planned,
                marked_ids,
                fields=[*columns.fields_by_column.values(), *filter(None, [columns.review])],
                digest=source.sha256,
                editor_name=editor_name,
                edited_at=edited_at,
            )
        for row_id, error in refusals.items():
            row = rows_by_id[row_id]
            faults += [
                fault._replace(column=columns.find_column(fault.column))
                for fault in _describe_refusal(tx, task, row_id, row, error=error)
            ]
        # The error rolls the transaction back.
        if faults:
            raise LabelFileError(path, faults)

    report.reviewed = len(marked_ids)
    report.unchanged = len(rows_by_id.keys() - planned.new_edits.keys() - set(marked_ids))
    _count_edits(report, planned)
    return report


def _plan_marks(
    tx: Connection,
    task: Task,
    rows_by_id: Mapping[str, _LabelledRow],
    planned: PlannedEdits,
    column: str,
) -> tuple[list[str], list[LabelFault]]:
    """Return the rows to mark as reviewed, and faults of the rows that cannot be marked.

    A row is to be marked if the file says so, and if its answer is new or has no mark. Rows whose
    labels are refused are in neither list.

    Args:
        column: The column with the marks, for the faults.
    """
    reviewed_ids = [row_id for row_id, row in rows_by_id.items() if row.is_reviewed]
    if not reviewed_ids:
        return [], []

    is_marked_by_id = reviews.read_marks(tx, reviewed_ids, preference=task.answers.preference(tx))
    forgotten_ids = claims.list_forgotten_ids(tx, task.name, reviewed_ids)
    marked_ids: list[str] = []
    faults: list[LabelFault] = []
    for row_id in reviewed_ids:
        if row_id in planned.refusals:
            continue
        if row_id in forgotten_ids:
            faults.append(LabelFault(rows_by_id[row_id].line, column, "the row is being forgotten"))
        elif row_id not in is_marked_by_id and row_id not in planned.new_edits:
            message = "the row has no answer to review"
            faults.append(LabelFault(rows_by_id[row_id].line, column, message))
        elif row_id in planned.new_edits or not is_marked_by_id[row_id]:
            marked_ids.append(row_id)
    return marked_ids, faults


def _store_bulk_edit(
    tx: Connection,
    task: Task,
    planned: PlannedEdits,
    marked_ids: Sequence[str],
    *,
    fields: Sequence[str],
    digest: str,
    editor_name: str,
    edited_at: datetime,
) -> tuple[int, Mapping[str, FindableError]]:
    """Store edits and marks as a complete bulk edit; return its number and refusals by row id.

    The caller must roll its transaction back if a row was refused. The marks have the time of the
    bulk edit, so that they can be undone with it.

    Args:
        marked_ids: Rows whose answers, after the edits, are marked as reviewed.
    """
    number = bulk_edits.begin_bulk_edit(
        tx, task.name, field=", ".join(fields), digest=digest, who=editor_name, now=edited_at
    )
    refusals = corrections.store_edits(tx, task, planned.new_edits, bulk_edit=number)
    preference = task.answers.preference(tx)
    reviews.mark_rows(tx, marked_ids, preference=preference, who=editor_name, at=edited_at)
    bulk_edits.complete_bulk_edit(
        tx,
        task.name,
        number,
        changed_count=len({*planned.new_edits, *marked_ids}),
        who=editor_name,
        now=edited_at,
    )
    return number, refusals


def _match_columns(task: Task, source: FileSource, review_name: str) -> _LabelColumns:
    """Return which columns of a file have the key, the fields and the marks, and which are ignored.

    Ignored columns are other columns of an export. The column of a field may be called
    `answer_FIELD`. If the file has both names, `answer_FIELD` is taken, because then the other
    column is of the rows.

    Args:
        review_name: Name of the column with the marks of review, as lists call it; "" for none.

    Raises:
        LabelFileError: A column is neither a key, nor a field, nor a column of an export.
        InputError: A key column is missing, or there is no field at all.
    """
    names = [name for name in source.names if name]
    key = _find_key_columns(task, names, source.path)
    columns_by_folded_name = {fold_name(name): name for name in names if name not in key}
    review = columns_by_folded_name.pop(fold_name(review_name), "")
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
    unknown_names = [name for name in other_names if not _is_known_column(task, name)]
    if unknown_names:
        raise LabelFileError(
            source.path,
            [LabelFault(1, name, _describe_unknown_column(task, name)) for name in unknown_names],
        )
    if not fields_by_column and not review:
        raise InputError(
            f"{source.path} has no column with labels; {UNCHANGED_MESSAGE}",
            hint=f"name a column like a field of the answer: {join_first(list(fields))}",
        )
    return _LabelColumns(key, fields_by_column, review, other_names)


def _find_key_columns(task: Task, names: Sequence[str], path: Path) -> Sequence[str]:
    """Return the columns of a file that contain the keys of its rows.

    If the task has no key columns, this is the first of the file's columns that names rows.

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
    if isinstance(task, UserTask) and name in task.record.columns:
        return True
    fields = task.prompt.answer_model.model_fields
    plain_name = name.removeprefix(_ANSWER_PREFIX)
    return (
        plain_name in _EXPORT_COLUMNS
        or name.removeprefix(_ROW_PREFIX) in {STATE_COLUMN, REASON_COLUMN}
        or plain_name.removesuffix(CONFIDENCE_SUFFIX) in fields
    )


def _describe_unknown_column(task: Task, name: str) -> str:
    fields = list(task.prompt.answer_model.model_fields)
    close_matches = get_close_matches(name, fields, n=1)
    if close_matches:
        return f"this is no field of the answer; did you mean {close_matches[0]!r}?"
    return f"this is neither a field ({', '.join(fields)}) nor a column of the rows"


def _read_labelled_rows(
    task: Task,
    source: FileSource,
    columns: _LabelColumns,
) -> tuple[list[_LabelledRow], list[LabelFault]]:
    """Read the rows of a file that have a label or a mark; return them, and the faults of lines.

    Other rows are left out. Unreadable rows, wrong marks, rows with labels but without a key, and
    repeated keys, also of rows without labels, are faults.
    """
    parse_value = _ValueParser(task)
    labelled_rows: list[_LabelledRow] = []
    faults: list[LabelFault] = []
    lines_by_name: dict[str, int] = {}
    for row in source:
        if not isinstance(row, SourceRow):
            faults.append(LabelFault(row.line, row.column, row.reason))
            continue
        line = row.line_number
        values = {
            field_name: parse_value(field_name, row.values[column])
            for column, field_name in columns.fields_by_column.items()
            if not _is_blank(row.values.get(column))
        }
        mark = _read_mark(row.values.get(columns.review))
        if mark not in _REVIEWED_WORDS | _UNREVIEWED_WORDS:
            message = (
                f"write true, yes, 1 or x, or leave it empty, not {mark[:MAX_CLEANED_CHARS]!r}"
            )
            faults.append(LabelFault(line, columns.review, message))
        is_labelled = bool(values) or mark in _REVIEWED_WORDS

        key_cells = [row.values.get(name) for name in columns.key]
        blank_names = [
            name for name, cell in zip(columns.key, key_cells, strict=True) if _is_blank(cell)
        ]
        if blank_names:
            if is_labelled:
                faults.append(LabelFault(line, blank_names[0], "the key is blank"))
            continue
        name = task.rows.join_key([to_prompt_text(cell) for cell in key_cells])
        first_line = lines_by_name.setdefault(name.strip(), line)
        if first_line != line:
            faults.append(_make_repetition_fault(line, name, first_line, columns))
        elif is_labelled:
            labelled_rows.append(_LabelledRow(line, name, values, mark in _REVIEWED_WORDS))
    return labelled_rows, faults


def _read_mark(cell: Any) -> str:
    """Return a cell of the column `reviewed` in lower case; "" for an empty cell."""
    return to_prompt_text(cell).strip().lower()


def _make_repetition_fault(
    line: int, name: str, first_line: int, columns: _LabelColumns
) -> LabelFault:
    return LabelFault(line, ", ".join(columns.key), f"{name!r} is in line {first_line}, too")


def _is_blank(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


class _ValueParser:
    """Read cells as values of fields, each different cell once."""

    def __init__(self, task: Task) -> None:
        self._answer_model = task.prompt.answer_model
        self._values_by_cell: dict[tuple[str, str], Any] = {}

    def __call__(self, field_name: str, cell: Any) -> Any:
        """Return the value of a cell; a cell that the field does not accept is read as a text."""
        cell_key = (field_name, repr(cell))
        if cell_key not in self._values_by_cell:
            candidates = list(_iterate_candidates(cell))
            quotations = [value for value in candidates if is_stored_quotation(value)]
            self._values_by_cell[cell_key] = (
                quotations[0]
                if quotations
                else find_first_accepted_value(self._answer_model, field_name, candidates)
            )
        return self._values_by_cell[cell_key]


def _iterate_candidates(cell: Any) -> Iterator[Any]:
    """Yield the values that a cell can mean, the most literal first.

    A text is yielded as text, as JSON, as a list separated by semicolons or commas, and as a truth
    value. Any other cell is yielded as it is, and then as text, unless it is a list or an object.
    """
    if not isinstance(cell, str):
        yield cell
        if isinstance(cell, list | dict):
            return
        # A spreadsheet makes numbers of texts such as 2024.
        yield to_prompt_text(cell)
        return

    text = cell.strip()
    typed_text, *other_candidates = corrections.iterate_candidates(text)
    *json_values, comma_list = other_candidates
    yield typed_text
    yield from json_values
    # Exports separate the members of some lists by semicolons.
    if ";" in text:
        yield [part.strip() for part in text.split(";") if part.strip()]
    yield comma_list
    # A spreadsheet writes TRUE.
    if text.lower() in {"true", "false"}:
        yield text.lower() == "true"


def _find_rows(
    tx: Connection,
    task: Task,
    labelled_rows: Sequence[_LabelledRow],
    columns: _LabelColumns,
) -> tuple[dict[str, _LabelledRow], list[LabelFault]]:
    """Return the labelled rows by row id, and faults of unknown and repeated keys."""
    existing_ids = task.rows.table(tx).filter_ids(tx, [row.name for row in labelled_rows])
    rows_by_id: dict[str, _LabelledRow] = {}
    faults: list[LabelFault] = []
    for row in labelled_rows:
        row_id = row.name
        if row_id not in existing_ids:
            try:
                row_id = task.rows.id_of(tx, row.name.strip())
            except InputError as error:
                faults.append(LabelFault(row.line, ", ".join(columns.key), error.message))
                continue
        if row_id in rows_by_id:
            first_line = rows_by_id[row_id].line
            faults.append(_make_repetition_fault(row.line, row.name, first_line, columns))
        else:
            rows_by_id[row_id] = row
    return rows_by_id, faults


def _describe_refusal(
    tx: Connection,
    task: Task,
    row_id: str,
    row: _LabelledRow,
    *,
    error: FindableError,
) -> Iterator[LabelFault]:
    """Yield the faults of a row whose labels were refused.

    The column of a fault is the name of the field, or "". If the answer is invalid, each label is
    validated on its own, so each wrong label has a fault. If the row has no answer yet and labels
    of required fields are missing, that is the only fault.

    Args:
        row: The labels of the row, and its line.
        error: The error of the row.
    """
    if isinstance(error, RefusedRowError):
        yield LabelFault(row.line, "", error.reason)
        return
    if not isinstance(error, InvalidAnswerError):
        yield LabelFault(row.line, "", error.message.removesuffix(f"; {UNCHANGED_MESSAGE}"))
        return

    answer = task.answers.read_current(tx, [row_id])[row_id]
    fields = task.prompt.answer_model.model_fields
    missing_fields = [
        name for name, member in fields.items() if member.is_required() and name not in row.values
    ]
    if missing_fields and not answer:
        message = (
            "the row has no answer yet, so labels of all its fields are needed, "
            f"also of {join_first(missing_fields)}"
        )
        yield LabelFault(row.line, "", message)
        return

    # The reason of the task's own check names no field.
    yield LabelFault(row.line, error.field_name if error.field_name in fields else "", error.fault)
    # The error is about the first wrong value. The others are found one by one.
    for name, value in row.values.items():
        if answer and name != error.field_name:
            try:
                corrections.validate_change(tx, task, row_id, {name: value})
            except InvalidAnswerError as field_error:
                if field_error.field_name == name:
                    yield LabelFault(row.line, name, field_error.fault)


def _count_edits(report: LabelFileReport, planned: PlannedEdits) -> None:
    """Add the counts of planned edits to a report.

    Counted are corrected and confirmed rows, rows that had no answer before, and changed values by
    field.
    """
    for new_edit in planned.new_edits.values():
        before = new_edit.edit.before
        changed_fields = [
            name for name, value in new_edit.edit.after.items() if before.get(name) != value
        ]
        for name in changed_fields:
            report.changed_values[name] = report.changed_values.get(name, 0) + 1
        if changed_fields:
            report.corrected += 1
        else:
            report.confirmed += 1
        report.unanswered += not before
