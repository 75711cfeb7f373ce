"""Commands that ask about rows by batch, flex or live, and show what it costs.

- `batch-submit`, `batch-poll`, `batch-ingest` and `batch-cancel` are the steps of a batch.
- `tag` takes all steps, in the mode that fits best.
- `passages-pilot` asks about a random sample first.
- `batches` and `costs` list what was sent.
"""

from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

import click

from jobs.command import wants_json
from jobs.options import (
    COUNT,
    MONEY,
    CommandReport,
    Deadline,
    Dry,
    Limit,
    NoResume,
    Parameter,
    Pilot,
    Seed,
    SkipPilot,
    Strict,
    Wait,
)
from jobs.output import Output, Terminal, TextTable, print_line, print_table, raise_all
from pipeline.batch import cancel, poll, submit
from pipeline.batch.budget import MIN_CALIBRATION_ANSWERS, Calibration
from pipeline.batch.ingest import IngestSummary
from pipeline.batch.live import LiveReport
from pipeline.batch.prepare import Selection
from pipeline.batch.report import (
    COST_KEYS,
    BatchSummary,
    duration_in_words,
    list_batches,
    summarize_costs,
)
from pipeline.batch.submit import SubmitReport
from pipeline.core.command_hint import CommandHint
from pipeline.core.progress import Progress
from pipeline.core.states import UNSUPPORTED_REASON
from pipeline.core.text import first_few, format_usd, plural
from pipeline.engine.task import TaskLabels
from pipeline.engine.workspace import WorkspaceSession
from pipeline.ops import status
from pipeline.workflows import preflight, rounds
from pipeline.workflows import tag as tag_workflow
from pipeline.workflows.preflight import Preflight
from pipeline.workflows.rounds import TagRounds

# Rows named in the warning about answers for an earlier input.
MAX_OUTDATED_ROWS_SHOWN = 10
# Characters of an example in the table of failed requests.
MAX_EXAMPLE_CHARS = 60

# Members of an ingested batch in the JSON document: attributes of the batch.
BATCH_COUNT_NAMES = (
    "requests",
    "answered",
    "refused",
    "invalid",
    "missing",
    "not_applied",
    "unknown",
    "duplicates",
    "unreadable",
    "tokens_in",
    "tokens_out",
    "cost",
)
# Further members: attributes of the batch's summary.
SUMMARY_FIELD_NAMES = (
    "unapplied",
    "outdated",
    "other_versions",
    "copied_rows",
    "left_out_values",
)
FAILED_OUTCOMES = ("refused", "invalid", "missing")

BATCH_HEADERS = (
    "batch",
    "task",
    "state",
    "remote",
    "rows",
    "done",
    "cost",
    "begun",
    "took",
    "reason",
)
# Headers after the header of the groups.
COST_HEADERS = (
    "batches",
    "live calls",
    "tokens in",
    "tokens out",
    "cost",
    "lost calls",
    "perhaps lost",
    "under way",
)


def batch_submit(
    ws: WorkspaceSession,
    *,
    limit: Limit = None,
    dry: Dry = False,
    pilot: Pilot = None,
    skip_pilot: SkipPilot = False,
) -> CommandReport:
    """Submit batches for all items that are open: for all untagged people with a bio, or for those of TASK.

    Writes request files, uploads them, and creates one batch for each. Safe to repeat and to
    interrupt: no item is asked twice, and a batch whose create call was lost is found again.
    Above FINDABLE_CONFIRM_ABOVE (USD) it asks first.
    """
    labels = ws.task.words
    if dry:
        return _plan_batches(ws, limit)

    rounds.prepare_task(ws)
    tag_rounds = TagRounds(ws, limit=limit, judges=False)
    pilot_report = tag_workflow.ensure_pilot_passed(
        ws,
        size=pilot,
        skip=skip_pilot,
        limit=limit,
        agreed=False,
    )
    if pilot_report is not None:
        ws.display.say(_pilot_line(pilot_report))

    remaining_limit = tag_rounds.left()
    submit_report = tag_rounds.submit(agreed=False, patient=False)
    budget_error = tag_rounds.end().no_money
    if budget_error is not None:
        raise budget_error

    # The pilot may have asked all rows of the limit.
    if remaining_limit == 0:
        message = f"{labels.step('batch-submit')} asks the rest"
    else:
        message = _submit_message(submit_report, labels)
    return CommandReport(submit_report.document(ws.model, dry=False), message)


