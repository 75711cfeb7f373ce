"""Add new people one at a time, each tagged at once by a call of its own; untagged ones go out later.

Each is due from the transaction on that stores the row: where the process dies, the next command asks about them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from pipeline.batch import due
from pipeline.batch.ask import LiveReport
from pipeline.core.errors import InputError, TakenError
from pipeline.core.states import Way
from pipeline.core.step import Option, Step
from pipeline.engine.task import Task
from pipeline.engine.workspace import OpenWorkspace
from pipeline.experts import table
from pipeline.experts.import_ import Person, check_as_given, read_person_documents
from pipeline.experts.table import USERNAME
from pipeline.gemini.models import estimate_tokens
from pipeline.store import asks, workspace
from pipeline.store import rows as kept
from pipeline.store.database import Store
from pipeline.tables.cells import list_of, number_of, text_of
from pipeline.tables.columns import parse_map

if TYPE_CHECKING:
    from pipeline.store.database import Connection


PATIENCE_S = 5.0  # ours: seconds that a person at a terminal waits for a limit to allow a call
DUE = "saved, and not asked about yet"
ANSWERED_S = 6.5  # ours: after so many the person is told how it stands, tagged or not; the promise is eight


@dataclass(frozen=True)
class AddedExpert:
    """One new person as stored; `problem` says why there are no tags, `took_s` how long a call took, if made.

    `parked` says why nothing more will be asked about them, where that is so.
    """

    username: str
    name: str
    tags: list[str]
    findability_score: float
    problem: str = ""
    took_s: float | None = None
    parked: str = ""


class SavedExpert(NamedTuple):
    """One new person in the table: the username, the item's id, the score, and whether a call about them is due.

    `notes` say how the document was read: what names were taken for columns, and which were not read.
    """

    username: str
    item_id: str
    findability_score: float
    is_due: bool
    notes: tuple[str, ...] = ()


def run(
    ws: OpenWorkspace,
    data: bytes,
    *,
    name: str,
    mapping: str,
    way: Way = Way.LIVE,
) -> list[AddedExpert]:
    """Add the people of a JSON document in their order, each with a call of its own where there is a bio.

    `name` is what the command takes for the document, `mapping` is MAP=, and `way` is live or priority. If the service
    fails for one person, no call is made for those after.

    Raises:
        InputError: the document cannot be read as people, what a name in it means is open, or a username exists already
            or stands twice; no person was added.
        ConfigurationError: there is a bio to ask about, and no key or no such model is set; no person was added.
    """
    people, notes = read_person_documents(data, parse_map(mapping), name=name)
    if any(_has_bio(person) for person in people):
        ws.model, ws.client  # noqa: B018 - a missing configuration is raised before any person is added
    _check_new(ws.store, people)
    for note in notes:
        ws.display.say(note)
    for change in (change for person in people for change in person.changes):
        ws.display.warn(f"{change.key}: {change.column}: {change.reason} ({change.value})")
    added: list[AddedExpert] = []
    down = ""
    for person in people:
        problem, took_s, began = f"not asked, because {down}" if down else "", None, ws.monotonic()
        with ws.store.write() as tx:
            key = _inserted(ws, tx, person, reason=down or DUE)
        if _has_bio(person) and not down:
            ws.display.say(f"Generating tags… {person.username}")
            asked = _asked(ws, person.username, key, way)
            problem = asked.stopped.message if asked.stopped else next((why for _, why in asked.samples), "")
            down = problem if asked.stopped or asked.is_down else ""
            took_s = ws.monotonic() - began
        added.append(_added(ws.store, ws.task.name, person.username, problem=problem, took_s=took_s))
    return added


def _asked(ws: OpenWorkspace, username: str, key: str, way: Way) -> LiveReport:
    """Ask about one who is due; where that cannot be now, say why, and keep it."""
    try:
        asked = due.ask_alone(ws, [key], way=way, patience_s=PATIENCE_S, deadline_s=ANSWERED_S)
    except KeyboardInterrupt:
        tags = _added(ws.store, ws.task.name, username, problem="", took_s=None).tags
        ws.display.warn(f"{username} is saved {'with' if tags else 'without'} tags; no later person was added")
        raise
    if asked.why_not:
        asked.samples.append((key, f"not asked, because {asked.why_not}"))
        with ws.store.write() as tx:
            asks.note_due(tx, ws.task.name, ws.extractor, key, reason=asked.why_not, at=ws.now())
    return asked


def save_one(ws: OpenWorkspace, data: bytes, *, name: str, reason: str, patience_s: float | None = None) -> SavedExpert:
    """Add the person of a JSON document, without a call; one with a bio is due for a `reason`.

    `patience_s` is how long another writer is waited for, in seconds; None as long as ever.

    Raises:
        InputError: the document cannot be read, `run` would refuse it, or a value would not be stored as it is.
        ConfigurationError: there is a bio to ask about, and no key or no such model is set.
        UnavailableError: another process writes for longer.
    """
    people, notes = read_person_documents(data, name=name)
    check_as_given(people, name=name)
    person = people[0]
    if is_due := _has_bio(person):
        ws.client  # noqa: B018 - a missing configuration is raised before the person is added
        _check_fits(person, ws.model.input_limit)
    with ws.store.write(patience_s=patience_s) as tx:
        key = _inserted(ws, tx, person, reason=reason)
        score = number_of(table.by_username(tx, person.username)["findability_score"]) or 0.0
    return SavedExpert(person.username, key, score, is_due, tuple(notes))


def as_stored(store: Store, task: Task, saved: SavedExpert) -> tuple[AddedExpert, bool]:
    """Return a person as stored, and whether they are asked about again."""
    with store.read() as tx:
        is_due = saved.item_id in asks.due_ids(tx, task)
    return _added(store, task.name, saved.username, problem="", took_s=None), is_due


def _check_new(store: Store, people: Sequence[Person]) -> None:
    names = [person.username for person in people]
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    with store.read() as tx:
        taken = twice or next(iter(table.by_usernames(tx, names)), None)
    if taken is not None:
        kind = InputError if twice else TakenError
        raise kind(
            f"the username {taken!r} {'stands twice in the input' if twice else 'exists already'}; no person was added",
            hint=_other(taken),
            field=USERNAME,
        )


def _check_fits(person: Person, limit: int | None) -> None:
    tokens = estimate_tokens(text_of(person.values.get("bio")))
    if limit is not None and tokens > limit:
        raise InputError(
            f"the bio has about {tokens:,} tokens, and the model takes {limit:,}; nothing was stored",
            hint=f"shorten it, or set another {Option('model')}",
            field="bio",
        )


def _has_bio(person: Person) -> bool:
    return bool(text_of(person.values.get("bio")))


def _added(store: Store, task_name: str, username: str, *, problem: str, took_s: float | None) -> AddedExpert:
    with store.read() as tx:
        row = table.by_username(tx, username)
        parked = asks.parked_reason(tx, task_name, str(row["id"])) or ""
    name = " ".join(filter(None, (text_of(row["first_name"]), text_of(row["last_name"]))))
    score = number_of(row["findability_score"]) or 0.0
    return AddedExpert(username, name, list_of(row["tags"]) or [], score, problem, took_s, parked)


def _inserted(ws: OpenWorkspace, tx: "Connection", person: Person, *, reason: str) -> str:
    """Store a person, who is due for a `reason` where there is a bio; return the item's id."""
    if table.by_usernames(tx, [person.username]):
        said = f"the username {person.username!r} exists already; this person was not added"
        raise TakenError(said, hint=_other(person.username), field=USERNAME)
    key = table.insert_person(tx, person.username, person.values)
    kept.put_rows(tx, table.TASK, table.changed_beside(tx, [(key, person.username, person.beside)]))
    workspace.touch_revision(tx, ws.task.name)
    if _has_bio(person):
        asks.note_due(tx, ws.task.name, ws.extractor, key, reason=reason, at=ws.now())
    return key


def _other(username: str) -> str:
    return f"`{Step('show', expert=username)}`; `{Step('import')}` changes existing people"
