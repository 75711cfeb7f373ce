"""Give up one batch: ask the API to cancel it, or let its items go where nothing was created.

What the API makes of a cancel shows when `batch-poll` looks: a batch may still succeed, and is then collected. This
waits for nobody: a poll that fetches the result, or a submit that uploads the file, finds out by the batch's state.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from pipeline.batch import create, reconcile
from pipeline.core.errors import InputError, MissingError, RemoteError, StateConflictError
from pipeline.core.states import BatchState
from pipeline.engine.workspace import OpenWorkspace
from pipeline.store import batches, claims
from pipeline.store.batches import Batch

TRIES = 3  # how often the batch is read again because somebody else moved it meanwhile


@dataclass(frozen=True)
class CancelReport:
    """What happened to the batch, and what to type next."""

    number: int
    said: str
    next: str


def run(ws: OpenWorkspace, *, number: int, confirm: Callable[[str], bool]) -> CancelReport:
    """Cancel one batch; `confirm` is asked before a batch is given up that the API does not show any more.

    Raises:
        InputError: there is no such batch, it is over, or giving it up was not confirmed.
        RemoteError: the API cannot be reached, or its create is still unclear; everything is as it was.
    """
    for left in reversed(range(TRIES)):
        try:
            return _run_once(ws, number, confirm=confirm)
        except StateConflictError:
            if not left:
                raise
    raise AssertionError("the last try returns or raises")


def _run_once(ws: OpenWorkspace, number: int, *, confirm: Callable[[str], bool]) -> CancelReport:
    """Do what the batch's state asks for."""
    with ws.store.read() as tx:
        batch = batches.get_batch(tx, number)
    ws = ws if batch.task == ws.task.name else replace(ws, task=ws.task_of(batch.task))
    if batch.state is BatchState.SUBMITTING:
        batch = _cleared_up(ws, number)
    if batch.state is BatchState.PREPARED:
        return _give_up(ws, batch, why="cancelled before it was sent")
    if batch.state is BatchState.SUBMITTED:
        return _cancel(ws, batch, confirm=confirm)
    raise InputError(f"batch {number} is {batch.state}, there is nothing to cancel", hint="`make batches` lists them")


def _cleared_up(ws: OpenWorkspace, number: int) -> Batch:
    """Find out what became of a create that is unclear: the batch comes back adopted, or as never created.

    Raises:
        RemoteError: that cannot be said yet, or another process is at it.
    """
    with ws.lease(f"batch:{number}") as lease:
        if lease is None:
            raise RemoteError(
                f"another process is creating batch {number} just now; nothing was changed",
                hint="try again in a moment",
            )
        with ws.store.read() as tx:
            batch = batches.get_batch(tx, number)
        if batch.state is not BatchState.SUBMITTING:
            return batch
        look = reconcile.reconcile(ws, batch, lease)
        if not look.adopted and not look.absent:
            raise RemoteError(
                f"batch {number} may or may not have been created; nothing was changed",
                hint=f"try again in {look.wait_s:.0f} s",
            )
        with ws.store.write() as tx:
            lease.check(tx)
            if look.absent:
                batches.mark_absent(tx, batch, at=ws.now())
            return batches.get_batch(tx, number)


def _cancel(ws: OpenWorkspace, batch: Batch, *, confirm: Callable[[str], bool]) -> CancelReport:
    """Ask the API to cancel; one that is not there is given up after asking."""
    try:
        remote = ws.client.get_batch(batch.remote_name or "")
        _note_and_ask(ws, batch, is_over=remote.state.is_over)
    except MissingError as error:
        question = (
            f"batch {batch.number} is not to be seen at the API ({error.message}). "
            "Give it up, and let its items be asked again?"
        )
        if not confirm(question):
            raise InputError("not confirmed; nothing was changed", hint="YES=1 answers yes") from error
        return _give_up(ws, batch, why=f"given up: {error.message}")
    said = f"it is over already ({remote.state})" if remote.state.is_over else "asked the API to cancel it"
    return CancelReport(batch.number, said, ws.task.words.make("batch-poll"))


def _note_and_ask(ws: OpenWorkspace, batch: Batch, *, is_over: bool) -> None:
    """Keep that a person cancels this batch, then ask the API to.

    In this order: a poll that sees it cancelled a moment later must know whose doing that was, for the items of a batch
    cancelled by hand are charged with nothing. One that is over is noted too: where its result cannot be had, poll may
    give it up now.
    """
    with ws.store.write() as tx:
        batches.note_cancel(tx, batch, why="cancelled by hand", at=ws.now())
    if is_over:
        return
    try:
        ws.client.cancel_batch(batch.remote_name or "")
    except RemoteError as error:
        with ws.store.write() as tx:
            batches.unnote_cancel(tx, batch, why=f"not cancelled: {error.message}", at=ws.now())
        raise


def _give_up(ws: OpenWorkspace, batch: Batch, *, why: str) -> CancelReport:
    """End a batch and let its items go, uncharged."""
    with ws.store.write() as tx:
        batches.mark_failed(tx, batch, why=why, at=ws.now())
        ids = claims.release_claims(tx, batch.number, reason=why)
    if batch.state is BatchState.PREPARED:
        create.drop_upload(ws.client, batch)
    return CancelReport(batch.number, f"given up; {len(ids)} items can be asked again", ws.task.words.again)
