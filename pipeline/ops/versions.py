"""List the versions that are here, and take one back: its rows and its bookkeeping; what was paid stays in the history.

That is one transaction: all of a version goes, or nothing. Versions whose rows were not asked for here can be taken
back too. Once nothing is left of what the local engine answered, the workspace is bound to no backend any more.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

from pipeline.batch import ingest
from pipeline.core import files
from pipeline.core.command_hint import CommandHint
from pipeline.core.errors import InputError
from pipeline.core.states import OPEN_STATES
from pipeline.core.text import format_usd
from pipeline.engine.task import Task
from pipeline.engine.workspace import WorkspaceSession
from pipeline.ops.forget import LOCAL_ENGINE_FILES
from pipeline.store import answers, batches, workspace
from pipeline.store.answers import VersionCounts
from pipeline.store.database import Connection, split_into_pages

LOCK = "rollback"
NEXT = CommandHint("versions")
QUESTION = "Take this back for good? What it cost is spent all the same; other versions stay."


class VersionSummary(NamedTuple):
    """One version of which something is here: what there is of it, and USD paid for it."""

    subject: str
    counts: VersionCounts
    paid: float

    @property
    def document(self) -> dict[str, Any]:
        """Return it for programs."""
        label, model, rows, items, *times = self.counts
        first, last = (None if at is None else at.isoformat() for at in times)
        named = {
            "task": self.subject,
            "version": label,
            "model": model or None,
            "extractor": self.counts.extractor,
        }
        return {
            **named,
            "rows": rows,
            "items": items,
            "first": first,
            "last": last,
            "cost": round(self.paid, 6),
        }


@dataclass
class RollbackReport:
    """What was found of a version, of which subject, and what went in this run: its rows, answers, failed attempts.

    `let_go` items are parked no more; `unbound` says that nothing is left of the local engine; `next` is what to type,
    for what went stands in an index until that is built anew.
    """

    subject: str
    found: list[VersionSummary]
    next: CommandHint = NEXT
    rows: int = 0
    answers: int = 0
    attempts: int = 0
    let_go: int = 0
    unbound: bool = False


def every_version(ws: WorkspaceSession) -> list[VersionSummary]:
    """Return every version of every subject, or where TASK= is set of that one, from one snapshot; reads all rows."""
    only = "task" in ws.settings.sources
    with ws.store.read() as tx:
        return [
            one for each in ws.tasks if each is ws.task or not only for one in _summaries(tx, each)
        ]


def roll_back(ws: WorkspaceSession, name: str) -> RollbackReport:
    """Roll back a label with all its models, or with one (label/model); what would go is said before a person is asked.

    Raises:
        InputError: something of it is under way, or it was not confirmed; nothing was changed.
    """
    with ws.store.read() as tx:
        subject, found = _find(tx, name, ws)
    ingest.recover_dead_runs(
        replace(ws, task=subject)
    )  # a killed command's calls are under way no more
    with ws.store.read() as tx:
        _check_free(tx, subject, found)
    report = RollbackReport(subject.subject, found)
    for one in found:
        counts = f"{one.counts.rows:,} rows of {one.counts.items:,} {subject.words.many}"
        ws.display.say(f"{one.counts.extractor}: {counts}, {format_usd(one.paid)} paid")
    if found:
        ws.agree(QUESTION)
    with ws.lock(LOCK):
        with ws.store.write() as tx:
            _check_free(tx, subject, found)
            for one in found:
                _remove(tx, subject, one.counts, report, at=ws.now())
            is_any_left = subject.index is not None and subject.index.count(tx) > 0
        report.unbound = _unbound(ws)
    if found and ws.indexes(subject):  # an index is built of one answer at least
        report.next = subject.words.step("index" if is_any_left else "tag")
    return report


def _summaries(tx: Connection, task: Task) -> list[VersionSummary]:
    """Return every version of a task that has rows, answers or a beginning here; others' first, then by age."""
    known = {one.extractor: one for one in answers.list_versions(tx, task.name)}
    told = task.versions(tx)
    found = known | {
        one.extractor: one
        for one in (answers.version_counts(tx, task.name) if told is None else told)
    }
    order = {whose: number for number, whose in enumerate(known)}
    ordered = sorted(found, key=lambda one: (order.get(one, -1), found[one][:2]))
    return [
        VersionSummary(task.subject, found[one], answers.cost_of_version(tx, task.name, one))
        for one in ordered
    ]


def _find(tx: Connection, name: str, ws: WorkspaceSession) -> tuple[Task, list[VersionSummary]]:
    named = [one for one in ws.tasks if one.name == name.partition("@")[0]]
    named = [ws.task] if "task" in ws.settings.sources else named
    for one in named or ws.tasks:
        if found := [
            each
            for each in _summaries(tx, one)
            if name in {each.counts.extractor, each.counts.label}
        ]:
            return one, found
    return next(iter(named), ws.task), []


def _check_free(tx: Connection, task: Task, going: Sequence[VersionSummary]) -> None:
    """Refuse while something may still come in under a version, and what has no version at all."""
    said = hint = ""
    if any(not one.counts.label.strip() for one in going):
        said = "rows without a version are another program's"
        hint = f"{CommandHint('versions')} lists those that are here"
    if any(one.counts.label == answers.PERSON for one in going):
        said = "what people said by hand is no version of a model"
        hint = f"an edit is undone by its number: {CommandHint('correct', item='username', undo=1)}"
    names = {one.counts.extractor for one in going}
    for one in (
        one
        for one in batches.batches_in_states(tx, *OPEN_STATES, task=task.name)
        if one.extractor in names
    ):
        said = f"batch {one.number} of {one.extractor} is {one.state}, not over"
        ways = task.words.step("status"), CommandHint("batch-cancel", batch=one.number)
        hint = "`{}` says how to finish it, `{}` gives it up".format(*ways)
    if said:
        raise InputError(f"{said}; nothing was changed", hint=hint)


def _remove(
    tx: Connection, task: Task, one: VersionCounts, report: RollbackReport, *, at: datetime
) -> None:
    rows = task.roll_back(tx, one.label, model=one.model)
    if rows is None:  # what is still as the version gave it goes
        applied = list(tx.execute(answers.answered_ids(task.name, one.extractor)).scalars())
        rows = sum(
            task.take_back(tx, some, extractor=one.extractor) for some in split_into_pages(applied)
        )
    gone, failed, let_go = answers.delete_version(tx, task.name, one.extractor, now=at)
    report.rows += rows
    report.answers += gone
    report.attempts += failed
    report.let_go += let_go
    if report.rows:
        workspace.record_row_change(tx, task.name)


def _unbound(ws: WorkspaceSession) -> bool:
    """Unbind a workspace of which nothing is left that the local engine answered; return whether that was so.

    What it embedded is told from Gemini's by the name of its model.
    """
    with ws.store.write() as tx:
        if workspace.get_workspace(tx).backend != "local" or answers.has_any_request(tx):
            return False
        workspace.unbind_workspace(
            tx, now=ws.now(), reason="nothing is left of what the local engine answered"
        )
    for name in LOCAL_ENGINE_FILES:
        files.remove_path(ws.data / name)
    return True
