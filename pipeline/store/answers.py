"""Keep answers with their provenance, and attempts that gave none.

An attempt that failed for a reason of the item's own is `charged` to it; one that failed for the service's counts
towards `MAX_SERVICE_FAILURES` in a row. To unpark forgives attempts and does not delete them.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
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
    intersect,
    literal,
    null,
    or_,
    select,
    true,
    union_all,
    update,
)

from pipeline.core.states import OPEN, OVER, Mode, Outcome
from pipeline.store import workspace
from pipeline.store.claims import CLAIMED, IS_CLAIMED, PARKED
from pipeline.store.database import PAGE, among, change_among, run_many, streamed
from pipeline.store.schema import answers, asks, attempts, batches, pilots, runs
from pipeline.store.schema import events as journal

MAX_ATTEMPTS = 2  # an item is asked once more, then parked
MAX_SERVICE_FAILURES = 3  # batches in a row that gave nothing, after which nothing more is paid for
MAX_LOST_CALLS = 10  # times in a row that our own calls about an item got none; so a hang of minutes is outlasted
LOST = "no reply: "  # how the reason of an attempt begins whose call got none, and was perhaps paid for
USED = ("tokens_in", "tokens_out", "cost")
COST_DIGITS = (
    9  # of an account in USD: far below what one token costs, and above what rounding adds up to
)
PERSON = "person"  # the extractor of what a person said by hand: it outranks every model
FORGOTTEN = "null"  # the answer that stands for one that was forgotten, as JSON
_OWN = (
    "task",
    "batch",
    "line",
    "outcome",
    "reason",
    "tokens_in",
    "tokens_out",
    "cost",
    "answer",
)  # of a request
CUT_SHORT = (
    "max-tokens",
    "max-tokens-empty",
)  # the reasons of replies that a larger `maxOutputTokens` may help


class VersionCounts(NamedTuple):
    """One version: its label and model (may be empty), rows, items that have some, first and last time."""

    label: str
    model: str = ""
    rows: int = 0
    items: int = 0
    first: datetime | None = None
    last: datetime | None = None

    @classmethod
    def of(cls, extractor: str, *counts: Any) -> "VersionCounts":
        """Return the version that an extractor names."""
        label, _, model = extractor.partition("/")
        return cls(label, model, *counts)

    @property
    def extractor(self) -> str:
        """Return the name that answers are attributed to: the label alone where no model is named."""
        return f"{self.label}/{self.model}" if self.model else self.label


def keep(
    tx: Connection, given: Sequence[Mapping[str, Any]], failed: Sequence[Mapping[str, Any]]
) -> None:
    """Keep validated answers (JSON) with where they came from, and attempts that gave none, with their reasons."""
    run_many(tx, insert(answers), given)
    run_many(tx, insert(attempts), failed)


def count_charged(tx: Connection, task: str, extractor: str, ids: Sequence[str]) -> dict[str, int]:
    """Return how many charged and unforgiven attempts each item has under a version; those without are not there."""
    return _counted(tx, task, ids, attempts.c.extractor == extractor, attempts.c.charged)


def count_cut_short(tx: Connection, task: str, ids: Sequence[str]) -> dict[str, int]:
    """Return how often the answer of each of these items was cut by the token limit, where any was, unforgiven."""
    return _counted(tx, task, ids, attempts.c.reason.in_(CUT_SHORT))


def service_failures(
    tx: Connection, task: str, extractor: str, ids: Sequence[str], *, live: bool
) -> dict[str, int]:
    """Return how many batches in a row, or `live` calls, failed each item under a version without a word on it."""
    later = attempts.alias()
    is_lost = attempts.c.reason.startswith(LOST, autoescape=True)
    same = (later.c[name] == attempts.c[name] for name in ("task", "extractor", "item_id"))
    is_past = select(later.c.id).where(*same, later.c.charged, later.c.id > attempts.c.id).exists()
    is_one = is_lost if live else and_(attempts.c.batch.is_not(None), ~is_lost)
    return _counted(
        tx, task, ids, attempts.c.extractor == extractor, ~attempts.c.charged, is_one, ~is_past
    )


def _counted(
    tx: Connection, task: str, ids: Sequence[str], *conditions: ColumnElement[bool]
) -> dict[str, int]:
    query = select(attempts.c.item_id, func.count()).where(
        attempts.c.task == task, ~attempts.c.forgiven, *conditions
    )
    return {
        row[0]: row[1]
        for row in among(tx, query.group_by(attempts.c.item_id), attempts.c.item_id, ids)
    }


def usage(tx: Connection, batch: int) -> dict[str, float]:
    """Return `tokens_in`, `tokens_out` with thoughts, and `cost` in USD of everything that came back for a batch."""
    used = [
        tx.execute(_used(table).where(table.c.batch == batch)).one()
        for table in (answers, attempts)
    ]
    return dict(zip(USED, _summed(used), strict=True))


def _used(table: Table) -> Select[Any]:
    return select(*(func.coalesce(func.sum(table.c[name]), 0) for name in USED))


def _summed(used: Iterable[Sequence[Any]]) -> tuple[int, int, float]:
    """Return sums; that of the cost is the same in whatever order it was written."""
    tokens_in, tokens_out, cost = (sum(some) for some in zip(*used, strict=True))
    return int(tokens_in), int(tokens_out), round(float(cost), COST_DIGITS)


def count_outcomes(tx: Connection, batch: int | None = None) -> dict[int, dict[str, int]]:
    """Return for each batch, or for one, how many of its requests are claimed, and how many ended in each way."""
    counted = (
        (asks, literal("claimed"), asks.c.state == CLAIMED),
        (answers, literal(Outcome.ANSWERED.value), true()),
        (attempts, attempts.c.outcome, true()),
    )
    found: dict[int, dict[str, int]] = {}
    for table, how, condition in counted:
        mine = table.c.batch.is_not(None) if batch is None else table.c.batch == batch
        query = select(table.c.batch, how.label("how"), func.count()).where(mine, condition)
        for number, kind, count in tx.execute(query.group_by(table.c.batch, "how")):
            found.setdefault(number, {"claimed": 0, **dict.fromkeys(Outcome, 0)})[kind] = count
    return found


def items_of_batch(
    tx: Connection, batch: int, *, outcome: Outcome | None = None, claimed: bool = False
) -> list[str]:
    """Return the items accounted for in a batch, those of one outcome among attempts, or also those `claimed`."""
    failed = select(attempts.c.item_id).where(attempts.c.batch == batch)
    every = [select(answers.c.item_id).where(answers.c.batch == batch), failed]
    every += [
        select(asks.c.item_id).where(asks.c.batch == batch, asks.c.state == CLAIMED)
    ] * claimed
    query = union_all(*every) if outcome is None else failed.where(attempts.c.outcome == outcome)
    return list(tx.execute(query).scalars())


def of_item(
    tx: Connection, task: str, item_id: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return every answer and every attempt of one item, oldest first, as plain rows."""
    queries = (
        select(one).filter_by(task=task, item_id=item_id).order_by(one.c.id)
        for one in (answers, attempts)
    )
    given, failed = ([dict(row) for row in tx.execute(query).mappings()] for query in queries)
    return given, failed


