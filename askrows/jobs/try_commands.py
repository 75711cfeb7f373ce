"""The commands `try` and `eval`: answers that are not stored, and how often answers are right.

A label is the right value of a field of a row: a person set, confirmed or reviewed it. A labelled
row has a label in at least one field.
"""

from pathlib import Path
from typing import Annotated

from askrows.jobs.options import COUNT, PATH, TEXT, VERSION, Parameter, Seed, SingleRowMode
from askrows.pipeline.batch.run import Run
from askrows.pipeline.core.command_hint import OptionHint
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.report import Report
from askrows.pipeline.index.evaluate import measure_and_report_search
from askrows.pipeline.workflows import labelled_rows, try_out

# Rows of a try of labelled rows, unless another number is set.
DEFAULT_LABELLED_ROWS = 20


def try_(
    run: Run,
    *,
    n: Annotated[
        int | None,
        Parameter("Try this many rows. Default: 3; with --labelled 20.", COUNT, "ROWS"),
    ] = None,
    row: Annotated[str | None, Parameter("Try this row, in any state.", TEXT, "KEY")] = None,
    seed: Seed = None,
    mode: SingleRowMode = "live",
    labelled: Annotated[
        bool, Parameter("Try corrected and reviewed rows first; print how often answers are right.")
    ] = False,
) -> Report:
    """Ask about a few rows of TASK; show requests, replies, tokens, cost (USD) and time.

    Validates the answers, but stores only their cost, which counts in budgets and quotas. If a
    budget, a quota or Ctrl-C ends the calls early, the finished rows are printed first.

    Tries the first open rows, a random sample with --seed, or the row of --row. Asks for
    confirmation if the estimate is above ASKROWS_CONFIRM_ABOVE (USD); without a terminal it needs
    --yes.

    --labelled draws rows that a person corrected or reviewed first, then others, and prints how
    often the answers are right.
    """
    if row is not None and (n is not None or seed is not None or labelled):
        options = f"{OptionHint('n')}, {OptionHint('seed')} or {OptionHint(labelled=True)}"
        raise InputError(f"{OptionHint('row')} excludes {options}; nothing was asked")

    # A few rows show a request; a share of right answers needs more.
    default_size = DEFAULT_LABELLED_ROWS if labelled else try_out.DEFAULT_ROW_COUNT
    return try_out.try_task(
        run,
        n or default_size,
        row,
        seed,
        mode=mode,
        labelled=labelled,
    ).to_report(run, mode=mode)


def evaluate(
    run: Run,
    *,
    queries: Annotated[Path | None, Parameter("", PATH)] = None,
    qrels: Annotated[Path | None, Parameter("", PATH)] = None,
    a: Annotated[
        str | None,
        Parameter("A version with answers; 2 is TASK@2. Default: the newest two.", VERSION),
    ] = None,
    b: Annotated[str | None, Parameter("The version that is compared with --a.", VERSION)] = None,
) -> Report:
    """Measure versions on labelled rows of TASK, or the search with QUERIES and QRELS.

    It measures answers unless files are named. It prints how often a version is right, for each
    field with a 95 % interval. For two versions it prints whether one of them is better, or the
    difference can be chance (exact sign test). A label is a field that `correct` set or confirmed,
    or any field of a reviewed answer. For this only stored answers are read, and nothing is asked.

    Later versions do not ask corrected rows again, so they may lack answers to labelled rows. Then
    the last line has a `try` command, which asks these rows, stores no answer, and prints how often
    the version is right.

    With both QUERIES (JSON lines) and QRELS (TREC judgements) it measures the search; one of them
    alone is an error. It embeds the questions, and prints nDCG@10, MRR, P@5 and R@10 with 95 %
    intervals, for each choice of `search --rank`, and the share of questions with only weak hits.
    """
    # With judged questions the command measures the search.
    if queries is not None and qrels is not None and a is None and b is None:
        return measure_and_report_search(run.workspace, run.service, run.task, queries, qrels)
    if queries is not None or qrels is not None:
        raise InputError(
            f"a search is measured by {OptionHint('queries')} and {OptionHint('qrels')}, answers "
            f"are measured by {OptionHint('a')} and {OptionHint('b')}; nothing was measured"
        )

    return labelled_rows.report_accuracy(run, (a, b))
