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
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.core import files
from pipeline.core.step import Option, Step
from pipeline.core.text import escape_markdown, markdown_code
from pipeline.quality.figures import Quality, Rows, Sample, Verdict, failed_verdicts, shown

FOLDER = "reports"
MOST_CELL = 60  # characters of a text in a table
WORDS = {True: "pass", False: "**FAIL**", None: "not judged"}


def verdict_line(verdicts: Sequence[Verdict]) -> str:
    """Return in one line how the gates stand."""
    judged = sum(one.passed is not None for one in verdicts)
    wrong = failed_verdicts(verdicts)
    rest = f", {len(verdicts) - judged} not judged" if judged < len(verdicts) else ""
    if wrong:
        return f"{len(wrong)} of {judged} gates failed{rest}: {', '.join(one.gate.name for one in wrong)}"
    if not judged:
        return "no gate was judged"
    return f"all {judged} gates passed{rest}" if judged > 1 else f"the one judged gate passed{rest}"


def report_markdown(
    quality: Quality,
    verdicts: Sequence[Verdict],
    *,
    at: datetime,
    settings: Mapping[str, str],
    again: object = Step("qc"),
) -> str:
    """Return the report of one moment; `again` is what to type to judge the answers once more."""
    return "\n".join(
        (
            *_head(quality, verdicts, at=at),
            *_gates(verdicts),
            *_advice(quality, failed_verdicts(verdicts), again=again),
            *_figures(quality),
            *(line for rows in (*quality.distributions, *quality.tables) for line in _table(rows)),
            *_samples(quality.samples),
            *_settings(settings),
        )
    )


def report_document(
    quality: Quality, verdicts: Sequence[Verdict], *, at: datetime, settings: Mapping[str, str]
) -> dict[str, Any]:
    """Return the same as a document: every figure, verdict and setting, and every text exactly as it is stored."""
    return {
        "title": quality.title,
        "extractor": quality.extractor,
        "at": at.isoformat(),
        "items": quality.items,
        "passed": not failed_verdicts(verdicts),
        "verdict": verdict_line(verdicts),
        "gates": [_gate(one) for one in verdicts],
        "figures": {one.name: one._asdict() for one in quality.figures},
        "distributions": [
            {"title": one.title, "unit": one.headers[1], "bars": [list(bar) for bar in one.cells]}
            for one in quality.distributions
        ],
        "tables": [{**one._asdict(), "cells": [list(row) for row in one.cells]} for one in quality.tables],
        "samples": [{**one._asdict(), "spans": [list(span) for span in one.spans]} for one in quality.samples],
        "notes": list(quality.notes),
        "settings": dict(settings),
    }


def _gate(verdict: Verdict) -> dict[str, Any]:
    gate, figure = verdict.gate._asdict(), verdict.figure
    del gate["unit"]
    return {**gate, "value": figure.value, "items": figure.items, "passed": verdict.passed, "said": verdict.said}


def _head(quality: Quality, verdicts: Sequence[Verdict], *, at: datetime) -> Iterator[str]:
    line = verdict_line(verdicts)
    yield from (f"# {quality.title}", "", f"**{line[0].upper()}{line[1:]}.**", "")
    yield f"- extractor: {markdown_code(quality.extractor)}"
    yield f"- items: {quality.items:,}"
    yield f"- written: {at:%Y-%m-%d %H:%M} UTC"
    yield from (f"- {escape_markdown(note)}" for note in quality.notes)
    yield ""


def _gates(verdicts: Sequence[Verdict]) -> Iterator[str]:
    if not verdicts:
        return
    yield from ("## Gates", "", "| gate | figure | |", "| --- | ---: | --- |")
    yield from (f"| {one.gate.name} | {one.shown} | {WORDS[one.passed]} |" for one in verdicts)
    yield ""
    for one in verdicts:
        yield f"- **{one.gate.name}**: {one.figure.told}; wanted: {one.gate.wanted}. {one.gate.why}"
        if why := one.why_not:
            yield f"  {why[0].upper()}{why[1:]}."
    yield ""


def _advice(quality: Quality, failed: Sequence[Verdict], *, again: object) -> Iterator[str]:
    if not failed:
        return
    bounds = ",".join(map(_bound_that_holds, failed))
    yield from ("## What to do", "", "The answers are stored, and nothing is lost. Read the samples below.", "")
    yield f"- They are wrong: ask with another `{Option('model')}`, or with a better question under a new version."
    if quality.extractor != "all":
        yield f"  `{Step('rollback', extractor=quality.extractor.replace('`', ''))}` takes these back."
    yield "- They are right: then the bounds are wrong for this data."
    yield f"  `{again} {Option(gates=bounds)}` judges by others; set them in `.env` to keep them."
    yield f"- It was a pilot: once one passes, the rest is asked. `{Option(skip_pilot=True)}` goes on without one."
    yield ""


