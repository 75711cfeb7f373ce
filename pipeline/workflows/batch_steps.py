"""Submit and collect batches for a workflow that does so in rounds.

If batches fail and none succeeds, the API is down and nothing more is submitted, or every item would be parked.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from pipeline.batch import ingest, poll, submit
from pipeline.batch.account import IngestSummary
from pipeline.batch.create import SendOutcome
from pipeline.batch.poll import PollReport
from pipeline.batch.prepare import BatchPlan
from pipeline.batch.submit import SubmitReport
from pipeline.core.errors import ConfigurationError, FindableError, RemoteError, ThrottledError
from pipeline.core.states import BatchState, RemoteState, remote_state
from pipeline.core.task import Task, Words
from pipeline.cost import budget
from pipeline.cost.estimate import QuotaFullError
from pipeline.engine.workspace import OpenWorkspace
from pipeline.quality import evaluate, pilot, report_files
from pipeline.quality.evaluate import QualityReport
from pipeline.store import batches, claims, statistics
from pipeline.store.batches import Batch
from pipeline.store.database import Store


class Backlog(NamedTuple):
    """The backlog of one task, read anew at each call."""

    store: Store
    task: Task

    def batches(self, *states: BatchState) -> list[Batch]:
        """Return the batches in these states, oldest first; without states, all."""
        with self.store.read() as tx:
            return batches.batches_in_states(tx, *states, task=self.task.name)

    def askable(self) -> int:
        """Return how many items can be asked."""
        with self.store.read() as tx:
            return claims.count_askable(tx, self.task)

    def under_way(self, *states: BatchState) -> int:
        """Return how many items the batches in these states are about."""
        numbers = [one.number for one in self.batches(*states)]
        with self.store.read() as tx:
            return claims.count_items(tx, numbers)

    def parked(self) -> int:
        """Return how many items are parked, without those whose answers are text of another program."""
        with self.store.read() as tx:
            return statistics.count_parked(tx, self.task.name)


WITHOUT_SUCCESS = (RemoteState.FAILED, RemoteState.EXPIRED, RemoteState.CANCELLED)
MAX_FAILED_POLLS = 2  # in a row that see batches fail and none succeed; then nothing more is submitted


class BatchSteps:
    """Submits and polls for one command, and notes which batches failed and whether the API is down.

    One failed poll is counted from the beginning, so a command goes on after a failure only if a batch succeeded.
    """

    def __init__(self, ws: OpenWorkspace) -> None:
        """Begin with no poll."""
        self._ws = ws
        self._failed_polls = MAX_FAILED_POLLS - 1
        self._has_moved = True
        self.polled: list[PollReport] = []
        self.failed: dict[int, str] = {}

    @property
    def is_down(self) -> bool:
        """Return whether batches fail at the API and none succeeds."""
        return self._failed_polls >= MAX_FAILED_POLLS

    @property
    def is_stopped(self) -> bool:
        """Return whether the last poll did not reach the API, or a batch needs a person."""
        last = self.polled[-1] if self.polled else None
        return last is not None and bool(last.stopped or last.gone or last.unclear)

    def poll(self, *, wait: bool, first: bool = False) -> PollReport:
        """Poll the batches at the API; with `wait` until all are over or, with `first`, until the first one is.

        If no batch ended during the last wait, it waits for all: a batch that cannot be polled would end none again.
        """
        polled = poll.run(self._ws, wait=wait, first=first and self._has_moved)
        self._has_moved = not wait or bool(polled.downloaded or polled.failed)
        failed = self._failed_of(polled)
        if set(polled.downloaded) - set(failed):
            self._failed_polls = 0
        elif failed:
            self._failed_polls += 1
        self.polled.append(polled)
        self.failed |= failed
        return polled

    def _failed_of(self, polled: PollReport) -> dict[int, str]:
        """Return why, by number, batches failed at the API, with a part of their results or without any.

        A batch that a person cancelled is not among them.
        """
        with self._ws.store.read() as tx:
            over = [batches.get_batch(tx, number) for number in sorted([*polled.failed, *polled.downloaded])]
        return {
            one.number: one.reason or str(remote_state(one.remote_word))
            for one in over
            if not one.is_cancelled_by_hand(batch_hours=self._ws.settings.batch_hours)
            and (one.number in polled.failed or remote_state(one.remote_word) in WITHOUT_SUCCESS)
        }

    def submit(
        self, *, limit: int | None, confirm: Callable[[BatchPlan], bool] | None = None, patient: bool
    ) -> tuple[SubmitReport, RemoteError | None]:
        """Submit, and return what was sent; if `patient`, with the refusal of an API that takes no more for now.

        Raises:
            ThrottledError, QuotaFullError: no batch is under way whose end would make room, or a daily quota is used
                up.
            RemoteError, ConfigurationError, InputError: see `batch.submit.run`.
        """
        before = {one.number for one in self.submitted()}
        try:
            return submit.run(self._ws, limit=limit, dry=False, confirm=confirm), None
        except (ThrottledError, QuotaFullError) as error:
            is_daily = isinstance(error, ThrottledError) and error.resets_at is not None
            at_api = self.submitted()
            if not (patient and at_api) or is_daily:
                raise
            self._ws.display.say(f"the rest waits for a batch to end: {error.message}")
            new = [one for one in at_api if one.number not in before]
            sent = {one.number: SendOutcome.CREATED for one in new}
            with self._ws.store.read() as tx:
                items = claims.count_items(tx, list(sent))
            return SubmitReport(BatchPlan(), sent=sent, items=items), error

    def submitted(self) -> list[Batch]:
        """Return the batches of the task that are under way at the API."""
        return Backlog(self._ws.store, self._ws.task).batches(BatchState.SUBMITTED)


def failed_error(number: int, why: str, words: Words) -> RemoteError:
    """Return the error for a batch that failed at the API."""
    return RemoteError(
        f"batch {number} failed at the API ({why})",
        hint=f"its {words.many} are sent again, except parked ones; see `{words.make('parked')}`",
    )


def missing_errors(polled: PollReport) -> Iterable[ConfigurationError]:
    """Yield the error of each batch that the API does not show any more."""
    for number, why in polled.gone.items():
        yield ConfigurationError(
            f"batch {number}: {why}; it was left as it is, claims kept",
            hint=f"check the key, or give it up: make batch-cancel BATCH={number}",
        )


def ingest_batches(
    ws: OpenWorkspace,
    *,
    done: Callable[[IngestSummary], None] = lambda _: None,
    reported: Callable[[QualityReport], None] | None = None,
) -> list[IngestSummary]:
    """Ingest every downloaded batch and call `done` after each; then end a `tag` that has nothing left to do.

    If `reported` is given, a report on the new answers of each extractor is written and handed to it. The answers are
    stored whatever the report says.

    Raises:
        InconsistentError, ConfigurationError: see `batch.ingest.run`; the other batches were ingested.
    """
    summaries: list[IngestSummary] = []

    def ingested(summary: IngestSummary) -> None:
        summaries.append(summary)
        done(summary)

    failure: FindableError | None = None
    try:
        ingest.run(ws, done=ingested)
    except FindableError as error:
        failure = error
    if summaries:
        budget.close_budget(ws.store, ws.task, at=ws.now())
    if reported is not None:
        report_files.sweep_reports(ws.data, ws.task.name)
        for extractor in dict.fromkeys(one.batch.extractor for one in summaries):
            report = evaluate.write_report(ws, extractor=extractor)
            if report is not None:
                pilot.note_failed_pilot(ws, report)
                reported(report)
    if failure is not None:
        raise failure
    return summaries
