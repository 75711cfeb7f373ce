"""Run passes over the due units of work, once or until a signal."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from askrows.pipeline.batch import budget
from askrows.pipeline.batch.session import WorkspaceSession
from askrows.pipeline.core.errors import AccountError, AskrowsError
from askrows.pipeline.core.report import Report
from askrows.pipeline.run.due_units import list_due_units
from askrows.pipeline.run.work import WorkPass, WorkspaceOpener
from askrows.pipeline.store import workspace

# Names of the units, in the order in which they run.
UNIT_NAMES = (
    "poll",
    "ingest",
    "fill",
    "ask",
    "submit",
    "index",
)
ASKING_UNITS = frozenset({"fill", "submit", "ask"})
# Bounds of the pause between two passes of one process.
MIN_PASS_PAUSE_S = 1.0
MAX_PASS_PAUSE_S = 60.0


def run_due_units(
    ws: WorkspaceSession,
    units: Collection[str] = UNIT_NAMES,
    *,
    number: int | None = None,
) -> WorkPass:
    """Run the due units of the task in use once, within budgets and the agreed cost.

    The order is:

    1. Poll and ingest batches.
    2. Sync the rows and clear up after dead processes. If this fails, or if requests failed because
       of the account, nothing is asked or sent.
    3. Ask due rows by live calls, continue an unfinished `tag` in the mode decide, and submit
       batches.
    4. Build a stale index, and complete the report.

    Errors of units are not raised: they are in the result. The budget is that of the
    task's unfinished `tag`. If this `tag` has a start in the future, the start is corrected in the
    database.

    Args:
        ws: The workspace.
        units: Run only these units.
        number: Run only units of this batch, or all if None. With a number, the report is completed
            only for "ingest".
    """
    budget.correct_tag_start(ws.store, ws.task, now=ws.now)
    run_budget = ws.store.query(budget.find_unfinished_tag_budget, ws.task) or ws.budget
    work_pass = WorkPass(replace(ws, budget=run_budget), units, number)

    work_pass.attempt(work_pass.collect)
    if ASKING_UNITS & set(units):
        is_prepared = work_pass.attempt(work_pass.sync_and_recover)
        if is_prepared and work_pass.account_error is None:
            work_pass.attempt(
                work_pass.ask_due_rows,
                work_pass.decide_rows,
                work_pass.submit,
            )
    work_pass.attempt(work_pass.update_index)

    if number is None or "ingest" in units:
        work_pass.attempt(work_pass.tag_rounds.complete_report)
    work_pass.add_batch_figures()
    return work_pass


def run_pass(
    open_workspace: WorkspaceOpener,
    names: Sequence[str],
    units: Collection[str],
) -> tuple[Report, float]:
    """Run the due units of each task once; if a task cannot be opened, the others still run.

    A unit is a step such as "ask", "poll" batches or build the "index"; see `due_units`. It is
    due if the database shows that it has something to do now. Errors of askrows (AskrowsError)
    are not raised: they are in the report.

    Args:
        open_workspace: Opens the workspace for a task.
        names: Names of the tasks.
        units: Run only these units.

    Returns:
        The report, with what was done and all errors, and the seconds until the next of these units
        is due, at most MAX_PASS_PAUSE_S. A task of which a unit failed is left out of these
        seconds, so that the failed unit is not repeated at once.
    """
    document: dict[str, Any] = {"did": [], "failures": [], "tasks": {}, "next": []}
    lines = list[str]()
    failures = list[AskrowsError]()
    pause_s = MAX_PASS_PAUSE_S
    for name in names:
        try:
            with open_workspace(name) as ws:
                work_pass = run_due_units(ws, units)
                due_units = list(list_due_units(work_pass.ws))
                work_pass.describe_waits()
                document["workspace_id"] = ws.store.query(workspace.get_workspace).workspace_id
        except AskrowsError as error:
            failures.append(error)
            continue

        phrases = describe_pass(work_pass)
        if phrases:
            line = "; ".join(phrases)
            lines.append(f"{name}: {line}" if len(names) > 1 else line)
        failures += work_pass.failures
        document["did"] += work_pass.phrases
        document["tasks"][name] = work_pass.figures
        for due_unit in due_units:
            document["next"].append({**due_unit.json_members, "in_s": round(due_unit.in_s, 1)})
            # After a failure the next pass waits as long as possible.
            if due_unit.unit in units and not work_pass.failures:
                pause_s = min(pause_s, due_unit.in_s)
    document["failures"] = [error.message for error in failures]
    return Report(document, "; ".join(lines), errors=failures), pause_s


def describe_pass(work_pass: WorkPass) -> list[str]:
    """Return the phrases about what a pass did, and the reasons why rows or batches wait.

    The list is empty only if nothing was done and nothing waits.
    """
    figures = work_pass.figures
    phrases = list(work_pass.phrases)
    stop_reason = figures.get("out_of_money") or figures.get("no_pilot") or figures.get("outage")
    if stop_reason:
        phrases.append(f"{figures['left']:,} not asked: {stop_reason}")
    rows_without_room = figures.get("no_room")
    if rows_without_room:
        phrases.append(f"{rows_without_room:,} wait until the API accepts more")
    phrases += figures.get("slow", ())
    return phrases


def repeat_passes(
    open_workspace: WorkspaceOpener,
    names: Sequence[str],
    units: Collection[str],
    on_report: Callable[[Report], object],
) -> NoReturn:
    """Run passes until an error of the account, each at the time at which the next unit is due.

    The pause is MIN_PASS_PAUSE_S to MAX_PASS_PAUSE_S seconds.

    Args:
        open_workspace: Opens the workspace for a task.
        names: Names of the tasks.
        units: Run only these units.
        on_report: Called with the report of each pass.

    Raises:
        AccountError: Requests failed because of the account, so that others would fail, too.
    """
    while True:
        report, pause_s = run_pass(open_workspace, names, units)
        on_report(report)
        for error in report.errors:
            if isinstance(error, AccountError):
                raise error
        time.sleep(max(MIN_PASS_PAUSE_S, pause_s))
