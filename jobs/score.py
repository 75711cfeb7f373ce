"""`make score`: recompute every findability score."""

import click

from jobs.command import WritingCommand, json_option, open_workspace
from jobs.output import plural, print_json, print_line
from pipeline.experts import rescore


@click.command(name="score", cls=WritingCommand)
@json_option
def main(*, as_json: bool) -> None:
    """Recompute all findability scores; only changed ones are written."""
    with open_workspace(task="experts") as ws:
        report = rescore.run(ws.store)
    document = {"total": report.total, "changed": report.changed}
    line = f"{plural(report.total, 'score')} checked, {report.changed:,} changed"
    print_json(document) if as_json else print_line(line)
