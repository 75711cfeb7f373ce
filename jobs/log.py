"""`make log N=5`: list the newest requests, and what came of each."""

import click

from jobs.command import Command, json_option, read_workspace
from jobs.items_shown import amounts, came_of, outcome, print_wire, way
from jobs.output import print_json, print_line, print_table
from jobs.values import COUNT
from pipeline.ops import show

HEADERS = ("when", "item", "way", "model", "outcome", "tokens in", "out", "price", "answer or reason")
NEWEST = 10
SHOWN = 100  # characters of an answer


@click.command(name="log", cls=Command)
@click.option(
    "-n",
    "--n",
    "size",
    type=COUNT,
    default=NEWEST,
    show_default=True,
    envvar="FINDABLE_N",
    help="How many requests to list.",
)
@click.option("--all", "every", is_flag=True, envvar="FINDABLE_ALL", help="Those of all tasks.")
@click.option("--raw", is_flag=True, envvar="FINDABLE_RAW", help="Requests and replies as they went over the wire.")
@json_option
def main(size: int, *, every: bool, raw: bool, as_json: bool) -> None:
    """List the newest requests of the task that TASK= names, newest first: when, how, by what model, what came of each.

    `show` has all of one item.
    """
    with read_workspace() as ws:
        found = show.newest_requests(ws, limit=size, every=every, raw=raw)
    if as_json:
        print_json(found)
        return
    if not found:
        print_line("nothing was asked yet")
        return
    rows = []
    for one in found:
        said = came_of(one)
        shown = said if len(said) <= SHOWN else f"{said[:SHOWN]}…"
        item = f"{one['task']} {one['name']}" if every else one["name"]
        rows.append(
            (f"{one['at']:%Y-%m-%d %H:%M:%S}", item, way(one), one["model"], outcome(one), *amounts(one), shown)
        )
    print_table(HEADERS, rows)
    if raw:
        print_wire(found)
