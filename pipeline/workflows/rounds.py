"""Go on with what a task asks: poll, ingest, submit, in rounds until all is done, held back or stopped.

A round may die at any moment: where it was stands in the database, and whichever command comes next goes on.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pipeline.batch import ingest, live, poll, submit
from pipeline.batch.budget import AT_API, BudgetError
from pipeline.batch.ingest import IngestSummary
from pipeline.batch.live import LiveReport
from pipeline.batch.poll import PollReport
from pipeline.batch.prepare import Selection
from pipeline.batch.submit import SubmitReport
from pipeline.core.command_hint import HintTemplate, OptionHint
from pipeline.core.errors import FindableError, InputError, RemoteError
from pipeline.core.progress import Progress, ProgressBar
from pipeline.core.states import OPEN, BatchState, Mode, RemoteState, remote_state
from pipeline.core.text import one_line
from pipeline.engine.task import TaskLabels
from pipeline.engine.workspace import WorkspaceSession
from pipeline.quality import evaluate, pilot
from pipeline.quality.report import QualityReport, sweep_reports
from pipeline.store import batches, claims, money, runs
from pipeline.store.batches import BatchRow
from pipeline.store.runs import PilotRow, PilotVerdict

WITHOUT_SUCCESS = (RemoteState.FAILED, RemoteState.EXPIRED, RemoteState.CANCELLED)
REPORT_EVERY = (
    20  # times as long as writing reports took must pass before the next ones, except the last
)
LEAST = 0.00005  # USD; less than this is shown as nothing
TOLD_S = 5.0  # a shorter wait for the API is the usual pace
FAILED = HintTemplate(
    "the answers fail a quality gate by far, and nothing more was sent; {} goes on all the same",
    OptionHint(skip_pilot=True),
)
FULL = "the API takes no more for now"
DOWN = "batches fail at the API, and nothing more was sent"
TOLD = (
    *(
        "extractor",
        "mode",
        "reason",
        "asked",
        "submitted",
        "left",
        "no_room",
        "under_way",
        "parked",
    ),
    *("held_back", "out_of_money", "is_over", "is_down", "spent"),
)
LIVE = ("answered", "failed", "calls", "cost", "run", "interrupted")
WAIVED = "Asked without a pilot that passed: a person wanted it so."


@dataclass(repr=False)
class TagReport:
    """What a command did in its rounds, and where the task stands then; costs in USD.

    `mode` is live, batch, or empty where nothing was to be asked, and `asked` how many items were. Of a pilot it says
    which one `drawn` it is; `pilot` is the report of the one that went before. `live` is what became of our own calls;
    `unasked` items are as they were. `submitted` are the numbers of the batches that
    are at the API because of it, about so many `items`; `failed` is why batches gave nothing, or a part, there. `left`
    items can be asked still: `held_back` says what keeps them waiting, `no_room` of them wait until the API takes more,
    `short` for money, and if it `is_down`, or the answers are (`is_hopeless`), nothing more was sent. `under_way` are
    in open batches, `parked` were parked meanwhile.
    `shared` rows got the answer that an equal row has from an earlier batch.
    `reports` are the newest on the answers of each extractor. `spent` is what is known to be spent since it began.
    """

    extractor: str
    mode: str = ""
    reason: str = ""
    asked: int = 0
    drawn: PilotRow | None = None
    pilot: "TagReport | None" = None
    live: LiveReport | None = None
    unasked: int = 0
    submitted: list[int] = field(default_factory=list)
    items: int = 0
    polled: PollReport = field(default_factory=PollReport)
    ingested: list[IngestSummary] = field(default_factory=list)
    shared: int = 0
    failed: dict[int, str] = field(default_factory=dict)
    reports: dict[str, QualityReport] = field(default_factory=dict)
    left: int = 0
    no_room: int = 0
    short: int = 0
    under_way: int = 0
    parked: int = 0
    is_down: bool = False
    is_hopeless: bool = False
    spent: float = 0.0
    held_back: str = ""
    no_money: BudgetError | None = None

    __repr__ = one_line

    @property
    def answered_rows(self) -> int:
        """Return how many rows hold an answer because of batches that it ingested, or earlier ones."""
        return self.shared + sum(one.answered_rows for one in self.ingested)

    @property
    def is_over(self) -> bool:
        """Return whether all items were answered or parked."""
        return not self.left and not self.under_way

    @property
    def out_of_money(self) -> str:
        """Return which budget keeps the rest waiting, if one does."""
        return self.held_back if self.no_money or self.short else ""

    @property
    def quality(self) -> QualityReport | None:
        """Return the newest report on the answers of the extractor in use."""
        return self.reports.get(self.extractor)

    def errors(self, words: TaskLabels) -> list[FindableError]:
        """Return what ended it early: our own calls, what polling met, and batches that failed where none succeeded."""
        stopped = (
            [self.live.stopped] if self.live is not None and self.live.stopped is not None else []
        )
        down = self.failed.items() if self.is_down else ()
        return [
            *stopped,
            *self.polled.errors(words),
            *(failed_error(number, why, words) for number, why in down),
        ]

    def finish(self, words: TaskLabels, display: Progress, *, strict: bool = False) -> None:
        """Warn of batches and of gates that failed, and raise what ended it early.

        Raises:
            KeyboardInterrupt: a Ctrl-C.
            FindableError: the first of its errors, once the others are told; or of a gate, see `check`.
        """
        if self.live is not None and self.live.interrupted:
            raise KeyboardInterrupt
        for number, why in () if self.is_down else self.failed.items():
            display.warn(
                f"batch {number} failed at the API ({why}); its {words.many} were released"
            )
        errors = self.errors(words)
        for error in errors[1:]:
            display.warn(f"{error.message}; {error.hint}")
        if errors:
            raise errors[0]
        self.check(display, strict=strict)

    def check(self, display: Progress, *, strict: bool = False) -> None:
        """Warn of the quality gates that failed; the answers are stored.

        Raises:
            GateError: one failed, and that is an error, for it is `strict`, or no item that is left is sent for it.
        """
        for quality in self.reports.values():
            if (error := quality.error) is not None:
                if strict or (self.is_hopeless and self.left):
                    raise error
                display.warn(f"{error.message}; {error.hint}")

    def document(self) -> dict[str, Any]:
        """Return the report for programs; of a pilot in few words, with all that its answers were measured by."""
        quality = self.quality
        drawn = self.drawn
        live_report = self.live
        told = {
            "ingested": {str(one.batch.number): one.answered_rows for one in self.ingested},
            "passed": None if quality is None else quality.passed,
            "report": None if quality is None else str(quality.path),
        }
        asked = live_report and {
            **{name: getattr(live_report, name) for name in LIVE},
            "left": self.unasked,
            "samples": [
                {"username": name, "reason": reason} for name, reason in live_report.samples
            ],
            "stopped": live_report.stopped.message if live_report.stopped else None,
        }
        if drawn is not None:
            found = {
                "pilot": drawn.number,
                "extractor": drawn.extractor,
                "drawn": self.asked,
                "seed": drawn.seed,
            }
            return {**found, **told, "quality": None if quality is None else quality.document}
        return {
            **{name: getattr(self, name) for name in TOLD},
            "pilot": self.pilot and self.pilot.document(),
            "failed": {str(number): why for number, why in self.failed.items()},
            "live": asked,
            **told,
        }


def begin(ws: WorkspaceSession, *, may_be_empty: bool = False, fills: bool = True) -> None:
    """Make ready to ask: items are brought, and what dead processes left is ended, before the first request.

    Raises:
        InputError: the items of a declared task cannot be read, or there are none at all.
        ConfigurationError: the declaration changed under its version, or GATES is wrong.
    """
    if fills:
        ws.bring_items()
    evaluate.gates_of(ws)
    ingest.end_dead(ws)
    submit.let_go_changed(ws)
    with ws.store.read() as tx:
        is_any_open = batches.batches_in_states(tx, *OPEN, task=ws.task.name)
    if not (may_be_empty or is_any_open):
        ws.check_any_items()


class TagRounds:
    """The rounds of one command, from `begin` to `end`; at most `limit` new items are asked, of those `among`."""

    def __init__(
        self,
        ws: WorkspaceSession,
        *,
        limit: int | None = None,
        among: Sequence[str] | None = None,
        judges: bool = True,
    ) -> None:
        """Note where the task stands; with `judges` reports are written."""
        self._ws = ws
        self._limit = limit
        self._among = among
        self.judges = judges
        self.report = TagReport(ws.extractor)
        self.began = ws.now()
        self._report_at = 0.0  # before which no further report is written
        self._waits_for_room = False
        self._stale: dict[str, None] = {}  # extractors with answers since their last report
        # Batches at the API, since items were sent the last time.
        self._failed_batches = set[int]()
        self._has_succeeded = False
        with ws.store.read() as tx:
            self._newest = batches.next_number(tx) - 1
            self._parked = len(claims.parked_rows(tx, ws.task.name, own=ws.task.own))

    def batches(self, *states: BatchState) -> list[BatchRow]:
        """Return the batches of the task in these states, oldest first."""
        with self._ws.store.read() as tx:
            return batches.batches_in_states(tx, *states, task=self._ws.task.name)

    def askable(self) -> int:
        """Return how many items can be asked."""
        with self._ws.store.read() as tx:
            if self._among is not None:
                return len(claims.askable_among(tx, self._ws.task, self._among))
            return claims.count_askable(tx, self._ws.task)

    def advance(self, *, wait: bool) -> None:
        """Submit and, with `wait`, poll, ingest and submit again, until all is done, held back or stopped.

        What failed goes out again once all batches are over; where the API had no room for more, once the first is. If
        batches fail at the API and none succeeds, or the answers are hopeless, nothing more is sent: a short failure
        must not use up the tries of all items. The batches under way are waited for all the same.

        Raises:
            RemoteError, ConfigurationError, InputError: as the steps raise them; run again, it goes on.
        """
        if wait and self.batches(BatchState.DOWNLOADED):
            self.ingest()
        while self._may_submit():
            sent = self.submit(patient=wait)
            came = 0
            while wait and self.batches(*AT_API):
                came += self.collect(wait=True)
                if self.is_stopped or (came and self._waits_for_room):
                    break
            is_left = self.askable() or self.batches(BatchState.PREPARED)
            if not (wait and is_left and (sent.sent or came)) or self.is_stopped:
                break
        is_held = not self._may_submit()  # it is told also where nothing is left to send
        while wait and is_held and not self.is_stopped and self.batches(*AT_API):
            self.collect(wait=True)

    @property
    def is_stopped(self) -> bool:
        """Return whether the last poll did not reach the API, or a batch needs a person."""
        last = self.report.polled
        return bool(last.stopped or last.gone or last.unclear)

    def _may_submit(self) -> bool:
        report = self.report
        if self._failed_batches and not self._has_succeeded:
            report.is_down, report.held_back = True, DOWN
        elif report.is_hopeless:
            report.held_back = str(FAILED)
        else:
            return True
        return False

    def submit(
        self, *, agreed: bool = True, patient: bool, sends: bool = True, number: int | None = None
    ) -> SubmitReport:
        """Submit what waits, and the new items that money and room allow; what holds the rest back is reported.

        A person `agreed` to it before, or is asked. Where it `sends` nothing, batches are prepared; of those that wait
        it may send one `number` alone.

        Raises:
            RemoteError, ConfigurationError: see `batch.submit.run`.
        """
        ws = self._ws
        report = self.report
        self._failed_batches.clear()
        self._has_succeeded = self._waits_for_room = False
        report.held_back, report.no_room, report.short, report.no_money = "", 0, 0, None
        wanted = Selection(self.left(), among=self._among)
        try:
            sent = submit.run(
                ws, wanted, agreed=agreed, patient=patient, sends=sends, number=number
            )
        except BudgetError as error:
            report.held_back, report.no_money = error.message, error
            return SubmitReport()
        report.submitted += [one for one in sent.at_api if one not in report.submitted]
        report.items += sent.items
        report.shared += sent.shared
        report.no_room, report.short = sent.no_room, sent.held_back
        if sent.held_back:
            report.held_back = f"{sent.budget} has no room for more"
        if sent.full or sent.no_room:
            report.held_back = FULL
            self._waits_for_room = True
        if sent.full:
            report.no_room = sum(one.requests for one in self.batches(BatchState.PREPARED))
            report.no_room += self.askable() if wanted.limit != 0 else 0
        return sent

    def ask_live(self, way: Mode) -> LiveReport:
        """Ask every item that can be asked now, by our own calls; another run goes on with what is left.

        What ends it early (a daily quota, a budget, a service that is down) stands in the report; so does an interrupt.

        Raises:
            InputError: there are no items at all.
            ConfigurationError: no key, or no such model; nothing was asked.
        """
        ws = self._ws
        report = self.report
        limit = self.left()
        with ws.store.read() as tx:
            askable = claims.count_askable(tx, ws.task)
        to_ask = askable if limit is None else min(askable, limit)
        report.live = LiveReport()
        if not to_ask:
            ws.check_any_items()
            return report.live
        if way is Mode.FLEX and not ws.model.flex:
            hint = f"{OptionHint(mode='batch')} costs as little; or set {OptionHint('model')} to one that is"
            raise InputError(f"{ws.model.name} is not served by flex; nothing was asked", hint=hint)
        ws.client  # noqa: B018 - a missing key or an engine that cannot start is said before anything is written
        with ws.display.bar("asking", to_ask) as bar:
            shown = partial(_show_live, bar)
            live_report = report.live = live.ask_rows(
                ws, Selection(limit), way=way, on_progress=shown
            )
        with ws.store.read() as tx:
            report.unasked = min(
                max(0, to_ask - live_report.done), claims.count_askable(tx, ws.task)
            )
            names = ws.task.table(tx).names(tx, [item_id for item_id, _ in live_report.samples])
        live_report.samples = [
            (names.get(item_id, item_id), reason) for item_id, reason in live_report.samples
        ]
        if live_report.run is not None and not live_report.interrupted:
            self._stale[ws.extractor] = None
            self.judge(last=False)  # before batches are waited for, which may take a day
        return live_report

    def stop_asking(self) -> None:
        """Ask no further new item; what was prepared goes out, and what is under way is collected."""
        self._limit = 0

    def left(self) -> int | None:
        """Return how many new items the limit lets be asked still; None without one."""
        if self._limit is None:
            return None
        return max(
            0,
            self._limit - sum(one.requests for one in self.batches() if one.number > self._newest),
        )

    def collect(self, *, wait: bool) -> int:
        """Poll the batches at the API, with `wait` until the first one ends, and ingest; return how many were."""
        if self.batches(*AT_API):
            self.poll(wait=wait)
        return self.ingest()

    def poll(self, *, wait: bool, number: int | None = None, fetches: bool = True) -> None:
        """Poll the batches at the API, or that `number`, with `wait` until the first one ends; see `poll.run`."""
        polled = self.report.polled = poll.run(
            self._ws, wait=wait, first=True, number=number, fetches=fetches
        )
        with self._ws.store.read() as tx:
            over = [
                batches.get_batch(tx, number)
                for number in sorted([*polled.failed, *polled.downloaded])
            ]
        failed = {
            one.number: one.reason or str(remote_state(one.remote_word))
            for one in over
            if one.cancel_asked_at is None
            and (one.number in polled.failed or remote_state(one.remote_word) in WITHOUT_SUCCESS)
        }
        self.report.failed |= failed
        self._failed_batches |= failed.keys()
        self._has_succeeded = self._has_succeeded or bool(set(polled.downloaded) - set(failed))

    def ingest(self, number: int | None = None) -> int:
        """Ingest every downloaded batch, or that `number`, and write reports on the new answers now and then.

        Return how many were.

        Raises:
            InconsistentError, ConfigurationError, RemoteError: see `batch.ingest.run`; the other batches were
                ingested.
        """
        before = len(self.report.ingested)
        try:
            for one in ingest.run(self._ws, number=number):
                self.report.ingested.append(one)
                self._stale[one.batch.extractor] = None
                if one.batch.missing == 0 and one.batch.number in self.report.failed:
                    # It failed at the API after it had a reply to every request.
                    del self.report.failed[one.batch.number]
                    self._failed_batches.discard(one.batch.number)
                    self._has_succeeded = True
        except FindableError:
            self.judge(last=False)
            raise
        self.judge(last=False)
        return len(self.report.ingested) - before

    def judge(self, *, last: bool) -> None:
        """Report on new answers; before the `last` time only if enough time has passed since the one before."""
        ws = self._ws
        began = self._ws.monotonic()
        if not (self.judges and self._stale) or (began < self._report_at and not last):
            return
        for extractor in self._stale:
            with ws.store.read() as tx:
                found = runs.newest_pilot(tx, extractor, over=True)
            is_waived = ws.task.needs_pilot and (
                found is None or found.verdict is PilotVerdict.WAIVED
            )
            quality = evaluate.write_report(ws, extractor=extractor, notes=[WAIVED] * is_waived)
            if quality is not None:
                self.report.is_hopeless |= (
                    pilot.note_failed_pilot(ws, quality) and extractor == ws.extractor
                )
                self.report.reports[extractor] = quality
        self._stale = {}
        now = ws.monotonic()
        self._report_at = now + REPORT_EVERY * (now - began)

    def end(self) -> TagReport:
        """Say where the task stands, report on what is new, and end a `tag` or backfill that has nothing left to do.

        A backfill that is over is reported on without new answers, too: who ingested them may have died before.
        """
        ws = self._ws
        report = self.report
        task = self._ws.task
        report.left, report.under_way = (
            self.askable(),
            sum(one.requests for one in self.batches(*OPEN)),
        )
        unsent = report.left + sum(one.requests for one in self.batches(BatchState.PREPARED))
        report.no_room, report.unasked = (
            min(report.no_room, unsent),
            min(report.unasked, report.left),
        )
        report.held_back = report.held_back if unsent or report.is_down else ""
        with ws.store.read() as tx:
            found = [
                runs.unfinished_run(tx, task.name, mode=mode) for mode in (runs.TAG, runs.BACKFILL)
            ]
            going = [
                one
                for one in found
                if one and (one.mode == runs.TAG or one.extractor == ws.extractor)
            ]
            # Rows are counted once more only if something can end: all of them are read for it.
            is_over = bool(going) and not (
                batches.batches_in_states(tx, *OPEN, task=task.name)
                or claims.is_any_open(tx, task.name)
                or claims.count_askable(tx, task)
            )
        if (
            report.is_over
            and report.quality is None
            and any(one.mode == runs.BACKFILL for one in going)
        ):
            self._stale[ws.extractor] = None
        self.judge(last=True)
        sweep_reports(ws.data, task.name)
        with ws.store.read() as tx:
            report.parked = max(
                0, len(claims.parked_rows(tx, task.name, own=task.own)) - self._parked
            )
            report.spent = money.sum_spent(tx, since=self.began).known
        if going and is_over:  # the next budget begins anew; a backfill under another version stays
            with ws.store.write() as tx:
                for one in going:
                    runs.end_run(tx, one.number, why="nobody is left", at=ws.now())
        return report


def ingest_all(ws: WorkspaceSession) -> tuple[TagReport, list[FindableError]]:
    """Ingest every downloaded batch, and report on the answers; an error of one that cannot be is returned, too."""
    going = TagRounds(ws)
    failures = list[FindableError]()
    try:
        going.ingest()
    except FindableError as error:
        failures.append(error)
    return going.end(), failures


def _show_live(bar: ProgressBar, live: LiveReport) -> None:
    notes = [f"{live.at_once} at once"]
    notes += (
        [f"waits {live.waits_s:.0f} s for the API"] if TOLD_S <= live.waits_s < math.inf else []
    )
    notes += [f"{live.failed.total()} failed ({live.samples[-1][1][:60]})"] if live.failed else []
    notes += [f"${live.cost:.4f}"] if live.cost >= LEAST else []
    bar.show(live.replies, note=", ".join(notes))


def failed_error(number: int, why: str, words: TaskLabels) -> RemoteError:
    """Return the error for a batch that failed at the API."""
    return RemoteError(
        f"batch {number} failed at the API ({why})",
        hint=f"its {words.many} are sent again, except parked ones; see `{words.step('parked')}`",
    )
