"""Write request files: choose which items go into which batch, write in one pass, seal, then claim.

The file is sealed before its items are claimed, so no claim exists without its file; selecting, sealing, claiming and
sweeping away files without a batch happen under one lock. Each is written under a name of its own and gets its final
name inside the claim's transaction: a process that lost the lock can never write into another one's file. Nothing here
talks to the API.
"""

import secrets
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.batch.draft import TOGETHER, Draft, FileLimits, Funds, Packer, StopReason, together
from pipeline.batch.reconcile import read_again
from pipeline.core import files
from pipeline.core.errors import InconsistentError, StateConflictError
from pipeline.cost import budget, estimate
from pipeline.engine import questions
from pipeline.engine.equals import Known, look_up, write_given
from pipeline.engine.questions import PlannedRequest, RequestBuilder
from pipeline.engine.record import Judgement, Source
from pipeline.engine.workspace import OpenWorkspace
from pipeline.gemini.models import MAX_FILE_BYTES
from pipeline.gemini.tokens import NO_USAGE, Usage, usage_cost
from pipeline.store import asks, batches
from pipeline.store.database import Connection, Store, pages

if TYPE_CHECKING:
    from pipeline.core.progress import Bar
    from pipeline.core.settings import Settings
    from pipeline.engine.task import Rows
    from pipeline.gemini.models import Model


FOLDER = "batches"
SHARE = 0.8  # ours: of the tokens that may wait at once in one batch; one over the limit would be refused for ever
LOCK = "prepare"
ROUNDING = 1e-9  # of sums that are made in another order
TRIES = 5  # how often a file is written anew because an item changed hands meanwhile


@dataclass(frozen=True)
class BatchPlan:
    """What would be sent: how many batches, requests and bytes, the estimated tokens, and the estimated cost in USD.

    It is about so many items; of those that ask the same one is asked.
    """

    items: int = 0
    batches: int = 0
    requests: int = 0
    size: int = 0
    counted_in: int = 0  # prompt tokens before calibration
    usage: Usage = NO_USAGE
    cost: float = 0.0


@dataclass(frozen=True)
class Selection:
    """Which of the askable items to take: at most `limit` are asked, and none of those `without`.

    Where `among` is not None, none but those; they are few enough to be named.
    """

    limit: int | None = None
    without: Collection[str] = ()
    among: Sequence[str] | None = None


def request_path(data: Path, number: int) -> Path:
    """Return where the request file of a batch is, in the workspace's directory."""
    return data / FOLDER / f"{number:06d}-requests.jsonl"


def result_path(data: Path, number: int) -> Path:
    """Return where the result file of a batch is, in the workspace's directory."""
    return data / FOLDER / f"{number:06d}-results.jsonl"


def plan_batches(ws: OpenWorkspace, wanted: Selection, *, bar: "Bar") -> BatchPlan:
    """Return what the next submit would write, whatever budgets and quotas say, by the packer that also cuts its files.

    Nothing is written.
    """
    made, size, usage, items = list[int](), 0, NO_USAGE, 0
    with ws.store.read() as tx:
        known = estimate.calibration(tx, ws.extractor)
        draft = Draft(Packer(_limits(ws.settings, ws.model), known), wanted.limit, ws.settings.ask_each)
        for some in together(request_lines(tx, _builder(ws), wanted)):
            left, stop = some, None
            while left and stop is not StopReason.DONE:
                before = draft.looked_at
                new, stop = draft.take(left, known_of(tx, ws, left))
                left = left[draft.looked_at - before :]
                size, usage = size + sum(one.size + 1 for one in new), sum((one.usage for one in new), usage)
                if stop is StopReason.FULL:
                    made.append(draft.packer.rows)
                    draft.packer = draft.packer.next_file()
            items = draft.looked_at
            bar.show(items)
            if stop is StopReason.DONE:
                break
    made += [draft.packer.rows] * bool(draft.packer.rows)
    likely = known.applied(usage, count=sum(made))
    cost = usage_cost(ws.model, likely, batch=True, on=ws.now().date())
    return BatchPlan(items, len(made), sum(made), size, usage.prompt, likely, cost)


def known_of(tx: "Connection", ws: OpenWorkspace, lines: Sequence[PlannedRequest]) -> Known:
    """Return what was asked already of what some requests ask; nothing where each is to be asked."""
    return Known() if ws.settings.ask_each else look_up(tx, ws.task, ws.extractor, lines)


