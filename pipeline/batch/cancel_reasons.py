"""The reasons of batches that were cancelled, and what a cancel leaves of them."""

from pipeline.store.batches import BatchRow

# Beginnings of the reason of a batch that a person cancelled.
CANCELLED_BY_USER = "cancelled by hand"
CANCELLED_BEFORE_SENT = "cancelled before it was sent"
# Beginning of the reason of a submitted batch that is cancelled because its rows are moved.
MOVED_REASON = "cancelled to ask its rows by "
CANCEL_REASONS = (CANCELLED_BY_USER, CANCELLED_BEFORE_SENT, MOVED_REASON)


def is_given_up(batch: BatchRow) -> bool:
    """Return whether a person cancelled a submitted batch and does not wait for its result.

    False if the batch is cancelled to move its rows: then a result must not be lost.
    """
    is_moved = (batch.reason or "").startswith(MOVED_REASON)
    return batch.cancel_asked_at is not None and not is_moved
