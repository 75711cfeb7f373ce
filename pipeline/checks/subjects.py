"""Are the rows of every subject what was written? And do pilots and reports agree with what is there?"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipeline.checks.finding import Finding, Mend, Seen
from pipeline.quality import reports
from pipeline.store import batches, pilots, runs, versions

if TYPE_CHECKING:
    from pipeline.runtime import Runtime


def check_rows(rt: "Runtime", *, mend: Mend) -> Iterator[Finding | Seen]:  # noqa: ARG001 - the shape of every check
    """Does every row that was written still say what it said, and does it hold against what it is about?"""
    for subject in rt.subjects:
        with rt.store.read() as tx:
            found = subject.task.check(tx)
        if found is None:
            continue
        yield Seen(subject.name, found.said, found.figures)
        for one in found.faults:
            yield Finding(subject.name, one.said, one.why, contradiction=one.contradiction, next=one.next)


def check_tasks(rt: "Runtime", *, mend: Mend) -> Iterator[Finding]:  # noqa: ARG001 - the shape of every check
    """Is every batch about a subject that this workspace has?"""
    known = {subject.task.name for subject in rt.subjects}
    with rt.store.read() as tx:
        strange = [batch for batch in batches.in_states(tx) if batch.task not in known]
    for task in sorted({batch.task for batch in strange}):
        named = ", ".join(str(batch.number) for batch in strange if batch.task == task)
        said = f"nothing here is known of the task {task!r} of batch {named}"
        why = "its answers go nowhere, and its items are not counted"
        next_ = "name its table as it was named before (PASSAGES_TABLE=…)"
        yield Finding("tasks", said, why, contradiction=False, next=next_)


def check_pilots(rt: "Runtime", *, mend: Mend) -> Iterator[Finding]:  # noqa: ARG001 - the shape of every check
    """Has every pilot its report, and everything that goes on over days a version that was begun?"""
    with rt.store.read() as tx:
        tried = pilots.everything(tx)
        going = [(one.task, runs.unfinished(tx, one.task.name, mode=runs.BACKFILL)) for one in rt.subjects]
        begun = {one.extractor for each in rt.subjects for one in versions.listed(tx, each.task.name)}
    for pilot in tried:
        if pilot.report is not None and not (rt.data / pilot.report).is_file():
            said = f"the report of pilot {pilot.number} ({pilot.extractor}) is gone: {pilot.report}"
            why = "why it passed or failed cannot be read any more; its verdict stands"
            next_ = f"make qc EXTRACTOR={pilot.extractor} writes another"
            yield Finding("pilots", said, why, contradiction=False, next=next_)
    for task, run in going:
        if run is not None and run.extractor not in begun:
            said = f"run {run.number} goes on under {run.extractor}, a version that was never begun"
            why = f"{task.words.many} would be asked under it, whoever took it back"
            yield Finding("pilots", said, why, next="restore a backup (make restore FROM=…)")


def check_reports(rt: "Runtime", *, mend: Mend) -> Iterator[Finding]:
    """Is there what killed processes left of reports?"""
    for subject in rt.subjects:
        stale = reports.stale(rt.data, subject.task.name)
        if not stale:
            continue
        mended = f"removed {len(reports.sweep(rt.data, subject.task.name))} files" if mend.on else ""
        said = f"{len(stale)} files of reports that were never finished: {stale[0].name}"
        yield Finding("reports", said, "they take room", contradiction=False, mendable=True, mended=mended)