def _plan_batches(ws: WorkspaceSession, limit: int | None) -> CommandReport:
    """Read the rows of the task, and report the batches that `batch-submit` would send.

    Args:
        ws: The workspace.
        limit: Most rows to ask, or None for all.

    Raises:
        InputError: The task has no rows.
    """
    ws.bring_items()
    plan = submit.plan_submit(ws, Selection(limit))
    planned_report = SubmitReport(plan)
    if plan.items:
        description = submit.describe_plan(ws, plan)
        message = f"would submit {description}; no batch was written or sent"
    else:
        ws.check_any_items()
        message = _submit_message(planned_report, ws.task.words)
    return CommandReport(planned_report.document(ws.model, dry=True), message)


def _submit_message(report: SubmitReport, labels: TaskLabels) -> str:
    """Return in a line which batches were sent, or why none was, and the next command."""
    if not report.plan.items and not report.sent:
        return f"nothing to submit: {labels.all_done}"
    if not report.sent:
        reason = report.summary or "it is under way already"
        return f"nothing was submitted: {reason}. Next: {labels.step('batch-poll')}"

    # A rebuilt batch is not at the API, so there is nothing to poll.
    has_only_rebuilt = set(report.sent.values()) == {"rebuilt"}
    next_command = labels.step("status" if has_only_rebuilt else "batch-poll")
    row_count = plural(report.items, labels.one, labels.many)
    return f"submitted {row_count}: {report.summary}. Next: {next_command}"


def batch_poll(
    ws: WorkspaceSession,
    *,
    wait: Annotated[bool, Parameter("Wait until all are over, or look once.", bool)] = True,
) -> CommandReport:
    """Wait until every submitted batch is over, and download its result.

    Ctrl-C is safe at any moment; the batch goes on at the API. Exit code 3: the API does not
    show a batch any more; 4: it is unclear whether a batch was created, `batch-submit` finds
    out.
    """
    report = poll.poll_batches(ws, wait=wait)
    labels = ws.task.words

    def check() -> None:
        raise_all(report.errors(labels))

    return CommandReport(report.document(), _poll_message(report, labels), check)


def _poll_message(report: poll.PollReport, labels: TaskLabels) -> str:
    """Return in a line the downloaded, failed and waiting batches, and the next command."""
    parts = []
    if report.downloaded:
        parts.append(f"{plural(len(report.downloaded), 'batch', 'batches')} downloaded")
    for number, reason in report.failed.items():
        parts.append(f"batch {number} failed ({reason}), its {labels.many} can be asked again")
    if report.waiting:
        parts.append(f"{plural(len(report.waiting), 'batch', 'batches')} not over yet")

    if not parts:
        has_problem = report.gone or report.unclear
        return (
            "no batch was downloaded" if has_problem else "nothing to poll: no batch is at the API"
        )

    next_command = labels.again
    if report.downloaded:
        next_command = labels.step("batch-ingest")
    elif report.waiting:
        next_command = labels.step("batch-poll")
    return f"{'; '.join(parts)}. Next: {next_command}"


def batch_ingest(ws: WorkspaceSession, *, strict: Strict = False) -> CommandReport:
    """Judge every line of the downloaded results and write the answers, with scores.

    Every request is counted as answered, refused, invalid or missing; failed ones are asked
    once more in the next batch, then parked. Safe to repeat and to interrupt. A report on the
    answers is written into DATA/reports; if a gate fails it is a warning, with --strict exit
    code 6, and the answers are stored anyway.
    """
    report, failures = rounds.ingest_all(ws)
    labels = ws.task.words
    summaries = report.ingested
    for quality in report.reports.values():
        if any(gate.passed is not None for gate in quality.gates):
            ws.display.say(f"quality: {quality.line} ({quality.path})")

    output: list[Any] = [_ingest_output(summary) for summary in summaries]
    if not failures:
        output.append(_after_ingest_line(summaries, labels))

    def check() -> None:
        for summary in summaries:
            _warn_of_ingest(summary, labels, ws.display)
        raise_all(failures)
        report.finish(labels, ws.display, strict=strict)

    documents = [_ingest_document(summary) for summary in summaries]
    return CommandReport(documents, output, check)