def failed_attempts(tx: Connection, batch: int) -> Iterator[tuple[str, str, int | None, str, str]]:
    """Yield (outcome, reason, code, item id, excerpt) of a batch's attempts, by item id, shorter ones first."""
    told = ("outcome", "reason", "code", "item_id")
    columns = (*(attempts.c[name] for name in told), func.coalesce(attempts.c.excerpt, ""))
    query = select(*columns).where(attempts.c.batch == batch)
    query = query.order_by(func.length(attempts.c.item_id), attempts.c.item_id, attempts.c.id)
    yield from map(tuple, streamed(tx, query, page=PAGE))


def unusual(tx: Connection, batch: int, *, model: str) -> tuple[list[str], list[str], list[str]]:
    """Return what is not as usual in the answers of a batch: items, items, and model versions.

    The first were given answers that were not applied, the input of the second had changed meanwhile, and the versions
    are not of the model that was asked: `gemini-x-002` is one of `gemini-x`; `gemini-x-lite` is another model.
    """
    mine = answers.c.batch == batch
    told = (answers.c.item_id, answers.c.applied, answers.c.outdated)
    odd = select(*told).where(mine, or_(~answers.c.applied, answers.c.outdated))
    items = tx.execute(odd.order_by(func.length(answers.c.item_id), answers.c.item_id)).all()
    others = (
        select(answers.c.model_version).where(mine, answers.c.model_version != model).distinct()
    )
    versions = sorted({one.removeprefix("models/") for one in tx.execute(others).scalars()})
    of_model = re.compile(re.escape(model) + r"([-@]\d[\d-]*)?")
    return (
        [one.item_id for one in items if not one.applied],
        [one.item_id for one in items if one.outdated],
        [one for one in versions if one and not of_model.fullmatch(one)],
    )


