"""`make parked`: list items that are not asked again, and why; `make unpark`: let them be asked again."""

import click

from jobs import values
from jobs.command import Command, confirmed, json_option, open_workspace, read_workspace, yes_option
from jobs.output import plural, print_json, print_line, print_table
from pipeline.ops import parked


@click.command(name="parked", cls=Command)
@json_option
def main(*, as_json: bool) -> None:
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
