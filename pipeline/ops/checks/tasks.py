"""Are the rows of every subject what was written? And do pilots and reports agree with what is there?"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipeline.ops.checks.finding import CheckContext, CheckFinding, Mend
from pipeline.quality import report_files
from pipeline.store import batches, live_calls, pilots, versions

if TYPE_CHECKING:
    from pipeline.engine.workspace import OpenWorkspace


def check_rows(ws: "OpenWorkspace", *, mend: Mend) -> Iterator[CheckFinding | CheckContext]:  # noqa: ARG001 - the shape of every check
    """Does every row that was written still say what it said, and does it hold against what it is about?"""
    for subject in ws.subjects:
        with ws.store.read() as tx:
            found = subject.task.check(tx)
        if found is None:
            continue
        yield CheckContext(subject.name, found.said, found.figures)
        for one in found.faults:
            yield CheckFinding(subject.name, one.said, one.why, contradiction=one.contradiction, next=one.next)


def check_tasks(ws: "OpenWorkspace", *, mend: Mend) -> Iterator[CheckFinding]:  # noqa: ARG001 - the shape of every check
    """Is every batch about a subject that this workspace has?"""
    known = {subject.task.name for subject in ws.subjects}
    with ws.store.read() as tx:
        strange = [batch for batch in batches.batches_in_states(tx) if batch.task not in known]
    for task in sorted({batch.task for batch in strange}):
        named = ", ".join(str(batch.number) for batch in strange if batch.task == task)
        said = f"nothing here is known of the task {task!r} of batch {named}"
        why = "its answers go nowhere, and its items are not counted"
        next_ = "name its table as it was named before (PASSAGES_TABLE=…)"
        yield CheckFinding("tasks", said, why, contradiction=False, next=next_)


def check_pilots(ws: "OpenWorkspace", *, mend: Mend) -> Iterator[CheckFinding]:  # noqa: ARG001 - the shape of every check
    """Has every pilot its report, and everything that goes on over days a version that was begun?"""
    with ws.store.read() as tx:
        tried = pilots.all_pilots(tx)
        going = [
            (one.task, live_calls.unfinished_run(tx, one.task.name, mode=live_calls.BACKFILL)) for one in ws.subjects
        ]
        begun = {one.extractor for each in ws.subjects for one in versions.list_versions(tx, each.task.name)}
    for pilot in tried:
        if pilot.report is not None and not (ws.data / pilot.report).is_file():
            said = f"the report of pilot {pilot.number} ({pilot.extractor}) is gone: {pilot.report}"
            why = "why it passed or failed cannot be read any more; its verdict stands"
            next_ = f"make qc EXTRACTOR={pilot.extractor} writes another"
            yield CheckFinding("pilots", said, why, contradiction=False, next=next_)
    for task, run in going:
        if run is not None and run.extractor not in begun:
            said = f"run {run.number} goes on under {run.extractor}, a version that was never begun"
            why = f"{task.words.many} would be asked under it, whoever took it back"
            yield CheckFinding("pilots", said, why, next="restore a backup (make restore FROM=…)")


def check_reports(ws: "OpenWorkspace", *, mend: Mend) -> Iterator[CheckFinding]:
    """Is there what killed processes left of reports?"""
    for subject in ws.subjects:
        stale = report_files.stale_parts(ws.data, subject.task.name)
        if not stale:
            continue
        mended = f"removed {len(report_files.sweep_reports(ws.data, subject.task.name))} files" if mend.on else ""
        said = f"{len(stale)} files of reports that were never finished: {stale[0].name}"
        yield CheckFinding("reports", said, "they take room", contradiction=False, mendable=True, mended=mended)