def applied_answers(
    tx: Connection, task: str, ids: Sequence[str] | None
) -> Iterator[tuple[str, str, str, datetime]]:
    """Yield (item id, extractor, answer as JSON, when) of all answers applied to these items, or any, oldest first."""
    told = (answers.c.item_id, answers.c.extractor, answers.c.answer, answers.c.at)
    query = select(*told).where(_stands(task)).order_by(answers.c.id)
    yield from map(
        tuple,
        streamed(tx, query, page=PAGE) if ids is None else among(tx, query, answers.c.item_id, ids),
    )


@dataclass(frozen=True)
class VersionPreference:
    """Which of the answers to a row counts: the one that comes first in `order`.

    A person's comes before all models'. Then come those of `versions`, in their order, then those of `label`, the
    task's current version, then those of the version that was begun last; of one version the newest. `begun` are the
    extractors in the order in which they began. One that it does not name is taken to have begun after these.
    """

    task: str
    label: str = ""
    versions: tuple[str, ...] = ()
    begun: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, tx: Connection, task: str, *, label: str, versions: Sequence[str] = ()
    ) -> "VersionPreference":
        """Return the preference of a task as its versions are now."""
        return cls(
            task, label, tuple(versions), tuple(one.extractor for one in list_versions(tx, task))
        )

    @property
    def _labels(self) -> list[str]:
        return [*self.versions, self.label] if self.label else [*self.versions]

    def order(self, given: FromClause) -> list[ColumnElement[Any]]:
        """Return what answers are sorted by, so that the first of a row is the one that counts."""
        whose = given.c.extractor
        places = [(is_by(whose, label), place) for place, label in enumerate(self._labels, 1)]
        begun = {extractor: -place for place, extractor in enumerate(self.begun)}

        order: list[ColumnElement[Any]] = [
            case((whose == PERSON, 0), *places, else_=len(places) + 1)
        ]
        if len(begun) > 1:
            order.append(case(begun, value=whose, else_=-len(begun)))
        return [*order, given.c.id.desc()]

    def rank(self, extractor: str) -> tuple[bool, int, int]:
        """Return by what extractors are sorted like their answers; those of other programs are the last."""
        labels = self._labels
        place = next(
            (place for place, label in enumerate(labels) if is_of(extractor, label)), len(labels)
        )
        begun = self.begun.index(extractor) if extractor in self.begun else -1
        return extractor != PERSON, place, -begun


def is_effective(
    preference: VersionPreference,
    *,
    of: str | None = None,
    corrected: bool = False,
    each: bool = False,
) -> ColumnElement[bool]:
    """Return the SQL condition that an applied answer is the preferred one of its row.

    Args:
        preference: The task, and the order of preference among its answers.
        of: Compare only answers of this version; None means all versions and people.
        corrected: Compare the answers of people, too, if `of` is a version.
        each: Return the preferred answer of each extractor instead of one for the row.
    """
    others = answers.alias("others")

    def is_among(given: FromClause) -> ColumnElement[bool]:
        is_own = _stands(preference.task, of, given)
        return or_(is_own, _stands(preference.task, PERSON, given)) if corrected else is_own

    of_row = select(others.c.id).where(is_among(others), others.c.item_id == answers.c.item_id)
    if each:
        of_row = of_row.where(others.c.extractor == answers.c.extractor)
    first = of_row.order_by(*preference.order(others)).limit(1).correlate(answers).scalar_subquery()
    return and_(is_among(answers), answers.c.id == first)


