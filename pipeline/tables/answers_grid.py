"""Tell the rows of a list apart by what the record of answers says of them, and show what was answered."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection

from pipeline.store import answers, versions
from pipeline.tables.grid import GridAnswers, GridFacet, says_text


def version_facet(task: str, key: ColumnElement[str]) -> GridFacet:
    """Return what tells items apart by the extractor of the last answer that was applied and stands."""
    last = answers.last_of_item(task, key, "extractor")
    return GridFacet(last, lambda cell: () if cell is None else (cell,), partial(answers.is_by, last))


def tag_facet(tx: Connection, task: str, key: ColumnElement[str]) -> GridFacet:
    """Return what tells items apart by the texts in the lists of their last answers."""
    last = answers.last_of_item(task, key, "answer")
    return GridFacet(last, _tags, partial(says_text, tx, last))


def answers_shown(
    task: str, fields: Mapping[str, str], *, whose: str, prefer: Sequence[str], label: str
) -> GridAnswers:
    """Return columns with the answer that an export has of an item, of one that is not in it the next best one.

    `fields` are those of the answers, by the names of the columns, and the column `whose` has the extractor.
    """

    def values(tx: Connection, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        rank = versions.ranks(tx, task, prefer=prefer, label=label)
        found = answers.last_applied(tx, task, ids, staying=True, rank=rank)
        documents = ((key, by, json.loads(text)) for key, (by, text) in found.items())
        return {
            key: {whose: by, **{name: one.get(field) for name, field in fields.items()}} for key, by, one in documents
        }

    return GridAnswers((*fields, whose), values)


def _tags(cell: str | None) -> set[str]:
    return set() if cell is None else set(_members(json.loads(cell)))


def _members(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for one in value.values():
            yield from _members(one)
    elif isinstance(value, list):
        for one in value:
            if isinstance(one, str):
                yield one
            else:
                yield from _members(one)
