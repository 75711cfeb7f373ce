"""Tell the rows of a list apart by what the record of answers says of them, and show what was answered."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection

from pipeline.store import answers
from pipeline.tables.grid import GridAnswers, GridFacet, says_text


def version_facet(task: str, key: ColumnElement[str]) -> GridFacet:
    """Return what tells items apart by the extractor of the last answer that was applied and stands."""
    last = answers.last_of_item(task, key, "extractor")
    return GridFacet(last, lambda cell: () if cell is None else (cell,), partial(answers.is_by, last))


def tag_facet(tx: Connection, task: str, key: ColumnElement[str]) -> GridFacet:
    """Return what tells items apart by the texts in the lists of their last answers."""
    last = answers.last_of_item(task, key, "answer")
    return GridFacet(last, _tags, partial(says_text, tx, last))


def answers_shown(task: str, fields: Mapping[str, str]) -> GridAnswers:
    """Return columns with what was answered last; `fields` are those of the answers, by the names of the columns."""

    def values(tx: Connection, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        found = answers.last_applied(tx, task, ids, staying=True)
        documents = {key: json.loads(text) for key, (_, text) in found.items()}
        return {key: {name: one.get(field) for name, field in fields.items()} for key, one in documents.items()}

    return GridAnswers(tuple(fields), values)


def _tags(cell: str | None) -> set[str]:
    """Return the texts that are members of a list anywhere in an answer."""
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