def effective_of_item(
    preference: VersionPreference, key: ColumnElement[str], what: str | ColumnElement[Any]
) -> ColumnElement[Any]:
    """Return a column, or an expression, of the answer that counts of the item of a key, in a query."""
    query = select(answers.c[what] if isinstance(what, str) else what)
    query = query.where(_stands(preference.task), answers.c.item_id == key).correlate_except(
        answers
    )
    return query.order_by(*preference.order(answers)).limit(1).scalar_subquery()


def last_applied(
    tx: Connection,
    task: str,
    ids: Sequence[str] | None = None,
    *,
    preference: VersionPreference | None = None,
) -> dict[str, tuple[str, str]]:
    """Return (extractor, JSON) of the answer of each item that counts; without a preference a person's, or the last."""
    query = select(answers.c.item_id, answers.c.extractor, answers.c.answer)
    query = query.where(is_effective(preference or VersionPreference(task)))
    rows = (
        streamed(tx, query, page=PAGE) if ids is None else among(tx, query, answers.c.item_id, ids)
    )
    return {row.item_id: (row.extractor, row.answer) for row in rows}


def answers_to_other_inputs(
    tx: Connection, task: str, hashes: Mapping[str, str]
) -> dict[str, list[str]]:
    """Return the answers (JSON) of models that were applied to some items about another input than a hash of each."""
    query = select(answers.c.item_id, answers.c.input_hash, answers.c.answer)
    query = query.where(_stands(task), answers.c.extractor != PERSON).order_by(answers.c.id)
    former_answers: dict[str, list[str]] = {}
    for item_id, input_hash, answer in among(tx, query, answers.c.item_id, list(hashes)):
        if input_hash != hashes[item_id]:
            former_answers.setdefault(item_id, []).append(answer)
    return former_answers


class StoredAnswer(NamedTuple):
    """One answer as it is kept: JSON, whether it was applied, and what the model said of itself."""

    answer: str
    applied: bool
    model_version: str
    response_id: str


def set_aside(tx: Connection, task: str, ids: Sequence[str]) -> None:
    """Let the answers of some items count no more, so that they can be asked again; what they cost stays."""
    change_among(
        tx,
        update(answers).where(answers.c.task == task).values(applied=False),
        answers.c.item_id,
        ids,
    )


def given_answers(
    tx: Connection, task: str, extractor: str, fingerprint: str | None, ids: Sequence[str]
) -> dict[tuple[str, str], StoredAnswer]:
    """Return what an extractor answered to each of these items, applied or not, by (item id, hash of the input)."""
    columns = (
        answers.c.item_id,
        answers.c.input_hash,
        *(answers.c[name] for name in StoredAnswer._fields),
    )
    mine = and_(
        answers.c.task == task, answers.c.extractor == extractor, answers.c.answer != FORGOTTEN
    )
    query = (
        select(*columns)
        .where(mine, answers.c.fingerprint.is_not_distinct_from(fingerprint))
        .order_by(answers.c.id)
    )
    return {
        (row[0], row[1]): StoredAnswer(*row[2:]) for row in among(tx, query, answers.c.item_id, ids)
    }


def newest_answers(
    tx: Connection,
    preference: VersionPreference,
    *,
    of: str | None,
    corrected: bool,
    after: str = "",
) -> list[tuple[str, str, str, datetime]]:
    """Return (item id, extractor, JSON, when) of the answers that count, as `is_effective` has it, by id, a page."""
    told = answers.c
    query = select(told.item_id, told.extractor, told.answer, told.at).where(told.item_id > after)
    query = (
        query.where(is_effective(preference, of=of, corrected=corrected))
        .order_by(told.item_id)
        .limit(PAGE)
    )
    return [tuple(row) for row in tx.execute(query)]


def spoken_for_among(tx: Connection, task: str, ids: Sequence[str]) -> set[str]:
    """Return of which of these items what a person said stands."""
    return {row[0] for row in among(tx, answered_ids(task, PERSON), answers.c.item_id, ids)}


def answers_by(tx: Connection, task: str, version: str | None) -> Iterator[tuple[str, str]]:
    """Yield (item id, answer as JSON) of the last answer of a version, or of any, that was applied to each item."""
    query = (
        select(answers.c.item_id, answers.c.answer)
        .where(is_effective(VersionPreference(task), of=version))
        .order_by(answers.c.id)
    )
    yield from map(tuple, streamed(tx, query, page=PAGE))


