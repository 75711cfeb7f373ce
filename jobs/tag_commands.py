"""Commands that ask about rows in the mode that fits best, or about a random sample first.

- `tag` estimates the cost, chooses the mode and takes all steps.
- `passages-pilot` asks about a random sample and judges the answers.

A field is closed if its values can be listed, such as choices or yes and no; a decision model can
decide it. A live run makes single calls, in the mode live or flex. A control request has a known
answer, to show whether a batch mixes up replies.
"""

from functools import partial
from typing import Annotated

import click

from jobs.batch_commands import FAILED_OUTCOMES, pilot_line, warn_of_ingest
from jobs.options import (
    COUNT,
    AcceptChanged,
    BudgetLimit,
    CommandReport,
    Deadline,
    Dry,
    Full,
    Item,
    Limit,
    NoResume,
    Parameter,
    Pilot,
    Refresh,
    Seed,
    SkipPilot,
    Strict,
    Wait,
    Where,
)
from jobs.output import Terminal, print_line, print_table, system_user
from jobs.status_command import read_next_command
from pipeline.batch.budget import MIN_CALIBRATION_ANSWERS
from pipeline.batch.live_report import INTERRUPTED_REASON, LiveReport
from pipeline.batch.report import duration_in_words
from pipeline.core.progress import Progress
from pipeline.core.states import Mode, describe_reason, is_unsupported
from pipeline.core.text import format_usd, plural
from pipeline.engine.session import SyncOptions, WorkspaceSession
from pipeline.engine.task_parts import TaskLabels
from pipeline.workflows import pilot_run, tag_report
from pipeline.workflows import tag as tag_workflow
from pipeline.workflows.preflight import Preflight


