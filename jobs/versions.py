"""`make versions`: list every version of answers; `make rollback EXTRACTOR=…`: take one back."""

from dataclasses import asdict

import click

from jobs import values
from jobs.command import Command, confirmed, json_option, open_workspace, read_workspace, yes_option
from jobs.output import plural, print_json, print_line, print_table, usd
from pipeline.core.task import Subject
from pipeline.ops import rollback as rollback_run
from pipeline.ops import versions

HEADERS = ("task", "version", "model", "rows", "items", "first", "last", "cost", "note")


@click.command(name="versions", cls=Command)
@json_option
def main(*, as_json: bool) -> None:
    """List every version of answers, of other programs too: rows, items, dates, cost.

    Lists experts and passages; with TASK=passages, or your own task, those alone.
    """
    with read_workspace() as ws:
        found = versions.run(ws)
    if as_json:
        print_json([versions.document(one) for one in found])
    elif found:
        first = 0 if len({one.subject for one in found}) > 1 else 1  # a single task needs no column
        print_table(HEADERS[first:], [_cells(one)[first:] for one in found])
    else:
        print_line("no versions yet")


def _cells(one: rollback_run.VersionSummary) -> tuple[object, ...]:
    """Return one version as a line of the table."""
    label, model, rows, items, *moments = one.counts
    days = ["-" if moment is None else f"{moment:%Y-%m-%d %H:%M}" for moment in moments]
    return (one.subject, label, model or "-", f"{rows:,}", f"{items:,}", *days, usd(one.paid), one.note)


@click.command(name="rollback", cls=Command)
@click.argument("extractor", type=values.extractor, envvar="FINDABLE_EXTRACTOR")
@yes_option
@json_option
def rollback(extractor: str, *, yes: bool, as_json: bool) -> None:
    """Take back the answers of EXTRACTOR: a version such as passage-concepts@2, or one with its model behind a slash.

    Asks first. Other versions and imported answers stay. A killed rollback resumes.
    """
    with open_workspace() as ws:
        report = rollback_run.run(
            ws,
            extractor,
            announce=lambda subject, one: ws.display.say(_cost(subject, one)),
            confirm=lambda question: confirmed(question, yes=yes),
        )
    if as_json:
        found = [versions.document(one) for one in report.found]
        print_json({"task": report.subject, "extractor": extractor, "found": found, **asdict(report.gone)})
    elif not report.found:
        print_line(f"there are no answers of {extractor}. Next: make versions, which lists all")
    else:
        gone = report.gone
        done = f"{plural(gone.rows, 'row')} and {plural(gone.answers, 'answer')} of {extractor} taken back"
        done += f", {plural(gone.let_go, 'item')} parked no more" if gone.let_go else ""
        print_line(f"{done}. Next: {report.next}")


def _cost(subject: Subject, one: rollback_run.VersionSummary) -> str:
    """Return how many rows of a version would be removed, and what was paid for them."""
    counts, many = one.counts, subject.task.words.many
    if one.withdrawn:
        return f"{one.extractor}: its rollback was begun; {counts.rows:,} rows of {counts.items:,} {many} are left"
    return f"{one.extractor}: {counts.rows:,} rows of {counts.items:,} {many}, {usd(one.paid)} paid"
