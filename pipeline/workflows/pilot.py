"""A pilot from the first line to its report: drawn, submitted, polled, ingested, compared with live calls, judged.

A killed pilot resumes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.batch import poll, submit
from pipeline.batch.prepare import BatchPlan
from pipeline.core.errors import ConfigurationError, GateError, InputError, RemoteError
from pipeline.engine import questions
from pipeline.engine.workspace import OpenWorkspace
from pipeline.quality import evaluate
from pipeline.quality import pilot as quality_pilot
from pipeline.store import claims, pilots
from pipeline.store.pilots import Pilot, PilotVerdict
from pipeline.workflows import compare, ingest

if TYPE_CHECKING:
    from pipeline.batch.ingest import IngestSummary
    from pipeline.quality.evaluate import QualityReport as Quality
    from pipeline.workflows.compare import Comparison


LOOK_S = 0.2  # how often to look whether another process has sent a batch
MOST_ROUNDS = 3  # an item that fails is asked once more, then parked


@dataclass
class PilotReport:
    """What came of a pilot: how many items it drew, its batches, the comparison with live calls, and the report."""

    pilot: Pilot
    drawn: int = 0
    accounts: "list[IngestSummary]" = field(default_factory=list)
    polled: list[poll.PollReport] = field(default_factory=list)
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
    ws: OpenWorkspace,
    *,
    size: int | None,
    skip: bool,
    limit: int | None = None,
    announce: Callable[[BatchPlan], None] = lambda _plan: None,
    confirm: Callable[[BatchPlan], bool] = lambda _plan: True,
) -> PilotReport | None:
    """Make sure that no pilot stops the rest: run one of `size` where none passed yet, or `skip` what stops it.

    None where no pilot was run: none is wanted, one passed before or was waived, or nothing is left to ask. A pilot is
    no larger than `limit`.

    Raises:
        GateError: the pilot failed, or none of `size` is wanted and an earlier one failed or is not over.
        InputError, RemoteError, ConfigurationError: see `run`.
    """
    if skip:
        quality_pilot.waive_open_pilot(ws)
    with ws.store.read() as tx:
        if not claims.count_askable(tx, ws.task) and not (size and quality_pilot.is_pilot_begun(tx, ws.extractor)):
            return None
        if size is None:
            quality_pilot.check_pilot(tx, ws.task, ws.extractor)
        if size is None or not quality_pilot.why_not(tx, ws.extractor, compulsory=True):
            return None
    report = run(
        ws, size=min(size, limit or size), seed=None, announce=announce, confirm=confirm, fewest=quality_pilot.FEWEST
    )
    report.check()
    return report


def left_of(limit: int | None, report: PilotReport | None) -> int | None:
    """Return what a pilot, if one was run, leaves of a limit."""
    asked = sum(one.batch.requests for one in report.accounts) if report is not None else 0
    return limit if limit is None else max(0, limit - asked)


def run(
    ws: OpenWorkspace,
    *,
    size: int | None,
    seed: int | None,
    announce: Callable[[BatchPlan], None],
    confirm: Callable[[BatchPlan], bool],
    fewest: int | None = None,
) -> PilotReport:
    """Ask about `size` items drawn by `seed`, wait for them, and judge the answers of this extractor.

    Gates are judged from `fewest` items on, where that is fewer than they want; see `gates.judge`.
    One that was begun goes on, unless another size or seed is wanted. What it drew and failed batches alone parked is
    asked again.

    Raises:
        InputError: there is nothing to ask about, or the plan was not confirmed.
        RemoteError, ConfigurationError: what stopped it; run again, it goes on.
    """
    questions.check_any_items(ws.store, ws.task)
    evaluate.check_gate_overrides(ws)
    questions.free_dead_owners(ws.store, now=ws.now())
    questions.begin_asking(ws.store, ws.task, model=ws.model.name, at=ws.now())
    report, ids = _begun(ws, size, seed)
    quality_pilot.exempt_unserved(ws.store, ws.task.name, ids)
    rounds, is_left = 0, True
    while is_left and rounds < MOST_ROUNDS:
        sent = submit.run(ws, limit=None, dry=False, announce=announce, confirm=confirm, among=ids)
        report.polled.append(poll.run(ws, wait=True))
        _check_polled(report.polled[-1])
        accounts = ingest.run(ws)
        report.accounts += accounts
        if sent.no_room and not (sent.sent or accounts):
            raise RemoteError(
                "the quota of tokens that may wait at the API has no room for the pilot yet; nothing was lost",
                hint="run it again later",
            )
        is_elsewhere = _is_claimed(ws, ids)  # by another process, which has not sent its batch yet
        rounds += not (sent.held_back or sent.no_room or is_elsewhere)  # what had to wait for room was not asked yet
        is_left = is_elsewhere or bool(_left(ws, ids))
        if is_elsewhere:
            ws.sleep(LOOK_S)
    return _judged(ws, report, ids, fewest=fewest)


def _begun(ws: OpenWorkspace, size: int | None, seed: int | None) -> tuple[PilotReport, list[str]]:
    """Return the pilot that goes on, or a new one, with the ids that it draws.

    Raises:
        InputError: nothing is open, and nothing was answered under this extractor.
    """
    with ws.store.read() as tx:
        before = pilots.newest_pilot(tx, ws.extractor)
        if before is not None and before.ended_at is None:
            size, seed = size or before.size, before.seed if seed is None else seed
        size, seed = size or quality_pilot.SIZE, quality_pilot.SEED if seed is None else seed
        ids = quality_pilot.draw_pilot(tx, ws.task, ws.extractor, size=size, seed=seed)
    if not ids:
        raise InputError(
            f"{ws.task.words.all_done}, so there is nothing to try; nothing was sent",
            hint="VERSION= with a new name asks about all of them anew",
        )
    with ws.store.write() as tx:
        pilot = pilots.begin_pilot(tx, ws.task.name, ws.extractor, size=size, seed=seed, at=ws.now())
    return PilotReport(pilot, len(ids)), ids


def _check_polled(polled: poll.PollReport) -> None:
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


def _is_claimed(ws: OpenWorkspace, ids: list[str]) -> bool:
    """Return whether any of the pilot's items stands in a batch that is not over, or is being asked live."""
    with ws.store.read() as tx:
        return claims.is_any_claimed(tx, ws.task.name, ids)


