"""`make search Q="…"`: find the experts who fit a question, or answered rows of a task of one's own."""

from pathlib import Path
from typing import Literal

import click

from jobs.command import Command, json_option, read_workspace
from jobs.hits import show_many, show_report
from jobs.values import Count, number, username
from pipeline.core.errors import InputError
from pipeline.core.ranking import Rank


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
@click.option(
    "--questions",
    type=click.Path(path_type=Path),
    envvar="FINDABLE_QUESTIONS",
    help='Ask every question of this file, lines of {"qid": …, "text": …}.',
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
    questions: Path | None,
    as_json: bool,
) -> None:
    """Find the experts who fit QUESTION best in the index in service, or the rows of TASK.

    A phrase between quotation marks must stand in the text; an entry with a word behind a hyphen (-word) is left out.
    """
    from pipeline.index.search import OpenSearch, search_options

    given = [name for name, one in {"Q": question, "LIKE": like, "QUESTIONS": questions}.items() if one]
    if len(given) > 1:
        raise InputError(f"{given[0]}= and {given[1]}= do not go together", hint="leave one of them out")
    if not given:
        raise InputError("there is no question", hint='`make search Q="who knows water law"`')
    options = search_options(k, rank=rank, tag=tag, min_score=min_score, where=where)
    with read_workspace() as ws, OpenSearch(ws) as opened:
        if questions is not None:
            show_many(opened, questions, options, as_json=as_json)
        else:
            report = opened.ask_like(username(like), options) if like else opened.ask(question, options)
            show_report(opened, report, as_json=as_json)
