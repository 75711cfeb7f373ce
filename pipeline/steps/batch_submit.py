"""Ask about every item without an answer: prepared -> submitting -> submitted.

First what an earlier run left behind, then what is new. Nothing is paid for without the plan having been shown, and
above a limit confirmed. Whatever stops this in the middle, running it again goes on without asking anyone twice.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline import creating, preparing
from pipeline.creating import Sent
from pipeline.errors import InputError, RemoteError
from pipeline.gemini.costs import Usage
from pipeline.preparing import Plan
from pipeline.runtime import Runtime
from pipeline.states import BatchState
from pipeline.store import batches, claims
from pipeline.store.batches import Batch

MAX_REBUILDS = 20  # batches refused for one line each, in one run, before a person should look


@dataclass
class Report:
    """What was, or with a dry run would be, sent: the plan with what waited already, and each batch with its fate."""

    plan: Plan
    priced_on: str = ""
    model: str = ""
    dry: bool = False
    sent: dict[int, Sent] = field(default_factory=dict)
    items: int = 0

    @property
    def submitted(self) -> list[int]:
        """Return the numbers of the batches that are at the API now because of this run."""
        return [number for number, fate in self.sent.items() if fate in {Sent.CREATED, Sent.ADOPTED}]


def run(rt: Runtime, *, limit: int | None, dry: bool, confirm: Callable[[Plan], bool]) -> Report:
    """Submit every item without an answer, at most `limit` new items; `confirm` is asked above CONFIRM_ABOVE.

    Raises:
        InputError: there are no items at all, or the plan was not confirmed.
        RemoteError, ConfigurationError: see `creating.send`; what was not sent goes out with the next run.
    """
    waiting = _waiting(rt)
    whole = _plan(rt, limit=limit, waiting=waiting)
    report = Report(whole, priced_on=rt.model.priced_on.isoformat(), model=rt.model.name, dry=dry)
    if dry or (not whole.requests and not waiting):
        _check_any(rt, whole)
        return report
    if whole.cost > rt.settings.confirm_above and not confirm(whole):
        raise InputError("not confirmed; nothing was written or sent", hint="`make batch-submit YES=1` answers yes")
    rt.client  # noqa: B018 - a missing key or an engine that cannot start is said before anything is written
    for batch in waiting:
        report.sent[batch.number] = creating.send(rt, batch.number)
    _submit_new(rt, report, limit=limit)
    report.items = _items(rt, report.submitted)
    return report


def _submit_new(rt: Runtime, report: Report, *, limit: int | None) -> None:
    """Prepare and send what is askable; after a refused line once more, without the items whose lines were refused."""
    refused_items = _refused_items(rt, [number for number, fate in report.sent.items() if fate is Sent.REBUILD])
    left = limit
    for _ in range(MAX_REBUILDS):
        with rt.display.bar("writing requests", left or report.plan.requests) as bar:
            numbers = preparing.prepare(rt, limit=left, without=refused_items, bar=bar)
        fates = {number: creating.send(rt, number) for number in numbers}
        report.sent |= fates
        rebuild = [number for number, fate in fates.items() if fate is Sent.REBUILD]
        if not rebuild:
            return
        refused_items |= _refused_items(rt, rebuild)
        left = None if limit is None else _items(rt, rebuild) - len(rebuild)
    raise RemoteError(
        f"Gemini refused one line in each of {MAX_REBUILDS} request files; the rest was left untouched",
        hint="`findable parked` and `make batches` show the reasons",
    )


def _waiting(rt: Runtime) -> list[Batch]:
    """Return the batches that an earlier run left prepared or unclear, the unclear ones first."""
    with rt.store.read() as tx:
        left = batches.in_states(tx, BatchState.SUBMITTING, BatchState.PREPARED)
    return sorted(left, key=lambda batch: (batch.state is BatchState.PREPARED, batch.number))


def _plan(rt: Runtime, *, limit: int | None, waiting: list[Batch]) -> Plan:
    """Return what this run may spend: what waits in *prepared* and what is new."""
    with rt.store.read() as tx:
        total = claims.count_askable(tx, rt.task)
    with rt.display.bar("counting tokens", min(total, limit) if limit else total) as bar:
        new = preparing.plan(rt, limit=limit, bar=bar)
    old = [batch for batch in waiting if batch.state is BatchState.PREPARED]
    usage = Usage(sum(one.estimated_in for one in old), sum(one.estimated_out for one in old)) + new.usage
    return Plan(
        batches=len(old) + new.batches,
        requests=sum(one.requests for one in old) + new.requests,
        size=sum(one.request_size for one in old) + new.size,
        usage=usage,
        cost=sum(one.estimated_cost for one in old) + new.cost,
    )


def _check_any(rt: Runtime, whole: Plan) -> None:
    """Tell an empty workspace from one where everything is asked already."""
    if whole.requests:
        return
    with rt.store.read() as tx:
        if rt.collection.is_empty(tx):
            raise InputError("there is nothing to ask about yet", hint=rt.collection.how_to_fill)


def _items(rt: Runtime, numbers: list[int]) -> int:
    """Return how many requests the batches hold together."""
    with rt.store.read() as tx:
        return sum(batches.get(tx, number).requests for number in numbers)


def _refused_items(rt: Runtime, numbers: list[int]) -> set[str]:
    """Return the items whose lines were refused in these batches; they sit out the rest of this run."""
    with rt.store.read() as tx:
        return {one for number in numbers for one in claims.refused_items(tx, number)}
