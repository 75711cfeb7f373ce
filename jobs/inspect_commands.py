"""The command `show`: all stored data about a row, or the newest requests.

Each request is a line of a sealed request file, which is written once and never changed.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any

from jobs.document_output import format_fields, make_fields, make_table
from jobs.options import COUNT, CommandReport, Expert, Item, Parameter, Raw
from jobs.output import Output, format_value, print_fields
from pipeline.core.quotes import (
    format_likeness,
    is_stored_quotation,
    iterate_leaves,
    to_display_value,
)
from pipeline.core.states import describe_reason
from pipeline.core.text import format_probability, shorten
from pipeline.engine.session import WorkspaceSession
from pipeline.ops import items as row_items

INDENT = "    "
MAX_ANSWER_CELL_CHARS = 100
FORGOTTEN_TEXT = "forgotten"
# Members of answers, attempts and requests; see `make_table`.
ANSWER_FIELDS = (
    "at corrected_by=who version=extractor model=model_version batch tokens_in tokens_out cost "
    "not_applied reviewed_by reviewed_at"
)
ATTEMPT_FIELDS = "at outcome reason excerpt"
REQUEST_FIELDS = "at batch line model outcome reason tokens_in tokens_out cost"
REQUEST_COLUMNS = "when=at row=name batch outcome in=tokens_in out=tokens_out cost answer"


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
        documents = [_request_record(request) for request in requests]
        output: list[Output] = ["no request was sent yet"]
        if documents:
            output = [make_table(documents, REQUEST_COLUMNS)]
        if raw and documents:
            output += _wire_lines(requests)
        return CommandReport(requests, output)

    document = row_items.describe_row(ws, item or expert or "", raw=raw)
    print_row = partial(print_fields, _row_fields(document))
    wire_lines = _wire_lines(document["requests"]) if raw else []
    return CommandReport(document, [print_row, *wire_lines])


def _request_record(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request as a row of REQUEST_COLUMNS; without an outcome it has its batch's state."""
    return {
        **request,
        "outcome": request["outcome"] or request["state"],
        "answer": _format_answer(request),
    }


def _format_answer(request: Mapping[str, Any]) -> str:
    """Return the answer to a request as a line of MAX_ANSWER_CELL_CHARS, or why there is none."""
    if request["forgotten"]:
        return FORGOTTEN_TEXT
    if request["answer"] is None:
        return describe_reason(request["reason"] or "")
    leaves = iterate_leaves(request["answer"])
    answer_text = ", ".join(
        f"{'.'.join(map(str, path))}: {to_display_value(value)}" for path, value in leaves
    )
    return shorten(answer_text, MAX_ANSWER_CELL_CHARS)


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
        lines.append(
            f"--- {request['item']}: {format_fields(_request_record(request), REQUEST_FIELDS)}"
        )

        lines.append(f"request: {wire['request'] or wire['no_request']}")
        lines += [f"reply: {reply}" for reply in wire["replies"] or [wire["no_reply"]]]
    return lines


def _row_fields(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the names and texts that `show` prints about one row, in their order.

    They are the row's name, columns, state, last change, answers, failed attempts, requests, index
    entry and cost. Each answer, attempt and request has a pair of its own, so a name can occur
    several times or not at all. Each field of an answer follows its answer, with an empty name.

    Args:
        document: The document of `describe_row`.
    """
    fields = [(document["task"], document["name"])]
    fields += [(name, to_display_value(value)) for name, value in document["columns"].items()]
    state = {**document, "reason": document["parked"]}
    fields += make_fields(state, "state reason stale changed=changed_at")

    for answer in document["answers"]:
        fields.append(
            (
                "answer",
                format_fields(
                    {**answer, "not_applied": not answer["applied"] or None}, ANSWER_FIELDS
                ),
            )
        )
        fields += [("", line) for line in _answer_lines(answer)]
    fields += [("attempt", format_fields(part, ATTEMPT_FIELDS)) for part in document["attempts"]]
    fields += [
        ("request", format_fields(_request_record(request), REQUEST_FIELDS))
        for request in document["requests"]
    ]

    index = document["index"] or {}
    if index:
        fields.append(("index", format_fields(index, " ".join(index))))
    return [*fields, *make_fields(document, "cost")]


def _answer_lines(answer: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the fields of a stored answer, with a field's confidence at the end."""
    if answer["forgotten"]:
        yield FORGOTTEN_TEXT
        return

    for member_name, value in answer["answer"].items():
        first_line, *more_lines = format_value_lines(member_name, value, "")
        confidence = answer["confidences"].get(member_name)
        if confidence is not None:
            probability = format_probability(confidence["probability"])
            first_line += f" (confidence {probability}, {confidence['model']})"
        yield from (first_line, *more_lines)


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
