"""Continue the limit of a `tag` that was interrupted: LIMIT= counts the rows of both commands.

- The run in `findable_runs` stores the limit until its command has ended. The batches whose rows
  count for the limit have the number of the run.
- A row counts if it is claimed, answered or parked. A row whose reply was lost is open, so it does
  not count, and the next command asks it again within the limit.
- Another process that asks about the same task at the same time has a limit of its own.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.core.command_hint import OptionHint
from pipeline.engine import claiming
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task import Task
from pipeline.store import answers, runs
from pipeline.store.database import Connection, Store


@dataclass(frozen=True)
class RowLimit:
    """How many rows a command may ask, with those that an interrupted command asked before."""

    # The limit; None means no limit.
    row_count: int | None
    # Rows that count for the limit already.
    asked_rows: int = 0
    # The run of the interrupted command whose limit is continued, or None.
    continued_run: int | None = None
    # The run stores the limit, so that the next command continues it after a kill.
    is_stored: bool = False

    @property
    def remaining_rows(self) -> int | None:
        """Return how many more rows may be asked, at least 0, or None without a limit."""
        if self.row_count is None:
            return None
        return max(0, self.row_count - self.asked_rows)

    def store(self, store: Store, run_number: int) -> int | None:
        """Store the limit in a run and return the run's number; None if it is not to be stored."""
        if not self.is_stored:
            return None
        with store.write() as tx:
            runs.update_run(tx, run_number, row_limit=self.row_count)
        return run_number


@contextlib.contextmanager
def continued_limit(ws: WorkspaceSession, limit: int | None) -> Iterator[RowLimit]:
    """Yield the limit of a command; if it continues an interrupted `tag`, that of both.

    The limit of this command replaces that of the interrupted command, and counts the rows of both.
    A continued limit is printed. For the length of the block, a lock shows other processes that the
    limit is in use.

    Args:
        ws: The workspace, whose dead runs are recovered.
        limit: The limit of this command, or None without one.

    Yields:
        The limit. It is neither continued nor stored if another process asks rows of the task.
    """
    if limit is None and _find_limited_run(ws) is None:
        yield RowLimit(None)
        return
    with ws.locks.try_lock(f"limit-{ws.task.name}") as lock:
        if lock is None:
            yield RowLimit(limit)
        else:
            yield _read_limit(ws, limit)


def end_limit(store: Store, run_number: int | None) -> None:
    """Remove the limit of a run that goes on, so that no command continues it; None is no run."""
    if run_number is not None:
        with store.write() as tx:
            runs.end_row_limit(tx, run_number)


def _find_limited_run(ws: WorkspaceSession) -> runs.TagRunRow | None:
    """Return the unfinished `tag` run of the task if it stores a limit, or None."""
    run = ws.store.query(runs.find_unfinished_run, ws.task.name, mode=runs.TAG)
    return None if run is None or run.row_limit is None else run


def _read_limit(ws: WorkspaceSession, limit: int | None) -> RowLimit:
    """Return the limit of this command; print it if that of an interrupted one is continued."""
    run = _find_limited_run(ws)
    if run is None:
        return RowLimit(limit, is_stored=limit is not None)
    with ws.store.read() as tx:
        asked_rows = _count_asked_rows(tx, ws.task, run.number)

    row_count = run.row_limit if limit is None else limit
    ws.display.say(
        f"continuing the run of {run.started_at:%Y-%m-%d %H:%M} UTC with "
        f"{OptionHint(limit=row_count)}, {asked_rows:,} asked before"
    )
    return RowLimit(row_count, asked_rows, continued_run=run.number, is_stored=True)


def _count_asked_rows(tx: Connection, task: Task, run_number: int) -> int:
    """Return how many rows count for the limit of a run: claimed, answered and parked rows."""
    row_ids = set[str]()
    for batch_number in runs.list_limited_batches(tx, run_number):
        row_ids.update(answers.list_row_ids_of_batch(tx, batch_number, claimed=True))
    return len(row_ids) - len(claiming.filter_claimable(tx, task, sorted(row_ids)))
