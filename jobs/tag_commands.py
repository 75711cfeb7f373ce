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

from jobs.batch_commands import list_failures, pilot_line
from jobs.document_output import format_counts, format_figures, list_modes
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
    Parameter,
    Pilot,
    Refresh,
    Seed,
    SkipPilot,
    Strict,
    Wait,
    Where,
)
from jobs.output import Output, Terminal, system_user
from jobs.status_command import read_next_command
from pipeline.batch.live_report import LiveReport
from pipeline.core.states import describe_reason
from pipeline.core.text import format_usd, plural
from pipeline.engine.session import SyncOptions, WorkspaceSession
from pipeline.engine.task_values import TaskNouns
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
    # Set by `passages-backfill`, never typed: a pilot must have passed, and the cost is confirmed.
    needs_pilot: Annotated[bool, Parameter()] = False,
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
    nouns = ws.task.nouns
    ws.sync_options = SyncOptions(accepts_changes=accept_changed, reads_all_rows=full)
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
        needs_pilot=needs_pilot,
    )
    if again is False:
        count = tag_workflow.take_marks_back(ws, options)
        rows = plural(count, nouns.singular, nouns.plural)
        return CommandReport({"marks": count}, f"{rows} will not be asked again")
    if dry:
        estimate = tag_workflow.estimate_rows(ws, options)
        return CommandReport(estimate.document(), _estimate_output(estimate, nouns))

    report = tag_workflow.tag_rows(ws, options)
    check = partial(report.raise_first_error, nouns, ws.display, strict=strict)
    document = {**report.document(), "placeholder": ws.has_placeholder_answers}
    return CommandReport(document, _tag_output(report, nouns), check, hint=read_next_command(ws))


def _tag_output(report: tag_report.TagReport, nouns: TaskNouns) -> list[Output]:
    """Return the output of `tag`: the pilot, then the rows by outcome with the cost.

    A last line has the failed rows of a live run by reason, if there are any. If nothing was asked,
    the only line says so.
    """
    if not report.mode:
        return [f"nothing to tag: {nouns.none_open_message}"]

    output: list[Output] = []
    if report.pilot is not None:
        output.append(partial(Terminal().say, pilot_line(report.pilot)))

    calls = 0 if report.live is None else report.live.calls
    document = report.document() | {"lost": report.lost_usd, "calls": calls}
    if report.reported_cost is not None:
        document["spent"] = None
    counts = {
        nouns.answered: document["answered"],
        "parked": report.parked,
        "in open batches": report.under_way,
        f"waiting for the answers of equal {nouns.plural}": report.waiting,
        "waiting until Gemini accepts more tokens": report.no_room,
        "still open": report.left,
    }
    cost = format_figures(
        document, "calls spent=cost spent_since_the_run_began=spent perhaps_lost=lost"
    )
    output.append(f"{format_counts(counts) or 'no row answered'}; {cost}")

    output += list_failures(report.ingested)
    if report.live is not None:
        output += _live_output(report.live, asked_model=report.extractor.partition("/")[2])
    if report.budget_message:
        output.append(partial(Terminal().warn, report.budget_message))
    return output


def _live_output(live_report: LiveReport, *, asked_model: str) -> list[Output]:
    """Return the failed rows of a live run by reason, and warnings about models and first rows."""
    output: list[Output] = []
    if live_report.failed:
        failures = [
            f"{count:,} {describe_reason(reason)}"
            for reason, count in live_report.failed.most_common()
        ]
        output.append(f"without an answer: {', '.join(failures)}")
    if live_report.other_models:
        models = ", ".join(sorted(live_report.other_models))
        message = f"asked {asked_model}, answered by {models}, which sets the price"
        output.append(partial(Terminal().warn, message))
    output += [
        partial(Terminal().warn, f"{row_name}: {describe_reason(reason)}")
        for row_name, reason in live_report.first_failures
    ]
    return output


def _estimate_output(estimate: Preflight, nouns: TaskNouns) -> list[Output]:
    """Return the output of `tag --dry`: tokens, cost and time of each mode, and the recommendation.

    If the local engine would answer, the figures are those of the model that a key would use. Lines
    before them are about batches that an earlier run has prepared, and about the local engine.
    A line after them has the reason against decisions, if there is one.

    Args:
        estimate: The estimate.
        nouns: Nouns of the task.
    """
    output: list[Output] = []
    if estimate.waiting.items:
        waiting = estimate.waiting.describe_rows(nouns)
        cost = format_usd(estimate.waiting.cost)
        output.append(f"also sent: {waiting} in batches of an earlier run, about {cost}")
    if not estimate.plan.items:
        return [*output, f"nothing to ask: {nouns.none_open_message}"]

    priced_estimate = estimate.with_key or estimate
    if estimate.with_key is not None:
        output.append(f"without an API key, {estimate.model} answers at no cost; with an API key:")
    rows = priced_estimate.plan.describe_rows(nouns)
    usage = priced_estimate.plan.usage
    output_tokens = usage.answer + usage.thoughts
    output.append(
        f"{priced_estimate.model}: {rows}, about {usage.prompt:,} tokens in and "
        f"{output_tokens:,} out ({_describe_basis(priced_estimate)})"
    )

    output += list_modes(priced_estimate)
    decide = priced_estimate.decide
    if decide is not None and decide.absence_reason:
        output.append(f"no decide: {decide.absence_reason}")
    mode_name = priced_estimate.recommended or "no mode yet"
    output.append(f"recommended: {mode_name}, because {priced_estimate.reason}")
    return output


def _describe_basis(estimate: Preflight) -> str:
    """Return how the output tokens were estimated, and the control requests of a batch."""
    basis = "the length of answers is guessed"
    if estimate.calibration.answers:
        basis = f"measured on {plural(estimate.calibration.answers, 'answer')}"
    if estimate.plan.control_requests:
        control_count = plural(estimate.plan.control_requests, "control request")
        basis += f"; a batch has {control_count} for {format_usd(estimate.plan.control_cost)}"
    return basis


def passages_pilot(
    ws: WorkspaceSession,
    *,
    n: Annotated[
        int | None,
        Parameter("Size of the sample. Default: 200.", COUNT, metavar="ROWS"),
    ] = None,
    seed: Seed = None,
) -> CommandReport:
    """Ask about a random sample of passages by batch, wait, and measure the answers by gates.

    A gate is a bound on a quality figure; a failed gate ends with exit code 6. The report in
    DATA/reports has the gates, plots and samples. `passages-backfill` needs a passed pilot.

    After a kill, the same command continues.
    """
    ws.announce_placeholders()
    report = pilot_run.run_pilot(ws, size=n, seed=seed)

    document = {**report.document(), "placeholder": ws.has_placeholder_answers}
    check = partial(report.check_gates, Terminal(), strict=True)
    return CommandReport(document, pilot_line(report), check, hint=read_next_command(ws))
