"""The two indexes of people, and their entries."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import starmap
from operator import call
from typing import Any

from sqlalchemy import ColumnElement, Connection

from pipeline.core.ranking import Entry, FieldGroup, Ranking
from pipeline.engine.task import IndexedTask
from pipeline.experts import table
from pipeline.tables.cells import (
    parse_number,
    parse_text_list,
    stripped_text,
)

# Functions that read the cells of an indexed column, in the order of `metadata.json`.
_READERS: dict[str, Callable[[Any], Any]] = {
    "id": lambda person_id: person_id,
    **{
        name: parse_number if name == "hourly_rate" else stripped_text
        for name in table.HEADERS
        if name != "category"
    },
    "tags": lambda tags: parse_text_list(tags) or [],
    "findability_score": parse_number,
    "category": stripped_text,
}
INDEXED_COLUMNS = tuple(_READERS)
# Names in `metadata.json`, which other programs read: headers, except the username.
_METADATA_NAMES = tuple(
    name if name == table.USERNAME else table.HEADERS.get(name, name) for name in INDEXED_COLUMNS
)


def index_entry(*cells: Any) -> Entry:
    """Return the index entry of a person.

    Args:
        cells: Cells in the order of `INDEXED_COLUMNS`.
    """
    readers = _READERS.values()
    metadata = dict(zip(_METADATA_NAMES, map(call, readers, cells), strict=True))
    # Texts that a search for words looks in, by field.
    words = {
        "title": metadata["Job Title"],
        "company": metadata["Company"],
        "bio": metadata["Bio"],
        "name": f"{metadata['First Name']} {metadata['Last Name']}",
        "tags": ", ".join(metadata["tags"]),
    }
    return Entry(str(cells[0]), _index_text(metadata), metadata, metadata["tags"], words)


def _index_text(metadata: Mapping[str, Any]) -> str:
    """Return `First Last. Title at Company. bio Domains: tag1, tag2.` of an entry.

    Missing parts are left out. If all are missing, returns the username.
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


def _entries(
    condition: ColumnElement[bool],
    tx: Connection,
    row_ids: Sequence[str] | None = None,
) -> Iterator[Entry]:
    """Yield the index entries of the people that meet a condition, only of `row_ids` if given."""
    rows = table.people_table(tx).read_cells(tx, INDEXED_COLUMNS, condition, row_ids=row_ids)
    return starmap(index_entry, rows)


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


# Index of all tagged people.
TAGGED_INDEX = IndexedTask(
    task=table.TASK,
    entry_noun="expert",
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
        (FieldGroup(("title", "company", "bio", "name", "tags")),),
        question_words="expert experte experten expertin experto experts specialist specialists",
    ),
    count_entries=lambda tx: table.people_table(tx).count_rows(tx, table.tagged),
    read_entries=partial(_entries, table.tagged),
    unindexed_texts=table.untagged_texts,
    key="username",
    text_members=("Job Title", "Company", "Bio"),
    tags_of=lambda metadata: [str(tag) for tag in metadata["tags"] or ()],
    hit_fields=_search_hit,
)
# Index of all tagged people and of untagged people with a biography.
TAGGED_OR_TEXT_INDEX = replace(
    TAGGED_INDEX,
    count_entries=lambda tx: table.people_table(tx).count_rows(tx, table.indexable),
    read_entries=partial(_entries, table.indexable),
    unindexed_texts=IndexedTask.unindexed_texts,
)
