"""Give up one batch: ask the API to cancel it, or let its items go where nothing was created.

What the API makes of a cancel shows when `batch-poll` looks: a batch may still succeed, and is then downloaded. This
waits for no other process: a poll that fetches the result, or a submit that uploads the file, finds out by the batch's
state. It waits only until the list of batches must show what an unclear create made.
"""

import contextlib
from dataclasses import replace
from functools import partial

from pipeline.batch.batch_files import lock_of, read_again, sealed_request, sealed_result
from pipeline.batch.send import (
    BEFORE_SENT,
    BY_HAND,
    drop_upload,
    give_up_batch,
    reconcile,
    wait_for_look,
)
from pipeline.core import files
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
        RemoteError: the API cannot be reached, or another process creates it; everything is as it was.
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
    if batch.state is BatchState.DOWNLOADED and not files.is_sealed(
        sealed_result(ws.data, batch), batch.result_sha256
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
    while True:
        with ws.locks.hold(lock_of(number)) as lock:
            if lock is None:
                said = f"batch {number} is being created, {ws.locks.holder(lock_of(number))}; nothing was changed"
                raise RemoteError(said, hint="try again in a moment")
            with ws.store.read() as tx:
                batch = batches.get_batch(tx, number)
            if batch.state is not BatchState.SUBMITTING:
                return batch
            look = reconcile(ws, batch)
            if look.adopted or look.absent:
                with ws.store.write() as tx:
                    if look.absent:
                        batches.mark_absent(tx, batch, at=ws.now())
                    return batches.get_batch(tx, number)

        wait_for_look(ws, number, look)


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
        has_request = files.is_sealed(sealed_request(ws.data, batch), batch.request_sha256)
        has_result = batch.result_file is None or files.is_sealed(
            sealed_result(ws.data, batch), batch.result_sha256
        )
        if not (has_request and has_result):  # no check is to miss them later
            erasure.note_cleaned(tx, batch.number, why="lost or damaged", at=ws.now())
    if batch.state is BatchState.PREPARED:
        drop_upload(ws.client, batch.upload)
    return f"given up; {free} items can be asked again", ws.task.words.again
