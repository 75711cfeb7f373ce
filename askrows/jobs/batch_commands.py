"""Commands for the steps of a batch, and lists of batches and costs.

- A pilot is a small random sample that is asked and judged before the other rows.
- A gate is a bound on a quality figure of the answers.
- A batch is held if its replies provably belong to other requests. It is not stored until a
  person downloads it again, gives it up or accepts it.
- A control request has a known answer. It shows whether the provider mixed up replies.
"""

from dataclasses import replace
from typing import Annotated

import click

from askrows.jobs.command import set_next_step_if_missing
from askrows.jobs.options import (
    COUNT,
    AcceptChanged,
    BudgetLimit,
    Dry,
    Full,
    Limit,
    Parameter,
    Pilot,
    Refresh,
    SkipPilot,
    Strict,
)
from askrows.pipeline.batch.report import COST_KEYS, report_batches, report_costs
from askrows.pipeline.batch.run import Run
from askrows.pipeline.core.report import Report
from askrows.pipeline.core.states import AUTOMATIC_MODES, Mode
from askrows.pipeline.tasks.task_values import AskedRows
from askrows.pipeline.workflows import batch_steps


def batch_submit(
    run: Run,
    *,
    limit: Limit = None,
    refresh: Refresh = False,
    dry: Dry = False,
    pilot: Pilot = None,
    skip_pilot: SkipPilot = False,
    accept_changed: AcceptChanged = False,
    full: Full = False,
) -> Report:
    """Send all open rows of TASK in batches, for example all untagged people with a bio.

    Writes request files, uploads them, and creates a batch for each file. It is safe to repeat and
    to interrupt: no row is asked twice. If the reply to a create call is lost, the batch is looked
    for at the provider.

    --pilot first asks a random sample of rows, waits for the answers, and stops if a quality gate
    fails. A version that has passed a pilot needs no other. If --pilot is left out, a failed or
    unfinished pilot of the version is an error, unless --skip-pilot is set.

    Asks for confirmation if the estimate is above ASKROWS_CONFIRM_ABOVE (USD). Rows beyond a
    budget are not sent, and the command then ends with an error.
    """
    run = replace(run, accepts_changes=accept_changed, reads_all_rows=full)
    run = run.copy_with_asked_rows(AskedRows(has_changed=refresh))
    if dry:
        return batch_steps.sync_and_report_submit_plan(run, limit)
    return batch_steps.sync_and_submit_rows(run, limit=limit, pilot=pilot, skip_pilot=skip_pilot)


def batch_poll(
    run: Run,
    *,
    wait: Annotated[
        bool, Parameter("Wait until all batches are over, instead of checking once.", bool)
    ] = True,
    batch: Annotated[
        int | None, Parameter("Only download the result of this held batch again.", COUNT)
    ] = None,
) -> Report:
    """Wait until every submitted batch has ended at the provider, and download the results.

    Ctrl-C is safe at any time; the batches continue at the provider. Rows of a failed batch are
    open again.

    A held batch has replies that belong to other requests; see `batch-ingest`. --batch NUMBER
    checks no other batch, and downloads the result of this held batch again, because the provider
    may send another file.

    Exit code 3: a batch no longer exists at the provider. Exit code 4: it is unclear whether a
    batch was created; `batch-submit` finds out.
    """
    if batch is not None:
        return batch_steps.replace_held_result_if_changed(run, batch)
    return batch_steps.poll_and_download_batches(run, should_wait=wait)


def batch_ingest(
    run: Run,
    *,
    strict: Strict = False,
    accept: Annotated[
        int | None, Parameter("Also store the replies of this held batch, as they are.", COUNT)
    ] = None,
) -> Report:
    """Validate every line of the downloaded results, and store the answers.

    Each request is counted as answered, refused, invalid or missing. Rows of failed requests are
    asked once more in the next batch, then parked. It is safe to repeat and to interrupt.

    Writes a quality report into DATA/reports. A failed gate (a bound on a quality figure) is a
    warning, with --strict exit code 6. The answers are stored in any case.

    A batch whose replies provably belong to other requests is held, with exit code 5: nothing of
    it is stored. The message has three ways out: download it again, give it up, or --accept NUMBER,
    which stores its replies in spite of that.
    """
    return batch_steps.ingest_batches(run, accepted_number=accept, strict=strict)


def batch_cancel(
    run: Run,
    *,
    batch: Annotated[int, Parameter("", COUNT)],
) -> Report:
    """Cancel a batch at the provider, or release its rows if it was never created.

    Prints what happened. If the batch no longer exists at the provider, it is
    abandoned after confirmation, and its rows are released.
    """
    return batch_steps.cancel_batch(run, batch)


def batch_move(
    run: Run,
    *,
    batch: Annotated[int, Parameter("", COUNT)],
    # Typed as --to.
    target_mode: Annotated[
        str,
        Parameter(
            "The mode in which the rows are asked.",
            click.Choice([mode.value for mode in AUTOMATIC_MODES]),
        ),
    ] = "flex",
    budget: BudgetLimit = None,
    dry: Dry = False,
) -> Report:
    """Cancel a batch that takes too long, and ask its unanswered rows in another mode.

    Cancels the batch at the provider, waits until it has ended, stores the answers that it has, and
    asks the other rows. If the batch succeeds in spite of the cancel, nothing is asked again.

    Prints first what the cancelled batch may still cost, and the price of the other mode. Asks for
    confirmation if the sum is above ASKROWS_CONFIRM_ABOVE (USD).

    Ctrl-C is safe at any time: the same command continues.
    """
    mode = Mode(target_mode)
    if dry:
        return batch_steps.report_move_costs(run, batch, mode, budget_usd=budget)
    return batch_steps.move_batch(run, batch, mode, budget_usd=budget)


def batches(run: Run) -> Report:
    """List the batches of all tasks, or only those of --task.

    Prints number, task, state, remote name, rows, ended requests, cost (USD), start (UTC), duration
    and the reason why a batch failed or is held (see `batch-ingest`). A tilde marks an estimated
    cost.
    """
    return report_batches(run)


def costs(
    run: Run,
    *,
    group_key: Annotated[
        str, Parameter("Print a line per day, task, model or batch.", click.Choice(COST_KEYS))
    ] = "day",
) -> Report:
    """Add up the cost of batches and live calls in USD, by day, task, model or batch.

    Counts all tasks, or only TASK if it is set. A day is that of the provider, as in daily budgets.

    Two further columns are estimates: "perhaps lost" has the calls whose end is unknown, which the
    provider may have charged, and "under way" has the requests that still run. Embeddings are not
    counted.
    """
    report = report_costs(run, group_key)
    if not report.figures["rows"]:
        set_next_step_if_missing(report, run)
    return report
