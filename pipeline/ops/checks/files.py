"""Are the sealed files there, unchanged, and what their batches say? And which files belong to no batch?"""

import contextlib
import json
import re
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.batch import prepare, uploads
from pipeline.core import files, links
from pipeline.core.errors import FindableError, InconsistentError
from pipeline.core.states import BatchState
from pipeline.gemini.requests import request_key
from pipeline.ops.checks.finding import CheckFinding, WorkspaceChecks, notice
from pipeline.store import batches, claims, erase
from pipeline.store.batches import Batch
from pipeline.store.database import Store

if TYPE_CHECKING:
    from pipeline.engine.workspace import OpenWorkspace


OURS = re.compile(r"(\d{6,})-(requests|results)\.jsonl(\..+)?")


class FileChecks(WorkspaceChecks):
    """The checks of sealed files."""

    def request_files(self) -> Iterator[CheckFinding]:
        """Is each request file as it was sealed, and does it ask about exactly the items that are claimed?"""
        for batch in _with_files(self._store):
            if batch.is_over:
                yield from self._old_file(batch, batch.request_file, batch.request_sha256)
                continue
            wrong = _wrong_request_file(self._store, self._ws.data, batch)
            if wrong:
                is_mendable = batch.state is BatchState.PREPARED
                fail = partial(fail_lost_batch, self._ws, batch, why=wrong, has_lost_files=True)
                advice = f"make batch-cancel BATCH={batch.number}"
                if batch.state is BatchState.DOWNLOADED:  # answered, so nothing needs the requests any more
                    advice = self._ws.task_of(batch.task).words.make("batch-ingest")
                mended = self._mend.by(fail) if is_mendable else ""
                said = f"batch {batch.number} ({batch.state}): {wrong}"
                why = "it would ask, or has asked, something else than was claimed"
                yield CheckFinding("request files", said, why, mendable=is_mendable, mended=mended, next=advice)

    def result_files(self) -> Iterator[CheckFinding]:
        """Is each result file as it was sealed? A broken one is fetched again, where the API has those bytes."""
        for batch in _with_files(self._store):
            if not batch.result_file:
                continue
            if batch.is_over:
                yield from self._old_file(batch, batch.result_file, batch.result_sha256 or "")
                continue
            wrong = _wrong_file(self._ws.data / batch.result_file, batch.result_sha256 or "", what="its result")
            if wrong:
                mended = self._fetch_again(batch) if self._mend.on else ""
                question = (
                    f"The result of batch {batch.number} cannot be had again. Fail the batch, and ask its items anew?"
                )
                if not mended and self._mend.may(question):
                    mended = fail_lost_batch(self._ws, batch, why=wrong, has_lost_files=True)
                said = f"batch {batch.number} ({batch.state}): {wrong}"
                why = "its answers are paid for and not ingested yet"
                yield CheckFinding("result files", said, why, mendable=True, mended=mended)

    def unknown_files(self, borne: Collection[int]) -> Iterator[CheckFinding]:
        """Are there files in the folder of batches that no batch knows? `borne` as for `unknown_sealed`."""
        sealed = partial(unknown_sealed, self._store, self._ws.data, borne)
        for path in sealed():
            mended = ""
            if self._mend.may(f"No batch here knows {path.name}. Remove it, the proof of what was asked and answered?"):
                mended = self._remove(path, sealed)
            said = f"{path.name} is of a batch that this database does not know: it is an older copy than the folder"
            why = "the answers are paid for, and nothing is submitted beside it, for its number would be taken again"
            next_ = "put the newer database back, or restore a newer backup (make restore FROM=…)"
            yield CheckFinding("sealed files", said, why, mendable=True, mended=mended, next=next_)
        swept = partial(litter, self._store, self._ws.data, borne)
        for path in swept():
            mended = self._remove(path, swept) if self._mend.on else ""
            said = f"{path.name} belongs to no batch: a run died over it"
            yield notice("litter", said, "it takes room", mendable=True, mended=mended)

    def _remove(self, path: Path, found: Callable[[], list[Path]]) -> str:
        """Remove a file that is still among what is found under the lease: no process has taken it up meanwhile."""
        with self._ws.waited_lease(prepare.LEASE, waiting=prepare.WAITING):
            if path not in found():
                return ""
            links.remove_link(path)
        return "removed"

    def _old_file(self, batch: Batch, name: str, sha256: str) -> Iterator[CheckFinding]:
        """Yield what is wrong with a sealed file of a batch that is over: nothing needs it, and nothing explains it."""
        is_result = name == batch.result_file
        wrong = _wrong_file(self._ws.data / name, sha256, what="its result" if is_result else "its request file")
        if not wrong:
            return
        with self._store.read() as tx:
            is_forgetting = bool(erase.open_erasures(tx))
        mended = ""
        if not is_forgetting:
            mended = self._fetch_again(batch) if self._mend.on and is_result else ""
            if not mended and self._mend.may(
                f"Batch {batch.number}: {wrong}. Record its files as removed, and remove what is left?"
            ):
                with self._store.write() as tx:
                    erase.note_cleaned(tx, batch.number, why="lost or damaged", at=self._ws.now())
                _remove_files(self._ws.data, batch)
                mended = "recorded as removed"
        yield CheckFinding(
            "result files" if is_result else "request files",
            f"batch {batch.number} ({batch.state}): {wrong}",
            "it is the proof of what was asked and answered; nothing else needs it any more",
            contradiction=not is_forgetting,
            mendable=not is_forgetting,
            mended=mended,
            next="the same make forget again" if is_forgetting else "restore a backup (make restore FROM=…)",
        )

    def _fetch_again(self, batch: Batch) -> str:
        """Download a result once more; it is taken only when it has the bytes that were recorded."""
        path = self._ws.data / (batch.result_file or "")
        part = files.part_of(path)
        with contextlib.suppress(FindableError), self._ws.lease(f"batch:{batch.number}") as lease:
            remote = self._ws.client.get_batch(batch.remote_name or "")
            if lease is None or not remote.result_file:
                return ""
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._ws.client.download(remote.result_file, part)
                if files.sha256_of(part) == batch.result_sha256:
                    files.seal_part(part, path)
                    return "fetched again, with the bytes that were recorded"
            finally:
                part.unlink(missing_ok=True)
        return ""


