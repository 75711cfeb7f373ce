"""Measure a task's answers, judge them, and write the report into the workspace."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core.errors import GateError, InputError
from pipeline.core.step import Option, Step
from pipeline.engine.workspace import OpenWorkspace
from pipeline.quality import figures, report
from pipeline.quality.figures import FEWEST, Figure, Measured, Quality
from pipeline.store import answers

if TYPE_CHECKING:
    from pipeline.engine.task import Task
    from pipeline.store.database import Connection

WORDS = {True: "pass", False: "FAIL", None: ""}
HALF = 0.5
OF_ANY_TASK = "pipeline.quality.measure"
BY_CONSTRUCTION = "the local engine quotes where it took an answer from: its evidence is true by construction"


class QualityReport(NamedTuple):
    """A report that was written: where, what it says in one line, its gates as they were judged, and all of it."""

    path: Path
    line: str
    gates: list[Measured]
    document: dict[str, Any]

    @property
    def failed(self) -> list[Measured]:
        """Return the gates that failed; those that were not judged do not."""
        return [one for one in self.gates if one.passed is False]

    @property
    def passed(self) -> bool:
        """Return whether no gate failed."""
        return not self.failed

    def lines(self) -> list[tuple[str, str, str, str]]:
        """Return (gate with its figure, pass or why not judged, what was wanted, on how many items) of each gate."""
        return [
            (f"{one.figure.name} {one.shown}", one.why_not or WORDS[one.passed], one.figure.wanted, f"{one.items:,}")
            for one in self.gates
        ]

    @property
    def is_hopeless(self) -> bool:
        """Return whether a share misses its bound by half of everything, on enough items that it is no chance."""
        shares = [one for one in self.failed if one.figure.unit == "share" and one.items >= FEWEST]
        return any(abs((one.value or 0.0) - (one.figure.missed(one.value) or 0.0)) >= HALF for one in shares)

    @property
    def error(self) -> GateError | None:
        """Return the error that says which gates failed, if any did; the answers are stored, and so is this report."""
        if not self.failed:
            return None
        count = "a quality gate" if len(self.failed) == 1 else f"{len(self.failed)} quality gates"
        return GateError(
            f"{count} failed: {'; '.join(one.said for one in self.failed)}; the answers are stored",
            hint=f"read {self.path}; then a better prompt or model under a new version, "
            f"or other bounds by {Option('gates')}",
        )

    def check(self) -> None:
        """Raise `error`, where there is one."""
        if self.error is not None:
            raise self.error


def gates_of(ws: OpenWorkspace) -> dict[str, Figure | None]:
    """Return the gates of the task with the bounds that its file and GATES set, None where one is off.

    GATES may stand in `.env`, so that it may name gates of other tasks.

    Raises:
        ConfigurationError: a gate is named that there is not, or a bound that is none.
    """
    texts = {f"gates= of the task {ws.task.name}": ws.task.gates, "GATES": ws.settings.gates or ""}
    others = {one.name for task in ws.tasks for one in _figures_of(task)} if ws.settings.gates else ()
    return figures.gates_in_force(_figures_of(ws.task), texts, others=others)


def _figures_of(task: "Task") -> Sequence[Figure]:
    found: Sequence[Figure] = import_module(task.measured_by or OF_ANY_TASK).FIGURES
    return found


def write_report(ws: OpenWorkspace, *, extractor: str | None = None, notes: Sequence[str] = ()) -> QualityReport | None:
    """Write the report on an extractor's answers (those of the label in use where none is named), and return it.

    None where there is nothing to tell: neither an answer nor a reply. `notes` are shown on top of it.

    Raises:
        ConfigurationError: see `gates_of`; nothing was written.
    """
    with ws.store.read() as tx:
        chosen = extractor or (ws.task.label if ws.settings.version else _answered_label(tx, ws.task))
        quality: Quality = import_module(ws.task.measured_by or OF_ANY_TASK).measure(tx, ws.task, chosen)
    if not quality.items and not any(items for _, items in quality.values.values()):
        return None
    if ws.backend == "local" and quality.values.get("evidence", (None, 0))[0] is not None:
        notes = [*notes, BY_CONSTRUCTION]
    quality = quality._replace(notes=[*notes, *quality.notes])
    found = figures.judged(quality, gates_of(ws))
    bounds = ",".join(filter(None, (ws.task.gates, ws.settings.gates)))
    settings = {"GATES": bounds, "task": ws.task.name}
    written = report.Written(quality, found, ws.now(), settings)
    text = written.markdown(again=ws.task.words.step("qc"))
    path = report.seal_report(ws.data, ws.task.name, at=written.at, markdown=text, document=written.document)
    return QualityReport(path, written.line, written.gates, {**written.document, "report": str(path)})


def _answered_label(tx: "Connection", task: "Task") -> str:
    """Return the task's label; while there is no answer of it, and older ones count, the last that has answers."""
    begun = [] if task.own else answers.list_versions(tx, task.name)
    answered = [one.label for one in begun if answers.count_answered(tx, task.name, one.extractor)]
    return answered[-1] if answered and task.label not in answered else task.label


def run(ws: OpenWorkspace, *, extractor: str | None = None) -> QualityReport | None:
    """Write the report on an extractor's answers, or on those of the label in use; None where there is nothing yet.

    The caller asks the report to `check` itself when it has been shown.

    Raises:
        InputError: there is nothing of an extractor that was named.
        ConfigurationError: see `gates_of`.
    """
    found = write_report(ws, extractor=extractor)
    if found is None and extractor is not None:
        raise InputError(
            f"there is no answer of {extractor!r}; no report was written",
            hint=f"`{Step('versions')}` lists whose answers there are",
        )
    return found
