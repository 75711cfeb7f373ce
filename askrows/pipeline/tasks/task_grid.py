"""Grid and export of the rows of a task; a row of both has its state and an answer."""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Text, cast, func, literal

from askrows.pipeline.core.column_placeholders import (
    fill_template,
    find_column_by_exact_or_folded_name,
)
from askrows.pipeline.core.declaration import ID_COLUMN
from askrows.pipeline.core.row_listing import NO_FILTER
from askrows.pipeline.rows.answer_views import (
    ANSWERED_AT,
    CORRECTED_BY,
    JSON,
    VERSION_COLUMN,
    make_source_column_expression,
)
from askrows.pipeline.rows.cells import (
    parse_cell_if_json,
    to_column_value,
    to_prompt_text,
)
from askrows.pipeline.rows.grid import Grid, make_grid
from askrows.pipeline.rows.stored_rows import (
    CHANGED_AT_COLUMN,
    HASH_COLUMN,
    INDEX_TEXT_COLUMN,
    KEY_COLUMN,
    PLACE_COLUMN,
    ROW_NUMBER_COLUMN,
    VALUES_COLUMN,
    parse_stored_values,
)
from askrows.pipeline.rows.task_rows import TaskRows
from askrows.pipeline.rows.view_row import (
    ANSWER_PREFIX,
    COST_KINDS,
    ViewColumn,
    ViewRow,
    choose_answer_column_names,
    choose_free_column_names,
    list_place_column_name,
    read_cell,
)
from askrows.pipeline.rows.where_sql import JsonCell, make_json_cell, make_number_expression
from askrows.pipeline.store import answers, edits
from askrows.pipeline.store.answers import VersionPreference
from askrows.pipeline.store.rows import NO_HASH
from askrows.pipeline.store.schema import answers as answers_table
from askrows.pipeline.store.task_record import TaskRecord
from askrows.pipeline.tasks.task_values import ExportOptions, ExportRows

# Sorts before all numbers when negated; replaces missing numbers.
MISSING_NUMBER = 9e307
_CELL_NAMES = (
    KEY_COLUMN,
    PLACE_COLUMN,
    VALUES_COLUMN,
    HASH_COLUMN,
    CHANGED_AT_COLUMN,
    INDEX_TEXT_COLUMN,
)
# Longest name of a row.
MAX_ROW_NAME_CHARS = 1_000


def name_row(record: TaskRecord, row: Mapping[str, Any]) -> str:
    """Return the name of an unpacked row: its filled name template, else its key.

    With `file_key=`, it is the value of this column instead of the key. A filled template has
    single blanks, and is cut to MAX_ROW_NAME_CHARS.
    """
    template = record.name_template or ""
    row_name = fill_template(
        template,
        lambda name: to_prompt_text(
            row.get(find_column_by_exact_or_folded_name(name, row) or name)
        ),
    )
    file_key = to_prompt_text(row.get(record.file_key))
    return " ".join(row_name.split())[:MAX_ROW_NAME_CHARS] or file_key or str(row[KEY_COLUMN])


