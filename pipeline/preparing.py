"""Request files: which items go into which batch, written in one pass, sealed, then claimed.

The file is sealed before its items are claimed, so no claim exists without its file; selecting, sealing, claiming and
sweeping away files without a batch happen under one lease. Each is written under a name of its own and gets its final
name inside the claim's transaction: a process that stood still past its lease can never write into another one's file.
Nothing here talks to the API.
"""

import secrets
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline import files
from pipeline.errors import InconsistentError, InputError, StateConflictError
from pipeline.gemini import costs, requests
from pipeline.gemini.costs import Usage
from pipeline.gemini.limits import MAX_FILE_BYTES, Shard
from pipeline.runtime import Runtime
from pipeline.store import answers, batches, claims
from pipeline.store.leases import LeaseLostError

if TYPE_CHECKING:
    from pipeline.display import Bar
    from pipeline.store.database import Connection
    from pipeline.store.leases import Lease
    from pipeline.task import Item

FOLDER = "batches"
NOTHING = Usage()
LEASE = "prepare"
ROOM = 4  # how much larger the token limit is after an answer was cut by it
TRIES = 5  # how often a file is written anew because an item changed hands meanwhile
WAITING = "another process is preparing batches; waiting for it"


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
    usage: Usage = NOTHING
    cost: float = 0.0


def request_path(rt: Runtime, number: int) -> Path:
    """Return where the request file of a batch is."""
    return rt.data / FOLDER / f"{number:06d}-requests.jsonl"


def result_path(rt: Runtime, number: int) -> Path:
    """Return where the result file of a batch is."""
    return rt.data / FOLDER / f"{number:06d}-results.jsonl"


def plan(rt: Runtime, *, limit: int | None, bar: "Bar") -> Plan:
    """Return what the next submit would write, by the estimator that also writes it. Nothing is written."""
    shard, number, rows, size, usage = _shard(rt), 0, 0, 0, Usage()
    with rt.store.read() as tx:
        for line in _lines(rt, tx, limit=limit, without=()):
            if not shard.has_room(size=len(line.data) + 1, tokens=line.usage.prompt):
                shard = _shard(rt)
            number += shard.rows == 0
            shard.add(size=len(line.data) + 1, tokens=line.usage.prompt)
            rows, size, usage = rows + 1, size + len(line.data) + 1, usage + line.usage
            bar.show(rows)
    return Plan(number, rows, size, usage, cost_of(rt, usage))


def cost_of(rt: Runtime, usage: Usage) -> float:
    """Return what tokens cost in a batch of the model in use, in USD."""
    return costs.cost(rt.model, usage, batch=True, on=rt.now().date())


def prepare(rt: Runtime, *, limit: int | None, without: Collection[str] = (), bar: "Bar") -> list[int]:
    """Write and seal request files for all askable items but `without`, claim them, and return the batches' numbers.

    Raises:
        InputError: an item's request cannot be sent; what was claimed before it stays prepared.
        InconsistentError: the items keep changing, or this process keeps standing still, while it writes.
    """
    made: list[_Made] = []
    for tries_left in reversed(range(TRIES)):
        try:
            with rt.waited_lease(LEASE, waiting=WAITING) as lease:
                sweep(rt, lease)
                free_dead(rt)
                while (one := _prepare_next(rt, lease, made, limit=limit, without=without, bar=bar)) is not None:
                    made.append(one)
            break
        except LeaseLostError:  # this process stood still: another one may have prepared meanwhile, so begin again
            if not tries_left:
                raise
    return [one.number for one in made]


def free_dead(rt: Runtime) -> int:
    """Let go the items whose live call died with its process; return how many."""
    with rt.store.write() as tx:
        return claims.free_dead(tx, now=rt.now())


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


def _prepare_next(
    rt: Runtime,
    lease: "Lease",
    made: Sequence[_Made],
    *,
    limit: int | None,
    without: Collection[str],
    bar: "Bar",
) -> _Made | None:
    """Prepare one batch beside those `made`, or return None where nobody is left.

    It begins behind the last item of the one before, so that claimed rows are not passed over again and again; where
    nobody is left there, a look at all of them tells whether that was right.
    """
    after = made[-1].last if made else None
    one = _prepare_one(rt, lease, made, limit=limit, without=without, after=after, bar=bar)
    if one is None and after is not None:
        one = _prepare_one(rt, lease, made, limit=limit, without=without, after=None, bar=bar)
    return one


