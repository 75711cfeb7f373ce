"""Quality reports: Markdown for people and JSON for programs, sealed in `reports/`.

A gate is a figure with bounds; it is judged if enough was measured. To seal a file is to write it
under a temporary name, sync it to disk and rename it.

A report is `<task>-<time>-<tail>.md` with a `.json` of the same name. The JSON file is sealed last,
so a report with JSON is complete. The tail is random, so that two processes never write the same
name. Markdown has short lines and narrow tables for phones, and all texts from data are escaped.
"""

import contextlib
import json
import re
import secrets
from collections.abc import Collection, Sequence
from datetime import datetime
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from askrows.pipeline.core import files
from askrows.pipeline.core.command_hint import CommandHint, OptionHint
from askrows.pipeline.core.errors import GateError
from askrows.pipeline.core.report import PLACEHOLDER_NOTE
from askrows.pipeline.core.text import format_markdown_code
from askrows.pipeline.quality.figures import (
    MIN_HOPELESS_CASES,
    MeasuredFigure,
    QualityFigures,
    ReportTable,
    Sample,
)

if TYPE_CHECKING:
    from jinja2 import Template

REPORTS_FOLDER = "reports"
# The time in the name of a report. Reports of the same second keep their order.
NAME_TIME_FORMAT = "%Y%m%dT%H%M%S%fZ"
# Characters of a text in a table.
MAX_CELL_CHARS = 60
# A share that misses its bound by this much is hopeless.
HOPELESS_MISS = 0.5
VERDICTS = {True: "pass", False: "**FAIL**", None: "not judged"}


class QualityReport(NamedTuple):
    """The measured and judged answers of a version."""

    quality: QualityFigures
    measured: Sequence[MeasuredFigure]
    at: datetime
    # The Markdown file, empty if the report is not written.
    path: Path = Path()

    @property
    def gates(self) -> list[MeasuredFigure]:
        """The figures with bounds."""
        return [measured for measured in self.measured if measured.figure.is_gate]

    @property
    def failed(self) -> list[MeasuredFigure]:
        """The gates that were judged and failed."""
        return [gate for gate in self.gates if gate.passed is False]

    @property
    def passed(self) -> bool:
        """Whether no gate failed."""
        return not self.failed

    @property
    def is_hopeless(self) -> bool:
        """Whether a share misses the bound of its gate by at least HOPELESS_MISS.

        Only shares that were measured on at least MIN_HOPELESS_CASES cases count, so that the miss
        is not due to chance. Failed gates of other units do not count.
        """
        for gate in self.failed:
            if gate.figure.unit == "share" and gate.cases >= MIN_HOPELESS_CASES:
                bound = gate.figure.find_missed_bound(gate.value) or 0.0
                if abs((gate.value or 0.0) - bound) >= HOPELESS_MISS:
                    return True
        return False

    @property
    def gate_error(self) -> GateError | None:
        """An error that describes the failed gates and their values; None if no gate failed.

        It is not raised here. Its message says that the answers are stored, because a failed gate
        deletes nothing.
        """
        failed_gates = self.failed
        if not failed_gates:
            return None

        verdicts = "; ".join(
            f"{gate.figure.description}: {gate.verdict_text}" for gate in failed_gates
        )
        other_bounds = OptionHint(gates=",".join(f"{gate.figure.name}=…" for gate in failed_gates))
        hint = (
            f"read {self.path}, then improve the prompt or the model under a new version, "
            f"or set other bounds by {other_bounds}"
        )
        if PLACEHOLDER_NOTE in self.quality.notes:
            hint = (
                "these are placeholder answers of the local engine, which say nothing about the "
                f"prompt: set a key, or set other bounds by {other_bounds}"
            )
        return GateError(f"{verdicts}; the answers are stored", hint=hint)

    @property
    def gates_text(self) -> str:
        """The counts of passed, failed and not judged gates, and the names of failed gates.

        For example `gates: 2 passed, 1 failed, 1 not judged: evidence`. Counts of 0 are left out;
        without gates it is `gates: none`.
        """
        failed_gates = self.failed
        judged_count = sum(gate.passed is not None for gate in self.gates)
        counts = {
            "passed": judged_count - len(failed_gates),
            "failed": len(failed_gates),
            "not judged": len(self.gates) - judged_count,
        }
        parts = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
        names = ", ".join(gate.figure.name for gate in failed_gates)
        return f"gates: {parts or 'none'}" + (f": {names}" if names else "")

    @property
    def document(self) -> dict[str, Any]:
        """The report for programs: all figures and verdicts, and texts as stored."""
        quality = self.quality
        document = {
            "title": quality.title,
            "version": quality.version,
            "at": self.at.isoformat(),
            "rows": quality.rows,
            "passed": self.passed,
            "verdict": self.gates_text,
            "gates": [
                {
                    "name": gate.figure.name,
                    "low": gate.figure.low,
                    "high": gate.figure.high,
                    "at_least": gate.figure.min_cases,
                    "why": gate.figure.bounds_reason,
                    "value": gate.value,
                    "cases": gate.cases,
                    "passed": gate.passed,
                    "said": gate.verdict_text,
                }
                for gate in self.gates
            ],
            "figures": {
                measured.figure.name: {
                    "name": measured.figure.name,
                    "unit": measured.figure.unit,
                    "told": measured.figure.description,
                    "value": measured.value,
                    "cases": measured.cases,
                    "passed": measured.passed,
                }
                for measured in self.measured
            },
            "tables": [
                {"title": rows.title, "headers": rows.headers, "cells": rows.cells}
                for rows in quality.tables
            ],
            "samples": [_make_sample_document(sample) for sample in quality.samples],
            "notes": list(quality.notes),
        }
        if self.path.name:
            document["report"] = str(self.path)
        return document

    def render_markdown(self) -> str:
        """Return the report as Markdown."""
        quality = self.quality
        return _load_template().render(
            quality=quality,
            at=self.at,
            gates_text=self.gates_text,
            gates=self.gates,
            verdicts=VERDICTS,
            failed=self.failed,
            figures=[
                (measured.figure.description, measured.value_text) for measured in self.measured
            ],
            tables=quality.tables,
            samples=[_make_sample_document(sample) for sample in quality.samples],
            option=OptionHint,
            step=CommandHint,
        )

    def write_files(self, data: Path, task_name: str) -> "QualityReport":
        """Write the report into the workspace folder `data`, and return it with its `path`.

        `path` is that of the Markdown file, which is written before the JSON file of the same name.
        Both are on disk when this returns.

        Args:
            data: The workspace's folder DATA; the files are in its folder `reports`.
            task_name: The name of the task, which begins the file names. The time and random
                characters follow, so no existing file is replaced.
        """
        folder = data / REPORTS_FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{task_name}-{self.at:{NAME_TIME_FORMAT}}-{secrets.token_hex(3)}.md"
        document = json.dumps(self.document, ensure_ascii=False, indent=2)
        files.seal_bytes(path, self.render_markdown().encode("utf-8", "replace"))
        files.seal_bytes(path.with_suffix(".json"), document.encode("utf-8", "replace") + b"\n")
        return self._replace(path=path)


