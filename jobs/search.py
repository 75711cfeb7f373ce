"""`make search Q="…"`: find the nearest experts, or answered rows of a task of one's own."""

import math
from typing import TYPE_CHECKING, Any

import click

from jobs.command import Command, json_option, read_workspace
from jobs.output import Terminal, plural, print_json, print_line, print_table
from jobs.values import Count
from pipeline.core.ranking import Rank

if TYPE_CHECKING:
    from pipeline.index.reader import Hit

CUT = 120  # characters of a text in a table


@click.command(name="search", cls=Command)
@click.argument("question", envvar="FINDABLE_Q")
@click.option("-k", "k", type=Count(1, 1000), default=10, show_default=True, envvar="FINDABLE_K", help="How many.")
@click.option(
    "--rank",
    type=click.Choice([str(one) for one in Rank]),
    default=str(Rank.HYBRID),
    show_default=True,
    envvar="FINDABLE_RANK",
    help="By what: words (BM25), vectors (meaning), or both.",
)
@json_option
def main(question: str, k: int, rank: str, *, as_json: bool) -> None:
    """Find the experts who fit QUESTION best in the index in service, or the rows of TASK."""
    from pipeline.index import search

    with read_workspace() as ws:
        report, collection, words = search.run(ws, question, k=k, rank=Rank(rank)), ws.collection, ws.task.words
    if report.lacks_words:
        Terminal().warn(f"the index has no words yet, so it was searched by vectors alone: `{words.make('index')}`")
    if report.behind:
        behind = plural(report.behind, words.one, words.many)
        Terminal().warn(f"the index is behind the database by {behind}: `{words.make('index')}`")
    found = [_told({**collection.shown(hit.rank, hit.similarity, hit.metadata), **_scores(hit)}) for hit in report.hits]
    if as_json:
        print_json(found)
    elif found:
        rows = [[_cell(name, one[name]) for name in collection.columns.values()] for one in found]
        print_table(tuple(collection.columns), rows)
    else:
        print_line(f"no {collection.word} was found")


def _scores(hit: "Hit") -> dict[str, float]:
    """Return by what a hit is ranked, and its BM25."""
    return {"score": round(hit.score, 4), "words_score": round(hit.words_score, 4)}


def _told(found: dict[str, Any]) -> dict[str, Any]:
    """Return a hit without scores that were not asked for."""
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in found.items()}


def _cell(name: str, value: Any) -> str:
    """Return one value of a hit as a table shows it."""
    if name == "similarity":
        return "" if value is None else f"{value:.3f}"
    text = " ".join((", ".join(value) if isinstance(value, list) else str(value)).split())
    return text if len(text) <= CUT else f"{text[:CUT].rstrip()} …"
