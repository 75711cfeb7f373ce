"""Bringing a batch home that is over at the API: its result is sealed on disk, or the batch fails and its items go.

submitted -> downloaded | failed. A batch that expired, failed or was cancelled gives up what result it has; one without
any lets its items go uncharged, but what failed so too often in a row is parked (`answers.MAX_SERVICE_FAILURES`).
"""

import contextlib
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.batch import prepare, reconcile
from pipeline.core import files
from pipeline.core.errors import MissingError, RemoteError, StateConflictError, UnavailableError
from pipeline.core.states import BatchState, Outcome, RemoteState
from pipeline.engine.record import Asked, Judgement, source_of, write_judgements
from pipeline.engine.workspace import OpenWorkspace
from pipeline.store import batches, claims
from pipeline.store.batches import Batch
from pipeline.store.leases import LeaseLostError

if TYPE_CHECKING:
    from pipeline.gemini.operations import RemoteBatch
    from pipeline.store.database import Connection
    from pipeline.store.leases import Lease


DOWNLOADS = 3  # a result with fewer lines than the API counted is fetched twice more, then sealed as it is
HEAD = 65_536  # bytes of a result in which a name that its lines have must show up; it begins with one
CHUNK = 500  # items in one statement; databases bound how many values one may hold
CREATED = (BatchState.SUBMITTED, BatchState.DOWNLOADED, BatchState.INGESTED, BatchState.FAILED)


def download_result(ws: OpenWorkspace, number: int, remote: "RemoteBatch") -> None:
    """Seal the result of a batch that is over, or fail it; nothing where another process is at it or was first.

    Raises:
        MissingError: it succeeded and its result is not there; it was left as it is.
        RemoteError: the result cannot be had now; it was left as it is.
    """
    upload = None
    with contextlib.suppress(LeaseLostError, StateConflictError), ws.lease(f"batch:{number}") as lease:
        if lease is not None:  # else another process brings it home; the next look reads its state again
            upload = _bring_home(ws, lease, number, remote)
    if upload:
        _delete_upload(ws, upload)


def _bring_home(ws: OpenWorkspace, lease: "Lease", number: int, remote: "RemoteBatch") -> str | None:
    """Do so under the lease; return the name of the upload that is not needed any more."""
    with ws.store.write() as tx:
        lease.check(tx)  # whoever was overtaken must not sweep away what its successor writes
        batch = batches.get_batch(tx, number)
        files.sweep_parts(prepare.result_path(ws.data, number), alone=True)
    if batch.state is not BatchState.SUBMITTED:
        return None
    with _downloaded(ws, batch, remote, lease) as draft, ws.store.write() as tx:
        lease.check(tx)
        if draft is None:
            _fail(ws, tx, batch, remote)
        else:
            _keep(ws, tx, batch, remote, draft)
    return batch.upload


def is_cancelled_by_hand(ws: OpenWorkspace, batch: Batch) -> bool:
    """Return whether a person asked to cancel this batch, and not its age."""
    if batch.cancel_asked_at is None or batch.submitted_at is None:
        return False
    return batch.cancel_asked_at - batch.submitted_at < timedelta(hours=ws.settings.batch_hours)


def check_duplicates(ws: OpenWorkspace) -> None:
    """Look for twins of every batch with more than one try, or one that left nothing, or a twin not cancelled yet.

    For the last time when the batch is over and no twin of it is left.
    """
    with ws.store.read() as tx:
        left = {twin["batch"] for twin in batches.all_duplicates(tx) if twin["cancelled_at"] is None}
        created = batches.batches_in_states(tx, *CREATED)
    suspects = [one for one in created if one.number in left or (_may_have_twins(one) and not one.twins_checked)]
    if not suspects:
        return
    try:
        listing = ws.client.list_batches()
    except RemoteError as error:
        ws.display.warn(f"could not look for twins: {error.message}")
        return
    for batch in suspects:
        reconcile.cancel_duplicates(ws, batch, listing)
        with ws.store.write() as tx:
            if batch.state is not BatchState.SUBMITTED and not batches.open_duplicates(tx, batch.number):
                batches.note_duplicates_checked(tx, batch)


def _may_have_twins(batch: Batch) -> bool:
    """Return whether more creates of a batch may have been carried out than the one whose name it has."""
    return batch.tries > (1 if batch.remote_name else 0)


def _keep(ws: OpenWorkspace, tx: "Connection", batch: Batch, remote: "RemoteBatch", draft: files.Sealed) -> None:
    """Record a result and give it its name; how the batch ended is kept as its reason where it did not succeed.

    The name is given inside the transaction that was found to hold the lease and that moves the state: nobody who was
    overtaken can put other bytes in its place, and the state is committed when the file is on disk.
    """
    path = prepare.result_path(ws.data, batch.number)
    facts: dict[str, object] = {
        "result_file": str(path.relative_to(ws.data)),
        "result_sha256": draft.sha256,
        "result_size": draft.size,
        "remote_word": remote.word,
    }
    if remote.state is not RemoteState.SUCCEEDED:
        facts["reason"] = _ending(remote)
    batches.mark_downloaded(tx, batch, why=_ending(remote), at=ws.now(), **facts)
    files.rename(draft, path)


