"""A pilot from the first line to its report: drawn, submitted, polled, ingested, compared with live calls, judged.

A killed pilot resumes.
"""

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
from pipeline.workflows import compare, ingest

if TYPE_CHECKING:
    from pipeline.reporting import Report as Quality
    from pipeline.steps.batch_ingest import Account
    from pipeline.workflows.compare import Comparison

LOOK_S = 0.2  # how often to look whether another process has sent a batch
MOST_ROUNDS = 3  # an item that fails is asked once more, then parked


@dataclass
class Report:
    """What came of a pilot: how many items it drew, its batches, the comparison with live calls, and the report."""

    pilot: Pilot
    drawn: int = 0
    accounts: "list[Account]" = field(default_factory=list)
    polled: list[batch_poll.Report] = field(default_factory=list)
    compared: "Comparison | None" = None
    quality: "Quality | None" = None

    @property
    def passed(self) -> bool | None:
        """Return whether no gate failed and no reply differs from the live one; None where nothing was judged."""
        if self.quality is None:
            return None
        return self.quality.passed and not (self.compared and self.compared.differences)

    def check(self) -> None:
        """Make sure that the pilot passed.

        Raises:
            GateError: it did not; its answers are stored.
        """
        if self.quality is not None:
            self.quality.check()
        if self.compared is not None and self.compared.differences:
            raise GateError(
                f"replies of the batch differ from live ones: {self.compared.said}; the answers are stored",
                hint="run the pilot again, or SKIP_PILOT=1 to do without",
            )


def first(
    rt: Runtime,
    *,
    size: int | None,
    skip: bool,
    limit: int | None = None,
    announce: Callable[[Plan], None] = lambda _plan: None,
    confirm: Callable[[Plan], bool] = lambda _plan: True,
) -> Report | None:
    """Make sure that no pilot stops the rest: run one of `size` where none passed yet, or `skip` what stops it.

    None where no pilot was run: none is wanted, one passed before or was waived, or nothing is left to ask. A pilot is
    no larger than `limit`.

    Raises:
        GateError: the pilot failed, or none of `size` is wanted and an earlier one failed or is not over.
        InputError, RemoteError, ConfigurationError: see `run`.
    """
    if skip:
        piloting.waive(rt)
    with rt.store.read() as tx:
        if not claims.count_askable(tx, rt.task) and not (size and piloting.is_begun(rt, tx)):
            return None
        if size is None:
            piloting.check(rt, tx)
        if size is None or not piloting.why_not(rt, tx, compulsory=True):
            return None
    report = run(
        rt, size=min(size, limit or size), seed=None, announce=announce, confirm=confirm, fewest=piloting.FEWEST
    )
    report.check()
    return report


def left_of(limit: int | None, report: Report | None) -> int | None:
    """Return what a pilot, if one was run, leaves of a limit."""
    asked = sum(one.batch.requests for one in report.accounts) if report is not None else 0
    return limit if limit is None else max(0, limit - asked)


def run(
    rt: Runtime,
    *,
    size: int | None,
    seed: int | None,
    announce: Callable[[Plan], None],
    confirm: Callable[[Plan], bool],
    fewest: int | None = None,
) -> Report:
    """Ask about `size` items drawn by `seed`, wait for them, and judge the answers of this extractor.

    Gates are judged from `fewest` items on, where that is fewer than they want; see `gates.judge`.
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
        is_elsewhere = _is_claimed(rt, ids)  # by another process, which has not sent its batch yet
        rounds += not (sent.held_back or sent.no_room or is_elsewhere)  # what had to wait for room was not asked yet
        is_left = is_elsewhere or bool(_left(rt, ids))
        if is_elsewhere:
            rt.sleep(LOOK_S)
    return _judged(rt, report, ids, fewest=fewest)


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


def _is_claimed(rt: Runtime, ids: list[str]) -> bool:
    """Return whether any of the pilot's items stands in a batch that is not over, or is being asked live."""
    with rt.store.read() as tx:
        return claims.is_any_claimed(tx, rt.task.name, ids)


def _left(rt: Runtime, ids: list[str]) -> list[str]:
    """Return which of the pilot's items can be asked still."""
    with rt.store.read() as tx:
        return claims.askable_among(tx, rt.task, ids)


def _judged(rt: Runtime, report: Report, ids: list[str], *, fewest: int | None) -> Report:
    """Compare a few replies with live ones, write the report on the answers, and keep what the pilot came to.

    Raises:
        RemoteError: there is nothing to judge, for every batch failed, or live calls did not come back.
        GateError: there is nothing to judge: no reply came.
    """
    report.compared = compare.run(rt, report.pilot.number, ids)
    report.quality = reporting.write(rt, extractor=rt.extractor, notes=_notes(rt, report), fewest=fewest)
    if report.quality is None:
        raise _unanswered(rt, ids)
    verdict = Verdict.PASSED if report.passed else Verdict.FAILED
    path = str(report.quality.path.relative_to(rt.data))
    with rt.store.write() as tx:
        pilots.end(tx, report.pilot.number, verdict, report=path, at=rt.now())
    return report


def _notes(rt: Runtime, report: Report) -> list[str]:
    """Return what the reader of a pilot's report must know."""
    notes = [f"Pilot {report.pilot.number}: {report.drawn} {rt.task.words.many}, seed {report.pilot.seed}."]
    found = report.compared
    if found is not None and found.compared:
        notes.append(f"{found.compared} of its requests were asked live as well: {found.said}.")
    return notes


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
        "compared": None if report.compared is None else report.compared.document(),
        "passed": report.passed,
        "report": None if quality is None else str(quality.path),
        "quality": None if quality is None else quality.document,
    }