def answered_ids(task: str, of: str | None = None) -> Select[Any]:
    """Return the SELECT of the items of a task to which any answer, or one of a version, was applied and stands."""
    return select(answers.c.item_id).where(_stands(task, of)).distinct()


def is_answered(task: str, key: ColumnElement[str], of: str | None = None) -> ColumnElement[bool]:
    """Return the condition that the item of a key, in a table of items, is among those."""
    return (
        select(answers.c.id)
        .where(_stands(task, of), answers.c.item_id == key)
        .correlate_except(answers)
        .exists()
    )


def newest_id(tx: Connection) -> int:
    """Return the number of the newest answer to anything; 0 where there is none."""
    return tx.execute(select(func.max(answers.c.id))).scalar() or 0


def has_answer_after(task: str, key: ColumnElement[str], answer_id: int) -> ColumnElement[bool]:
    """Return the condition that the item of a key has an answer newer than one of that number, applied or not."""
    newer = select(answers.c.id).where(
        answers.c.task == task, answers.c.item_id == key, answers.c.id > answer_id
    )
    return newer.correlate_except(answers).exists()


def last_asked(task: str, key: ColumnElement[str]) -> ColumnElement[str]:
    """Return a column: extractor, blank and input hash of a person's answer, else of the newest."""
    return effective_of_item(
        VersionPreference(task), key, answers.c.extractor + literal(" ") + answers.c.input_hash
    )


def is_by(column: ColumnElement[str], version: str | None) -> ColumnElement[bool]:
    """Return the condition that an extractor is of a version, a label with or without a model; any without one."""
    if version is None:
        return true()
    return or_(column == version, column.startswith(f"{version}/", autoescape=True))


def items_of_versions(tx: Connection, task: str, versions: Sequence[str]) -> Iterator[str]:
    """Yield the items that have an answer of each of some versions, whether it was applied or not."""
    each = (select(answers.c.item_id).where(_of_version(answers, task, one)) for one in versions)
    yield from tx.execute(intersect(*each)).scalars()


def newest_of_version(
    tx: Connection, task: str, version: str, ids: Sequence[str]
) -> dict[str, str]:
    """Return the newest answer of a version to each of these items, JSON, whether it was applied or not."""
    query = select(answers.c.item_id, answers.c.answer).where(_of_version(answers, task, version))
    return {
        row[0]: row[1] for row in among(tx, query.order_by(answers.c.id), answers.c.item_id, ids)
    }


def _of_version(table: FromClause, task: str, version: str | None) -> ColumnElement[bool]:
    return and_(
        table.c.task == task, table.c.answer != FORGOTTEN, is_by(table.c.extractor, version)
    )


def version_counts(
    tx: Connection, task: str, *conditions: ColumnElement[bool]
) -> list[VersionCounts]:
    """Return each extractor of a task of which answers were applied, by name; its rows are its answers."""
    facts = (
        func.count(),
        func.count(answers.c.item_id.distinct()),
        func.min(answers.c.at),
        func.max(answers.c.at),
    )
    query = (
        select(answers.c.extractor, *facts)
        .where(_stands(task), *conditions)
        .group_by(answers.c.extractor)
    )
    return [VersionCounts.of(*row) for row in tx.execute(query.order_by(answers.c.extractor))]


def _stands(
    task: str, version: str | None = None, given: FromClause = answers
) -> ColumnElement[bool]:
    return and_(given.c.applied, _of_version(given, task, version))


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


def count_replies(tx: Connection, task: str, extractor: str | None) -> ReplyCounts:
    """Count the replies to the questions of a version, or of all, and their use: no person's, no forgiven failures."""
    used = []
    found = Counter[str]()
    failed = case((attempts.c.forgiven, "forgiven"), else_=attempts.c.outcome)
    for table, how in ((answers, literal(Outcome.ANSWERED.value)), (attempts, failed)):
        mine = (
            table.c.task == task,
            table.c.extractor != PERSON,
            is_by(table.c.extractor, extractor),
        )
        query = (
            _used(table).add_columns(func.count(), how.label("how")).where(*mine).group_by("how")
        )
        for *some, count, outcome in tx.execute(query):
            used.append(some)
            found[outcome] += count
    answered, refused, invalid = (
        found[one] for one in (Outcome.ANSWERED, Outcome.REFUSED, Outcome.INVALID)
    )
    return ReplyCounts(answered, refused, invalid, *_summed([(0, 0, 0.0), *used]))


