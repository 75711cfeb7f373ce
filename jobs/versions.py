"""`make versions`: list every version of answers; `make rollback EXTRACTOR=…`: take one back."""

from dataclasses import replace

import click

from jobs import values
from jobs.command import Command, confirmed, json_option, open_workspace, read_workspace, yes_option
from jobs.dotenv import read_settings
from jobs.output import plural, print_json, print_line, print_table, usd
from pipeline.ops import versions
from pipeline.ops.versions import VersionSummary

HEADERS = ("task", "version", "model", "rows", "items", "first", "last", "cost", "note")


@click.command(name="versions", cls=Command)
@json_option
def main(*, as_json: bool) -> None:
    """List every version of answers, of other programs too: rows, items, dates, cost.

    Lists experts and passages; with TASK=passages, or your own task, those alone.
    """
    with read_workspace() as ws:
        found = versions.every_version(ws)
    if as_json:
        print_json([one.document for one in found])
    elif found:
        first = 0 if len({one.subject for one in found}) > 1 else 1  # a single task needs no column
        print_table(HEADERS[first:], [_cells(one)[first:] for one in found])
    else:
        print_line("no versions yet")


def _cells(one: VersionSummary) -> tuple[object, ...]:
    """Return one version as a line of the table."""
    label, model, rows, items, *moments = one.counts
    days = ["-" if moment is None else f"{moment:%Y-%m-%d %H:%M}" for moment in moments]
    note = "being rolled back" if one.withdrawn else ""
    return (one.subject, label, model or "-", f"{rows:,}", f"{items:,}", *days, usd(one.paid), note)


@click.command(name="rollback", cls=Command)
@click.argument("extractor", type=values.extractor, envvar="FINDABLE_EXTRACTOR")
@yes_option
@json_option
def rollback(extractor: str, *, yes: bool, as_json: bool) -> None:
    """Take back the answers of EXTRACTOR: a version such as passage-concepts@2, or one with its model behind a slash.

    Asks first. Other versions and imported answers stay. A killed rollback resumes. When nothing is left of what the
    local engine answered, the workspace can use Gemini.
    """
    settings = replace(read_settings(), backend=None)  # BACKEND=gemini may be set already
    with open_workspace(settings) as ws:
        report = versions.roll_back(
            ws,
            extractor,
            announce=lambda one, many: ws.display.say(_cost(one, many)),
            confirm=lambda question: confirmed(question, yes=yes),
        )
    if as_json:
        found = [one.document for one in report.found]
        counts = {name: getattr(report, name) for name in ("rows", "answers", "attempts", "let_go", "unbound")}
        print_json({"task": report.subject, "extractor": extractor, "found": found, **counts})
        return
    if not report.found:
        print_line(f"there are no answers of {extractor}. Next: make versions, which lists all")
    else:
        done = f"{plural(report.rows, 'row')} and {plural(report.answers, 'answer')} of {extractor} taken back"
        done += f", {plural(report.let_go, 'item')} parked no more" if report.let_go else ""
        print_line(f"{done}. Next: {report.next}")
    if report.unbound:
        print_line("nothing of the local engine is left: with GEMINI_API_KEY set, this workspace uses Gemini")


def _cost(one: VersionSummary, many: str) -> str:
    """Return how many rows of a version would be removed, and what was paid for them."""
    counts = one.counts
    if one.withdrawn:
        return f"{one.extractor}: its rollback was begun; {counts.rows:,} rows of {counts.items:,} {many} are left"
    return f"{one.extractor}: {counts.rows:,} rows of {counts.items:,} {many}, {usd(one.paid)} paid"
