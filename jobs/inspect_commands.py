"""The command `show`: all stored data about a row, or the newest requests.

Each request is a line of a sealed request file, which is written once and never changed.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

from jobs.options import COUNT, CommandReport, Expert, Item, Parameter, Raw
from jobs.output import TextTable, format_value, print_fields
from pipeline.core.quotes import (
    format_likeness,
    is_stored_quotation,
    iterate_leaves,
    to_display_value,
)
from pipeline.core.states import describe_reason
from pipeline.core.text import format_probability, format_usd
from pipeline.engine.session import WorkspaceSession
from pipeline.ops import items as row_items

INDENT = "    "
MAX_ANSWER_CELL_CHARS = 100
SECONDS_PER_DAY = 86_400
MINUTE_FORMAT = "%Y-%m-%d %H:%M"
FORGOTTEN_TEXT = "forgotten"
REQUEST_HEADERS = (
    "when",
    "row",
    "batch",
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
    n: Annotated[int, Parameter("List this many requests.", COUNT, metavar="REQUESTS")] = 10,
    all_: Annotated[bool, Parameter("List the requests of all tasks.")] = False,
    raw: Raw = False,
) -> CommandReport:
    """Show all stored data about a person, or about a row of TASK with --item.

    Prints columns, state, answers and their origin, failed attempts, requests, index entry and
    cost (USD). --raw adds each request and its replies, exactly as they were sent and received.

    If neither EXPERT nor --item is named, it lists the newest requests: time (UTC), row, batch,
    model, outcome, tokens and cost.
    """
    if expert is None and item is None:
        requests = row_items.read_newest_requests(ws, limit=n, all_tasks=all_, raw=raw)
        return CommandReport(requests, _request_list_output(requests, has_tasks=all_, raw=raw))

    document = row_items.describe_row(ws, item or expert or "", raw=raw)
    print_row = partial(print_fields, _row_fields(document))
    wire_lines = _wire_lines(document["requests"]) if raw else []
    return CommandReport(document, [print_row, *wire_lines])


def _request_list_output(
    requests: Sequence[Mapping[str, Any]],
    *,
    has_tasks: bool,
    raw: bool,
) -> list[Any]:
    """Return a table of requests, or a line that nothing was asked yet.

    Args:
        has_tasks: Whether the table names the task of each row.
        raw: Add the texts of each request and its replies, as they are in the sealed files.
    """
    if not requests:
        return ["no request was sent yet"]

    rows = [_request_table_cells(request, has_task=has_tasks) for request in requests]
    table = TextTable(REQUEST_HEADERS, rows)
    return [table, *_wire_lines(requests)] if raw else [table]


def _request_table_cells(request: Mapping[str, Any], *, has_task: bool) -> list[str]:
    """Return a request as a row of the table of requests, in the order of REQUEST_HEADERS.

    The cells are the time, the row, the six texts of `_format_request_parts`, and the answer or the
    reason, which is cut after MAX_ANSWER_CELL_CHARS characters.

    Args:
        has_task: Write the task before the name of the row.
    """
    row_name = f"{request['task']} {request['name']}" if has_task else request["name"]
    answer_text = _format_request_answer(request)
    if len(answer_text) > MAX_ANSWER_CELL_CHARS:
        answer_text = f"{answer_text[:MAX_ANSWER_CELL_CHARS]}…"

    sent_at = f"{request['at']:{MINUTE_FORMAT}:%S}"
    return [sent_at, row_name, *_format_request_parts(request), answer_text]


def _format_request_answer(request: Mapping[str, Any]) -> str:
    """Return the answer to a request as one line, or why there is no answer.

    The line is empty if the request has no outcome yet.
    """
    if request["forgotten"]:
        return FORGOTTEN_TEXT
    if request["answer"] is not None:
        return ", ".join(
            f"{'.'.join(map(str, path))}: {to_display_value(value)}"
            for path, value in iterate_leaves(request["answer"])
        )
    if request["reason"]:
        return describe_reason(str(request["reason"]))
    if request["outcome"] == "answered":
        return "no answer is stored"
    return ""


def _format_request_parts(request: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a request's batch and line, model, outcome, input tokens, output tokens and cost.

    Each is a text, for a table or for a line. The first is "batch N line N", after "live, " for a
    live call. A request without an outcome has the state of its batch instead. Unknown numbers are
    question marks.
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
    batch_line, model, outcome, tokens_in, tokens_out, cost = _format_request_parts(request)
    # An answered request has the reason "ok".
    if request["reason"] not in {None, "", "ok"}:
        outcome += f" ({describe_reason(request['reason'])})"
    origin = f"{request['at']:{MINUTE_FORMAT}} {batch_line}, {model}"
    return f"{origin}, {outcome}, {tokens_in} + {tokens_out} tokens, {cost}"


def _wire_lines(requests: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the raw texts of requests and their replies as lines, as they were sent.

    Args:
        requests: Requests with the member `wire`, in the order to print.

    Returns:
        For each request a heading, the request and its replies. A text that is not stored any more
        is replaced by the reason. If the request and its replies are missing for the same reason,
        there is a single line with it. If `requests` is empty, the only line says why the row may
        have none.
    """
    if not requests:
        reasons = "it was not asked yet, or has the answer of an equal row"
        return [f"(no request about this row: {reasons})"]

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

    They are the row's name, columns, state, last change, answers, failed attempts, requests, index
    entry and cost. Each answer, attempt and request has a pair of its own, so a name can occur
    several times or not at all. Each field of an answer follows its answer, with an empty name. The
    last change and the index entry are left out if they are None.

    Args:
        document: The document of `describe_row`.
    """
    fields = [(document["task"], document["name"])]
    fields += [(name, to_display_value(value)) for name, value in document["columns"].items()]
    fields.append(("state", _format_state(document)))
    if document["changed_at"] is not None:
        fields.append(("changed", _format_change(document["changed_at"])))

    for answer in document["answers"]:
        fields += _answer_fields(answer)
    for attempt in document["attempts"]:
        failure = f"{attempt['outcome']}: {describe_reason(attempt['reason'])}"
        if attempt["excerpt"]:
            failure += f": {attempt['excerpt']}"
        fields.append(("attempt", f"{attempt['at']:{MINUTE_FORMAT}} {failure}"))
    fields += [("request", _format_request(request)) for request in document["requests"]]

    if document["index"] is not None:
        fields.append(("index", _format_index_entry(document["index"])))
    fields.append(("cost", format_usd(document["cost"])))
    return fields


def _format_state(document: Mapping[str, Any]) -> str:
    """Return the state of a row as text, with the reason if the row is parked or stale.

    A state of None is "unknown".
    """
    label = document["state"] or "unknown"
    if document["parked"]:
        return f"{label}: {describe_reason(document['parked'])}"
    if document["stale"]:
        return f"{label}: {document['stale']}"
    return label


def _format_change(changed_at: datetime) -> str:
    """Return the time of a row's last change, and its age in days if it is at least a day."""
    change = f"{changed_at:{MINUTE_FORMAT}}"
    age_days = (datetime.now(UTC) - changed_at).total_seconds() / SECONDS_PER_DAY
    if age_days >= 1:
        change += f", {age_days:.0f} days ago"
    return change


