"""Write down what was measured: Markdown to read on a phone, a document for programs.

Pure: text in, text out. Lines are short, tables have few columns, and every text that came from data is escaped.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from pipeline.core.text import escape_markdown, mark_spans, markdown_code, markdown_name
from pipeline.quality.figures import Quality, Rows, Sample, Verdict, failed_verdicts, shown

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
    again: str = "make qc",
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
    for one in verdicts:
        value = shown(one.figure.value, one.figure.unit, bound=one.gate.missed(one.figure.value))
        yield f"| {one.gate.name} | {value} | {WORDS[one.passed]} |"
    yield ""
    for one in verdicts:
        yield f"- **{one.gate.name}**: {one.figure.told}; wanted: {one.gate.wanted}. {one.gate.why}"
        if one.passed is None:
            why = one.said.partition(": ")[2]
            yield f"  {why[0].upper()}{why[1:]}."
    yield ""


def _advice(quality: Quality, failed: Sequence[Verdict], *, again: str) -> Iterator[str]:
    if not failed:
        return
    bounds = ",".join(_bound_that_holds(one) for one in failed)
    yield from ("## What to do", "", "The answers are stored, and nothing is lost. Read the samples below.", "")
    yield "- They are wrong: ask with another `MODEL=`, or with a better question under a new version."
    if quality.extractor != "all":
        yield f"  `make rollback EXTRACTOR={quality.extractor.replace('`', '')}` takes these back."
    yield f'- They are right: then the bounds are wrong for this data. `{again} GATES="{bounds}"` judges by others;'
    yield "  set them in `.env` to keep them."
    yield "- It was a pilot: once one passes, the rest is asked. `SKIP_PILOT=1` goes on without one."
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
        yield from (f"**{number}. {markdown_name(one.name, most=200)}**", "")
        yield from (f"> {mark_spans(one.text, one.spans)}", "")
        yield from (f"{escape_markdown(one.said, most=400)} ({markdown_name(one.id, most=80)})", "")


def _settings(settings: Mapping[str, str]) -> Iterator[str]:
    yield from ("## Settings", "")
    yield from (f"- {name}: {markdown_code(value) if value else 'as built'}" for name, value in settings.items())
    yield from ("", 'Other bounds: `GATES="name=0.95,other=3..16,third=off"`.', "")
