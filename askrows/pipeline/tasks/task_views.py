"""Grid, export and index of the rows of a task.

- A row of an export has its state and an answer.
- An index entry is a row that is in its source and has an answer of any version. Its text is a
  template with names of columns, and of fields of the preferred answer. It does not contain the
  times at which the row was read or changed.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Text, cast, func, literal

from askrows.pipeline.core.column_placeholders import (
    fill_template,
    find_exact_or_similar_column,
    format_column_hint,
    list_template_columns,
)
from askrows.pipeline.core.declaration import ID_COLUMN
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.quotes import is_quotation, iterate_leaves
from askrows.pipeline.core.ranking import Entry, FieldGroup, Ranking
from askrows.pipeline.core.row_listing import NO_FILTER
from askrows.pipeline.core.settings import DEFAULT_TASK
from askrows.pipeline.rows.answer_views import (
    ANSWERED_AT,
    CORRECTED_BY,
    JSON,
    VERSION_COLUMN,
    make_source_column_expression,
)
from askrows.pipeline.rows.cells import (
    find_text_by_similar_name,
    iterate_nested_texts,
    parse_cell_if_json,
    stripped_text,
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
from askrows.pipeline.store.rows import NO_HASH
from askrows.pipeline.store.schema import answers as answers_table
from askrows.pipeline.store.task_record import TaskRecord
from askrows.pipeline.tasks.task_values import ExportOptions, ExportRows, IndexedTask, RecordedTask

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
# Characters of the text that a hit contains.
MAX_HIT_TEXT_CHARS = 1_000
# Longest name of a row.
MAX_ROW_NAME_CHARS = 1_000
# Longer texts of an answer are sentences and no tags; neither are quotations.
MAX_TAG_CHARS = 30
# Members of each hit, beside those of its columns.
HIT_MEMBERS = ("rank", "similarity", "score", "weak", "untagged", "why", "matching_tags", "snippet")
# Words of an answer count half as much as those of the text.
ANSWER_WORDS_WEIGHT = 0.5


def name_row(record: TaskRecord, row: Mapping[str, Any]) -> str:
    """Return the name of an unpacked row: its filled name template, else its key.

    With `file_key=`, it is the value of this column instead of the key. A filled template has
    single blanks, and is cut to MAX_ROW_NAME_CHARS.
    """
    template = record.name_template or ""
    row_name = fill_template(
        template,
        lambda name: to_prompt_text(row.get(find_exact_or_similar_column(name, row) or name)),
    )
    file_key = to_prompt_text(row.get(record.file_key))
    return " ".join(row_name.split())[:MAX_ROW_NAME_CHARS] or file_key or str(row[KEY_COLUMN])


class TaskGridBuilder:
    """Build the grid of a task's rows: columns of the source and fields of the answers.

    A field that has the name of a column, or of a judgement about a row such as `confidence`, is
    listed as `answer_NAME`.
    """

    def __init__(self, tx: Connection, task: RecordedTask) -> None:
        """Look up names; `tx` must stay open while the grid is used."""
        self._tx = tx
        self._task = task
        self._record = task.record
        self._table = task.select_task_rows(tx)
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
            preference=self._task.make_version_preference(self._tx),
            answer_fields=self._fields,
            threshold=self._task.settings.doubtful,
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


def read_export(tx: Connection, task: RecordedTask, options: ExportOptions) -> ExportRows:
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

    Returns:
        The rows, which are read when iterated. The counts by version are complete after that.

    Raises:
        InputError: `options.answer_version` has no answers.
    """
    record = task.record
    headers = record.headers
    grid = task.make_grid(tx)
    judgements = grid.judgements
    left_out_names = judgements.columns.keys() - judgements.confidence_names.values()
    if not options.cost:
        left_out_names |= set(grid.cost_names)
    # The names of the rows identify them in files.
    left_out_names |= {ID_COLUMN} if record.file_key else set()
    names = [name for name in grid.columns if name not in left_out_names]

    version_counts = Counter[str]()
    left_out_corrections = 0
    if options.answer_version is not None:
        counts = {
            count.version: count.rows
            for count in answers.count_applied_answers_by_version(tx, task.name)
        }
        task.check_version_has_answers(options.answer_version, counts)
        if options.answer_version != answers.PERSON:
            left_out_corrections = counts.get(answers.PERSON, 0)

    editors_by_id = {}
    if options.answer_version in {None, answers.PERSON}:
        editors_by_id = _describe_editors(tx, task.name)
    editors_name = choose_free_column_names(names, [CORRECTED_BY], ANSWER_PREFIX)[CORRECTED_BY]

    exported_columns = {headers.get(name, name): grid.columns[name] for name in names}
    readers = {name: column.read for name, column in exported_columns.items()}

    def iterate_rows() -> Iterator[dict[str, Any]]:
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
        iterate_rows(),
        kinds,
        version=options.answer_version,
        version_counts=version_counts,
        left_out_corrections=left_out_corrections,
    )


