"""Measure a task's answers, judge them, and write the report into the workspace."""

from collections.abc import Sequence
from importlib import import_module

from pipeline.engine.task import Task
from pipeline.engine.workspace import WorkspaceSession
from pipeline.quality import figures
from pipeline.quality.figures import Figure, QualityFigures
from pipeline.quality.report import QualityReport
from pipeline.store import answers
from pipeline.store.database import Connection

OF_ANY_TASK = "pipeline.quality.measure"
BY_CONSTRUCTION = (
    "the local engine quotes where it took an answer from: its evidence is true by construction"
)


def gates_of(ws: WorkspaceSession) -> dict[str, Figure | None]:
    """Return the gates of the task with the bounds that its file and GATES set, None where one is off.

    GATES may stand in `.env`, so that it may name gates of other tasks.
    """
    texts = {f"gates= of the task {ws.task.name}": ws.task.gates, "GATES": ws.settings.gates or ""}
    others = (
        {one.name for task in ws.tasks for one in _figures_of(task)} if ws.settings.gates else ()
    )
    return figures.gates_in_force(_figures_of(ws.task), texts, others=others)


def _figures_of(task: Task) -> Sequence[Figure]:
    found: Sequence[Figure] = import_module(task.measured_by or OF_ANY_TASK).FIGURES
    return found


def write_report(
    ws: WorkspaceSession, *, extractor: str | None = None, notes: Sequence[str] = ()
) -> QualityReport | None:
    """Write the report on an extractor's answers (those of the label in use where none is named), and return it.

    None where there is nothing to tell: neither an answer nor a reply. `notes` are shown on top of it.
    """
    with ws.store.read() as tx:
        chosen = extractor or (
            ws.task.label if ws.settings.version else _answered_label(tx, ws.task)
        )
        quality: QualityFigures = import_module(ws.task.measured_by or OF_ANY_TASK).measure(
            tx, ws.task, chosen
        )
    if not quality.items and not any(items for _, items in quality.values.values()):
        return None
    if ws.backend == "local" and quality.values.get("evidence", (None, 0))[0] is not None:
        notes = [*notes, BY_CONSTRUCTION]
    quality = quality._replace(notes=[*notes, *quality.notes])
    bounds = ",".join(filter(None, (ws.task.gates, ws.settings.gates)))
    settings = {"GATES": bounds, "task": ws.task.name}
    found = QualityReport(quality, figures.judged(quality, gates_of(ws)), ws.now(), settings)
    return found.sealed(ws.data, ws.task.name, again=ws.task.words.step("qc"))


def _answered_label(tx: Connection, task: Task) -> str:
    """Return the task's label; while there is no answer of it, and older ones count, the last that has answers."""
    begun = [] if task.own else answers.list_versions(tx, task.name)
    answered = [one.label for one in begun if answers.count_answered(tx, task.name, one.extractor)]
    return answered[-1] if answered and task.label not in answered else task.label
