"""Run a pilot: a round over a few items that are drawn, whose answers are judged. A killed pilot resumes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pipeline.batch.ingest import IngestSummary
from pipeline.batch.prepare import BatchPlan
from pipeline.batch.submit import agreeing
from pipeline.core.errors import FindableError, GateError, InputError, RemoteError
from pipeline.engine.workspace import OpenWorkspace
from pipeline.quality import evaluate
from pipeline.quality import pilot as drawing
from pipeline.quality.evaluate import QualityReport
from pipeline.store import asks, runs
from pipeline.store.runs import Pilot, PilotVerdict
from pipeline.workflows import rounds
from pipeline.workflows.rounds import Rounds

LOOK_S = 0.2  # between two looks whether another process has sent its batch

Announce = Callable[[BatchPlan], None]
Confirm = Callable[[float], bool]


@dataclass
class PilotReport:
    """What came of a pilot: how many items it drew, its batches, and the report on the answers."""

    pilot: Pilot
    drawn: int
    ingested: list[IngestSummary] = field(default_factory=list)
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

    def document(self) -> dict[str, Any]:
        """Return the pilot for programs."""
        return {
            "pilot": self.pilot.number,
            "extractor": self.pilot.extractor,
            "drawn": self.drawn,
            "seed": self.pilot.seed,
            "ingested": {str(one.batch.number): one.batch.answered for one in self.ingested},
            "passed": self.passed,
            "report": None if self.quality is None else str(self.quality.path),
            "quality": None if self.quality is None else self.quality.document,
        }


def check_first(ws: OpenWorkspace, *, skip: bool = False, compulsory: bool = False) -> None:
    """Make sure that no pilot stops the rest, where any item is left to ask; `skip` waives one that does.

    Raises:
        GateError: a pilot failed, is not over or, where `compulsory`, never was.
    """
    if skip:
        drawing.waive_open_pilot(ws)
    with ws.store.read() as tx:
        if asks.count_askable(tx, ws.task):
            drawing.check_pilot(tx, ws.task, ws.extractor, compulsory=compulsory and not skip)


def run_first(
    ws: OpenWorkspace,
    *,
    size: int,
    skip: bool,
    limit: int | None = None,
    announce: Announce = lambda _plan: None,
    confirm: Confirm = lambda _cost: True,
) -> PilotReport | None:
    """Run a pilot of `size`, and no larger than `limit`, unless one passed before; it must pass before the rest.

    Returns None if no pilot was run: `skip` waives it, one passed or was waived before, or no item is left to ask.

    Raises:
        GateError: the pilot failed.
        InputError, RemoteError, ConfigurationError: see `run`.
    """
    if skip:
        drawing.waive_open_pilot(ws)
    with ws.store.read() as tx:
        if not asks.count_askable(tx, ws.task) and not drawing.is_pilot_begun(tx, ws.extractor):
            return None
        if not drawing.why_not(tx, ws.extractor, compulsory=True):
            return None
    size = min(size, limit or size)
    report = run(ws, size=size, seed=None, announce=announce, confirm=confirm, fewest=drawing.FEWEST)
    report.check()
    return report


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

    Gates are judged from `fewest` items on, if that is fewer than they want; see `judge_figures`. An unfinished pilot
    goes on, unless another size or seed is given. Items of it that only failed batches parked are asked again.

    Raises:
        InputError: there is nothing to ask about, or the plan was not confirmed.
        RemoteError, ConfigurationError: what stopped it; run again, it goes on.
        GateError: no reply came, so there is nothing to judge.
    """
    rounds.begin(ws)
    with ws.store.read() as tx:
        size, seed, ids = drawing.next_pilot(tx, ws.task, ws.extractor, size=size, seed=seed)
    if not ids:
        raise InputError(
            f"{ws.task.words.all_done}, so there is nothing to try; nothing was sent",
            hint="VERSION= with a new name asks about all of them anew",
        )
    with ws.store.write() as tx:
        begun = runs.begin_pilot(tx, ws.task.name, ws.extractor, size=size, seed=seed, at=ws.now())
    drawing.exempt_unserved(ws.store, ws.task, ws.extractor, ids)
    report = PilotReport(begun, len(ids))
    _ask(ws, ids, report, announce, confirm)
    notes = [f"Pilot {begun.number}: {report.drawn} {ws.task.words.many}, seed {begun.seed}."]
    report.quality = evaluate.write_report(ws, extractor=ws.extractor, notes=notes, fewest=fewest)
    if report.quality is None:
        raise _unanswered(ws, ids)
    verdict = PilotVerdict.PASSED if report.passed else PilotVerdict.FAILED
    path = str(report.quality.path.relative_to(ws.data))
    with ws.store.write() as tx:
        runs.end_pilot(tx, begun.number, verdict, report=path, at=ws.now())
    return report


def _ask(ws: OpenWorkspace, ids: list[str], report: PilotReport, announce: Announce, confirm: Confirm) -> None:
    """Go on in rounds until each of the sample is answered or parked, in whichever process's batch it stands."""
    going = Rounds(ws, among=ids, judges=False, ingested=report.ingested.append)
    going.submit(agree=agreeing(ws, announce=announce, confirm=confirm), patient=True)
    while True:
        going.advance(wait=True)
        if stopped := next(iter(_stopping(going, ws)), None):
            raise stopped
        with ws.store.read() as tx:
            if not asks.is_any_claimed(tx, ws.task.name, ids):  # by a process that has not sent it yet
                break
        ws.sleep(LOOK_S)
    going.end()


def _stopping(going: Rounds, ws: OpenWorkspace) -> list[FindableError]:
    """Return why a pilot ends before all of its sample were asked."""
    done = going.report
    found = done.errors(ws.task.words)
    if not going.askable():
        return [one for one in found if not done.is_down]
    if done.no_money is not None:
        found.append(done.no_money)
    if done.no_room:
        said = "the quota of tokens that may wait at the API has no room for the pilot yet; nothing was lost"
        found.append(RemoteError(said, hint="run it again later"))
    return found


def _unanswered(ws: OpenWorkspace, ids: list[str]) -> RemoteError | GateError:
    said = "no reply came for any of the pilot, so there is nothing to judge"
    with ws.store.read() as tx:
        parked = drawing.parked_reasons(tx, ws.task, ids)
        unserved = drawing.unserved_items(tx, ws.task, ws.extractor, ids)
    if unserved:
        hint = "run it again later; it asks about the same items"
        return RemoteError(f"{said}: {parked[unserved[0]]}", hint=hint)
    if parked:
        why = next(iter(parked.values()))
        again = ws.task.words.make("unpark ALL=1")
        return GateError(f"{said}; parked: {why}", hint=f"`{again}` lets them be asked again")
    return GateError(said, hint="run it again")
