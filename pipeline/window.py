"""The window of batches: how many prompt tokens may wait at the API at once.

What does not fit goes out when earlier batches are over. The API refuses what passes its quota, and nothing is lost by
that; but a file that is written, uploaded and refused is work for nothing.
"""

from typing import TYPE_CHECKING

from pipeline.states import BatchState
from pipeline.store import batches

if TYPE_CHECKING:
    from pipeline.runtime import Runtime
    from pipeline.store.database import Connection

WAITING = (BatchState.PREPARED, BatchState.SUBMITTING, BatchState.SUBMITTED)  # at the API, or about to be


def room(rt: "Runtime", tx: "Connection") -> int | None:
    """Return how many more estimated prompt tokens may be put into a batch now, at least 0.

    None where no limit is known, and where nothing of this model waits: the first batch always goes, whatever its size.
    """
    most = rt.model.enqueued(rt.settings.tier)
    if most is None:
        return None
    waiting = batches.load(tx, *WAITING, model=rt.model.name)
    return max(0, most - waiting.tokens) if waiting.of_model else None
