"""The command `show`: all stored data about a row, or the newest requests.

Each request is a line of a sealed request file, which is written once and never changed.
"""

from typing import Annotated

from jobs.options import COUNT, Expert, Item, Parameter, Raw
from pipeline.core.report import (
    Part,
    Report,
    format_fields,
    format_lines,
    make_table,
    show_document,
)
from pipeline.engine.session import WorkspaceSession
from pipeline.ops import items as row_items

# Columns of the newest requests; see `make_table`.
REQUEST_COLUMNS = "when=at row=name batch state outcome reason in=tokens_in out=tokens_out cost"

# Members of a row; see `show_document`.
ROW_MEMBERS = (
    "row=name state parked stale changed=changed_at columns answer confidences answers attempts "
    "requests index wire"
)


def show(
    ws: WorkspaceSession,
    *,
    expert: Expert = None,
    item: Item = None,
    n: Annotated[int, Parameter("List this many requests.", COUNT, metavar="REQUESTS")] = 10,
    all_: Annotated[bool, Parameter("List the requests of all tasks.")] = False,
    raw: Raw = False,
) -> Report:
    """Show all stored data about a person, or about a row of TASK with --item.

    Prints state, columns, the preferred answer, all answers and their origin, failed attempts,
    requests with their cost (USD), and the index entry. --raw adds each request and its replies,
    exactly as they were sent and received.

    If neither EXPERT nor --item is named, it lists the newest requests: time (UTC), row, batch,
    model, outcome, tokens and cost.
    """
    if expert is None and item is None:
        requests = row_items.read_newest_requests(ws, limit=n, all_tasks=all_, raw=raw)
        parts: list[Part] = [make_table(requests, REQUEST_COLUMNS)]
        if raw:
            parts = [*format_lines("request", requests)]
        return Report(requests, parts=parts)

    document = row_items.describe_row(ws, item or expert or "", raw=raw)
    preferred_answers = [answer for answer in document["answers"] if answer["preferred"]]
    preferred_answer = preferred_answers[0] if preferred_answers else {}
    index_state = document["index"] or {}
    members = {
        **document,
        "answer": preferred_answer.get("answer"),
        "confidences": {
            name: confidence["probability"]
            for name, confidence in preferred_answer.get("confidences", {}).items()
        },
        "index": format_fields(index_state, " ".join(index_state)),
        "wire": [request["wire"] for request in document["requests"] if raw],
    }
    return Report(document, parts=show_document(members, ROW_MEMBERS))
