"""Write request files: choose which items go into which batch, write in one pass, seal, then claim.

The file is sealed before its items are claimed, so no claim exists without its file; selecting, sealing, claiming and
sweeping away files without a batch happen under one lock. Each is written under a name of its own and gets its number
and its final name inside the claim's transaction: a process that lost the lock can never write into another one's file.
What our own calls ask goes out in small files, each written in that transaction. Nothing here talks to the API.
"""

import contextlib
import secrets
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

from pipeline.batch import budget
from pipeline.batch.batch_files import FOLDER, lock_of, read_again, request_path, result_path
from pipeline.batch.budget import Calibration
from pipeline.core import files
from pipeline.core.errors import InconsistentError, StateConflictError
from pipeline.core.progress import ProgressBar
from pipeline.core.states import Mode
from pipeline.core.text import plural
from pipeline.engine.record import (
    EarlierRequests,
    JudgedReply,
    PlannedRequest,
    Provenance,
    RequestBuilder,
    look_up,
    write_given,
)
from pipeline.engine.task import Rows, TaskLabels
from pipeline.engine.workspace import WorkspaceSession
from pipeline.gemini.models import MAX_FILE_BYTES, NO_USAGE, Usage, usage_cost
from pipeline.store import batches, claims
from pipeline.store.claims import RowClaim
from pipeline.store.database import Connection, pages
from pipeline.store.locks import Lock

SHARE = 0.8  # ours: of the tokens that may wait at once in one batch; one over the limit would be refused for ever
LOCK = "prepare"
ROUNDING = 1e-9  # of sums that are made in another order
TRIES = 5  # how often a file is written anew because an item changed hands meanwhile
FEW = 256  # ours: lines of a file of our own calls, so that answers are stored every few seconds
FEW_IMAGES = 24


class StopReason(StrEnum):
    """Why no line more goes into a file, or no further file is written."""

    FULL = "the file is full"
    BUDGET = "a budget has no room"
    QUOTA = "no more tokens may wait at the API"
    DONE = "no item is left"


TOGETHER = 500  # lines that are looked up at once
TOGETHER_BYTES = 4_000_000  # and about how much they may hold together


@dataclass
class _Draft:
    """A request file as it fills up, with at most `most` rows; of those that ask the same, unless it `asks_each`, one.

    A file holds so many rows, bytes and estimated prompt tokens at the most; one line alone may have more. All that is
    written now may come to `room` in USD and `quota` tokens that wait at the API; None is no limit. Rows that ask what
    is asked already, in a batch or a live call under way, stay open; `given` is what rows are told that ask what was
    answered.
    """

    ws: WorkspaceSession
    way: Mode
    calibration: Calibration
    most: int | None
    asks_each: bool = False
    quota: int | None = None
    room: float | None = None
    lines: list[PlannedRequest] = field(
        default_factory=list
    )  # of our own calls, sealed where they are claimed
    file: files.SealedFile | None = None  # of a batch
    asks: list[RowClaim] = field(default_factory=list)
    hashes: set[int] = field(default_factory=set)  # of the input hashes: a tenth of the room
    given: list[JudgedReply] = field(default_factory=list)
    looked_at: int = 0
    last: str = ""  # row that was looked at
    rows: int = 0  # of the file
    size: int = 0  # its bytes
    counted: Usage = NO_USAGE
    likely: Usage = NO_USAGE  # what was counted, as past answers calibrate it

    def __post_init__(self) -> None:
        settings = self.ws.settings
        tokens = self.ws.settings.batch_tokens
        if self.way is Mode.BATCH:
            if (waiting := self.ws.model.enqueued(settings.tier)) is not None:
                tokens = max(1, min(tokens, int(waiting * SHARE)))
            self._full = (settings.batch_rows, min(settings.batch_bytes, MAX_FILE_BYTES), tokens)
        else:
            few = FEW_IMAGES if self.ws.task.sends_images else FEW
            self._full = (min(few, settings.batch_rows), MAX_FILE_BYTES, tokens)

    def take(
        self, tx: "Connection", lines: Sequence[PlannedRequest]
    ) -> tuple[list[PlannedRequest], StopReason | None]:
        """Take rows in; return the lines of those that ask something new, and why the file ends before the rest."""
        known = (
            EarlierRequests()
            if self.asks_each
            else look_up(tx, self.ws.task, self.ws.extractor, lines)
        )
        new: list[PlannedRequest] = []
        for line in lines:
            item = line.item
            if item.id in known.given:
                self.given.append(known.given[item.id])
            elif item.id not in known.waiting and (
                self.asks_each or hash(item.input_hash) not in self.hashes
            ):
                if self.most is not None and len(self.asks) >= self.most:
                    return new, StopReason.DONE
                if (full := self._add(line)) is not None:
                    return new, full
                new.append(line)
                self.hashes.add(hash(item.input_hash))
                self.asks.append(RowClaim(item.id, item.input_hash, len(self.asks) + 1))
            self.looked_at += 1
            self.last = item.id
        return new, None

    def _add(self, line: PlannedRequest) -> StopReason | None:
        rows = self.rows + 1
        size = self.size + line.size + 1
        counted = self.counted + line.usage
        likely = self.calibration.applied(counted, count=rows)
        if rows > 1 and any(
            one > most for one, most in zip((rows, size, likely.prompt), self._full, strict=True)
        ):
            return StopReason.FULL
        stop = self.stop_for(likely)
        if stop is None:
            self.rows = rows
            self.size = size
            self.counted = counted
            self.likely = likely
        return stop

    def stop_for(self, likely: Usage, *, slack: float = 0.0) -> StopReason | None:
        """Return why no file may be made that will use so much; the budget may be passed by this share of it."""
        if self.room is not None and self.price(likely) * (
            1 + self.calibration.reserve
        ) > self.room * (1 + slack):
            return StopReason.BUDGET
        return StopReason.QUOTA if self.quota is not None and likely.prompt > self.quota else None

    def price(self, usage: Usage) -> float:
        """Return what so much costs today, in USD."""
        return usage_cost(self.ws.model, usage, self.way.tier, on=self.ws.now().date())


