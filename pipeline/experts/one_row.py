"""Edit the row of one person by hand, as an import of that row would, from the state that was shown."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import ChangedMeanwhileError, InputError
from pipeline.experts import table
from pipeline.experts.columns import HEADERS, USERNAME, column_of
from pipeline.experts.import_ import PeopleImportReport, write_people
from pipeline.experts.read import check_as_given, read_person_documents
from pipeline.store import workspace
from pipeline.tables.cells import number_of, text_of

if TYPE_CHECKING:
    from datetime import datetime

    from pipeline.store.database import Connection, Store

STATE = 16  # hex digits of the hash of a state


@dataclass(frozen=True)
class PersonRow:
    """What a person's row says of them, by column, in a state that an edit can name."""

    values: Mapping[str, str | float | None]
    findability_score: float | None

    @property
    def state(self) -> str:
        """Return the state: any other value is another one."""
        return hashlib.sha256(json.dumps(list(self.values.values())).encode()).hexdigest()[:STATE]

    def document(self) -> dict[str, Any]:
        """Return the row for programs."""
        return {**self.values, "findability_score": self.findability_score, "state": self.state}


def read_row(store: "Store", username: str) -> PersonRow:
    """Return the row of the person of that username.

    Raises:
        InputError: there is no such person.
    """
    with store.read() as tx:
        return _row(table.by_username(tx, username))


def edit_row(
    store: "Store", username: str, values: Mapping[str, Any], *, of_state: str | None, at: "datetime"
) -> tuple[PersonRow, list[str]]:
    """Write some values of one person's row; return the row, and what to say of it, such as that the tags stay.

    None clears a value. Without `of_state` the edit holds for whatever is there. A parked person with another biography
    is asked again.

    Raises:
        ChangedMeanwhileError: the row is not in the state that the editor was shown.
        InputError: there is no such person, a name is no column's, or a value cannot be stored as it is given.
        ConfigurationError: an adopted table refuses a value.
    """
    strange = next((name for name in values if column_of(name) in {None, USERNAME}), None)
    if strange is not None:
        known = ", ".join(name for name in HEADERS if name != USERNAME)
        raise InputError(f"{strange!r} cannot be edited; nothing was changed", hint=f"there are {known}", field=strange)
    people = read_person_documents(json.dumps({**values, USERNAME: username}).encode(), name="the edit").made
    check_as_given(people, name="the edit")
    with store.write() as tx:
        row = _held(tx, username, of_state)
        done = PeopleImportReport("the page")
        said = [one.reason for one in write_people(tx, people, done)]
        if done.updated:
            workspace.record_event(tx, "import", done.path, old=None, new=done.summary, why="edit", at=at)
        return _row(table.by_ids(tx, [str(row["id"])])[str(row["id"])]), said


def _held(tx: "Connection", username: str, of_state: str | None) -> Mapping[Any, Any]:
    """Return a person's row, which stays as it is until the transaction ends.

    Raises:
        ChangedMeanwhileError: it is in another state.
        InputError: there is no such person.
    """
    key = str(table.by_username(tx, username)["id"])
    row = table.by_ids(tx, [key], locked=True)[key]
    now = _row(row)
    if of_state not in {None, now.state}:
        raise ChangedMeanwhileError(
            f"the row of {username!r} was changed meanwhile; nothing was changed",
            hint="look at what is there now, and say again what is to be changed",
            was=None,
            now=now.document(),
        )
    return row


def _row(row: Mapping[Any, Any]) -> PersonRow:
    """Return what a row of the table says."""
    values: dict[str, str | float | None] = {name: text_of(row[name]) or None for name in HEADERS}
    rate = number_of(row["hourly_rate"])
    return PersonRow(
        {**values, "hourly_rate": values["hourly_rate"] if rate is None else rate}, number_of(row["findability_score"])
    )
