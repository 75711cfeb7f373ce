"""Ingest one downloaded batch under its lease: judge its result, write what came of it, account for every request.

Requests are taken in the order of their lines, which is the order of rows, and each one's result lines are looked up by
key; so what is written lies together on disk, memory stays flat, and a run that was killed goes on where it stopped. A
second process may take them from their end, under the same lease.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.batch.account import IngestSummary, Odd, batch_account
from pipeline.core import files, gc_freeze
from pipeline.core.beside import done_beside
from pipeline.core.errors import InconsistentError, StateConflictError
from pipeline.core.states import BatchState, Outcome, RemoteState, remote_state
from pipeline.engine.record import (
    Judgement,
    MissingLine,
    Source,
    judge_lines,
    source_of,
    write_judgements,
)
from pipeline.engine.workspace import OpenWorkspace
from pipeline.gemini.requests import request_key
from pipeline.gemini.result_file import ResultFile
from pipeline.store import answers, batches, claims, odd_lines
from pipeline.store.batches import Batch
from pipeline.store.leases import Lease

if TYPE_CHECKING:
    from pipeline.core.task import Task
    from pipeline.store.database import Connection


CHUNK = 2500  # requests in one transaction, which keeps other writers waiting for some 40 ms
NO_LINE = "no line in the result"
_Judged = tuple[claims.Request, Judgement]
_Page = tuple[Sequence[claims.Request], Mapping[str, Any]]  # requests, and what some are judged by
_NextPage = Callable[["Connection", Sequence[claims.Request]], Sequence[claims.Request]]  # from the page before it


def begin_ingest(ws: OpenWorkspace, number: int, lease: Lease) -> "BatchIngest | None":
    """Return the ingest of a batch under a lease; None where it is done, or nothing is downloaded."""
    with ws.store.read() as tx:
        batch = batches.get_batch(tx, number)
    if batch.state is not BatchState.DOWNLOADED:
        return None
    batch = _with_fingerprint(ws, batch)
    how = {"accepted": ws.settings.accept_changed, "as_asked": ws.settings.as_asked}
    with ws.store.read() as tx:
        task = ws.task.judging(tx, batch.label, batch.fingerprint, f"batch {batch.number}", **how)
    return BatchIngest(ws, batch, lease, task)


def _with_fingerprint(ws: OpenWorkspace, batch: Batch) -> Batch:
    """Return a batch with its fingerprint; one that was prepared before there were any takes the first it meets."""
    if batch.fingerprint is not None or ws.task.fingerprint is None:
        return batch
    with ws.store.write() as tx:
        batches.set_fingerprint(tx, batch.number, ws.task.fingerprint)
    ws.display.say(f"batch {batch.number} has no fingerprint yet; it takes that of the file as it is now")
    return replace(batch, fingerprint=ws.task.fingerprint)


class BatchIngest(NamedTuple):
    """One downloaded batch, under its lease, and the task that judges it."""

    ws: OpenWorkspace
    batch: Batch
    lease: Lease
    task: "Task"

    def run(self, done_beside_it: Callable[[], int]) -> IngestSummary:
        """Account for every request of the batch, chunk by chunk, then for the batch.

        The bar counts the lines that a second process has done, too.
        """
        ws, batch = self.ws, self.batch
        bar_of = ws.display.bar(f"ingesting batch {batch.number}", batch.requests)
        with gc_freeze.gc_frozen(), self._results() as results, bar_of as bar:
            odd = None
            while odd is None:  # items that ask the same may have joined behind the place where it was
                for page in self._apply_all(results, self._page_behind):
                    bar.show(min(batch.requests, page[-1].line + done_beside_it()))
                odd = self._finish(results)
        with ws.store.read() as tx:
            return batch_account(tx, self.task, batch.number, odd=odd)

    def run_from_end(self) -> Iterator[int]:
        """Account for requests from the end of the batch, until the process that has the lease is near.

        Yields how many lines of requests that were, after each chunk.
        """
        with gc_freeze.gc_frozen(), self._results() as results:
            for page in self._apply_all(results, self._page_before):
                yield self.batch.requests + 1 - page[0].line

    @property
    def _is_file(self) -> bool:
        return self.ws.store.path is not None

    def _results(self) -> ResultFile:
        """Open the sealed result."""
        batch = self.batch
        what = f"the result of batch {batch.number}"
        path = files.verify(self.ws.data / (batch.result_file or ""), sha256=batch.result_sha256 or "", what=what)
        return ResultFile(path)

    def _apply_all(self, results: ResultFile, next_page: _NextPage) -> Iterator[Sequence[claims.Request]]:
        """Judge and write every request that has no outcome yet; those that have one are only looked up.

        Yields each page when it is written, or, where a server writes, given to what writes it.
        """
        source = source_of(self.batch, models_file=self.ws.settings.models_file)
        missing = self._missing()
        # beside the judging of the next one where a server writes; SQLite would wait for the interpreter at every row
        with contextlib.nullcontext(lambda work: work()) if self._is_file else done_beside() as write:
            for page, contexts in self._pages(next_page):
                judged = self._judged(results, page, contexts, missing)
                if judged:
                    write(partial(self._write, judged, source))
                del judged  # before there is a next one
                gc_freeze.collect_new()
                yield page

    def _pages(self, next_page: _NextPage) -> Iterator[_Page]:
        """Yield one page after the other, with what those are judged by that have no outcome yet, by item id."""
        page: Sequence[claims.Request] = ()
        while True:
            with self.ws.store.read() as tx:
                page = next_page(tx, page)
                contexts = self.task.rows.contexts(tx, [one.item_id for one in page if one.outcome is None])
            if not page:
                return
            yield page, contexts

    def _page_behind(self, tx: "Connection", page: Sequence[claims.Request]) -> Sequence[claims.Request]:
        """Return the requests behind a page, of which some may have an outcome."""
        return claims.request_page(tx, self.batch.number, after=page[-1] if page else None, limit=CHUNK)

    def _page_before(self, tx: "Connection", page: Sequence[claims.Request]) -> Sequence[claims.Request]:
        """Return the last before a page that have no outcome yet, but for as many as the other process may be at.

        So some of the items that joined behind its place are left to it, and it does not end the batch without them.
        """
        near = CHUNK if self._is_file else 2 * CHUNK  # it judges one chunk while a server writes another
        before = page[0] if page else None
        return claims.last_page(tx, self.batch.number, before=before, limit=near + CHUNK)[near:]

    def _judged(
        self, results: ResultFile, page: Sequence[claims.Request], contexts: Mapping[str, Any], missing: MissingLine
    ) -> Sequence[_Judged]:
        """Return what the lines say of those requests that have no outcome yet."""
        found = results.lines_of([request_key(self.batch.task, one.asked_as or one.item_id) for one in page])
        return [
            (one, judge_lines(self.task, one, lines, missing=missing, context=contexts.get(one.item_id)))
            for one, lines in zip(page, found, strict=True)
            if one.outcome is None
        ]

    def _write(self, judged: Sequence[_Judged], source: Source) -> None:
        """Write what became of a chunk of requests, all or nothing.

        Those that another process of this command accounted for meanwhile are left out.
        """
        try:
            with self._turn() as tx:
                self._put(tx, judged, source)
        except StateConflictError:
            with self._turn() as tx:
                left = claims.unaccounted_among(tx, [request for request, _ in judged])
                if len(left) == len(judged):
                    raise
                self._put(tx, [(request, one) for request, one in judged if request.id in left], source)

    @contextlib.contextmanager
    def _turn(self) -> Iterator["Connection"]:
        """Write under the lease, which the database lets one process do at a time."""
        with self.ws.store.write() as tx:
            self.lease.check(tx)
            yield tx

    def _put(self, tx: "Connection", judged: Sequence[_Judged], source: Source) -> None:
        """Record outcomes, and write what came of them."""
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
        with self._turn() as tx:
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
            odd_lines.keep_examples(tx, batch.number, results.examples())
        return odd
