"""Measure a task's answers, judge them, and write the report into the workspace.

Answers of a task that measures none itself are read as they come, at flat memory. A list counts by its length, as
`path-count`, and by its members under its own path; a quotation is one value. A field of few different values gets a
bar for each.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core.errors import ConfigurationError, GateError, InputError
from pipeline.core.quotes import is_stored_quotation
from pipeline.core.step import Option, Step
from pipeline.engine.workspace import OpenWorkspace
from pipeline.quality import figures, report
from pipeline.quality.figures import (
    Bound,
    Choice,
    Figure,
    Quality,
    Rows,
    Sample,
    Verdict,
    failed_verdicts,
    share,
    usage_figures,
)
from pipeline.store import answers as stored
from pipeline.store import asks

if TYPE_CHECKING:
    from pipeline.engine.task import Task
    from pipeline.store.database import Connection

WORDS = {True: "pass", False: "FAIL", None: ""}
HALF = 0.5
ENOUGH = 20  # items: when half of so many are wrong it is the question or the model, and no bad luck
BY_CONSTRUCTION = "the local engine quotes where it took an answer from: its evidence is true by construction"
SEED = 7
SAMPLES = 20  # for a person to read
MOST_SHOWN = 300  # characters of an answer in a sample
MOST_VALUES = 24  # different values of a field that has bars
FEWEST = 20  # answers: of fewer a figure may be anything by chance
BOUNDS = tuple(
    Bound(*row)
    for row in (
        ("answered", "share", 0.9, None, FEWEST, "A row that was asked about should have an answer."),
        ("parked", "share", None, 0.1, FEWEST, "A row that failed twice is not asked again by itself."),
        ("failed", "share", None, 0.5, FEWEST, "If half fail, each is paid for and asked again."),
        ("cut", "share", None, 0.05, FEWEST, "A cut answer is paid for twice: raise max_output_tokens."),
        ("same", "share", None, 0.5, FEWEST, "If half of all rows get one answer, it does not tell them apart."),
        ("evidence", "share", 0.5, None, FEWEST, "Without half of the quotations nothing can be checked."),
    )
)


class QualityReport(NamedTuple):
    """A report that was written: where, what it says in one line, the verdicts, and all of it as a document."""

    path: Path
    line: str
    verdicts: list[Verdict]
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
        if wrong := failed_verdicts(self.verdicts):
            count = "a quality gate" if len(wrong) == 1 else f"{len(wrong)} quality gates"
            raise GateError(
                f"{count} failed: {'; '.join(one.said for one in wrong)}; the answers are stored",
                hint=f"read {self.path}; then a better prompt or model under a new version, "
                f"or other bounds by {Option('gates')}",
            )


def check_gate_overrides(ws: OpenWorkspace) -> None:
    """Make sure that the answers can be judged by the bounds that are set, before anything is paid for.

    Raises:
        ConfigurationError: GATES names a gate that there is not, or a bound that is none.
    """
    if ws.settings.gates or ws.task.gates:
        figures.bounds_set(_bounds_of(ws.task), _overrides(ws), others=_others(ws))


def _bounds_of(task: "Task") -> Sequence[Bound]:
    found: Sequence[Bound] = import_module(task.measured_by).BOUNDS if task.measured_by else BOUNDS
    return found


def _overrides(ws: OpenWorkspace) -> str:
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


def _others(ws: OpenWorkspace) -> set[str]:
    """Return the gates of the other tasks, where GATES names any but this one's: it may stand in `.env`."""
    if figures.parse_gates(ws.settings.gates or "").keys() <= {one.name for one in _bounds_of(ws.task)}:
        return set()
    return {gate.name for one in ws.tasks if one is not ws.task for gate in _bounds_of(one)}


def write_report(
    ws: OpenWorkspace, *, extractor: str | None = None, notes: Sequence[str] = (), fewest: int | None = None
) -> QualityReport | None:
    """Write the report on an extractor's answers (those of the label in use where none is named), and return it.

    None where there is nothing to tell: neither an answer nor a reply. `notes` are shown on top of it; of
    `fewest` see `figures.judge_figures`.

    Raises:
        ConfigurationError: GATES names a gate that there is not, or a bound that is none; nothing was written.
    """
    with ws.store.read() as tx:
        chosen = extractor or (ws.task.label if ws.settings.version else _answered_label(tx, ws.task))
        measure = import_module(ws.task.measured_by).measure if ws.task.measured_by else _measure
        quality: Quality = measure(tx, ws.task, chosen)
    if not quality.items and not any(one.items for one in quality.figures):
        return None
    has_evidence = any(one.name == "evidence" and one.value is not None for one in quality.figures)
    by_construction = [BY_CONSTRUCTION] if ws.backend == "local" and has_evidence else []
    quality = replace(quality, notes=[*notes, *by_construction, *quality.notes])
    overrides = _overrides(ws)
    verdicts = figures.judge_figures(quality, overrides, others=_others(ws), fewest=fewest)
    at = ws.now()
    settings = {"GATES": overrides, "task": ws.task.name, "workspace": str(ws.data)}
    document = report.report_document(quality, verdicts, at=at, settings=settings)
    again = ws.task.words.step("qc")
    text = report.report_markdown(quality, verdicts, at=at, settings=settings, again=again)
    path = report.seal_report(ws.data, ws.task.name, at=at, markdown=text, document=document)
    return QualityReport(path, report.verdict_line(verdicts), verdicts, {**document, "report": str(path)})


