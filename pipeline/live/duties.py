"""Who was saved while Gemini failed: asked again by whichever command asks next, and told of until it is over."""

from pipeline import estimating
from pipeline.engine import questions
from pipeline.live import asking
from pipeline.live.marking import Account, Purpose
from pipeline.live.questioning import TheseQuestions
from pipeline.runtime import Runtime
from pipeline.store import answers, due, erasing

PATIENCE_S = 60.0  # ours: where the limits leave no room for longer, who is due waits for the next time


def retry(rt: Runtime, *, patience_s: float) -> asking.Report:
    """Ask once more about everyone who is due and can be asked; who fails again stays due, with the new reason.

    What keeps the service from answering stands in the report and is not raised; an interrupt is.
    """
    questions.free_dead(rt.store, now=rt.now())
    settle(rt)
    with rt.store.read() as tx:
        waiting = [one.item_id for one in due.waiting(tx, rt.task.name)]
        open_ids = rt.task.open_among(tx, waiting)
        ids = [one for one in waiting if one in open_ids and not erasing.is_claimed(tx, rt.task.name, one)]
        known = estimating.calibration(tx, rt.extractor)
    if not ids:
        return asking.Report()
    account = Account(rt, Purpose.ADD, None, known, rt.limits)
    report = asking.ask(
        rt,
        account,
        TheseQuestions(questions.RequestBuilder(rt.task, rt.model), known, ids),
        watching=asking.Nobody(),
        patience_s=patience_s,
    )
    failed = dict(report.samples)
    with rt.store.write() as tx:
        still = {one.item_id for one in due.waiting(tx, rt.task.name)}
        for one in still.intersection(ids):
            reason = failed.get(one) or (report.stopped.message if report.stopped else "not asked to the end")
            due.add(tx, rt.task.name, one, reason=reason, at=rt.now())
    if report.interrupted:
        raise KeyboardInterrupt
    return report


def settle(rt: Runtime) -> None:
    """End what is due no more: items that were answered, parked or removed by whichever way."""
    with rt.store.read() as tx:
        waiting = [one.item_id for one in due.waiting(tx, rt.task.name)]
        if not waiting:
            return
        open_ids = rt.task.open_among(tx, waiting)
        parked = [one for one in waiting if answers.is_parked(tx, rt.task.name, one)]
        there = set(rt.task.names(tx, waiting))
    gone = [one for one in waiting if one not in there]
    tagged = [one for one in waiting if one in there and one not in open_ids]
    with rt.store.write() as tx:
        due.end(tx, rt.task.name, {"parked": parked, "removed": gone, "tagged": tagged}, at=rt.now())
