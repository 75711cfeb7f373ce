"""Measure the answers of a task, judge the figures, and write the report into the workspace.

A gate is a figure with bounds; to judge a figure is to compare its value with them. A `version`
is `task@n/model`, or a prompt version, `task@n`.
"""

from collections.abc import Sequence
from itertools import chain

from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.report import PLACEHOLDER_NOTE, Report, make_table
from askrows.pipeline.core.settings import Settings
from askrows.pipeline.provider.service import Service
from askrows.pipeline.quality import figures
from askrows.pipeline.quality.figures import Figure, TaskMeasure
from askrows.pipeline.quality.report import QualityReport, delete_abandoned_report_parts
from askrows.pipeline.tasks.announcements import announce_placeholders
from askrows.pipeline.tasks.shipped_task import find_shipped_task
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.workspace.open_workspace import OpenWorkspace

LOCAL_EVIDENCE_NOTE = (
    "the evidence of the local engine is always correct, because it copies quotations from the text"
)

# Columns of the table of gates; see `make_table`.
GATE_COLUMNS = "gate=name cases verdict=passed finding=said"
# Bounds of tasks whose answers consist of choices only, in the form of the setting GATES.
CLOSED_ANSWER_GATES = "same=off"


def read_effective_gates(
    task: Task, settings: Settings, *, tasks: Sequence[Task]
) -> dict[str, Figure | None]:
    """Return the gates of a task by name, with the bounds in force; None if a gate is off.

    A gate is a figure of quality with bounds: a pilot fails if the figure is outside them. The
    task's file overrides the default bounds, and GATES overrides the file. GATES can be set in
    `.env` for all tasks, so it may name gates of other tasks of the workspace; these are ignored.
    The gate `same` is off by default for a task whose answers are choices only.

    Args:
        task: The task whose gates are returned.
        settings: The settings with GATES.
        tasks: All tasks of the workspace.

    Raises:
        ConfigurationError: GATES or `gates=` of the task's file is malformed. Or it names a gate
            that the task does not have; for GATES, a gate that no task of the workspace has.
    """
    # Most rows may have the same choice, which says nothing about the quality of the answers.
    default_gates = ""
    if task.is_closed:
        default_gates = CLOSED_ANSWER_GATES
    bounds_by_source = {
        "the default bounds": default_gates,
        f"gates= of the task {task.name}": task.record.gates,
        "GATES": settings.gates or "",
    }
    other_gates: set[str] = set()
    if settings.gates:
        other_figures = chain.from_iterable(
            _load_own_or_default_measure(other).figures for other in tasks
        )
        other_gates = {figure.name for figure in other_figures}
    return figures.make_effective_gates(
        _load_own_or_default_measure(task).figures,
        bounds_by_source,
        other_gates=other_gates,
    )


def _load_own_or_default_measure(task: Task) -> TaskMeasure:
    """Return the figures of a task with their function; a shipped task may have its own."""
    shipped_task = find_shipped_task(task.subject)
    if shipped_task is not None and shipped_task.load_measure is not None:
        task_measure = shipped_task.load_measure()
        assert isinstance(task_measure, TaskMeasure)  # noqa: S101 - see `load_measure`
        return task_measure

    from askrows.pipeline.quality import measure

    return TaskMeasure(measure.list_figures_without_means(task), measure.measure_answers)


def measure_and_write_report(
    workspace: OpenWorkspace,
    task: Task,
    *,
    tasks: Sequence[Task],
    version: str | None = None,
    notes: Sequence[str] = (),
) -> QualityReport | None:
    """Measure and judge the answers of a version, write the report's files, and return the report.

    Figures are compared with the gates in force; a failed gate raises nothing. The report is in the
    folder `reports` of DATA, and is on disk when this returns.

    Args:
        task: The task whose answers are measured.
        tasks: All tasks of the workspace, whose names a file of gates may have.
        version: The version: `task@n/model`, or `task@n` for all models. None means the prompt
            version in use.
        notes: Notes for the beginning of the report. If the answers are placeholders of the local
            engine, notes about that are added.

    Returns:
        The report, or None if there was nothing to measure: no answer, no reply without an answer,
        and no parked row. No file is written then.

    Raises:
        ConfigurationError: The gates of the task or of GATES are malformed.
    """
    task_measure = _load_own_or_default_measure(task)
    measured_version = version or task.prompt_version
    with workspace.store.read() as tx:
        quality = task_measure.measure(tx, task, measured_version)

    if not quality.rows and not any(case_count for _, case_count in quality.values.values()):
        return None

    if workspace.has_placeholder_answers:
        notes = [PLACEHOLDER_NOTE, *notes]
        evidence_share, _ = quality.values.get("evidence", (None, 0))
        if evidence_share is not None:
            notes = [*notes, LOCAL_EVIDENCE_NOTE]
    quality = quality._replace(notes=[*notes, *quality.notes])
    gates = read_effective_gates(task, workspace.settings, tasks=tasks)

    report = QualityReport(quality, figures.judge_figures(quality, gates), workspace.now())
    return report.write_files(workspace.data, task.name)


def measure_and_report_quality(
    workspace: OpenWorkspace,
    service: Service,
    task: Task,
    *,
    tasks: Sequence[Task],
    version: str | None,
) -> Report:
    """Measure the answers of a version, write the report's files, and report the gates.

    Partly written reports of dead processes are deleted first. A notice is printed if the answers
    are placeholders. Failed gates are in `errors` of the result; they are not raised. If there is
    nothing to measure, and no version was named, the result only says so.

    Args:
        task: The task whose answers are measured.
        tasks: All tasks of the workspace, whose names a file of gates may have.
        version: The version, as in `measure_and_write_report`.

    Raises:
        InputError: A version was named that has no answers; no file was written.
        ConfigurationError: The gates are malformed.
    """
    delete_abandoned_report_parts(workspace.data, task.name)
    quality = measure_and_write_report(workspace, task, tasks=tasks, version=version)
    if quality is not None:
        announce_placeholders(workspace, service, task)
        figures = {**quality.document, "placeholder": workspace.has_placeholder_answers}
        report = Report(figures, f"{quality.gates_text}; report: {quality.path}")
        report.parts.append(make_table(figures["gates"], GATE_COLUMNS))
        if quality.gate_error is not None:
            report.errors = [quality.gate_error]
        return report

    # A task without answers is an error only if the user named a version.
    if version is not None:
        raise InputError(
            f"there is no answer of version {version!r}; no report was written",
            hint=f"`{CommandHint('versions')}` lists the versions",
        )
    rows = task.nouns.plural
    return Report(
        None, f"no answers about {rows} under {task.prompt_version} yet: nothing to measure"
    )
