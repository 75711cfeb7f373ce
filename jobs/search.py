"""`make search Q="…"`: find the nearest experts."""

from typing import Any

import click

from jobs.command import Command, json_option, read_workspace
from jobs.output import Terminal, plural, print_json, print_line, print_table
from jobs.values import Count


@click.command(name="search", cls=Command)
@click.argument("question", envvar="FINDABLE_Q")
@click.option("-k", "k", type=Count(1, 1000), default=10, show_default=True, envvar="FINDABLE_K", help="How many.")
@json_option
def main(question: str, k: int, *, as_json: bool) -> None:
    """Find the experts nearest to QUESTION in the index in service."""
    from pipeline.experts.collection import search_document
    from pipeline.index import search

    with read_workspace() as ws:
        report = search.run(ws, question, k=k)
    if report.behind:
        behind = plural(report.behind, "person", "people")
        Terminal().warn(f"the index is behind the database by {behind}: `make index`")
    found = [search_document(hit) for hit in report.hits]
    print_json(found) if as_json else _show(found)


def _show(found: list[dict[str, Any]]) -> None:
    """Print the experts that were found as a table."""
    if not found:
        print_line("no expert was found")
        return
    rows = [
        (
            one["rank"],
            f"{one['similarity']:.3f}",
            one["username"],
            one["name"],
            one["job_title"],
            ", ".join(one["tags"]),
            one["findability_score"],
        )
        for one in found
    ]
    print_table(("rank", "similarity", "username", "name", "title", "tags", "score"), rows)
