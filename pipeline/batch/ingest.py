"""Put results into the database: downloaded -> ingested, every request accounted for exactly once.

What a batch claims is taken in the order of its lines, which is the order of rows, and each one's result lines are
looked up by key; so what is written lies together on disk, memory stays flat, and a run that was killed goes on where
it stopped.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from pipeline.batch.batch_files import lock_of, read_again, seal_dead, sealed_result
from pipeline.core import files
from pipeline.core.command_hint import CommandHint
from pipeline.core.errors import FindableError, InconsistentError, RemoteError
from pipeline.core.progress import NoProgress
from pipeline.core.states import BatchState, Mode, Outcome, RemoteState, remote_state
from pipeline.core.text import plural
from pipeline.engine.record import (
    Equals,
    JudgedReply,
    Provenance,
    judge_lines,
    source_of,
    tell_equals,
    write_judgements,
)
from pipeline.engine.task import Task, TaskLabels, WriteResult
from pipeline.engine.workspace import WorkspaceSession
from pipeline.gemini.requests import request_key
from pipeline.gemini.responses import ParsedReply, ResultFile
from pipeline.store import answers, batches, claims, workspace
from pipeline.store.batches import BatchRow
from pipeline.store.claims import RowClaim
from pipeline.store.database import Connection

CHUNK = 2500  # requests in one transaction, which keeps other writers waiting for some 40 ms
MAX_LOST = 3  # times that another process went on with one batch while this one stood still
NO_LINE = "no line in the result"
ENDED = "no reply came before the process ended"
EXAMPLES = 3
ODD = (  # lines of a result that belong to no request: (kind, name of their count in the account, what they are)
    ("unknown", "unknown", "a key that was never asked for"),
    ("duplicate", "duplicates", "a second line for the same key"),
    ("unreadable", "unreadable", "no JSON, and no key to be seen"),
)
# The journal's lines on values of answers beyond the number that may be kept.
LEFT_OUT = "left_out"
UNTAKEN = "its row was removed or answered meanwhile"


@dataclass(frozen=True)
class Anomaly:
    """One kind of thing that went wrong in a batch, how often, and up to three examples (name, excerpt)."""

    outcome: str
    reason: str
    count: int
    examples: tuple[tuple[str, str], ...]


@dataclass
class IngestSummary:
    """What became of one batch: the four outcomes add up to its requests; the rest is about other lines.

    `copied_rows` ask the same as others, and got a copy of their answers. `left_out_values` of answers were beyond the
    number that may be kept.
    """

    batch: BatchRow
    anomalies: list[Anomaly] = field(default_factory=list)
    unapplied: list[str] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)
    other_versions: list[str] = field(default_factory=list)
    copied_rows: int = 0
    left_out_values: int = 0
    # The code and words of the error that every request of a batch came back with.
    common_error: ParsedReply | None = None

    @property
    def answered_rows(self) -> int:
        """Return how many rows the batch answered, including equal rows that got a copy."""
        return self.batch.taken + self.copied_rows

    def error(self, words: TaskLabels) -> RemoteError | None:
        """Return the error of a batch whose requests all failed in one way, if they did."""
        common = self.common_error
        if common is None:
            return None

        hint = f"run `{words.again}` again later"
        if common.is_account_failure:
            hint = f"check billing and the rights of the key's project, then `{words.again}` asks these rows again"
        elif common.is_final:
            unpark = words.step("unpark", all=True)
            hint = (
                f"change the model or what is asked, then `{unpark}` lets these rows be asked again"
            )
        number = self.batch.number
        count = self.batch.requests
        requests = f"each of the {count:,} requests" if count > 1 else "the only request"
        charges = "; no row was charged" if common.is_account_failure else ""
        message = f"{requests} of batch {number} failed with code {common.code}: {common.excerpt}{charges}"
        return RemoteError(message, hint=hint)


class RowOutcome(NamedTuple):
    """A row of our own calls, and why its answer was not taken; not `is_asked` where no call was made to its end."""

    item_id: str
    reason: str  # empty: it was taken
    may_again: bool = False  # it failed for its own sake, and is open still
    is_asked: bool = True


def run(
    ws: WorkspaceSession, *, own: bool = False, number: int | None = None
) -> Iterator[IngestSummary]:
    """Ingest every downloaded batch, or those of our `own` calls, or that `number`, and yield each that is over.

    A batch that cannot be ingested stays as it was, and its error is raised when the others are done. So is that of a
    batch whose requests all failed in one way, which is over.
    """
    failures: dict[int, FindableError] = {}
    seal_dead(ws)
    for waits in (
        (False,) if own else (False, True)
    ):  # what another process is at only when others are done
        with ws.store.read() as tx:
            downloaded = batches.batches_in_states(
                tx, BatchState.DOWNLOADED, task=ws.task.name, own=own
            )
        for one in (batch.number for batch in downloaded if batch.number not in failures):
            if number not in (None, one):
                continue
            try:
                summary = read_again(partial(_ingest, ws, one, waits=waits), times=MAX_LOST)
            except FindableError as error:
                failures[one] = error
                continue
            if summary is not None:
                yield summary
                if (common_error := summary.error(ws.task.words)) is not None:
                    failures[one] = common_error
    errors = list(failures.values())
    for other in errors[:-1]:
        ws.display.warn(other.message)
    if errors:
        raise errors[-1]


def _ingest(ws: WorkspaceSession, number: int, *, waits: bool) -> IngestSummary | None:
    """Ingest one batch; None where another process was first, or, unless this one `waits`, is at it."""
    name = lock_of(number)
    with ws.lock(name) if waits else ws.locks.hold(name) as lock:
        if lock is None:
            return None
        with ws.store.read() as tx:
            batch = batches.get_batch(tx, number)
        if batch.state is not BatchState.DOWNLOADED:
            return None
        return _BatchIngest(ws, batch).run()


def ingest_asked(
    ws: WorkspaceSession,
    number: int,
    silent: Mapping[str, str],
    *,
    default: str,
    patience_s: float | None = None,
) -> list[RowOutcome]:
    """Ingest a batch of our own calls, whose lock is held; `silent`, else `default`, says why rows got no reply."""
    with ws.store.read() as tx:
        batch = batches.get_batch(tx, number)
    if batch.state is not BatchState.DOWNLOADED:
        return []
    ingest = _BatchIngest(ws, batch, silent, default, patience_s)
    ingest.run()
    return ingest.told


def end_dead(ws: WorkspaceSession) -> None:
    """End what dead processes left of the task: what came is ingested, and all else is open again."""
    with ws.store.read() as tx:
        stuck = claims.claims_of_ended(tx)
    if stuck:
        with ws.store.write() as tx:
            claims.close_claims_of_ended(tx)
    for _ in run(ws, own=True):
        pass


@dataclass
class _BatchIngest:
    ws: WorkspaceSession
    batch: BatchRow
    silent: Mapping[str, str] = field(default_factory=dict)
    default: str = ENDED
    patience_s: float | None = None
    told: list[RowOutcome] = field(default_factory=list)  # of our own calls

    def __post_init__(self) -> None:
        self.task, self._is_live = self.ws.task, self.batch.way is not Mode.BATCH

    def run(self) -> IngestSummary:
        ws = self.ws
        batch = self.batch
        ws.task.check_declared(
            batch.fingerprint, f"batch {batch.number}", accepted=ws.settings.accept_changed
        )
        path = sealed_result(ws.data, batch)
        what = f"the result of batch {batch.number}"
        source = source_of(batch, settings=ws.settings)
        sealed = files.verify(path, sha256=batch.result_sha256 or "", what=what)
        with ws.store.read() as tx:
            known = answers.items_of_batch(
                tx, batch.number
            )  # where a run that was killed had got to
            equals = self.task.equals(
                tx, [one.input_hash for one in claims.claimed(tx, batch.number)]
            )
        display = NoProgress() if self._is_live else ws.display
        bar_of = display.bar(f"ingesting batch {batch.number}", batch.requests)
        with ResultFile(sealed) as results, bar_of as bar:
            results.note_asked(request_key(batch.task, one) for one in known)
            for page, contexts in self._pages():
                self._write(self._judged(results, page, contexts), equals, source)
                bar.show(page[-1].line or 0)
            self._finish(results)
            examples = results.examples()
        with ws.store.read() as tx:
            account = batch_account(tx, self.task, batch.number, examples=examples)
        if account.left_out_values:
            ws.display.warn(
                f"batch {batch.number}: left out {plural(account.left_out_values, 'value')} beyond the "
                f"number that an answer may have"
            )
        return account

    def _pages(self) -> Iterator[tuple[Sequence[RowClaim], Mapping[str, Any]]]:
        line = 0
        while True:
            with self.ws.store.read() as tx:
                page = claims.claimed(tx, self.batch.number, after=line, limit=CHUNK)
                contexts = (
                    self.task.rows(tx, [one.item_id for one in page]) if self.task.needs_row else {}
                )
            if not page:
                return
            yield page, contexts
            line = page[-1].line or 0

    def _judged(
        self, results: ResultFile, page: Sequence[RowClaim], contexts: Mapping[str, Any]
    ) -> list[JudgedReply]:
        found = results.lines_of([request_key(self.batch.task, one.item_id) for one in page])
        return [
            judge_lines(
                self.task, one, lines, missing=self._missing(one), context=contexts.get(one.item_id)
            )
            for one, lines in zip(page, found, strict=True)
        ]

    def _write(self, judged: Sequence[JudgedReply], equals: Equals, source: Provenance) -> None:
        with self.ws.store.write(patience_s=self.patience_s) as tx:
            kept = write_judgements(tx, self.task, judged, source=source, at=self.ws.now())
            others = set[str]()
            if equals:
                others = tell_equals(
                    tx, self.task, judged, kept, equals, source=source, at=self.ws.now()
                )
            if left_out_values := sum(one.left_out_values for one in judged):
                workspace.record_event(
                    tx,
                    LEFT_OUT,
                    self.batch.number,
                    old=None,
                    new=str(left_out_values),
                    why="beyond the number that an answer may have",
                    at=self.ws.now(),
                )
            if self._is_live:
                self.told += self._judged_rows(tx, judged, kept, equals, others)

    def _judged_rows(
        self,
        tx: Connection,
        judged: Sequence[JudgedReply],
        kept: WriteResult,
        equals: Equals,
        others: set[str],
    ) -> Iterator[RowOutcome]:
        waiting = set(
            claims.askable_among(tx, self.task, [*(one.asked.item_id for one in judged), *others])
        )
        stopped = dict[str, str]()
        for one in judged:
            key = one.asked.item_id
            has_failed = one.outcome in {Outcome.REFUSED, Outcome.INVALID}
            reason = one.reason if one.answer is None else kept.blocked.get(key, UNTAKEN)
            is_asked = one.outcome is not Outcome.MISSING or bool(self.silent.get(key))
            yield RowOutcome(
                key, "" if key in kept.applied else reason, has_failed and key in waiting, is_asked
            )
            if one.answer is None and key in kept.parked:
                stopped |= dict.fromkeys(equals.get(one.asked.input_hash, ()), kept.parked[key])
        yield from (RowOutcome(key, stopped.get(key, "")) for key in sorted(others - waiting))

    def _missing(self, asked: RowClaim) -> JudgedReply:
        """Return what a request without a line means: the item's fault in a batch that succeeded, else not."""
        batch = self.batch
        if self._is_live:
            reason = self.silent.get(asked.item_id) or self.default
            return JudgedReply(
                asked,
                Outcome.MISSING,
                reason,
                charged=False,
                forgiven=not reason.startswith(answers.LOST),
            )
        forgiven = batch.cancel_asked_at is not None
        if remote_state(batch.remote_word) is RemoteState.SUCCEEDED and not forgiven:
            return JudgedReply(asked, Outcome.MISSING, NO_LINE)
        return JudgedReply(
            asked, Outcome.MISSING, f"{NO_LINE}: {batch.reason}", charged=False, forgiven=forgiven
        )

    def _finish(self, results: ResultFile) -> None:
        number = self.batch.number
        with self.ws.store.read() as tx:
            used, (not_applied, *_) = (
                answers.usage(tx, number),
                answers.unusual(tx, number, model=self.batch.model),
            )
        with self.ws.store.write(patience_s=self.patience_s) as tx:
            counts = answers.count_outcomes(tx, number).get(number, {})
            outcomes = {one.value: counts.get(one, 0) for one in Outcome}
            if (told := sum(outcomes.values())) != self.batch.requests or counts.get("claimed"):
                said = (
                    f"batch {number} asked {self.batch.requests} times and {told} are accounted for"
                )
                raise InconsistentError(
                    f"{said}; it stays downloaded", hint=f"run `{CommandHint('doctor')}`"
                )
            account: dict[str, Any] = outcomes | used | {"not_applied": len(not_applied)}
            account |= {"unknown": results.unknown, "duplicates": results.duplicates}
            account |= {"unreadable": results.unreadable_count}
            account["calls"] = max(self.batch.calls, told - outcomes["missing"]) * self._is_live
            batches.mark_ingested(tx, self.batch, at=self.ws.now(), **account)


