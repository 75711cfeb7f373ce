"""The indexes of people, and their entries.

An entry is a person in the search index. Its text is embedded as a vector, and words are searched
in its fields. A person without an entry can only be found by words of the biography.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Connection

from askrows.pipeline.core.column_placeholders import find_column, format_column_hint
from askrows.pipeline.core.command_hint import OptionHint
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.ranking import Entry, FieldGroup, Ranking
from askrows.pipeline.experts import table
from askrows.pipeline.rows.cells import (
    find_cell_text,
    parse_number,
    parse_text_list,
    stripped_text,
)
from askrows.pipeline.store.database import split_into_pages
from askrows.pipeline.tasks.task import IndexedTask

NO_CELLS: Mapping[str, Any] = MappingProxyType({})

# Columns in the order of `metadata.json`.
INDEXED_COLUMNS = (
    "id",
    *(name for name in table.HEADERS if name != "category"),
    "tags",
    "findability_score",
    "category",
)
# Names in `metadata.json`, which other programs read, by column: headers, except the username.
METADATA_NAMES = {
    name: name if name == table.USERNAME else table.HEADERS.get(name, name)
    for name in INDEXED_COLUMNS
}


def make_index_entry(
    cells: Sequence[Any],
    *,
    extra_cells: Mapping[str, Any] = NO_CELLS,
    text_columns: Sequence[str] = (),
) -> Entry:
    """Return the index entry of a person: metadata, text to embed, and words by field.

    A stored entry becomes outdated if its texts or its `facts` change. The facts are the tags and
    the extra cells.

    Args:
        cells: Cells in the order of `INDEXED_COLUMNS`.
        extra_cells: Cells of other columns of imported files, by name.
        text_columns: The other columns that belong to the searched and embedded text.
    """
    row = dict(zip(INDEXED_COLUMNS, cells, strict=True))
    metadata: dict[str, Any] = {
        METADATA_NAMES[column]: stripped_text(cell) for column, cell in row.items()
    }
    metadata["id"] = row["id"]
    metadata["Hourly Rate"] = parse_number(row["hourly_rate"])
    metadata["tags"] = parse_text_list(row["tags"]) or []
    metadata["findability_score"] = parse_number(row["findability_score"])
    # Texts that a search for words looks in, by field.
    words = {
        "title": metadata["Job Title"],
        "company": metadata["Company"],
        "bio": metadata["Bio"],
        "name": f"{metadata['First Name']} {metadata['Last Name']}",
        "tags": ", ".join(metadata["tags"]),
    }
    column_texts = {name: find_cell_text(extra_cells, name) for name in text_columns}
    words |= {_word_field(name): text for name, text in column_texts.items()}
    tags = metadata["tags"]
    return Entry(
        str(cells[0]),
        _index_text(metadata, column_texts),
        metadata,
        [tags, extra_cells] if extra_cells else tags,
        words,
        extra_cells,
    )


def _word_field(column: str) -> str:
    """Return the name of the field of words of another column."""
    return f"column:{column}"


def _index_text(metadata: Mapping[str, Any], column_texts: Mapping[str, str]) -> str:
    """Return `First Last. Title at Company. bio Skills: a, b. Domains: tag1, tag2.` of an entry.

    `Skills` is an example of a column of `column_texts`; they follow in their order. Missing parts
    are left out. If all are missing, returns the username.

    Args:
        metadata: The entry's part of `metadata.json`.
        column_texts: Texts of the other columns that are indexed, by name.
    """
    first_name = metadata["First Name"]
    last_name = metadata["Last Name"]
    tags = metadata["tags"]

    parts: list[str] = []
    if first_name or last_name:
        full_name = " ".join(filter(None, (first_name, last_name)))
        parts.append(f"{full_name}.")
    work = _work_text(metadata["Job Title"], metadata["Company"])
    if work:
        parts.append(f"{work}.")
    parts.append(metadata["Bio"])
    parts += [f"{name}: {text}." for name, text in column_texts.items() if text]
    if tags:
        parts.append(f"Domains: {', '.join(tags)}.")
    return " ".join(filter(None, parts)) or metadata["username"]


def _work_text(title: str, company: str) -> str:
    """Return job title and company as a phrase; "" if both are missing."""
    if title and company:
        return f"{title} at {company}"
    if company:
        return f"Works at {company}"
    return title


def _read_entries(
    condition: ColumnElement[bool],
    text_columns: Sequence[str],
    tx: Connection,
    row_ids: Sequence[str] | None = None,
) -> Iterator[Entry]:
    """Yield the index entries of the people that meet a condition, in constant memory.

    Args:
        condition: Condition on the table of people.
        text_columns: Other columns of imported files that belong to the text.
        tx: Snapshot of the database.
        row_ids: Only these people. All people if omitted.
    """
    rows = table.people_table(tx).read_cells(tx, INDEXED_COLUMNS, condition, row_ids=row_ids)
    for page in split_into_pages(rows, table.PEOPLE_PER_PAGE):
        # Id and username are the first columns.
        cells_by_id = table.read_extra_cells(tx, {str(cells[0]): cells[1] for cells in page})
        for cells in page:
            yield make_index_entry(
                cells,
                extra_cells=cells_by_id.get(str(cells[0]), NO_CELLS),
                text_columns=text_columns,
            )


def _count_entries(tx: Connection) -> int:
    """Return how many people have tags."""
    return table.people_table(tx).count_rows(tx, table.tagged)


def _list_texts(text_columns: Sequence[str], content: Mapping[str, Any]) -> list[str]:
    """Return the texts that phrases and snippets are taken from, from the content of an entry."""
    texts = [content[name] for name in ("Job Title", "Company", "Bio")]
    texts += [find_cell_text(content, name) for name in text_columns]
    return [text for text in texts if text]


def _list_tags(metadata: Mapping[str, Any]) -> list[str]:
    """Return the tags of a person, from the metadata of the entry."""
    return [str(tag) for tag in metadata["tags"] or ()]


def _search_hit(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of a person in search results."""
    name = f"{metadata['First Name']} {metadata['Last Name']}".strip()
    return {
        "username": metadata["username"],
        "name": name,
        "job_title": metadata["Job Title"],
        "tags": metadata["tags"],
        "findability_score": metadata["findability_score"],
    }


