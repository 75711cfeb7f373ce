"""The command that asks a decision model whether texts support stored answers."""

from typing import Annotated

from jobs.options import COUNT, MONEY, TEXT, CommandReport, Dry, Parameter, Seed
from jobs.output import Output
from pipeline.batch.judge_runs import DEFAULT_SAMPLE_ROWS, DEFAULT_SEED, JudgedRows
from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.errors import InputError
from pipeline.core.progress import Progress
from pipeline.core.states import describe_reason
from pipeline.core.text import format_usd, plural
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task_parts import TaskLabels
from pipeline.workflows import judge as judge_workflow
from pipeline.workflows.judge import JudgeReport


def judge(
    ws: WorkspaceSession,
    *,
    fields: Annotated[
        str,
        Parameter("Only these fields. Default: all without a probability.", TEXT, "FIELD,…"),
    ] = "",
    n: Annotated[
        int | None,
        Parameter("Size of the random sample. Default: 200.", COUNT, metavar="ROWS"),
    ] = None,
    all_: Annotated[bool, Parameter("Judge the answers of all rows.")] = False,
    seed: Seed = None,
    budget: Annotated[
        float | None, Parameter("Spend at most this many USD. Default: no limit.", MONEY, "USD")
    ] = None,
    dry: Dry = False,
) -> CommandReport:
    """Ask a decision model whether the text supports each answer of TASK; store the probability.

    Judges tags, fields, concepts and quotations that a generating model answered, for a random
    sample of rows, or for all rows with --all. Corrections, and fields that decisions answered, are
    left out. A field of an answer that was judged before is not judged again.

    Prints the estimate before anything is spent. --dry asks nothing. An estimate above
    FINDABLE_CONFIRM_ABOVE (USD) needs --yes.

    Stops before the budget is exceeded. A killed command continues with the same sample, and asks
    nothing twice except the calls that were running.

    If it judged anything, it writes the report of `qc`. The report has for each field the share of
    judged answers that the text supports. A list is supported if each of its members is.
    """
    if all_ and n is not None:
        raise InputError(
            f"{OptionHint(all=True)} and {OptionHint('n')} exclude each other; nothing was asked",
            hint=f"leave out {OptionHint('n')} to judge all rows",
        )
    # Without a number and --all, a sample of the default size is judged.
    judged_rows = JudgedRows(
        fields=fields,
        sample_rows=None if all_ else n or DEFAULT_SAMPLE_ROWS,
        seed=DEFAULT_SEED if seed is None else seed,
    )
    options = judge_workflow.JudgeOptions(judged_rows, budget=budget, dry=dry)
    report = judge_workflow.judge_task(ws, options)
    document = {**report.document(), "placeholder": ws.has_placeholder_answers}
    labels = ws.task.labels

    if dry:
        next_command = None
        if report.open_rows:
            next_command = CommandHint(
                "judge",
                task=labels.task_option,
                fields=fields or None,
                n=n,
                all=all_ or None,
                seed=seed,
                budget=budget,
            )
        return CommandReport(document, _estimate_lines(report, labels), hint=next_command)

    def check() -> None:
        _warn_of_unjudged_rows(report, labels, ws.display)
        report.check()

    return CommandReport(document, _report_lines(report, labels), check)


def _estimate_lines(report: JudgeReport, labels: TaskLabels) -> list[str]:
    """Return the lines of `judge --dry`: the rows, values and cost, then the rows left out.

    Rows that were judged before have a line, too, if there are any. If nothing is to be judged, the
    only line says why.
    """
    if not report.open_rows:
        return [_explain_nothing_judged(report, labels)]
    rows = plural(report.open_rows, labels.singular, labels.plural)
    values = plural(report.questions, "value")
    cost = format_usd(report.estimated_cost)
    lines = [f"{report.model}: {rows}, {values} to judge, about {cost}"]
    lines += _judged_before_lines(report, labels)
    return lines + _left_out_lines(report, labels)


def _report_lines(report: JudgeReport, labels: TaskLabels) -> Output:
    """Return the lines of `judge`: the counts and the cost, then the shares of supported answers.

    The first line has the judged and failed rows, the calls and the cost. If nothing was judged, it
    says why. Lines about rows judged before, rows left out and doubtful rows are there if there are
    any. The last line ends with the next command, if there is one.
    """
    lines = []
    if report.live is None:
        lines.append(_explain_nothing_judged(report, labels))
    else:
        rows = plural(report.judged, labels.singular, labels.plural)
        parts = [f"{rows} judged by {report.model}"]
        parts += [
            f"{count:,} failed ({describe_reason(reason)})"
            for reason, count in report.live.failed.items()
        ]
        calls = plural(report.live.calls, "call")
        lines.append(f"{', '.join(parts)}; {calls}, {format_usd(report.live.cost)}")
        lines += _judged_before_lines(report, labels)
    lines += _left_out_lines(report, labels)
    lines += [share.line for share in report.supported]
    if report.doubtful:
        rows = plural(report.doubtful, labels.singular, labels.plural)
        lines.append(f"{rows} of the task doubtful")
    # The next command ends the last line, as in all reports.
    if report.next_command is not None:
        lines[-1] += f". Next: {report.next_command}"
    return lines


def _explain_nothing_judged(report: JudgeReport, labels: TaskLabels) -> str:
    """Return a line that says why no row was asked.

    The reason is that no answer has a value to judge, that all rows were left out, or that all
    values were judged before. The line names a command that judges more or shows the status, if one
    helps.
    """
    if not report.selected:
        return (
            f"nothing to judge: no answer about {labels.plural} of a generating model has a value "
            f"in {', '.join(report.fields)}. Next: {labels.command('status')}"
        )
    if report.left_out:
        return "nothing to judge"
    rows = plural(report.selected, labels.singular, labels.plural)
    line = f"nothing to judge: {rows} of the selection judged before"
    if report.larger_sample is not None:
        line += f"; `{report.larger_sample}` judges more"
    return line


def _judged_before_lines(report: JudgeReport, labels: TaskLabels) -> list[str]:
    """Return the line about the selected rows that need no request any more, if there are any."""
    if not report.judged_before:
        return []
    rows = plural(report.selected, labels.singular, labels.plural)
    return [f"{report.judged_before:,} of the {rows} were judged before"]


def _left_out_lines(report: JudgeReport, labels: TaskLabels) -> list[str]:
    return [
        f"{plural(count, labels.singular, labels.plural)} left out: {reason}"
        for reason, count in report.left_out.items()
    ]


def _warn_of_unjudged_rows(report: JudgeReport, labels: TaskLabels, display: Progress) -> None:
    """Print warnings about the failed rows that the report names, and about a small budget.

    Each row has a warning with its reason. The warning about the budget has the number of rows that
    are still to be judged. No line is printed if no row failed and the budget was large enough.
    """
    if report.live is not None:
        for row_id, reason in report.live.first_failures:
            display.warn(f"{row_id}: {describe_reason(reason)}")
    if report.budget_error is not None:
        rows = plural(report.remaining, f"{labels.singular} is", f"{labels.plural} are")
        display.warn(f"{report.budget_error.message}; {rows} still to be judged")