def count_answered(tx: Connection, task: str, version: str | None) -> int:
    """Return how many items an answer of a version was applied to, and stands."""
    return tx.execute(
        select(func.count()).select_from(answered_ids(task, version).subquery())
    ).scalar_one()


def count_unanswered(tx: Connection, task: str, version: str | None) -> int:
    """Return how many items a version failed at for the items' own reasons and has not answered since."""
    charged = and_(
        attempts.c.task == task, attempts.c.charged, is_by(attempts.c.extractor, version)
    )
    failed = select(attempts.c.item_id).where(charged).distinct().subquery()
    query = (
        select(func.count())
        .select_from(failed)
        .where(~is_answered(task, failed.c.item_id, version))
    )
    return tx.execute(query).scalar_one()


def failed_reasons(tx: Connection, task: str, version: str | None) -> dict[str, str]:
    """Return the newest reason why each row failed that a version was charged with and has not answered, by its id."""
    charged = and_(attempts.c.task == task, attempts.c.charged, ~attempts.c.forgiven)
    failed = and_(
        charged,
        is_by(attempts.c.extractor, version),
        ~is_answered(task, attempts.c.item_id, version),
    )
    query = select(attempts.c.item_id, attempts.c.reason).where(failed).order_by(attempts.c.id)
    return {row[0]: row[1] for row in tx.execute(query)}


def count_cut(tx: Connection, task: str, version: str | None) -> int:
    """Return how many replies in batches of a version were cut by the token limit."""
    mine = and_(
        attempts.c.task == task, attempts.c.reason.in_(CUT_SHORT), attempts.c.batch.is_not(None)
    )
    return tx.execute(
        select(func.count()).where(mine, is_by(attempts.c.extractor, version))
    ).scalar_one()


ROLLBACK = "rollback"  # of the journal's lines about this, by batch


def begun() -> Select[tuple[str, str, datetime]]:
    """Return the SELECT of (task, extractor, when it was asked under first) of every version."""
    of_batches = select(batches.c.task, batches.c.extractor, batches.c.created_at.label("at"))
    of_batches = of_batches.where(~_is_marked(), batches.c.way != Mode.TRIAL)
    of_runs = select(runs.c.task, runs.c.extractor, runs.c.started_at).where(
        runs.c.ended_at.is_(None)
    )
    every = union_all(of_batches, of_runs).subquery("asked").c
    whose = (every.task, every.extractor)
    return select(*whose, func.min(every.at).label("began_at")).group_by(*whose)


def list_versions(tx: Connection, task: str) -> list[VersionCounts]:
    """Return every version of a task, oldest first."""
    found = begun().subquery().c
    query = select(found.extractor).where(found.task == task)
    return [
        VersionCounts.of(row[0])
        for row in tx.execute(query.order_by(found.began_at, found.extractor))
    ]


def asked_tasks(tx: Connection) -> set[str]:
    """Return the tasks of which an item was ever asked, but for those that were rolled back whole."""
    found = begun().subquery().c
    return set(tx.execute(select(found.task).distinct()).scalars())


def is_of(extractor: str, version: str) -> bool:
    """Return whether an extractor is of a version, a label with or without a model."""
    return extractor == version or extractor.startswith(f"{version}/")


def paid_for_version(tx: Connection, task: str, extractor: str) -> float:
    """Return what an extractor's answers cost, in USD: all batches, failures included."""
    mine = and_(batches.c.task == task, batches.c.extractor == extractor, ~_is_marked())
    return float(tx.execute(select(func.sum(batches.c.cost)).where(mine)).scalar() or 0.0)


def is_anything_asked(tx: Connection) -> bool:
    """Return whether anything is kept or under way that a model was asked: a version, an answer or a batch."""
    going = (
        begun(),
        select(answers.c.id).where(answers.c.extractor != PERSON),
        select(batches.c.number).where(batches.c.state.not_in(list(OVER))),
    )
    return any(tx.execute(query.limit(1)).first() is not None for query in going)


