"""Give up one batch: ask the API to cancel it, or let its items go where nothing was created.

What the API makes of a cancel shows when `batch-poll` looks: a batch may still succeed, and is then collected. This
waits for nobody: a poll that fetches the result, or a submit that uploads the file, finds out by the batch's state.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from pipeline import creating
from pipeline.errors import InputError, MissingError, RemoteError, StateConflictError
from pipeline.runtime import Runtime
from pipeline.states import BatchState
from pipeline.store import batches, claims
from pipeline.store.batches import Batch

TRIES = 3  # how often the batch is read again because somebody else moved it meanwhile


@dataclass(frozen=True)
class Report:
    """What happened to the batch, and what to type next."""

    number: int
    said: str
    next: str


def run(rt: Runtime, *, number: int, confirm: Callable[[str], bool]) -> Report:
    """Cancel one batch; `confirm` is asked before a batch is given up that the API does not show any more.

    Raises:
        InputError: there is no such batch, it is over, or giving it up was not confirmed.
        RemoteError: the API cannot be reached, or its create is still unclear; everything is as it was.
    """
    for left in reversed(range(TRIES)):
        try:
            return _run_once(rt, number, confirm=confirm)
        except StateConflictError:
            if not left:
                raise
    raise AssertionError("the last try returns or raises")


def _run_once(rt: Runtime, number: int, *, confirm: Callable[[str], bool]) -> Report:
    """Do what the batch's state asks for."""
    with rt.store.read() as tx:
        batch = batches.get(tx, number)
    rt = rt if batch.task == rt.task.name else replace(rt, task=rt.task_of(batch.task))
    if batch.state is BatchState.SUBMITTING:
        batch = _cleared_up(rt, number)
    if batch.state is BatchState.PREPARED:
        return _give_up(rt, batch, why="cancelled before it was sent")
    if batch.state is BatchState.SUBMITTED:
        return _cancel(rt, batch, confirm=confirm)
    raise InputError(f"batch {number} is {batch.state}, there is nothing to cancel", hint="`make batches` lists them")


def _cleared_up(rt: Runtime, number: int) -> Batch:
    """Find out what became of a create that is unclear: the batch comes back adopted, or as never created.

    Raises:
        RemoteError: that cannot be said yet, or another process is at it.
    """
    with rt.lease(f"batch:{number}") as lease:
        if lease is None:
            raise RemoteError(
                f"another process is creating batch {number} just now; nothing was changed",
                hint="try again in a moment",
            )
        with rt.store.read() as tx:
            batch = batches.get(tx, number)
        if batch.state is not BatchState.SUBMITTING:
            return batch
        look = creating.look_for(rt, batch, lease)
        if not look.adopted and not look.absent:
            raise RemoteError(
                f"batch {number} may or may not have been created; nothing was changed",
                hint=f"try again in {look.wait_s:.0f} s",
            )
        with rt.store.write() as tx:
            lease.check(tx)
            if look.absent:
                batches.mark_absent(tx, batch, at=rt.now())
            return batches.get(tx, number)


def _cancel(rt: Runtime, batch: Batch, *, confirm: Callable[[str], bool]) -> Report:
    """Ask the API to cancel; one that is not there is given up after asking."""
    try:
        remote = rt.client.get_batch(batch.remote_name or "")
        _note_and_ask(rt, batch, is_over=remote.state.is_over)
    except MissingError as error:
        question = (
            f"batch {batch.number} is not to be seen at the API ({error.message}). "
            "Give it up, and let its items be asked again?"
        )
        if not confirm(question):
            raise InputError("not confirmed; nothing was changed", hint="YES=1 answers yes") from error
        return _give_up(rt, batch, why=f"given up: {error.message}")
    said = f"it is over already ({remote.state})" if remote.state.is_over else "asked the API to cancel it"
    return Report(batch.number, said, rt.task.words.make("batch-poll"))


def _note_and_ask(rt: Runtime, batch: Batch, *, is_over: bool) -> None:
    """Keep that a person cancels this batch, then ask the API to.

    In this order: a poll that sees it cancelled a moment later must know whose doing that was, for the items of a batch
    cancelled by hand are charged with nothing. One that is over is noted too: where its result cannot be had, poll may
    give it up now.
    """
    with rt.store.write() as tx:
        batches.note_cancel(tx, batch, why="cancelled by hand", at=rt.now())
    if is_over:
        return
    try:
        rt.client.cancel_batch(batch.remote_name or "")
    except RemoteError as error:
        with rt.store.write() as tx:
            batches.unnote_cancel(tx, batch, why=f"not cancelled: {error.message}", at=rt.now())
        raise


def _give_up(rt: Runtime, batch: Batch, *, why: str) -> Report:
    """End a batch and let its items go, uncharged."""
    with rt.store.write() as tx:
        batches.mark_failed(tx, batch, why=why, at=rt.now())
        ids = claims.release(tx, batch.number, reason=why)
    if batch.state is BatchState.PREPARED:
        creating.drop_upload(rt.client, batch)
    return Report(batch.number, f"given up; {len(ids)} items can be asked again", rt.task.words.again)
