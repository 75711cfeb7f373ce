"""Count what a task has left: batches in some states, items that can be asked, items that are parked."""

from typing import NamedTuple

from pipeline.core.states import BatchState
from pipeline.core.task import Task
from pipeline.store import batches, claims, statistics
from pipeline.store.batches import Batch
from pipeline.store.database import Store

AT_API = (BatchState.SUBMITTING, BatchState.SUBMITTED)


class Backlog(NamedTuple):
    """The backlog of one task, read anew at each call."""

    store: Store
    task: Task

    def batches(self, *states: BatchState) -> list[Batch]:
        """Return the batches in these states, oldest first; without states, all."""
        with self.store.read() as tx:
            return batches.batches_in_states(tx, *states, task=self.task.name)

    def askable(self) -> int:
        """Return how many items can be asked."""
        with self.store.read() as tx:
            return claims.count_askable(tx, self.task)

    def under_way(self, *states: BatchState) -> int:
        """Return how many items the batches in these states are about."""
        numbers = [one.number for one in self.batches(*states)]
        with self.store.read() as tx:
            return claims.count_items(tx, numbers)

    def parked(self) -> int:
        """Return how many items are parked, without those whose answers are text of another program."""
        with self.store.read() as tx:
            return statistics.count_parked(tx, self.task.name)