def _fail(ws: OpenWorkspace, tx: "Connection", batch: Batch, remote: "RemoteBatch") -> None:
    """End a batch without a result: its items go back uncharged, and what failed so too often is parked."""
    forgiven = is_cancelled_by_hand(ws, batch)
    why = "cancelled by hand" if forgiven and remote.state is RemoteState.CANCELLED else _ending(remote, had=False)
    source = source_of(batch, models_file=ws.settings.models_file)
    open_requests = claims.open_requests(tx, batch.number)
    batches.note_look(tx, batch, word=remote.word, done=batch.remote_done)
    batches.mark_failed(tx, batch, why=why, at=ws.now())
    claims.release_claims(tx, batch.number, reason=why)
    for some in _pages(open_requests):
        judged = [
            Judgement(Asked(one.item_id, one.input_hash), Outcome.MISSING, why, charged=False, forgiven=forgiven)
            for one in some
        ]
        write_judgements(tx, ws.task, judged, source=source, at=ws.now())


@contextlib.contextmanager
def _downloaded(
    ws: OpenWorkspace, batch: Batch, remote: "RemoteBatch", lease: "Lease"
) -> "Iterator[files.Sealed | None]":
    """Have the result, durable, in a part file of its own for the length of a block; None where there is none.

    Raises:
        LeaseLostError: somebody else went on with the batch and swept the part file away.
    """
    if not remote.result_file:
        yield None
        return
    path = prepare.result_path(ws.data, batch.number)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = files.part_of(path)
    try:
        try:
            draft = files.sync_part(part) if _download(ws, batch, remote, part) else None
        except FileNotFoundError:
            lease.check()
            raise
        yield draft
    finally:
        part.unlink(missing_ok=True)


def _download(ws: OpenWorkspace, batch: Batch, remote: "RemoteBatch", part: Path) -> bool:
    """Fetch the result into a part file; false where it is not there and the batch did not succeed, or was given up.

    Fewer lines than the API counted, or without its counts than were asked for, are fetched again: a body that was
    cut looks whole where it came without a length.

    Raises:
        UnavailableError: what comes is no result each time: a page, or an answer to something else. To take it would
            charge everybody for answers that wait at the API.
    """
    expected = _expected(batch, remote)
    came = False
    for left in reversed(range(DOWNLOADS)):
        try:
            ws.client.download(remote.result_file or "", part)
        except MissingError as error:
            if remote.state is RemoteState.SUCCEEDED and batch.cancel_asked_at is None:
                raise
            ws.display.warn(f"batch {batch.number}: its result cannot be had: {error.message}")
            return False
        came = _is_result(part, expected=expected)
        if not came:
            continue
        lines = files.count_whole_lines(part)
        if lines >= expected:
            break
        what = "fetching again" if left else "taken as it is"
        ws.display.warn(f"batch {batch.number}: {lines} lines came and {expected} are expected; {what}")
        ws.sleep(ws.settings.poll_first if left else 0)
    if came:
        return True
    what = f"what came is not the result of batch {batch.number} (a page of HTML, or another answer)"
    if batch.cancel_asked_at is not None:
        ws.display.warn(f"{what}; it is given up")
        return False
    poll = ws.task.words.make("batch-poll")
    raise UnavailableError(
        f"{what}; it was left as it is",
        hint=f"run `{poll}` again later, or give it up: make batch-cancel BATCH={batch.number}",
    )


def _is_result(part: Path, *, expected: int) -> bool:
    """Return whether a download can be a result: no page of HTML, and where lines are expected, one of its members.

    An empty one can: it has fewer lines than expected, like any that was cut.
    """
    with part.open("rb") as file:
        head = file.read(HEAD).lstrip()
    if not head or expected == 0:
        return not head.startswith(b"<")
    return not head.startswith(b"<") and any(member in head for member in (b'"key"', b'"response"', b'"error"'))


def _expected(batch: Batch, remote: "RemoteBatch") -> int:
    """Return how many lines a result should have, by the API's counts; those of a whole result where it has none."""
    counted = (remote.succeeded or 0) + (remote.failed or 0)
    if counted or remote.state is not RemoteState.SUCCEEDED:
        return counted
    return batch.requests


def _ending(remote: "RemoteBatch", *, had: bool = True) -> str:
    """Return how a batch ended, in words, with what the API said of it; `had` is false where its result was not."""
    ending = str(remote.state)
    if remote.state is RemoteState.SUCCEEDED and not had:
        ending = "succeeded, but its result could not be had" if remote.result_file else "succeeded without a result"
    return f"{ending}: {remote.error}" if remote.error else ending


def _delete_upload(ws: OpenWorkspace, upload: str) -> None:
    """Delete an upload that is not needed any more; the API forgets it after 48 h in any case."""
    try:
        ws.client.delete_upload(upload)
    except RemoteError as error:
        ws.display.warn(f"the upload {upload} could not be deleted: {error.message}")


def _pages(requests: Sequence[claims.Request]) -> list[Sequence[claims.Request]]:
    return [requests[start : start + CHUNK] for start in range(0, len(requests), CHUNK)]
