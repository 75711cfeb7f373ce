"""Ask again about items that were asked alone in vain: by a command that comes later, or beside a page that goes on.

What is due is not kept: it is an open row whose last attempt was made alone, or that was noted as not asked yet. Two
threads, or processes, never ask about one item at once: its claim is an INSERT.
"""

import contextlib
import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from pipeline.batch import ask, ingest
from pipeline.batch.ask import LiveReport
from pipeline.batch.prepare import Preparation, Prepared, Selection
from pipeline.core.errors import FindableError, StateConflictError
from pipeline.core.progress import NoProgress
from pipeline.core.states import Way
from pipeline.engine.workspace import OpenWorkspace
from pipeline.store import asks

THREADS = 8  # calls about new items under way at once; each may hang for as long as a call may take
EVERY_S = 60.0  # between two looks at what is due
PATIENCE_S = 60.0  # ours: where the limits leave no room for longer, what is due waits for the next command

Opened = Callable[[], contextlib.AbstractContextManager[OpenWorkspace]]


def ask_alone(
    ws: OpenWorkspace,
    ids: Sequence[str],
    *,
    way: Way = Way.LIVE,
    patience_s: float = PATIENCE_S,
    deadline_s: float = math.inf,
) -> LiveReport:
    """Ask about some items in one batch by itself, those that can be asked; only an interrupt is raised."""
    ws.client  # noqa: B018 - a missing key or an engine that cannot start is said before anything is claimed
    with contextlib.suppress(StateConflictError):
        made = Preparation(ws, Selection(among=ids), NoProgress(), way=way, is_alone=True).next()
        if not isinstance(made, Prepared):
            return LiveReport(why_not=made.value)
        report = ask.ask_prepared(ws, made, patience_s=patience_s, deadline_s=deadline_s)
        if report.interrupted:
            raise KeyboardInterrupt
        return report
    return LiveReport()


def retry_due(ws: OpenWorkspace) -> LiveReport:
    """Ask once more about every item that is due; one that fails again stays due, with its new reason."""
    ingest.end_dead(ws)
    with ws.store.read() as tx:
        waiting = asks.due_ids(tx, ws.task)
    return ask_alone(ws, waiting) if waiting else LiveReport()


class DueTagger:
    """Threads that ask about due items of the task of a workspace, from `start` to `stop`."""

    def __init__(self, opened: Opened) -> None:
        """Take what opens the workspace to be written; nothing is begun yet."""
        self._opened = opened
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="due")
        self._over = threading.Event()
        self.asking: set[threading.Thread] = set()  # each with the workspace open

    def start(self) -> None:
        """Look at what is due, at once and then again and again."""
        threading.Thread(target=self._look_again, name="due-rounds", daemon=True).start()

    def ask(self, item_id: str) -> Future[None]:
        """Ask about one due item as soon as a thread is free, but for after `stop`; what became of it is stored."""
        if self._over.is_set():
            done: Future[None] = Future()
            done.set_result(None)
            return done
        return self._pool.submit(self._asked, lambda ws: ask_alone(ws, [item_id]))

    def look(self) -> None:
        """Ask about all that is due and claimed by nobody, and wait for what comes of it."""
        self._asked(retry_due)

    def stop(self) -> None:
        """Begin nothing more."""
        self._over.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _look_again(self) -> None:
        while not self._over.is_set():
            self.look()
            self._over.wait(EVERY_S)

    def _asked(self, do: Callable[[OpenWorkspace], object]) -> None:
        thread = threading.current_thread()
        self.asking.add(thread)
        kept_quiet = contextlib.suppress(FindableError, KeyboardInterrupt)  # why stands in the database
        try:
            with kept_quiet, self._opened() as ws:
                do(ws)
        finally:
            self.asking.discard(thread)
