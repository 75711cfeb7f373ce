"""How the rows of a task are indexed.

An index entry is a row that is in its source and has an answer of any version. Its text is a
template with names of columns, and of fields of the preferred answer. It does not contain the times
at which the row was read or changed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection

from askrows.pipeline.core.column_placeholders import (
    fill_template,
    find_column_by_exact_or_folded_name,
    format_column_hint,
    list_template_columns,
)
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.quotes import is_quotation, iterate_leaf_values_with_paths
from askrows.pipeline.core.ranking import Entry, FieldGroup, Ranking
from askrows.pipeline.core.settings import DEFAULT_TASK
from askrows.pipeline.rows.cells import (
    find_text_by_similar_name,
    iterate_nested_texts,
    to_prompt_text,
    to_stripped_text,
)
from askrows.pipeline.rows.grid import Grid
from askrows.pipeline.rows.stored_rows import (
    INDEX_TEXT_COLUMN,
    KEY_COLUMN,
)
from askrows.pipeline.rows.task_rows import TaskRows
from askrows.pipeline.rows.view_row import (
    choose_free_column_names,
)
from askrows.pipeline.store import answers
from askrows.pipeline.store.schema import answers as answers_table
from askrows.pipeline.store.task_record import TaskRecord
from askrows.pipeline.tasks.task_grid import name_row
from askrows.pipeline.tasks.task_values import IndexedTask

# Characters of the text that a hit contains.
MAX_HIT_TEXT_CHARS = 1_000
# Longer texts of an answer are sentences and no tags; neither are quotations.
MAX_TAG_CHARS = 30
# Members of each hit, beside those of its columns.
HIT_MEMBERS = ("rank", "similarity", "score", "weak", "untagged", "why", "matching_tags", "snippet")
# Words of an answer count half as much as those of the text.
ANSWER_WORDS_WEIGHT = 0.5


def make_indexed_task(
    record: TaskRecord,
    rows: TaskRows,
    make_grid: Callable[[Connection], Grid],
    *,
    text_columns: Sequence[str],
) -> IndexedTask:
    """Return how the rows of a recorded task are indexed.

    If a function makes the text, words of the label and of the answer count only in that text.

    Args:
        record: The record of the task.
        rows: The rows of the task.
        make_grid: Returns the grid of the task for a transaction.
        text_columns: Other columns of the rows that belong to the searched and embedded text.
    """
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
        task=record.name,
        folder="" if record.name == DEFAULT_TASK else f"tasks/{record.name}",
        columns={name: name for name in ["rank", *hit_columns]},
        ranking=Ranking(tuple(groups), question_words=" ".join(record.question_words)),
        count_entries=partial(_count_index_entries, rows),
        read_entries=partial(_read_index_entries, record, make_grid, text_columns),
        read_untagged=partial(_read_unanswered_entries, record, make_grid, text_columns),
        check_columns=partial(_check_text_columns, record),
        key=key,
        list_texts=partial(_list_snippet_texts, record, text_columns),
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
        if find_column_by_exact_or_folded_name(name, record.shown_columns) is None:
            raise InputError(
                f"the rows of {record.name} have no column {name!r}; "
                "the index in service was not changed",
                hint=format_column_hint(name, record.shown_columns),
            )


def _list_snippet_texts(
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
    for _, leaf in iterate_leaf_values_with_paths(content["answer"]):
        # A number says nothing without its field.
        if not is_quotation(leaf) and not isinstance(leaf, int | float):
            tags += [text for text in iterate_nested_texts(leaf) if len(text) <= MAX_TAG_CHARS]
    return tags


def _count_index_entries(rows: TaskRows, tx: Connection) -> int:
    """Return how many rows are in their source and have an answer of any version."""
    columns = rows.table.c
    is_in_source = columns.askrows_gone_at.is_(None)
    is_answered = answers.is_answered(rows.task, columns.askrows_key)
    return rows.count_rows(tx, is_in_source, is_answered)


def _read_unanswered_entries(
    record: TaskRecord,
    make_grid: Callable[[Connection], Grid],
    text_columns: Sequence[str],
    tx: Connection,
) -> Iterator[Entry]:
    """Yield the entries of rows without an answer that have a text, by ascending id.

    A function of the task's file makes the text. A template needs an answer.
    """
    grid = make_grid(tx)
    columns = grid.table.table.c
    conditions = [
        answers_table.c.id.is_(None),
        ~columns.askrows_empty,
        columns[INDEX_TEXT_COLUMN] != "",
    ]
    return _read_entries(tx, record, grid, conditions, text_columns=text_columns)


def _read_index_entries(
    record: TaskRecord,
    make_grid: Callable[[Connection], Grid],
    text_columns: Sequence[str],
    tx: Connection,
    among: Sequence[str] | None = None,
) -> Iterator[Entry]:
    """Yield the index entries of the rows in the source that have an answer, by ascending id.

    Args:
        among: Only rows of these ids. All rows if omitted.
    """
    conditions = [answers_table.c.id.is_not(None)]
    return _read_entries(
        tx, record, make_grid(tx), conditions, text_columns=text_columns, row_ids=among
    )


def _read_entries(
    tx: Connection,
    record: TaskRecord,
    grid: Grid,
    conditions: Sequence[ColumnElement[bool]],
    *,
    text_columns: Sequence[str],
    row_ids: Sequence[str] | None = None,
) -> Iterator[Entry]:
    """Yield the index entries of the rows in the source that meet conditions, by ascending id.

    An entry has the preferred answer. It stores id, label, text, the fields of the answer, and the
    columns of the row. Its metadata are all of these or, with `metadata=`, the id and the members
    that are named there.
    """
    template = record.index_template or ""
    columns_by_name = {
        name: find_column_by_exact_or_folded_name(name, record.shown_columns)
        for name in list_template_columns(template)
    }
    for row in grid.read_rows(tx, conditions=conditions, row_ids=row_ids):
        values = {KEY_COLUMN: row.id, **dict.fromkeys(record.shown_columns), **row.values}
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
            metadata = _make_declared_metadata(record, row.id, fields, columns)
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


def _make_declared_metadata(
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
            value = to_stripped_text(value)
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
