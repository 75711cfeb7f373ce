"""The command `try`: answers of a few rows that are not stored."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from jobs.document_output import format_fields, make_table
from jobs.inspect_commands import INDENT, format_value_lines
from jobs.options import COUNT, TEXT, CommandReport, Parameter, Seed, SingleRowMode
from jobs.output import print_all, print_line, print_text
from jobs.status_command import read_next_command
from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.errors import InputError
from pipeline.core.states import Mode
from pipeline.core.text import format_probability, format_usd, plural
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task_parts import TaskLabels
from pipeline.quality.label_accuracy import to_field_documents
from pipeline.workflows import try_out
from pipeline.workflows.try_out import (
    TriedRow,
    TryReport,
)

# Longer texts are cut in the middle. `--json` has all of them.
MAX_TEXT_CHARS = 2_000
# Rows of a try of labelled rows, unless another number is set.
DEFAULT_LABELLED_ROWS = 20
# Characters from the end of a text that a cut leaves.
CUT_TEXT_END_CHARS = 300


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
    print_report = partial(_print_try, try_report, ws.task.labels)
    document = {**try_report.document, "placeholder": ws.has_placeholder_answers}
    next_step = _choose_next_step(ws, try_report, mode=mode)
    return CommandReport(document, print_report, try_report.check, hint=next_step)


def _print_try(report: TryReport, labels: TaskLabels) -> None:
    """Print the lines of `try` on standard output.

    They are the system instruction, then each tried row with its request, outcome and answer, then
    how often the answers to labelled rows are right, and the cost.
    """
    # All requests of a task have the same system instruction.
    instruction = report.items[0].request.get("systemInstruction")
    if instruction:
        print_text("system instruction of each request:")
        print_text(_cut_text(instruction["parts"][0]["text"]), indent=INDENT)

    for number, row in enumerate(report.items, start=1):
        print_text(f"\n{labels.singular} {number} of {len(report.items)}: {row.name}")
        _print_request(row.request)
        _print_tried_outcome(row)

    print_text("")
    if report.accuracy:
        print_all(make_table(to_field_documents(report.accuracy), "field right=a"))
    print_line(_format_try_total(report, labels))


def _print_request(request: Mapping[str, Any]) -> None:
    """Print the prompt of a request with its attachments, and the questions to a decision model.

    Long texts of the prompt are cut. An attachment is printed as its media type and size.
    """
    blocks = request["input"] if "questions" in request else request["contents"][0]["parts"]
    if isinstance(blocks, str):
        blocks = [{"text": blocks}]
    for block in blocks:
        text = _cut_text(block["text"]) if "text" in block else _format_attachment(block)
        print_text(text, indent=INDENT)

    for question_id, question in request.get("questions", {}).items():
        for line in format_value_lines(question_id, question, INDENT):
            print_text(line)


def _print_tried_outcome(row: TriedRow) -> None:
    """Print the outcome of a tried row, then its answer, or without an answer the raw reply.

    Duration, tokens and cost are printed only if the row was asked about. A field's
    confidence follows its name. A long reply is cut.
    """
    names = "reason"
    if row.calls:
        names += " took=seconds tokens_in tokens_out cost"
    figures = format_fields(vars(row), names)
    print_text("; ".join(filter(None, (row.outcome, figures))))

    if row.answer is not None:
        for member_name, value in row.answer.items():
            heading = member_name
            if member_name in row.confidences:
                probability = format_probability(row.confidences[member_name])
                heading = f"{member_name} ({probability})"
            for value_line in format_value_lines(heading, value, INDENT):
                print_text(value_line)
    elif row.reply:
        print_text(_cut_text(row.reply), indent=INDENT)


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
    ask_command = labels.ask_command
    if mode == Mode.DECIDE:
        ask_command = labels.command("tag", mode=mode)
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


def _cut_text(text: str) -> str:
    """Return a text with its middle removed if it is longer than MAX_TEXT_CHARS.

    The last CUT_TEXT_END_CHARS characters stay. In the place of the removed part, a line says how
    many characters it had.
    """
    removed_chars = len(text) - MAX_TEXT_CHARS
    if removed_chars <= 0:
        return text
    beginning = text[: MAX_TEXT_CHARS - CUT_TEXT_END_CHARS]
    omission = f"… {removed_chars:,} more characters, which are also sent …"
    return f"{beginning}\n{omission}\n{text[-CUT_TEXT_END_CHARS:]}"


def _format_attachment(part: Mapping[str, Any]) -> str:
    """Return the media type of an attached file in brackets, with its size in bytes if known."""
    attachment: Mapping[str, Any] = (
        part.get("inlineData") or part.get("fileData") or part.get("data") or {}
    )
    size = f", {attachment['size']:,} bytes" if "size" in attachment else ""
    return f"[{attachment.get('mimeType', 'attachment')}{size}]"
