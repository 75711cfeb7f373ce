"""The command `try`: answers of a few rows that are not stored."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from jobs.eval_command import format_share
from jobs.inspect_commands import INDENT, format_value_lines
from jobs.options import COUNT, TEXT, CommandReport, Parameter, Seed, SingleRowMode
from jobs.output import print_line, print_text
from jobs.status_command import read_next_command
from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.errors import InputError
from pipeline.core.states import Mode
from pipeline.core.text import format_probability, format_usd, plural
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task_parts import TaskLabels
from pipeline.workflows import try_out
from pipeline.workflows.try_out import (
    TriedRow,
    TryReport,
)

# Longer texts are cut in the middle. `--json` has all of them.
MAX_TEXT_CHARS = 2_000
# Rows of a try of labelled rows, unless another number is set.
DEFAULT_LABELLED_ROWS = 20
# The kinds of closed questions that the API has other words for.
QUESTION_KINDS = {"noul": "yes or no"}
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
    for comparison in report.accuracy:
        (share,) = comparison.shares
        print_line(
            f"{comparison.name}: right in {share.right} of {share.of} labelled rows, "
            f"{format_share(share)}"
        )
    print_line(_format_try_total(report, labels))


def _print_request(request: Mapping[str, Any]) -> None:
    """Print the prompt of a request with its attachments.

    A request to a decision model has questions, too. They follow the prompt, with their options.
    Long texts of the prompt are cut. An attachment is printed as its media type and size.
    """
    if "questions" in request:
        blocks = request["input"]
        if isinstance(blocks, str):
            blocks = [{"text": blocks}]
        for block in blocks:
            text = _cut_text(block["text"]) if "text" in block else _format_attachment(block)
            print_text(text, indent=INDENT)
        for question_id, question in request["questions"].items():
            _print_question(question_id, question)
        return

    for part in request["contents"][0]["parts"]:
        part_text = _cut_text(part["text"]) if "text" in part else _format_attachment(part)
        print_text(part_text, indent=INDENT)


def _print_question(question_id: str, question: Mapping[str, Any]) -> None:
    """Print a closed question: its id, kind and text, then a line for each option.

    An option has its meaning if that is sent, too, and differs from its id. The levels of a score
    have no ids. A yes/no question has no options.
    """
    kind = QUESTION_KINDS.get(question["type"], question["type"])
    print_text(f"{question_id} ({kind}): {question['instructions']}", indent=INDENT)

    criteria = question.get("criteria", ())
    if not isinstance(criteria, Mapping):
        criteria = {level: level for level in criteria}
    for option_id, meaning in criteria.items():
        text = option_id
        if meaning != option_id:
            text += f": {meaning}"
        print_text(text, indent=INDENT * 2)


def _print_tried_outcome(row: TriedRow) -> None:
    """Print the outcome of a tried row, then its answer, or without an answer the raw reply.

    Duration, tokens and cost are printed only if the row was asked about. A field's
    confidence follows its name. A long reply is cut.
    """
    line = row.outcome
    if row.calls:
        tokens = f"{row.tokens_in:,} tokens in, {row.tokens_out:,} out"
        line += f" in {row.seconds:.1f} s; {tokens}, {format_usd(row.cost)}"
    if row.reason:
        line += f": {row.reason}"
    print_text(line)

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
    asked_rows = [row for row in report.items if row.calls]
    row_count = plural(len(asked_rows), labels.singular, labels.plural)
    total = f"{row_count} tried with {report.extractor}, {format_usd(report.cost)}"
    message = f"{total}; no answer was stored"
    if report.draft_of:
        version_number = report.draft_of.partition("@")[2]
        message = f"draft of version {version_number}: {message}"
    return message


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