def _after_ingest_line(summaries: list[IngestSummary], labels: TaskLabels) -> str:
    """Return the line with the next command; without summaries, that nothing was ingested."""
    if not summaries:
        return "nothing to ingest: no batch is downloaded"

    has_failed_requests = any(_failed_counts(summary) for summary in summaries)
    retry = f", and {labels.again} for what failed" if has_failed_requests else ""
    return f"Next: {labels.after}{retry}"


def _failed_counts(summary: IngestSummary) -> dict[str, int]:
    """Return how many requests of a batch failed, by outcome; an outcome without any is missing."""
    counts = {name: getattr(summary.batch, name) for name in FAILED_OUTCOMES}
    return {name: count for name, count in counts.items() if count}


def _ingest_document(summary: IngestSummary) -> dict[str, Any]:
    """Return the JSON document of an ingested batch."""
    batch = summary.batch
    return {
        "batch": batch.number,
        **{name: getattr(batch, name) for name in BATCH_COUNT_NAMES},
        "reasons": [asdict(anomaly) for anomaly in summary.anomalies],
        **{name: getattr(summary, name) for name in SUMMARY_FIELD_NAMES},
    }


def _ingest_output(summary: IngestSummary) -> list[Output]:
    """Return a line with the counts of a batch, and a table of its failed requests if any."""
    batch = summary.batch
    failed = "".join(f", {count:,} {name}" for name, count in _failed_counts(summary).items())
    copied = f", {summary.copied_rows:,} more rows share them" if summary.copied_rows else ""
    answers = f"{plural(batch.answered or 0, 'answer')} of {batch.requests:,}"
    cost = format_usd(batch.cost or 0)
    usage = f"{batch.tokens_in:,} tokens in, {batch.tokens_out:,} out, {cost}"

    output: list[Output] = [f"batch {batch.number}: {answers}{failed}{copied}; {usage}"]
    rows = []
    for anomaly in summary.anomalies:
        examples = [f"{name} {text}".strip()[:MAX_EXAMPLE_CHARS] for name, text in anomaly.examples]
        rows.append((anomaly.outcome, anomaly.count, anomaly.reason, "; ".join(examples)))
    if rows:
        output.append(TextTable(("outcome", "count", "reason", "examples"), rows))
    return output


def _warn_of_ingest(summary: IngestSummary, labels: TaskLabels, display: Progress) -> None:
    """Warn of answers that were not applied, are outdated, or came from another model version."""
    batch = summary.batch
    warnings = []
    if batch.not_applied:
        warnings.append(
            f"{plural(batch.not_applied, 'answer')} not applied ({first_few(summary.unapplied)}): "
            f"the {labels.one} was removed or answered meanwhile, or is parked: "
            f"`{labels.step('parked')}` says why",
        )
    if summary.outdated:
        row_names = first_few(summary.outdated, MAX_OUTDATED_ROWS_SHOWN)
        warnings.append(f"answered for an earlier {labels.input}: {row_names}")
    if summary.other_versions:
        warnings.append(f"asked {batch.model}, answered by {', '.join(summary.other_versions)}")

    for warning in warnings:
        display.warn(f"batch {batch.number}: {warning}")


def batch_cancel(
    ws: WorkspaceSession,
    *,
    batch: Annotated[int, Parameter("", COUNT)],
) -> CommandReport:
    """Cancel a batch at the API, or release its people if it was never created.

    A batch that the API does not show any more is given up after confirmation.
    """
    message, next_command = cancel.cancel_batch(ws, number=batch)
    return CommandReport(
        {"batch": batch, "said": message, "next": str(next_command)},
        f"batch {batch}: {message}. Next: {next_command}",
    )


def batches(ws: WorkspaceSession) -> CommandReport:
    """List every batch of every task: number, state, remote name, rows, cost, when it began (UTC), what it took."""
    summaries = list_batches(ws.store, now=ws.now())
    output: Output = TextTable(BATCH_HEADERS, [_batch_cells(summary) for summary in summaries])
    if not summaries:
        output = f"no batches yet. Next: {ws.task.words.step('batch-submit')}"
    return CommandReport([summary.document for summary in summaries], output)


