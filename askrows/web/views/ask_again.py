"""Ask selected rows again, for the price of a live run, or unpark them."""

from collections.abc import Collection, Sequence
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from askrows.pipeline.batch import ingest
from askrows.pipeline.batch.run import Run
from askrows.pipeline.batch.run_result import RunResult
from askrows.pipeline.core.errors import AskrowsError
from askrows.pipeline.core.text import plural
from askrows.pipeline.ops import listed_rows
from askrows.pipeline.quality import pilot
from askrows.pipeline.run.units import ask_single_rows
from askrows.pipeline.store import claims
from askrows.pipeline.tasks import claiming
from askrows.pipeline.workflows import try_out
from askrows.web.app_state import AppState
from askrows.web.background_work import BackgroundJob
from askrows.web.errors import RequestRefusedError
from askrows.web.page_texts import describe_price
from askrows.web.render import (
    PageState,
    accepted_response,
)

router = APIRouter()

MAX_RETRIED_ROWS = 500
# Who asked for rows again, in their marks.
PAGE_EDITOR = "the page"
# Kind of background work. It contains the task but no row, which may have to be forgotten.
ASK_WORK_KIND = "ask {} again"


def estimate_cost(run: Run, row_ids: Sequence[str]) -> float | None:
    """Return the estimated cost in USD of asking rows live, or None if it is unknown.

    Nothing is sent. The cost is unknown if no row has a text or if a request cannot be built; this
    raises nothing, because asking reports the error.
    """
    try:
        return try_out.build_requests_and_estimate(run, row_ids).cost
    except AskrowsError:
        return None


class RowSelection(BaseModel):
    """The ids of the chosen rows."""

    model_config = ConfigDict(extra="forbid")
    ids: list[str] = Field(min_length=1, max_length=MAX_RETRIED_ROWS)


@router.post("/api/tasks/{task}/rows/ask", status_code=202)
def ask_selected_rows(app_state: PageState, task: str, body: RowSelection) -> JSONResponse:
    """Start to ask the chosen rows again, with live calls at full price."""
    return accepted_response(mark_and_start_asking(app_state, task, body.ids))


@router.post("/api/tasks/{task}/rows/free")
def unpark_selected_rows(app_state: PageState, task: str, body: RowSelection) -> dict[str, Any]:
    """Unpark those of the chosen rows that are parked; the next command asks them.

    `freed` is their number.
    """
    with app_state.open_to_write(task) as run, run.workspace.store.write() as tx:
        unparked = claims.unpark_and_forgive(
            tx,
            run.task.name,
            prompt_version=run.task.parked_version,
            row_ids=body.ids,
        )
    message = f"{len(unparked):,} of {len(body.ids):,} will be asked again"
    return {"freed": len(unparked), "said": message}


@router.post("/api/tasks/{task}/rows/cost")
def make_ask_again_question(app_state: PageState, task: str, body: RowSelection) -> dict[str, Any]:
    """Return the estimated cost of asking the chosen rows again in USD, and a question that has it.

    The question counts the rows that would be asked, and those that would not. The cost in USD is
    null if it is unknown; the question says so. If no row can be asked, the request is refused with
    409.
    """
    with app_state.open_to_read(task) as run:
        with run.workspace.store.read() as tx:
            askable_ids = claiming.filter_askable_ids(tx, run.task, body.ids)
        _require_askable_row(askable_ids)
        cost = estimate_cost(run, sorted(askable_ids))
        left_out_text = _describe_rows_not_asked(run, body.ids, askable_ids)
    question = (
        f"Ask {plural(len(askable_ids), 'row')} again, {describe_price(cost)}? "
        f"A new answer replaces the old one and its mark as checked. {left_out_text}"
    )
    return {"cost": cost, "question": question.strip()}


def _require_askable_row(askable_ids: Collection[str]) -> None:
    """Raise RequestRefusedError (409) if none of the chosen rows can be asked."""
    if not askable_ids:
        raise RequestRefusedError(
            409,
            "these rows are corrected, gone, without text or being asked, so they are not asked; "
            "nothing was changed",
        )


def _describe_rows_not_asked(run: Run, row_ids: Sequence[str], asked_ids: Collection[str]) -> str:
    """Return a sentence on those of the chosen rows that are not asked, or "".

    It counts the rows that a person corrected, and separately all other rows.
    """
    left_out_ids = set(row_ids).difference(asked_ids)
    with run.workspace.store.read() as tx:
        preferred_answers = run.task.read_preferred_answers(tx, list(left_out_ids))
    corrected_count = sum(answer.is_corrected for answer in preferred_answers.values())
    counts = {
        "corrected by a person": corrected_count,
        "without text, gone or being asked": len(left_out_ids) - corrected_count,
    }
    parts = [f"{count:,} {reason}" for reason, count in counts.items() if count]
    return f"Not asked: {', '.join(parts)}." if parts else ""


def mark_and_start_asking(
    app_state: AppState,
    task: str,
    row_ids: Sequence[str],
    *,
    row_key: str = "",
) -> BackgroundJob:
    """Mark answered rows and unpark rows, and start to ask them live in the background.

    If such work of the same task and `row_key` is running, it is returned instead, and nothing is
    changed, whatever its rows are. Otherwise the rows are first synced with their source, and the
    replies of killed live runs are stored. The rows' present answers count until new answers
    replace them. Rows that are claimed, corrected by a person, empty or gone from the source are
    not asked.

    Args:
        app_state: The state of the page.
        task: The task.
        row_ids: Ids of the rows.
        row_key: Key of the row if only that row is asked, from its page; else "".

    Returns:
        The job. Its result has the numbers of answered and asked rows, and a text about the rows
        that were left out. The job fails if its calls failed and no row was answered.

    Raises:
        RequestRefusedError: 404, there is no such task; 409, no row can be asked.
        AskrowsError: For example a missing API key or a failed pilot; no row was marked.
    """
    kind = ASK_WORK_KIND.format(task)
    newest = app_state.background_work.find_newest(kind, row_key=row_key)
    if newest is not None and newest.is_running:
        return newest

    with app_state.open_to_write(task) as opened_run:
        run = opened_run.sync_task()
        ingest.ingest_live_batches_of_dead_processes(run)
        # A missing key or model is reported before anything is changed.
        run.choose_model()
        run.open_client()
        with run.workspace.store.read() as tx:
            pilot.check_pilot_allows_asking(
                tx, run.task, run.version, is_required=run.task.needs_pilot
            )
        asked_ids = listed_rows.unpark_and_mark_rows(
            run.workspace.store, run.task, row_ids, who=PAGE_EDITOR, now=run.workspace.now()
        )
        _require_askable_row(asked_ids)
        left_out_text = _describe_rows_not_asked(run, row_ids, asked_ids)

    def ask_chosen_rows(display: BackgroundJob) -> dict[str, Any]:
        """Sync the rows, then ask the chosen ones by calls.

        Returns the numbers of answered and asked rows, and the text about rows that are left out.
        If no row was answered, the error of the calls is raised.
        """
        with app_state.open_to_write(task, display) as run:
            result = RunResult()
            ask_single_rows(run.sync_task(), result, asked_ids)
        if result.calls_error and not result.answered_by_calls:
            raise result.calls_error
        return {
            "answered": result.answered_by_calls,
            "asked": len(asked_ids),
            "left_out": left_out_text,
        }

    return app_state.background_work.start(kind, ask_chosen_rows, task=task, row_key=row_key)
