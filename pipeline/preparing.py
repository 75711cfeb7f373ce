"""Request files: which items go into which batch, written in one pass, sealed, then claimed.

The file is sealed before its items are claimed, so no claim exists without its file; selecting, sealing, claiming and
sweeping away files without a batch happen under one lease. Each is written under a name of its own and gets its final
name inside the claim's transaction: a process that stood still past its lease can never write into another one's file.
Nothing here talks to the API.
"""

import secrets
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline import estimating, files, garbage, spending, window
from pipeline.errors import InconsistentError, InputError, StateConflictError
from pipeline.gemini import requests
from pipeline.gemini.costs import Usage
from pipeline.gemini.limits import MAX_FILE_BYTES, Shard
from pipeline.runtime import Runtime
from pipeline.store import answers, batches, calls, claims, versions
from pipeline.store.leases import LeaseLostError

if TYPE_CHECKING:
    from pipeline.display import Bar
    from pipeline.store.database import Connection
    from pipeline.store.leases import Lease
    from pipeline.task import Item, Prompt

FOLDER = "batches"
NOTHING = Usage()
SHARE = 0.8  # ours: of the tokens that may wait at once in one batch; one over the limit would be refused for ever
PAGE = 500  # ids, where they are named
LEASE = "prepare"
ROOM = 4  # how much larger the token limit is after an answer was cut by it
ROUNDING = 1e-9  # of sums that are made in another order
TRIES = 5  # how often a file is written anew because an item changed hands meanwhile
WAITING = "another process is preparing batches; waiting for it"


class Stop(StrEnum):
    """Why no further batch was prepared."""

    NOBODY = "nobody is left"  # of those who are wanted
    MONEY = "a budget has no room"
    WINDOW = "no more tokens may wait at the API"


class Line(NamedTuple):
    """One request on its way into a file: its item, the bytes of its line, and what it will probably use."""

    item: "Item"
    data: bytes
    usage: Usage


@dataclass(frozen=True)
class Plan:
    """What would be sent: how many batches, requests and bytes, the estimated tokens, and the estimated cost in USD."""

    batches: int = 0
    requests: int = 0
    size: int = 0
    counted_in: int = 0  # prompt tokens before calibration
    usage: Usage = NOTHING
    cost: float = 0.0


@dataclass(frozen=True)
class Wanted:
    """Which of the askable items to take: at most `limit` new ones, and none of those `without`.

    Where `among` is not None, none but those; they are few enough to be named.
    """

    limit: int | None = None
    without: Collection[str] = ()
    among: Sequence[str] | None = None

    def left(self, made: "Sequence[_Made]") -> "Wanted":
        """Return what is wanted still when these batches are made."""
        before = sum(one.requests for one in made)
        return self if self.limit is None else replace(self, limit=max(0, self.limit - before))


def request_path(rt: Runtime, number: int) -> Path:
    """Return where the request file of a batch is."""
    return rt.data / FOLDER / f"{number:06d}-requests.jsonl"


def result_path(rt: Runtime, number: int) -> Path:
    """Return where the result file of a batch is."""
    return rt.data / FOLDER / f"{number:06d}-results.jsonl"


def plan(rt: Runtime, wanted: Wanted, *, bar: "Bar") -> Plan:
    """Return what the next submit would write, by the estimator that also writes it. Nothing is written."""
    shard, inside, number, rows, size, usage = _shard(rt), Usage(), 0, 0, 0, Usage()
    with rt.store.read() as tx:
        known = estimating.calibration(rt, tx)
        for line in lines(rt, tx, wanted):
            tokens = known.applied(inside + line.usage, count=shard.rows + 1).prompt - shard.tokens
            if not shard.has_room(size=len(line.data) + 1, tokens=tokens):
                shard, inside = _shard(rt), Usage()
                tokens = known.applied(line.usage, count=1).prompt
            number += shard.rows == 0
            shard.add(size=len(line.data) + 1, tokens=tokens)
            inside += line.usage
            rows, size, usage = rows + 1, size + len(line.data) + 1, usage + line.usage
            bar.show(rows)
        likely = known.applied(usage, count=rows)
    return Plan(number, rows, size, usage.prompt, likely, estimating.cost(rt, likely, batch=True))


