"""Add a new person, who is tagged at once by a call of their own; untagged ones go out later.

Each is due from the transaction on that stores the row: where the process dies, the next command asks about them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.batch.live import ask_alone
from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.errors import InputError, TakenError
from pipeline.core.states import Mode
from pipeline.engine.workspace import WorkspaceSession
from pipeline.experts import table
from pipeline.experts.import_ import check_as_given, read_person
from pipeline.experts.table import USERNAME
from pipeline.gemini.models import estimate_tokens
from pipeline.store import claims, workspace
from pipeline.store.database import Connection
from pipeline.tables.cells import list_of, number_of, text_of
from pipeline.tables.columns import parse_map
from pipeline.tables.row_import import SoundRow

PATIENCE_S = 5.0  # ours: seconds that a person at a terminal waits for a limit to allow a call
DUE = "saved, and not asked about yet"
ANSWERED_S = (
    6.5  # ours: after so many the person is told how it stands, tagged or not; the promise is eight
)


@dataclass(frozen=True)
class AddedExpert:
    """One new person as stored; `notes` say how the document was read: what was taken for columns, and what was not.

    `problem` says why there are no tags, `took_s` how long a call took, if made; `parked` why nothing more will be
    asked about them, where that is so, and `is_due` whether they are asked again.
    """

    username: str
    item_id: str
    findability_score: float
    name: str = ""
    tags: Sequence[str] = ()
    problem: str = ""
    took_s: float | None = None
    parked: str = ""
    is_due: bool = False
    notes: Sequence[str] = ()


def run(
    ws: WorkspaceSession, data: bytes, *, name: str, mapping: str, way: Mode = Mode.LIVE
) -> AddedExpert:
    """Add the person of a JSON document, and ask about them where there is a bio; see `save`.

    `name` is what the command takes for the document, `mapping` is MAP=, and `way` is live or priority.
    """
    saved = save(ws, data, name=name, mapping=mapping)
    if not saved.is_due:
        return as_stored(ws, saved)
    ws.display.say(f"Generating tags… {saved.username}")
    began = ws.monotonic()
    try:
        asked = ask_alone(
            ws, [saved.item_id], way=way, patience_s=PATIENCE_S, deadline_s=ANSWERED_S
        )
    except KeyboardInterrupt:
        ws.display.warn(
            f"{saved.username} is saved {'with' if as_stored(ws, saved).tags else 'without'} tags"
        )
        raise
    problem = (
        asked.stopped.message if asked.stopped else next((why for _, why in asked.samples), "")
    )
    if asked.why_not:
        problem = problem or f"not asked, because {asked.why_not}"
        with ws.store.write() as tx:
            claims.note_due(
                tx, ws.task.name, ws.extractor, saved.item_id, reason=asked.why_not, at=ws.now()
            )
    problem = (
        "" if asked.answered else problem
    )  # the reply may come just when it is waited for no more
    return as_stored(ws, saved, problem=problem, took_s=ws.monotonic() - began)


def save(
    ws: WorkspaceSession,
    data: bytes,
    *,
    name: str,
    mapping: str = "",
    reason: str = DUE,
    as_given: bool = False,
    patience_s: float | None = None,
) -> AddedExpert:
    """Add the person of a JSON document, without a call; one with a bio is due for a `reason`.

    Values are stored `as_given`, or it is told what becomes of one. `patience_s` is how long another writer is waited
    for, in seconds; None as long as ever.

    Raises:
        InputError: the document is no one person, what a name in it means is open, or a username exists already.
        ConfigurationError: there is a bio to ask about, and no key or no such model is set.
        UnavailableError: another process writes for longer.
    """
    person, notes = read_person(data, parse_map(mapping), name=name)
    if as_given:
        check_as_given(person, name=name)
    for note in notes:
        ws.display.say(note)
    for change in person.changes:
        ws.display.warn(f"{change.key}: {change.column}: {change.reason} ({change.value})")
    if is_due := bool(text_of(person.values.get("bio"))):
        ws.client  # noqa: B018 - a missing configuration is raised before the person is added
        _check_fits(person, ws.model.input_limit)
    with ws.store.write(patience_s=patience_s) as tx:
        key = _inserted(tx, person)
        score = number_of(table.by_username(tx, person.key)["findability_score"]) or 0.0
        if is_due:
            claims.note_due(tx, ws.task.name, ws.extractor, key, reason=reason, at=ws.now())
    return AddedExpert(person.key, key, score, is_due=is_due, notes=notes)


def as_stored(
    ws: WorkspaceSession, saved: AddedExpert, *, problem: str = "", took_s: float | None = None
) -> AddedExpert:
    """Return a person as stored by now."""
    with ws.store.read() as tx:
        row = table.by_username(tx, saved.username)
        parked = claims.parked_reason(tx, ws.task.name, saved.item_id, own=ws.task.own) or ""
        is_due = saved.item_id in claims.due_ids(tx, ws.task)
    name = " ".join(filter(None, (text_of(row["first_name"]), text_of(row["last_name"]))))
    score = number_of(row["findability_score"]) or 0.0
    tags = list_of(row["tags"]) or []
    now = replace(
        saved, name=name, tags=tags, findability_score=score, parked=parked, is_due=is_due
    )
    return replace(now, problem=problem, took_s=took_s)


def _check_fits(person: SoundRow, limit: int | None) -> None:
    tokens = estimate_tokens(text_of(person.values.get("bio")))
    if limit is not None and tokens > limit:
        raise InputError(
            f"the bio has about {tokens:,} tokens, and the model takes {limit:,}; nothing was stored",
            hint=f"shorten it, or set another {OptionHint('model')}",
            field="bio",
        )


def _inserted(tx: Connection, person: SoundRow) -> str:
    """Store a person; return the item's id."""
    if table.by_usernames(tx, [person.key]):
        hint = f"`{CommandHint('show', expert=person.key)}`; `{CommandHint('import')}` changes existing people"
        said = f"the username {person.key!r} exists already; no person was added"
        raise TakenError(said, hint=hint, field=USERNAME)
    key = table.insert_person(tx, person.key, person.values)
    table.put_beside(tx, [(key, person.key, person.beside)])
    workspace.touch_revision(tx, table.TASK)
    return key