@dataclass(frozen=True)
class BatchPlan:
    """What would be sent about so many items, equal ones asked once: counts, bytes, tokens, cost in USD."""

    items: int = 0
    batches: int = 0
    requests: int = 0
    size: int = 0
    counted_in: int = 0  # prompt tokens before calibration
    usage: Usage = NO_USAGE
    cost: float = 0.0

    def about(self, words: TaskLabels) -> str:
        """Return how many items it is about and, where some ask the same, how many questions they are."""
        items = plural(self.items, words.one, words.many)
        return (
            items
            if self.requests == self.items
            else f"{items}, {plural(self.requests, 'question')}"
        )

    def sentence(self, words: TaskLabels) -> str:
        """Return in words what would be sent, but for its price."""
        tokens = f"about {self.usage.prompt:,} tokens in and {self.usage.answer + self.usage.thoughts:,} out"
        return f"{self.about(words)} in {plural(self.batches, 'batch', 'batches')}: {tokens}"


@dataclass(frozen=True)
class Selection:
    """Which askable items to take: `limit` at most, none `without`, `among` some; a trial takes them as they are."""

    limit: int | None = None
    without: Collection[str] = ()
    among: Sequence[str] | None = None


def plan_batches(ws: WorkspaceSession, wanted: Selection, *, bar: ProgressBar) -> BatchPlan:
    """Return what the next submit would write, whatever budgets and quotas say; nothing is written."""
    made = 0
    size = 0
    usage = NO_USAGE
    with ws.store.read() as tx:
        known = budget.calibration(tx, ws.extractor)
        draft = _Draft(ws, Mode.BATCH, known, wanted.limit)
        for some in _lines(tx, ws, wanted, Mode.BATCH):
            left = some
            stop = None
            while left and stop is not StopReason.DONE:
                before = draft.looked_at
                new, stop = draft.take(tx, left)
                draft.given.clear()
                left = left[draft.looked_at - before :]
                size = size + sum(one.size + 1 for one in new)
                usage = sum((one.usage for one in new), usage)
                if stop is StopReason.FULL:
                    made += 1
                    draft.rows, draft.size, draft.counted, draft.likely = 0, 0, NO_USAGE, NO_USAGE
            bar.show(draft.looked_at)
            if stop is StopReason.DONE:
                break
    likely = known.applied(usage, count=len(draft.asks))
    batched = made + bool(draft.rows)
    cost = draft.price(likely)
    return BatchPlan(draft.looked_at, batched, len(draft.asks), size, usage.prompt, likely, cost)


