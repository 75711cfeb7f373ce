"""Write request files: choose which items go into which batch, write in one pass, seal, then claim.

The file is sealed before its items are claimed, so no claim exists without its file; selecting, sealing, claiming and
sweeping away files without a batch happen under one lock. Each is written under a name of its own and gets its final
name inside the claim's transaction: a process that lost the lock can never write into another one's file. Nothing here
talks to the API.
"""

import secrets
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.batch.draft import TOGETHER, Draft, FileLimits, Funds, Packer, StopReason, looked_up
from pipeline.batch.reconcile import read_again
from pipeline.core import files
from pipeline.core.errors import InconsistentError, StateConflictError
from pipeline.cost import budget, estimate
from pipeline.engine import questions
from pipeline.engine.questions import PlannedRequest, RequestBuilder
from pipeline.engine.record import Source
from pipeline.engine.shared import write_given
from pipeline.engine.workspace import OpenWorkspace
from pipeline.gemini.models import MAX_FILE_BYTES
from pipeline.gemini.tokens import NO_USAGE, Usage, usage_cost
from pipeline.store import batches, claims, versions
from pipeline.store.database import Connection, Store, pages

if TYPE_CHECKING:
    from pipeline.core.progress import Bar
    from pipeline.core.settings import Settings
    from pipeline.gemini.models import Model


FOLDER = "batches"
SHARE = 0.8  # ours: of the tokens that may wait at once in one batch; one over the limit would be refused for ever
LOCK = "prepare"
ROUNDING = 1e-9  # of sums that are made in another order
SEEN = 15  # hex digits by which a plan tells questions apart; it may be one off in a thousand million
TRIES = 5  # how often a file is written anew because an item changed hands meanwhile


@dataclass(frozen=True)
class BatchPlan:
    """What would be sent: how many batches, requests and bytes, the estimated tokens, and the estimated cost in USD.

    It is about so many items; those that ask the same share a request.
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
    """Which of the askable items to take: at most `limit` new ones, and none of those `without`.

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
    made, size, usage, items = [], 0, NO_USAGE, 0
    seen = set[int]()
    with ws.store.read() as tx:
        known = estimate.calibration(tx, ws.extractor)
        packer = Packer(_limits(ws.settings, ws.model), known)
        for lines, asked in looked_up(tx, ws.task, ws.extractor, request_lines(tx, _builder(ws), wanted)):
            for line in lines:
                question = int(line.question[-SEEN:], 16) if line.question else -1
                if line.item.id in asked or question in seen:
                    continue
                seen |= {question} - {-1}
                if packer.add(line) is not None:
                    made.append(packer.rows)
                    packer = packer.next_file()
                    packer.add(line)
                size, usage = size + line.size + 1, usage + line.usage
            items += len(lines)
            bar.show(items)
    made += [packer.rows] * bool(packer.rows)
    likely = known.applied(usage, count=sum(made))
    cost = usage_cost(ws.model, likely, batch=True, on=ws.now().date())
    return BatchPlan(items, len(made), sum(made), size, usage.prompt, likely, cost)


def request_lines(
    tx: "Connection", builder: RequestBuilder, wanted: Selection, *, after: str | None = None
) -> Iterator[PlannedRequest]:
    """Yield the request of every item that is wanted, in the order of rows, or of those behind one, at flat memory.

    Raises:
        InputError: an item's request cannot be sent.
    """
    task, left = builder.task, wanted.limit
    if wanted.among is None:
        most = None if left is None else left + len(wanted.without)
        found = claims.askable_rows(tx, task, limit=most, after=after)
    else:
        found = (task.rows_of(tx, some) for some in pages(claims.askable_among(tx, task, wanted.among)))
    for page in found:
        rows = page
        if wanted.without or left is not None:
            rows = dict(islice(((key, row) for key, row in page.items() if key not in wanted.without), left))
        yield from builder.lines_of(tx, rows)
        left = None if left is None else left - len(rows)


