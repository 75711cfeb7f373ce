"""Keep answers with their provenance, and attempts that gave none.

An attempt that failed for a reason of the item's own is `charged` to it; one that failed for the service's counts
towards `MAX_SERVICE_FAILURES` in a row. To unpark forgives attempts and does not delete them.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Table,
    Text,
    and_,
    case,
    cast,
    delete,
    func,
    insert,
    or_,
    select,
    union_all,
    update,
)

from pipeline.core.states import OVER, Outcome, Way
from pipeline.store import workspace
from pipeline.store.asks import PARKED
from pipeline.store.database import PAGE, pages, run_many, streamed
from pipeline.store.schema import answers, asks, attempts, batches, pilots, runs
from pipeline.store.schema import events as journal

MAX_ATTEMPTS = 2  # an item is asked once more, then parked
MAX_SERVICE_FAILURES = 3  # batches in a row that gave nothing, after which nothing more is paid for
MAX_LOST_CALLS = 10  # times in a row that our own calls about an item got none; so a hang of minutes is outlasted
LOST = "no reply: "  # how the reason of an attempt begins whose call got none, and was perhaps paid for
COST_DIGITS = 9  # of an account in USD: far below what one token costs, and above what rounding adds up to
PERSON = "person"  # the extractor of what a person said by hand: it outranks every model
FORGOTTEN = "null"  # the answer that stands for one that was forgotten, as JSON
CUT_SHORT = ("max-tokens", "max-tokens-empty")  # the reasons of replies that a larger `maxOutputTokens` may help


class VersionCounts(NamedTuple):
    """What there is of one version: label, model (may be empty), rows, items that have some, first and last time."""

    label: str
    model: str
    rows: int
    items: int
    first: datetime | None
    last: datetime | None

    def with_(self, other: "VersionCounts") -> "VersionCounts":
        """Return both together, under the name of this one."""
        moments = sorted(one for one in (*self[-2:], *other[-2:]) if one is not None)
        first, last = (moments[0], moments[-1]) if moments else (None, None)
        return VersionCounts(self.label, self.model, self.rows + other.rows, self.items + other.items, first, last)


def add_answers(tx: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Keep validated answers (JSON) with where they came from."""
    run_many(tx, insert(answers), rows)


