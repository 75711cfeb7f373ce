"""Commands of the page: the state of a task, its next step with the price, and background work.

The next step is the command that the state of the task suggests. The page has a button for the
steps in BUTTON_LABELS. A dead run is a live run whose process was killed; its rows are asked again.
Work that ended is described in one line.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.encoders import jsonable_encoder
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import RootModel

from askrows.pipeline.batch.batch_files import make_batch_lock_name
from askrows.pipeline.batch.budget import list_budgets_with_used_usd
from askrows.pipeline.batch.run import Run
from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.progress import NoProgress
from askrows.pipeline.core.states import BatchState
from askrows.pipeline.index.indexed_tasks import is_task_indexed
from askrows.pipeline.index.vectors import estimate_index_cost_usd
from askrows.pipeline.ops.next_command import choose_next_command
from askrows.pipeline.quality.pilot import plan_next_pilot
from askrows.pipeline.rows.row_state import RowState
from askrows.pipeline.run.preflight import estimate_rows
from askrows.pipeline.run.snapshot import RunProgress, Snapshot, read_snapshot
from askrows.pipeline.store import workspace
from askrows.pipeline.tasks.announcements import make_first_upload_notice
from askrows.web.app_state import AppState
from askrows.web.background_work import BackgroundJob, BackgroundWork
from askrows.web.errors import RequestRefusedError
from askrows.web.page_texts import to_plain_text, work_label
from askrows.web.render import PageState, accepted_response, render_page, short_hash

router = APIRouter()

Usd = Annotated[float, Query(ge=0.0, allow_inf_nan=False)]
# With more open rows than this, the next step is priced only on request.
MAX_AUTO_PRICED_ROWS = 5_000
MAX_DISPLAYED_WORK = 4
# Runs that the state of a task names; the page of runs lists all.
MAX_STATE_RUNS = 3
# Button texts of next steps. Other steps are links to another page.
BUTTON_LABELS = {
    "tag": "Ask the {open} waiting {many}",
    "batch-submit": "Send the prepared batches",
    "batch-poll": "Get the results",
    "batch-ingest": "Store the answers",
    "passages-pilot": "Try some passages first",
    "passages-backfill": "Ask all {open} {many}",
}
# Options that a button adds to its command, so the command runs until all rows are answered.
BUTTON_OPTIONS = {"tag": {"wait": "1"}, "passages-backfill": {"wait": "1"}}
# What a button does after its command: nobody wants results without answers.
FOLLOWING_COMMANDS = {"batch-poll": "batch-ingest"}
# Commands that ask by batch only.
BATCH_COMMANDS = ("batch-submit", "passages-pilot", "passages-backfill")
INDEX_COMMAND = "index"
# First words of the kinds of work that make live calls.
STOPPABLE_COMMANDS = ("tag", "tag-live", "ask", "passages-backfill")
# Event in the browser after which the list of rows loads itself again.
ROWS_CHANGED_EVENT = "rows-changed"
# Event in the browser after which results of a search load themselves again.
INDEX_EVENT = "search-prepared"


# Included after all other routers, because its path matches any name.
command_router = APIRouter()
STOPPED_SUMMARY = "The answers so far are stored; the other rows are waiting."


@router.get("/api/tasks")
def get_tasks(app_state: PageState) -> list[dict[str, Any]]:
    """Return the tasks of the workspace."""
    with app_state.open_to_read() as run:
        return [
            {
                "name": task.subject,
                "one": task.nouns.singular,
                "many": task.nouns.plural,
                "indexed": is_task_indexed(run.workspace, task),
            }
            for task in run.tasks
        ]


@router.get("/api/tasks/{task}/next")
def get_next(app_state: PageState, task: str) -> dict[str, Any]:
    """Return the next step to type.

    If the page can run the step, `command` names it and `plan` contains its requests and cost.
    """
    with app_state.open_to_read(task) as run:
        with read_snapshot(run.workspace, run.task, run.tasks) as snapshot:
            next_step = _choose_next_step(snapshot)
        return _make_next_step_document(run, next_step)


@router.post("/api/tasks/{task}/next", status_code=202)
def begin_next(app_state: PageState, task: str, step: str, cost: Usd = 0.0) -> JSONResponse:
    """Start the next step in the background, and return its work with 202.

    `step` is the next step that the client expects, as a typed command. If the next step is another
    command, or has no button (see BUTTON_LABELS), the request is refused with 409. `cost` is the
    estimate in USD that the client accepted; if the estimate is higher by then, the work fails
    before anything is sent.
    """
    with (
        app_state.open_to_read(task) as run,
        read_snapshot(run.workspace, run.task, run.tasks) as snapshot,
    ):
        next_step = _choose_next_step(snapshot)
    if next_step is None or step != str(next_step) or not button_command(next_step):
        raise RequestRefusedError(
            409,
            f"the next step is {next_step or 'none'}; nothing was started",
            hint="reload the page",
        )

    form = {name: str(option) for name, option in next_step.options.items() if name != "task"}
    if "dry" not in form:
        form |= BUTTON_OPTIONS.get(next_step.command, {})
    following = FOLLOWING_COMMANDS.get(next_step.command, "")
    work = start_or_join_command(
        app_state, next_step.command, form, task, cost, following=following
    )
    return accepted_response(work, said=f"Started: {work_label(work.kind)}")


def start_or_join_command(
    app_state: AppState,
    command: str,
    form: Mapping[str, str],
    task: str,
    cost: float,
    *,
    following: str = "",
) -> BackgroundJob:
    """Start a command in a thread, or return its running work for the same task.

    The command may spend at most `cost` USD, as estimated before it sends. A build of the index is
    priced in the thread first, and fails if it costs more; a rollback of the index is free. The
    command `following` runs after it, without options; its document is the result then.

    Raises:
        RequestRefusedError: 404, the page cannot run the command, or there is no such task.
        InputError: An option in the form is wrong.
    """
    page_command = app_state.get_command(command)
    app_state.require_task(task)
    # Report a wrong option in the response, not in the background.
    page_command.needs_write_access(form, task)

    def run_priced_command(display: BackgroundJob) -> Any:
        """Check the price of a new build of the index, then run the command; return its document.

        If there is a following command, run it too, and return its document instead.

        Raises:
            AskrowsError: The build costs more than `cost`, or the command failed.
        """
        if command == INDEX_COMMAND and not form.get("rollback"):
            with app_state.open_to_read(task) as run:
                priced_run = replace(run, agreed_usd=cost)
                priced_run.confirm_cost(
                    estimate_index_cost_usd(run.workspace, run.service, run.task),
                    unchanged_text="nothing was embedded",
                )
        document = app_state.run_command(page_command, form, task, display, cost=cost)
        if following:
            document = app_state.run_command(app_state.get_command(following), {}, task, display)
        return document

    return app_state.background_work.start(f"{command} {task}", run_priced_command, task=task)


def button_command(step: CommandHint | None) -> str:
    """Return the command of a step that the page shows as a button, or "" for any other step."""
    if step is None or step.command not in BUTTON_LABELS:
        return ""
    return step.command


@router.get("/parts/state", include_in_schema=False)
def render_state(app_state: PageState, task: str, seen: str = "") -> HTMLResponse:
    """Render the state of a task: counts, running batches, budgets and background work.

    `seen` is the version of the rows that the page shows, or its beginning, the position of their
    last change. If the rows have another version now, the response triggers the event
    ROWS_CHANGED_EVENT in the browser.
    """
    with app_state.open_to_read(task) as run:
        # Work that is over in this list has its rows in the counts, because they are read later.
        work_documents = list_displayed_work(app_state.background_work, run.workspace.settings.task)
        with read_snapshot(run.workspace, run.task, run.tasks) as snapshot:
            next_command = _choose_next_step(snapshot)
            # It differs after rows were asked, answered, corrected or imported.
            position = workspace.read_last_row_change(snapshot.tx, run.task.name)
            rows_version = f"{position}.{short_hash(str(snapshot.counts))}"
            runs = snapshot.task_runs
            values = {
                "counts": snapshot.counts,
                "state_words": {state: snapshot.rows.find_state_word(state) for state in RowState},
                "runs": runs,
                "spending": snapshot.task_spending,
                "doubtful": snapshot.doubtful_document or {"count": 0},
                "other_process": _describe_other_process(run, snapshot),
            }
        response = render_page(
            app_state,
            "parts/state.html",
            run,
            "rows",
            **values,
            budgets=list_budgets_with_used_usd(run),
            next_step=str(next_command or ""),
            command=button_command(next_command),
            work_documents=[
                {
                    **work,
                    **_find_progress_of_asking(work, runs),
                    "summary": summarize_ended_asking(work),
                }
                for work in work_documents
            ],
            max_listed_runs=MAX_STATE_RUNS,
            max_auto_priced_rows=MAX_AUTO_PRICED_ROWS,
            rows_version=rows_version,
            stoppable_commands=STOPPABLE_COMMANDS,
        )
    if not rows_version.startswith(seen):
        response.headers["hx-trigger"] = ROWS_CHANGED_EVENT
    return response


def _describe_other_process(run: Run, snapshot: Snapshot) -> str:
    """Return the other process that asks rows of the task, such as "pid 17, tag"; "" if none."""
    for batch in snapshot.task_batches:
        if batch.state is BatchState.ASKING and batch not in snapshot.dead_batches:
            holder = run.workspace.locks.describe_lock_holder(make_batch_lock_name(batch.number))
            if not holder.startswith(f"held by pid {os.getpid()},"):
                return holder.removeprefix("held by ")
    return ""


def _find_progress_of_asking(
    work: Mapping[str, Any], runs: Sequence[RunProgress]
) -> dict[str, Any]:
    """Return `done` and `total` of work that asks rows: those of the first run that is not killed.

    Both are None between runs. Other work keeps its own progress, so the result is empty.
    """
    if work["kind"].partition(" ")[0] not in STOPPABLE_COMMANDS:
        return {}
    run = next((run for run in runs if not run.is_killed), None)
    if run is None:
        return {"done": None, "total": None}
    return {"done": run.done, "total": run.requests}


@router.get("/parts/next", include_in_schema=False)
def render_next(app_state: PageState, task: str) -> HTMLResponse:
    """Render the button of the next step with its cost, or nothing if there is no button."""
    with app_state.open_to_read(task) as run:
        with read_snapshot(run.workspace, run.task, run.tasks) as snapshot:
            next_command = _choose_next_step(snapshot)
            # A stopped run's rows stay claimed until the next step, which asks them again.
            row_count = snapshot.counts.open or snapshot.counts.claimed
            changed_file = snapshot.changed_source
        next_step = _make_next_step_document(run, next_command)
        if not next_step["command"]:
            return HTMLResponse("")

        nouns = run.task.nouns
        noun = nouns.singular if row_count == 1 else nouns.plural
        label = BUTTON_LABELS[next_step["command"]].format(open=f"{row_count:,}", many=noun)
        if changed_file:
            label = f"Read the changed file {changed_file}"

        plan = next_step["plan"]
        cost = plan["cost"] if plan else 0.0
        query = urlencode({"step": next_step["next"], "cost": repr(cost)})
        return render_page(
            app_state,
            "parts/next.html",
            run,
            "rows",
            plan=plan,
            label=label,
            address=f"/api/tasks/{run.workspace.settings.task}/next?{query}",
            cost=cost,
            upload_notice=make_first_upload_notice(run.workspace, run.task),
        )


def list_displayed_work(background_work: BackgroundWork, task: str) -> list[dict[str, Any]]:
    """Return the documents of the newest MAX_DISPLAYED_WORK works of a task, oldest first.

    Work that is done is left out, unless it has warnings or was the newest to ask rows. Work about
    a single row is never returned, because it belongs to the page of the row.
    """
    documents = [
        work.document
        for work in background_work.list_jobs()
        if work.task == task and not work.row_key
    ]
    asking_documents = [document for document in documents if summarize_ended_asking(document)]
    return [
        document
        for document in documents[-MAX_DISPLAYED_WORK:]
        if document["state"] != "done" or document["warnings"] or document in asking_documents[-1:]
    ]


def _choose_next_step(snapshot: Snapshot) -> CommandHint | None:
    """Return the next step to type; None if there is none.

    If the file of the rows changed, the step only reads it: the cost of its rows is known then.
    """
    step = choose_next_command(snapshot)
    if step is not None and step.command == "tag" and snapshot.changed_source:
        return snapshot.task.nouns.command("tag", dry=True)
    return step


def _make_next_step_document(run: Run, step: CommandHint | None) -> dict[str, Any]:
    """Return the step to type (`next`), the `command` of its button, and its `plan`.

    `next` and `command` are "" if there is none. If the button asks rows, the plan is the estimate,
    with the `cost` of all these rows in USD; else it is None. A pilot asks the rows of its sample.
    """
    command = button_command(step)
    plan = None
    if command in {"tag", *BATCH_COMMANDS}:
        row_ids = None
        if command == "passages-pilot":
            pilot_plan = run.workspace.store.query(plan_next_pilot, run.task, run.version)
            row_ids = pilot_plan.row_ids
        estimate = estimate_rows(run, row_ids=row_ids)
        plan = estimate.document()
        if command in BATCH_COMMANDS:
            plan |= {"recommended": "batch", "reason": ""}
        plan["cost"] = round(estimate.sent_cost(plan["recommended"] or "batch"), 6)
    return {"next": str(step or ""), "command": command, "plan": plan}


@router.get("/api/work")
def list_work(app_state: PageState) -> list[dict[str, Any]]:
    """Return the background work of this page, oldest first."""
    return [work.document for work in app_state.background_work.list_jobs()]


@router.get("/api/work/{number}")
def get_work(app_state: PageState, number: int) -> dict[str, Any]:
    """Return the progress of a background work, and its result or error."""
    work = app_state.background_work.find(number)
    if work is None:
        raise RequestRefusedError(
            404,
            f"there is no work {number}; the page may have been restarted",
        )
    return work.document


@router.post("/api/work/{number}/stop")
def stop_work(app_state: PageState, number: int) -> dict[str, str]:
    """Request background work to end early; it waits for running calls and begins no new call.

    Work that does not run, or that is unknown, is refused with 409.
    """
    work = app_state.background_work.find(number)
    if work is None or not work.is_running:
        raise RequestRefusedError(409, f"work {number} does not run any more")
    work.stop_event.set()
    return {"said": "Stopping: replies to running calls are awaited."}


class CommandOptions(RootModel[dict[str, str]]):
    """The options of a command by name, as texts."""


@command_router.get("/api/{command}")
def read_command(
    app_state: PageState, request: Request, command: str, task: str = ""
) -> JSONResponse:
    """Run a read-only command, and return its document as with `--json`.

    The query parameters are its options. Commands that change something are refused with 405.
    """
    page_command = app_state.get_command(command)
    if not page_command.is_read_only:
        raise RequestRefusedError(
            405,
            f"{command} changes data; nothing was started",
            hint=f"POST /api/{command} starts it",
        )

    form = {name: text for name, text in request.query_params.items() if name != "task"}
    document = app_state.run_command(page_command, form, task, NoProgress())
    return JSONResponse(jsonable_encoder(document))


@command_router.post("/api/{command}", status_code=202)
def begin_command(
    app_state: PageState,
    command: str,
    body: CommandOptions,
    task: str = "",
    cost: Usd = 0.0,
) -> JSONResponse:
    """Start a command with its options.

    It spends at most `cost` USD, as estimated before it sends.
    """
    task_name = task or app_state.settings_for(task).task
    return accepted_response(start_or_join_command(app_state, command, body.root, task_name, cost))


def summarize_ended_asking(work: Mapping[str, Any]) -> str:
    """Return a line on how background work that asks rows ended, or "" for any other work.

    Failed work has none. Work that was stopped has the fixed text STOPPED_SUMMARY. The result of a
    finished command is described by the number of answered rows. `tag` adds the reason if it
    stopped early, and work on chosen rows adds the number of asked rows and the rows left out.

    Args:
        work: The JSON document of the work.
    """
    if work["state"] == "stopped":
        return STOPPED_SUMMARY
    result = work["result"]
    if not isinstance(result, Mapping):
        return ""
    if {"left", "under_way"} <= result.keys():
        return _summarize_asked_rows(result)
    if result.keys() == {"answered", "asked", "left_out"}:
        return f"{result['answered']:,} of {result['asked']:,} answered. {result['left_out']}"
    return ""


def _summarize_asked_rows(result: Mapping[str, Any]) -> str:
    """Return a line about a finished `tag`: answered rows, and why rows are open.

    The reason is there only if rows are open because a budget or the API stopped the command.

    Args:
        result: The JSON document of the command.
    """
    summary = f"{result['answered']:,} answered"
    reason = result["out_of_money"] or result["held_back"]
    if reason and result["left"]:
        summary += f". Stopped: {to_plain_text(reason)}"
    return summary
