"""`make search Q="…"`: find the nearest experts."""

from dataclasses import asdict

import click

from jobs.command import Command, json_option, open_workspace
from jobs.output import Terminal, plural, print_json, print_line, print_table
from pipeline.index import search


@click.command(name="search", cls=Command)
@click.argument("question", envvar="FINDABLE_Q")
@click.option(
    "-k", "k", type=click.IntRange(1, 1000), default=10, show_default=True, envvar="FINDABLE_K", help="How many."
)
@json_option
def main(question: str, k: int, *, as_json: bool) -> None:
    """Find the experts nearest to QUESTION in the index in service."""
    with open_workspace(task="experts") as ws:
        report = search.run(ws, question, k=k)
    if report.behind:
        Terminal().warn(f"the index is behind the database by {plural(report.behind, 'person', 'people')}: make index")
    print_json([asdict(hit) for hit in report.hits]) if as_json else _show(report)


def _show(report: search.SearchReport) -> None:
    """Print the hits as a table."""
    if not report.hits:
        print_line("no expert was found")
        return
    rows = [
        (
            hit.rank,
            f"{hit.similarity:.3f}",
            hit.name or hit.username,
            hit.job_title,
            ", ".join(hit.tags),
            hit.findability_score,
        )
        for hit in report.hits
    ]
    print_table(("rank", "similarity", "name", "title", "tags", "score"), rows)
