"""`make qc TASK=…`: measure the answers again, and write the report."""

import click

from jobs import values
from jobs.command import Command, json_option, read_workspace
from jobs.output import print_json, print_line, print_table
from pipeline.quality import evaluate


@click.command(name="qc", cls=Command)
@click.option(
    "--extractor",
    type=values.extractor,
    envvar="FINDABLE_EXTRACTOR",
    help="A version, or version/model; default: the task's own.",
)
@json_option
def main(extractor: str | None, *, as_json: bool) -> None:
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
