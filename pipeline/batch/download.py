"""Download a batch that is over at the API: its result is sealed on disk, or the batch fails and its items go.

submitted -> downloaded | failed. A batch that expired, failed or was cancelled gives up what result it has; one without
any lets its items go uncharged, but what failed so too often in a row is parked (`answers.MAX_SERVICE_FAILURES`).
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.batch.account import BY_HAND
from pipeline.batch.prepare import result_path
from pipeline.batch.reconcile import cancel_duplicates, lock_of
from pipeline.batch.refused import give_up_batch
from pipeline.batch.uploads import drop_upload
from pipeline.core import files
from pipeline.core.errors import MissingError, RemoteError, StateConflictError, UnavailableError
from pipeline.core.states import BatchState, Outcome, RemoteState
from pipeline.engine.equals import park_equals
from pipeline.engine.record import Judgement, source_of, write_judgements
from pipeline.engine.workspace import OpenWorkspace
from pipeline.gemini.result_file import ResultFile
from pipeline.store import asks, batches
from pipeline.store.batches import Batch
from pipeline.store.database import PAGE, Connection
from pipeline.store.locks import LockLostError

if TYPE_CHECKING:
    from pipeline.gemini.remote import RemoteBatch


DOWNLOADS = 3  # a result with fewer lines than the API counted is fetched twice more, then sealed as it is
HEAD = 65_536  # bytes of a result in which a name that its lines have must show up; it begins with one
CREATED = (BatchState.SUBMITTED, BatchState.DOWNLOADED, BatchState.INGESTED, BatchState.FAILED)


def download_result(ws: OpenWorkspace, number: int, remote: "RemoteBatch") -> None:
    """Seal the result of a batch that is over, or fail it; nothing where another process is at it or was first.

    Raises:
        MissingError: it succeeded and its result is not there; it was left as it is.
        RemoteError: the result cannot be had now; it was left as it is.
    """
    upload = None
    with contextlib.suppress(LockLostError, StateConflictError), ws.locks.hold(lock_of(number)) as lock:
        if lock is None:
            return  # another process downloads it; the next look reads its state again
        with ws.store.read() as tx:
            batch = batches.get_batch(tx, number)
        files.sweep_parts(result_path(ws.data, number))
        if batch.state is BatchState.SUBMITTED:
            _Download(ws, batch, remote).run()
            upload = batch.upload
    drop_upload(ws.client, upload, warn=ws.display.warn)


def is_whole(ws: OpenWorkspace, name: str | None, sha256: str | None) -> bool:
    """Return whether a file of a batch is on disk as it was sealed."""
    path = ws.data / (name or "")
    return path.is_file() and files.sha256_of(path) == sha256


def are_sealed(ws: OpenWorkspace, batch: Batch) -> bool:
    """Return whether every file of a batch is on disk as it was sealed."""
    pairs = ((batch.request_file, batch.request_sha256), (batch.result_file, batch.result_sha256))
    return all(is_whole(ws, name, sha256) for name, sha256 in pairs if name)


def fetch_lost(ws: OpenWorkspace) -> None:
    """Download once more what was lost or damaged before its ingest; only the bytes that were recorded are taken."""
    with ws.store.read() as tx:
        waiting = batches.batches_in_states(tx, BatchState.DOWNLOADED, task=ws.task.name)
    for batch in (one for one in waiting if not is_whole(ws, one.result_file, one.result_sha256)):
        path, number = result_path(ws.data, batch.number), batch.number
        part = files.part_of(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with ws.locks.hold(lock_of(number)) as lock:
                if lock is None:
                    continue
                ws.client.download(ws.client.get_batch(batch.remote_name or "").result_file or "", part)
                if files.sha256_of(part) == batch.result_sha256:
                    files.rename(files.sync_part(part), path)
                    ws.display.say(f"batch {number}: its lost result was fetched again, byte for byte")
                    continue
            why = "the API has other bytes"
        except RemoteError as error:
            why = error.message
        finally:
            part.unlink(missing_ok=True)
        ws.display.warn(
            f"batch {number}: its result is lost and cannot be had again ({why}); "
            f"`make batch-cancel BATCH={number}` gives it up, and its items are asked again"
        )


def check_duplicates(ws: OpenWorkspace) -> None:
    """Look for duplicates in the list: those of batches that are over, too, for one may have been made late.

    The list is read while a batch is at the API or may be double: one of more than one try, until it is over and was
    looked for once, and one with a duplicate that is not cancelled yet.
    """
    with ws.store.read() as tx:
        known = batches.all_duplicates(tx)
        created = {one.number: one for one in batches.batches_in_states(tx, *CREATED)}
        numbers = batches.numbers_by_prefix(tx)
    left = {one["batch"] for one in known if one["cancelled_at"] is None}
    suspects = {
        one.number for one in created.values() if one.number in left or (_may_be_double(one) and not one.twins_checked)
    }
    if not suspects and all(one.state is not BatchState.SUBMITTED for one in created.values()):
        return
    try:
        listing = ws.client.list_batches()
    except RemoteError as error:
        if suspects:
            ws.display.warn(f"could not look for duplicates: {error.message}")
        return
    told = {one["remote_name"] for one in known} | {one.remote_name for one in created.values()}
    late = {numbers.get(batches.name_prefix(one.display_name)) for one in listing if one.name not in told}
    for batch in (created[number] for number in sorted(created.keys() & (suspects | late))):
        cancel_duplicates(ws, batch.number, listing)
        with ws.store.write() as tx:
            if batch.state is not BatchState.SUBMITTED and not batches.open_duplicates(tx, batch.number):
                batches.note_duplicates_checked(tx, batch)


def _may_be_double(batch: Batch) -> bool:
    return batch.tries > (1 if batch.remote_name else 0)


class _Download(NamedTuple):
    ws: OpenWorkspace
    batch: Batch
    remote: "RemoteBatch"

    def run(self) -> None:
        """Fetch the result, then record and name it in one transaction; without one, fail the batch."""
        with self._part() as draft, self.ws.store.write() as tx:
            if draft is None:
                self._fail(tx)
            else:
                self._keep(tx, draft)

    def _keep(self, tx: "Connection", draft: files.Sealed) -> None:
        """Record a result and give it its name; how the batch ended is kept as its reason where it did not succeed.

        The name is given inside the transaction that moves the state: a process that was overtaken cannot put other
        bytes in its place, and the state is committed when the file is on disk.
        """
        ending, path = _ending(self.remote), result_path(self.ws.data, self.batch.number)
        facts: dict[str, object] = {
            "result_file": str(path.relative_to(self.ws.data)),
            "result_sha256": draft.sha256,
            "result_size": draft.size,
            "remote_word": self.remote.word,
        }
        if self.remote.state is not RemoteState.SUCCEEDED:
            facts["reason"] = ending
        batches.mark_downloaded(tx, self.batch, why=ending, at=self.ws.now(), **facts)
        files.rename(draft, path)

    def _fail(self, tx: "Connection") -> None:
        """End a batch without a result: its items go back uncharged, and what failed so too often is parked."""
        ws, batch, remote = self.ws, self.batch, self.remote
        forgiven = batch.is_cancelled_by_hand(batch_hours=ws.settings.batch_hours)
        why = BY_HAND if forgiven and remote.state is RemoteState.CANCELLED else _ending(remote, had=False)
        source = source_of(batch, models_file=ws.settings.models_file)
        batches.note_look(tx, batch, word=remote.word, done=batch.remote_done)
        while page := asks.claimed_page(tx, batch.number, after=0, limit=PAGE):
            judged = [Judgement(one, Outcome.MISSING, why, charged=False, forgiven=forgiven) for one in page]
            kept = write_judgements(tx, ws.task, judged, source=source, at=ws.now())
            if not ws.settings.ask_each:
                park_equals(tx, ws.task, judged, kept, source=source, at=ws.now())
        give_up_batch(tx, batch, why=why, at=ws.now())

    @contextlib.contextmanager
    def _part(self) -> Iterator[files.Sealed | None]:
        """Have the result, durable, in a part file of its own for the length of a block; None where there is none."""
        if not self.remote.result_file:
            yield None
            return
        path = result_path(self.ws.data, self.batch.number)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = files.part_of(path)
        try:
            yield files.sync_part(part) if self._fetch(part) else None
        finally:
            part.unlink(missing_ok=True)

    def _fetch(self, part: Path) -> bool:
        """Fetch the result; false where it is not there and the batch did not succeed, or was given up.

        Raises:
            UnavailableError: what comes is no result each time: a page, or an answer to something else. To take it
                would charge every item for answers that wait at the API.
        """
        ws, batch, fullest = self.ws, self.batch, files.part_of(part)
        try:
            if self._fetch_fullest(part, fullest):
                fullest.replace(part)
                return True
        except MissingError as error:
            if self.remote.state is RemoteState.SUCCEEDED and batch.cancel_asked_at is None:
                raise
            ws.display.warn(f"batch {batch.number}: its result cannot be had: {error.message}")
            return False
        finally:
            fullest.unlink(missing_ok=True)
        what = f"what came is not the result of batch {batch.number} (a page of HTML, or another answer)"
        if batch.cancel_asked_at is not None:
            ws.display.warn(f"{what}; it is given up")
            return False
        raise UnavailableError(
            f"{what}; it was left as it is",
            hint=f"run `{ws.task.words.make('batch-poll')}` again later, "
            f"or give it up: make batch-cancel BATCH={batch.number}",
        )

    def _fetch_fullest(self, part: Path, fullest: Path) -> bool:
        """Fetch the result to the one path, keep the fullest at the other, and return whether any came.

        Fewer keys than the API counted, or without its counts than were asked for, are fetched again: a body that was
        cut looks whole where it came without a length, and by its lines where some stand in it twice.
        """
        ws, number, expected, most = self.ws, self.batch.number, self._expected(), -1
        for left in reversed(range(DOWNLOADS)):
            try:
                ws.client.download(self.remote.result_file or "", part)
            except MissingError:
                if most < 0:
                    raise
                break
            if not _is_result(part, expected=expected):
                continue
            with ResultFile(part) as results:
                keys = results.keys
            if keys > most:
                most = keys
                part.replace(fullest)
            if keys >= expected:
                break
            what = "fetching again" if left else "the fullest is taken"
            ws.display.warn(f"batch {number}: lines for {keys} requests came and {expected} are expected; {what}")
            ws.sleep(ws.settings.poll_first if left else 0)
        return most >= 0

    def _expected(self) -> int:
        """Return how many lines a result should have, by the API's counts; without them, those of a whole result."""
        counted = (self.remote.succeeded or 0) + (self.remote.failed or 0)
        return counted if counted or self.remote.state is not RemoteState.SUCCEEDED else self.batch.requests


def _is_result(part: Path, *, expected: int) -> bool:
    """Return whether a download can be a result: no page of HTML, and where lines are expected, one of its members.

    An empty one can: it has fewer lines than expected, like any that was cut.
    """
    with part.open("rb") as file:
        head = file.read(HEAD).lstrip()
    if not head or expected == 0:
        return not head.startswith(b"<")
    return not head.startswith(b"<") and any(member in head for member in (b'"key"', b'"response"', b'"error"'))


def _ending(remote: "RemoteBatch", *, had: bool = True) -> str:
    """Return how a batch ended, in words, with what the API said of it; `had` is false where its result was not."""
    ending = str(remote.state)
    if remote.state is RemoteState.SUCCEEDED and not had:
        ending = "succeeded, but its result could not be had" if remote.result_file else "succeeded without a result"
    return f"{ending}: {remote.error}" if remote.error else ending
