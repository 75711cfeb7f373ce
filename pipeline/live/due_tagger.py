"""Ask about due items in the background of a process that goes on: one at once, all the others again and again.

What a process holds in the database is signed with the process's name, so the database does not keep two threads of
one process apart. `_ItemsInHand` does: an item is asked about by one thread at a time.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from pipeline.core.errors import FindableError
from pipeline.engine import questions
from pipeline.engine.questions import RequestBuilder
from pipeline.engine.workspace import OpenWorkspace
from pipeline.live.interrupts import interrupt_thread
from pipeline.live.questions import SelectedQuestions
from pipeline.live.runner import GRACE_S, LiveReport, ask_live
from pipeline.live.write_ahead import CallLedger, Purpose
from pipeline.store import answers, asks

if TYPE_CHECKING:
    from pipeline.engine.task import Task
    from pipeline.gemini.client import Client
    from pipeline.store.database import Store


THREADS = 8  # calls about new items under way at once; each may hang for as long as a call may take
HELD_S = 5.0  # so long an item is waited for that another thread asks about
EVERY_S = 60.0  # between two looks at what is due

Opened = Callable[[], contextlib.AbstractContextManager[OpenWorkspace]]
Take = Callable[[list[str]], list[str]]


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
        ids = [one for one in ids if one in open_ids and not asks.is_any_claimed(tx, task.name, [one])]
    if not ids:
        return LiveReport()
    note = partial(_note_failed, ws.store, task.name, ids, at=ws.now())
    try:
        ledger = CallLedger.calibrated(ws, Purpose.ADD)
        source = SelectedQuestions(RequestBuilder(task, ws.model), ids)
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
        parked = [one for one in waiting if asks.parked_reason(tx, task.name, one, own=task.own)]
        there = set(task.names(tx, waiting))
    removed = [one for one in waiting if one not in there]
    tagged = [one for one in waiting if one in there and one not in open_ids]
    with store.write() as tx:
        answers.end_retries(tx, task.name, {"parked": parked, "removed": removed, "tagged": tagged}, at=at)


class _ItemsInHand:
    def __init__(self) -> None:
        self._held: set[str] = set()
        self._freed = threading.Condition()

    @contextlib.contextmanager
    def taking(self, *, patience_s: float = 0.0) -> Iterator[Take]:
        """Give a function that takes those of some ids that are free; they are free again after the block.

        `patience_s` is how long it waits for all of them, in seconds.
        """
        mine: set[str] = set()

        def take(ids: list[str]) -> list[str]:
            with self._freed:
                self._freed.wait_for(lambda: self._held.isdisjoint(ids), timeout=patience_s)
                free = [one for one in ids if one not in self._held]
                mine.update(free)
                self._held.update(free)
            return free

        try:
            yield take
        finally:
            with self._freed:
                self._held -= mine
                self._freed.notify_all()


class DueTagger:
    """Threads that ask about due items of the task of a workspace, from `start` to `stop`."""

    def __init__(self, opened: Opened, *, every_s: float = EVERY_S) -> None:
        """Take what opens the workspace to be written; nothing is begun yet."""
        self._opened, self._every_s = opened, every_s
        self._in_hand = _ItemsInHand()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="due")
        self._over = threading.Event()
        self._asking: set[threading.Thread] = set()

    def start(self) -> None:
        """Look at what is due, at once and then again and again."""
        threading.Thread(target=self._look_again, name="due-rounds", daemon=True).start()

    def ask(self, item_id: str) -> Future[None]:
        """Ask about one due item as soon as a thread is free; what became of it stands in the database.

        After `stop` nothing is asked: the item stays due.
        """
        if self._over.is_set():
            done: Future[None] = Future()
            done.set_result(None)
            return done
        ask = lambda ws, take: ask_due(ws, take([item_id]), patience_s=PATIENCE_S)  # noqa: E731 - as a parameter
        return self._pool.submit(self._asked, ask, patience_s=HELD_S)

    def look(self) -> None:
        """Ask about all that is due and in no thread's hands, and wait for what comes of it."""
        self._asked(lambda ws, take: retry_due(ws, patience_s=PATIENCE_S, chosen=take))

    def stop(self, *, within_s: float) -> None:
        """Begin nothing more; what is under way may finish within so many seconds, the last of them in a hurry."""
        until = time.monotonic() + within_s
        self._over.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        for hurry_s in (GRACE_S + 1.0, 0.0):
            for thread in list(self._asking):
                thread.join(max(0.0, until - hurry_s - time.monotonic()))
            for thread in list(self._asking):
                interrupt_thread(thread.ident or 0)

    def _look_again(self) -> None:
        """Look again and again, each time in a thread of its own: one may wait for long for what others need not."""
        with contextlib.suppress(FindableError):
            self._make_ready()
        while not self._over.is_set():
            threading.Thread(target=self.look, name="due-look", daemon=True).start()
            self._over.wait(self._every_s)

    def _make_ready(self) -> None:
        """Load what a call needs, which takes longer than a call, before the first item waits for it."""

        async def opened(client: "Client") -> None:
            async with client.live():
                pass

        with self._opened() as ws:
            asyncio.run(opened(ws.client))

    def _asked(self, ask: Callable[[OpenWorkspace, Take], LiveReport], *, patience_s: float = 0.0) -> None:
        thread = threading.current_thread()
        self._asking.add(thread)
        kept_quiet = contextlib.suppress(FindableError, KeyboardInterrupt)  # why stands in the database
        try:
            with self._in_hand.taking(patience_s=patience_s) as take, kept_quiet, self._opened() as ws:
                ask(ws, take)
        finally:
            self._asking.discard(thread)
