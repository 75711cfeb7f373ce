"""Read the tags of one person, in a state that an edit can name, and every edit by hand."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.experts import table
from pipeline.store import answers, edits
from pipeline.tables.cells import list_of, number_of, text_of

if TYPE_CHECKING:
    from datetime import datetime

    from pipeline.store.database import Connection, Store

BY_HAND = answers.PERSON  # the extractor that what a person said is attributed to
STATE = 16  # hex digits of the hash of a state


class TagEdit(NamedTuple):
    """One edit of a person's tags: its number from 1, by whom and when (aware), and which edit it undoes."""

    number: int
    who: str
    at: "datetime"
    before: list[str]
    after: list[str]
    undoes: int | None

    def document(self) -> dict[str, Any]:
        """Return the edit for programs."""
        removed = [tag for tag in self.before if tag not in self.after]
        added = [tag for tag in self.after if tag not in self.before]
        return {**self._asdict(), "at": self.at, "added": added, "removed": removed}


@dataclass(frozen=True)
class PersonTags:
    """The tags of one person in a state that an edit can name, and every edit, oldest first."""

    item_id: str
    username: str
    tags: list[str]
    findability_score: float | None
    edits: list[TagEdit]

    @property
    def state(self) -> str:
        """Return the state: other tags, or an edit more, are another one."""
        return _state(self.item_id, len(self.edits), self.tags)

    def shown_in(self, state: str) -> list[str] | None:
        """Return the tags in an earlier state; None where no edit began or ended in it."""
        moments = [(one.number - 1, one.before) for one in self.edits]
        moments += [(one.number, one.after) for one in self.edits]
        return next((tags for number, tags in moments if _state(self.item_id, number, tags) == state), None)

    def document(self) -> dict[str, Any]:
        """Return the tags for programs."""
        names = ("username", "tags", "findability_score", "state")
        edits = [one.document() for one in self.edits]
        return {**{name: getattr(self, name) for name in names}, "edits": edits}


def tags_of_person(tx: "Connection", row: Mapping[Any, Any]) -> PersonTags:
    """Return the tags that a row of a person holds, with what was ever edited."""
    key = str(row["id"])
    found = [
        TagEdit(one.number, one.who, one.at, _tags(one.before), _tags(one.after), one.undoes)
        for one in edits.list_edits(tx, table.TASK, key)
    ]
    score = number_of(row["findability_score"])
    return PersonTags(key, text_of(row["username"]), list_of(row["tags"]) or [], score, found)


def read_tags(store: "Store", username: str) -> PersonTags:
    """Return the tags of the person of that username, with the state to edit them from.

    Raises:
        InputError: there is no such person.
    """
    with store.read() as tx:
        return tags_of_person(tx, table.by_username(tx, username))


def _state(item_id: str, edits: int, tags: Sequence[str]) -> str:
    """Return the hash of a person's tags after some edits."""
    return hashlib.sha256(json.dumps([item_id, edits, tags]).encode()).hexdigest()[:STATE]


def _tags(answer: str) -> list[str]:
    """Return the tags of an answer."""
    return list(json.loads(answer)["tags"])