def check_any(rt: Runtime) -> None:
    """Tell an empty workspace from one where nobody is left to ask.

    Raises:
        InputError: there are no items at all.
    """
    with rt.store.read() as tx:
        if not rt.task.total(tx):
            raise InputError("there is nothing to ask about yet", hint=rt.task.how_to_fill)


def prepare(rt: Runtime, wanted: Wanted, *, bar: "Bar", told: Callable[[Stop], None] = lambda _why: None) -> list[int]:
    """Write and seal request files for the items that are wanted, claim them, and return the batches' numbers.

    Where a budget is set, the last batch is cut so that all of it fits; `told` hears why it ended.

    Raises:
        InputError: an item's request cannot be sent; what was claimed before it stays prepared.
        InconsistentError: the items keep changing, or this process keeps standing still, while it writes.
    """
    made: list[_Made] = []
    for tries_left in reversed(range(TRIES)):
        try:
            with rt.waited_lease(LEASE, waiting=WAITING) as lease, garbage.kept_small():
                sweep(rt, lease)
                free_dead(rt)
                while isinstance(one := _prepare_next(rt, lease, made, wanted, bar=bar), _Made):
                    made.append(one)
            told(one)
            break
        except LeaseLostError:  # this process stood still: another one may have prepared meanwhile, so begin again
            if not tries_left:
                raise
    return [one.number for one in made]


def free_dead(rt: Runtime) -> int:
    """Let go the items whose live call died with its process, and say that the call is lost; return how many.

    Else what it may cost would count as under way on every day to come.
    """
    with rt.store.write() as tx:
        calls.lose_dead(tx, now=rt.now())
        return claims.free_dead(tx, now=rt.now())


def begin(rt: Runtime) -> None:
    """Note under which version items are asked from now on; under a new label those parked before get another chance.

    Raises:
        ConfigurationError: that version is being rolled back.
    """
    task = rt.task
    with rt.store.read() as tx:
        if not task.total(tx) or versions.is_begun(tx, task.name, task.label, model=rt.model.name):
            return
    with rt.store.write() as tx:
        if versions.begin(tx, task.name, task.label, model=rt.model.name, skips=task.skips, at=rt.now()):
            answers.unpark(tx, task.name, ids=None)


def sweep(rt: Runtime, lease: "Lease") -> list[Path]:
    """Remove request files that no batch knows, left by a process that died before its claim; return them.

    In one transaction with the look at the lease, so that nobody can claim a file between the look and its removal.
    """
    folder = rt.data / FOLDER
    with rt.store.write() as tx:
        lease.check(tx)
        known = {rt.data / batch.request_file for batch in batches.in_states(tx)}
        stale = [path for path in sorted(folder.glob("*-requests.jsonl*")) if path not in known]
        for path in stale:
            path.unlink(missing_ok=True)
    return stale


class _Made(NamedTuple):
    """A batch that was prepared: its number, how many requests it has, and the item of the last of them."""

    number: int
    requests: int
    last: str


def _prepare_next(rt: Runtime, lease: "Lease", made: Sequence[_Made], wanted: Wanted, *, bar: "Bar") -> _Made | Stop:
    """Prepare one batch beside those `made`, or return why there is none.

    It begins behind the last item of the one before, so that claimed rows are not passed over again and again; where
    nobody is left there, a look at all of them tells whether that was right.
    """
    after = made[-1].last if made else None
    one = _prepare_one(rt, lease, made, wanted, after=after, bar=bar)
    if one is Stop.NOBODY and after is not None:
        one = _prepare_one(rt, lease, made, wanted, after=None, bar=bar)
    return one


