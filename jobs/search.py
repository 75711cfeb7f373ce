"""Find the experts who fit a question, or answered rows of a task of one's own, and show the hits."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import click

from jobs.command import Command, json_option, read_workspace
from jobs.output import Terminal, plural, print_json, print_line, print_marked, print_table, print_text
from jobs.values import Count, number, username
from pipeline.core.errors import InputError
from pipeline.core.ranking import Rank
from pipeline.index.reader import hit_document, whole_document

if TYPE_CHECKING:
    from pipeline.engine.task import Indexed
    from pipeline.index.reader import Hit
    from pipeline.index.search import OpenSearch, SearchReport
    from pipeline.index.snippet import Snippet

INDENT = " " * 5  # of what stands below the name of a hit
CUT = 120  # characters of a text in a table
MARK = "**"  # before and behind a word of the question, where nothing is bold


def show_report(opened: "OpenSearch", report: "SearchReport", *, as_json: bool) -> None:
    """Print what one question found, after what is to be known of it."""
    words, terminal, hits, collection = opened.words, Terminal(), report.hits, opened.collection
    if report.behind:
        behind = plural(report.behind, words.one, words.many)
        terminal.warn(f"the index is behind the database by {behind}: `{words.make('index')}`")
    if report.is_weak:
        terminal.warn("nothing here matches well; the nearest are")
    if as_json:
        print_json([whole_document(collection, hit) for hit in hits])
    elif not hits:
        print_line(f"no {collection.word} was found")
    elif sys.stdout.isatty():
        for hit in hits:
            _show(collection, hit)
    else:
        _print_rows(collection, hits)


def _print_rows(collection: "Indexed", hits: Sequence["Hit"]) -> None:
    """Print a table whose first columns are the subject's own."""
    rows = []
    for hit in hits:
        found = hit_document(collection, hit)
        cells = [_cell(name, found[name]) for name in collection.columns.values()]
        cells += [_number(found["words_score"]), "weak" if hit.is_weak else "", _plainly_marked(hit.snippet)]
        rows.append(cells)
    print_table((*collection.columns, "words", "weak", "matched"), rows)


def _show(collection: "Indexed", hit: "Hit") -> None:
    """Print one hit on a terminal: what it is, the sentence with its words in bold, the tags that match, the scores."""
    found = hit_document(collection, hit)
    name, *others = [found[key] for key in collection.columns.values() if key not in {"rank", "similarity", "text"}]
    told = [_cell("", one) for one in others if isinstance(one, str) and one]
    print_marked(f"{hit.rank:>3}  ", str(name), f"  {', '.join(told)}" if told else "")
    if hit.snippet is not None and hit.snippet.text:
        print_marked(*hit.snippet.pieces, indent=len(INDENT))
    if hit.tags:
        print_text(f"tags: {', '.join(hit.tags)}", indent=INDENT)
    scores = [("cosine", _number(found["similarity"])), ("words", _number(found["words_score"]))]
    said = [f"{name} {score}" for name, score in scores if score]
    print_text(" · ".join([*said, *(["weak"] if hit.is_weak else [])]), indent=INDENT)


def _plainly_marked(snippet: "Snippet | None") -> str:
    pieces = snippet.pieces if snippet is not None else []
    return "".join(f"{MARK}{piece}{MARK}" if number % 2 else piece for number, piece in enumerate(pieces))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _cell(name: str, value: Any) -> str:
    if name == "similarity":
        return _number(value)
    text = " ".join((", ".join(value) if isinstance(value, list) else str(value)).split())
    return text if len(text) <= CUT else f"{text[:CUT].rstrip()} …"


@click.command(name="search", cls=Command)
@click.argument("question", required=False, default="", envvar="FINDABLE_Q")
@click.option("-k", "k", type=Count(1, 1000), default=10, show_default=True, envvar="FINDABLE_K", help="How many.")
@click.option(
    "--rank",
    type=click.Choice([str(one) for one in Rank]),
    default=str(Rank.HYBRID),
    show_default=True,
    envvar="FINDABLE_RANK",
    help="By what: words (BM25), vectors (meaning), or both.",
)
@click.option("--tag", default="", envvar="FINDABLE_TAG", metavar="TAG,…", help="Only those with each of these tags.")
@click.option(
    "--min-score", type=number, envvar="FINDABLE_MIN_SCORE", help="Only those with this score or a higher one."
)
@click.option(
    "--where",
    default="",
    envvar="FINDABLE_WHERE",
    metavar="CONDITION",
    help="Only those of which it holds: hourly_rate < 120 AND currency = 'EUR'.",
)
@click.option(
    "--like", default="", envvar="FINDABLE_LIKE", metavar="NAME", help="Those most like this one, without it."
)
@json_option
def main(
    *,
    question: str,
    k: int,
    rank: Literal["hybrid", "words", "vectors"],
    tag: str,
    min_score: float | None,
    where: str,
    like: str,
    as_json: bool,
) -> None:
    """Find the experts who fit QUESTION best in the index in service, or the rows of TASK.

    A phrase between quotation marks must stand in the text; an entry with a word behind a hyphen (-word) is left out.
    """
    from pipeline.index.search import OpenSearch, search_options

    given = [name for name, one in {"Q": question, "LIKE": like}.items() if one]
    if len(given) > 1:
        raise InputError(f"{given[0]}= and {given[1]}= do not go together", hint="leave one of them out")
    if not given:
        raise InputError("there is no question", hint='`make search Q="who knows water law"`')
    options = search_options(k, rank=rank, tag=tag, min_score=min_score, where=where)
    with read_workspace() as ws, OpenSearch(ws) as opened:
        report = opened.ask_like(username(like), options) if like else opened.ask(question, options)
        show_report(opened, report, as_json=as_json)
