"""Who was saved while Gemini failed: asked again by whichever command asks next, and told of until it is over."""

import contextlib
import time
from collections.abc import Callable
from threading import Thread

from pipeline import estimating
from pipeline.engine import questions
from pipeline.errors import FindableError
from pipeline.live import asking
from pipeline.live.marking import Account, Purpose
from pipeline.live.questioning import TheseQuestions
from pipeline.runtime import Runtime
from pipeline.store import answers, due, erasing

PATIENCE_S = 60.0  # ours: where the limits leave no room for longer, who is due waits for the next time
FIRST_WAIT_S = 30.0  # ours: before a background task asks again; doubles
LONGEST_WAIT_S = 3600.0


def in_background(
    opened: "Callable[[], contextlib.AbstractContextManager[Runtime]]",
    *,
    first_wait_s: float = FIRST_WAIT_S,
    sleep: Callable[[float], None] = time.sleep,
) -> Thread:
    """Start a thread that asks again and again, until nobody is due; for callers of the library.

    It opens the workspace for each try by `opened` and holds nothing while it waits. The thread is a daemon: it ends
    with the process, and whoever is due then is asked by the next command that asks.
    """

    def work() -> None:
        """Wait, ask, and wait longer."""
        wait_s, is_over = first_wait_s, False
        while not is_over:
            sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            with contextlib.suppress(FindableError), opened() as rt:  # what fails now may pass
                retry(rt, patience_s=PATIENCE_S)
                with rt.store.read() as tx:
                    is_over = not due.waiting(tx, rt.task.name)

    thread = Thread(target=work, name="findable asks again", daemon=True)
    thread.start()
    return thread


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