def _bound_that_holds(verdict: Verdict) -> str:
    """Return a gate with bounds that its figure would keep, as GATES takes them."""
    gate, value = verdict.gate, verdict.figure.value or 0.0
    low = gate.low if gate.low is None else min(gate.low, math.floor(value * 100) / 100)
    high = gate.high if gate.high is None else max(gate.high, math.ceil(value * 100) / 100)
    return f"{gate.name}={'..'.join(f'{bound:g}' for bound in (low, high) if bound is not None)}"


def _figures(quality: Quality) -> Iterator[str]:
    if not quality.figures:
        return
    yield from ("## Figures", "", "| what was measured | |", "| --- | ---: |")
    yield from (f"| {one.told} | {shown(one.value, one.unit)} |" for one in quality.figures)
    yield ""


def _table(rows: Rows) -> Iterator[str]:
    if not rows.cells:
        return
    numeric = [all(not isinstance(row[place], str) for row in rows.cells) for place in range(len(rows.headers))]
    yield from (f"## {rows.title}", "", f"| {' | '.join(rows.headers)} |")
    yield f"| {' | '.join('---:' if right else '---' for right in numeric)} |"
    yield from (f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows.cells)
    yield ""


def _cell(cell: str | float) -> str:
    if isinstance(cell, str):
        return escape_markdown(cell, most=MOST_CELL)
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:,.3f}"


def _samples(samples: Sequence[Sample]) -> Iterator[str]:
    if not samples:
        return
    marks = "; what an answer rests on is bold" if any(one.spans for one in samples) else ""
    yield from ("## Samples to read", "", f"{len(samples)}, drawn at random{marks}.", "")
    for number, one in enumerate(samples, start=1):
        yield from (f"**{number}. {markdown_code(one.name, most=200)}**", "")
        yield from (f"> {escape_markdown(one.text, bold=one.spans)}", "")
        yield from (f"{escape_markdown(one.said, most=400)} ({markdown_code(one.id, most=80)})", "")


def _settings(settings: Mapping[str, str]) -> Iterator[str]:
    yield from ("## Settings", "")
    yield from (f"- {name}: {markdown_code(value) if value else 'as built'}" for name, value in settings.items())
    yield from ("", f"Other bounds: `{Option(gates='name=0.95,other=3..16,third=off')}`.", "")


def seal_report(data: Path, task: str, *, at: datetime, markdown: str, document: Mapping[str, Any]) -> Path:
    """Write a report, durable when this returns, and return the path of its Markdown."""
    folder = data / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{task}-{at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}.md"
    files.seal_bytes(path, markdown.encode("utf-8", "replace"))
    whole = json.dumps(document, ensure_ascii=False, indent=2)
    files.seal_bytes(path.with_suffix(".json"), whole.encode("utf-8", "replace") + b"\n")
    return path


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
            found.append({**json.loads((data / FOLDER / f"{name}.json").read_bytes()), "name": name})
        if len(found) == limit:
            break
    return found


def remove_reports(data: Path, task: str, *, is_named: Callable[[Sequence[Path]], bool]) -> int:
    """Remove the reports of a task whose files `is_named` says to, durably; return how many files those were.

    Reports hold samples of people's data, for which `forget` removes those that name a person.
    """
    gone = [path for paths in reports_of_task(data, task).values() if is_named(paths) for path in paths]
    for path in gone:
        path.unlink(missing_ok=True)
    if gone:
        files.sync_directory(data / FOLDER)
    return len(gone)


def sweep_reports(data: Path, task: str) -> None:
    """Remove what killed processes left half written of a task's reports."""
    for part in (data / FOLDER).glob(f"{task}-*{files.PART}"):
        if files.is_abandoned(part):
            part.unlink(missing_ok=True)


def older_reports(data: Path, task: str, before: datetime, *, kept: Collection[str]) -> list[Path]:
    """Return the files of a task's reports written before a moment, but of those named `kept` and of the newest."""
    reports, moment = reports_of_task(data, task), f"{task}-{before:%Y%m%dT%H%M%SZ}"
    newest = max((name for name, paths in reports.items() if any(one.suffix == ".json" for one in paths)), default="")
    old = (paths for name, paths in reports.items() if name < moment and name not in {newest, *kept})
    return [path for paths in old for path in paths]