def remove_version(
    tx: Connection, task: str, extractor: str, *, at: datetime
) -> tuple[int, int, int]:
    """Delete what is kept of a version, and mark its batches; return how many answers, attempts and parked items."""
    why = "its version was rolled back"
    sent = select(batches.c.number).where(
        batches.c.task == task, batches.c.extractor == extractor, ~_is_marked()
    )
    for number in tx.execute(sent.order_by(batches.c.number)).scalars().all():
        workspace.record_event(
            tx, ROLLBACK, number, old=None, new="answers removed", why=why, at=at
        )
    going = and_(runs.c.task == task, runs.c.extractor == extractor, runs.c.ended_at.is_(None))
    tx.execute(update(runs).where(going).values(ended_at=at, why=why))
    parked = (asks.c.task == task, asks.c.extractor == extractor, asks.c.state == PARKED)
    let_go = tx.execute(select(func.count()).where(*parked)).scalar_one()
    gone, failed, *_ = (
        tx.execute(
            delete(table).where(table.c.task == task, table.c.extractor == extractor)
        ).rowcount
        for table in (answers, attempts, asks, pilots)
    )
    return gone, failed, let_go


def _is_marked() -> ColumnElement[bool]:
    return cast(batches.c.number, Text).in_(
        select(journal.c.name).where(journal.c.kind == ROLLBACK)
    )


# Single requests: the answer to one, its attempt, or, while it is under way, its claim; what an equal row told is none


def is_anything_sent(tx: Connection, task: str) -> bool:
    """Return whether a request of a task ever went out, or may have."""
    sent = select(batches.c.number).where(
        batches.c.task == task, batches.c.create_sent_at.is_not(None)
    )
    return tx.execute(sent.limit(1)).first() is not None


def requests_of_item(tx: Connection, task: str, item_id: str) -> list[dict[str, Any]]:
    """Return every request about one item as a document, newest first.

    That is when it was asked (`at`, `task`, `item`), how and by whom (`purpose`, `batch` and its `state`, `line`,
    `extractor`, `model`), and how it ended: `outcome` (None while it is under way), `reason`, `ended_at`, `tokens_in`,
    `tokens_out`, `cost` (USD), `answer`, and whether that was `forgotten` with its item.
    """
    return _told(
        tx,
        (
            query.where(table.c.task == task, table.c.item_id == item_id)
            for table, query in _queries()
        ),
    )


def newest_requests(tx: Connection, *, limit: int, task: str | None = None) -> list[dict[str, Any]]:
    """Return the newest requests of a task, or of all; however many there are, only about so many are read."""
    newest = list[Select[Any]]()
    for table, query in _queries():
        inside = table.c.line if table is asks else table.c.id
        # a plain comparison would have the database sort all that is of the task
        mine = query if task is None else query.where(func.coalesce(table.c.task, "") == task)
        newest.append(mine.order_by(table.c.batch.desc(), inside.desc()).limit(limit))
    return _told(tx, newest)[:limit]


def _queries() -> Iterator[tuple[Table, Select[Any]]]:
    for table in (answers, attempts, asks):
        own: dict[str, ColumnElement[Any]] = {
            name: table.c[name] if name in table.c else null() for name in _OWN
        }
        own |= {"item": table.c.item_id, "ended_at": null() if table is asks else table.c.at}
        if table is answers:
            own |= {"outcome": literal(Outcome.ANSWERED.value), "reason": literal("ok")}
        own |= {"at": batches.c.created_at, "purpose": batches.c.way}
        own |= {name: batches.c[name] for name in ("state", "extractor", "model")}
        query = select(*(cell.label(name) for name, cell in own.items()))
        query = query.select_from(table).join(batches, batches.c.number == table.c.batch)
        yield table, query.where(IS_CLAIMED, batches.c.state.in_(OPEN)) if table is asks else query


def _told(tx: Connection, queries: Iterable[Select[Any]]) -> list[dict[str, Any]]:
    rows = [
        {**row, "line": row["line"] or 0}
        for query in queries
        for row in tx.execute(query).mappings()
    ]
    for row in rows:
        row |= {
            "forgotten": row["answer"] == FORGOTTEN,
            "answer": json.loads(row["answer"] or "null"),
        }
    # Not by time: a clock may have been wrong, and numbers only grow.
    return sorted(rows, key=itemgetter("batch", "line"), reverse=True)
