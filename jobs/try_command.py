"""The command `try`: answers of a few rows that are not stored."""

from typing import Annotated

from jobs.document_output import format_lines, make_table
from jobs.options import COUNT, TEXT, CommandReport, Parameter, Seed, SingleRowMode
from jobs.output import Output
from jobs.status_command import read_next_command
from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.errors import InputError
from pipeline.core.states import Mode
from pipeline.core.text import format_usd, plural
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task_parts import TaskLabels
from pipeline.quality.label_accuracy import to_field_documents
from pipeline.workflows import try_out
from pipeline.workflows.try_out import TryReport

# Rows of a try of labelled rows, unless another number is set.
DEFAULT_LABELLED_ROWS = 20


def try_(
    ws: WorkspaceSession,
    *,
    n: Annotated[
        int | None,
        Parameter("Try this many rows. Default: 3; with --labelled 20.", COUNT, "ROWS"),
    ] = None,
    item: Annotated[str | None, Parameter("Try this row, in any state.", TEXT, "KEY")] = None,
    seed: Seed = None,
    mode: SingleRowMode = "live",
    labelled: Annotated[
        bool, Parameter("Try corrected and reviewed rows first; print how often answers are right.")
    ] = False,
) -> CommandReport:
    """Ask about a few rows of TASK; show requests, replies, tokens, cost (USD) and time.

    Validates the answers, but stores only their cost, which counts in budgets and quotas. If a
    budget, a quota or Ctrl-C ends the calls early, the finished rows are printed first.

    Tries the first open rows, a random sample with --seed, or the row of --item. Asks for
    confirmation if the estimate is above FINDABLE_CONFIRM_ABOVE (USD); without a terminal it needs
    --yes.

    --labelled draws rows that a person corrected or reviewed first, then others, and prints how
    often the answers are right.
    """
    if item is not None and (n is not None or seed is not None or labelled):
        options = f"{OptionHint('n')}, {OptionHint('seed')} or {OptionHint(labelled=True)}"
        raise InputError(f"{OptionHint('item')} excludes {options}; nothing was asked")

    # A few rows show a request; a share of right answers needs more.
    default_size = DEFAULT_LABELLED_ROWS if labelled else try_out.DEFAULT_ROW_COUNT
    try_report = try_out.try_task(
        ws,
        n or default_size,
        item,
        seed,
        mode=mode,
        labelled=labelled,
    )
    document = {**try_report.document, "placeholder": ws.has_placeholder_answers}
    next_step = _choose_next_step(ws, try_report, mode=mode)
    output = _try_output(try_report, ws.task.labels)
    return CommandReport(document, output, try_report.check, hint=next_step)


def _try_output(report: TryReport, labels: TaskLabels) -> list[Output]:
    """Return the output of `try`: each row with its request and what came back, and the cost.

    A reply is listed only if there is no valid answer. The system instruction, which all requests
    have, is listed with the first.
    """
    rows = [
        {**vars(row), "reply": "" if row.answer is not None else row.reply} for row in report.items
    ]
    for row in rows[1:]:
        row["request"] = {**row["request"], "systemInstruction": None}

    output: list[Output] = [*format_lines(labels.singular, rows)]
    if report.accuracy:
        output.append(make_table(to_field_documents(report.accuracy), "field right=a"))
    return [*output, _format_try_total(report, labels)]


def _choose_next_step(
    ws: WorkspaceSession, report: TryReport, *, mode: str
) -> CommandHint | str | None:
    """Return the next step after a try, or None if no row has a valid answer.

    It is the next step of the task; after decisions, it is the command that asks all rows in the
    mode decide. If the question in the task's file differs from the question of its version (a
    draft), the next step is to set the next version number in the file first.
    """
    if not any(row.calls and row.answer is not None for row in report.items):
        return None

    labels = ws.task.labels
    ask_command = labels.command("tag", mode=mode if mode == Mode.DECIDE else None)
    if report.draft_of:
        version_number = report.draft_of.partition("@")[2]
        return f"set version={int(version_number) + 1} in its file, then {ask_command}"
    if mode == Mode.DECIDE:
        return ask_command
    return read_next_command(ws)


def _format_try_total(report: TryReport, labels: TaskLabels) -> str:
    """Return the count, version and cost of a try; it says so if the question is a draft."""
    asked_count = len([row for row in report.items if row.calls])
    version = report.extractor
    if report.draft_of:
        version = f"the draft {report.draft_of}"
    rows = plural(asked_count, labels.singular, labels.plural)
    return f"{rows} tried with {version}, {format_usd(report.cost)}; no answer was stored"