def tag(
    ws: WorkspaceSession,
    *,
    mode: Annotated[
        str,
        Parameter(
            "Auto takes the cheapest mode by --deadline, except decide.",
            click.Choice(tag_workflow.MODES),
        ),
    ] = "auto",
    limit: Limit = None,
    where: Where = "",
    item: Item = None,
    again: Annotated[
        bool | None,
        Parameter(
            "Ask the answered rows of --where or --item again. 0 takes that back instead.", bool
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
    no_resume: NoResume = False,
    # Set by `passages-backfill`, never typed: ask all rows by batch, under one version, without a
    # budget.
    backfill: Annotated[bool, Parameter()] = False,
) -> CommandReport:
    """Ask about all open rows of TASK, such as untagged people, and store the answers.

    Estimates cost and time, then uses the cheapest mode that meets the deadline; without a deadline
    any time is enough. Batch and flex cost half the live price. Gemini may reject flex calls when
    it is busy; they are retried. Decide asks the fields as questions of a decision model, and
    stores a probability for each. All fields must be closed: choices, yes or no, or bounded whole
    numbers. Decide is used only if it is named.

    --dry prints cost and time of each mode. It sends nothing and needs no key.

    --where asks only the rows of a condition. --again also asks those of them that are answered:
    they are marked, and the old answer counts until a new one replaces it. Marked rows are asked by
    every later `tag` until they have a new answer. --refresh also asks rows that changed after
    their answer.

    Asks for confirmation before an automatic choice of full price, before answered rows are asked
    again, and if the estimate is above FINDABLE_CONFIRM_ABOVE (USD). Without a terminal it needs
    --yes.

    Stops before the budget of --budget is exceeded. A killed run continues with the same command.
    Until no row is open, the budget also limits commands that continue the run: `work`, and `tag`
    without --budget.

    --pilot first asks a random sample of rows and measures the answers; a failed quality gate ends
    the command with exit code 6. Later a failed gate is a warning, with --strict exit code 6. The
    answers are stored in any case.
    """
    labels = ws.task.labels
    ws.sync_options = SyncOptions(accepts_changes=accept_changed, reads_all_rows=full)
    if no_resume and not dry:
        tag_workflow.switch_to_new_version(ws)
    options = tag_workflow.TagOptions(
        mode=mode,
        limit=limit,
        budget=budget,
        deadline_s=deadline,
        wait=wait,
        pilot=pilot,
        skip_pilot=skip_pilot,
        where=where,
        item=item,
        again=again,
        who=system_user(),
        refresh=refresh,
        backfill=backfill,
    )
    if again is False:
        count = tag_workflow.take_marks_back(ws, options)
        rows = plural(count, labels.singular, labels.plural)
        return CommandReport({"marks": count}, f"{rows} will not be asked again")
    if dry:
        estimate = tag_workflow.estimate_rows(ws, options)
        # The pilot asks a generating model, about rows of the whole task.
        can_pilot_measure = mode != Mode.DECIDE and not where
        output = partial(_print_estimate, estimate, labels, can_pilot_measure=can_pilot_measure)
        return CommandReport(estimate.document(), output)

    report = tag_workflow.tag_rows(ws, options)
    quality = report.newest_quality
    if backfill and quality is not None:
        ws.display.say(f"quality: {quality.line} ({quality.path})")

    def check() -> None:
        warn_of_ingest(report.ingested, labels, ws.display)
        _warn_of_unanswered_rows(report, labels, ws.display)
        report.raise_first_error(labels, ws.display, strict=strict)

    document = {**report.document(), "placeholder": ws.has_placeholder_answers}
    output = partial(_print_tag_report, report, labels)
    return CommandReport(document, output, check, hint=read_next_command(ws))


def _print_tag_report(report: tag_report.TagReport, labels: TaskLabels) -> None:
    """Print the lines of `tag` on standard output, and a pilot's line on standard error.

    The lines are about the stored answers, a live run, and rows in open batches; see
    `_tag_report_lines`. If nothing was asked, the only line says so.
    """
    if report.pilot is not None:
        Terminal().say(pilot_line(report.pilot))

    if not report.mode:
        print_line(f"nothing to tag: {labels.none_open_message}")
        return

    for line in _tag_report_lines(report, labels):
        print_line(line)


def _tag_report_lines(report: tag_report.TagReport, labels: TaskLabels) -> list[str]:
    """Return the lines of a `tag` that asked rows; at least one.

    In this order:

    - The stored answers and the cost, if a batch was ingested, or if no other line follows.
    - The live run. If no live run was made, the rows that were sent or that are in open batches, if
      there are any.
    """
    live_report = report.live
    lines = []

    has_other_line = live_report is not None or report.under_way
    if report.ingested or not has_other_line:
        line = f"{report.answered_rows:,} {labels.answered}"
        if report.ingested:
            line += f" in {plural(len(report.ingested), 'batch', 'batches')}"
            line += f" for {format_usd(report.batches_cost)}"
            if report.lost:
                line += f" and about {format_usd(report.lost)} perhaps lost"
        if report.parked:
            line += f", {report.parked:,} parked"
        # The cost of the batches does not contain the calls for moved rows.
        if report.moved_rows or not report.ingested:
            line += f", {format_usd(report.spent)} spent since the run began"
        lines.append(line)

    if live_report is not None:
        lines.append(_live_line(report, live_report, labels))
    elif report.under_way and report.items and not report.is_down and not report.ingested:
        rows = plural(report.items, labels.singular, labels.plural)
        lines.append(f"{rows} submitted{_waiting_phrase(report, labels)}")
    elif report.under_way:
        rows = plural(report.under_way, labels.singular, labels.plural)
        lines.append(f"{rows} in batches that are not over{_waiting_phrase(report, labels)}")
    return lines


def _waiting_phrase(report: tag_report.TagReport, labels: TaskLabels) -> str:
    """Return how many open rows get the answer of an equal row in an open batch; "" for none."""
    if not report.waiting:
        return ""
    waiting = plural(report.waiting, "more gets", "more get")
    return f"; {waiting} the answers of equal {labels.plural}"


def _warn_of_unanswered_rows(
    report: tag_report.TagReport, labels: TaskLabels, display: Progress
) -> None:
    """Print warnings about failed requests, and rows that wait for budget or API.

    A batch has one warning with its failed requests by reason. Of a live run, only the first failed
    rows, which the live report names, have a warning, each with its reason. Another warning names
    models that answered a live run but were not asked. Nothing is printed if there are neither such
    rows nor such models.
    """
    for summary in report.ingested:
        failures = [
            f"{anomaly.count:,} {anomaly.outcome} ({describe_reason(anomaly.reason)})"
            for anomaly in summary.anomalies
            if anomaly.outcome in FAILED_OUTCOMES
        ]
        if failures:
            requests = plural(summary.batch.requests, "request")
            display.warn(f"batch {summary.batch.number}, {requests}: {', '.join(failures)}")
    if report.live is not None:
        if report.live.other_models:
            models = ", ".join(sorted(report.live.other_models))
            asked_model = report.extractor.partition("/")[2]
            display.warn(f"asked {asked_model}, answered by {models}, which sets the price")
        for row_name, reason in report.live.first_failures:
            display.warn(f"{row_name}: {describe_reason(reason)}")

    if report.budget_message:
        remaining = plural(report.left, f"{labels.singular} is", f"{labels.plural} are")
        display.warn(f"{report.budget_message}; {remaining} still open")
    if report.no_room:
        waiting = plural(report.no_room, f"{labels.singular} waits", f"{labels.plural} wait")
        display.warn(f"{waiting} until Gemini accepts more tokens")


def _live_line(report: tag_report.TagReport, live_report: LiveReport, labels: TaskLabels) -> str:
    """Return a line with the answered, failed and remaining rows of a live run, and its cost.

    The remaining rows have two counts: rows that will get the answer of an equal row in an open
    batch, and rows that were not asked, or whose requests were refused. If no row was asked and no
    row remains, the line only says why nothing is asked.
    """
    if not (live_report.finished_rows or report.unasked):
        return f"nothing to ask: {labels.none_open_message}"

    parts = [f"{live_report.answered:,} {labels.answered}", *_list_failures(live_report)]
    waiting_count = min(report.waiting, report.unasked)
    if waiting_count:
        waiting = plural(waiting_count, "gets", "get")
        parts.append(f"{waiting} the answers of equal {labels.plural} being asked")
    if report.unasked > waiting_count:
        parts.append(f"{report.unasked - waiting_count:,} still open")

    calls = plural(live_report.calls, "call")
    return f"{', '.join(parts)}; {calls}, {format_usd(live_report.cost)}"


def _list_failures(live_report: LiveReport) -> list[str]:
    """Return a phrase for each reason with its number of rows, the most frequent first.

    The rows failed, were interrupted, or are parked because their text supports no answer.
    """
    parts = []
    for reason, count in live_report.failed.most_common():
        if reason == INTERRUPTED_REASON:
            parts.append(f"{count:,} interrupted, which the next run asks")
        elif is_unsupported(reason):
            parts.append(f"{count:,} parked: {reason}")
        else:
            parts.append(f"{count:,} failed ({describe_reason(reason)})")
    return parts


def _print_estimate(estimate: Preflight, labels: TaskLabels, *, can_pilot_measure: bool) -> None:
    """Print the lines of `tag --dry` on standard output.

    They are about rows in batches that an earlier run has prepared, the cost and time of each mode,
    and the recommended mode. If no row is open, a line says so instead of modes and recommendation.
    If the local engine would answer, its mode is in a line of its own, and the modes and the
    recommendation are those of the model that a key would use. Further lines are about batches that
    will be moved to another mode, and about decisions: a proposal, or the reason against them.

    Args:
        estimate: The estimate.
        labels: Labels of the task.
        can_pilot_measure: Name the pilot that measures the output, if it is guessed.
    """
    if estimate.waiting.items:
        waiting = estimate.waiting.describe_rows(labels)
        cost = format_usd(estimate.waiting.cost)
        print_line(
            f"also sent: {waiting} in batches of an earlier run, about {cost}",
        )
    if not estimate.plan.items:
        print_line(f"nothing to ask: {labels.none_open_message}")
        return

    measuring_command = labels.command(
        "tag",
        pilot=MIN_CALIBRATION_ANSWERS,
        limit=MIN_CALIBRATION_ANSWERS,
    )
    guess_note = "the length of answers is guessed"
    key_condition = "" if estimate.with_key is None else "with an API key "
    if can_pilot_measure:
        guess_note += f"; {key_condition}`{measuring_command}` measures it"
    prefix = ""
    if estimate.with_key is None:
        _print_modes(estimate, labels, guess_note=guess_note)
    else:
        rows = estimate.plan.describe_rows(labels)
        print_line(
            f"without an API key, {estimate.model}: {rows}, at no cost; "
            f"{_describe_recommendation(estimate)}",
        )
        prefix = "with an API key, "
        _print_modes(estimate.with_key, labels, guess_note=guess_note, prefix=prefix)

    priced_estimate = estimate.with_key or estimate
    decide = priced_estimate.decide
    if decide is not None:
        print_line(priced_estimate.decide_proposal or f"no decide: {decide.absence_reason}")
    print_line(f"{prefix}{_describe_recommendation(priced_estimate)}")


def _describe_recommendation(estimate: Preflight) -> str:
    """Return the recommended mode and the reason in words."""
    return f"recommended: {estimate.recommended or 'no mode yet'}, because {estimate.reason}"


def _print_modes(
    estimate: Preflight,
    labels: TaskLabels,
    *,
    guess_note: str,
    prefix: str = "",
) -> None:
    """Print the tokens, a table with cost and time of each available mode, and warnings.

    Batch is in the table even if it is not available; its warning says why. Warnings go to standard
    error. The first line also has the cost of control requests, if there are any. They show that a
    batch gives each row its reply.

    Args:
        estimate: The estimate.
        labels: Labels of the task.
        guess_note: Basis of the token counts if no answer has measured them.
        prefix: Text before the name of the model, for a second estimate with another model.
    """
    usage = estimate.plan.usage
    basis = guess_note
    if estimate.known.answers:
        basis = f"measured on {plural(estimate.known.answers, 'answer')}"
    output_tokens = usage.answer + usage.thoughts
    controls = ""
    if estimate.plan.control_requests and not estimate.mode_estimates["batch"].absence_reason:
        control_count = plural(estimate.plan.control_requests, "control request")
        controls = f"; a batch has {control_count} for {format_usd(estimate.plan.control_cost)}"
    print_line(
        f"{prefix}{estimate.model}: {estimate.plan.describe_rows(labels)}, about "
        f"{usage.prompt:,} tokens in and "
        f"{output_tokens:,} out ({basis}){controls}",
    )

    # Batch is always listed.
    mode_estimates = {
        mode: mode_estimate
        for mode, mode_estimate in estimate.possible_mode_estimates.items()
        if mode == "batch" or not mode_estimate.absence_reason
    }
    rows = []
    for mode, mode_estimate in mode_estimates.items():
        nouns = ("batch", "batches") if mode == "batch" else ("call", "calls")
        count = plural(mode_estimate.count, *nouns)
        duration = duration_in_words(mode_estimate.seconds)
        rows.append((mode, mode_estimate.shown_cost, duration, count))
    print_table(("mode", "cost", "time", "requests"), rows)

    for mode, mode_estimate in mode_estimates.items():
        for warning in mode_estimate.warnings:
            Terminal().warn(f"{mode}: {warning}")


def passages_pilot(
    ws: WorkspaceSession,
    *,
    n: Annotated[
        int | None,
        Parameter("Size of the sample. Default: 200.", COUNT, metavar="ROWS"),
    ] = None,
    seed: Seed = None,
    no_resume: NoResume = False,
) -> CommandReport:
    """Ask about a random sample of passages by batch, wait, and measure the answers by gates.

    A gate is a bound on a quality figure; a failed gate ends with exit code 6. The report in
    DATA/reports has the gates, plots and samples. `passages-backfill` needs a passed pilot.

    After a kill, the same command continues. --no-resume asks as a new version instead.
    """
    if no_resume:
        tag_workflow.switch_to_new_version(ws)
    ws.announce_placeholders()
    report = pilot_run.run_pilot(ws, size=n, seed=seed)

    document = {**report.document(), "placeholder": ws.has_placeholder_answers}
    check = partial(report.check_gates, Terminal(), strict=True)
    return CommandReport(document, pilot_line(report), check, hint=read_next_command(ws))