def _prepare_one(
    rt: Runtime,
    lease: "Lease",
    made: Sequence[_Made],
    *,
    limit: int | None,
    without: Collection[str],
    after: str | None,
    bar: "Bar",
) -> _Made | None:
    """Write, seal and claim one batch of what stands behind one item; None where there is nobody."""
    before = sum(one.requests for one in made)
    left = None if limit is None else limit - before
    if left is not None and left < 1:
        return None
    for _ in range(TRIES):
        with rt.store.read() as tx:
            number = batches.next_number(tx)
        try:
            written = _write(rt, number, limit=left, without=without, after=after, bar=bar, before=before)
        except FileNotFoundError:
            lease.check()  # it was swept away by whoever took the lease over
            raise
        if written is None:
            return None
        draft, rows, usage = written
        try:
            with rt.store.write() as tx:
                lease.check(tx)
                _claim(rt, tx, number, sealed=draft, rows=rows, usage=usage)
                files.rename(draft, request_path(rt, number))
        except StateConflictError:  # an item changed hands between reading and claiming: write the file anew
            continue
        finally:
            draft.path.unlink(missing_ok=True)
        return _Made(number, len(rows), rows[-1][0])
    raise InconsistentError(
        f"the items to ask about changed {TRIES} times while their requests were written; nothing was claimed or sent",
        hint="let the other command finish, then run `make batch-submit` again",
    )


def _write(
    rt: Runtime,
    number: int,
    *,
    limit: int | None,
    without: Collection[str],
    after: str | None,
    bar: "Bar",
    before: int,
) -> tuple[files.Sealed, list[tuple[str, str]], Usage] | None:
    """Write one request file and seal it as a draft; return it with its (item id, input hash) rows and its usage."""
    rows: list[tuple[str, str]] = []
    usage, shard = Usage(), _shard(rt)
    path = request_path(rt, number)
    with files.SealedWriter(path.with_name(f"{path.name}.{secrets.token_hex(4)}")) as writer, rt.store.read() as tx:
        for line in _lines(rt, tx, limit=limit, without=without, after=after):
            if not shard.has_room(size=len(line.data) + 1, tokens=line.usage.prompt):
                break
            shard.add(size=len(line.data) + 1, tokens=line.usage.prompt)
            writer.write_line(line.data)
            rows.append((line.item.id, line.item.input_hash))
            usage += line.usage
            bar.show(before + len(rows))
        if not rows:
            return None
        return writer.seal(), rows, usage


def _claim(
    rt: Runtime, tx: "Connection", number: int, *, sealed: files.Sealed, rows: list[tuple[str, str]], usage: Usage
) -> None:
    """Add the batch and claim its items, all or none, in the caller's transaction."""
    rt.bind(tx)
    batches.add(
        tx,
        at=rt.now(),
        number=number,
        task=rt.task.name,
        extractor=rt.extractor,
        model=rt.model.name,
        requests=len(rows),
        request_file=str(request_path(rt, number).relative_to(rt.data)),
        request_sha256=sealed.sha256,
        request_size=sealed.size,
        estimated_in=usage.prompt,
        estimated_out=usage.answer + usage.thoughts,
        estimated_cost=cost_of(rt, usage),
        priced_on=rt.model.priced_on.isoformat(),
    )
    claims.take(tx, rt.task, rows, batch=number, at=rt.now())


def _lines(
    rt: Runtime, tx: "Connection", *, limit: int | None, without: Collection[str], after: str | None = None
) -> Iterator[Line]:
    """Yield the line of every askable item in the order of rows, or of those behind one, at flat memory."""
    form = requests.Form(schema=requests.schema_of(rt.task.answer), thinking=rt.model.thinking)
    left = limit
    most = None if limit is None else limit + len(without)
    for page in claims.askable_pages(tx, rt.task, limit=most, after=after):
        ids = [one for one in page if one not in without][:left]
        cut = answers.cut_short(tx, rt.task.name, ids)
        for item in rt.task.items(tx, ids):
            try:
                line = _line(rt, item, form=form, cut=cut.get(item.id, 0))
            except InputError as error:
                name = rt.task.names(tx, [item.id]).get(item.id, item.id)
                said = f"{name}: {error.message}; nothing was sent"
                raise InputError(said, hint="mend this row, then run again") from error
            yield line
        left = None if left is None else left - len(ids)


def _line(rt: Runtime, item: "Item", *, form: requests.Form, cut: int) -> Line:
    """Return one item's request; after answers that were cut, with more room for the next."""
    prompt = item.prompt
    most = rt.model.output_limit or prompt.max_output_tokens * ROOM
    room = min(prompt.max_output_tokens * ROOM**cut, most)
    if room != prompt.max_output_tokens:
        prompt = prompt._replace(max_output_tokens=room)
    data, usage = form.fill(requests.key_of(rt.task.name, item.id), prompt)
    if len(data) >= MAX_FILE_BYTES:
        raise InputError(f"the request has {len(data)} bytes, and the API takes files of {MAX_FILE_BYTES}")
    return Line(item, data, usage)


def _shard(rt: Runtime) -> Shard:
    """Return an empty file's account, with the limits that are set and those of the model."""
    most = rt.settings.batch_tokens
    return Shard(
        max_rows=rt.settings.batch_rows,
        max_bytes=rt.settings.batch_bytes,
        max_tokens=min(most, rt.model.enqueued_tokens or most),
    )