def request_lines(
    tx: "Connection", builder: RequestBuilder, wanted: Selection, *, after: str | None = None
) -> Iterator[PlannedRequest]:
    """Yield the request of every item that is wanted, in the order of rows, or of those behind one, at flat memory.

    Raises:
        InputError: an item's request cannot be sent.
    """
    task = builder.task
    found: Iterator[Rows] = asks.askable_rows(tx, task, after=after)
    if wanted.among is not None:
        found = (task.rows(tx, some) for some in pages(asks.askable_among(tx, task, wanted.among)))
    for rows in found:
        free = {key: row for key, row in rows.items() if key not in wanted.without} if wanted.without else rows
        yield from builder.lines_of(tx, free)


def _builder(ws: OpenWorkspace) -> RequestBuilder:
    return RequestBuilder(ws.task, ws.model)


def _limits(settings: "Settings", model: "Model") -> FileLimits:
    """Return what is set for one file; of the tokens that may wait of the model it takes a share at the most."""
    most, waiting = settings.batch_tokens, model.enqueued(settings.tier)
    tokens = most if waiting is None else max(1, min(most, int(waiting * SHARE)))
    return FileLimits(settings.batch_rows, min(settings.batch_bytes, MAX_FILE_BYTES), tokens)


def prepare_batches(
    ws: OpenWorkspace,
    wanted: Selection,
    *,
    bar: "Bar",
    on_stop: Callable[[StopReason], None] = lambda _why: None,
    on_shared: Callable[[int], None] = lambda _items: None,
) -> list[int]:
    """Write and seal request files for the items that are wanted, claim them, and return the batches' numbers.

    Where a budget is set, the last batch is cut so that all of it fits; `on_stop` is called with why it ended, and
    `on_shared` with how many items ask what others do, and wait for their answers, or were given them.

    Raises:
        InputError: an item's request cannot be sent; what was claimed before it stays prepared.
        InconsistentError: the items keep changing, while it writes.
    """
    preparation = _Preparation(ws, wanted, bar)

    def once() -> None:
        with ws.lock(LOCK):
            sweep_request_files(ws.store, ws.data)
            questions.free_dead_owners(ws.store, now=ws.now())
            on_stop(preparation.run())

    read_again(once, times=TRIES)
    on_shared(preparation.given + len(preparation.passed))
    return [one.number for one in preparation.made]


def sweep_request_files(store: "Store", data: Path) -> list[Path]:
    """Remove request files that no batch knows, left by a process that died before its claim; return them.

    In a transaction that writes, so that no file is claimed between the look and its removal.

    Raises:
        InconsistentError: a result is of a batch that the database does not know; nothing was removed.
    """
    folder = data / FOLDER
    with store.write() as tx:
        everyone = batches.batches_in_states(tx)
        known = {data / batch.request_file for batch in everyone}
        results = {result_path(data, batch.number) for batch in everyone}
        if unknown := sorted(set(folder.glob("[0-9]*-results.jsonl")) - results):
            raise InconsistentError(
                f"{unknown[0]} is of a batch that the database does not know: it is an older copy than the folder",
                hint="put the newer database back, or restore a newer backup",
            )
        stale = [path for path in sorted(folder.glob("*-requests.jsonl*")) if path not in known]
        for path in stale:
            path.unlink(missing_ok=True)
    return stale


class _Made(NamedTuple):
    """A batch that was prepared: its number, how many rows it asks about, and the last that was looked at."""

    number: int
    items: int
    last: str


class _Written(NamedTuple):
    draft: Draft
    file: files.Sealed


