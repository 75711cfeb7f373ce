"""Measure the answers of a task, judge the figures, and write the report into the workspace."""

from collections.abc import Sequence
from importlib import import_module

from pipeline.engine.task import Task
from pipeline.engine.workspace import WorkspaceSession
from pipeline.quality import figures
from pipeline.quality.figures import Figure, QualityFigures
from pipeline.quality.report import QualityReport
from pipeline.store import answers
from pipeline.store.database import Connection

# The module that measures a task without figures of its own.
DEFAULT_MEASURE_MODULE = "pipeline.quality.measure"
LOCAL_EVIDENCE_NOTE = (
    "the local engine quotes where it took an answer from: its evidence is true by construction"
)


def effective_gates_of(ws: WorkspaceSession) -> dict[str, Figure | None]:
    """Return the gates of the task with the bounds of its file and of GATES.

    A gate that is off is None.

    GATES may name gates of other tasks of the workspace, because it can be set in `.env`.

    Raises:
        ConfigurationError: A setting is malformed or names an unknown gate.
    """
    settings = {
        f"gates= of the task {ws.task.name}": ws.task.gates,
        "GATES": ws.settings.gates or "",
    }
    other_gates: set[str] = set()
    if ws.settings.gates:
        for task in ws.tasks:
            other_gates |= {figure.name for figure in _figures_of(task)}
    return figures.effective_gates(_figures_of(ws.task), settings, other_gates=other_gates)


def _figures_of(task: Task) -> Sequence[Figure]:
    module = import_module(task.measured_by or DEFAULT_MEASURE_MODULE)
    task_figures: Sequence[Figure] = module.FIGURES
    return task_figures


def write_report(
    ws: WorkspaceSession,
    *,
    extractor: str | None = None,
    notes: Sequence[str] = (),
) -> QualityReport | None:
    """Measure and judge the answers of a version, and write and return the report.

    The report is on disk when this returns. Gates are judged, but a failed gate raises nothing.

    Args:
        ws: The session.
        extractor: `task@n/model`, or `task@n` for all models. The default is the prompt version
            in use. If it has no answers and VERSION= is not set, it is the last version that has.
        notes: Notes for the beginning of the report.

    Returns:
        None if there is neither an answer nor a reply.
    """
    measure_module = import_module(ws.task.measured_by or DEFAULT_MEASURE_MODULE)
    with ws.store.read() as tx:
        version = extractor
        if not version:
            version = ws.task.label if ws.settings.version else _answered_version(tx, ws.task)
        quality: QualityFigures = measure_module.measure(tx, ws.task, version)

    if not quality.items and not any(item_count for _, item_count in quality.values.values()):
        return None

    evidence_share, _ = quality.values.get("evidence", (None, 0))
    if ws.backend == "local" and evidence_share is not None:
        notes = [*notes, LOCAL_EVIDENCE_NOTE]
    quality = quality._replace(notes=[*notes, *quality.notes])

    gates_text = ",".join(filter(None, (ws.task.gates, ws.settings.gates)))
    report = QualityReport(
        quality,
        figures.judge_figures(quality, effective_gates_of(ws)),
        ws.now(),
        {"GATES": gates_text, "task": ws.task.name},
    )
    return report.sealed(ws.data, ws.task.name, rerun_command=ws.task.words.step("qc"))


def _answered_version(tx: Connection, task: Task) -> str:
    """Return the task's prompt version, or the last version with answers if it has none.

    A task that counts only answers of its own version always gets this version.
    """
    versions = [] if task.own else answers.list_versions(tx, task.name)
    answered_versions = [
        version.label
        for version in versions
        if answers.count_answered(tx, task.name, version.extractor)
    ]
    if answered_versions and task.label not in answered_versions:
        return answered_versions[-1]
    return task.label
