"""The command `try`: answers of a few rows that are not stored."""

from collections.abc import Mapping
from typing import Annotated, Any

from jobs.document_output import show_document
from jobs.options import COUNT, TEXT, CommandReport, Parameter, Seed, SingleRowMode
from jobs.output import Output
from jobs.status_command import read_next_command
from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.errors import InputError
from pipeline.core.quotes import to_display_value
from pipeline.core.states import Mode
from pipeline.core.text import format_usd, plural, shorten
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task_values import TaskNouns
from pipeline.workflows import try_out
from pipeline.workflows.try_out import TryReport

# Longer texts are cut. `--json` has all of them.
MAX_TEXT_CHARS = 2_000
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
    output = _try_output(try_report, ws.task.nouns)
    return CommandReport(document, output, try_report.check, hint=next_step)


def _try_output(report: TryReport, nouns: TaskNouns) -> list[Output]:
    """Return the output of `try`: the prompt and the schema, then each row with its answer.

    A reply is members only if there is no valid answer. Then there are the figures of the rows, how
    often the answers to labelled rows are right, and the cost.
    """
    rows = [
        {
            "name": row.name,
            "request": _list_prompt_texts(row.request),
            "reason": row.reason,
            "answer": row.answer,
            "confidences": row.confidences,
            "reply": shorten(row.reply, MAX_TEXT_CHARS) if row.answer is None else None,
        }
        for row in report.items
    ]
    instruction = report.items[0].request.get("systemInstruction")
    members = {
        **report.document,
        "prompt": shorten(instruction["parts"][0]["text"], MAX_TEXT_CHARS) if instruction else None,
        "schema": to_display_value(report.schema),
        "rows": rows,
    }
    output = show_document(members, f"prompt schema {nouns.singular}=rows items accuracy")
    return [*output, _format_try_total(report, nouns)]


def _list_prompt_texts(request: Mapping[str, Any]) -> list[str]:
    """Return the texts that a request sends about its row; an attachment is its description."""
    blocks = request["input"] if "questions" in request else request["contents"][0]["parts"]
    if isinstance(blocks, str):
        blocks = [{"text": blocks}]
    return [
        shorten(block["text"], MAX_TEXT_CHARS) if "text" in block else to_display_value(block)
        for block in blocks
    ]


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

    nouns = ws.task.nouns
    ask_command = nouns.command("tag", mode=mode if mode == Mode.DECIDE else None)
    if report.draft_of:
        version_number = report.draft_of.partition("@")[2]
        return f"set version={int(version_number) + 1} in its file, then {ask_command}"
    if mode == Mode.DECIDE:
        return ask_command
    return read_next_command(ws)


def _format_try_total(report: TryReport, nouns: TaskNouns) -> str:
    """Return the count, version and cost of a try; it says so if the question is a draft."""
    asked_count = len([row for row in report.items if row.calls])
    version = report.extractor
    if report.draft_of:
        version = f"the draft {report.draft_of}"
    rows = plural(asked_count, nouns.singular, nouns.plural)
    return f"{rows} tried with {version}, {format_usd(report.cost)}; no answer was stored"