class TaskGridBuilder:
    """Build the grid of a task's rows: columns of the source and fields of the answers.

    A field that has the name of a column, or of a judgement about a row such as `confidence`, is
    listed as `answer_NAME`.
    """

    def __init__(
        self,
        tx: Connection,
        record: TaskRecord,
        rows: TaskRows,
        *,
        preference: VersionPreference,
        doubtful_threshold: float,
    ) -> None:
        """Look up names; `tx` must stay open while the grid is used.

        Args:
            tx: A connection to the database that will run the queries.
            record: The record of the task.
            rows: The rows of the task.
            preference: The order of preference of the answers to a row.
            doubtful_threshold: Answers with a lower confidence are doubtful.
        """
        self._tx = tx
        self._record = record
        self._table = rows
        self._preference = preference
        self._doubtful_threshold = doubtful_threshold
        self._values = self._table.table.c[VALUES_COLUMN]
        # A key that is a hash of the row is no column of the source.
        self._own_keys = [
            name for name, _ in self._record.key if name not in self._record.shown_columns
        ]
        sources = [*self._record.shown_columns, *self._own_keys]
        # Names of the fields by the names of their columns.
        self._fields = {
            name: field for field, name in choose_answer_column_names(self._record).items()
        }
        answer_parts = (VERSION_COLUMN, ANSWERED_AT, *COST_KINDS)
        self._answer_names = choose_free_column_names(
            [*sources, *self._fields], answer_parts, ANSWER_PREFIX
        )

    def build(self) -> Grid:
        """Return the grid, a list of the task's rows that can be searched, filtered and sorted.

        The columns of `list_columns=` are shown by default. Without it, these are the key (or the
        column that names the rows), images, columns of the prompt, derived values and fields.
        """
        key_names = [name for name, _ in self._record.key]
        default_names = dict.fromkeys(
            self._record.list_columns
            or [
                *([self._record.file_key] if self._record.file_key else key_names),
                *self._record.image_columns,
                *self._record.asked_columns,
                *self._record.derived,
                *self._fields,
            ],
        )
        uncounted_names = {*default_names, *key_names}
        # Their values are different in nearly all rows, as are those of the key and of the prompt.
        uncounted_fields = {
            field.name
            for field in self._record.answer_fields
            if field.kind in {"quotation", "object"}
        }
        return make_grid(
            self._tx,
            self._table,
            self._make_columns(),
            preference=self._preference,
            answer_fields=self._fields,
            threshold=self._doubtful_threshold,
            cells={
                **{name: self._table.table.c[name] for name in _CELL_NAMES},
                **{name: answers_table.c[name] for name in COST_KINDS},
            },
            read_values=partial(_read_source_values, self._record.headers),
            source_names=[*self._record.shown_columns, *self._own_keys],
            default_names=list(default_names),
            cost_names=[self._answer_names[part] for part in COST_KINDS],
            # The values contain the key, unless it is a hash.
            searched_cells=(),
            searched_documents=(self._values, answers_table.c.answer),
            facets=[
                *(name for name, field in self._fields.items() if field not in uncounted_fields),
                *(name for name in self._record.shown_columns if name not in uncounted_names),
            ],
        )

    def _make_columns(self) -> dict[str, ViewColumn]:
        """Return the columns of a row by name: source, key, row number, and answer.

        Those of the answer are its fields, its version and time, and its cost. A later column
        replaces an earlier one of the same name.
        """
        columns = {
            name: ViewColumn(
                partial(_read_source_cell, name, kind),
                kind,
                JsonCell(self._values, (name,)),
                self._make_source_sort_keys(name, kind),
            )
            for name, kind in self._record.shown_columns.items()
        }
        columns |= dict.fromkeys(self._own_keys, ViewColumn(_read_key))
        rows = self._table.table.c
        number_column = ViewColumn(
            partial(read_cell, PLACE_COLUMN),
            "integer",
            make_json_cell(PLACE_COLUMN, cast(rows[PLACE_COLUMN], Text)),
            [rows[ROW_NUMBER_COLUMN]],
        )
        columns |= dict.fromkeys(list_place_column_name(self._record), number_column)
        kinds = dict(self._record.fields)
        for name, field in self._fields.items():
            kind = kinds[field]
            document = answers_table.c.answer
            sort_cell = _make_sort_cell(self._tx, document, field, kind)
            columns[name] = ViewColumn(
                partial(_read_answer_field, field, kind),
                kind,
                JsonCell(document, (field,)),
                () if kind == JSON else [sort_cell],
            )
        names = self._answer_names
        columns[names[VERSION_COLUMN]] = ViewColumn(_read_answer_version)
        columns[names[ANSWERED_AT]] = ViewColumn(_read_answer_time, "time")
        for part, kind in COST_KINDS.items():
            columns[names[part]] = ViewColumn(partial(read_cell, part), kind)
        return columns

    def _make_source_sort_keys(self, name: str, kind: str) -> list[ColumnElement[Any]]:
        """Return the expressions that rows are sorted by for a column of the source.

        Missing values are first. Columns of texts are sorted by the numbers in them before the
        texts, with other texts first.
        """
        cell = _make_sort_cell(self._tx, self._values, name, kind)
        if kind != "text":
            return [cell]
        return [_replace_missing(make_number_expression(self._tx, cell)), cell]


