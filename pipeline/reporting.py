"""Measures a task's answers, judges them, and writes the report into the workspace."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.quality import gates, pictures, report, reports
from pipeline.quality.figures import shown

if TYPE_CHECKING:
    from pipeline.quality.figures import Quality, Verdict
    from pipeline.runtime import Runtime

HALF = 0.5
ENOUGH = 20  # items: when half of so many are wrong it is the question or the model, and no bad luck
NOBODY = "nobody@0/nothing"  # an extractor without answers: its gates are those of any other


class Report(NamedTuple):
    """A report that was written: where, what it says in one line, the verdicts, and all of it as a document."""

    path: Path
    line: str
    verdicts: "list[Verdict]"
    document: dict[str, Any]

    @property
    def passed(self) -> bool:
        """Return whether no gate failed; gates that were not judged do not fail."""
        return not gates.failed(self.verdicts)

    def lines(self) -> list[tuple[str, str, str, str]]:
        """Return (gate with its figure, pass or not, what was wanted, on how many items) of each gate, for a table."""
        return [
            (
                f"{one.gate.name} {shown(one.value, one.gate.figure.unit, bound=gates.missed(one.gate))}",
                report.WORDS[one.passed].strip("*"),
                gates.wanted(one.gate),
                f"{one.gate.figure.items:,}",
            )
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
            and one.value is not None
            and one.gate.figure.unit == "share"
            and one.gate.figure.items >= ENOUGH
            and abs(one.value - (gates.missed(one.gate) or 0.0)) >= HALF
            for one in self.verdicts
        )

    def check(self) -> None:
        """Make sure that no gate failed.

        Raises:
            GateError: one did; the answers are stored, and so is this report.
        """
        gates.check(self.verdicts, report=str(self.path))


def check_bounds(rt: "Runtime") -> None:
    """Make sure that the answers can be judged by the bounds that are set, before anything is paid for.

    Raises:
        ConfigurationError: GATES names a gate that there is not, or a bound that is none.
    """
    if not rt.settings.gates:
        return
    with rt.store.read() as tx:
        quality = rt.task.quality(tx, NOBODY)
    gates.check_bounds(quality, rt.settings.gates, others=_others(rt, quality))


def _others(rt: "Runtime", quality: "Quality") -> set[str]:
    """Return the gates of the other subjects, where GATES names any but this one's: it may stand in `.env`."""
    if gates.parse(rt.settings.gates or "").keys() <= {one.name for one in quality.gates}:
        return set()
    with rt.store.read() as tx:
        others = [one.task.quality(tx, NOBODY) for one in rt.subjects if one.task is not rt.task]
    return {gate.name for other in others for gate in other.gates}


def tidy(rt: "Runtime") -> None:
    """Remove what killed processes left of the task's reports that never became whole."""
    reports.sweep(rt.data, rt.task.name)


def write(
    rt: "Runtime", *, extractor: str | None = None, notes: "list[str] | None" = None, fewest: int | None = None
) -> Report | None:
    """Write the report on an extractor's answers (those of the task's label where none is named), and return it.

    None where there is nothing to tell: neither an answer nor a reply. `notes` are shown on top of it; of
    `fewest` see `gates.judge`.

    Raises:
        ConfigurationError: GATES names a gate that there is not, or a bound that is none; nothing was written.
    """
    chosen = extractor or rt.task.label
    with rt.store.read() as tx:
        quality = rt.task.quality(tx, chosen)
    if not quality.items and not any(one.items for one in quality.figures):
        return None
    return _write(rt, quality, [*(notes or []), *quality.notes], fewest=fewest)


def _write(rt: "Runtime", quality: "Quality", notes: list[str], *, fewest: int | None) -> Report:
    """Judge what was measured, and write it down."""
    import dataclasses

    quality = dataclasses.replace(quality, notes=notes)
    overrides = rt.settings.gates or ""
    verdicts = gates.judge(quality, overrides, others=_others(rt, quality), fewest=fewest)
    at = rt.now()
    settings = {"GATES": overrides, "task": rt.task.name, "workspace": str(rt.data)}
    name = reports.name_of(rt.task.name, at=at)
    names = reports.picture_names(name, len(quality.distributions))
    document = report.document(quality, verdicts, at=at, settings=settings)
    path = reports.seal(
        rt.data,
        rt.task.name,
        name,
        markdown=report.markdown(quality, verdicts, at=at, settings=settings, pictures=names),
        document=document,
        pictures=[pictures.bars(one) for one in quality.distributions],
    )
    return Report(path, report.verdict_line(verdicts), verdicts, {**document, "report": str(path)})