def _check_columns(tx: Connection, names: Sequence[str]) -> None:
    """Check that imported files had columns of these names that are not columns of people.

    Raises:
        InputError: No file had such a column; the hint suggests a similar name.
    """
    stored_names = table.read_extra_column_names(tx)
    for name in names:
        if find_column(name, stored_names) is None:
            raise InputError(
                f"no imported file has a column {name!r} beside the columns of people; "
                "the index in service was not changed",
                hint=format_column_hint(name, stored_names)
                or f"leave out {OptionHint('index_columns')}, or import the column first",
            )


def make_people_index(text_columns: Sequence[str] = ()) -> IndexedTask:
    """Return the definition of the index of people: its entries and their texts; read nothing.

    All tagged people are entries. No vector is computed for untagged people: only words of their
    biographies find them.

    Args:
        text_columns: Other columns of imported files that belong to the text.
    """
    word_fields = ("title", "company", "bio", "name", "tags", *map(_word_field, text_columns))
    return IndexedTask(
        task=table.TASK,
        example_question="who knows water law",
        columns={
            "rank": "rank",
            "username": "username",
            "name": "name",
            "title": "job_title",
            "tags": "tags",
            "score": "findability_score",
        },
        ranking=Ranking(
            (FieldGroup(word_fields),),
            question_words="expert experte experten expertin experto experts specialist"
            " specialists",
        ),
        count_entries=_count_entries,
        read_entries=partial(_read_entries, table.tagged, text_columns),
        read_untagged=partial(_read_entries, table.untagged_with_bio, text_columns),
        check_columns=_check_columns,
        key="username",
        list_texts=partial(_list_texts, text_columns),
        tags_of=_list_tags,
        hit_fields=_search_hit,
    )
