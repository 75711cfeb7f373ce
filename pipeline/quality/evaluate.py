"""Measure a task's answers, judge them, and write the report into the workspace."""

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core.errors import ConfigurationError, InputError
from pipeline.engine.workspace import OpenWorkspace
from pipeline.quality import figures, report
from pipeline.quality.answers import BOUNDS, measure_answers
from pipeline.quality.figures import Bound, Verdict, failed_verdicts
from pipeline.store import answers

if TYPE_CHECKING:
    from pipeline.engine.task import Task
    from pipeline.store.database import Connection

WORDS = {True: "pass", False: "FAIL", None: ""}
HALF = 0.5
ENOUGH = 20  # items: when half of so many are wrong it is the question or the model, and no bad luck
BY_CONSTRUCTION = "the local engine quotes where it took an answer from: its evidence is true by construction"


class QualityReport(NamedTuple):
    """A report that was written: where, what it says in one line, the verdicts, and all of it as a document."""

    path: Path
    line: str
    verdicts: "list[Verdict]"
    document: dict[str, Any]

    @property
    def passed(self) -> bool:
        """Return whether no gate failed; gates that were not judged do not fail."""
        return not failed_verdicts(self.verdicts)

    def lines(self) -> list[tuple[str, str, str, str]]:
        """Return (gate with its figure, pass or why not judged, what was wanted, on how many items) of each gate."""
        return [
            (f"{one.gate.name} {one.shown}", one.why_not or WORDS[one.passed], one.gate.wanted, f"{one.figure.items:,}")
            for one in self.verdicts
        ]

    @property
    def is_judged(self) -> bool:
        """Return whether any gate was judged; where answers are few, none is."""
        return any(one.passed is not None for one in self.verdicts)

    @property
    def is_hopeless(self) -> bool:
        """Return whether a share misses its bound by half of everything, on enough items that it is no chance."""
        return any(
            one.passed is False
            and one.figure.value is not None
            and one.figure.unit == "share"
            and one.figure.items >= ENOUGH
            and abs(one.figure.value - (one.gate.missed(one.figure.value) or 0.0)) >= HALF
            for one in self.verdicts
        )

    def check(self) -> None:
        """Make sure that no gate failed.

        Raises:
            GateError: one did; the answers are stored, and so is this report.
        """
        figures.ensure_gates_passed(self.verdicts, report=str(self.path))


def check_gate_overrides(ws: "OpenWorkspace") -> None:
    """Make sure that the answers can be judged by the bounds that are set, before anything is paid for.

    Raises:
        ConfigurationError: GATES names a gate that there is not, or a bound that is none.
    """
    if ws.settings.gates or ws.task.gates:
        figures.bounds_set(_bounds_of(ws.task), _overrides(ws), others=_others(ws))


def _bounds_of(task: "Task") -> "Sequence[Bound]":
    found: Sequence[Bound] = import_module(task.measured_by).BOUNDS if task.measured_by else BOUNDS
    return found


def _overrides(ws: "OpenWorkspace") -> str:
    """Return the bounds that the task sets itself, and above them those that are set here."""
    task, here = ws.task, ws.settings.gates or ""
    try:
        figures.bounds_set(_bounds_of(task), task.gates)
    except ConfigurationError as error:
        said = f"gates= of the task {task.name}: {error.message.removeprefix('GATES: ')}"
        raise ConfigurationError(said, hint=error.hint) from error
    return ",".join(
        f"{name}={text}" for name, text in {**figures.parse_gates(task.gates), **figures.parse_gates(here)}.items()
    )


def _others(ws: "OpenWorkspace") -> set[str]:
    """Return the gates of the other tasks, where GATES names any but this one's: it may stand in `.env`."""
    if figures.parse_gates(ws.settings.gates or "").keys() <= {one.name for one in _bounds_of(ws.task)}:
        return set()
    return {gate.name for one in ws.tasks if one is not ws.task for gate in _bounds_of(one)}


def write_report(
    ws: "OpenWorkspace", *, extractor: str | None = None, notes: "list[str] | None" = None, fewest: int | None = None
) -> QualityReport | None:
    """Write the report on an extractor's answers (those of the label in use where none is named), and return it.

    None where there is nothing to tell: neither an answer nor a reply. `notes` are shown on top of it; of
    `fewest` see `figures.judge_figures`.

    Raises:
        ConfigurationError: GATES names a gate that there is not, or a bound that is none; nothing was written.
    """
    with ws.store.read() as tx:
        chosen = extractor or (ws.task.label if ws.settings.version else _answered_label(tx, ws.task))
        measure = import_module(ws.task.measured_by).measure if ws.task.measured_by else measure_answers
        quality: figures.Quality = measure(tx, ws.task, chosen)
    if not quality.items and not any(one.items for one in quality.figures):
        return None
    has_evidence = any(one.name == "evidence" and one.value is not None for one in quality.figures)
    by_construction = [BY_CONSTRUCTION] if ws.backend == "local" and has_evidence else []
    quality = replace(quality, notes=[*(notes or []), *by_construction, *quality.notes])
    overrides = _overrides(ws)
    verdicts = figures.judge_figures(quality, overrides, others=_others(ws), fewest=fewest)
    at = ws.now()
    settings = {"GATES": overrides, "task": ws.task.name, "workspace": str(ws.data)}
    document = report.report_document(quality, verdicts, at=at, settings=settings)
    again = ws.task.words.make("qc")
    text = report.report_markdown(quality, verdicts, at=at, settings=settings, again=again)
    path = report.seal_report(ws.data, ws.task.name, at=at, markdown=text, document=document)
    return QualityReport(path, report.verdict_line(verdicts), verdicts, {**document, "report": str(path)})


def _answered_label(tx: "Connection", task: "Task") -> str:
    """Return the task's label; while there is no answer of it, and older ones count, the last that has answers."""
    begun = answers.list_versions(tx, task.name) if task.counts_any else []
    answered = [one.label for one in begun if answers.count_answered(tx, task.name, one.extractor)]
    return answered[-1] if answered and task.label not in answered else task.label


def run(ws: OpenWorkspace, *, extractor: str | None = None) -> QualityReport | None:
    """Write the report on an extractor's answers, or on those of the label in use; None where there is nothing yet.

    The caller asks the report to `check` itself when it has been shown.

    Raises:
        InputError: there is nothing of an extractor that was named.
        ConfigurationError: GATES names a gate that there is not, or a bound that is none.
    """
    found = write_report(ws, extractor=extractor)
    if found is None and extractor is not None:
        raise InputError(
            f"there is no answer of {extractor!r}; no report was written",
            hint="`make versions` lists whose answers there are",
        )
    return found