def _prepare_one(
    rt: Runtime, lease: "Lease", made: Sequence[_Made], wanted: Wanted, *, after: str | None, bar: "Bar"
) -> _Made | Stop:
    """Write, seal and claim one batch of what stands behind one item, or return why there is none."""
    left = wanted.left(made)
    if left.limit == 0:
        return Stop.NOBODY
    for _ in range(TRIES):
        with rt.store.read() as tx:
            number = batches.next_number(tx)
        try:
            written = _write(rt, number, left, after=after, bar=bar, before=sum(one.requests for one in made))
        except FileNotFoundError:
            lease.check()  # it was swept away by whoever took the lease over
            raise
        if isinstance(written, Stop):
            return written
        try:
            with rt.store.write() as tx:
                lease.check(tx)
                _claim(rt, tx, number, written)
                files.rename(written.draft, request_path(rt, number))
        except StateConflictError:  # an item, or the money, changed hands since the file was read: write it anew
            continue
        finally:
            written.draft.path.unlink(missing_ok=True)
        return _Made(number, len(written.rows), written.rows[-1][0])
    raise InconsistentError(
        f"the items to ask about changed {TRIES} times while their requests were written; nothing was claimed or sent",
        hint=f"let the other command finish, then run `{rt.task.words.make('batch-submit')}` again",
    )


class _Written(NamedTuple):
    """A request file that is sealed as a draft: its (item id, input hash) rows, what was counted, what is likely."""

    draft: files.Sealed
    rows: list[tuple[str, str]]
    counted: Usage
    likely: Usage


def _write(rt: Runtime, number: int, wanted: Wanted, *, after: str | None, bar: "Bar", before: int) -> _Written | Stop:
    """Write one request file and seal it as a draft, or return why nobody stands in it."""
    rows: list[tuple[str, str]] = []
    usage, shard, stop = Usage(), _shard(rt), Stop.NOBODY
    path = request_path(rt, number)
    with files.SealedWriter(path.with_name(f"{path.name}.{secrets.token_hex(4)}")) as writer, rt.store.read() as tx:
        known = estimating.calibration(rt, tx)
        room, free = spending.room(rt, tx, error=known.error), window.room(rt, tx)
        for line in lines(rt, tx, wanted, after=after):
            together = usage + line.usage
            likely = known.applied(together, count=len(rows) + 1)
            tokens = likely.prompt - shard.tokens
            if not shard.has_room(size=len(line.data) + 1, tokens=tokens):
                break
            if room is not None and estimating.cost(rt, likely, batch=True) * (1 + known.error) > room:
                stop = Stop.MONEY
                break
            if free is not None and likely.prompt > free:
                stop = Stop.WINDOW
                break
            shard.add(size=len(line.data) + 1, tokens=tokens)
            writer.write_line(line.data)
            rows.append((line.item.id, line.item.input_hash))
            usage = together
            bar.show(before + len(rows))
        if not rows:
            return stop
        return _Written(writer.seal(), rows, usage, known.applied(usage, count=len(rows)))


