"""A pilot from the first line to its report: drawn, submitted, polled, ingested, judged. Killed, it goes on."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline import piloting, reporting
from pipeline.engine import questions
from pipeline.errors import ConfigurationError, GateError, InputError, RemoteError
from pipeline.preparing import Plan
from pipeline.runtime import Runtime
from pipeline.steps import batch_poll, batch_submit
from pipeline.store import claims, pilots
from pipeline.store.pilots import Pilot, Verdict
from pipeline.workflows import ingest

if TYPE_CHECKING:
    from pipeline.reporting import Report as Quality
    from pipeline.steps.batch_ingest import Account

MOST_ROUNDS = 3  # an item that fails is asked once more, then parked


@dataclass
class Report:
    """What came of a pilot: how many items it drew, the batches that were ingested, and the report on their answers."""

    pilot: Pilot
    drawn: int = 0
    accounts: "list[Account]" = field(default_factory=list)
    polled: list[batch_poll.Report] = field(default_factory=list)
    quality: "Quality | None" = None

    def check(self) -> None:
        """Make sure that the pilot passed.

        Raises:
            GateError: it did not; its answers are stored.
        """
        if self.quality is not None:
            self.quality.check()


def run(
    rt: Runtime,
    *,
    size: int | None,
    seed: int | None,
    announce: Callable[[Plan], None],
    confirm: Callable[[Plan], bool],
) -> Report:
    """Ask about `size` items drawn by `seed`, wait for them, and judge the answers of this extractor.

    One that was begun goes on, unless another size or seed is wanted. What it drew and failed batches alone parked is
    asked again.

    Raises:
        InputError: there is nothing to ask about, or the plan was not confirmed.
        RemoteError, ConfigurationError: what stopped it; run again, it goes on.
    """
    questions.check_any(rt.store, rt.task)
    reporting.check_bounds(rt)
    questions.free_dead(rt.store, now=rt.now())
    questions.begin(rt.store, rt.task, model=rt.model.name, at=rt.now())
    report, ids = _begun(rt, size, seed)
    piloting.forgive(rt, ids)
    rounds, is_left = 0, True
    while is_left and rounds < MOST_ROUNDS:
        sent = batch_submit.run(rt, limit=None, dry=False, announce=announce, confirm=confirm, among=ids)
        report.polled.append(batch_poll.run(rt, wait=True))
        _check_polled(report.polled[-1])
        accounts = ingest.run(rt)
        report.accounts += accounts
        if sent.no_room and not (sent.sent or accounts):
            raise RemoteError(
                "the quota of tokens that may wait at the API has no room for the pilot yet; nothing was lost",
                hint="run it again later",
            )
        rounds += not (sent.held_back or sent.no_room)  # what had to wait for room was not asked yet
        is_left = bool(_left(rt, ids))
    return _judged(rt, report, ids)


def _begun(rt: Runtime, size: int | None, seed: int | None) -> tuple[Report, list[str]]:
    """Return the pilot that goes on, or a new one, with the ids that it draws.

    Raises:
        InputError: nothing is open, and nothing was answered under this extractor.
    """
    with rt.store.read() as tx:
        before = pilots.newest(tx, rt.extractor)
        if before is not None and before.ended_at is None:
            size, seed = size or before.size, before.seed if seed is None else seed
        size, seed = size or piloting.SIZE, piloting.SEED if seed is None else seed
        ids = piloting.sample(rt, tx, size=size, seed=seed)
    if not ids:
        raise InputError(
            f"{rt.task.words.all_done}, so there is nothing to try; nothing was sent",
            hint="VERSION= with a new name asks about all of them anew",
        )
    with rt.store.write() as tx:
        pilot = pilots.begin(tx, rt.task.name, rt.extractor, size=size, seed=seed, at=rt.now())
    return Report(pilot, len(ids)), ids


def _check_polled(polled: batch_poll.Report) -> None:
    """Go on only where every batch is over.

    Raises:
        RemoteError: the API could not be asked to the end; the pilot goes on later.
        ConfigurationError: a batch is not to be seen there.
    """
    if polled.stopped is not None:
        raise polled.stopped
    for number, why in polled.gone.items():
        raise ConfigurationError(
            f"batch {number}: {why}; it was left as it is, claims kept",
            hint=f"check the key, or give it up: make batch-cancel BATCH={number}",
        )
    if polled.unclear:
        raise RemoteError("a batch may or may not have been created; nothing was lost", hint="run it again")


def _left(rt: Runtime, ids: list[str]) -> list[str]:
    """Return which of the pilot's items can be asked still."""
    with rt.store.read() as tx:
        return claims.askable_among(tx, rt.task, ids)


def _judged(rt: Runtime, report: Report, ids: list[str]) -> Report:
    """Write the report on the answers, and keep what the pilot came to.

    Raises:
        RemoteError: there is nothing to judge, for every batch failed.
        GateError: there is nothing to judge: no reply came.
    """
    said = f"Pilot {report.pilot.number}: {report.drawn} {rt.task.words.many}, seed {report.pilot.seed}."
    report.quality = reporting.write(rt, extractor=rt.extractor, notes=[said])
    if report.quality is None:
        raise _unanswered(rt, ids)
    verdict = Verdict.PASSED if report.quality.passed else Verdict.FAILED
    path = str(report.quality.path.relative_to(rt.data))
    with rt.store.write() as tx:
        pilots.end(tx, report.pilot.number, verdict, report=path, at=rt.now())
    return report


def _unanswered(rt: Runtime, ids: list[str]) -> RemoteError | GateError:
    """Return the error of a pilot without any reply: whose fault that is, and what helps."""
    said = "no reply came for any of the pilot, so there is nothing to judge"
    with rt.store.read() as tx:
        parked = piloting.parked(rt, tx, ids)
        unserved = piloting.unserved(rt, tx, ids)
    if unserved:
        return RemoteError(
            f"{said}: {parked[unserved[0]]}", hint="run it again later; it asks about the same ones anew"
        )
    if parked:
        why = next(iter(parked.values()))
        again = rt.task.words.make("unpark ALL=1")
        return GateError(f"{said}; parked: {why}", hint=f"`{again}` lets them be asked again")
    return GateError(said, hint="run it again")


def document(report: Report) -> dict[str, Any]:
    """Return a pilot for programs."""
    quality = report.quality
    return {
        "pilot": report.pilot.number,
        "extractor": report.pilot.extractor,
        "drawn": report.drawn,
        "seed": report.pilot.seed,
        "ingested": {str(one.batch.number): one.batch.answered for one in report.accounts},
        "passed": None if quality is None else quality.passed,
        "report": None if quality is None else str(quality.path),
        "quality": None if quality is None else quality.document,
    }
