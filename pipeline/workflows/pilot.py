"""Run a pilot: draw a few items, ask and ingest them, judge the answers. A killed pilot resumes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pipeline.batch import poll, submit
from pipeline.batch.account import IngestSummary
from pipeline.batch.prepare import BatchPlan
from pipeline.batch.submit import SubmitReport
from pipeline.core.errors import GateError, InputError, RemoteError
from pipeline.engine import questions
from pipeline.engine.workspace import OpenWorkspace
from pipeline.quality import evaluate
from pipeline.quality import pilot as quality_pilot
from pipeline.quality.evaluate import QualityReport
from pipeline.store import claims, pilots
from pipeline.store.pilots import Pilot, PilotVerdict
from pipeline.workflows.batch_steps import ingest_batches, missing_errors

LOOK_S = 0.2  # between two looks whether another process has sent its batch
MAX_ROUNDS = 3  # an item that fails is asked once more, then parked

Announce = Callable[[BatchPlan], None]
Confirm = Callable[[BatchPlan], bool]


@dataclass
class PilotReport:
    """What came of a pilot: how many items it drew, its batches, and the report."""

    pilot: Pilot
    drawn: int = 0
    accounts: list[IngestSummary] = field(default_factory=list)
    quality: QualityReport | None = None

    @property
    def passed(self) -> bool | None:
        """Return whether no gate failed; None if nothing was judged."""
        return None if self.quality is None else self.quality.passed

    def check(self) -> None:
        """Make sure that the pilot passed.

        Raises:
            GateError: it did not; its answers are stored.
        """
        if self.quality is not None:
            self.quality.check()


def run_first(
    ws: OpenWorkspace,
    *,
    size: int | None,
    skip: bool,
    limit: int | None = None,
    announce: Announce = lambda _plan: None,
    confirm: Confirm = lambda _plan: True,
) -> PilotReport | None:
    """Make sure that no pilot stops the rest: run one of `size` unless one passed before, or `skip` what stops it.

    Returns None if no pilot was run: none is wanted, one passed or was waived before, or no item is left to ask. A
    pilot is no larger than `limit`.

    Raises:
        GateError: the pilot failed; or, without `size`, an earlier one failed or is not over.
        InputError, RemoteError, ConfigurationError: see `run`.
    """
    ws.bring_items()
    evaluate.check_gate_overrides(ws)
    if skip:
        quality_pilot.waive_open_pilot(ws)
    questions.free_dead_owners(ws.store, now=ws.now())
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
    asked = sum(one.batch.accounted for one in report.accounts) if report is not None else 0
    return limit if limit is None else max(0, limit - asked)


def run(
    ws: OpenWorkspace,
    *,
    size: int | None,
    seed: int | None,
    announce: Announce,
    confirm: Confirm,
    fewest: int | None = None,
) -> PilotReport:
    """Ask about `size` items drawn by `seed`, wait for them, and judge the answers of this extractor.

    Gates are judged from `fewest` items on, if that is fewer than they want; see `gates.judge`. An unfinished pilot
    goes on, unless another size or seed is given. Items of it that only failed batches parked are asked again.

    Raises:
        InputError: there is nothing to ask about, or the plan was not confirmed.
        RemoteError, ConfigurationError: what stopped it; run again, it goes on.
        GateError: no reply came, so there is nothing to judge.
    """
    ws.bring_items()
    questions.check_any_items(ws.store, ws.task)
    evaluate.check_gate_overrides(ws)
    questions.free_dead_owners(ws.store, now=ws.now())
    questions.begin_asking(ws.store, ws.task, model=ws.model.name, at=ws.now())
    going = _PilotRun(ws, size, seed)
    going.ask(announce, confirm)
    going.judge(fewest=fewest)
    return going.report


def document(report: PilotReport) -> dict[str, Any]:
    """Return a pilot for programs."""
    quality = report.quality
    return {
        "pilot": report.pilot.number,
        "extractor": report.pilot.extractor,
        "drawn": report.drawn,
        "seed": report.pilot.seed,
        "ingested": {str(one.batch.number): one.batch.answered for one in report.accounts},
        "passed": report.passed,
        "report": None if quality is None else str(quality.path),
        "quality": None if quality is None else quality.document,
    }


class _PilotRun:
    def __init__(self, ws: OpenWorkspace, size: int | None, seed: int | None) -> None:
        with ws.store.read() as tx:
            size, seed, self._ids = quality_pilot.next_pilot(tx, ws.task, ws.extractor, size=size, seed=seed)
        if not self._ids:
            raise InputError(
                f"{ws.task.words.all_done}, so there is nothing to try; nothing was sent",
                hint="VERSION= with a new name asks about all of them anew",
            )
        with ws.store.write() as tx:
            pilot = pilots.begin_pilot(tx, ws.task.name, ws.extractor, size=size, seed=seed, at=ws.now())
        self._ws, self.report = ws, PilotReport(pilot, len(self._ids))

    def ask(self, announce: Announce, confirm: Confirm) -> None:
        ws, ids = self._ws, self._ids
        quality_pilot.exempt_unserved(ws.store, ws.task.name, ids)
        rounds, is_left = 0, True
        while is_left and rounds < MAX_ROUNDS:
            sent = submit.run(ws, limit=None, dry=False, announce=announce, confirm=confirm, among=ids)
            self._collect(sent)
            with ws.store.read() as tx:
                is_elsewhere = claims.is_any_claimed(tx, ws.task.name, ids)  # by a process that has not sent it yet
                is_left = is_elsewhere or bool(claims.askable_among(tx, ws.task, ids))
            if not (sent.held_back or sent.no_room or is_elsewhere):  # what had to wait was not asked yet
                rounds += 1
            if is_elsewhere:
                ws.sleep(LOOK_S)

    def _collect(self, sent: SubmitReport) -> None:
        polled = poll.run(self._ws, wait=True)
        if polled.stopped is not None:
            raise polled.stopped
        for error in missing_errors(polled):
            raise error
        if polled.unclear:
            raise RemoteError("a batch may or may not have been created; nothing was lost", hint="run it again")
        summaries = ingest_batches(self._ws)
        self.report.accounts += summaries
        if sent.no_room and not (sent.sent or summaries):
            raise RemoteError(
                "the quota of tokens that may wait at the API has no room for the pilot yet; nothing was lost",
                hint="run it again later",
            )

    def judge(self, *, fewest: int | None) -> None:
        ws, report = self._ws, self.report
        notes = [f"Pilot {report.pilot.number}: {report.drawn} {ws.task.words.many}, seed {report.pilot.seed}."]
        report.quality = evaluate.write_report(ws, extractor=ws.extractor, notes=notes, fewest=fewest)
        if report.quality is None:
            raise self._unanswered()
        verdict = PilotVerdict.PASSED if report.passed else PilotVerdict.FAILED
        path = str(report.quality.path.relative_to(ws.data))
        with ws.store.write() as tx:
            pilots.end_pilot(tx, report.pilot.number, verdict, report=path, at=ws.now())

    def _unanswered(self) -> RemoteError | GateError:
        ws, ids, said = self._ws, self._ids, "no reply came for any of the pilot, so there is nothing to judge"
        with ws.store.read() as tx:
            parked = quality_pilot.parked_reasons(tx, ws.task.name, ids)
            unserved = quality_pilot.unserved_items(tx, ws.task.name, ids)
        if unserved:
            hint = "run it again later; it asks about the same items"
            return RemoteError(f"{said}: {parked[unserved[0]]}", hint=hint)
        if parked:
            why = next(iter(parked.values()))
            again = ws.task.words.make("unpark ALL=1")
            return GateError(f"{said}; parked: {why}", hint=f"`{again}` lets them be asked again")
        return GateError(said, hint="run it again")
