"""Are the rows of every subject what was written? And do pilots, reports and versions agree with what is there?"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.batch import prepare
from pipeline.core.task import Subject
from pipeline.ops import forget_files
from pipeline.ops.checks.finding import CheckFinding, LookedAt, Mend, WorkspaceChecks, notice
from pipeline.quality import report_files
from pipeline.store import batches, erase, live_calls, pilots, versions
from pipeline.store.database import Store


class SubjectChecks(WorkspaceChecks):
    """The checks of rows and versions that may mend them."""

    def derived(self) -> Iterator[CheckFinding]:
        """Do columns follow from their rows, and rows from the answers that were applied?"""
        for subject in self._ws.subjects:
            many = subject.task.words.many
            with self._store.read() as tx:
                found = subject.hooks.check_derived(tx, self._ws.display)
            for one in found.faults:
                yield CheckFinding(
                    many,
                    one.said,
                    one.why,
                    contradiction=one.contradiction,
                    mendable=one.mend is not None,
                    mended=self._mend.rows(self._store, one.mend) if one.mend else "",
                    next=one.next,
                )
            if found.orphans:
                said = f"{len(found.orphans)} answers belong to {many} who are not there any more"
                why = "another program deleted their rows; what was asked about them is still kept"
                yield notice(many, said, why, mendable=True, mended=self._remove_orphans(subject, found.orphans))

    def retired(self) -> Iterator[CheckFinding]:
        """Find what a killed rollback left, out of sight already."""
        with self._store.read() as tx:
            left = versions.retired_versions(tx)
        for one in left:
            said = f"the rollback of {one.name} was begun, and is not over"
            why = "what is left of it is out of sight, takes room, and nothing is asked under it"
            again = f"make rollback EXTRACTOR={one.name}"
            yield notice("rolled back", said, why, next=again)

    def _remove_orphans(self, subject: Subject, ids: Sequence[str]) -> str:
        """Remove what is kept of items whose rows another program deleted; return what was done."""
        task = subject.task
        left = "answers, lines in sealed files, vectors"
        if not self._mend.may(f"Remove what is left of {len(ids)} {task.words.many} whose rows are gone: {left}?"):
            return ""
        with self._ws.waited_lease(prepare.LEASE, waiting=prepare.WAITING) as lease:
            forget_files.drop_lines(self._store, self._ws.data, task.name, ids, words=(), display=self._ws.display)
            with self._store.write() as tx:
                lease.check(tx)
                for one in ids:
                    erase.erase_item(tx, task.name, one, words=())
        if subject.collection is not None:
            forget_files.drop_vectors(self._store, self._ws.data, self._ws.collections)
        return f"removed; {task.words.make('index')} builds an index without them"


def check_rows(store: Store, subjects: Sequence[Subject]) -> Iterator[CheckFinding | LookedAt]:
    """Does every row that was written still say what it said, and does it agree with what it is about?"""
    for subject in subjects:
        with store.read() as tx:
            found = subject.hooks.check(tx)
        if found is None:
            continue
        yield LookedAt(subject.name, found.said, found.figures)
        for one in found.faults:
            yield CheckFinding(subject.name, one.said, one.why, contradiction=one.contradiction, next=one.next)


def check_tasks(store: Store, subjects: Sequence[Subject]) -> Iterator[CheckFinding]:
    """Is every batch about a subject that this workspace has?"""
    known = {subject.task.name for subject in subjects}
    with store.read() as tx:
        strange = [batch for batch in batches.batches_in_states(tx) if batch.task not in known]
    for task in sorted({batch.task for batch in strange}):
        named = ", ".join(str(batch.number) for batch in strange if batch.task == task)
        said = f"nothing here is known of the task {task!r} of batch {named}"
        why = "its answers go nowhere, and its items are not counted"
        next_ = "name its table as it was named before (PASSAGES_TABLE=…)"
        yield notice("tasks", said, why, next=next_)


def check_task_files(subjects: Sequence[Subject]) -> Iterator[CheckFinding]:
    """Are the files there that declare tasks? What was answered is kept and exported without them."""
    for subject in subjects:
        place = subject.hooks.declared_in()
        if place is not None and not place.is_file():
            said = f"the file of the task {subject.name} is gone: {place}"
            why = "its rows cannot be asked about or their answers judged; all else works without it"
            yield notice("tasks", said, why, next=f"put it back, or name it where it is now: TASK=path/{place.name}")


def check_pilots(store: Store, data: Path, subjects: Sequence[Subject]) -> Iterator[CheckFinding]:
    """Has every pilot its report, and everything that goes on over days a version that was begun?"""
    with store.read() as tx:
        tried = pilots.all_pilots(tx)
        going = [(one.task, live_calls.unfinished_run(tx, one.task.name, mode=live_calls.BACKFILL)) for one in subjects]
        begun = {one.extractor for each in subjects for one in versions.list_versions(tx, each.task.name)}
    for pilot in tried:
        if pilot.report is not None and not (data / pilot.report).is_file():
            said = f"the report of pilot {pilot.number} ({pilot.extractor}) is gone: {pilot.report}"
            why = "why it passed or failed cannot be read any more; its verdict stands"
            next_ = f"make qc EXTRACTOR={pilot.extractor} writes another"
            yield notice("pilots", said, why, next=next_)
    for task, run in going:
        if run is not None and run.extractor not in begun:
            said = f"run {run.number} goes on under {run.extractor}, a version that was never begun"
            why = f"{task.words.many} would be asked under it although it was taken back"
            yield CheckFinding("pilots", said, why, next="restore a backup (make restore FROM=…)")


def check_reports(data: Path, subjects: Sequence[Subject], mend: Mend) -> Iterator[CheckFinding]:
    """Is there what killed processes left of reports?"""
    for subject in subjects:
        stale = report_files.stale_parts(data, subject.task.name)
        if not stale:
            continue
        mended = f"removed {len(report_files.sweep_reports(data, subject.task.name))} files" if mend.on else ""
        said = f"{len(stale)} files of reports that were never finished: {stale[0].name}"
        yield notice("reports", said, "they take room", mendable=True, mended=mended)
