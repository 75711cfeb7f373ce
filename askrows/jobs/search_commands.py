"""Commands of the search index: build it, search it, and measure its rankings.

The index contains people, or the rows of another task. A build is one complete index on disk; the
build in service is the build that searches use. A judged question is a question with the rows that
answer it.
"""

from typing import Annotated, Any

import click

from askrows.jobs.options import TEXT, NumberParam, Parameter, Tag, WhereCondition
from askrows.jobs.variables import read_typed_settings
from askrows.pipeline.batch.run import Run
from askrows.pipeline.core.command_hint import OptionHint
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.ranking import RankMode
from askrows.pipeline.core.report import Report
from askrows.pipeline.index import build
from askrows.pipeline.index.search import make_search_options, search_and_report


def index(
    run: Run,
    *,
    rollback: Annotated[bool, Parameter("Put the previous build back in service.")] = False,
    worse_ok: Annotated[
        bool,
        Parameter("Use the new build even if it is empty, or the database is an older copy."),
    ] = False,
) -> Report:
    """Build the search index of all tagged people, or of the answered rows of TASK.

    Embeds only changed texts. Verifies the new build, then replaces the old build in one step.
    Searches continue meanwhile. --rollback builds nothing, and puts the previous build back.
    """
    # The first index of a task marks the task as indexed.
    run = run.sync_and_mark_as_indexed()
    report = (
        build.roll_back_index(run.workspace, run.task)
        if rollback
        else build.build_index(run.workspace, run.service, run.task, worse_ok=worse_ok)
    )
    return report.to_report(
        run.workspace, run.task, read_typed_settings(("embedding_model", "dim"))
    )


def search(
    run: Run,
    *,
    q: Annotated[str, Parameter("Question in plain words.", metavar="[QUESTION]")] = "",
    k: Annotated[
        int, Parameter("Show this many hits, at most 1,000.", NumberParam(1, 1000), "HITS")
    ] = 10,
    rank: Annotated[
        Any,
        Parameter(
            "Rank by words (BM25), vectors (meaning), or both (hybrid).",
            click.Choice([str(rank_mode) for rank_mode in RankMode]),
        ),
    ] = str(RankMode.HYBRID),
    tag: Tag = "",
    where: WhereCondition = "",
    like: Annotated[
        str,
        Parameter("Find the rows most similar to this row.", TEXT, metavar="NAME"),
    ] = "",
) -> Report:
    """Find the people, or rows of TASK, that match a question best, or that are like a row.

    Needs either a question or --like. Unless words alone rank the rows, the question is embedded,
    for which the provider may charge.

    All hits contain a phrase in quotation marks. A dash before a word (-word) excludes the rows
    that contain the word.
    """
    if q and like:
        raise InputError(
            f"a search has a question or {OptionHint('like')}, not both; nothing was searched",
            hint="leave out either",
        )
    if not q and not like:
        raise InputError(
            "there is no question",
            hint=f"`{run.task.nouns.command('search', q='who knows water law')}`",
        )

    options = make_search_options(k, rank=rank, tag=tag, where=where)
    return search_and_report(run.workspace, run.service, run.task, q, options, similar_name=like)
