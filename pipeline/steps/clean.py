"""Remove what is no longer needed: sealed files of batches long over, uploads, older builds and reports, litter.

The accounts stay. That a batch's files are removed is recorded before they are, so that nobody misses them later; a run
that was killed in between is gone on with by the next.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from pipeline import building, preparing, uploads
from pipeline.checks import sealed
from pipeline.errors import ConfigurationError, RemoteError
from pipeline.quality import reports
from pipeline.runtime import Runtime
from pipeline.store import batches, erasing, pilots
from pipeline.store.batches import Batch


@dataclass
class Report:
    """What was removed, or with `dry` would be: batches whose files went, all their bytes, uploads, builds, reports."""

    keep_days: float
    dry: bool
    batches: list[int] = field(default_factory=list)
    files: int = 0
    size: int = 0
    uploads: int = 0
    builds: list[int] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)
    litter: list[str] = field(default_factory=list)

    @property
    def nothing(self) -> bool:
        """True when there was nothing to remove."""
        return not (self.files or self.uploads or self.builds or self.reports or self.litter)


def run(rt: Runtime, *, dry: bool) -> Report:
    """Remove what is older than KEEP_DAYS and no longer needed; where `dry`, only say what.

    Where the backend cannot be asked about uploads, a warning says so and the rest is done.
    """
    report = Report(rt.settings.keep_days, dry)
    oldest = rt.now() - timedelta(days=rt.settings.keep_days)
    with rt.waited_lease(preparing.LEASE, waiting=preparing.WAITING):
        _clean_batches(rt, oldest, report=report)
        _clean_litter(rt, report=report)
    _clean_builds(rt, oldest, report=report)
    _clean_reports(rt, oldest, report=report)
    _clean_uploads(rt, report=report)
    return report


def _clean_batches(rt: Runtime, oldest: datetime, *, report: Report) -> None:
    """Remove the sealed files of batches that were over before `oldest`, each after a line in the journal."""
    with rt.store.read() as tx:
        everyone, known = batches.in_states(tx), erasing.cleaned(tx)
    for batch in everyone:
        paths = list(_files(rt, batch))
        if not batch.is_over or (batch.ended_at or batch.created_at) >= oldest or not paths:
            continue
        report.batches.append(batch.number)
        report.files += len(paths)
        report.size += sum(path.stat().st_size for path in paths)
        if report.dry:
            continue
        if batch.number not in known:
            with rt.store.write() as tx:
                why = f"older than {report.keep_days:g} days"
                erasing.note_cleaned(tx, batch.number, why=why, at=rt.now())
        for path in paths:
            path.unlink(missing_ok=True)


def _files(rt: Runtime, batch: Batch) -> Iterator[Path]:
    """Yield the sealed files of a batch that are there."""
    for name in filter(None, (batch.request_file, batch.result_file)):
        if (rt.data / name).is_file():
            yield rt.data / name


def _clean_litter(rt: Runtime, *, report: Report) -> None:
    """Remove what killed runs left; the caller holds the lease under which such files are written."""
    for path in sealed.litter(rt):
        report.litter.append(path.name)
        if not report.dry:
            path.unlink(missing_ok=True)


def _clean_builds(rt: Runtime, oldest: datetime, *, report: Report) -> None:
    """Remove builds that are not in service and were made before `oldest`, and what killed runs left of others."""
    if not (rt.data / "index").is_dir():
        return
    with rt.waited_lease(building.LEASE, waiting=building.WAITING) as lease:
        report.litter += rt.builds.stale()
        made = {number: rt.builds.built_at(number) for number in rt.builds.others()}
        old = [number for number, at in made.items() if at is None or at < oldest]
        report.builds = old
        if not report.dry:
            with building.fence(rt, lease):
                rt.builds.sweep()
            rt.builds.drop(old, fence=lambda: building.fence(rt, lease))


def _clean_reports(rt: Runtime, oldest: datetime, *, report: Report) -> None:
    """Remove reports written before `oldest`, but the newest of each task and those that a pilot's verdict rests on."""
    with rt.store.read() as tx:
        named = {Path(one.report).stem for one in pilots.everything(tx) if one.report is not None}
    for subject in rt.subjects:
        task = subject.task.name
        old = [path for path in reports.older(rt.data, task, oldest) if reports.stem_of(path, task) not in named]
        stale = [path for path in reports.stale(rt.data, task) if path not in old]
        report.reports += [path.name for path in old]
        report.litter += [path.name for path in stale]
        for path in () if report.dry else (*old, *stale):
            path.unlink(missing_ok=True)


def _clean_uploads(rt: Runtime, *, report: Report) -> None:
    """Delete uploads of ours at the API that no batch needs any more; the API itself does so after 48 h."""
    with rt.store.read() as tx:
        if not batches.in_states(tx):
            return
    try:
        for one in uploads.left_behind(rt):
            report.uploads += 1
            if not report.dry:
                rt.client.delete_upload(one.file.name)
    except (RemoteError, ConfigurationError) as error:
        rt.display.warn(f"uploads were not looked at: {error.message}")
