"""Put results into the database: downloaded -> ingested, every request accounted for exactly once.

Where there is much to ingest a second process begins. It takes the newest batches while this one takes the oldest, and
when no batch is free the one takes part in what the other is at.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from pipeline.batch.account import IngestSummary
from pipeline.batch.ingest_batch import begin_ingest
from pipeline.batch.uploads import release_images
from pipeline.core.errors import FindableError
from pipeline.core.progress import NoProgress
from pipeline.core.second_process import Told, can_begin, second_process
from pipeline.core.settings import Settings
from pipeline.core.states import BatchState
from pipeline.engine.access import Access
from pipeline.engine.workspace import OpenWorkspace, open_workspace
from pipeline.store import batches
from pipeline.store.batches import Batch
from pipeline.store.leases import Lease, read_again, this_owner

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from pipeline.core.task import Task
    from pipeline.store.database import Store


SECOND_FROM = 16 << 20  # bytes of results that are worth starting a process for
MAX_LOST = 3  # times that another process went on with one batch while this one stood still


class _Part(NamedTuple):
    """How many lines of requests, from the end of a batch, a process has done that has not its lease."""

    batch: int
    lines: int


_Said = str | IngestSummary | _Part  # by a second process: the owner of its leases, then what it ingested


def run(ws: OpenWorkspace, *, done: Callable[[IngestSummary], None] = lambda _: None) -> list[IngestSummary]:
    """Ingest every downloaded batch, oldest first, and call `done` after each; nothing to ingest is an empty list.

    A batch that cannot be ingested does not keep the others from it: its error is raised when they are done.

    Raises:
        InconsistentError: a sealed result was changed, or requests cannot be accounted for; that batch is as it was.
        ConfigurationError: the table of models does not hold the model of a batch any more.
    """
    summaries: list[IngestSummary] = []
    failures: dict[int, FindableError] = {}

    def ingested(summary: IngestSummary) -> None:
        """Keep a summary, and hand it on."""
        summaries.append(summary)
        done(summary)

    def ingest_each(*, waits: bool) -> None:
        """Ingest what is downloaded and did not fail here; what another process is at only where this one waits."""
        for number in (batch.number for batch in _downloaded(ws.store, ws.task)):
            if number in failures:
                continue
            try:
                summary = read_again(partial(this.ingest, number, waits=waits), times=MAX_LOST)
            except FindableError as error:
                failures[number] = error
                continue
            if summary is not None:
                ingested(summary)

    with _second_process(ws.settings, _downloaded(ws.store, ws.task)) as second:
        this = _Process(ws, second)
        ingest_each(waits=False)
        others = this.rest()
    for summary in others:
        ingested(summary)
    ingest_each(waits=True)
    release_images(ws, held=False)
    errors = list(failures.values())
    for other in errors[:-1]:
        ws.display.warn(other.message)
    if errors:
        raise errors[-1]
    return summaries


def _downloaded(store: "Store", task: "Task") -> list[Batch]:
    """Return the downloaded batches of the task, oldest first."""
    with store.read() as tx:
        return batches.batches_in_states(tx, BatchState.DOWNLOADED, task=task.name)


def _second_process(settings: Settings, waiting: Sequence[Batch]) -> "AbstractContextManager[Told[_Said]]":
    """Give what a second process tells that ingests where that is worth its start, for the length of a block."""
    if sum(batch.result_size or 0 for batch in waiting) < SECOND_FROM or not can_begin():
        return contextlib.nullcontext(Told())
    return second_process(_newest_first, settings, [batch.number for batch in reversed(waiting)], this_owner())


def _newest_first(settings: Settings, numbers: Sequence[int], first: str) -> Iterator[_Said]:
    """Ingest, in a second process, the batches that no other one is at; what fails is left to the `first` process.

    It says who it is, then what it ingested; when no batch is free it takes part in the one the first process is at.
    """
    with open_workspace(settings, NoProgress(), access=Access.WRITE) as ws:
        yield this_owner()
        this = _Process(ws, Told())
        for number in numbers:
            with contextlib.suppress(FindableError):
                if (summary := this.ingest(number, waits=False)) is not None:
                    yield summary
        yield from this.take_part(first)


class _Process(NamedTuple):
    """One of the processes of this command: what it works on, and what the other one tells it."""

    ws: OpenWorkspace
    other: Told[_Said]

    def ingest(self, number: int, *, waits: bool) -> IngestSummary | None:
        """Ingest one batch; None where another process was first, or, unless this one `waits`, is at it."""
        name, ws = f"batch:{number}", self.ws
        says = f"another process ingests batch {number}; waiting"
        with ws.waited_lease(name, waiting=says) if waits else ws.lease(name) as lease:
            work = begin_ingest(ws, number, lease) if lease is not None else None
            return work.run(partial(self._lines_beside, number)) if work is not None else None

    def take_part(self, owner: str) -> Iterator[_Part]:
        """Do a part, from its end, of the batch that the other process is at, under that one's lease."""
        for number in (batch.number for batch in _downloaded(self.ws.store, self.ws.task)):
            lease = Lease(self.ws.store, f"batch:{number}", self.ws.settings.lease, owner)
            with contextlib.suppress(FindableError):  # it is the other one's to tell
                lease.check()
                if (work := begin_ingest(self.ws, number, lease)) is not None:
                    for lines in work.run_from_end():
                        yield _Part(number, lines)

    def rest(self) -> list[IngestSummary]:
        """Return what the other process ingested; this one takes part in the rest of it, and waits."""
        with self.ws.display.bar("ending with the second process", None, late=True):
            for owner in [one for one in self.other.so_far if isinstance(one, str)]:
                list(self.take_part(owner))
            return [one for one in self.other.ended() if isinstance(one, IngestSummary)]

    def _lines_beside(self, number: int) -> int:
        """Return how many lines of a batch the other process has done."""
        parts = (one.lines for one in reversed(self.other.so_far) if isinstance(one, _Part) and one.batch == number)
        return next(parts, 0)