def _lines(
    tx: "Connection",
    ws: WorkspaceSession,
    wanted: Selection,
    way: Mode,
    *,
    after: str | None = None,
) -> Iterator[list[PlannedRequest]]:
    """Yield the requests of every item that is wanted, in the order of rows, or behind one; some at once, flat."""
    task = ws.task
    builder = RequestBuilder(ws.task, ws.model)
    some = list[PlannedRequest]()
    size = 0
    found: Iterator[Rows] = claims.askable_rows(tx, task, after=after)
    if wanted.among is not None:
        among = wanted.among if way is Mode.TRIAL else claims.askable_among(tx, task, wanted.among)
        found = (task.rows(tx, page) for page in pages(among))
    for rows in found:
        free = (
            {key: row for key, row in rows.items() if key not in wanted.without}
            if wanted.without
            else rows
        )
        for line in builder.lines(tx, free):
            some.append(line)
            size += line.size
            if len(some) == TOGETHER or size >= TOGETHER_BYTES:
                yield some
                some = []
                size = 0
    if some:
        yield some


def prepare_batches(
    ws: WorkspaceSession, wanted: Selection, *, bar: ProgressBar
) -> tuple[list[int], StopReason, int]:
    """Write and seal request files for the items that are wanted, within what budgets leave, and claim them.

    Return the batches' numbers, why there are no more, and how many items were given another's answer.
    """
    preparation = Preparation(ws, wanted, bar)
    numbers = list[int]()

    def once() -> StopReason:
        with ws.lock(LOCK):
            _sweep_request_files(ws)
        while isinstance(one := preparation.next(), Prepared):
            numbers.append(one.number)
        return one

    stop = read_again(once, times=TRIES)
    return numbers, stop, preparation.given


def _sweep_request_files(ws: WorkspaceSession) -> None:
    """Remove request files that no batch knows, left by a process that died before its claim.

    In a transaction that writes, so that no file is claimed between the look and its removal.
    """
    folder = ws.data / FOLDER
    with ws.store.write() as tx:
        everyone = batches.batches_in_states(tx)
        known = {request_path(ws.data, batch.number) for batch in everyone}
        results = {result_path(ws.data, batch.number) for batch in everyone}
        if unknown := sorted(set(folder.glob("[0-9]*-results.jsonl")) - results):
            raise InconsistentError(
                f"{unknown[0]} is of a batch that the database does not know: it is an older copy than the folder",
                hint="put the newer database back, or restore a newer backup",
            )
        for path in set(folder.glob("*-requests.jsonl*")) - known:
            path.unlink(missing_ok=True)


class Prepared(NamedTuple):
    """A batch that was prepared, its last row, and of our own calls its lines, to be asked under its lock."""

    number: int
    items: int
    last: str
    lines: Sequence[PlannedRequest] = ()
    lock: Lock | None = None


