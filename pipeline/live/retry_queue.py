"""Who was saved while Gemini failed: asked again by whichever command asks next, and told of until it is over."""

from pipeline.cost import estimate
from pipeline.engine import questions
from pipeline.engine.workspace import OpenWorkspace
from pipeline.live import runner
from pipeline.live.questions import SelectedQuestions
from pipeline.live.write_ahead import CallLedger, Purpose
from pipeline.store import answers, erase, retries

PATIENCE_S = 60.0  # ours: where the limits leave no room for longer, who is due waits for the next time


def retry_due(ws: OpenWorkspace, *, patience_s: float) -> runner.LiveReport:
    """Ask once more about everyone who is due and can be asked; who fails again stays due, with the new reason.

    What keeps the service from answering stands in the report and is not raised; an interrupt is.
    """
    questions.free_dead_owners(ws.store, now=ws.now())
    settle_retries(ws)
    with ws.store.read() as tx:
        waiting = [one.item_id for one in retries.waiting_retries(tx, ws.task.name)]
        open_ids = ws.task.pending_among(tx, waiting)
        ids = [one for one in waiting if one in open_ids and not erase.is_claimed(tx, ws.task.name, one)]
        known = estimate.calibration(tx, ws.extractor)
    if not ids:
        return runner.LiveReport()
    account = CallLedger(ws, Purpose.ADD, None, known, ws.limits)
    report = runner.ask_live(
        ws, account, SelectedQuestions(ws, known, ids), watching=runner.NullListener(), patience_s=patience_s
    )
    failed = dict(report.samples)
    with ws.store.write() as tx:
        still = {one.item_id for one in retries.waiting_retries(tx, ws.task.name)}
        for one in still.intersection(ids):
            reason = failed.get(one) or (report.stopped.message if report.stopped else "not asked to the end")
            retries.add_retry(tx, ws.task.name, one, reason=reason, at=ws.now())
    if report.interrupted:
        raise KeyboardInterrupt
    return report


def settle_retries(ws: OpenWorkspace) -> None:
    """End what is due no more: items that were answered, parked or removed by whichever way."""
    with ws.store.read() as tx:
        waiting = [one.item_id for one in retries.waiting_retries(tx, ws.task.name)]
        if not waiting:
            return
        open_ids = ws.task.pending_among(tx, waiting)
        parked = [one for one in waiting if answers.is_parked(tx, ws.task.name, one)]
        there = set(ws.task.names(tx, waiting))
    gone = [one for one in waiting if one not in there]
    tagged = [one for one in waiting if one in there and one not in open_ids]
    with ws.store.write() as tx:
        retries.end_retries(tx, ws.task.name, {"parked": parked, "removed": gone, "tagged": tagged}, at=ws.now())