def _with_files(store: Store) -> list[Batch]:
    """Return the batches but those whose files were removed on purpose."""
    with store.read() as tx:
        cleaned = erase.cleaned_batches(tx)
        return [batch for batch in batches.batches_in_states(tx) if batch.number not in cleaned]


def _remove_files(data: Path, batch: Batch) -> None:
    for name in filter(None, (batch.request_file, batch.result_file)):
        (data / name).unlink(missing_ok=True)


def unknown_sealed(store: Store, data: Path, borne: Collection[int] = ()) -> list[Path]:
    """Return the files of batches that were sent and that the database does not know, as an older copy of it does not.

    A batch is in the database before it has a result, so no killed run leaves a result without one. A request file
    alone may be what a run left that died before it claimed; not where a remote batch has its number, as those `borne`.
    """
    found = [(path, ours) for path in sorted((data / prepare.FOLDER).glob("*")) if (ours := OURS.fullmatch(path.name))]
    with store.read() as tx:  # after the look: whatever was seen there was recorded before
        known = {batch.number for batch in batches.batches_in_states(tx)}
    sent = {int(ours[1]) for _, ours in found if ours[2] == "results" and ours[3] is None} | set(borne)
    return [path for path, ours in found if ours[3] is None and int(ours[1]) in sent - known]


def litter(store: Store, data: Path, borne: Collection[int] = ()) -> list[Path]:
    """Return our own kind of files that nothing needs, but none that a process may be writing, nor sealed ones."""
    with store.read() as tx:
        everyone = batches.batches_in_states(tx)
    known = {data / name for batch in everyone for name in (batch.request_file, batch.result_file) if name}
    coming = {batch.number for batch in everyone if batch.state is BatchState.SUBMITTED}
    abandoned = [path for path in sorted(data.glob(f"*{files.PART}")) if files.is_abandoned(path)]
    kept = known.union(unknown_sealed(store, data, borne))
    return abandoned + [path for path in sorted((data / prepare.FOLDER).glob("*")) if _is_litter(path, kept, coming)]


def _is_litter(path: Path, known: set[Path], coming: set[int]) -> bool:
    """Return whether a file in the folder of batches is ours and belongs to no batch; `coming` are being downloaded."""
    ours = OURS.fullmatch(path.name)
    if ours is None or path in known or (ours[2] == "results" and int(ours[1]) in coming):
        return False
    return ours[3] is None or files.is_abandoned(path) or path.name.endswith(f"l{files.PART}")


def _wrong_request_file(store: Store, data: Path, batch: Batch) -> str:
    """Return what is wrong with a request file, or an empty text."""
    path = data / batch.request_file
    wrong = _wrong_file(path, batch.request_sha256, what="its request file")
    if wrong:
        return wrong
    with store.read() as tx:
        items = claims.items_of(tx, batch.number)
    with contextlib.closing(files.read_lines(path)) as lines:
        asked = [json.loads(line).get("key") for _, line in lines]
    claimed = [request_key(batch.task, items[line]) for line in sorted(items)]
    if asked != claimed:
        return f"its request file asks {len(asked)} times, and not about the {len(claimed)} items that are claimed"
    return ""


def _wrong_file(path: Path, sha256: str, *, what: str) -> str:
    try:
        files.verify(path, sha256=sha256, what=what)
    except InconsistentError as error:
        return error.message
    return ""


def fail_lost_batch(ws: "OpenWorkspace", batch: Batch, *, why: str, has_lost_files: bool) -> str:
    """End a batch that gives no answers and let its items go; an empty text where another process works on it."""
    with ws.lease(f"batch:{batch.number}") as lease:
        if lease is None:
            return ""
        with ws.store.write() as tx:
            lease.check(tx)
            batches.mark_failed(tx, batch, why=f"given up by doctor: {why}", at=ws.now())
            free = claims.release_claims(tx, batch.number, reason="given up by doctor")
            if has_lost_files:
                erase.note_cleaned(tx, batch.number, why="lost or damaged", at=ws.now())
    if has_lost_files:
        _remove_files(ws.data, batch)
    with contextlib.suppress(FindableError):
        uploads.drop_upload(ws.client, batch.upload)
    return f"given up; {len(free)} items can be asked again"
