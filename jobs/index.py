"""`make index`: embed changed texts, build, verify, promote."""

from dataclasses import asdict

import click

from jobs.command import WritingCommand, json_option, open_workspace
from jobs.dotenv import read_settings
from jobs.output import Terminal, plural, print_json, print_line
from pipeline.core.settings import BUILT_IN
from pipeline.index import build, search


@click.command(name="index", cls=WritingCommand)
@click.option("--rollback", is_flag=True, envvar="FINDABLE_ROLLBACK", help="Put the previous build back in service.")
@json_option
def main(*, rollback: bool, as_json: bool) -> None:
    """Rebuild the search index from all tagged people.

    Only changed texts are embedded. The new build is verified before it replaces the one in service, in one step;
    searches are not disturbed.
    """
    is_own = read_settings().task not in BUILT_IN
    with open_workspace(task=None if is_own else "experts") as ws:
        if is_own:
            search.check_indexed(ws)
        report = build.roll_back_index(ws) if rollback else build.run(ws)
    for name in report.moved_aside:
        Terminal().warn(f"a file stood where the index has its links; it is now {name}")
    print_json(asdict(report)) if as_json else print_line(_line(report))


def _line(report: build.IndexReport) -> str:
    """Return the one line of result."""
    if report.rolled_back:
        return f"build {report.number} is in service again: {plural(report.count, 'expert')}"
    return (
        f"build {report.number} is in service: {plural(report.count, 'expert')}, {report.embedded:,} embedded, "
        f'{report.cached:,} from the cache ({report.model}, {report.dim} wide). Next: make search Q="who knows …"'
    )
