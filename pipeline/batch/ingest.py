"""Put results into the database: downloaded -> ingested, every request accounted for exactly once.

Requests are taken in the order of their lines, which is the order of rows, and each one's result lines are looked up by
key; so what is written lies together on disk, memory stays flat, and a run that was killed goes on where it stopped.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from pipeline.batch.uploads import release_images
from pipeline.core import files, gc_freeze
from pipeline.core.beside import done_beside
from pipeline.core.errors import FindableError, InconsistentError, RefusedRowError, StateConflictError
from pipeline.core.progress import NoProgress
from pipeline.core.second_process import can_begin, second_process
from pipeline.core.settings import Settings
from pipeline.core.states import BatchState, Outcome, RemoteState, remote_state
from pipeline.engine.access import Access
from pipeline.engine.record import (
    Judgement,
    MissingLine,
    Ready,
    Source,
    judge_lines,
    make_ready,
    source_of,
    write_judgements,
)
from pipeline.engine.workspace import OpenWorkspace, open_workspace
from pipeline.gemini.requests import request_key
from pipeline.gemini.result_file import ResultFile
from pipeline.store import answers, batches, claims, odd_lines
from pipeline.store.batches import Batch
from pipeline.store.leases import Lease, read_again

if TYPE_CHECKING:
    from pipeline.core.progress import Bar
    from pipeline.core.task import Task
    from pipeline.store.database import Connection, Store


CHUNK = 2500  # requests in one transaction, which keeps other writers waiting for some 40 ms
SECOND_FROM = 8 << 20  # bytes of results, those of the largest batch apart, that are worth starting a process for
MAX_LOST = 3  # times that another process went on with one batch while this one stood still
EXAMPLES = 3
NO_LINE = "no line in the result"
ODD = (  # lines of a result that belong to no request: (kind, name of their count in the account, what they are)
    ("unknown", "unknown", "a key that was never asked for"),
    ("duplicate", "duplicates", "a second line for the same key"),
    ("unreadable", "unreadable", "no JSON, and no key to be seen"),
)

_Kind = tuple[str, str]  # outcome and reason
_Judged = tuple[claims.Request, Judgement]
_Odd = tuple[list[str], list[str], list[str]]  # see `answers.unusual`


@dataclass(frozen=True)
class Anomaly:
    """One kind of thing that went wrong in a batch, how often, and up to three examples (name, excerpt)."""

    outcome: str
    reason: str
    count: int
    examples: tuple[tuple[str, str], ...]


@dataclass
class IngestSummary:
    """What became of one batch: the four outcomes add up to its requests; the rest is about other lines."""

    batch: Batch
    anomalies: list[Anomaly] = field(default_factory=list)
    unapplied: list[str] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)
    other_versions: list[str] = field(default_factory=list)


def run(ws: OpenWorkspace, *, done: Callable[[IngestSummary], None] = lambda _: None) -> list[IngestSummary]:
    """Ingest every downloaded batch, oldest first, and call `done` after each; nothing to ingest is an empty list.

    A batch that cannot be ingested does not keep the others from it: its error is raised when they are done. Where
    several are large a second process begins with the newest ones: each is ingested by one, under its lease.

    Raises:
        InconsistentError: a sealed result was changed, or requests cannot be accounted for; that batch is as it was.
        ConfigurationError: the table of models does not hold the model of a batch any more.
    """
    summaries: list[IngestSummary] = []
    failures: dict[int, FindableError] = {}

    def ingested(summary: IngestSummary) -> None:
        """Keep a summary, and hand it on."""
        summaries.append(summary)
        done(summary)

    def ingest_each(*, waits: bool) -> None:
        """Ingest what is downloaded and did not fail here; what another process is at only where this one waits."""
        for number in (batch.number for batch in _downloaded(ws.store, ws.task)):
            if number in failures:
                continue
            try:
                summary = read_again(partial(_ingest_once, ws, number, waits=waits), times=MAX_LOST)
            except FindableError as error:
                failures[number] = error
                continue
            if summary is not None:
                ingested(summary)

    with _second_process(ws.settings, _downloaded(ws.store, ws.task)) as second:
        ingest_each(waits=False)
        with ws.display.bar("waiting for the second process", None, late=True):
            others = list(second)
    for summary in others:
        ingested(summary)
    ingest_each(waits=True)
    release_images(ws, held=False)
    errors = list(failures.values())
    for other in errors[:-1]:
        ws.display.warn(other.message)
    if errors:
        raise errors[-1]
    return summaries


def _downloaded(store: "Store", task: "Task") -> list[Batch]:
    """Return the downloaded batches of the task, oldest first."""
    with store.read() as tx:
        return batches.batches_in_states(tx, BatchState.DOWNLOADED, task=task.name)


@contextlib.contextmanager
def _second_process(settings: Settings, waiting: Sequence[Batch]) -> Iterator[Iterator[IngestSummary]]:
    """Give the summaries of a second process that ingests where that is worth its start, for the length of a block."""
    sizes = sorted(batch.result_size or 0 for batch in waiting)
    if sum(sizes[:-1]) < SECOND_FROM or not can_begin():
        yield iter(())
        return
    with second_process(_newest_first, settings, [batch.number for batch in reversed(waiting)]) as summaries:
        yield summaries


def _newest_first(settings: Settings, numbers: Sequence[int]) -> Iterator[IngestSummary]:
    """Ingest, in a second process, the batches that no other one is at; what fails is left to the first process."""
    with open_workspace(settings, NoProgress(), access=Access.WRITE) as ws:
        for number in numbers:
            with contextlib.suppress(FindableError):
                if (summary := _ingest_once(ws, number, waits=False)) is not None:
                    yield summary


def _ingest_once(ws: OpenWorkspace, number: int, *, waits: bool) -> IngestSummary | None:
    """Ingest one batch; None where another process was first, or, unless this one `waits`, is at it."""
    name = f"batch:{number}"
    hold = partial(ws.waited_lease, waiting=f"another process ingests batch {number}; waiting") if waits else ws.lease
    with hold(name) as lease:
        if lease is None:
            return None
        with ws.store.read() as tx:
            batch = batches.get_batch(tx, number)
        if batch.state is not BatchState.DOWNLOADED:
            return None
        batch = _with_fingerprint(ws, batch)
        how = {"accepted": ws.settings.accept_changed, "as_asked": ws.settings.as_asked}
        with ws.store.read() as tx:
            task = ws.task.judging(tx, batch.label, batch.fingerprint, f"batch {batch.number}", **how)
        return _Ingest(ws, batch, lease, task).run()


def _with_fingerprint(ws: OpenWorkspace, batch: Batch) -> Batch:
    """Return a batch with its fingerprint; one that was prepared before there were any takes the first it meets."""
    if batch.fingerprint is not None or ws.task.fingerprint is None:
        return batch
    with ws.store.write() as tx:
        batches.set_fingerprint(tx, batch.number, ws.task.fingerprint)
    ws.display.say(f"batch {batch.number} has no fingerprint yet; it takes that of the file as it is now")
    return replace(batch, fingerprint=ws.task.fingerprint)


class _Ingest(NamedTuple):
    """One downloaded batch, under its lease, and the task that judges it."""

    ws: OpenWorkspace
    batch: Batch
    lease: "Lease"
    task: "Task"

    def run(self) -> IngestSummary:
        """Account for every request of one batch, chunk by chunk, then for the batch."""
        ws, batch, what = self.ws, self.batch, f"the result of batch {self.batch.number}"
        path = files.verify(ws.data / (batch.result_file or ""), sha256=batch.result_sha256 or "", what=what)
        bar_of = ws.display.bar(f"ingesting batch {batch.number}", batch.requests)
        with gc_freeze.gc_frozen(), ResultFile(path) as results, bar_of as bar:
            odd = None
            while odd is None:  # items that ask the same may have joined behind the place where it was
                self._apply_all(results, bar)
                odd = self._finish(results)
        with ws.store.read() as tx:
            return batch_account(tx, self.task, batch.number, odd=odd)

    def _apply_all(self, results: ResultFile, bar: "Bar") -> None:
        """Judge and write every request that has no outcome yet; those that have one are only looked up."""
        source = source_of(self.batch, models_file=self.ws.settings.models_file)
        # beside the judging of the next one where a server writes; SQLite would wait for the interpreter at every row
        is_file = self.ws.store.path is not None
        with contextlib.nullcontext(lambda work: work()) if is_file else done_beside() as write:
            for judged, line in self._judged(results):
                if judged:
                    write(partial(self._write, judged, self._ready(judged, source), source))
                bar.show(line)
                del judged  # before there is a next one

    def _judged(self, results: ResultFile) -> Iterator[tuple[Sequence[_Judged], int]]:
        """Yield a chunk of requests at a time with what their lines say, and the place that they reach to."""
        ws, batch, task = self.ws, self.batch, self.task
        missing = self._missing()
        after: claims.Request | None = None
        while True:
            with ws.store.read() as tx:
                page = claims.request_page(tx, batch.number, after=after, limit=CHUNK)
                contexts = task.rows.contexts(tx, [one.item_id for one in page if one.outcome is None])
            if not page:
                return
            after = page[-1]
            found = results.lines_of([request_key(batch.task, one.asked_as or one.item_id) for one in page])
            judged = [
                (one, judge_lines(task, one, lines, missing=missing, context=contexts.get(one.item_id)))
                for one, lines in zip(page, found, strict=True)
                if one.outcome is None
            ]
            yield judged, after.line
            del judged

    def _ready(self, judged: Sequence[_Judged], source: Source) -> Ready:
        """Make ready what needs no transaction that writes."""
        with self.ws.store.read() as tx:
            return make_ready(tx, self.task, [one for _, one in judged], source=source, at=self.ws.now())

    def _write(self, judged: Sequence[_Judged], ready: Ready, source: Source) -> None:
        """Write what became of a chunk of requests, all or nothing: as it was made ready, or else anew."""
        outcomes = [(request, one.outcome, one.reason) for request, one in judged]

        def write(judgements: Sequence[Judgement] | Ready) -> None:
            with self.ws.store.write() as tx:
                self.lease.check(tx)
                claims.record_outcomes(tx, outcomes)
                write_judgements(tx, self.task, judgements, source=source, at=self.ws.now())

        try:
            write(ready)
        except (StateConflictError, RefusedRowError):
            if ready.answers is None:
                raise
            write([one for _, one in judged])

    def _missing(self) -> MissingLine:
        """Return what a request without a line means: the item's fault in a batch that succeeded, or the service's."""
        batch = self.batch
        if remote_state(batch.remote_word) is RemoteState.SUCCEEDED:
            return MissingLine(NO_LINE, charged=True)
        forgiven = batch.is_cancelled_by_hand(batch_hours=self.ws.settings.batch_hours)
        return MissingLine(f"{NO_LINE}: {batch.reason}", charged=False, forgiven=forgiven)

    def _finish(self, results: ResultFile) -> _Odd | None:
        """Hold the account against the requests, and end the batch; None where items are left that came later."""
        batch = self.batch
        with self.ws.store.read() as tx:  # what no other process adds to, while this one has the lease
            tokens_in, tokens_out, cost = answers.usage_of_batch(tx, batch.number)
            odd = answers.unusual(tx, batch.number, model=batch.model)
        with self.ws.store.write() as tx:
            self.lease.check(tx)
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


def _odd_lines(tx: "Connection", batch: Batch) -> list[Anomaly]:
    """Return what stood in the result file of a batch and belongs to no request."""
    examples = odd_lines.examples_of(tx, batch.number)
    return [
        Anomaly(kind, reason, count, tuple((f"line {line}", said) for line, said in examples.get(kind, ())))
        for kind, name, reason in ODD
        if (count := getattr(batch, name))
    ]


def batch_account(tx: "Connection", task: "Task", number: int, *, odd: _Odd | None = None) -> IngestSummary:
    """Return what became of a batch: what went wrong in it, by reason with up to three examples of each.

    `odd` are its answers that are not as usual, where they are known.
    """
    batch = batches.get_batch(tx, number)
    counts: Counter[_Kind] = Counter()
    shown: dict[_Kind, list[tuple[str, str]]] = {}  # (item id, what was said) of the first of each kind
    for outcome, reason, code, item_id, excerpt in answers.failed_attempts(tx, number):
        word, _, detail = reason.partition(": ")
        kind = (outcome, word if code is None else f"{word}, code {code}")
        counts[kind] += 1
        if counts[kind] <= EXAMPLES:
            shown.setdefault(kind, []).append((item_id, " | ".join(filter(None, (detail, excerpt)))))
    unapplied, outdated, other = odd or answers.unusual(tx, number, model=batch.model)
    names = task.names(tx, [*(item_id for some in shown.values() for item_id, _ in some), *unapplied, *outdated])
    anomalies = _odd_lines(tx, batch)
    for kind, count in sorted(counts.items()):
        examples = tuple((names.get(item_id, item_id), said) for item_id, said in shown[kind])
        anomalies.append(Anomaly(*kind, count, examples))
    unapplied, outdated = ([names.get(one, one) for one in some] for some in (unapplied, outdated))
    return IngestSummary(batch, anomalies, unapplied, outdated, other)
