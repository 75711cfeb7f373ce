"""Count what a task has left: batches in some states, items that can be asked, items that are parked."""

from pipeline.core.states import BatchState
from pipeline.core.task import Task
from pipeline.store import batches, claims, statistics
from pipeline.store.batches import Batch
from pipeline.store.database import Store

AT_API = (BatchState.SUBMITTING, BatchState.SUBMITTED)


def batches_in(store: Store, task: Task, *states: BatchState) -> list[Batch]:
    """Return the batches of a task in these states, oldest first."""
    with store.read() as tx:
        return batches.batches_in_states(tx, *states, task=task.name)


def count_askable(store: Store, task: Task) -> int:
    """Return how many items can be asked."""
    with store.read() as tx:
        return claims.count_askable(tx, task)


def count_parked(store: Store, task: Task) -> int:
    """Return how many items are parked, without those whose answers are text of another program."""
    with store.read() as tx:
        return statistics.count_parked(tx, task.name)
