"""Add new people one at a time, tagged at once by a live call; who cannot be tagged now goes out with the next batch.

The row goes in with a live claim in one transaction, so a batch that is prepared meanwhile leaves the person alone.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.apply import Asked, Judgement, Source, judge_reply, write
from pipeline.errors import InputError, KeyRefusedError, RemoteError
from pipeline.experts import table
from pipeline.experts.cells import number_of, tags_of, text_of
from pipeline.experts.reading import read_person_documents
from pipeline.gemini import replies, requests
from pipeline.records import Person
from pipeline.runtime import Runtime
from pipeline.states import Outcome
from pipeline.store import claims, workspace
from pipeline.task import Item

BAD_REQUEST = 400  # what a service answers that is well and does not like this one question


@dataclass(frozen=True)
class Added:
    """One new person as they stand now; `problem` says why there are no tags where they were wanted."""

    username: str
    name: str
    tags: list[str]
    findability_score: float
    problem: str = ""


def read(document: bytes) -> list[Person]:
    """Return the people in a JSON document: one object, or a list of them.

    Raises:
        InputError: it is no such JSON, or one of them cannot be taken; nobody was added.
    """
    return read_person_documents(document)


def run(rt: Runtime, people: Sequence[Person], *, on_tagging: Callable[[str], None]) -> list[Added]:
    """Add people in their order; `on_tagging` is called with the username before each live call.

    Where the service fails for one, those after are not asked, so that nobody waits for it again and again.

    Raises:
        InputError: a username exists already, here or twice in the input; nobody was added.
        ConfigurationError: no key or no such model is set where there is a bio to ask about; nobody was added.
    """
    if any(_has_bio(person) for person in people):
        rt.model, rt.client  # noqa: B018 - what must be configured is said before anyone is added
    _check_new(rt, people)
    added: list[Added] = []
    down = ""
    for person in people:
        item = _insert(rt, person, is_asked=not down)
        problem = f"not asked, because {down}" if down and _has_bio(person) else ""
        if item is not None:
            on_tagging(person.username)
            problem, is_down = _tag(rt, person, item)
            down = problem if is_down else ""
        added.append(_added(rt, person, problem=problem))
    return added


def _check_new(rt: Runtime, people: Sequence[Person]) -> None:
    """Refuse usernames that are taken."""
    names = [person.username for person in people]
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    with rt.store.read() as tx:
        taken = twice or next(iter(table.by_usernames(tx, names)), None)
    if taken is not None:
        raise InputError(
            f"the username {taken!r} {'stands twice in the input' if twice else 'exists already'}; nobody was added",
            hint=f"`make show EXPERT={taken}`; `make import` changes people who are there",
        )


def _has_bio(person: Person) -> bool:
    return bool(text_of(person.values.get("bio")))


def _added(rt: Runtime, person: Person, *, problem: str) -> Added:
    """Return a person as they stand in the table."""
    with rt.store.read() as tx:
        row = table.by_username(tx, person.username)
    name = " ".join(filter(None, (text_of(row["first_name"]), text_of(row["last_name"]))))
    score = number_of(row["findability_score"]) or 0.0
    return Added(person.username, name, tags_of(row["tags"]) or [], score, problem)


def _insert(rt: Runtime, person: Person, *, is_asked: bool) -> Item | None:
    """Insert one person, under a live claim where they are asked about; return what to ask, or None."""
    with rt.store.write() as tx:
        if table.by_usernames(tx, [person.username]):
            raise InputError(f"the username {person.username!r} exists already; this person was not added")
        claims.free_dead(tx, now=rt.now())
        key = table.insert_person(tx, person.username, person.values)
        workspace.touch(tx)
        if not is_asked or not _has_bio(person):
            return None
        item = next(iter(rt.task.items(tx, [key])))
        rt.bind(tx)
        claims.take_live(tx, rt.task.name, key, input_hash=item.input_hash, lasts_s=_lasts_s(rt), at=rt.now())
        return item


def _lasts_s(rt: Runtime) -> float:
    """Return how long one person's live call may take at the most."""
    return rt.settings.transfer_timeout + rt.settings.retry_for + rt.settings.lease


def _tag(rt: Runtime, person: Person, item: Item) -> tuple[str, bool]:
    """Ask about one person and write what came; return why there are no tags, and whether the service is down."""
    asked = Asked(item.id, item.input_hash)
    with rt.store.write() as tx:
        if not claims.renew_live(tx, rt.task.name, item.id, lasts_s=_lasts_s(rt), at=rt.now()):
            return "this process stood still, and another one went on with this person", False
    try:
        judgement, is_down = _ask(rt, item, asked)
    except BaseException:
        with rt.store.write() as tx:
            claims.release_live(tx, rt.task.name, item.id, outcome=None, reason="interrupted")
        rt.display.warn(
            f"{person.username} is saved without tags and goes out with the next batch; nobody after was added"
        )
        raise
    source = Source(batch=None, extractor=rt.extractor, model=rt.model)
    with rt.store.write() as tx:
        claims.release_live(tx, rt.task.name, item.id, outcome=judgement.outcome, reason=judgement.reason)
        write(tx, rt.task, [judgement], source=source, at=rt.now())
    return "" if judgement.outcome is Outcome.ANSWERED else judgement.reason, is_down


def _ask(rt: Runtime, item: Item, asked: Asked) -> tuple[Judgement, bool]:
    """Ask once, with the request that a batch line would hold; a service that fails is not the person's fault."""
    schema = requests.schema_of(rt.task.answer)
    request = requests.build(item.prompt, schema=schema, thinking=rt.model.thinking)
    try:
        document = rt.client.generate(rt.model.name, request)
    except RemoteError as error:
        about_this = error.code == BAD_REQUEST and not isinstance(error, KeyRefusedError)
        return Judgement(asked, Outcome.MISSING, error.message, charged=False), not about_this
    return judge_reply(rt.task, asked, replies.judge_response(document)), False
