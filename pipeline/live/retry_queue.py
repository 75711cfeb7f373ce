"""Items saved while Gemini failed: the next command that asks tries them again and reports what became of them."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from pipeline.core.errors import FindableError
from pipeline.engine import questions
from pipeline.engine.questions import RequestBuilder
from pipeline.engine.workspace import OpenWorkspace
from pipeline.live.questions import SelectedQuestions
from pipeline.live.runner import LiveReport, ask_live
from pipeline.live.write_ahead import CallLedger, Purpose
from pipeline.store import answers, claims

if TYPE_CHECKING:
    from pipeline.core.task import Task
    from pipeline.store.database import Store


PATIENCE_S = 60.0  # ours: where the limits leave no room for longer, what is due waits for the next command


def retry_due(ws: OpenWorkspace, *, patience_s: float, chosen: Callable[[list[str]], list[str]] = list) -> LiveReport:
    """Ask once more about every item that is due and can be asked; one that fails again stays due, with its new reason.

    Of their ids only those that `chosen` returns are asked about. What keeps the service from answering stands in the
    report and is not raised; an interrupt is.
    """
    questions.free_dead_owners(ws.store, now=ws.now())
    settle_retries(ws.store, ws.task, at=ws.now())
    with ws.store.read() as tx:
        waiting = answers.due_ids(tx, ws.task.name)
    return ask_due(ws, chosen(waiting), patience_s=patience_s)


def ask_due(ws: OpenWorkspace, ids: list[str], *, patience_s: float) -> LiveReport:
    """Ask about some items that are due, as `retry_due` does; those that cannot be asked now are passed over."""
    task = ws.task
    with ws.store.read() as tx:
        open_ids = task.pending_among(tx, ids)
        ids = [one for one in ids if one in open_ids and not claims.is_any_claimed(tx, task.name, [one])]
    if not ids:
        return LiveReport()
    note = partial(_note_failed, ws.store, task.name, ids, at=ws.now())
    try:
        ledger = CallLedger.calibrated(ws, Purpose.ADD)
        source = SelectedQuestions(RequestBuilder(task, ws.model, asks_each=ws.settings.ask_each), ids)
        report = ask_live(ledger, source, patience_s=patience_s)
    except FindableError as error:
        note({}, otherwise=error.message)
        raise
    note(dict(report.samples), otherwise=report.stopped.message if report.stopped else "not asked to the end")
    if report.interrupted:
        raise KeyboardInterrupt
    return report


def _note_failed(
    store: "Store", task_name: str, ids: list[str], reasons: dict[str, str], *, otherwise: str, at: datetime
) -> None:
    with store.write() as tx:
        for one in set(answers.due_ids(tx, task_name)).intersection(ids):
            answers.add_retry(tx, task_name, one, reason=reasons.get(one) or otherwise, at=at)


def settle_retries(store: "Store", task: "Task", *, at: datetime) -> None:
    """End what is due no more: items that were answered, parked or removed in any way."""
    with store.read() as tx:
        waiting = answers.due_ids(tx, task.name)
        if not waiting:
            return
        open_ids = task.pending_among(tx, waiting)
        parked = [one for one in waiting if answers.is_parked(tx, task.name, one)]
        there = set(task.names(tx, waiting))
    removed = [one for one in waiting if one not in there]
    tagged = [one for one in waiting if one in there and one not in open_ids]
    with store.write() as tx:
        answers.end_retries(tx, task.name, {"parked": parked, "removed": removed, "tagged": tagged}, at=at)
