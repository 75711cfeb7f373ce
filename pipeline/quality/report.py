"""Write down what was measured: Markdown to read on a phone, a document for programs, both sealed in `reports/`.

Lines are short, tables have few columns, and every text that came from data is escaped. One report is
`<task>-<time>-<tail>.md` with a `.json` of that name, which is sealed last: where it stands the other does too. The
tail is random, so that two processes never write one name.
"""

import contextlib
import json
import math
import re
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core import files
from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.errors import GateError
from pipeline.core.text import markdown_code
from pipeline.quality.figures import FEWEST, MeasuredFigure, QualityFigures, ReportTable

if TYPE_CHECKING:
    from jinja2 import Template

FOLDER = "reports"
MOST_CELL = 60  # characters of a text in a table
HALF = 0.5
WORDS = {True: "pass", False: "**FAIL**", None: "not judged"}


class QualityReport(NamedTuple):
    """A report: what was measured and judged, when, by which settings, and where it is written, if it is."""

    quality: QualityFigures
    measured: Sequence[MeasuredFigure]
    at: datetime
    settings: Mapping[str, str]
    path: Path = Path()

    @property
    def gates(self) -> list[MeasuredFigure]:
        """Return the figures that have bounds."""
        return [one for one in self.measured if one.figure.is_gate]

    @property
    def failed(self) -> list[MeasuredFigure]:
        """Return the gates that failed; those that were not judged do not."""
        return [one for one in self.gates if one.passed is False]

    @property
    def passed(self) -> bool:
        """Return whether no gate failed."""
        return not self.failed

    @property
    def is_hopeless(self) -> bool:
        """Return whether a share misses its bound by half of everything, on enough items that it is no chance."""
        shares = [one for one in self.failed if one.figure.unit == "share" and one.items >= FEWEST]
        return any(
            abs((one.value or 0.0) - (one.figure.missed(one.value) or 0.0)) >= HALF
            for one in shares
        )

    @property
    def error(self) -> GateError | None:
        """Return the error that says which gates failed, if any did; the answers are stored, and so is this report."""
        if not self.failed:
            return None
        count = "a quality gate" if len(self.failed) == 1 else f"{len(self.failed)} quality gates"
        return GateError(
            f"{count} failed: {'; '.join(one.said for one in self.failed)}; the answers are stored",
            hint=f"read {self.path}; then a better prompt or model under a new version, "
            f"or other bounds by {OptionHint('gates')}",
        )

    def check(self) -> None:
        """Raise `error`, where there is one."""
        if self.error is not None:
            raise self.error

    @property
    def line(self) -> str:
        """Return in one line how the gates stand."""
        count = sum(one.passed is not None for one in self.gates)
        rest = f", {len(self.gates) - count} not judged" if count < len(self.gates) else ""
        if self.failed:
            names = ", ".join(one.figure.name for one in self.failed)
            return f"{len(self.failed)} of {count} gates failed{rest}: {names}"
        if not count:
            return "no gate was judged"
        return (
            f"all {count} gates passed{rest}" if count > 1 else f"the one judged gate passed{rest}"
        )

    @property
    def document(self) -> dict[str, Any]:
        """Return it for programs: every figure, verdict and setting, and every text exactly as it is stored."""
        quality = self.quality
        return {
            "title": quality.title,
            "extractor": quality.extractor,
            "at": self.at.isoformat(),
            "items": quality.items,
            "passed": self.passed,
            "verdict": self.line,
            "gates": [
                _document(one, "low", "high", "at_least", "why") | {"said": one.said}
                for one in self.gates
            ],
            "figures": {one.figure.name: _document(one, "unit", "told") for one in self.measured},
            "distributions": [
                {"title": one.title, "unit": one.headers[1], "bars": one.cells}
                for one in quality.distributions
            ],
            "tables": [one._asdict() for one in quality.tables],
            "samples": [one._asdict() for one in quality.samples],
            "notes": list(quality.notes),
            "settings": dict(self.settings),
            **({"report": str(self.path)} if self.path.name else {}),
        }

    def markdown(self, *, again: object = CommandHint("qc")) -> str:
        """Return it for people; `again` is what to type to judge the answers once more."""
        quality = self.quality
        told = {"gates": self.gates, "failed": self.failed, "line": self.line, "words": WORDS}
        tables = [*quality.distributions, *quality.tables]
        return _template().render(
            self._asdict() | told, tables=tables, again=again, option=OptionHint, step=CommandHint
        )

    def sealed(
        self, data: Path, task: str, *, again: object = CommandHint("qc")
    ) -> "QualityReport":
        """Write it into a workspace, durable when this returns, and return it with the path of its Markdown."""
        folder = data / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{task}-{self.at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}.md"
        whole = json.dumps(self.document, ensure_ascii=False, indent=2)
        files.seal_bytes(path, self.markdown(again=again).encode("utf-8", "replace"))
        files.seal_bytes(path.with_suffix(".json"), whole.encode("utf-8", "replace") + b"\n")
        return self._replace(path=path)