def _answered_label(tx: "Connection", task: "Task") -> str:
    """Return the task's label; while there is no answer of it, and older ones count, the last that has answers."""
    begun = [] if task.own else stored.list_versions(tx, task.name)
    answered = [one.label for one in begun if stored.count_answered(tx, task.name, one.extractor)]
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
            hint=f"`{Step('versions')}` lists whose answers there are",
        )
    return found


@dataclass
class _Tally:
    """What one pass over some answers came to, by the paths of fields; `whole` are the answers by their hash."""

    answers: int = 0
    values: dict[str, Counter[str]] = field(default_factory=dict)
    numbers: dict[str, Counter[float]] = field(default_factory=dict)  # rounded to one digit
    sums: dict[str, float] = field(default_factory=dict)
    quoted: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)  # nothing stands where another answer may quote
    whole: Counter[int] = field(default_factory=Counter)
    shown: Choice[tuple[str, str]] = field(default_factory=lambda: Choice(SAMPLES, seed=SEED))

    def add(self, item_id: str, said: str) -> None:
        """Count one answer, as JSON."""
        answer = json.loads(said)
        self.answers += 1
        self.whole[hash(json.dumps(answer, sort_keys=True))] += 1
        self.shown.offer(item_id, (item_id, said))
        for path, value in _leaves(answer):
            self._count(path, value)

    def _count(self, path: str, value: Any) -> None:
        if isinstance(value, dict):
            self.quoted[path] += 1
            return
        self.missing[path] += value is None
        if isinstance(value, int | float) and not isinstance(value, bool):
            self.numbers.setdefault(path, Counter())[float(f"{value:.1g}")] += 1
            self.sums[path] = self.sums.get(path, 0) + value
        seen = self.values.setdefault(path, Counter())
        told = value if isinstance(value, str) else json.dumps(value)
        if len(seen) <= MOST_VALUES or told in seen:
            seen[told] += 1

    def choices(self) -> Iterator[tuple[str, Mapping[str, int]]]:
        """Yield (path, how often each value) of the fields that are choices or numbers."""
        for path, seen in self.values.items():
            if len(seen) <= MOST_VALUES:
                found: Mapping[str, int] = dict(sorted(seen.items(), key=lambda pair: (-pair[1], pair[0])))
            else:
                found = {f"{number:g}": times for number, times in sorted(self.numbers.get(path, Counter()).items())}
            if found and path not in self.quoted:
                yield path, found


def _measure(tx: "Connection", task: "Task", extractor: str | None) -> Quality:
    """Return what the answers of an extractor are like: label/model, a label with all its models, or None for all."""
    tally = _Tally()
    for item_id, answer in stored.answers_by(tx, task.name, extractor):
        tally.add(item_id, answer)
    figures = list(_figures(tx, task, extractor, tally))
    return Quality(
        title=f"Quality of the answers of {task.name}",
        extractor=extractor or "all",
        items=tally.answers,
        figures=figures,
        gates=BOUNDS,
        distributions=[Rows(path, ("", "rows"), list(bars.items())) for path, bars in tally.choices() if len(bars) > 1],
        samples=list(_samples(tx, task, list(tally.shown))),
    )


def _figures(tx: "Connection", task: "Task", extractor: str | None, tally: _Tally) -> Iterator[Figure]:
    many, replies, answers = task.words.many, stored.count_replies(tx, task.name, extractor), tally.answers
    parked, cut = asks.count_parked(tx, task.name, own=task.own), stored.count_cut(tx, task.name, extractor)
    quoted = tally.quoted.total()
    places = quoted + sum(tally.missing[path] for path in tally.quoted)
    rows: Sequence[tuple[str, int, int, str]] = (
        ("answered", answers, answers + parked, f"{many} with an answer, of those or parked"),
        ("parked", parked, answers + parked, f"{many} that are parked, of those or answered"),
        ("failed", replies.failed, replies.total, "replies that were refused or invalid, of all replies"),
        ("cut", cut, replies.total, "replies that the token limit cut"),
        ("same", max(tally.whole.values(), default=0), answers, f"{many} with the most frequent answer"),
        ("evidence", quoted, places, "quotations, of the places where one may stand"),
    )
    yield from (Figure(name, share(part, whole), "share", told, whole) for name, part, whole, told in rows)
    for path, numbers in tally.numbers.items():
        count = numbers.total()
        yield Figure(f"mean-{path}", share(tally.sums[path], count), "mean", f"{path} on the mean, or how many", count)
    yield Figure("answers", answers, "count", f"{many} with an answer", answers)
    yield from usage_figures(replies, one=task.words.one)


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value in an answer with the path of its field; quotations whole, and a list as its length, too."""
    if isinstance(value, list):
        yield f"{path}-count", len(value)
        for one in value:
            yield from _leaves(one, path)
    elif isinstance(value, dict) and not is_stored_quotation(value):
        for name, one in value.items():
            yield from _leaves(one, f"{path}.{name}" if path else name)
    else:
        yield path, value


def _samples(tx: "Connection", task: "Task", shown: Sequence[tuple[str, str]]) -> Iterator[Sample]:
    """Yield the chosen answers beside the names and texts of their rows."""
    ids = [item_id for item_id, _ in shown]
    names, texts = task.table(tx).names(tx, ids), task.asked_texts(tx, ids)
    for item_id, answer in shown:
        if item_id in names:
            yield Sample(item_id, names[item_id], _cut(texts.get(item_id, "")), (), _cut(answer))


def _cut(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]} …"
