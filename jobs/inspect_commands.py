"""Commands that inspect rows and requests, and that try or compare versions on a few rows."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

from jobs.options import COUNT, TEXT, CommandReport, Expert, Item, Parameter, Raw, Seed
from jobs.output import TextTable, print_fields, print_line, print_text
from pipeline.core.command_hint import OptionHint
from pipeline.core.errors import InputError
from pipeline.core.quotes import format_likeness, is_stored_quotation, leaves, shown_value
from pipeline.core.states import parked_label
from pipeline.core.text import format_usd, plural
from pipeline.engine.task import TaskLabels
from pipeline.engine.workspace import WorkspaceSession
from pipeline.ops import items as row_items
from pipeline.quality import pilot
from pipeline.workflows import try_out
from pipeline.workflows.try_out import (
    DEFAULT_PAIR_SAMPLE_SIZE,
    ComparisonReport,
    TriedRow,
    TryReport,
)

INDENT = "    "
# Longer texts are cut in the middle. `--json` has all of them.
MAX_TEXT_CHARS = 2_000
# Characters from the end of a text that a cut leaves.
CUT_TEXT_END_CHARS = 300
MAX_ANSWER_CELL_CHARS = 100
SECONDS_PER_DAY = 86_400
MINUTE_FORMAT = "%Y-%m-%d %H:%M"
FORGOTTEN_TEXT = "it was forgotten"
REQUEST_HEADERS = (
    "when",
    "item",
    "way",
    "model",
    "outcome",
    "tokens in",
    "out",
    "price",
    "answer or reason",
)


def show(
    ws: WorkspaceSession,
    *,
    expert: Expert = None,
    item: Item = None,
    n: Annotated[int, Parameter("How many requests to list.", COUNT)] = 10,
    all_: Annotated[bool, Parameter("Requests of all tasks.")] = False,
    raw: Raw = False,
) -> CommandReport:
    """Show everything known about one person: row, tags and their origin, attempts, index.

    With --item one item of the task that TASK= names: its row, state, answers, attempts, requests and cost. Without
    either the newest requests are listed: when, how, by what model, what came of each.
    """
    if expert is None and item is None:
        requests = row_items.newest_requests(ws, limit=n, every=all_, raw=raw)
        return CommandReport(requests, _request_list_output(requests, has_tasks=all_, raw=raw))

    document = row_items.show(ws, item or expert or "", raw=raw)
    print_row = partial(print_fields, _row_fields(document))
    wire_lines = _wire_lines(document["requests"]) if raw else []
    return CommandReport(document, [print_row, *wire_lines])


def _request_list_output(
    requests: Sequence[Mapping[str, Any]],
    *,
    has_tasks: bool,
    raw: bool,
) -> list[Any]:
    """Return a table of requests, then with `raw` what each sent and received.

    Args:
        has_tasks: Whether the table names the task of each row.
    """
    if not requests:
        return ["nothing was asked yet"]

    rows = [_request_table_cells(request, has_task=has_tasks) for request in requests]
    table = TextTable(REQUEST_HEADERS, rows)
    return [table, *_wire_lines(requests)] if raw else [table]


def _request_table_cells(request: Mapping[str, Any], *, has_task: bool) -> list[str]:
    """Return the cells of a request in the order of REQUEST_HEADERS, with the answer cut."""
    row_name = f"{request['task']} {request['name']}" if has_task else request["name"]
    answer_text = _format_request_answer(request)
    if len(answer_text) > MAX_ANSWER_CELL_CHARS:
        answer_text = f"{answer_text[:MAX_ANSWER_CELL_CHARS]}…"

    sent_at = f"{request['at']:{MINUTE_FORMAT}:%S}"
    return [sent_at, row_name, *_request_cells(request), answer_text]


def _format_request_answer(request: Mapping[str, Any]) -> str:
    """Return the answer to a request as one line, or why there is no answer.

    The line is empty if the request has no outcome yet.
    """
    if request["forgotten"]:
        return FORGOTTEN_TEXT
    if request["answer"] is not None:
        return ", ".join(
            f"{'.'.join(map(str, path))}: {shown_value(value)}"
            for path, value in leaves(request["answer"])
        )
    if request["reason"]:
        return str(request["reason"])
    return "no answer is kept" if request["outcome"] == "answered" else ""


def _request_cells(request: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a request as six cells: batch and line, model, outcome, tokens in and out, cost.

    A request without an outcome shows the state of its batch. Unknown numbers are question marks.
    """
    batch_line = f"batch {request['batch']} line {request['line']}"
    if request["purpose"] == "live":
        batch_line = f"live, {batch_line}"

    if request["outcome"]:
        outcome = str(request["outcome"])
    elif request["state"] is None:
        outcome = "under way"
    else:
        outcome = f"batch {request['state']}"

    # Requests without a reply have no token counts, and models without a price have no cost.
    tokens_in, tokens_out = (
        "?" if request[member] is None else f"{request[member]:,}"
        for member in ("tokens_in", "tokens_out")
    )
    cost = "?" if request["cost"] is None else format_usd(request["cost"])
    return (batch_line, request["model"], outcome, tokens_in, tokens_out, cost)


