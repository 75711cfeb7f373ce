"""Add a row to the table of the default task: save it first, then ask about it."""

import asyncio
import time
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from askrows.pipeline.core.settings import DEFAULT_TASK
from askrows.pipeline.rows.database_table import find_file_key_column
from askrows.pipeline.workflows import add_row
from askrows.web.app_state import AppState
from askrows.web.render import PageState

router = APIRouter()


@router.post("/api/admin/experts", status_code=201)
async def save_and_ask(app_state: PageState, request: Request) -> JSONResponse:
    """Save a row, wait a few seconds for its answer, and return 201 with the row.

    The body's members are named as the columns of an imported file or of the table. The reply has
    `ok`, the name of the row, the fields of its answer, its derived values, `retrying` and `notes`.
    `notes` says which members of the body were read as columns and which were not, and why the row
    was parked, if so. If the answer has not arrived in time, its fields are null and `retrying` is
    true; they are stored when they arrive. If they are null and `retrying` is false, no command
    asks about the row.

    422 for an invalid body, 409 for a row that exists, 503 if too many rows arrive at once: this
    row was not saved.
    """
    start_time = time.monotonic()
    row = await app_state.save_row(await request.body())

    is_asked = True
    if row.is_row_due:
        asking = asyncio.wrap_future(app_state.start_asking([row.row_id]))
        deadline = start_time + app_state.max_answer_wait_s
        await asyncio.wait([asking], timeout=max(0.0, deadline - time.monotonic()))
        is_asked = asking.done()
    document = await run_in_threadpool(_make_document, app_state, row, is_asked=is_asked)
    return JSONResponse(document, status_code=201)


def _make_document(
    app_state: AppState, added_row: add_row.AddedRow, *, is_asked: bool
) -> dict[str, object]:
    """Return the reply about a saved row, as it is stored now.

    `retrying` is true if the call has not ended, or if the row is still to be asked.

    Args:
        is_asked: The call about the row has ended; otherwise it goes on in the background.
    """
    with app_state.open_to_read(DEFAULT_TASK) as run:
        row = add_row.reload_row(run, added_row)
        record = add_row.find_table_record(run)
    is_row_due = row.is_row_due or not is_asked
    notes = list(row.notes)
    if row.parked:
        notes.append(f"parked: {row.parked}")
    result = f"not {run.task.nouns.answered}"
    if is_row_due:
        result = "the answer is asked for in the background"
    if row.answer:
        result = "; ".join(
            f"{name}: {', '.join(value) if isinstance(value, list) else value}"
            for name, value in row.answer.items()
        )
    return {
        "ok": True,
        "said": "; ".join([f"{row.row} is saved", result, *notes]),
        "page": f"/row?{urlencode({'task': DEFAULT_TASK, 'key': row.row})}",
        find_file_key_column(record): row.row,
        **{name: row.answer.get(name) for name, _ in record.fields},
        **row.derived,
        "retrying": is_row_due,
        "notes": notes,
    }
