"""Put results into the database: downloaded -> ingested, every request accounted for exactly once.

Requests are taken in the order of their lines, which is the order of rows, and each one's result lines are looked up by
key; so what is written lies together on disk, memory stays flat, and a run that was killed goes on where it stopped.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.batch.account import IngestSummary, Odd, batch_account
from pipeline.batch.reconcile import lock_of, read_again
from pipeline.core import files
from pipeline.core.errors import FindableError, InconsistentError
from pipeline.core.states import BatchState, Outcome, RemoteState, remote_state
from pipeline.engine.record import Judgement, MissingLine, Source, judge_lines, source_of, write_judgements
from pipeline.engine.workspace import OpenWorkspace
from pipeline.gemini.requests import request_key
from pipeline.gemini.result_file import ResultFile
from pipeline.store import answers, batches, claims
from pipeline.store.batches import Batch

if TYPE_CHECKING:
    from pipeline.core.task import Task


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
        task = ws.task.judging(batch.fingerprint, what, accepted=accepted)
        return _BatchIngest(ws, batch, task).run()


class _BatchIngest(NamedTuple):
    ws: OpenWorkspace
    batch: Batch
    task: "Task"

    def run(self) -> IngestSummary:
        ws, batch = self.ws, self.batch
        path, what = ws.data / (batch.result_file or ""), f"the result of batch {batch.number}"
        source = source_of(batch, models_file=ws.settings.models_file)
        sealed = files.verify(path, sha256=batch.result_sha256 or "", what=what)
        bar_of = ws.display.bar(f"ingesting batch {batch.number}", batch.requests)
        with ResultFile(sealed) as results, bar_of as bar:
            odd = None
            while odd is None:  # items that ask the same may have joined behind the place where it was
                for page, contexts in self._pages():
                    self._write(self._judged(results, page, contexts), source)
                    bar.show(page[-1].line)
                odd = self._finish(results)
        with ws.store.read() as tx:
            return batch_account(tx, self.task, batch.number, odd=odd)

    def _pages(self) -> Iterator[tuple[Sequence[claims.Request], Mapping[str, Any]]]:
        """Yield requests, of which some may have an outcome, with what those are judged by that have none, by item."""
        page: Sequence[claims.Request] = ()
        while True:
            with self.ws.store.read() as tx:
                page = claims.request_page(tx, self.batch.number, after=page[-1] if page else None, limit=CHUNK)
                contexts = self.task.rows.contexts(tx, [one.item_id for one in page if one.outcome is None])
            if not page:
                return
            yield page, contexts

    def _judged(
        self, results: ResultFile, page: Sequence[claims.Request], contexts: Mapping[str, Any]
    ) -> list[tuple[claims.Request, Judgement]]:
        missing = self._missing()
        found = results.lines_of([request_key(self.batch.task, one.asked_as or one.item_id) for one in page])
        return [
            (one, judge_lines(self.task, one, lines, missing=missing, context=contexts.get(one.item_id)))
            for one, lines in zip(page, found, strict=True)
            if one.outcome is None
        ]

    def _write(self, judged: Sequence[tuple[claims.Request, Judgement]], source: Source) -> None:
        if not judged:
            return
        with self.ws.store.write() as tx:
            claims.record_outcomes(tx, [(request, one.outcome, one.reason) for request, one in judged])
            write_judgements(tx, self.task, [one for _, one in judged], source=source, at=self.ws.now())

    def _missing(self) -> MissingLine:
        """Return what a request without a line means: the item's fault in a batch that succeeded, or the service's."""
        batch = self.batch
        if remote_state(batch.remote_word) is RemoteState.SUCCEEDED:
            return MissingLine(NO_LINE, charged=True)
        forgiven = batch.is_cancelled_by_hand(batch_hours=self.ws.settings.batch_hours)
        return MissingLine(f"{NO_LINE}: {batch.reason}", charged=False, forgiven=forgiven)

    def _finish(self, results: ResultFile) -> Odd | None:
        """Hold the account against the requests, and end the batch; None where items are left that came later."""
        batch = self.batch
        with self.ws.store.read() as tx:  # what no other process adds to but where some are left
            tokens_in, tokens_out, cost = answers.usage_of_batch(tx, batch.number)
            odd = answers.unusual(tx, batch.number, model=batch.model)
        with self.ws.store.write() as tx:
            outcomes, shared, left = claims.outcome_counts(tx, batch.number)
            if left:
                return None
            if (own := sum(outcomes.values()) - shared) != batch.requests:
                raise InconsistentError(
                    f"batch {batch.number} asked {batch.requests} times and {own} are accounted for; it stays "
                    "downloaded",
                    hint="run `make doctor`",
                )
            batches.mark_ingested(
                tx,
                batch,
                at=self.ws.now(),
                **{outcome.value: outcomes.get(outcome, 0) for outcome in Outcome},
                not_applied=len(odd[0]),
                unknown=results.unknown,
                duplicates=results.duplicates,
                unreadable=results.unreadable_count,
                tokens_in=tokens_in,
                tokens_out=tokens_out,
                cost=cost,
            )
            batches.keep_examples(tx, batch.number, results.examples())
        return odd