def _left(ws: OpenWorkspace, ids: list[str]) -> list[str]:
    """Return which of the pilot's items can be asked still."""
    with ws.store.read() as tx:
        return claims.askable_among(tx, ws.task, ids)


def _judged(ws: OpenWorkspace, report: PilotReport, ids: list[str], *, fewest: int | None) -> PilotReport:
    """Compare a few replies with live ones, write the report on the answers, and keep what the pilot came to.

    Raises:
        RemoteError: there is nothing to judge, for every batch failed, or live calls did not come back.
        GateError: there is nothing to judge: no reply came.
    """
    report.compared = compare.run(ws, report.pilot.number, ids)
    report.quality = evaluate.write_report(ws, extractor=ws.extractor, notes=_notes(ws, report), fewest=fewest)
    if report.quality is None:
        raise _unanswered(ws, ids)
    verdict = PilotVerdict.PASSED if report.passed else PilotVerdict.FAILED
    path = str(report.quality.path.relative_to(ws.data))
    with ws.store.write() as tx:
        pilots.end_pilot(tx, report.pilot.number, verdict, report=path, at=ws.now())
    return report


def _notes(ws: OpenWorkspace, report: PilotReport) -> list[str]:
    """Return what the reader of a pilot's report must know."""
    notes = [f"Pilot {report.pilot.number}: {report.drawn} {ws.task.words.many}, seed {report.pilot.seed}."]
    found = report.compared
    if found is not None and found.compared:
        notes.append(f"{found.compared} of its requests were asked live as well: {found.said}.")
    return notes


def _unanswered(ws: OpenWorkspace, ids: list[str]) -> RemoteError | GateError:
    """Return the error of a pilot without any reply: whose fault that is, and what helps."""
    said = "no reply came for any of the pilot, so there is nothing to judge"
    with ws.store.read() as tx:
        parked = quality_pilot.parked_of_pilot(tx, ws.task.name, ids)
        unserved = quality_pilot.unserved_items(tx, ws.task.name, ids)
    if unserved:
        return RemoteError(
            f"{said}: {parked[unserved[0]]}", hint="run it again later; it asks about the same ones anew"
        )
    if parked:
        why = next(iter(parked.values()))
        again = ws.task.words.make("unpark ALL=1")
        return GateError(f"{said}; parked: {why}", hint=f"`{again}` lets them be asked again")
    return GateError(said, hint="run it again")


def document(report: PilotReport) -> dict[str, Any]:
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
