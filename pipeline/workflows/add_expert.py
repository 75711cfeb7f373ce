"""Add new people one at a time, tagged at once by a live call; who cannot be tagged now goes out with the next batch.

The row goes in with a live claim in one transaction, so a batch that is prepared meanwhile leaves the person alone.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.core.errors import InputError
from pipeline.engine.questions import RequestBuilder
from pipeline.engine.workspace import OpenWorkspace
from pipeline.experts import table
from pipeline.experts.columns import number_of, tags_of, text_of
from pipeline.experts.read import read_person_documents
from pipeline.experts.rows import Person
from pipeline.live.questions import SelectedQuestions
from pipeline.live.runner import ask_live
from pipeline.live.write_ahead import CallLedger, Purpose
from pipeline.store import claims, retries, workspace

PATIENCE_S = 10.0  # ours: where a limit leaves no room for longer, a person at a terminal waits for nothing


@dataclass(frozen=True)
class AddedExpert:
    """One new person as they stand now; `problem` says why there are no tags where they were wanted.

    `took_s` is how long asking took, in seconds; None where nobody was asked.
    """

    username: str
    name: str
    tags: list[str]
    findability_score: float
    problem: str = ""
    took_s: float | None = None


def read_person(document: bytes) -> list[Person]:
    """Return the people in a JSON document: one object, or a list of them.

    Raises:
        InputError: it is no such JSON, or one of them cannot be taken; nobody was added.
    """
    return read_person_documents(document)


def run(ws: OpenWorkspace, people: Sequence[Person], *, on_tagging: Callable[[str], None]) -> list[AddedExpert]:
    """Add people in their order; `on_tagging` is called with the username before each live call.

    Where the service fails for one, those after are not asked, so that nobody waits for it again and again.

    Raises:
        InputError: a username exists already, here or twice in the input; nobody was added.
        ConfigurationError: no key or no such model is set where there is a bio to ask about; nobody was added.
    """
    if any(_has_bio(person) for person in people):
        ws.model, ws.client  # noqa: B018 - what must be configured is said before anyone is added
    _check_new(ws, people)
    added: list[AddedExpert] = []
    down = ""
    for person in people:
        item_id = _insert(ws, person, is_asked=not down)
        problem = f"not asked, because {down}" if down and _has_bio(person) else ""
        took_s = None
        if item_id is not None:
            on_tagging(person.username)
            began = ws.monotonic()
            problem, is_down = _tag(ws, person.username, item_id)
            took_s = ws.monotonic() - began
            down = problem if is_down else ""
        if problem:
            _note_due(ws, person.username, problem)
        added.append(_added(ws, person, problem=problem, took_s=took_s))
    return added


def _check_new(ws: OpenWorkspace, people: Sequence[Person]) -> None:
    """Refuse usernames that are taken."""
    names = [person.username for person in people]
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    with ws.store.read() as tx:
        taken = twice or next(iter(table.by_usernames(tx, names)), None)
    if taken is not None:
        raise InputError(
            f"the username {taken!r} {'stands twice in the input' if twice else 'exists already'}; nobody was added",
            hint=f"`make show EXPERT={taken}`; `make import` changes people who are there",
        )


def _has_bio(person: Person) -> bool:
    return bool(text_of(person.values.get("bio")))


def _added(ws: OpenWorkspace, person: Person, *, problem: str, took_s: float | None) -> AddedExpert:
    """Return a person as they stand in the table."""
    with ws.store.read() as tx:
        row = table.by_username(tx, person.username)
    name = " ".join(filter(None, (text_of(row["first_name"]), text_of(row["last_name"]))))
    score = number_of(row["findability_score"]) or 0.0
    return AddedExpert(person.username, name, tags_of(row["tags"]) or [], score, problem, took_s)


def _insert(ws: OpenWorkspace, person: Person, *, is_asked: bool) -> str | None:
    """Insert one person, under a live claim where they are asked about; return their id then, or None."""
    with ws.store.write() as tx:
        if table.by_usernames(tx, [person.username]):
            raise InputError(f"the username {person.username!r} exists already; this person was not added")
        claims.free_dead_claims(tx, now=ws.now())
        key = table.insert_person(tx, person.username, person.values)
        workspace.touch_revision(tx)
        if not is_asked or not _has_bio(person):
            return None
        item = next(iter(ws.task.items(tx, [key])))
        ws.bind(tx)
        lasts_s = ws.settings.call_timeout + ws.settings.lease
        claims.take_live(tx, ws.task.name, key, input_hash=item.input_hash, lasts_s=lasts_s, at=ws.now())
        return key


def _tag(ws: OpenWorkspace, username: str, item_id: str) -> tuple[str, bool]:
    """Ask about one person and write what came; return why there are no tags, and whether the service is down."""
    ledger = CallLedger.calibrated(ws, Purpose.ADD)
    source = SelectedQuestions(RequestBuilder(ws.task, ws.model), [item_id])
    try:
        report = ask_live(ledger, source, patience_s=PATIENCE_S)
    finally:
        with ws.store.write() as tx:
            claims.release_live(tx, ws.task.name, item_id, outcome=None, reason="not asked to the end")
    if report.interrupted:
        if not report.answered:
            _note_due(ws, username, "interrupted")
        how = "with tags" if report.answered else "without tags and is due again"
        ws.display.warn(f"{username} is saved {how}; nobody after was added")
        raise KeyboardInterrupt
    if report.stopped is not None:
        return report.stopped.message, True
    if report.elsewhere:
        return "this process stood still, and another one went on with this person", False
    return next((reason for _, reason in report.samples), ""), report.is_down


def _note_due(ws: OpenWorkspace, username: str, reason: str) -> None:
    """Keep that a person has no tags yet, so that the next command that asks tells what became of them."""
    with ws.store.write() as tx:
        row = table.by_username(tx, username)
        retries.add_retry(tx, ws.task.name, str(row["id"]), reason=reason, at=ws.now())