def _answer_fields(answer: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the (name, text) pairs of a stored answer: its provenance, then its fields.

    Only the pair of the provenance has a name. A field may have several lines; the first line ends
    with the field's confidence, if any. A forgotten answer has a line that says so instead
    of its fields.
    """
    fields = [("answer", _format_provenance(answer))]
    if answer["forgotten"]:
        fields.append(("", FORGOTTEN_TEXT))
        return fields

    for member_name, value in answer["answer"].items():
        first_line, *more_lines = format_value_lines(member_name, value, "")
        confidence = answer["confidences"].get(member_name)
        if confidence is not None:
            probability = format_probability(confidence["probability"])
            first_line += f" (confidence {probability}, {confidence['model']})"
        fields += [("", line) for line in (first_line, *more_lines)]
    return fields


def _format_provenance(answer: Mapping[str, Any]) -> str:
    """Return when and how an answer was made, and who marked it as reviewed.

    A person made it as a correction, a batch (also a live batch) answered it, or it was copied from
    an equal row.

    An answer of a model has its version and model; if it was not copied, also tokens and cost. The
    text says if a correction was undone, or if the answer is not applied to the row.
    """
    answered_at = f"{answer['at']:{MINUTE_FORMAT}}"
    review = ""
    reviewed_at = answer["reviewed_at"]
    if reviewed_at is not None:
        review = f"; reviewed by {answer['reviewed_by']}, {reviewed_at:{MINUTE_FORMAT}}"
    if answer["who"] is not None:
        undone = "" if answer["applied"] else " (undone)"
        return f"{answered_at} corrected by {answer['who']}{undone}{review}"

    # A copied answer has the response of another row with the same input, and cost nothing.
    if answer["batch"] is None and not answer["tokens_in"] and answer["response_id"]:
        origin = "copied from an equal row, at no cost"
    else:
        tokens = f"{answer['tokens_in']:,} + {answer['tokens_out']:,} tokens"
        origin = f"batch {answer['batch']}, {tokens}, {format_usd(answer['cost'])}"
    not_applied = "" if answer["applied"] else " (not applied)"
    version = f"{answer['extractor']} ({answer['model_version']})"
    return f"{answered_at} {version}, {origin}{not_applied}{review}"


def _format_index_entry(index_state: Mapping[str, Any]) -> str:
    """Return the number of the build that contains a row, and whether its text is up to date.

    If the index cannot be read, the text has the problem instead. A row without an entry is "not in
    it".
    """
    if "problem" in index_state:
        return f"broken: {index_state['problem']}"
    if not index_state["indexed"]:
        return "not in it"
    freshness = "with an older text"
    if index_state.get("up_to_date"):
        freshness = "up to date"
    return f"in build {index_state.get('build')}, {freshness}"


def format_value_lines(name: str, value: Any, indent: str) -> Iterator[str]:
    """Yield the lines of one field of an answer, each beginning with `indent`.

    Members of an object are on further lines, indented by INDENT. If a list contains objects or
    lists, its members are numbered from 1. Other lists are joined by commas. A quotation is
    followed by its offsets in the row's text. None and an empty text are a hyphen, and booleans are
    `true` and `false`, as in JSON.
    """
    if is_stored_quotation(value):
        offsets = f"characters {value['start']} to {value['end']}{format_likeness(value)}"
        yield f'{indent}{name}: "{value["quote"]}" ({offsets})'
        return
    if isinstance(value, Mapping):
        yield f"{indent}{name}:"
        for member_name, member in value.items():
            yield from format_value_lines(member_name, member, indent + INDENT)
        return

    is_list = isinstance(value, list)
    if is_list and any(isinstance(element, Mapping | list) for element in value):
        for number, element in enumerate(value, start=1):
            yield from format_value_lines(f"{name} {number}", element, indent)
        return

    text = ", ".join(map(format_value, value)) if is_list else format_value(value)
    yield f"{indent}{name}: {'-' if value is None or text == '' else text}"
