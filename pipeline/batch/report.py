"""What is told of batches: the list, what was spent by day, task, model or batch, what models cost, what is due.

A batch costs what its usage says when it is ingested, by the day it was sent; a run of our own calls by the day it
began, a duplicate on that it was found. What ended unseen is told apart, at its estimate: it may have been paid for.
Embeddings are not kept account of. Reads the database alone; sends nothing.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from pipeline.batch.budget import today
from pipeline.core.settings import Settings
from pipeline.core.states import BatchState, Mode
from pipeline.core.text import usd
from pipeline.engine.task import Task
from pipeline.gemini.models import load_models
from pipeline.store import batches, claims, money, runs
from pipeline.store.batches import BatchRow
from pipeline.store.database import Connection, Store

SHOWN = (
    *(
        "number",
        "way",
        "task",
        "extractor",
        "model",
        "reason",
        "created_at",
        "submitted_at",
        "ended_at",
    ),
    *(
        "remote_name",
        "remote_word",
        "tries",
        "requests",
        "estimated_in",
        "estimated_out",
        "estimated_cost",
    ),
    *(
        "priced_on",
        "tokens_in",
        "tokens_out",
        "answered",
        "refused",
        "invalid",
        "missing",
        "not_applied",
    ),
    *("unknown", "duplicates", "unreadable"),
)
TRIALS = "trials"  # in the place of a batch's number


class BatchSummary(NamedTuple):
    """One batch with its age; `cost` in USD is what it cost where `is_actual`, else what it is estimated to cost."""

    batch: BatchRow
    age: timedelta
    cost: float
    is_actual: bool

    def __repr__(self) -> str:
        """Return number, state and size in a line."""
        one = self.batch
        return f"<batch {one.number} of {one.task}: {one.state}, {one.requests:,} requests, {usd(self.cost)}>"

    @property
    def done(self) -> str:
        """Return how far it has come: answers of an ingested one, else what the API counts."""
        done = self.batch.remote_done if self.batch.answered is None else self.batch.answered
        return "-" if done is None else str(done)

    @property
    def age_words(self) -> str:
        """Return the age as people say it; of a batch that is over, how long it took, where no clock went back."""
        seconds = self.age.total_seconds()
        return "-" if seconds < 0 else time_words(seconds)

    @property
    def document(self) -> dict[str, Any]:
        """Return the batch for programs."""
        figures = {
            "cost": self.cost,
            "cost_is_actual": self.is_actual,
            "age_s": round(self.age.total_seconds()),
        }
        return (
            {name: getattr(self.batch, name) for name in SHOWN}
            | {"state": self.batch.state.value}
            | figures
        )


def list_batches(store: Store, *, now: datetime) -> list[BatchSummary]:
    """Return every batch, oldest first; those of one run of our own calls as one."""
    with store.read() as tx:
        return [summary_of(one, now=now) for one in batches.by_run(batches.batches_in_states(tx))]


def summary_of(batch: BatchRow, *, now: datetime) -> BatchSummary:
    """Return a batch with its age and what it cost, or is estimated to cost."""
    never_sent = batch.state is BatchState.FAILED and batch.remote_name is None
    estimated = 0.0 if never_sent else batch.estimated_cost
    age = (batch.ended_at or now) - batch.created_at
    return BatchSummary(
        batch, age, estimated if batch.cost is None else batch.cost, batch.cost is not None
    )


def time_words(seconds: float | None) -> str:
    """Return a length of time in words."""
    if seconds is None:
        return "an unknown time"
    for unit, length, least in (("d", 86_400, 2), ("h", 3_600, 1), ("min", 60, 1), ("s", 1, 1)):
        if (amount := seconds / length) >= least:
            return f"{amount:.{int(amount < 10)}f} {unit}".replace(".0 ", " ")  # noqa: PLR2004 - more has no decimals
    return "a second"


KEYS = ("day", "task", "model", "batch")
AMOUNTS = ("batches", "calls", "lost_calls", "tokens_in", "tokens_out", "cost", "lost", "under_way")


def unpriced_models(everyone: Iterable[BatchRow]) -> dict[str, int]:
    """Return how many requests were sent to each model whose price nobody knew when they were prepared."""
    counts = Counter[str]()
    for batch in everyone:
        if not batch.priced_on and batch.create_sent_at is not None:
            counts[batch.model] += batch.requests
    return dict(counts)


def costs(
    store: Store, tasks: Sequence[Task], *, by: str, only: str | None = None
) -> dict[str, Any]:
    """Return for programs what was spent, in `rows` by one of `KEYS`, in its order, and in `total`, from one snapshot.

    Each has how many batches and live calls, what they used, and USD: known, perhaps lost, and under way. Batches of
    other tasks than `only` are left out.
    """
    names = {one.name: one.subject for one in tasks}  # as TASK= has them
    rows = defaultdict[str, Counter[str]](Counter)
    total = Counter[str]()
    with store.read() as tx:
        for keys, amounts in _entries(tx, names, only):
            for row in (rows[keys[KEYS.index(by)]], total):
                row.update(dict(zip(AMOUNTS, amounts, strict=True)))
    ordered = sorted(rows, key=lambda key: (int(key), "") if key.isdecimal() else (1 << 62, key))
    return {
        "by": by,
        "rows": [{by: key} | _amounts(rows[key]) for key in ordered],
        "total": _amounts(total),
    }


def _amounts(row: Mapping[str, float]) -> dict[str, float]:
    return {name: round(row.get(name, 0), 6) for name in AMOUNTS}


def _entries(
    tx: Connection, names: dict[str, str], only: str | None
) -> Iterator[tuple[tuple[str, ...], tuple[float, ...]]]:
    keys = {}
    for batch in batches.batches_in_states(tx, task=only):
        day = today(batch.create_sent_at or batch.created_at).isoformat()
        counts = (1, 0, 0) if batch.way is Mode.BATCH else (0, batch.calls, money.lost_calls(batch))
        name = TRIALS if batch.way is Mode.TRIAL else str(batch.run or batch.number)
        keys[batch.number] = (day, names.get(batch.task, batch.task), batch.model, name)
        if batch.create_sent_at is not None and batch.state is not BatchState.PREPARED:
            yield (
                keys[batch.number],
                (*counts, batch.tokens_in or 0, batch.tokens_out or 0, *money.batch_spent(batch)),
            )
    for one in (one for one in batches.all_duplicates(tx) if one["batch"] in keys):
        found_on = today(one["found_at"]).isoformat()
        yield (found_on, *keys[one["batch"]][1:]), (0, 0, 0, 0, 0, 0.0, one["estimated_cost"], 0.0)


def prices(settings: Settings, *, on: date) -> list[dict[str, Any]]:
    """Return every model of the catalogue with the prices of a day in USD per 1 M tokens, and its limits in force."""
    settings = settings.for_backend(settings.wanted_backend)
    uses = {settings.model: "answers", settings.embedding_model: "embeds"}
    uses = {name.removeprefix("models/"): use for name, use in uses.items()}
    own = {name: getattr(settings, name) for name in ("rpm", "tpm", "rpd")}
    found = []
    for model in load_models(settings.models_file).values():
        use = uses.get(model.name)
        ways = {way: model.prices(Mode(way).tier, on=on) for way in ("live", "batch")}
        limits = model.limits(settings.tier, **(own if use == "answers" else {}))._asdict()
        limits |= {"tier": settings.tier, "enqueued_tokens": model.enqueued(settings.tier)}
        told = {name: getattr(model, name) for name in ("kind", "source", "priced_on", "shutdown")}
        each = {way: dict(zip(("in", "out"), some, strict=True)) for way, some in ways.items()}
        of_model = {
            "model": model.name,
            "use": use,
            "successor": model.successor or None,
            "limits": limits,
        }
        found.append(of_model | told | each)
    return found


def due_items(tx: Connection, task: Task) -> list[dict[str, Any]]:
    """Return the items asked alone in vain that are due again, or were, by the names users know, oldest first."""
    found = list(claims.asked_in_vain(tx, task.name))
    waiting = set(claims.due_ids(tx, task))
    names = task.table(tx).names(tx, [one.item_id for one in found])

    parked = {row[0] for row in claims.parked_rows(tx, task.name, own=task.own)} if found else set()
    ends = {key: "parked" if key in parked else "tagged" for key in names} | dict.fromkeys(waiting)
    return [
        {
            "name": names.get(one.item_id, one.item_id),
            "since": one.since.isoformat(),
            "reason": one.reason,
            "tries": one.tries,
            "outcome": ends.get(one.item_id, "removed"),
        }
        for one in found
    ]


def versions_of(tx: Connection, task: Task, model: str) -> dict[str, Any]:
    """Return the `extractor` of a model, its newest `pilot`, and the `backfill` that is not over, if any."""
    extractor = f"{task.label}/{model.removeprefix('models/')}"  # not looked up: an unknown model must not stop this
    pilot = runs.newest_pilot(tx, extractor)
    if pilot is None and not task.needs_pilot:
        return {}
    run = runs.unfinished_run(tx, task.name, mode=runs.BACKFILL)
    begun = pilot and _members(pilot, "number", "size", "verdict", "report") | {
        "at": pilot.began_at.isoformat()
    }
    backfill = run and _members(run, "extractor", "items", "estimated_cost") | {
        "since": run.started_at.isoformat()
    }
    return {"extractor": extractor, "pilot": begun, "backfill": backfill}


def _members(one: object, *names: str) -> dict[str, Any]:
    return {name: getattr(one, name) for name in names}