@cache
def _load_template() -> "Template":
    """Return the template of a report, compiled on the first call."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # noqa: S701 - it is Markdown, which its filters escape
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters |= {
        "code": format_markdown_code,
        "cell": _format_cell,
        "aligned": _make_column_alignments,
    }
    return environment.get_template("report.md")


def _make_sample_document(sample: Sample) -> dict[str, Any]:
    """Return a sample as JSON members."""
    return {
        "id": sample.id,
        "name": sample.name,
        "text": sample.text,
        "spans": sample.spans,
        "said": sample.answer_text,
    }


def _format_cell(cell: str | float) -> str:
    """Return a cell of a Markdown table: a shortened text as code, or a rounded number."""
    if isinstance(cell, str):
        return format_markdown_code(cell, max_chars=MAX_CELL_CHARS)
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:,.3f}"


def _make_column_alignments(rows: ReportTable) -> list[str]:
    """Return the Markdown alignment of each column: right, except for columns with text."""
    columns = zip(*rows.cells, strict=True)
    return [
        "---" if any(isinstance(cell, str) for cell in column) else "---:" for column in columns
    ]


def delete_abandoned_report_parts(data: Path, task: str) -> None:
    """Delete partially written reports of a task whose processes ended."""
    for part in (data / REPORTS_FOLDER).glob(f"{task}-*{files.PART_SUFFIX}"):
        if files.is_abandoned(part):
            part.unlink(missing_ok=True)


def list_report_files_by_name(data: Path, task: str) -> dict[str, list[Path]]:
    """Return the existing files (.json and .md) of each report of a task by the report's name.

    The oldest report is first. If the process died while it wrote a report, only one of the two
    files is listed.
    """
    pattern = re.compile(rf"({re.escape(task)}-\d{{8}}T\d{{12}}Z-[0-9a-f]{{6}})\.(md|json)")
    paths_by_name: dict[str, list[Path]] = {}
    for path in sorted((data / REPORTS_FOLDER).glob("*")):
        if match := pattern.fullmatch(path.name):
            paths_by_name.setdefault(match[1], []).append(path)
    return paths_by_name


def read_newest_report(data: Path, task: str) -> dict[str, Any] | None:
    """Return the document of the newest report of a task with its `name`; None if there is none.

    Reports without a readable JSON file are skipped.
    """
    for name in reversed(list_report_files_by_name(data, task)):
        path = data / REPORTS_FOLDER / f"{name}.json"
        # The report can be incomplete, or a user may have changed its file.
        with contextlib.suppress(OSError, ValueError):
            document = json.loads(path.read_bytes())
            return {**document, "name": name}
    return None


def delete_all_report_files(data: Path, task: str) -> int:
    """Delete all reports of a task, because they contain samples of its rows.

    Returns:
        The number of deleted files. The deletion is durable when this returns.
    """
    paths = list(chain.from_iterable(list_report_files_by_name(data, task).values()))
    for path in paths:
        path.unlink(missing_ok=True)
    if paths:
        files.sync_directory(data / REPORTS_FOLDER)
    return len(paths)


def find_old_reports(
    data: Path,
    task: str,
    before: datetime,
    *,
    kept_names: Collection[str],
) -> list[Path]:
    """Return the files of a task's reports that are older than a time, oldest first.

    The time of a report is that in its file name. The newest report with a JSON file is left out.
    Deletes nothing.

    Args:
        data: The workspace's folder.
        task: Name of the task.
        before: The time.
        kept_names: Names of reports that are left out: their file names without ending.
    """
    paths_by_name = list_report_files_by_name(data, task)
    complete_names = [
        name
        for name, paths in paths_by_name.items()
        if any(path.suffix == ".json" for path in paths)
    ]
    kept_names = {max(complete_names, default=""), *kept_names}
    first_kept_name = f"{task}-{before:{NAME_TIME_FORMAT}}"
    old_reports = [
        paths
        for name, paths in paths_by_name.items()
        if name < first_kept_name and name not in kept_names
    ]
    return list(chain.from_iterable(old_reports))
