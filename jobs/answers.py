"""Measure the answers, list their versions, take one back; list what is parked."""

from dataclasses import replace

import click

from jobs import values
from jobs.command import Command, confirmed, json_option, open_workspace, read_workspace, yes_option
from jobs.output import plural, print_json, print_line, print_table, usd
from jobs.variables import read_settings
from pipeline.ops import parked, versions
from pipeline.ops.versions import VersionSummary
from pipeline.quality import evaluate

HEADERS = ("task", "version", "model", "rows", "items", "first", "last", "cost")


@click.command(name="versions", cls=Command)
@json_option
def list_versions(*, as_json: bool) -> None:
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
    label, model, rows, items, *moments = one.counts
    days = ["-" if moment is None else f"{moment:%Y-%m-%d %H:%M}" for moment in moments]
    return (one.subject, label, model or "-", f"{rows:,}", f"{items:,}", *days, usd(one.paid))


@click.command(name="rollback", cls=Command)
@click.argument("extractor", type=values.extractor, envvar="FINDABLE_EXTRACTOR")
@yes_option
@json_option
def rollback(extractor: str, *, yes: bool, as_json: bool) -> None:
    """Take back the answers of EXTRACTOR: a version such as passage-concepts@2, or one with its model behind a slash.

    Asks first. All of it goes, or nothing; other versions and imported answers stay. When nothing is left of what
    the local engine answered, the workspace can use Gemini.
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
    return f"{one.extractor}: {counts.rows:,} rows of {counts.items:,} {many}, {usd(one.paid)} paid"


@click.command(name="qc", cls=Command)
@click.option(
    "--extractor",
    type=values.extractor,
    envvar="FINDABLE_EXTRACTOR",
    help="A version, or version/model; default: the task's own.",
)
@json_option
def measure(extractor: str | None, *, as_json: bool) -> None:
    """Measure the answers of a task, judge them by its gates, and write a report into the workspace's reports/.

    Exit code 6 if a gate fails. GATES="evidence=0.95,concepts=3..16" sets other bounds. A report holds samples of the
    database: treat it as you treat that.
    """
    with read_workspace() as ws:
        report, words, label = evaluate.run(ws, extractor=extractor), ws.task.words, ws.task.label
    if report is None:
        after = words.make("tag" if extractor is None else "versions")
        said = f"no answers about {words.many} under {label} yet: nothing to measure. Next: {after}"
        print_json(None) if as_json else print_line(said)
        return
    if as_json:
        print_json(report.document)
    else:
        print_table(("gate", "verdict", "wanted", "items"), report.lines())
        print_line(f"{report.line}; the report is {report.path}")
    report.check()


@click.command(name="parked", cls=Command)
@json_option
def list_parked(*, as_json: bool) -> None:
    """List all people who failed for good and are not asked again, with the reason."""
    with read_workspace() as ws:
        rows, words = parked.list_parked(ws.store, ws.task), ws.task.words
    if as_json:
        print_json([row.__dict__ for row in rows])
    elif rows:
        cells = [(row.name, row.reason, f"{row.since:%Y-%m-%d %H:%M}") for row in rows]
        print_table((words.one, "reason", "since"), cells)
    else:
        print_line(f"no {words.one} is parked")


@click.command(name="unpark", cls=Command)
@click.argument("name", type=values.username, required=False, envvar=["FINDABLE_EXPERT", "FINDABLE_PASSAGE"])
@click.option("--all", "everyone", is_flag=True, envvar="FINDABLE_ALL", help="All that are parked.")
@yes_option
@json_option
def unpark(name: str | None, *, everyone: bool, yes: bool, as_json: bool) -> None:
    """Let NAME, or with --all all parked people, be asked again; earlier attempts do not count any more.

    NAME is a username, with TASK=passages the id of a passage, with your own task a key. Rows whose tags another
    program wrote as text stay as they are.
    """
    with open_workspace() as ws:
        words = ws.task.words
        ask = f"make {words.many}-backfill" if ws.task.needs_pilot else words.make("batch-submit")
        names = parked.unpark_items(
            ws, name=name, everyone=everyone, confirm=lambda question: confirmed(question, yes=yes)
        )
    freed = f"{plural(len(names), words.one, words.many)} can be asked again. Next: {ask}"
    line = freed if names else f"no {words.one} to unpark"
    print_json({"unparked": names}) if as_json else print_line(line)
