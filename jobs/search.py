"""`make search Q="…"`: find the nearest experts, or answered rows of a task of one's own."""

from typing import Any

import click

from jobs.command import Command, json_option, read_workspace
from jobs.output import Terminal, plural, print_json, print_line, print_table
from jobs.values import Count

CUT = 120  # characters of a text in a table


@click.command(name="search", cls=Command)
@click.argument("question", envvar="FINDABLE_Q")
@click.option("-k", "k", type=Count(1, 1000), default=10, show_default=True, envvar="FINDABLE_K", help="How many.")
@json_option
def main(question: str, k: int, *, as_json: bool) -> None:
    """Find the experts nearest to QUESTION in the index in service, or the rows of TASK."""
    from pipeline.index import search

    with read_workspace() as ws:
        report, collection, words = search.run(ws, question, k=k), ws.collection, ws.task.words
    if report.behind:
        behind = plural(report.behind, words.one, words.many)
        Terminal().warn(f"the index is behind the database by {behind}: `{words.make('index')}`")
    found = [collection.shown(hit.rank, hit.similarity, hit.metadata) for hit in report.hits]
    if as_json:
        print_json(found)
    elif found:
        rows = [[_cell(name, one[name]) for name in collection.columns.values()] for one in found]
        print_table(tuple(collection.columns), rows)
    else:
        print_line(f"no {collection.word} was found")


def _cell(name: str, value: Any) -> str:
    """Return one value of a hit as a table shows it."""
    if name == "similarity":
        return f"{value:.3f}"
    text = " ".join((", ".join(value) if isinstance(value, list) else str(value)).split())
    return text if len(text) <= CUT else f"{text[:CUT].rstrip()} …"
