"""The experts as they are indexed: the text that is embedded, and what stands in `metadata.json` for each."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import starmap
from operator import call
from typing import Any

from sqlalchemy import Connection

from pipeline.core.ranking import Entry, FieldGroup, Ranking
from pipeline.engine.task import Indexed
from pipeline.experts import table
from pipeline.experts.columns import HEADERS, USERNAME
from pipeline.tables.cells import list_of, number_of, text_of

READERS: dict[str, Callable[[Any], Any]] = {  # of the columns that are indexed, in the order of `metadata.json`
    "id": lambda key: key,
    **{name: number_of if name == "hourly_rate" else text_of for name in HEADERS if name != "category"},
    "tags": lambda tags: list_of(tags) or [],
    "findability_score": number_of,
    "category": text_of,
}
COLUMNS = tuple(READERS)
NAMES = tuple(name if name == USERNAME else HEADERS.get(name, name) for name in COLUMNS)  # other programs read these


def index_entry(row: Mapping[Any, Any]) -> Entry:
    """Return one row of `experts` as it is indexed."""
    return _entry(*map(row.__getitem__, COLUMNS))


def _entry(*cells: Any) -> Entry:
    metadata = dict(zip(NAMES, map(call, READERS.values(), cells), strict=True))
    return Entry(str(cells[0]), _index_text(metadata), metadata, metadata["tags"], _fields(metadata))


def _fields(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts of an expert in whose words questions are looked for."""
    return {
        "title": metadata["Job Title"],
        "company": metadata["Company"],
        "bio": metadata["Bio"],
        "name": f"{metadata['First Name']} {metadata['Last Name']}",
        "tags": ", ".join(metadata["tags"]),
    }


def _index_text(metadata: Mapping[str, Any]) -> str:
    """Return `First Last. Title at Company. bio Domains: tag1, tag2.` of an entry, what is missing left out."""
    first, last, tags = metadata["First Name"], metadata["Last Name"], metadata["tags"]
    title, company = metadata["Job Title"], metadata["Company"]
    name = f"{first} {last}" if first and last else first or last
    work = f"{title} at {company}" if title and company else title or (f"Works at {company}" if company else "")
    parts = [f"{name}." if name else "", f"{work}." if work else "", metadata["Bio"]]
    if tags:
        parts.append(f"Domains: {', '.join(tags)}.")
    return " ".join(filter(None, parts)) or metadata["username"]


def _count(tx: Connection) -> int:
    return table.people(tx).total(tx, table.tagged())


def _entries(tx: Connection, among: Sequence[str] | None = None) -> Iterator[Entry]:
    people, tagged = table.people(tx), table.tagged()
    if among is None:
        return starmap(_entry, people.cells(tx, COLUMNS, tagged))
    return starmap(_entry, people.among(tx, among, [people.table.c[name] for name in COLUMNS], tagged))


def _told(metadata: Mapping[str, Any]) -> dict[str, Any]:
    score, tags = metadata.get("findability_score"), metadata.get("tags")
    return {
        "username": str(metadata.get("username") or ""),
        "name": " ".join(str(metadata.get(part) or "") for part in ("First Name", "Last Name")).strip(),
        "job_title": str(metadata.get("Job Title") or ""),
        "tags": [str(tag) for tag in tags] if isinstance(tags, list) else [],
        "findability_score": float(score) if isinstance(score, int | float) else None,
    }


INDEXED = Indexed(  # every tagged expert
    task=table.TASK,
    word="expert",
    question="who knows …",
    columns={
        **{name: name for name in ("rank", "similarity", "username", "name")},
        "title": "job_title",
        "tags": "tags",
        "score": "findability_score",
    },
    ranking=Ranking(
        (FieldGroup(("title", "company", "bio", "name")), FieldGroup(("tags",), 0.1)),
        asking="expert experte experten expertin experto experts specialist specialists",
    ),
    count=_count,
    entries=_entries,
    key="username",
    text_in=("Job Title", "Company", "Bio"),
    tags=lambda metadata: [str(tag) for tag in metadata["tags"] or ()],
    told=_told,
)