@dataclass
class _Preparation:
    ws: OpenWorkspace
    wanted: Selection
    bar: "Bar"
    made: list[_Made] = field(default_factory=list)
    given: int = 0  # rows that were answered by what was asked before
    passed: set[str] = field(default_factory=set)  # those that ask what is asked in a batch or a call under way

    def run(self) -> StopReason:
        """Prepare batch after batch, and return why there is no further one.

        Each begins behind the last item of the one before, so that claimed rows are not passed over again and again;
        where no item is left there, a look at all of them tells whether that was right.
        """
        while True:
            after = self.made[-1].last if self.made else None
            one = self._prepare(after=after)
            if one is StopReason.DONE and after is not None:
                one = self._prepare(after=None)
            if isinstance(one, StopReason):
                return one
            self.made.append(one)

    @property
    def _taken(self) -> int:
        return sum(one.items for one in self.made)

    def _prepare(self, *, after: str | None) -> _Made | StopReason:
        ws = self.ws
        if self.made and self.wanted.limit is not None and self._taken >= self.wanted.limit:
            return StopReason.DONE
        for _ in range(TRIES):
            with ws.store.read() as tx:
                number = batches.next_number(tx)
            path = request_path(ws.data, number)
            written = self._write(path, after=after)
            if isinstance(written, StopReason):
                return written
            draft, file = written
            try:
                with ws.store.write() as tx:
                    self._claim(tx, number, written)
                    files.rename(file, path)
            except StateConflictError:  # an item, or the money, changed hands since the file was read: write it anew
                continue
            finally:
                file.path.unlink(missing_ok=True)
            return _Made(number, len(draft.asks), draft.last)
        raise InconsistentError(
            f"the items to ask about changed {TRIES} times while their requests were written; nothing was claimed",
            hint=f"let the other command finish, then run `{ws.task.words.make('batch-submit')}` again",
        )

    def _write(self, path: Path, *, after: str | None) -> _Written | StopReason:
        ws, wanted, stop = self.ws, self.wanted, StopReason.DONE
        most, given = None if wanted.limit is None else wanted.limit - self._taken, list[Judgement]()
        with files.SealedWriter(path.with_name(f"{path.name}.{secrets.token_hex(4)}")) as writer:
            with ws.store.read() as tx:
                draft = Draft(self._packer(tx), most, ws.settings.ask_each)
                for lines in together(request_lines(tx, _builder(ws), wanted, after=after)):
                    before, known = draft.looked_at, known_of(tx, ws, lines)
                    new, full = draft.take(lines, known)
                    seen = lines[: draft.looked_at - before]
                    given += [known.given[one.item.id] for one in seen if one.item.id in known.given]
                    writer.write_lines([piece for one in new for piece in (one.data, b"\n")], len(new))
                    if len(given) >= TOGETHER:
                        given = self._write_given(given)
                    self.bar.show(self._taken + draft.looked_at)
                    if full is not None:
                        stop = full
                        break
            self._write_given(given)
            self.passed |= draft.passed
            return _Written(draft, writer.seal()) if draft.asks else stop

    def _write_given(self, judged: list[Judgement]) -> list[Judgement]:
        """Write what rows are given, and return what is left of it: nothing."""
        ws = self.ws
        if judged:
            source = Source(None, ws.extractor, ws.model, ws.task.fingerprint)
            with ws.store.write() as tx:
                self.given += write_given(tx, ws.task, judged, source=source, at=ws.now())
        return []

    def _claim(self, tx: "Connection", number: int, written: _Written) -> None:
        """Add the batch and claim its items, all or none, in the caller's transaction."""
        ws, task, model, now, draft = self.ws, self.ws.task, self.ws.model, self.ws.now(), written.draft
        packed = draft.packer
        stop = self._packer(tx).stop_for(packed.likely, slack=ROUNDING)
        if stop is not None:
            raise StateConflictError(f"the {stop.name.lower()} of batch", number, expected="free", wanted="used")
        ws.bind(tx)
        batches.add_batch(
            tx,
            at=now,
            number=number,
            task=task.name,
            extractor=ws.extractor,
            model=model.name,
            requests=packed.rows,
            request_file=str(request_path(ws.data, number).relative_to(ws.data)),
            request_sha256=written.file.sha256,
            request_size=written.file.size,
            counted_in=packed.counted.prompt,
            fingerprint=task.fingerprint,
            estimated_in=packed.likely.prompt,
            estimated_out=packed.likely.answer + packed.likely.thoughts,
            estimated_cost=usage_cost(model, packed.likely, batch=True, on=now.date()),
            priced_on=model.priced_on.isoformat(),
        )
        asks.claim(tx, task, ws.extractor, draft.asks, batch=number, asks_each=draft.asks_each, at=now)

    def _packer(self, tx: "Connection") -> Packer:
        ws, known = self.ws, estimate.calibration(tx, self.ws.extractor)
        room = budget.budgets(ws).room(tx, error=known.error)
        price = partial(usage_cost, ws.model, batch=True, on=ws.now().date())
        funds = None if room is None else Funds(room, known.error, price)
        quota = estimate.quota_left(tx, ws.model, tier=ws.settings.tier)
        return Packer(_limits(ws.settings, ws.model), known, budget=funds, quota=quota)