def _batch_cells(summary: BatchSummary) -> tuple[object, ...]:
    """Return the cells of a batch in the order of BATCH_HEADERS.

    An estimated cost begins with a tilde. The age of an open batch ends with an ellipsis.
    """
    batch = summary.batch
    estimate_mark = "" if summary.is_actual else "~"
    open_mark = "" if batch.is_over else " …"
    return (
        str(batch.number),
        batch.task,
        batch.state.value,
        batch.remote_name,
        batch.requests,
        summary.done,
        f"{estimate_mark}{format_usd(summary.cost)}",
        batch.created_at,
        f"{summary.age_words}{open_mark}",
        batch.reason or "",
    )


def costs(
    ws: WorkspaceSession,
    *,
    by: Annotated[str, Parameter("Add up by which of these.", click.Choice(COST_KEYS))] = "day",
) -> CommandReport:
    """Add up what batches and live calls have cost, by day, task, model or batch; with TASK= of that task alone.

    A day is that of daily budgets. What was sent and ended unseen may have been paid for, and
    is told apart, as what is under way is, at estimates. Embeddings are not counted.
    """
    has_task = "task" in ws.settings.sources
    task_name = ws.task.name if has_task else None
    costs_document = summarize_costs(ws.store, ws.tasks, group_key=by, task_name=task_name)

    output: Output = f"nothing was sent yet. Next: {CommandHint('tag', dry=True)}"
    if costs_document["rows"]:
        group_header = "day (US/Pacific)" if by == "day" else by
        total_row = {by: "all"} | costs_document["total"]
        rows = [_cost_cells(row, by) for row in [*costs_document["rows"], total_row]]
        output = TextTable((group_header, *COST_HEADERS), rows)
    return CommandReport(costs_document, output)


def _cost_cells(row: dict[str, Any], group_key: str) -> tuple[object, ...]:
    """Return the cells of a group's row of costs: its key, then the order of COST_HEADERS."""
    return (
        row[group_key],
        row["batches"],
        row["calls"],
        row["tokens_in"],
        row["tokens_out"],
        format_usd(row["cost"]),
        row["lost_calls"] or None,
        _estimated_cost_cell(row["lost"]),
        _estimated_cost_cell(row["under_way"]),
    )


def _estimated_cost_cell(cost: float) -> str | None:
    """Return an estimated cost in USD with a tilde, or None for zero."""
    return f"~{format_usd(cost)}" if cost else None


def tag(
    ws: WorkspaceSession,
    *,
    mode: Annotated[str, Parameter("", click.Choice(tag_workflow.MODES))] = "auto",
    limit: Limit = None,
    budget: Annotated[float | None, Parameter("Most USD that it may spend.", MONEY)] = None,
    deadline: Deadline = None,
    pilot: Pilot = None,
    skip_pilot: SkipPilot = False,
    wait: Wait = None,
    strict: Strict = False,
    dry: Dry = False,
    no_resume: NoResume = False,
    backfill: Annotated[bool, Parameter()] = False,
) -> CommandReport:
    """Estimate the cost of tagging, then tag all untagged people by batch, flex or live: the cheapest that is in time.

    With --dry it shows cost and time of each way, spends nothing and needs no key. Flex are
    calls at half price, which the API sheds where it is busy, and which are tried again; at
    full price it asks first, unless MODE=live says so.

    With TASK=passages, or your own task, its items. Nothing more is started if the budget would
    be exceeded. A killed run resumes, and until no item is left its budget holds for `run` and
    for `tag` without one, too. Above FINDABLE_CONFIRM_ABOVE (USD) it asks first, and refuses
    without --yes off a terminal. If a quality gate of a pilot fails, the exit code is 6; later
    a failed gate is a warning, with --strict exit code 6. The answers are stored.
    """
    labels = ws.task.words
    if dry:
        estimate = preflight.run(ws, limit=limit, deadline_s=deadline)
        return CommandReport(estimate.document(), partial(_print_estimate, estimate, labels))

    if no_resume:
        tag_workflow.switch_to_new_version(ws)
    options = tag_workflow.TagOptions(
        mode,
        limit,
        budget,
        deadline,
        wait,
        pilot,
        skip_pilot,
        backfill,
    )
    report = tag_workflow.run(ws, options)
    if backfill and report.quality is not None:
        ws.display.say(f"quality: {report.quality.line} ({report.quality.path})")
    # Only people read the next command; the JSON document has none.
    next_command = None if wants_json() else status.run(ws).next

    def check() -> None:
        for summary in report.ingested:
            _warn_of_ingest(summary, labels, ws.display)
        _warn_of_open_rows(report, labels, ws.display)
        report.finish(labels, ws.display, strict=strict)

    output = partial(_print_tag_report, report, labels, next_command)
    return CommandReport(report.document(), output, check)