@cache
def _template() -> "Template":
    """Return the compiled template of a report; a process that writes several compiles it once."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # noqa: S701 - it is Markdown, which its filters escape
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters |= {
        "code": markdown_code,
        "cell": _cell,
        "aligned": _aligned,
        "holds": _holds,
    }
    return environment.get_template("report.md")


def _document(one: MeasuredFigure, *names: str) -> dict[str, Any]:
    told = {name: getattr(one.figure, name) for name in ("name", *names)}
    return {**told, "value": one.value, "items": one.items, "passed": one.passed}


def _cell(cell: str | float) -> str:
    if isinstance(cell, str):
        return markdown_code(cell, most=MOST_CELL)
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:,.3f}"


def _aligned(rows: ReportTable) -> list[str]:
    columns = zip(*rows.cells, strict=True)
    return ["---" if any(isinstance(one, str) for one in column) else "---:" for column in columns]


def _holds(measured: MeasuredFigure) -> str:
    """Return a gate with bounds that its figure would keep, as GATES takes them."""
    gate = measured.figure
    value = measured.value or 0.0
    low = gate.low if gate.low is None else min(gate.low, math.floor(value * 100) / 100)
    high = gate.high if gate.high is None else max(gate.high, math.ceil(value * 100) / 100)
    return f"{gate.name}={'..'.join(f'{bound:g}' for bound in (low, high) if bound is not None)}"


def sweep_reports(data: Path, task: str) -> None:
    """Remove what killed processes left half written of a task's reports."""
    for part in (data / FOLDER).glob(f"{task}-*{files.PART}"):
        if files.is_abandoned(part):
            part.unlink(missing_ok=True)


def reports_of_task(data: Path, task: str) -> dict[str, list[Path]]:
    """Return the files of each report of a task, also of one that is not whole, by its name; the oldest first."""
    ours = re.compile(rf"({re.escape(task)}-\d{{8}}T\d{{6}}Z-[0-9a-f]{{6}})\.(md|json)")
    found: dict[str, list[Path]] = {}
    for path in sorted((data / FOLDER).glob("*")):
        if name := ours.fullmatch(path.name):
            found.setdefault(name[1], []).append(path)
    return found


def report_documents(data: Path, task: str, *, limit: int) -> list[dict[str, Any]]:
    """Return the newest reports of a task as their documents, each with its `name`, the newest first."""
    found = []
    for name in list(reports_of_task(data, task))[::-1]:
        with contextlib.suppress(OSError, ValueError):  # not whole, or the user's own by now
            found.append(
                {**json.loads((data / FOLDER / f"{name}.json").read_bytes()), "name": name}
            )
        if len(found) == limit:
            break
    return found


def remove_reports(data: Path, task: str, *, is_named: Callable[[Sequence[Path]], bool]) -> int:
    """Remove the reports of a task whose files `is_named` says to, durably; return how many files those were.

    Reports hold samples of people's data, for which `forget` removes those that name a person.
    """
    gone = [
        path for paths in reports_of_task(data, task).values() if is_named(paths) for path in paths
    ]
    for path in gone:
        path.unlink(missing_ok=True)
    if gone:
        files.sync_directory(data / FOLDER)
    return len(gone)


def older_reports(data: Path, task: str, before: datetime, *, kept: Collection[str]) -> list[Path]:
    """Return the files of a task's reports written before a moment, but of those named `kept` and of the newest."""
    reports = reports_of_task(data, task)
    moment = f"{task}-{before:%Y%m%dT%H%M%SZ}"
    newest = max(
        (name for name, paths in reports.items() if any(one.suffix == ".json" for one in paths)),
        default="",
    )
    old = (
        paths for name, paths in reports.items() if name < moment and name not in {newest, *kept}
    )
    return [path for paths in old for path in paths]