def _read_source_values(headers: Mapping[str, str], cells: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a row by the columns of its source.

    A refused row may have cells by the names of its file; they are renamed, too.
    """
    values = parse_stored_values(cells[VALUES_COLUMN])
    if headers and cells[HASH_COLUMN] == NO_HASH:
        columns = {header: name for name, header in headers.items()}
        return {columns.get(name, name): value for name, value in values.items()}
    return values


def _read_source_cell(name: str, kind: str, row: ViewRow) -> Any:
    """Return a cell of the source; that of a JSON column is parsed."""
    value = row.values.get(name)
    return parse_cell_if_json(value) if kind == JSON else value


def _read_key(row: ViewRow) -> str | None:
    """Return the key of a row; a refused row has none."""
    return None if row.cells[HASH_COLUMN] == NO_HASH else row.id


def _read_answer_version(row: ViewRow) -> str | None:
    return row.answer and row.answer.version


def _read_answer_time(row: ViewRow) -> str | None:
    return row.answer and row.answer.at.isoformat()


def _read_answer_field(name: str, kind: str, row: ViewRow) -> Any:
    """Return the value of a field of the answer, or None if it is not of the field's kind.

    JSON stays as it is. A time is an ISO 8601 text in UTC.
    """
    value = row.fields.get(name)
    if kind == JSON:
        return value
    column_value = to_column_value(kind, value)
    if kind == "time" and column_value is not None:
        return datetime.fromisoformat(column_value).isoformat()
    return column_value


def _make_sort_cell(
    tx: Connection,
    document: ColumnElement[Any],
    name: str,
    kind: str,
) -> ColumnElement[Any]:
    """Return a member of a JSON document to sort by: a number if its kind is one, else a text."""
    sorted_kind = "real" if kind in {"integer", "real"} else "text"
    return _replace_missing(make_source_column_expression(tx, document, name, sorted_kind))


def _replace_missing(cell: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return a text or number that is before all others instead of NULL."""
    if isinstance(cell.type, Text):
        return func.coalesce(cell, "")
    lowest_number = literal(-MISSING_NUMBER, cell.type)
    return func.coalesce(cell, lowest_number)


# ---- export


def read_export(
    tx: Connection, record: TaskRecord, grid: Grid, options: ExportOptions
) -> ExportRows:
    """Return the rows to export in the source's order, each with its state and its answer.

    The answer is the preferred answer of the row or, with `options.answer_version`, its answer of
    this version or prompt version. Rows without it are included, with None.

    Rows that are no longer in their source are left out, unless `options.gone` is set or the
    row filter asks for their state or names ids.

    The columns are those of the grid, in its order: the source's columns, the key and the row's
    place if the source has no key, the answer's fields, its version and its time, with
    `options.cost` its tokens and cost, the confidences of its fields, and the state with its
    reason. If a person corrected a row, the last column has the corrected fields, each with its
    editor. A refused row has its cells as read.

    Args:
        tx: The connection that the grid was made with.
        record: The record of the task.
        grid: The grid of the task.
        options: The rows and columns; the version has answers.

    Returns:
        The rows, which are read when iterated. The counts by version are complete after that.
    """
    headers = record.headers
    judgements = grid.judgements
    left_out_names = judgements.columns.keys() - judgements.confidence_names.values()
    if not options.cost:
        left_out_names |= set(grid.cost_names)
    # The names of the rows identify them in files.
    left_out_names |= {ID_COLUMN} if record.file_key else set()
    names = [name for name in grid.columns if name not in left_out_names]

    version_counts = Counter[str]()
    left_out_corrections = 0
    if options.answer_version not in {None, answers.PERSON}:
        counts = {
            count.version: count.rows
            for count in answers.count_applied_answers_by_version(tx, record.name)
        }
        left_out_corrections = counts.get(answers.PERSON, 0)

    editors_by_id = {}
    if options.answer_version in {None, answers.PERSON}:
        editors_by_id = _describe_editors_by_row_id(tx, record.name)
    editors_name = choose_free_column_names(names, [CORRECTED_BY], ANSWER_PREFIX)[CORRECTED_BY]

    exported_columns = {headers.get(name, name): grid.columns[name] for name in names}
    readers = {name: column.read for name, column in exported_columns.items()}

    def iterate_and_count_rows() -> Iterator[dict[str, Any]]:
        """Yield each row with its cells, and count its answer."""
        for row in grid.read_rows(
            tx,
            options.row_filter or NO_FILTER,
            version=options.answer_version,
            has_gone_rows=options.gone,
        ):
            if row.answer is not None:
                version_counts[row.answer.version] += 1
            values = {name: read(row) for name, read in readers.items()}
            if editors_by_id:
                values[editors_name] = editors_by_id.get(row.id)
            yield values

    kinds = {name: column.kind for name, column in exported_columns.items()}
    if editors_by_id:
        kinds[editors_name] = "text"
    return ExportRows(
        iterate_and_count_rows(),
        kinds,
        version=options.answer_version,
        version_counts=version_counts,
        left_out_corrections=left_out_corrections,
    )


def _describe_editors_by_row_id(tx: Connection, task: str) -> dict[str, str]:
    """Return by row id a text of the fields that people corrected, each with its last editor.

    Undone edits do not count. Rows without other edits are left out.
    """
    editors_by_id = {}
    for row_id, row_edits in edits.list_edits_by_row_id(tx, task, None).items():
        editor_by_field: dict[str, str] = {}
        for edit in edits.list_active_edits(row_edits):
            editor_by_field |= dict.fromkeys(sorted(edit.fields), edit.who)
        if editor_by_field:
            parts = [f"{field}: {editor}" for field, editor in editor_by_field.items()]
            editors_by_id[row_id] = "; ".join(parts)
    return editors_by_id