def _format_request(request: Mapping[str, Any]) -> str:
    """Return a request as one line: time, batch, model, outcome with its reason, tokens, cost."""
    batch_line, model, outcome, tokens_in, tokens_out, cost = _request_cells(request)
    # An answered request has the reason "ok".
    if request["reason"] not in {None, "", "ok"}:
        outcome += f" ({request['reason']})"
    origin = f"{request['at']:{MINUTE_FORMAT}} {batch_line}, {model}"
    return f"{origin}, {outcome}, {tokens_in} + {tokens_out} tokens, {cost}"


def _wire_lines(requests: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return requests and their replies as sealed, or why they are not available, as lines.

    Args:
        requests: Requests with the member `wire`, in the order to print.

    Returns:
        For each request a heading, the request and its replies. One line with an explanation if
        there are no requests.
    """
    if not requests:
        reasons = "it was not asked, or shares that of another that asks the same"
        return [f"(no request of its own: {reasons})"]

    lines = list[str]()
    for request in requests:
        wire = request["wire"]
        lines.append(f"--- {request['item']}: {_format_request(request)}")

        # If both are missing for the same reason, the line of the reply gives the reason.
        is_request_missing = not wire["request"] and not wire["replies"]
        if not is_request_missing or wire["no_request"] != wire["no_reply"]:
            request_text = wire["request"] or f"({wire['no_request']})"
            lines.append(f"request: {request_text}")

        if wire["replies"]:
            lines += [f"reply: {reply}" for reply in wire["replies"]]
        else:
            lines.append(f"({wire['no_reply']})")
    return lines


def _row_fields(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the names and texts that `show` prints about one row, in their order.

    They are the name, columns, state, last change, answers, failed attempts, requests, index entry
    and cost. A continued text has an empty name.
    """
    fields = [(document["task"], document["name"])]
    for column_name, value in document["columns"].items():
        fields.append((column_name, shown_value(value)))
    fields.append(("state", _format_state(document["state"], document["parked"])))
    if document["changed_at"] is not None:
        change = _format_change(document["changed_at"], is_stale=bool(document["stale"]))
        fields.append(("changed", change))

    for answer in document["answers"]:
        fields += _answer_fields(answer)
    for attempt in document["attempts"]:
        failure = f"{attempt['outcome']}: {attempt['reason']}"
        if attempt["excerpt"]:
            failure += f": {attempt['excerpt']}"
        fields.append(("attempt", f"{attempt['at']:{MINUTE_FORMAT}} {failure}"))
    fields += [("request", _format_request(request)) for request in document["requests"]]

    if document["index"] is not None:
        fields.append(("index", _format_index_entry(document["index"])))
    fields.append(("cost", format_usd(document["cost"])))
    return fields


def _format_state(state: str | None, parked_reason: str | None) -> str:
    """Return the state of a row for people, with the reason if the row is parked."""
    if state == "no_bio":
        label = "no bio (cannot be searched)"
    elif state == "parked":
        label = parked_label(parked_reason or "")
    else:
        label = state or "not known"
    return f"{label}: {parked_reason}" if parked_reason else label


def _format_change(changed_at: datetime, *, is_stale: bool) -> str:
    """Return the time of a row's last change.

    The age follows in days if it is at least a day, and a note if the row's answer is stale.
    """
    change = f"{changed_at:{MINUTE_FORMAT}}"
    age_days = (datetime.now(UTC) - changed_at).total_seconds() / SECONDS_PER_DAY
    if age_days >= 1:
        change += f", {age_days:.0f} days ago"
    return f"{change}: its answer is of what it was before" if is_stale else change


def _answer_fields(answer: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the fields of a stored answer: its provenance, then the lines of its members.

    A forgotten answer has a line that says so instead of its members.
    """
    fields = [("answer", _format_provenance(answer))]
    if answer["forgotten"]:
        fields.append(("", FORGOTTEN_TEXT))
        return fields

    for member_name, value in answer["answer"].items():
        fields += [("", line) for line in _value_lines(member_name, value, "")]
    return fields


def _format_provenance(answer: Mapping[str, Any]) -> str:
    """Return when and how an answer was made: by a person, a batch, or as a copied answer.

    An answer of a model has its version, model, tokens and cost. The text says if a correction was
    undone, or if the answer is not applied to the row.
    """
    answered_at = f"{answer['at']:{MINUTE_FORMAT}}"
    if answer["who"] is not None:
        undone = "" if answer["applied"] else " (undone)"
        return f"{answered_at} {answer['who']}, by hand{undone}"

    # A copied answer has the response of another row with the same input, and cost nothing.
    if answer["batch"] is None and not answer["tokens_in"] and answer["response_id"]:
        origin = "shared, asked and paid for another that asks the same"
    else:
        tokens = f"{answer['tokens_in']:,} + {answer['tokens_out']:,} tokens"
        origin = f"batch {answer['batch']}, {tokens}, {format_usd(answer['cost'])}"
    not_applied = "" if answer["applied"] else " (not applied)"
    version = f"{answer['extractor']} ({answer['model_version']})"
    return f"{answered_at} {version}, {origin}{not_applied}"


def _format_index_entry(index_state: Mapping[str, Any]) -> str:
    """Return whether the index contains a row, its build, and whether its text is up to date.

    An index that cannot be read shows the problem instead.
    """
    if "problem" in index_state:
        return f"broken: {index_state['problem']}"
    if not index_state["indexed"]:
        return "not in it"
    freshness = "up to date" if index_state.get("up_to_date") else "with an older text"
    return f"in build {index_state.get('build')}, {freshness}"


def _value_lines(name: str, value: Any, indent: str) -> Iterator[str]:
    """Yield the lines of one field of an answer.

    Members of an object are on indented lines. Objects and lists in a list are numbered from 1.
    A quotation is followed by its offsets in the text, and an empty value is a hyphen.
    """
    if is_stored_quotation(value):
        offsets = f"characters {value['start']} to {value['end']}{format_likeness(value)}"
        yield f'{indent}{name}: "{value["quote"]}" ({offsets})'
        return
    if isinstance(value, Mapping):
        yield f"{indent}{name}:"
        for member_name, member in value.items():
            yield from _value_lines(member_name, member, indent + INDENT)
        return

    is_list = isinstance(value, list)
    if is_list and any(isinstance(element, Mapping | list) for element in value):
        for number, element in enumerate(value, start=1):
            yield from _value_lines(f"{name} {number}", element, indent)
        return

    text = ", ".join(map(str, value)) if is_list else value
    yield f"{indent}{name}: {'-' if text is None or text == '' else text}"


def try_(
    ws: WorkspaceSession,
    *,
    n: Annotated[int | None, Parameter("How many to try; 3 without it.", COUNT)] = None,
    item: Annotated[str | None, Parameter("The one to try, whatever its state.", TEXT)] = None,
    seed: Seed = None,
    a: Annotated[str | None, Parameter("A version, or `draft`, beside --b.", metavar="WAY")] = None,
    b: Annotated[str | None, Parameter("Another one, on the same items.", metavar="WAY")] = None,
) -> CommandReport:
    """Ask about a few items of TASK at once, and show what is sent, what comes back, tokens, cost and time.

    The answers are judged and not stored: only the calls and their cost are, and they count against budgets and quotas
    as any. The first that are to be asked are tried, or those that --seed draws; an answered or parked one by --item.
    Above FINDABLE_CONFIRM_ABOVE (USD) it asks first, and refuses without --yes off a terminal.

    With --a and --b two ways stand side by side on a sample: a version (its number) by its stored answers, and `draft`
    by what TASK's file asks now, of MODEL.
    """
    has_sides = a is not None and b is not None
    if (a is None) != (b is None) or (has_sides and (a == b or item is not None)):
        sides = f"{OptionHint('a')} and {OptionHint('b')}"
        message = f"{sides} are two ways, and no {OptionHint('item')} goes with them"
        raise InputError(message)
    if item is not None and (n is not None or seed is not None):
        raise InputError("one item is tried by its name, or some by a number and a seed")

    if a and b:
        comparison_report = try_out.compare_sides(
            ws,
            (a, b),
            size=n or DEFAULT_PAIR_SAMPLE_SIZE,
            seed=pilot.DEFAULT_PILOT_SEED if seed is None else seed,
        )
        return _report_comparison(comparison_report)

    try_report = try_out.run(ws, n or try_out.DEFAULT_ROW_COUNT, item, seed)
    print_report = partial(_print_try, try_report, ws.task.words)
    return CommandReport(try_report.document, print_report, try_report.check)


def _print_try(report: TryReport, labels: TaskLabels) -> None:
    """Print the system instruction, then each tried row with its request and reply, then totals."""
    # All requests of a task have the same system instruction.
    instruction = report.items[0].request.get("systemInstruction")
    if instruction:
        print_text("sent with each, as the system instruction:")
        print_text(_cut_text(instruction["parts"][0]["text"]), indent=INDENT)

    for number, row in enumerate(report.items, start=1):
        print_text(f"\n{labels.one} {number} of {len(report.items)}: {row.name}")
        for part in row.request["contents"][0]["parts"]:
            part_text = _cut_text(part["text"]) if "text" in part else _format_attachment(part)
            print_text(part_text, indent=INDENT)
        _print_tried_outcome(row)

    print_text("")
    print_line(_format_try_total(report, labels))


def _print_tried_outcome(row: TriedRow) -> None:
    """Print the outcome of a tried row, then its answer, or else the raw reply.

    Duration, tokens and cost are printed only if the row was asked about.
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
            for value_line in _value_lines(member_name, value, INDENT):
                print_text(value_line)
    elif row.reply:
        print_text(_cut_text(row.reply), indent=INDENT)


def _format_try_total(report: TryReport, labels: TaskLabels) -> str:
    """Return the count and cost of a try; if there is a valid answer, also the next step."""
    asked_rows = [row for row in report.items if row.calls]
    row_count = plural(len(asked_rows), labels.one, labels.many)
    total = f"{row_count} tried with {report.extractor}, {format_usd(report.cost)}"
    message = f"{total}; no answer was stored"
    next_step = str(labels.again)
    if report.draft_of:
        version_number = report.draft_of.partition("@")[2]
        message = f"draft of version {version_number}: {message}"
        next_step = f"set version={int(version_number) + 1} in its file, then {next_step}"

    has_answer = any(row.answer is not None for row in asked_rows)
    return f"{message}. Next: {next_step}" if has_answer else message


def _report_comparison(report: ComparisonReport) -> CommandReport:
    """Return the JSON document and the lines of a comparison of two sides.

    The lines list both answers of each row. A sign marks different answers. Agreement by field and
    totals are at the end.
    """
    side_a, side_b = report.sides
    lines = list[str]()
    for pair in report.pairs:
        different = "" if pair["a"] == pair["b"] else " ≠"
        lines += ["", f"{pair['name']}{different}"]
        lines += _side_lines("A", pair["a"])
        lines += _side_lines("B", pair["b"])

    lines.append("")
    for field_name, equal_count in report.agreement.items():
        lines.append(f"{INDENT}{field_name}: the same in {equal_count} of {report.compared}")

    # Sides with stored answers need no calls and cost nothing.
    cost = 0.0
    check = None
    if report.asked is not None:
        cost = report.asked.cost
        check = report.asked.check
    equal_pairs = sum(pair["a"] == pair["b"] for pair in report.pairs)
    totals = f"{equal_pairs} of {len(report.pairs)} alike; {format_usd(cost)}"
    lines.append(f"A is {side_a}, B {side_b}: {totals}")

    document = {
        "a": side_a,
        "b": side_b,
        "items": report.pairs,
        "cost": cost,
        "agreement": report.agreement,
        "compared": report.compared,
    }
    return CommandReport(document, lines, check)


def _side_lines(letter: str, answer: Any) -> Iterator[str]:
    """Yield the lines of one side of a pair: an answer, or a text that says why there is none."""
    if isinstance(answer, str):
        yield f"{INDENT}{letter}: {answer}"
    else:
        yield from _value_lines(letter, answer, INDENT)


def _cut_text(text: str) -> str:
    """Return a text with its middle removed if it is longer than MAX_TEXT_CHARS.

    A line in the place of the removed part says how many characters it had.
    """
    removed_chars = len(text) - MAX_TEXT_CHARS
    if removed_chars <= 0:
        return text
    beginning = text[: MAX_TEXT_CHARS - CUT_TEXT_END_CHARS]
    omission = f"… {removed_chars:,} characters that are sent, too …"
    return f"{beginning}\n{omission}\n{text[-CUT_TEXT_END_CHARS:]}"


def _format_attachment(part: Mapping[str, Any]) -> str:
    """Return the media type of an attached file in brackets, with its size in bytes if known."""
    attachment: Mapping[str, Any] = part.get("inlineData") or part.get("fileData") or {}
    size = f", {attachment['size']:,} bytes" if "size" in attachment else ""
    return f"[{attachment.get('mimeType', 'attachment')}{size}]"