def add_attempts(tx: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Keep attempts that gave no answer, with their reasons and what they used."""
    run_many(tx, insert(attempts), rows)


def count_charged(tx: Connection, task: str, extractor: str, ids: Sequence[str]) -> dict[str, int]:
    """Return how many charged and unforgiven attempts each item has under a version; those without are not there."""
    mine = _of(task, ids) & (attempts.c.extractor == extractor) & attempts.c.charged & ~attempts.c.forgiven
    return _counted(tx, select(attempts.c.item_id, func.count()).where(mine).group_by(attempts.c.item_id))


def count_cut_short(tx: Connection, task: str, ids: Sequence[str]) -> dict[str, int]:
    """Return how often the answer of each of these items was cut by the token limit, unforgiven, where any was.

    The next request gives more room.
    """
    mine = attempts.c.reason.in_(CUT_SHORT) & ~attempts.c.forgiven
    query = select(attempts.c.item_id, func.count()).where(mine).group_by(attempts.c.item_id)
    found = (_counted(tx, query.where(_of(task, some))) for some in pages(ids))
    return {key: count for some in found for key, count in some.items()}


def service_failures(
    tx: Connection, task: str, extractor: str, ids: Sequence[str], *, live: bool = False
) -> dict[str, int]:
    """Return for each item how many batches in a row, from the last, failed it without a word on it; `live`, calls.

    Those of one version are counted.
    """
    if not ids:
        return {}
    mine = _of(task, ids) & (attempts.c.extractor == extractor)
    charged = (
        select(attempts.c.item_id, func.max(attempts.c.id).label("last"))
        .where(mine, attempts.c.charged)
        .group_by(attempts.c.item_id)
        .subquery()
    )
    is_lost = attempts.c.reason.startswith(LOST, autoescape=True)
    is_one = is_lost if live else and_(attempts.c.batch.is_not(None), ~is_lost)
    query = (
        select(attempts.c.item_id, func.count())
        .outerjoin(charged, charged.c.item_id == attempts.c.item_id)
        .where(mine, ~attempts.c.charged, ~attempts.c.forgiven, is_one)
        .where(attempts.c.id > func.coalesce(charged.c.last, 0))
        .group_by(attempts.c.item_id)
    )
    return _counted(tx, query)


def usage_of_batch(tx: Connection, batch: int) -> tuple[int, int, float]:
    """Return (tokens in, tokens out with thoughts, cost in USD) of everything that came back for a batch.

    The cost is the same in whatever order that was written: the last digits of a sum of floats are not.
    """
    used = (0, 0, 0.0)
    for table in (answers, attempts):
        more = sum_usage(tx, table, table.c.batch == batch)
        used = (used[0] + more[0], used[1] + more[1], round(used[2] + more[2], COST_DIGITS))
    return used


def outcomes_of_batch(tx: Connection, batch: int) -> dict[Outcome, int]:
    """Return how many requests of a batch ended in each way; what equal rows were told is no request of it."""
    found = dict.fromkeys(Outcome, 0)
    failed = select(attempts.c.outcome, func.count()).where(attempts.c.batch == batch).group_by(attempts.c.outcome)
    found |= {Outcome(row[0]): row[1] for row in tx.execute(failed)}
    given = select(func.count()).select_from(answers).where(answers.c.batch == batch)
    return found | {Outcome.ANSWERED: tx.execute(given).scalar_one()}


def items_of_batch(tx: Connection, batch: int) -> list[str]:
    """Return the items that are accounted for in a batch."""
    queries = (select(one.c.item_id).where(one.c.batch == batch) for one in (answers, attempts))
    return [one for query in queries for one in tx.execute(query).scalars()]


def refused_items(tx: Connection, batch: int) -> set[str]:
    """Return the items of a batch whose requests were refused."""
    mine = (attempts.c.batch == batch, attempts.c.outcome == Outcome.REFUSED)
    return set(tx.execute(select(attempts.c.item_id).where(*mine)).scalars())


def sum_usage(tx: Connection, table: Table, condition: ColumnElement[bool]) -> tuple[int, int, float]:
    """Return (tokens in, tokens out with thoughts, cost in USD) of some answers, attempts or live calls."""
    sums = (func.coalesce(func.sum(table.c[name]), 0) for name in ("tokens_in", "tokens_out", "cost"))
    row = tx.execute(select(*sums).where(condition)).one()
    return int(row[0]), int(row[1]), float(row[2])


def of_item(tx: Connection, task: str, item_id: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return every answer and every attempt of one item, oldest first, as plain rows."""
    queries = (select(one).filter_by(task=task, item_id=item_id).order_by(one.c.id) for one in (answers, attempts))
    given, failed = ([dict(row) for row in tx.execute(query).mappings()] for query in queries)
    return given, failed


def failed_attempts(tx: Connection, batch: int) -> Iterator[tuple[str, str, int | None, str, str]]:
    """Yield (outcome, reason, code, item id, excerpt) of a batch's attempts, by item id, shorter ones first."""
    columns = (attempts.c.outcome, attempts.c.reason, attempts.c.code, attempts.c.item_id, attempts.c.excerpt)
    query = select(*columns).where(attempts.c.batch == batch)
    query = query.order_by(func.length(attempts.c.item_id), attempts.c.item_id, attempts.c.id)
    for row in streamed(tx, query, page=PAGE):
        yield row.outcome, row.reason, row.code, row.item_id, row.excerpt or ""


def unusual(tx: Connection, batch: int, *, model: str) -> tuple[list[str], list[str], list[str]]:
    """Return what is not as usual in the answers of a batch, by one look at them: items, items, model versions.

    The first were given answers that were not applied, the input of the second had changed meanwhile, and the versions
    are not of the model that was asked: `gemini-x-002` is one of `gemini-x`; `gemini-x-lite` is another model.
    """
    odd = or_(~answers.c.applied, answers.c.outdated)
    of_item = (case((odd, answers.c[name])) for name in ("id", "item_id"))
    query = select(*of_item, answers.c.applied, answers.c.outdated, answers.c.model_version).distinct()
    rows = tx.execute(query.where(answers.c.batch == batch, or_(odd, answers.c.model_version != model))).all()
    of_model = re.compile(re.escape(model) + r"([-@]\d[\d-]*)?")
    versions = sorted({row[-1].removeprefix("models/") for row in rows})
    items = sorted((tuple(row) for row in rows if row[0] is not None), key=lambda row: (len(row[1]), row[1]))
    return (
        [item_id for _, item_id, is_applied, *_ in items if not is_applied],
        [item_id for _, item_id, _, is_outdated, _ in items if is_outdated],
        [version for version in versions if version and not of_model.fullmatch(version)],
    )


def current_answers(tx: Connection, task: str) -> dict[str, str]:
    """Return the answer (JSON) that was applied to each item of a task, the last one where there are several."""
    query = select(answers.c.item_id, answers.c.answer).where(_stands(task))
    return {row[0]: row[1] for row in tx.execute(query.order_by(answers.c.id))}


def last_applied(
    tx: Connection,
    task: str,
    ids: Sequence[str],
    *,
    rank: Callable[[str], Any] | None = None,
) -> dict[str, tuple[str, str]]:
    """Return (extractor, answer as JSON) of the answer that was applied last to each of these items.

    With `rank` it is the last one of those whose extractor has the lowest.
    """
    found: dict[str, tuple[str, str]] = {}
    columns = (answers.c.item_id, answers.c.extractor, answers.c.answer)
    for some in pages(ids):
        query = select(*columns).where(_stands(task), answers.c.item_id.in_(some)).order_by(answers.c.id)
        for key, whose, answer in tx.execute(query):
            if rank is None or key not in found or rank(whose) <= rank(found[key][0]):
                found[key] = whose, answer
    return found


class GivenAnswer(NamedTuple):
    """One answer as it is kept: JSON, whether it was applied, and what the model said of itself."""

    answer: str
    applied: bool
    model_version: str
    response_id: str


def given_answers(
    tx: Connection, task: str, extractor: str, fingerprint: str | None, ids: Sequence[str]
) -> dict[tuple[str, str], GivenAnswer]:
    """Return what an extractor answered to each of these items, applied or not, by (item id, hash of the input)."""
    columns = (answers.c.item_id, answers.c.input_hash, *(answers.c[name] for name in GivenAnswer._fields))
    mine = and_(answers.c.task == task, answers.c.extractor == extractor, answers.c.answer != FORGOTTEN)
    query = select(*columns).where(mine, answers.c.fingerprint.is_not_distinct_from(fingerprint)).order_by(answers.c.id)
    found = (tx.execute(query.where(answers.c.item_id.in_(some))) for some in pages(ids))
    return {(row[0], row[1]): GivenAnswer(*row[2:]) for rows in found for row in rows}


def newest_answers(
    tx: Connection, task: str, *, of: str | None, after: str = ""
) -> list[tuple[str, str, str, datetime]]:
    """Return (item id, extractor, answer as JSON, when) of the next items behind an id, by id; empty after the last.

    `of` is an extractor, or a label, which stands for those of all models, or None for those of any; each item's is the
    one applied last.
    """
    told = answers.c
    mine = and_(_stands(task), told.item_id > after)
    if of is not None:
        mine = and_(mine, is_by(told.extractor, of))
    ids = select(told.item_id).where(mine).distinct().order_by(told.item_id).limit(PAGE).subquery()
    newest = select(func.max(told.id)).where(mine, told.item_id.in_(select(ids.c.item_id))).group_by(told.item_id)
    query = select(told.item_id, told.extractor, told.answer, told.at).where(told.id.in_(newest))
    return [tuple(row) for row in tx.execute(query.order_by(told.item_id))]


def standing_extractors(tx: Connection, task: str) -> list[str]:
    """Return whose answers stand, by name."""
    told = answers.c.extractor
    return list(tx.execute(select(told).where(_stands(task)).distinct().order_by(told)).scalars())


def is_shown(task: str, *, each: bool) -> ColumnElement[bool]:
    """Return the condition that an answer is the last that was applied to its item, of `each` extractor or of all."""
    newer = answers.alias("newer")
    again = select(newer.c.id).where(_stands(task, newer), newer.c.item_id == answers.c.item_id)
    if each:
        again = again.where(newer.c.extractor == answers.c.extractor)
    return and_(_stands(task), ~again.where(newer.c.id > answers.c.id).correlate(answers).exists())


def applied_answers(tx: Connection, task: str, ids: Sequence[str]) -> Iterator[tuple[str, str, str, datetime]]:
    """Yield (item id, extractor, answer as JSON, when) of all answers applied to these items, oldest first."""
    columns = (answers.c.item_id, answers.c.extractor, answers.c.answer, answers.c.at)
    for some in pages(ids):
        query = select(*columns).where(_stands(task), answers.c.item_id.in_(some)).order_by(answers.c.id)
        yield from map(tuple, tx.execute(query))


def answered_ids(task: str) -> Select[Any]:
    """Return the SELECT of the items of a task to which any answer was applied that was not forgotten."""
    return select(answers.c.item_id).where(_stands(task)).distinct()


def is_answered(task: str, key: ColumnElement[str]) -> ColumnElement[bool]:
    """Return the condition that the item of a key, in a table of items, is among those."""
    return select(answers.c.id).where(_stands(task), answers.c.item_id == key).correlate_except(answers).exists()


def last_of_item(task: str, key: ColumnElement[str], name: str) -> ColumnElement[Any]:
    """Return a column of the answer that `last_applied` gives of the item of a key, in a query over its table."""
    query = select(answers.c[name]).where(_stands(task), answers.c.item_id == key).correlate_except(answers)
    return query.order_by(answers.c.id.desc()).limit(1).scalar_subquery()


def is_by(column: ColumnElement[str], version: str) -> ColumnElement[bool]:
    """Return the condition that an extractor is of a version, a label with or without a model."""
    return or_(column == version, column.startswith(f"{version}/", autoescape=True))


def items_of_versions(tx: Connection, task: str, versions_: Sequence[str]) -> Iterator[str]:
    """Yield the items that have an answer of each of some versions, whether it was applied or not."""
    first, *others = versions_
    query = select(answers.c.item_id).where(_of_version(answers, task, first))
    for one in others:
        other = answers.alias()
        query = query.where(
            select(other.c.id).where(_of_version(other, task, one), other.c.item_id == answers.c.item_id).exists()
        )
    yield from streamed(tx, query.distinct(), page=PAGE).scalars()


def newest_of_version(tx: Connection, task: str, version: str, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the newest answer of a version to each of these items, as a plain row, whether it was applied or not."""
    found: dict[str, dict[str, Any]] = {}
    for some in pages(ids):
        query = select(answers).where(_of_version(answers, task, version), answers.c.item_id.in_(some))
        found.update((row["item_id"], dict(row)) for row in tx.execute(query.order_by(answers.c.id)).mappings())
    return found


def _of_version(table: FromClause, task: str, version: str) -> ColumnElement[bool]:
    """Return the condition that an answer is of a version, a label with or without a model, and was not forgotten."""
    return and_(table.c.task == task, table.c.answer != FORGOTTEN, is_by(table.c.extractor, version))


def version_counts(tx: Connection, task: str) -> list[VersionCounts]:
    """Return each extractor of a task of which answers were applied, by name; its rows are its answers."""
    facts = (func.count(), func.count(answers.c.item_id.distinct()), func.min(answers.c.at), func.max(answers.c.at))
    query = select(answers.c.extractor, *facts).where(_stands(task)).group_by(answers.c.extractor)
    rows = tx.execute(query.order_by(answers.c.extractor)).all()
    return [VersionCounts(row[0].partition("/")[0], row[0].partition("/")[2], *row[1:]) for row in rows]


def _stands(task: str, given: FromClause = answers) -> ColumnElement[bool]:
    """Return the condition that an answer of a task was applied and not forgotten."""
    return and_(given.c.task == task, given.c.applied, given.c.answer != FORGOTTEN)


def _of(task: str, ids: Sequence[str]) -> ColumnElement[bool]:
    return and_(attempts.c.task == task, attempts.c.item_id.in_(ids))


def _counted(tx: Connection, query: Select[Any]) -> dict[str, int]:
    return {row[0]: row[1] for row in tx.execute(query)}


class ReplyCounts(NamedTuple):
    """How many replies were answers, refused and invalid; tokens (prompt; answer and thoughts) and cost in USD."""

    answered: int
    refused: int
    invalid: int
    tokens_in: int
    tokens_out: int
    cost: float

    @property
    def failed(self) -> int:
        """Return how many replies were no answer."""
        return self.refused + self.invalid

    @property
    def total(self) -> int:
        """Return how many replies there were."""
        return self.answered + self.failed


def matches_extractor(extractor: str | None, column: ColumnElement[str]) -> ColumnElement[bool]:
    """Return the condition that a column names an extractor: label/model, any model of a label, or any but a person."""
    if extractor is None:
        return column != PERSON
    return column == extractor if "/" in extractor else column.startswith(f"{extractor}/", autoescape=True)


def count_replies(tx: Connection, task: str, extractor: str | None) -> ReplyCounts:
    """Count the replies to an extractor's questions, and what they used."""
    mine = and_(answers.c.task == task, matches_extractor(extractor, answers.c.extractor))
    tried = and_(attempts.c.task == task, matches_extractor(extractor, attempts.c.extractor))
    answered = tx.execute(select(func.count()).where(mine)).scalar_one()
    failed = {
        outcome: tx.execute(select(func.count()).where(tried, attempts.c.outcome == outcome)).scalar_one()
        for outcome in (Outcome.REFUSED, Outcome.INVALID)
    }
    sums = [sum_usage(tx, answers, mine), sum_usage(tx, attempts, tried)]
    tokens_in, tokens_out, cost = zip(*sums, strict=True)
    kinds = (answered, failed[Outcome.REFUSED], failed[Outcome.INVALID])
    return ReplyCounts(*kinds, sum(tokens_in), sum(tokens_out), sum(cost))


def count_answered(tx: Connection, task: str, extractor: str | None) -> int:
    """Return how many answers of an extractor were applied to their items."""
    return tx.execute(select(func.count()).where(_applied(task, extractor))).scalar_one()


def count_unanswered(tx: Connection, task: str, extractor: str | None) -> int:
    """Return how many items an extractor failed at for the items' own reasons and has not answered since."""
    charged = and_(attempts.c.task == task, attempts.c.charged, matches_extractor(extractor, attempts.c.extractor))
    failed = select(attempts.c.item_id).where(charged).distinct().subquery()
    answered = select(answers.c.id).where(_applied(task, extractor), answers.c.item_id == failed.c.item_id)
    query = select(func.count()).select_from(failed).where(~answered.exists())
    return tx.execute(query).scalar_one()


def applied_ids(task: str, extractor: str) -> Select[Any]:
    """Return the SELECT of the items whose answer by an extractor was applied."""
    return select(answers.c.item_id).where(_applied(task, extractor))


def answers_by(tx: Connection, task: str, extractor: str | None) -> Iterator[tuple[str, str]]:
    """Yield (item id, answer as JSON) of the last answer by an extractor that was applied to each item."""
    told, newer = (answers.c.item_id, answers.c.answer), answers.alias()
    again = select(newer.c.id).where(newer.c.item_id == answers.c.item_id, newer.c.id > answers.c.id)
    again = again.where(newer.c.task == task, newer.c.applied, matches_extractor(extractor, newer.c.extractor))
    query = select(*told).where(_applied(task, extractor), ~again.exists()).order_by(answers.c.id)
    for row in streamed(tx, query, page=PAGE):
        yield row.item_id, row.answer


def count_cut(tx: Connection, task: str, extractor: str | None) -> int:
    """Return how many replies in batches of an extractor were cut by the token limit."""
    mine = and_(attempts.c.task == task, attempts.c.reason.in_(CUT_SHORT), attempts.c.batch.is_not(None))
    mine &= matches_extractor(extractor, attempts.c.extractor)
    return tx.execute(select(func.count()).where(mine)).scalar_one()


def _applied(task: str, extractor: str | None) -> ColumnElement[bool]:
    return and_(answers.c.task == task, answers.c.applied, matches_extractor(extractor, answers.c.extractor))


ROLLBACK = "rollback"  # of the journal's lines about this, by batch


@dataclass(frozen=True)
class Version:
    """One version: its label and model, and since when it is asked under."""

    task: str
    label: str
    model: str
    began_at: datetime

    @property
    def extractor(self) -> str:
        """Return the name that answers are attributed to."""
        return f"{self.label}/{self.model}"


def begun() -> Select[tuple[str, str, datetime]]:
    """Return the SELECT of (task, extractor, when it was asked under first) of every version."""
    of_batches = select(batches.c.task, batches.c.extractor, batches.c.created_at.label("at"))
    of_batches = of_batches.where(~_is_marked(), batches.c.way != Way.TRIAL)
    of_runs = select(runs.c.task, runs.c.extractor, runs.c.started_at).where(runs.c.ended_at.is_(None))
    every = union_all(of_batches, of_runs).subquery("asked").c
    whose = (every.task, every.extractor)
    return select(*whose, func.min(every.at).label("began_at")).group_by(*whose)


def list_versions(tx: Connection, task: str) -> list[Version]:
    """Return every version of a task, oldest first."""
    found = begun().subquery().c
    query = select(found.extractor, found.began_at).where(found.task == task)
    rows = tx.execute(query.order_by(found.began_at, found.extractor)).all()
    return [Version(task, row[0].partition("/")[0], row[0].partition("/")[2], row[1]) for row in rows]


def asked_tasks(tx: Connection) -> set[str]:
    """Return the tasks of which an item was ever asked, but for those that were rolled back whole."""
    found = begun().subquery().c
    return set(tx.execute(select(found.task).distinct()).scalars())


def is_of(extractor: str, version: str) -> bool:
    """Return whether an extractor is of a version, a label with or without a model."""
    return extractor == version or extractor.startswith(f"{version}/")


Rank = Callable[[str], tuple[int, bool, int]]  # of an extractor, the lowest of the one that counts


def ranks(tx: Connection, task: str, *, prefer: Sequence[str] = (), label: str | None = None) -> Rank:
    """Return what puts extractors in order: those of the versions in `prefer`, of `label`, then the one begun last.

    Those of other programs are behind ours.
    """
    places = {one.extractor: number for number, one in enumerate(list_versions(tx, task))}

    def rank(extractor: str) -> tuple[int, bool, int]:
        place = next((number for number, one in enumerate(prefer) if is_of(extractor, one)), len(prefer))
        return place, label is None or not is_of(extractor, label), -places.get(extractor, -1)

    return rank


def paid_for_version(tx: Connection, task: str, extractor: str) -> float:
    """Return what an extractor's answers cost, in USD: all batches, failures included."""
    mine = and_(batches.c.task == task, batches.c.extractor == extractor, ~_is_marked())
    return float(tx.execute(select(func.sum(batches.c.cost)).where(mine)).scalar() or 0.0)


def rolled_back_batches(tx: Connection) -> set[int]:
    """Return the numbers of the batches whose answers were rolled back."""
    return workspace.numbers_with_event(tx, ROLLBACK)


def is_anything_asked(tx: Connection) -> bool:
    """Return whether anything is kept or under way that a model was asked: a version, an answer or a batch."""
    going = (
        begun(),
        select(answers.c.id).where(answers.c.extractor != PERSON),
        select(batches.c.number).where(batches.c.state.not_in(list(OVER))),
    )
    return any(tx.execute(query.limit(1)).first() is not None for query in going)


def applied_page(tx: Connection, task: str, extractor: str, *, after: int) -> list[tuple[int, str]]:
    """Return (row, item id) of the next answers of an extractor that were applied, behind a row."""
    mine = (answers.c.task == task, answers.c.extractor == extractor, answers.c.applied, answers.c.id > after)
    query = select(answers.c.id, answers.c.item_id).where(*mine).order_by(answers.c.id).limit(PAGE)
    return [(row[0], row[1]) for row in tx.execute(query)]


class Removed(NamedTuple):
    """How many answers and attempts of a version were deleted, and how many items are parked under it no more."""

    answers: int
    attempts: int
    let_go: int


def remove_version(tx: Connection, task: str, extractor: str, *, at: datetime) -> Removed:
    """Delete what is kept of a version, and mark its batches, in the caller's transaction."""
    why = "its version was rolled back"
    sent = select(batches.c.number).where(batches.c.task == task, batches.c.extractor == extractor, ~_is_marked())
    for number in tx.execute(sent.order_by(batches.c.number)).scalars().all():
        workspace.record_event(tx, ROLLBACK, number, old=None, new="answers removed", why=why, at=at)
    going = and_(runs.c.task == task, runs.c.extractor == extractor, runs.c.ended_at.is_(None))
    tx.execute(update(runs).where(going).values(ended_at=at, why=why))
    parked = (asks.c.task == task, asks.c.extractor == extractor, asks.c.state == PARKED)
    let_go = tx.execute(select(func.count()).where(*parked)).scalar_one()
    counts = [
        tx.execute(delete(table).where(table.c.task == task, table.c.extractor == extractor)).rowcount
        for table in (answers, attempts, asks, pilots)
    ]
    return Removed(counts[0], counts[1], let_go)


def _is_marked() -> ColumnElement[bool]:
    return cast(batches.c.number, Text).in_(select(journal.c.name).where(journal.c.kind == ROLLBACK))
