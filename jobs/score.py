"""`make score`: recompute every findability score; of a task of your own, what its tables hold of its answers."""

import click

from jobs.command import WritingCommand, json_option, open_workspace
from jobs.dotenv import read_settings
from jobs.output import plural, print_json, print_line
from pipeline.core.settings import BUILT_IN


@click.command(name="score", cls=WritingCommand)
@json_option
def main(*, as_json: bool) -> None:
    """Recompute all findability scores; only changed ones are written.

    With a task of your own, the rows of its tables of answers that are not as they were answered.
    """
    is_own = read_settings().task not in BUILT_IN
    with open_workspace(task=None if is_own else "experts") as ws, ws.store.write() as tx:
        changed = ws.subject.hooks.refresh_derived(tx)
        total = next(iter(ws.task.counts(tx, now=ws.now()).values()))
    line = f"{plural(total, 'row' if is_own else 'score')} checked, {changed:,} changed"
    print_json({"total": total, "changed": changed}) if as_json else print_line(line)