def _describe_editors(tx: Connection, task: str) -> dict[str, str]:
    """Return by row id a text of the fields that people corrected, each with its last editor.

    Undone edits do not count. Rows without other edits are left out.
    """
    editors_by_id = {}
    for row_id, row_edits in edits.list_edits(tx, task, None).items():
        editor_by_field: dict[str, str] = {}
        for edit in edits.list_active_edits(row_edits):
            editor_by_field |= dict.fromkeys(sorted(edit.fields), edit.who)
        if editor_by_field:
            parts = [f"{field}: {editor}" for field, editor in editor_by_field.items()]
            editors_by_id[row_id] = "; ".join(parts)
    return editors_by_id


# ---- index


def make_index(task: RecordedTask, *, text_columns: Sequence[str] = ()) -> IndexedTask:
    """Return how the rows of a recorded task are indexed.

    If a function makes the text, words of the label and of the answer count only in that text.

    Args:
        text_columns: Other columns of the rows that belong to the searched and embedded text.
    """
    record = task.record
    key_names = [record.file_key] if record.file_key else [name for name, _ in record.key]
    key = next((member for member, name in record.metadata.items() if [name] == key_names), "id")
    hit_columns = ["key", "label", "text"]
    # Names of the members of a hit by column; empty for the usual members.
    hit_names = choose_free_column_names(HIT_MEMBERS, record.list_columns, "row_")
    if hit_names:
        hit_columns = [key, *hit_names.values()]
    text_fields = ("text", *map(_name_word_field, text_columns))
    groups = [FieldGroup((*text_fields, "label")), FieldGroup(("answer",), ANSWER_WORDS_WEIGHT)]
    if record.has_index_function:
        groups = [FieldGroup(text_fields)]
    return IndexedTask(
        task=task.name,
        folder="" if task.name == DEFAULT_TASK else f"tasks/{task.name}",
        columns={name: name for name in ["rank", *hit_columns]},
        ranking=Ranking(tuple(groups), question_words=" ".join(record.question_words)),
        count_entries=partial(_count_index_entries, task),
        read_entries=partial(_read_index_entries, task, text_columns),
        read_untagged=partial(_read_unanswered_entries, task, text_columns),
        check_columns=partial(_check_text_columns, record),
        key=key,
        list_texts=partial(_list_texts, record, text_columns),
        tags_of=_list_short_texts,
        hit_fields=partial(_make_hit_fields, record, key, hit_names),
    )


def _name_word_field(column: str) -> str:
    """Return the name of the field of words of a column of INDEX_COLUMNS=."""
    return f"column:{column}"


def _check_text_columns(record: TaskRecord, _tx: Connection, names: Sequence[str]) -> None:
    """Check that the rows of a task have the columns of INDEX_COLUMNS=.

    Raises:
        InputError: The rows have no such column; the hint suggests a similar name.
    """
    for name in names:
        if find_exact_or_similar_column(name, record.shown_columns) is None:
            raise InputError(
                f"the rows of {record.name} have no column {name!r}; "
                "the index in service was not changed",
                hint=format_column_hint(name, record.shown_columns),
            )


def _list_texts(
    record: TaskRecord, text_columns: Sequence[str], content: Mapping[str, Any]
) -> list[str]:
    """Return the texts of an entry that phrases and snippets are taken from.

    They are columns of INDEX_COLUMNS=, those of the prompt if a function made the text, and the
    text.
    """
    names = [*text_columns]
    if record.has_index_function:
        key_names = {record.file_key, *dict(record.key)}
        names += [name for name in record.asked_columns if name not in key_names]
    texts = [find_text_by_similar_name(content["row"], name) for name in names]
    return [text for text in [*texts, content["text"]] if text]