def _print_tag_report(
    report: rounds.TagReport,
    labels: TaskLabels,
    next_command: CommandHint | None,
) -> None:
    """Print the pilot, the answers and the rows in open batches; the last line has `next_command`.

    `next_command` is left out if the command was stopped early.
    """
    if report.pilot is not None:
        Terminal().say(_pilot_line(report.pilot))

    next_hint = f". Next: {next_command}" if next_command else ""
    if not report.mode:
        print_line(f"nothing to tag: {labels.all_done}{next_hint}")
        return

    lines = _tag_report_lines(report, labels)
    # The error that stopped the command has a hint of its own.
    is_stopped = report.is_down or bool(report.out_of_money) or bool(report.errors(labels))
    if not is_stopped:
        lines[-1] += next_hint
    for line in lines:
        print_line(line)


def _tag_report_lines(report: rounds.TagReport, labels: TaskLabels) -> list[str]:
    """Return one or two lines: the ingested answers, then the live run or the open batches."""
    live_report = report.live
    lines = []
    if report.ingested or not (live_report or report.under_way):
        batch_count = plural(len(report.ingested), "batch", "batches")
        origin = f" in {batch_count}" if report.ingested else ""
        parked = f", {report.parked:,} parked" if report.parked else ""
        answered = f"{report.answered_rows:,} {labels.done}"
        lines.append(f"{answered}{origin}{parked}, {format_usd(report.spent)} spent")

    if live_report is not None:
        lines.append(_live_line(report, live_report, labels))
    elif report.under_way:
        was_just_sent = report.items and not report.is_down and not report.ingested
        row_count = report.items if was_just_sent else report.under_way
        state = "submitted" if was_just_sent else "in batches that are not over"
        lines.append(f"{plural(row_count, labels.one, labels.many)} {state}")
    return lines


def _warn_of_open_rows(report: rounds.TagReport, labels: TaskLabels, display: Progress) -> None:
    """Warn of failed rows of a live run, and of rows that wait for a budget or for the API."""
    if report.live is not None:
        for row_name, reason in report.live.samples:
            display.warn(f"{row_name}: {reason}")

    if report.out_of_money:
        remaining = plural(report.left, f"{labels.one} is", f"{labels.many} are")
        display.warn(f"{report.out_of_money}; {remaining} left")
    if report.no_room:
        verb = "waits" if report.no_room == 1 else "wait"
        waiting = plural(report.no_room, labels.one, labels.many)
        display.warn(f"{waiting} {verb} for room at the API")


def _live_line(report: rounds.TagReport, live_report: LiveReport, labels: TaskLabels) -> str:
    """Return a line with the answered, failed and remaining rows of a live run, and its cost."""
    if not (live_report.done or report.unasked):
        return f"nothing to ask: {labels.all_done}"

    parts = [f"{live_report.answered:,} {labels.done}"]
    for reason, count in live_report.failed.most_common():
        if reason.startswith(UNSUPPORTED_REASON):
            parts.append(f"{count:,} set aside: {reason}")
        else:
            parts.append(f"{count:,} failed ({reason})")
    if report.unasked:
        parts.append(f"{report.unasked:,} left")

    calls = plural(live_report.calls, "call")
    return f"{', '.join(parts)}; {calls}, {format_usd(live_report.cost)}"