def batch_account(
    tx: Connection,
    task: Task,
    number: int,
    *,
    examples: Mapping[str, Sequence[tuple[int, str]]] | None = None,
) -> IngestSummary:
    """Return what went wrong in a batch, by reason, with `examples` of lines that belong to no request, by kind."""
    batch = batches.get_batch(tx, number)
    counts: Counter[tuple[str, str]] = Counter()  # by outcome and reason
    shown: dict[
        tuple[str, str], list[tuple[str, str]]
    ] = {}  # (item id, what was said) of the first of each kind
    errors: dict[int | None, str] = {}  # the first words of each code
    for outcome, reason, code, item_id, excerpt in answers.failed_attempts(tx, number):
        errors.setdefault(code, excerpt or "")
        word, _, detail = reason.partition(": ")
        kind = (outcome, word if code is None else f"{word}, code {code}")
        counts[kind] += 1
        if counts[kind] <= EXAMPLES:
            shown.setdefault(kind, []).append(
                (item_id, " | ".join(filter(None, (detail, excerpt))))
            )
    unapplied, outdated, other = answers.unusual(tx, number, model=batch.model)
    names = task.table(tx).names(
        tx, [*(item_id for some in shown.values() for item_id, _ in some), *unapplied, *outdated]
    )
    anomalies = [
        Anomaly(
            kind,
            why,
            count,
            tuple((f"line {line}", said) for line, said in (examples or {}).get(kind, ())),
        )
        for kind, name, why in ODD
        if (count := getattr(batch, name))
    ]
    for kind, count in sorted(counts.items()):
        told = tuple((names.get(item_id, item_id), said) for item_id, said in shown[kind])
        anomalies.append(Anomaly(*kind, count, told))
    unapplied, outdated = ([names.get(one, one) for one in some] for some in (unapplied, outdated))
    copied = claims.count_copied(tx, batch.task, batch.extractor, number)
    left_out = sum(int(event["new"]) for event in workspace.events_of(tx, LEFT_OUT, number))
    return IngestSummary(
        batch, anomalies, unapplied, outdated, other, copied, left_out, _common_error(batch, errors)
    )


def _common_error(batch: BatchRow, errors: Mapping[int | None, str]) -> ParsedReply | None:
    """Return the error of every request of a batch, if there is one; of a single request only one of the account."""
    if batch.way is not Mode.BATCH or batch.refused != batch.requests or len(errors) != 1:
        return None

    [(code, excerpt)] = errors.items()
    error = ParsedReply(Outcome.REFUSED, "error-line", code=code, shown=excerpt)
    if code is None or (batch.requests == 1 and not error.is_account_failure):
        return None
    return error
