"""Remove what is no longer needed: sealed files of batches long over, older builds and reports, litter.

The accounts stay, with the hashes and sizes of those files, and a sealed file with the hash of each of their lines, so
that what a copy says was asked and answered can be held against it. That a batch's files are removed is recorded before
they are, so that no check misses them later; the next run goes on where a killed one was.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from pipeline.batch import prepare
from pipeline.batch.batch_files import (
    FOLDER,
    lock_of,
    request_path,
    result_path,
    sealed_request,
    sealed_result,
)
from pipeline.core import files
from pipeline.core.states import BatchState
from pipeline.engine.session import WorkspaceSession
from pipeline.gemini.responses import key_of_line
from pipeline.index.builds import INDEX_LOCK, Builds, find_orphaned_folders
from pipeline.index.evaluate import read_gate_queries
from pipeline.index.vector_cache import VectorCache, open_vector_store, stored_widths
from pipeline.index.vectors import QUERY_TASK_TYPE
from pipeline.index.write import load_meaningless_queries
from pipeline.quality import report as reports
from pipeline.store import batches, erasure, runs
from pipeline.store.batches import BatchRow

OURS = re.compile(r"(\d{6,})-(requests|results|hashes)\.(?:jsonl(\..+)?|asked)")


@dataclass
class CleanReport:
    """What was removed, or with `dry` would be: batches whose files went, all their bytes, builds, reports."""

    keep_days: float
    dry: bool
    batches: list[int] = field(default_factory=list)
    files: int = 0
    size: int = 0
    builds: list[int] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)
    litter: list[str] = field(default_factory=list)
    # Lock files of batches that are over.
    locks: int = 0
    # Vectors of texts that no row has.
    vectors: int = 0
    # Sealed files that stay because their bytes are not those that were sealed.
    changed: list[str] = field(default_factory=list)

    @property
    def nothing(self) -> bool:
        """True when there was nothing to remove."""
        return not any(
            (self.files, self.builds, self.reports, self.litter, self.locks, self.vectors)
        )


def run(ws: WorkspaceSession, *, dry: bool) -> CleanReport:
    """Remove what is older than KEEP_DAYS and no longer needed; where `dry`, only say what."""
    report = CleanReport(ws.settings.keep_days, dry)
    oldest = ws.now() - timedelta(days=ws.settings.keep_days)
    with contextlib.nullcontext() if dry else ws.lock(prepare.PREPARE_LOCK):
        _clean_batches(ws, oldest, report)
        _removed(litter(ws), report)
    if (ws.data / "index").is_dir():
        with contextlib.nullcontext() if dry else ws.lock(INDEX_LOCK):
            _clean_builds(ws, oldest, report)
            report.vectors = drop_vectors(ws, before=oldest, dry=dry)
    with ws.store.read() as tx:
        named = {Path(one.report).stem for one in runs.list_pilots(tx) if one.report is not None}
    for task in ws.tasks:
        old = reports.find_old_reports(ws.data, task.name, oldest, kept_names=named)
        report.reports += [path.name for path in old]
        for path in () if dry else old:
            path.unlink(missing_ok=True)
    return report


def _removed(paths: Iterable[Path], report: CleanReport) -> None:
    for path in paths:
        report.litter.append(path.name)
        if not report.dry:
            files.remove_path(path)


def _clean_batches(ws: WorkspaceSession, oldest: datetime, report: CleanReport) -> None:
    """Remove the sealed files of batches that were over before `oldest`, each after a line in the journal."""
    with ws.store.read() as tx:
        everyone = batches.batches_in_states(tx)
        known = erasure.cleaned_batches(tx)
    old = [
        batch
        for batch in everyone
        if batch.is_over and (batch.ended_at or batch.created_at) < oldest
    ]
    # All names are checked before the first file is removed.
    files_of_batches = [(batch, sealed_files(ws.data, batch)) for batch in old]
    report.locks = _clean_locks(ws, {lock_of(batch.number) for batch in old}, dry=report.dry)

    for batch, sealed in files_of_batches:
        present = [file for file in sealed if file.path.is_file()]
        changed = [file.path.name for file in present if not file.is_sealed]
        report.changed += changed
        if changed:
            names = ", ".join(changed)
            ws.display.warn(
                f"{names}: changed after it was sealed; the files of batch {batch.number} stay"
            )
        # Lost files are recorded as removed, too.
        is_known = batch.number in known
        if changed or (is_known and not present):
            continue
        paths = [file.path for file in present]
        report.batches.append(batch.number)
        report.files += len(paths)
        report.size += sum(path.stat().st_size for path in paths)
        if report.dry:
            continue
        if not is_known:
            hashes = _seal_hashes(ws.data, batch)
            why = f"older than {report.keep_days:g} days"
            with ws.store.write() as tx:
                erasure.record_cleaned(tx, batch.number, reason=why, now=ws.now(), hashes=hashes)
        for path in paths:
            path.unlink(missing_ok=True)


def _clean_locks(ws: WorkspaceSession, names: Collection[str], *, dry: bool) -> int:
    """Remove the lock files of these names that nobody holds; return how many, also if `dry`."""
    files_of_names = ws.locks.names_with_file() & set(names)
    return sum(dry or ws.locks.discard(name) for name in files_of_names)


class SealedFile(NamedTuple):
    """A sealed file of a batch as the database records it."""

    path: Path
    sha256: str
    # The noun for messages.
    what: str

    @property
    def is_sealed(self) -> bool:
        """Return whether the file has the recorded bytes."""
        return files.is_sealed(self.path, self.sha256)


def hashes_path(data: Path, number: int) -> Path:
    """Return the path of the line hashes of a batch that was cleaned."""
    return data / FOLDER / f"{number:06d}-hashes.jsonl"


def sealed_files(
    data: Path, batch: BatchRow, cleaned: Mapping[int, str] = MappingProxyType({})
) -> list[SealedFile]:
    """Return the sealed files of a batch; of a cleaned batch the file of its line hashes.

    Raises:
        InconsistentError: The database names another file.
    """
    if batch.number in cleaned:
        path = hashes_path(data, batch.number)
        found = [SealedFile(path, cleaned[batch.number], "the file of its lines' hashes")]
    else:
        request = sealed_request(data, batch)
        result = sealed_result(data, batch)
        found = [
            SealedFile(request, batch.request_sha256, "its request file"),
            SealedFile(result, batch.result_sha256 or "", "its result"),
        ]
    return [file for file in found if file.sha256]


def _seal_hashes(data: Path, batch: BatchRow) -> str | None:
    """Seal a file with the key and SHA-256 of each line of a batch's files; return its hash, None without a line.

    Of a file that is not as it was sealed they would prove nothing.
    """
    path = hashes_path(data, batch.number)
    count = 0
    with files.SealedWriter(path) as writer:
        for file, kind in zip(sealed_files(data, batch), ("request", "reply"), strict=False):
            for _, line in files.read_lines(file.path) if file.is_sealed else ():
                document = {"key": key_of_line(line), kind: hashlib.sha256(line).hexdigest()}
                writer.write(json.dumps(document).encode() + b"\n")
                count += 1
        return writer.seal().sha256 if count else None


def _clean_builds(ws: WorkspaceSession, oldest: datetime, report: CleanReport) -> None:
    """Remove builds that are not in service and were made before `oldest`, and what killed runs left of others."""
    folders = [one.folder for one in ws.collections]
    for builds in (Builds(ws.data, folder) for folder in folders):
        report.litter += [path.name for path in builds.stale()]
        whole = builds.whole()
        old = [one for one in builds.others() if one not in whole or whole[one].built_at < oldest]
        report.builds += old
        if not report.dry:
            builds.sweep()
            builds.delete(old)
    _removed(find_orphaned_folders(ws.data, folders), report)


def drop_vectors(ws: WorkspaceSession, *, before: datetime | None, dry: bool) -> int:
    """Remove the vectors of all models whose text no entry has; return how many, also if `dry`.

    Args:
        ws: The workspace, of whose tasks all entries are read.
        dry: Only count them.
        before: Keep what was stored since then, perhaps for rows that this snapshot has not.
    """
    count = 0
    questions = (*read_gate_queries(ws.data, ws.collections), *load_meaningless_queries())
    store = open_vector_store(ws.store, ws.data)
    for model, widths in stored_widths(store).items():
        needed = set[bytes]()
        # A refusal has no width, so that its text is looked for at every width of its model.
        for width in (widths | {ws.settings.dim}) - {0}:
            cache = VectorCache(store, model=model, dim=width)
            with ws.store.read() as tx:
                entries = (entry for one in ws.collections for entry in one.entries(tx))
                needed.update(cache.keys(entry.text for entry in entries))
            needed.update(cache.keys(questions, task_type=QUERY_TASK_TYPE))
        cache = VectorCache(store, model=model, dim=ws.settings.dim)
        unneeded = cache.other_keys(needed, before=before)
        count += len(unneeded) if dry else cache.delete(unneeded)
    return count


def unknown_sealed(ws: WorkspaceSession, borne: Collection[int] = ()) -> list[Path]:
    """Return the files of batches that were sent and that the database does not know, as an older copy of it does not.

    A batch is in the database before it has a result, so no killed run leaves a result without one. A request file
    alone may be what a run left that died before it claimed; not where a remote batch has its number, as those `borne`.
    """
    found = [
        (path, ours)
        for path in sorted((ws.data / FOLDER).glob("*"))
        if (ours := OURS.fullmatch(path.name))
    ]
    with ws.store.read() as tx:  # after the look: whatever was seen there was recorded before
        known = {batch.number for batch in batches.batches_in_states(tx)}
    sent = {int(ours[1]) for _, ours in found if ours[2] == "results" and ours[3] is None} | set(
        borne
    )
    return [path for path, ours in found if ours[3] is None and int(ours[1]) in sent - known]


def litter(ws: WorkspaceSession, borne: Collection[int] = ()) -> list[Path]:
    """Return our own kind of files that nothing needs, but none that a process may be writing, nor sealed ones."""
    with ws.store.read() as tx:
        everyone = batches.batches_in_states(tx)
        cleaned = erasure.cleaned_batches(tx)
    # By number and not by stored name, so that a changed name makes no sealed file a left-over.
    known = {request_path(ws.data, batch.number) for batch in everyone}
    known |= {result_path(ws.data, batch.number) for batch in everyone if batch.result_sha256}
    known |= {hashes_path(ws.data, number) for number in cleaned}
    known |= {*unknown_sealed(ws, borne)}
    coming = {
        batch.number
        for batch in everyone
        if batch.state in {BatchState.SUBMITTED, BatchState.ASKING}
    }
    parts = (
        path
        for folder in (ws.data, ws.data / reports.REPORTS_FOLDER)
        for path in sorted(folder.glob(f"*{files.PART_SUFFIX}"))
    )
    found = [path for path in parts if files.is_abandoned(path)]
    for path in sorted((ws.data / FOLDER).glob("*")):
        ours = OURS.fullmatch(path.name)
        if ours is None or path in known or (ours[2] == "results" and int(ours[1]) in coming):
            continue
        if (
            ours[3] is None
            or files.is_abandoned(path)
            or path.name.endswith(f"l{files.PART_SUFFIX}")
        ):
            found.append(path)
    return found