def _print_estimate(estimate: Preflight, labels: TaskLabels) -> None:
    """Print the estimate of each mode, the waiting batches, and the recommended mode.

    If the local engine would answer, print the estimate of the model that a key would use.
    """
    if estimate.waiting.items:
        waiting = estimate.waiting.about(labels)
        cost = format_usd(estimate.waiting.cost)
        print_line(
            f"{waiting} in batches that an earlier run prepared go out with it, estimated {cost}",
        )
    if not estimate.plan.items:
        print_line(f"nothing to ask: {labels.all_done}")
        return

    measuring_command = labels.step(
        "tag",
        pilot=MIN_CALIBRATION_ANSWERS,
        limit=MIN_CALIBRATION_ANSWERS,
    )
    hint = f"`{measuring_command}` measures it"
    if estimate.with_key is None:
        _print_modes(estimate, labels, guess_note=f"output is guessed; {hint}")
    else:
        print_line(f"{estimate.model}: {estimate.plan.about(labels)}, at no cost")
        guess_note = f"output is guessed; with a key {hint}"
        _print_modes(estimate.with_key, labels, guess_note=guess_note)

    recommended = estimate.recommended or "nothing yet"
    print_line(f"recommended: {recommended}, because {estimate.reason}")


def _print_modes(estimate: Preflight, labels: TaskLabels, *, guess_note: str) -> None:
    """Print the tokens, a table with cost and time of each available mode, and warnings.

    Args:
        estimate: The estimate.
        labels: Labels of the task.
        guess_note: Basis of the token counts if no answer has measured them.
    """
    usage = estimate.plan.usage
    basis = _estimate_basis(estimate.known, guess_note)
    output_tokens = usage.answer + usage.thoughts
    print_line(
        f"{estimate.model}: {estimate.plan.about(labels)}, about {usage.prompt:,} tokens in and "
        f"{output_tokens:,} out ({basis})",
    )

    # Batch is always listed.
    mode_estimates = {
        mode: mode_estimate
        for mode, mode_estimate in estimate.ways.items()
        if mode == "batch" or not mode_estimate.absent
    }
    rows = []
    for mode, mode_estimate in mode_estimates.items():
        nouns = ("batch", "batches") if mode == "batch" else ("call", "calls")
        count = plural(mode_estimate.count, *nouns)
        duration = duration_in_words(mode_estimate.seconds)
        rows.append((mode, mode_estimate.shown_cost, duration, count))
    print_table(("way", "cost", "time", "sends"), rows)

    for mode, mode_estimate in mode_estimates.items():
        for warning in mode_estimate.warnings:
            Terminal().warn(f"{mode}: {warning}")


def _estimate_basis(calibration: Calibration, guess_note: str) -> str:
    """Return in words how token counts were estimated, and the error of past estimates if known."""
    basis = guess_note
    if calibration.answers:
        basis = f"learned from {calibration.answers:,} answers"
    if calibration.error is not None:
        basis += f"; past estimates were off by {calibration.error:.0%}"
    return basis


def passages_pilot(
    ws: WorkspaceSession,
    *,
    n: Annotated[int | None, Parameter("How many passages to try; 200 without it.", COUNT)] = None,
    seed: Seed = None,
    no_resume: NoResume = False,
) -> CommandReport:
    """Ask about a few passages drawn at random, wait for them, and judge their concepts.

    The report in DATA/reports has the quality gates, plots, and samples to read; if a gate
    fails the exit code is 6. `passages-backfill` asks about all passages only after a pilot has
    passed. A killed pilot resumes.
    """
    # The next command must name the version, except if it is the default version.
    default_version = ws.task.label if "version" not in ws.settings.sources else None
    if no_resume:
        tag_workflow.switch_to_new_version(ws)
    report = tag_workflow.run_pilot(ws, size=n, seed=seed)

    new_version = None if ws.task.label == default_version else ws.task.label
    message = _pilot_line(report)
    if report.quality is not None and report.quality.passed:
        message += f". Next: {CommandHint('passages-backfill', version=new_version)}"

    def check() -> None:
        report.check(Terminal(), strict=True)

    return CommandReport(report.document(), message, check)


def _pilot_line(report: rounds.TagReport) -> str:
    """Return a line with the number, the version and the quality of a pilot, and its report."""
    quality = report.quality
    pilot = report.drawn
    # A pilot without answers is an error of `run_pilot`.
    assert quality is not None  # noqa: S101
    assert pilot is not None  # noqa: S101
    return f"pilot {pilot.number} of {pilot.extractor}: {quality.line}. Report: {quality.path}"