def _make_hit_fields(
    record: TaskRecord, key: str, hit_names: Mapping[str, str], content: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the members of a hit, from the content of its entry.

    The usual members are key, label, text (at most MAX_HIT_TEXT_CHARS characters) and answer.

    Args:
        key: The member of the content that names the entry.
        hit_names: Names of members of the hit by column; empty for the usual members.
    """
    if hit_names:
        shown_values = {name: content[member] for member, name in record.metadata.items()}
        values = {**content["answer"], **content["row"], **shown_values}
        members = {hit_name: values[name] for name, hit_name in hit_names.items()}
        return {key: content[key], **members}
    return {
        "key": str(content[key] or content["id"]),
        "label": content["label"],
        "text": content["text"][:MAX_HIT_TEXT_CHARS],
        "answer": content["answer"],
    }


def _list_short_texts(content: Mapping[str, Any]) -> list[str]:
    """Return all texts of the answer of an entry with at most MAX_TAG_CHARS, in any of its fields.

    Quotations and numbers are left out.
    """
    tags = list[str]()
    for _, leaf in iterate_leaves(content["answer"]):
        # A number says nothing without its field.
        if not is_quotation(leaf) and not isinstance(leaf, int | float):
            tags += [text for text in iterate_nested_texts(leaf) if len(text) <= MAX_TAG_CHARS]
    return tags


def _count_index_entries(task: RecordedTask, tx: Connection) -> int:
    """Return how many rows are in their source and have an answer of any version."""
    table = task.select_task_rows(tx)
    columns = table.table.c
    is_in_source = columns.askrows_gone_at.is_(None)
    is_answered = answers.is_answered(task.name, columns.askrows_key)
    return table.count_rows(tx, is_in_source, is_answered)


def _read_unanswered_entries(
    task: RecordedTask, text_columns: Sequence[str], tx: Connection
) -> Iterator[Entry]:
    """Yield the entries of rows without an answer that have a text, by ascending id.

    A function of the task's file makes the text. A template needs an answer.
    """
    columns = task.select_task_rows(tx).table.c
    conditions = [
        answers_table.c.id.is_(None),
        ~columns.askrows_empty,
        columns[INDEX_TEXT_COLUMN] != "",
    ]
    return _read_entries(task, text_columns, tx, conditions)


def _read_index_entries(
    task: RecordedTask,
    text_columns: Sequence[str],
    tx: Connection,
    among: Sequence[str] | None = None,
) -> Iterator[Entry]:
    """Yield the index entries of the rows in the source that have an answer, by ascending id.

    Args:
        among: Only rows of these ids. All rows if omitted.
    """
    conditions = [answers_table.c.id.is_not(None)]
    return _read_entries(task, text_columns, tx, conditions, row_ids=among)


def _read_entries(
    task: RecordedTask,
    text_columns: Sequence[str],
    tx: Connection,
    conditions: Sequence[ColumnElement[bool]],
    *,
    row_ids: Sequence[str] | None = None,
) -> Iterator[Entry]:
    """Yield the index entries of the rows in the source that meet conditions, by ascending id.

    An entry has the preferred answer. It stores id, label, text, the fields of the answer, and the
    columns of the row. Its metadata are all of these or, with `metadata=`, the id and the members
    that are named there.
    """
    record = task.record
    template = record.index_template or ""
    columns_by_name = {
        name: find_exact_or_similar_column(name, record.shown_columns)
        for name in list_template_columns(template)
    }
    rows = task.make_grid(tx).read_rows(tx, conditions=conditions, row_ids=row_ids)
    for row in rows:
        values = task.unpack_row({KEY_COLUMN: row.id, VALUES_COLUMN: row.cells[VALUES_COLUMN]})
        row_name = name_row(record, values)
        # The name replaces an empty text.
        entry_text = row.cells[INDEX_TEXT_COLUMN]
        if not record.has_index_function:
            entry_text = _fill_entry_text(template, columns_by_name, values, row.fields)
        text = entry_text or row_name
        fields = {name: row.fields.get(name) for name, _ in record.fields}
        # WHERE= of a search can name any column.
        columns = {name: values[name] for name in record.shown_columns}
        content = {"id": row.id, "label": row_name, "text": text, "answer": fields, "row": columns}
        facts: list[Any] = [row_name, fields, columns]
        metadata = content
        extra_cells: dict[str, Any] = {}
        if record.metadata:
            metadata = _make_metadata(record, row.id, fields, columns)
            extra_cells = {name: cell for name, cell in content.items() if name != "id"}
            facts.append(metadata)
        column_texts = {name: find_text_by_similar_name(columns, name) for name in text_columns}
        searched_texts = {
            "text": text,
            "label": row_name,
            "answer": "\n".join(iterate_nested_texts(fields)),
            **{_name_word_field(name): cell for name, cell in column_texts.items()},
        }
        parts = [text, *(f"{name}: {cell}." for name, cell in column_texts.items() if cell)]
        yield Entry(row.id, " ".join(parts), metadata, facts, searched_texts, extra_cells)


def _make_metadata(
    record: TaskRecord, row_id: str, fields: Mapping[str, Any], columns: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the metadata of an entry as `metadata=` declares them, after the id.

    The id is a number if the key is a column of whole numbers. Texts are stripped. Missing texts
    and lists are empty.
    """
    metadata: dict[str, Any] = {"id": row_id}
    (key, kind), *other_keys = record.key
    if kind == "integer" and not other_keys:
        metadata["id"] = columns[key]
    values = {**fields, **columns}
    kinds = {**dict(record.fields), **record.shown_columns}
    list_fields = {field.name for field in record.answer_fields if field.kind == "list"}
    for member, name in record.metadata.items():
        value = values[name]
        if kinds[name] == "text":
            value = stripped_text(value)
        elif value is None and name in list_fields:
            value = []
        metadata[member] = value
    return metadata


def _fill_entry_text(
    template: str,
    columns_by_name: Mapping[str, str | None],
    row: Mapping[str, Any],
    answer: Mapping[str, Any],
) -> str:
    """Return the text of an entry: the template filled with a row and its answer, stripped.

    Several texts of a field are joined by commas.

    Args:
        columns_by_name: The column of each name in the template, or None for a field of the answer.
    """

    def text_of(name: str) -> str:
        """Return the text of a placeholder."""
        column = columns_by_name[name]
        if column is not None:
            return to_prompt_text(row[column])
        return ", ".join(iterate_nested_texts(answer.get(name)))

    return fill_template(template, text_of).strip()
