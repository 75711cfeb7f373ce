"""Give up one batch: ask the API to cancel it, or let its items go where nothing was created.

What the API makes of a cancel shows when `batch-poll` looks: a batch may still succeed, and is then downloaded. This
waits for no other process: a poll that fetches the result, or a submit that uploads the file, finds out by the batch's
state.
"""

import contextlib
from dataclasses import replace
from functools import partial

from pipeline.batch.batch_files import is_whole, lock_of, read_again
from pipeline.batch.send import BEFORE_SENT, BY_HAND, drop_upload, give_up_batch, reconcile
from pipeline.core.command_hint import CommandHint
from pipeline.core.errors import InputError, MissingError, RemoteError
from pipeline.core.states import BatchState
from pipeline.engine.workspace import WorkspaceSession
from pipeline.store import batches, erasure
from pipeline.store.batches import BatchRow

TRIES = 3  # how often the batch is read again because another process moved it meanwhile


def run(ws: WorkspaceSession, *, number: int) -> tuple[str, CommandHint]:
    """Cancel one batch and return what happened, and what to type next; a person is asked before one is given up.

    Raises:
        InputError: there is no such batch, it is over, or giving it up was not confirmed.
        RemoteError: the API cannot be reached, or its create is still unclear; everything is as it was.
    """
    with ws.store.read() as tx:
        task = batches.get_batch(tx, number).task
    about = ws if task == ws.task.name else replace(ws, task=ws.task_of(task))
    return read_again(partial(_once, about, number), times=TRIES)


def _once(ws: WorkspaceSession, number: int) -> tuple[str, CommandHint]:
    with ws.store.read() as tx:
        batch = batches.get_batch(tx, number)
    if batch.state is BatchState.SUBMITTING:
        batch = _cleared_up(ws, number)
    if batch.state is BatchState.PREPARED:
        return _give_up(ws, batch, why=BEFORE_SENT)
    again = "and let its items be asked again?"
    if batch.state is BatchState.DOWNLOADED and not is_whole(
        ws.data, batch.result_file, batch.result_sha256
    ):
        lost = f"the result of batch {number} is lost or was changed, and `{CommandHint('batch-poll')}` may have it"
        ws.agree(f"{lost}. Give the batch up, {again}")
        return _give_up(ws, batch, why="given up: its result was lost")
    if batch.state is not BatchState.SUBMITTED:
        said = f"batch {number} is {batch.state}, there is nothing to cancel"
        raise InputError(said, hint=f"`{CommandHint('batches')}` lists them")
    try:
        return _cancel(ws, batch)
    except MissingError as error:
        ws.agree(
            f"batch {number} is not to be seen at the API ({error.message}). Give it up, {again}"
        )
        with contextlib.suppress(RemoteError):  # should it be there all the same
            ws.client.cancel_batch(batch.remote_name or "")
        return _give_up(ws, batch, why=f"given up: {error.message}")


def _cleared_up(ws: WorkspaceSession, number: int) -> BatchRow:
    """Find out what became of a create that is unclear: the batch comes back adopted, or as never created."""
    with ws.locks.hold(lock_of(number)) as lock:
        if lock is None:
            said = f"batch {number} is being created, {ws.locks.holder(lock_of(number))}; nothing was changed"
            raise RemoteError(said, hint="try again in a moment")
        with ws.store.read() as tx:
            batch = batches.get_batch(tx, number)
        if batch.state is not BatchState.SUBMITTING:
            return batch
        look = reconcile(ws, batch)
        if not look.adopted and not look.absent:
            said = f"batch {number} may or may not have been created; nothing was changed"
            raise RemoteError(said, hint=f"try again in {look.wait_s:.0f} s")
        with ws.store.write() as tx:
            if look.absent:
                batches.mark_absent(tx, batch, at=ws.now())
            return batches.get_batch(tx, number)


def _cancel(ws: WorkspaceSession, batch: BatchRow) -> tuple[str, CommandHint]:
    """Record that a person cancels this batch, then ask the API to.

    In this order: a poll that sees it cancelled a moment later must know that a person did it, for the items of such a
    batch are charged with nothing. One that is over is noted too: where its result cannot be had, poll may give it up
    now.
    """
    name = batch.remote_name or ""
    remote = ws.client.get_batch(name)
    with ws.store.write() as tx:
        batches.note_cancel(tx, batch, why=BY_HAND, at=ws.now())
    try:
        if not remote.state.is_over:
            ws.client.cancel_batch(name)
    except RemoteError as error:
        with ws.store.write() as tx:
            batches.unnote_cancel(tx, batch, why=f"not cancelled: {error.message}", at=ws.now())
        raise
    said = (
        f"it is over already ({remote.state})"
        if remote.state.is_over
        else "asked the API to cancel it"
    )
    return said, ws.task.words.step("batch-poll")


def _give_up(ws: WorkspaceSession, batch: BatchRow, *, why: str) -> tuple[str, CommandHint]:
    with ws.store.write() as tx:
        free = give_up_batch(tx, batch, why=why, at=ws.now())
        pairs = (
            (batch.request_file, batch.request_sha256),
            (batch.result_file, batch.result_sha256),
        )
        if not all(
            is_whole(ws.data, *pair) for pair in pairs if pair[0]
        ):  # no check is to miss them later
            erasure.note_cleaned(tx, batch.number, why="lost or damaged", at=ws.now())
    if batch.state is BatchState.PREPARED:
        drop_upload(ws.client, batch.upload)
    return f"given up; {free} items can be asked again", ws.task.words.again
