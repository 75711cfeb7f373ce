"""Put results into the database: downloaded -> ingested, every request accounted for exactly once.

What a batch claims is taken in the order of its lines, which is the order of rows, and each one's result lines are
looked up by key; so what is written lies together on disk, memory stays flat, and a run that was killed goes on where
it stopped.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.batch.account import IngestSummary, batch_account, odd_lines
from pipeline.batch.reconcile import lock_of, read_again
from pipeline.core import files
from pipeline.core.errors import FindableError, InconsistentError
from pipeline.core.states import BatchState, Outcome, RemoteState, remote_state
from pipeline.engine.equals import Equals, tell_equals
from pipeline.engine.record import Judgement, MissingLine, Source, judge_lines, source_of, write_judgements
from pipeline.engine.workspace import OpenWorkspace
from pipeline.gemini.requests import request_key
from pipeline.gemini.result_file import ResultFile
from pipeline.store import answers, asks, batches
from pipeline.store.asks import Ask
from pipeline.store.batches import Batch

if TYPE_CHECKING:
    from pipeline.engine.task import Task


CHUNK = 2500  # requests in one transaction, which keeps other writers waiting for some 40 ms
MAX_LOST = 3  # times that another process went on with one batch while this one stood still
NO_LINE = "no line in the result"


def run(ws: OpenWorkspace, *, done: Callable[[IngestSummary], None] = lambda _: None) -> list[IngestSummary]:
    """Ingest every downloaded batch, oldest first, and call `done` after each; nothing to ingest is an empty list.

    A batch that cannot be ingested does not keep the others from it: its error is raised when they are done.

    Raises:
        InconsistentError: a sealed result was changed, or requests cannot be accounted for; that batch is as it was.
        ConfigurationError: the table of models does not hold the model of a batch any more.
    """
    summaries: list[IngestSummary] = []
    failures: dict[int, FindableError] = {}
    for waits in (False, True):  # what another process is at only when the others are done
        with ws.store.read() as tx:
            downloaded = batches.batches_in_states(tx, BatchState.DOWNLOADED, task=ws.task.name)
        for number in (batch.number for batch in downloaded if batch.number not in failures):
            try:
                summary = read_again(partial(_ingest, ws, number, waits=waits), times=MAX_LOST)
            except FindableError as error:
                failures[number] = error
                continue
            if summary is not None:
                summaries.append(summary)
                done(summary)
    errors = list(failures.values())
    for other in errors[:-1]:
        ws.display.warn(other.message)
    if errors:
        raise errors[-1]
    return summaries


def _ingest(ws: OpenWorkspace, number: int, *, waits: bool) -> IngestSummary | None:
    """Ingest one batch; None where another process was first, or, unless this one `waits`, is at it."""
    name = lock_of(number)
    with ws.lock(name) if waits else ws.locks.hold(name) as lock:
        if lock is None:
            return None
        with ws.store.read() as tx:
            batch = batches.get_batch(tx, number)
        if batch.state is not BatchState.DOWNLOADED:
            return None
        accepted, what = ws.settings.accept_changed, f"batch {number}"
        ws.task.check_declared(batch.fingerprint, what, accepted=accepted)
        return _BatchIngest(ws, batch, ws.task).run()


class _BatchIngest(NamedTuple):
    ws: OpenWorkspace
    batch: Batch
    task: "Task"

    def run(self) -> IngestSummary:
        ws, batch = self.ws, self.batch
        path, what = ws.data / (batch.result_file or ""), f"the result of batch {batch.number}"
        source = source_of(batch, models_file=ws.settings.models_file)
        sealed = files.verify(path, sha256=batch.result_sha256 or "", what=what)
        with ws.store.read() as tx:
            known = answers.items_of_batch(tx, batch.number)  # where a run that was killed had got to
            hashes = [] if ws.settings.ask_each else asks.claimed_hashes(tx, batch.number)
            equals = self.task.equals(tx, hashes)
        bar_of = ws.display.bar(f"ingesting batch {batch.number}", batch.requests)
        with ResultFile(sealed) as results, bar_of as bar:
            results.note_asked(request_key(batch.task, one) for one in known)
            for page, contexts in self._pages():
                self._write(self._judged(results, page, contexts), equals, source)
                bar.show(page[-1].line or 0)
            ended = self._finish(results)
            odd = odd_lines(results, ended)
        with ws.store.read() as tx:
            return batch_account(tx, self.task, batch.number, data=ws.data, odd=odd)

    def _pages(self) -> Iterator[tuple[Sequence[Ask], Mapping[str, Any]]]:
        """Yield the rows that the batch claims in the order of its lines, with what they are judged by."""
        line = 0
        while True:
            with self.ws.store.read() as tx:
                page = asks.claimed_page(tx, self.batch.number, after=line, limit=CHUNK)
                contexts = self.task.contexts(tx, [one.item_id for one in page])
            if not page:
                return
            yield page, contexts
            line = page[-1].line or 0

    def _judged(self, results: ResultFile, page: Sequence[Ask], contexts: Mapping[str, Any]) -> list[Judgement]:
        missing = self._missing()
        found = results.lines_of([request_key(self.batch.task, one.item_id) for one in page])
        return [
            judge_lines(self.task, one, lines, missing=missing, context=contexts.get(one.item_id))
            for one, lines in zip(page, found, strict=True)
        ]

    def _write(self, judged: Sequence[Judgement], equals: Equals, source: Source) -> None:
        with self.ws.store.write() as tx:
            kept = write_judgements(tx, self.task, judged, source=source, at=self.ws.now())
            if equals:
                tell_equals(tx, self.task, judged, kept, equals, source=source, at=self.ws.now())

    def _missing(self) -> MissingLine:
        """Return what a request without a line means: the item's fault in a batch that succeeded, or the service's."""
        batch = self.batch
        if remote_state(batch.remote_word) is RemoteState.SUCCEEDED:
            return MissingLine(NO_LINE, charged=True)
        forgiven = batch.is_cancelled_by_hand(batch_hours=self.ws.settings.batch_hours)
        return MissingLine(f"{NO_LINE}: {batch.reason}", charged=False, forgiven=forgiven)

    def _finish(self, results: ResultFile) -> Batch:
        """Hold the account against the requests, and end the batch."""
        number = self.batch.number
        with self.ws.store.read() as tx:
            tokens_in, tokens_out, cost = answers.usage_of_batch(tx, number)
            not_applied, *_ = answers.unusual(tx, number, model=self.batch.model)
        with self.ws.store.write() as tx:
            outcomes = answers.outcomes_of_batch(tx, number)
            if (told := sum(outcomes.values())) != self.batch.requests or asks.count_claimed(tx, number):
                raise InconsistentError(
                    f"batch {number} asked {self.batch.requests} times and {told} are accounted for; it stays "
                    "downloaded",
                    hint="run `make doctor`",
                )
            batches.mark_ingested(
                tx,
                self.batch,
                at=self.ws.now(),
                **{outcome.value: outcomes[outcome] for outcome in Outcome},
                not_applied=len(not_applied),
                unknown=results.unknown,
                duplicates=results.duplicates,
                unreadable=results.unreadable_count,
                tokens_in=tokens_in,
                tokens_out=tokens_out,
                cost=cost,
            )
            return batches.get_batch(tx, number)
