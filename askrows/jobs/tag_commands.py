"""Commands that ask about rows in the mode that fits best, or about a random sample first.

- `tag` estimates the cost, chooses the mode and takes all steps.
- `passages-pilot` asks about a random sample and judges the answers.

A field is closed if its values can be listed, such as choices or yes and no; a decision model can
decide it. A live run makes single calls, in the mode live or flex. A control request has a known
answer, to show whether a batch mixes up replies.
"""

from dataclasses import replace
from typing import Annotated

import click

from askrows.jobs.options import (
    COUNT,
    AcceptChanged,
    BudgetLimit,
    Deadline,
    Dry,
    Full,
    Limit,
    Parameter,
    Pilot,
    Refresh,
    RowKey,
    Seed,
    SkipPilot,
    Strict,
    Wait,
    WhereCondition,
)
from askrows.jobs.output import read_system_user
from askrows.pipeline.batch.run import Run
from askrows.pipeline.core.report import Report
from askrows.pipeline.run import pilot_run
from askrows.pipeline.workflows import tag as tag_workflow


def tag(
    run: Run,
    *,
    mode: Annotated[
        str,
        Parameter(
            "Auto takes the cheapest mode by --deadline, except decide.",
            click.Choice(tag_workflow.MODES),
        ),
    ] = "auto",
    limit: Limit = None,
    where: WhereCondition = "",
    row: RowKey = None,
    again: Annotated[
        bool | None,
        Parameter(
            "Ask the answered rows of --where or --row again. 0 takes that back instead.", bool
        ),
    ] = None,
    refresh: Refresh = False,
    budget: BudgetLimit = None,
    deadline: Deadline = None,
    pilot: Pilot = None,
    skip_pilot: SkipPilot = False,
    wait: Wait = None,
    strict: Strict = False,
    dry: Dry = False,
    accept_changed: AcceptChanged = False,
    full: Full = False,
    # Set by `passages-backfill`, never typed: a pilot must have passed, and the cost is confirmed.
    needs_pilot: Annotated[bool, Parameter()] = False,
) -> Report:
    """Ask about all open rows of TASK, such as untagged people, and store the answers.

    Estimates cost and time, then uses the cheapest mode that meets the deadline; without a deadline
    any time is enough. Batch and flex cost half the live price. The provider may reject flex calls
    when it is busy; they are retried. Decide asks the fields as questions of a decision model, and
    stores a probability for each. All fields must be closed: choices, yes or no, or bounded whole
    numbers. Decide is used only if it is named.

    --dry prints cost and time of each mode. It sends nothing and needs no key.

    --where asks only the rows of a condition. --again also asks those of them that are answered:
    they are marked, and the old answer counts until a new one replaces it. Marked rows are asked by
    every later `tag` until they have a new answer. --refresh also asks rows that changed after
    their answer.

    Asks for confirmation before an automatic choice of full price, before answered rows are asked
    again, and if the estimate is above ASKROWS_CONFIRM_ABOVE (USD). Without a terminal it needs
    --yes.

    Stops before the budget of --budget is exceeded. A killed run continues with the same command.
    Until no row is open, the budget also limits commands that continue the run: `work`, and `tag`
    without --budget.

    --pilot first asks a random sample of rows and measures the answers; a failed quality gate ends
    the command with exit code 6. Later a failed gate is a warning, with --strict exit code 6. The
    answers are stored in any case.
    """
    run = replace(run, accepts_changes=accept_changed, reads_all_rows=full)
    options = tag_workflow.TagOptions(
        mode=mode,
        limit=limit,
        budget=budget,
        deadline_s=deadline,
        wait=wait,
        pilot=pilot,
        skip_pilot=skip_pilot,
        where=where,
        row_key=row,
        again=again,
        who=read_system_user(),
        refresh=refresh,
        needs_pilot=needs_pilot,
    )
    if again is False:
        return tag_workflow.take_marks_back(run, options)
    if dry:
        return tag_workflow.estimate_rows(run, options).to_report(run.task.nouns)
    return tag_workflow.tag_rows(run, options).to_report(run, strict=strict)


def passages_pilot(
    run: Run,
    *,
    n: Annotated[
        int | None,
        Parameter("Size of the sample. Default: 200.", COUNT, metavar="ROWS"),
    ] = None,
    seed: Seed = None,
) -> Report:
    """Ask about a random sample of passages by batch, wait, and measure the answers by gates.

    A gate is a bound on a quality figure; a failed gate ends with exit code 6. The report in
    DATA/reports has the gates, plots and samples. `passages-backfill` needs a passed pilot.

    After a kill, the same command continues.
    """
    run.announce_placeholders()
    return pilot_run.run_pilot(run, size=n, seed=seed).to_report(run, strict=True)