@dataclass
class Preparation:
    """Prepares batch after batch of what is wanted; `next` gives one, or why there is no further one.

    `run` is the first batch of a run of our own calls, and None before there is one, or where the one is alone.
    """

    ws: WorkspaceSession
    wanted: Selection
    bar: ProgressBar
    way: Mode = Mode.BATCH
    run: int | None = None
    is_alone: bool = False  # it belongs to no run, and waits for no other's preparing
    given: int = 0  # rows that were answered by what was asked before
    _taken: int = 0
    _last: str | None = None
    _lock: Lock | None = None  # of the batch that was claimed last

    def next(self) -> Prepared | StopReason:
        """Prepare the next batch, or return why there is none.

        Each begins behind the last item of the one before, so that claimed rows are not passed over again and again;
        where no item is left there, a look at all of them tells whether that was right.
        """
        with contextlib.nullcontext() if self.is_alone else self.ws.lock(LOCK):
            one = self._prepare(after=self._last)
            if one is StopReason.DONE and self._last is not None:
                one = self._prepare(after=None)
        if isinstance(one, Prepared):
            self._taken = self._taken + one.items
            self._last = one.last
            if self.way is Mode.TRIAL and self.wanted.among is not None:  # nothing claims these
                left = self.wanted.among[self.wanted.among.index(one.last) + 1 :]
                self.wanted = replace(self.wanted, among=left)
        return one

    def _prepare(self, *, after: str | None) -> Prepared | StopReason:
        ws = self.ws
        if self._taken and self.wanted.limit is not None and self._taken >= self.wanted.limit:
            return StopReason.DONE
        for _ in range(TRIES):
            with ws.store.read() as tx:
                draft = self._write(tx, after)
            if isinstance(draft, StopReason):
                return draft
            # an item, or the money, may have changed hands since the file was read: write it anew
            with (
                contextlib.suppress(StateConflictError),
                self._undone(draft),
                ws.store.write() as tx,
            ):
                return self._claim(tx, draft)
        raise InconsistentError(
            f"the items to ask about changed {TRIES} times while their requests were written; nothing was claimed",
            hint=f"let the other command finish, then run `{ws.task.words.step('batch-submit')}` again",
        )

    @contextlib.contextmanager
    def _undone(self, draft: _Draft) -> Iterator[None]:
        self._lock = None
        try:
            yield
        except BaseException:
            if self._lock is not None:
                self._lock.release()
            raise
        finally:
            if draft.file is not None:
                draft.file.path.unlink(missing_ok=True)

    def _write(self, tx: "Connection", after: str | None) -> _Draft | StopReason:
        """Choose rows and write their lines; what rows are given that ask what was answered is written on the way."""
        stop = StopReason.DONE
        is_batch = self.way is Mode.BATCH
        draft = self._draft(tx)
        part = request_path(self.ws.data, 0).with_suffix(f".jsonl.{secrets.token_hex(4)}")
        with files.SealedWriter(part) if is_batch else contextlib.nullcontext() as writer:
            for lines in _lines(tx, self.ws, self.wanted, self.way, after=after):
                new, full = draft.take(tx, lines)
                if writer is None:
                    draft.lines += new
                else:
                    writer.write(b"".join(one.data + b"\n" for one in new))
                if len(draft.given) >= TOGETHER:
                    self._write_given(draft)
                self.bar.show(self._taken + draft.looked_at)
                if full is not None:
                    stop = full
                    break
            self._write_given(draft)
            if draft.asks and writer is not None:
                draft.file = writer.seal()
        return draft if draft.asks else stop

    def _write_given(self, draft: _Draft) -> None:
        ws = self.ws
        if draft.given:
            source = Provenance(None, ws.extractor, ws.model, ws.task.fingerprint)
            with ws.store.write() as tx:
                self.given += write_given(tx, ws.task, draft.given, source=source, at=ws.now())
            draft.given.clear()

    def _claim(self, tx: "Connection", draft: _Draft) -> Prepared:
        """Add the batch and claim its items, all or none; of our own calls its lock is held before it can be seen."""
        number = batches.next_number(tx)
        stop = self._draft(tx).stop_for(draft.likely, slack=ROUNDING)
        if stop is not None:
            raise StateConflictError(
                f"the {stop.name.lower()} of batch", number, expected="free", wanted="used"
            )
        self.ws.bind(tx)
        if self.way is not Mode.BATCH:
            self._lock = self.ws.locks.take(lock_of(number))
            if self._lock is None:
                raise StateConflictError(
                    "the lock of batch", number, expected="free", wanted="held"
                )
        path = request_path(self.ws.data, number)
        file = draft.file or files.seal_bytes(
            path, b"".join(one.data + b"\n" for one in draft.lines)
        )
        try:
            self._add(tx, draft, number, file, str(path.relative_to(self.ws.data)))
        except BaseException:
            if file.path == path:
                path.unlink(missing_ok=True)
            raise
        if file.path != path:
            files.rename(file, path)
        return Prepared(number, len(draft.asks), draft.last, draft.lines, self._lock)

    def _add(
        self, tx: "Connection", draft: _Draft, number: int, file: files.SealedFile, name: str
    ) -> None:
        ws = self.ws
        task = self.ws.task
        now = self.ws.now()
        batches.add_batch(
            tx,
            way=self.way,
            run=self.run
            or (None if self.is_alone or self.way in (Mode.BATCH, Mode.TRIAL) else number),
            at=now,
            number=number,
            task=task.name,
            extractor=ws.extractor,
            model=ws.model.name,
            requests=draft.rows,
            request_file=name,
            request_sha256=file.sha256,
            request_size=file.size,
            counted_in=draft.counted.prompt,
            fingerprint=task.fingerprint,
            estimated_in=draft.likely.prompt,
            estimated_out=draft.likely.answer + draft.likely.thoughts,
            estimated_cost=draft.price(draft.likely),
            priced_on=ws.model.priced_on.isoformat() if ws.model.has_price else "",
        )
        if self.way is not Mode.TRIAL:
            claims.claim(
                tx, task, ws.extractor, draft.asks, batch=number, asks_each=draft.asks_each, at=now
            )

    def _draft(self, tx: "Connection") -> _Draft:
        ws = self.ws
        known = budget.calibration(tx, self.ws.extractor)
        most = None if self.wanted.limit is None else self.wanted.limit - self._taken
        asks_each = self.way is Mode.TRIAL or self.is_alone
        quota = (
            budget.quota_left(tx, ws.model, tier=ws.settings.tier)
            if self.way is Mode.BATCH
            else None
        )
        return _Draft(
            ws,
            self.way,
            known,
            most,
            asks_each,
            quota,
            budget.budgets(ws).room(tx, error=known.reserve),
        )