def _builder(ws: OpenWorkspace) -> RequestBuilder:
    return RequestBuilder(ws.task, ws.model, asks_each=ws.settings.ask_each)


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
    `on_shared` with how many items share requests, or their answers, that were there before.

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
    on_shared(preparation.given + sum(one.joined for one in preparation.made))
    return [one.number for one in preparation.made if one.number is not None]


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
    """A batch that was prepared: its number, how many items were taken, and the last of them.

    Those that `joined` share requests that were there before; where all do there is no batch.
    """

    number: int | None
    items: int
    joined: int
    last: str


class _Written(NamedTuple):
    draft: Draft
    file: files.Sealed | None


@dataclass
class _Preparation:
    ws: OpenWorkspace
    wanted: Selection
    bar: "Bar"
    made: list[_Made] = field(default_factory=list)
    given: int = 0  # items that were answered by what was asked before

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
        return self.given + sum(one.items for one in self.made)

    def _prepare(self, *, after: str | None) -> _Made | StopReason:
        ws = self.ws
        if self.wanted.limit is not None and self._taken >= self.wanted.limit:
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
                    if file is not None:
                        files.rename(file, path)
            except StateConflictError:  # an item, or the money, changed hands since the file was read: write it anew
                continue
            finally:
                if file is not None:
                    file.path.unlink(missing_ok=True)
            return _Made(None if file is None else number, draft.items, len(draft.joined), draft.last)
        raise InconsistentError(
            f"the items to ask about changed {TRIES} times while their requests were written; nothing was claimed",
            hint=f"let the other command finish, then run `{ws.task.words.make('batch-submit')}` again",
        )

    def _write(self, path: Path, *, after: str | None) -> _Written | StopReason:
        ws, wanted, stop = self.ws, self.wanted, StopReason.DONE
        left = wanted if wanted.limit is None else replace(wanted, limit=wanted.limit - self._taken)
        with files.SealedWriter(path.with_name(f"{path.name}.{secrets.token_hex(4)}")) as writer:
            with ws.store.read() as tx:
                draft = Draft(self._packer(tx), claims.newest_request(tx))
                wanted_lines = request_lines(tx, _builder(ws), left, after=after)
                for lines, known in looked_up(tx, ws.task, ws.extractor, wanted_lines):
                    new, full = draft.take(lines, known)
                    writer.write_lines([piece for one in new for piece in (one.data, b"\n")], len(new))
                    if len(draft.given) >= TOGETHER:
                        self._write_given(draft)
                    self.bar.show(self._taken + draft.items)
                    if full is not None:
                        stop = full
                        break
            self._write_given(draft)
            if not draft.items:
                return stop
            return _Written(draft, writer.seal() if draft.ids else None)

    def _write_given(self, draft: Draft) -> None:
        ws, judged, draft.given = self.ws, draft.given, []
        if not judged:
            return
        source = Source(None, ws.extractor, ws.model, ws.task.fingerprint)
        with ws.store.write() as tx:
            self._begin_version(tx)
            self.given += write_given(tx, ws.task, judged, source=source, at=ws.now())

    def _begin_version(self, tx: "Connection") -> None:
        """Note once more what is asked under: it may have been rolled back since this command began."""
        task, model = self.ws.task, self.ws.model.name
        versions.begin_version(tx, task.name, task.label, model=model, skips=task.skips, at=self.ws.now())

    def _claim(self, tx: "Connection", number: int, written: _Written) -> None:
        """Add the batch and claim its items, all or none, in the caller's transaction."""
        ws, task, model, now, packed = self.ws, self.ws.task, self.ws.model, self.ws.now(), written.draft.packer
        self._begin_version(tx)
        stop = self._packer(tx).stop_for(packed.likely, slack=ROUNDING)
        if stop is not None:
            raise StateConflictError(f"the {stop.name.lower()} of batch", number, expected="free", wanted="used")
        if written.file is not None:
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
        written.draft.claim(tx, task, batch=number, at=now)

    def _packer(self, tx: "Connection") -> Packer:
        ws, known = self.ws, estimate.calibration(tx, self.ws.extractor)
        room = budget.budgets(ws).room(tx, error=known.error)
        price = partial(usage_cost, ws.model, batch=True, on=ws.now().date())
        funds = None if room is None else Funds(room, known.error, price)
        quota = estimate.quota_left(tx, ws.model, tier=ws.settings.tier)
        return Packer(_limits(ws.settings, ws.model), known, budget=funds, quota=quota)
