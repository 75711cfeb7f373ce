"""Commands for the steps of a batch, and lists of batches and costs.

- A pilot is a small random sample that is asked and judged before the other rows.
- A gate is a bound on a quality figure of the answers.
- A batch is held if its replies provably belong to other requests. It is not stored until a
  person downloads it again, gives it up or accepts it.
- A control request has a known answer. It shows whether Gemini mixed up replies.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Annotated, Any

import click

from jobs.document_output import (
    EstimatedCost,
    format_fields,
    make_fields,
    make_table,
)
from jobs.options import (
    COUNT,
    AcceptChanged,
    BudgetLimit,
    CommandReport,
    Dry,
    Full,
    Limit,
    Parameter,
    Pilot,
    Refresh,
    SkipPilot,
    Strict,
)
from jobs.output import Output, print_errors_and_raise, print_fields
from jobs.status_command import read_next_command
from pipeline.batch import cancel, held_batches, move, poll, submit
from pipeline.batch.batch_plan import Selection
from pipeline.batch.ingest_report import IngestSummary
from pipeline.batch.report import (
    COST_KEYS,
    BatchSummary,
    list_batches,
    summarize_costs,
)
from pipeline.core.states import Mode
from pipeline.core.text import plural
from pipeline.engine.session import SyncOptions, WorkspaceSession
from pipeline.engine.task_values import AskedRows, TaskNouns
from pipeline.ops.status import read_status
from pipeline.workflows import move_batch, rounds, tag_report
from pipeline.workflows.pilot_run import check_or_run_pilot

# Characters of an example in the table of failed requests.
MAX_EXAMPLE_CHARS = 60

# Columns of the lists of batches, ingested batches, reasons and costs; see `make_table`.
BATCH_COLUMNS = (
    "batch=number task state remote=remote_name rows=requests done cost started=created_at "
    "duration=age_s reason"
)
INGEST_COLUMNS = (
    "batch requests answered refused invalid missing equal_rows=copied_rows "
    "controls=control_requests tokens_in tokens_out cost"
)
MOVE_FIELDS = (
    "batch to rows=requests cancelled_batch_at_most=cancelled_usd "
    "other_mode_at_most=other_mode_usd refusal"
)
REASON_COLUMNS = "batch outcome count reason examples"
COST_COLUMNS = (
    "batches live_calls=calls tokens_in tokens_out cost lost_calls perhaps_lost=lost under_way"
)


def batch_submit(
    ws: WorkspaceSession,
    *,
    limit: Limit = None,
    refresh: Refresh = False,
    dry: Dry = False,
    pilot: Pilot = None,
    skip_pilot: SkipPilot = False,
    accept_changed: AcceptChanged = False,
    full: Full = False,
) -> CommandReport:
    """Send all open rows of TASK in batches, for example all untagged people with a bio.

    Writes request files, uploads them, and creates a batch for each file. It is safe to repeat and
    to interrupt: no row is asked twice. If the reply to a create call is lost, the batch is looked
    for at Gemini.

    --pilot first asks a random sample of rows, waits for the answers, and stops if a quality gate
    fails. A version that has passed a pilot needs no other. If --pilot is left out, a failed or
    unfinished pilot of the version is an error, unless --skip-pilot is set.

    Asks for confirmation if the estimate is above FINDABLE_CONFIRM_ABOVE (USD). Rows beyond a
    budget are not sent, and the command then ends with an error.
    """
    ws.sync_options = SyncOptions(accepts_changes=accept_changed, reads_all_rows=full)
    ws.set_asked_rows(AskedRows(has_changed=refresh))
    if dry:
        return _sync_and_plan_batches(ws, limit)

    rounds.sync_and_recover_task(ws)
    tag_rounds = rounds.TagRounds(ws, limit=limit, should_report=False)
    pilot_report = check_or_run_pilot(
        ws,
        size=pilot,
        skip=skip_pilot,
        limit=limit,
        is_confirmed=False,
    )
    if pilot_report is not None:
        ws.display.say(pilot_line(pilot_report))

    remaining_limit = tag_rounds.remaining_rows()
    submit_report = tag_rounds.submit(is_confirmed=False, should_report_full_api=False)
    budget_error = tag_rounds.complete_report().stop.budget_error
    if budget_error is not None:
        raise budget_error

    # The pilot may have asked all rows of the limit.
    if remaining_limit == 0:
        message = "the pilot asked all rows of the limit"
    else:
        message = _submit_message(ws, submit_report)
    document = submit_report.document(ws.model, dry=False)
    return CommandReport(document, message, hint=read_next_command(ws))


def _sync_and_plan_batches(ws: WorkspaceSession, limit: int | None) -> CommandReport:
    """Sync the rows of the task with their source, and report what `batch-submit` would send.

    No batch is written or sent. If no row is open, the message says why.

    Args:
        ws: The workspace.
        limit: The largest number of rows to ask, or None for all open rows.

    Raises:
        InputError: The task has no rows at all.
    """
    ws.sync_rows()
    plan = submit.plan_submit(ws, Selection(limit))
    planned_report = submit.SubmitReport(plan)
    if plan.items:
        description = submit.describe_plan(ws, plan)
        message = f"would submit {description}; no batch was written or sent"
    else:
        ws.check_has_rows()
        message = _submit_message(ws, planned_report)
    document = planned_report.document(ws.model, dry=True)
    return CommandReport(document, message, hint=read_next_command(ws))


def _submit_message(ws: WorkspaceSession, report: submit.SubmitReport) -> str:
    """Return in a line which batches were sent, or why no batch was sent."""
    nouns = ws.task.nouns
    if not report.plan.items and not report.sent:
        return f"nothing to submit: {nouns.none_open_message}"
    if not report.sent:
        reason = report.summary or "these requests are under way already"
        return f"nothing was submitted: {reason}"

    row_count = plural(report.items, nouns.singular, nouns.plural)
    return f"submitted {row_count}: {report.summary}"


def batch_poll(
    ws: WorkspaceSession,
    *,
    wait: Annotated[
        bool, Parameter("Wait until all batches are over, instead of checking once.", bool)
    ] = True,
    batch: Annotated[
        int | None, Parameter("Only download the result of this held batch again.", COUNT)
    ] = None,
) -> CommandReport:
    """Wait until every submitted batch has ended at Gemini, and download the results.

    Ctrl-C is safe at any time; the batches continue at Gemini. Rows of a failed batch are open
    again.

    A held batch has replies that belong to other requests; see `batch-ingest`. --batch NUMBER
    checks no other batch, and downloads the result of this held batch again, because Gemini may
    send another file.

    Exit code 3: a batch no longer exists at Gemini. Exit code 4: it is unclear whether a batch was
    created; `batch-submit` finds out.
    """
    nouns = ws.task.nouns
    if batch is not None:
        message = "the API sent another result, which replaced the old result"
        if not held_batches.replace_held_result(ws, batch):
            ways_out = held_batches.describe_ways_out(batch, nouns)
            message = f"the API sent the same bytes again, so it is still held; {ways_out}"
        return _report_batch(ws, batch, message)

    report = poll.poll_batches(ws, should_wait=wait)
    check = partial(print_errors_and_raise, report.list_errors(nouns))
    return CommandReport(
        report.document(),
        _format_poll_message(report, nouns),
        check,
        hint=read_next_command(ws),
    )


def _format_poll_message(report: poll.PollReport, nouns: TaskNouns) -> list[str]:
    """Return a line for each failed batch, and a line with the batches that are over or not."""
    lines = [
        f"batch {number} failed ({reason}), its {nouns.plural} can be asked again"
        for number, reason in report.failed.items()
    ]
    if report.downloaded or report.waiting:
        downloaded = plural(len(report.downloaded), "batch", "batches")
        lines.append(f"{downloaded} downloaded, {len(report.waiting):,} not over yet")
    return lines or ["no batch was downloaded"]


def batch_ingest(
    ws: WorkspaceSession,
    *,
    strict: Strict = False,
    accept: Annotated[
        int | None, Parameter("Also store the replies of this held batch, as they are.", COUNT)
    ] = None,
) -> CommandReport:
    """Validate every line of the downloaded results, and store the answers.

    Each request is counted as answered, refused, invalid or missing. Rows of failed requests are
    asked once more in the next batch, then parked. It is safe to repeat and to interrupt.

    Writes a quality report into DATA/reports. A failed gate (a bound on a quality figure) is a
    warning, with --strict exit code 6. The answers are stored in any case.

    A batch whose replies provably belong to other requests is held, with exit code 5: nothing of
    it is stored. The message has three ways out: download it again, give it up, or --accept NUMBER,
    which stores its replies in spite of that.
    """
    report, failures = rounds.ingest_all(ws, accepted_number=accept)
    for quality in report.quality_reports.values():
        if any(gate.passed is not None for gate in quality.gates):
            ws.display.say(f"quality: {quality.line} ({quality.path})")

    def check() -> None:
        print_errors_and_raise(failures)
        report.raise_first_error(ws.task.nouns, ws.display, strict=strict)

    summaries = report.ingested
    documents = [summary.document for summary in summaries]
    output = list_failures(summaries)
    if documents:
        output.insert(0, make_table(documents, INGEST_COLUMNS))
    elif not (failures or report.held_errors):
        output.append("nothing to ingest: no batch is downloaded")
    return CommandReport(
        documents,
        output,
        check,
        hint=read_next_command(ws),
    )


def list_failures(summaries: Iterable[IngestSummary]) -> list[Output]:
    """Return a table with the problems of ingested batches by reason; empty if there are none.

    Its examples are cut after MAX_EXAMPLE_CHARS characters.
    """
    failures = list[dict[str, Any]]()
    for summary in summaries:
        failures += [
            {
                "batch": summary.batch.number,
                **vars(anomaly),
                "examples": "; ".join(
                    f"{name} {text}".strip()[:MAX_EXAMPLE_CHARS] for name, text in anomaly.examples
                ),
            }
            for anomaly in summary.anomalies
        ]
    if not failures:
        return []
    return [make_table(failures, REASON_COLUMNS)]


def batch_cancel(
    ws: WorkspaceSession,
    *,
    batch: Annotated[int, Parameter("", COUNT)],
) -> CommandReport:
    """Cancel a batch at Gemini, or release its rows if it was never created.

    Prints what happened. If the batch no longer exists at Gemini, it is
    abandoned after confirmation, and its rows are released.
    """
    message = cancel.cancel_batch(ws, number=batch)
    return _report_batch(ws, batch, message)


def _report_batch(ws: WorkspaceSession, number: int, message: str) -> CommandReport:
    """Return the report of a command that did something to a single batch."""
    next_command = read_status(ws).next_command
    document = {"batch": number, "said": message, "next": str(next_command or "")}
    return CommandReport(document, f"batch {number}: {message}", hint=next_command)


def batch_move(
    ws: WorkspaceSession,
    *,
    batch: Annotated[int, Parameter("", COUNT)],
    # Typed as --to.
    target_mode: Annotated[
        str,
        Parameter(
            "The mode in which the rows are asked.",
            click.Choice([mode.value for mode in move.MOVE_MODES]),
        ),
    ] = "flex",
    budget: BudgetLimit = None,
    dry: Dry = False,
) -> CommandReport:
    """Cancel a batch that takes too long, and ask its unanswered rows in another mode.

    Cancels the batch at Gemini, waits until it has ended, stores the answers that it has, and asks
    the other rows. If the batch succeeds in spite of the cancel, nothing is asked again.

    Prints first what the cancelled batch may still cost, and the price of the other mode. Asks for
    confirmation if the sum is above FINDABLE_CONFIRM_ABOVE (USD).

    Ctrl-C is safe at any time: the same command continues.
    """
    mode = Mode(target_mode)
    ws = cancel.open_task_of_batch(ws, batch)
    if dry:
        plan = move_batch.plan_move(ws, batch, mode, budget_usd=budget)
        return CommandReport(plan, partial(print_fields, make_fields(plan, MOVE_FIELDS)))

    document, move_report = move_batch.move_batch(ws, batch, mode, budget_usd=budget)

    def check() -> None:
        move_report.raise_first_error(ws.task.nouns, ws.display)
        if move_report.stop.budget_error is not None:
            raise move_report.stop.budget_error

    return CommandReport(document, _move_message(document), check, hint=read_next_command(ws))


def _move_message(document: Mapping[str, Any]) -> str:
    """Return how a moved batch ended, and how its unanswered rows were asked."""
    fields = format_fields(
        document,
        f"batch state rows=requests answered=kept answered_by_{document['to']}=answered "
        "asked_in_batches=submitted still_open=left",
    )
    return f"batch is over: {fields}"


def batches(ws: WorkspaceSession) -> CommandReport:
    """List the batches of all tasks, or only those of --task.

    Prints number, task, state, remote name, rows, ended requests, cost (USD), start (UTC), duration
    and the reason why a batch failed or is held (see `batch-ingest`). A tilde marks an estimated
    cost.
    """
    summaries = list_batches(ws.store, now=ws.now())
    if "task" in ws.settings.sources:
        summaries = [summary for summary in summaries if summary.batch.task == ws.task.name]
    table = make_table(map(_batch_record, summaries), BATCH_COLUMNS)
    if not summaries:
        return CommandReport([], table, hint=read_next_command(ws))
    return CommandReport([summary.document for summary in summaries], table)


def _batch_record(summary: BatchSummary) -> dict[str, Any]:
    """Return a batch as a row of BATCH_COLUMNS, with a tilde before an estimated cost."""
    record = {**summary.document, "done": summary.done}
    if not summary.is_actual:
        record["cost"] = EstimatedCost(summary.cost)
    if summary.batch.is_held:
        record["reason"] = f"held: {summary.batch.held}"
    return record


def costs(
    ws: WorkspaceSession,
    *,
    by: Annotated[
        str, Parameter("Print a line per day, task, model or batch.", click.Choice(COST_KEYS))
    ] = "day",
) -> CommandReport:
    """Add up the cost of batches and live calls in USD, by day, task, model or batch.

    Counts all tasks, or only TASK if it is set. A day is a day of US/Pacific, as in daily budgets.

    Two further columns are estimates: "perhaps lost" has the calls whose end is unknown, which
    Gemini may have charged, and "under way" has the requests that still run. Embeddings are not
    counted.
    """
    is_task_set = "task" in ws.settings.sources
    task_name = ws.task.name if is_task_set else None
    costs_document = summarize_costs(ws.store, ws.tasks, group_key=by, task_name=task_name)

    total_row = {by: "all"} | costs_document["total"]
    group_column = "day_(US/Pacific)=day" if by == "day" else by
    table = make_table([*costs_document["rows"], total_row], f"{group_column} {COST_COLUMNS}")
    if not costs_document["rows"]:
        return CommandReport(costs_document, table, hint=read_next_command(ws))
    return CommandReport(costs_document, table)


def pilot_line(report: tag_report.TagReport) -> str:
    """Return a line with number, version and quality of a pilot, and the path of its report."""
    document = report.document()
    verdict = document["quality"]["verdict"]
    pilot = f"pilot {document['pilot']} of {document['extractor']}"
    return f"{pilot}: {verdict}. Report: {document['report']}"