def _claim(rt: Runtime, tx: "Connection", number: int, written: _Written) -> None:
    """Add the batch and claim its items, all or none, in the caller's transaction.

    Raises:
        StateConflictError: an item, or the money for all of them, was taken since the file was read.
        ConfigurationError: the version is being rolled back since then.
    """
    task = rt.task
    # once more: it may have been rolled back since this command began
    versions.begin(tx, task.name, task.label, model=rt.model.name, skips=task.skips, at=rt.now())
    cost = estimating.cost(rt, written.likely, batch=True)
    error = estimating.calibration(rt, tx).error
    room = spending.room(rt, tx, error=error)
    if room is not None and cost * (1 + error) > room * (1 + ROUNDING):
        raise StateConflictError("the budget of batch", number, expected="free", wanted="spent", found="used")
    free = window.room(rt, tx)
    if free is not None and written.likely.prompt > free:
        raise StateConflictError("the quota of batch", number, expected="free", wanted="used", found="used")
    rt.bind(tx)
    batches.add(
        tx,
        at=rt.now(),
        number=number,
        task=rt.task.name,
        extractor=rt.extractor,
        model=rt.model.name,
        requests=len(written.rows),
        request_file=str(request_path(rt, number).relative_to(rt.data)),
        request_sha256=written.draft.sha256,
        request_size=written.draft.size,
        counted_in=written.counted.prompt,
        estimated_in=written.likely.prompt,
        estimated_out=written.likely.answer + written.likely.thoughts,
        estimated_cost=cost,
        priced_on=rt.model.priced_as_of(batch=True, on=rt.now().date()).isoformat(),
    )
    claims.take(tx, rt.task, written.rows, batch=number, at=rt.now())


def lines(rt: Runtime, tx: "Connection", wanted: Wanted, *, after: str | None = None) -> Iterator[Line]:
    """Yield the request of every item that is wanted, in the order of rows, or of those behind one, at flat memory.

    Raises:
        InputError: an item's request cannot be sent.
    """
    form = estimating.form(rt)
    left = wanted.limit
    most = None if wanted.limit is None else wanted.limit + len(wanted.without)
    for page in _pages(rt, tx, wanted, most=most, after=after):
        ids = [one for one in page if one not in wanted.without][:left]
        cut = answers.cut_short(tx, rt.task.name, ids)
        for item in rt.task.items(tx, ids):
            yield line_of(rt, tx, item, form=form, cut=cut.get(item.id, 0))
        left = None if left is None else left - len(ids)


def _pages(
    rt: Runtime, tx: "Connection", wanted: Wanted, *, most: int | None, after: str | None
) -> Iterator[list[str]]:
    """Yield pages of the ids that are wanted, and some that are not, in the order of rows or in that of `among`."""
    if wanted.among is None:
        yield from claims.askable_pages(tx, rt.task, limit=most, after=after)
    else:
        found = claims.askable_among(tx, rt.task, wanted.among)
        yield from (found[start : start + PAGE] for start in range(0, len(found), PAGE))


def line_of(rt: Runtime, tx: "Connection", item: "Item", *, form: requests.Form, cut: int) -> Line:
    """Return one item's request; after answers that were cut, with more room for the next.

    Raises:
        InputError: it cannot be sent; the message names the item.
    """
    prompt = item.prompt
    most = rt.model.output_limit or prompt.max_output_tokens * ROOM
    room = min(prompt.max_output_tokens * ROOM**cut, most)
    if room != prompt.max_output_tokens:
        prompt = prompt._replace(max_output_tokens=room)
    try:
        data, usage = _filled(rt, item, prompt, form=form)
    except InputError as error:
        name = rt.task.names(tx, [item.id]).get(item.id, item.id)
        raise InputError(f"{name}: {error.message}; nothing was sent", hint="mend this row, then run again") from error
    return Line(item, data, usage)


def _filled(rt: Runtime, item: "Item", prompt: "Prompt", *, form: requests.Form) -> tuple[bytes, Usage]:
    """Return the line of a request and what it will use."""
    data, usage = form.fill(requests.key_of(rt.task.name, item.id), prompt)
    if len(data) >= MAX_FILE_BYTES:
        raise InputError(f"the request has {len(data)} bytes, and the API takes files of {MAX_FILE_BYTES}")
    return data, usage


def _shard(rt: Runtime) -> Shard:
    """Return an empty file's account, with the limits that are set and a share of what may wait of the model."""
    most, waiting = rt.settings.batch_tokens, rt.model.enqueued(rt.settings.tier)
    return Shard(
        max_rows=rt.settings.batch_rows,
        max_bytes=rt.settings.batch_bytes,
        max_tokens=most if waiting is None else max(1, min(most, int(waiting * SHARE))),
    )
