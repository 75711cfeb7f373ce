"""Index of the rows of a user's task.

- An index entry is a row that is in its source and has an answer of any version.
- Its text is a template with names of columns, and of fields of the preferred answer.
- It does not contain the times at which the row was read or changed.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_

from pipeline.core.column_placeholders import fill_template, find_column, list_template_columns
from pipeline.core.quotes import is_quotation, iterate_leaves
from pipeline.core.ranking import Entry, FieldGroup, Ranking
from pipeline.engine.task import IndexedTask
from pipeline.engine.user_rows import UserRows
from pipeline.store import answers
from pipeline.tables.cells import iterate_texts, to_prompt_text
from pipeline.tables.stored_rows import KEY_COLUMN, VALUES_COLUMN

# Characters of the text that a hit contains.
MAX_HIT_TEXT_CHARS = 1_000
# Longer texts of an answer are sentences and no tags; neither are quotations.
MAX_TAG_CHARS = 60
ENTRY_RANKING = Ranking((FieldGroup(("text", "label")), FieldGroup(("answer",), 0.5)))


def make_index(rows: UserRows, template: str) -> IndexedTask:
    """Return how the rows of a task are indexed, with texts made from a template."""
    return IndexedTask(
        task=rows.record.name,
        folder=f"tasks/{rows.record.name}",
        entry_noun="row",
        columns={name: name for name in ("rank", "key", "label", "text")},
        ranking=ENTRY_RANKING,
        count_entries=lambda tx: rows.table(tx).count_rows(tx, _is_indexed(rows)),
        read_entries=partial(_read_entries, rows, template),
        tags_of=_list_tags,
        hit_fields=lambda metadata: {
            "key": metadata["id"],
            "label": metadata["label"],
            "text": metadata["text"][:MAX_HIT_TEXT_CHARS],
            "answer": metadata["answer"],
        },
    )


def _list_tags(metadata: Mapping[str, Any]) -> list[str]:
    """Return the short texts of an answer that are no quotations."""
    tags = list[str]()
    for _, leaf in iterate_leaves(metadata["answer"]):
        if not is_quotation(leaf):
            tags += [text for text in iterate_texts(leaf) if len(text) <= MAX_TAG_CHARS]
    return tags


def _is_indexed(rows: UserRows) -> ColumnElement[bool]:
    """Return the condition that a row is in its source and has an answer of any version."""
    columns = rows.subquery.c
    return and_(
        columns.findable_gone_at.is_(None),
        answers.is_answered(rows.record.name, columns.findable_key),
    )


def _read_entries(
    rows: UserRows,
    template: str,
    tx: Connection,
    among: Sequence[str] | None = None,
) -> Iterator[Entry]:
    """Yield the index entries of the rows in the source that have an answer, by ascending id.

    An entry has the preferred answer. Its metadata are id, label, text, the fields of the answer
    and the columns of the row.

    Args:
        template: Template of the text; its names are columns, or fields of the answer.
        among: Only rows of these ids. All rows if omitted.
    """
    record = rows.record
    columns_by_name = {
        name: find_column(name, record.columns) for name in list_template_columns(template)
    }
    for row in rows.grid(tx).read_rows(tx, has_answer=True, row_ids=among):
        values = rows.map_row({KEY_COLUMN: row.id, VALUES_COLUMN: row.cells[VALUES_COLUMN]})
        row_name = rows.display_name_of(values)
        # The name replaces an empty text.
        text = _fill_entry_text(template, columns_by_name, values, row.fields) or row_name
        fields = {name: row.fields.get(name) for name, _ in record.fields}
        # WHERE= of a search can name any column.
        columns = {name: values[name] for name in record.columns}
        metadata = {
            "id": row.id,
            "label": row_name,
            "text": text,
            "answer": fields,
            "row": columns,
        }
        searched_texts = {
            "text": text,
            "label": row_name,
            "answer": "\n".join(iterate_texts(fields)),
        }
        yield Entry(row.id, text, metadata, [row_name, fields, columns], searched_texts)


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
        return ", ".join(iterate_texts(answer.get(name)))

    return fill_template(template, text_of).strip()
