"""A batch changes its state only by an allowed move from the state that was read."""

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import pytest

from askrows.pipeline.core.errors import StateConflictError
from askrows.pipeline.core.files import SealedFile
from askrows.pipeline.core.states import BatchState
from askrows.pipeline.store import batches, schema
from askrows.pipeline.store.batches import BatchRow
from askrows.pipeline.store.database import Connection, Store
from tests.unit.store.facts import BATCH, NOW

Move = Callable[[Connection, BatchRow], None]
RESULT = SealedFile(Path("batches/result"), "0", 0)

# A move into each state except the first state.
MOVES: dict[BatchState, Move] = {
    BatchState.PREPARED: lambda tx, batch: batches.record_refused(
        tx, batch, reason="no", outcome="refused", now=NOW
    ),
    BatchState.SUBMITTING: lambda tx, batch: batches.record_submitting(
        tx, batch, display_name=f"n-t{batch.tries + 1}", now=NOW
    ),
    BatchState.SUBMITTED: lambda tx, batch: batches.record_submitted(
        tx, batch, remote_name="batches/b", display_name="n-t1", outcome="created", now=NOW
    ),
    BatchState.DOWNLOADED: lambda tx, batch: batches.record_downloaded(
        tx, batch, RESULT.path, RESULT, event_reason="succeeded", now=NOW
    ),
    BatchState.INGESTED: lambda tx, batch: batches.record_ingested(tx, batch, now=NOW),
    BatchState.FAILED: lambda tx, batch: batches.record_failed(tx, batch, reason="failed", now=NOW),
}
# All allowed moves, written independently of the product.
ALLOWED = {
    BatchState.PREPARED: {BatchState.SUBMITTING, BatchState.FAILED},
    BatchState.ASKING: {BatchState.DOWNLOADED, BatchState.INGESTED},
    BatchState.SUBMITTING: {BatchState.PREPARED, BatchState.SUBMITTING, BatchState.SUBMITTED},
    BatchState.SUBMITTED: {BatchState.DOWNLOADED, BatchState.FAILED},
    BatchState.DOWNLOADED: {BatchState.INGESTED, BatchState.FAILED},
    BatchState.INGESTED: set(),
    BatchState.FAILED: set(),
}
STATES_IN_ORDER = (
    BatchState.SUBMITTING,
    BatchState.SUBMITTED,
    BatchState.DOWNLOADED,
    BatchState.INGESTED,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A database with our tables and batch 1, prepared."""
    store = Store(f"sqlite:///{tmp_path / 'askrows.db'}")
    with store.write() as tx:
        schema.metadata.create_all(tx)
        batches.insert_and_journal_batch(tx, now=NOW, number=1, **BATCH)
    yield store
    store.close()


def read_batch(store: Store) -> BatchRow:
    """Return batch 1 from the database."""
    with store.read() as tx:
        return batches.get_batch(tx, 1)


def move_batch(store: Store, batch: BatchRow, batch_state: BatchState) -> None:
    """Move a batch from the state that was read."""
    with store.write() as tx:
        MOVES[batch_state](tx, batch)


def bring_batch(store: Store, state: BatchState) -> BatchRow:
    """Bring batch 1 to a state and return it."""
    if state is BatchState.ASKING:
        with store.write() as tx:
            tx.exec_driver_sql("UPDATE askrows_batches SET mode = 'live', state = 'asking'")

    steps: tuple[BatchState, ...] = ()
    if state in STATES_IN_ORDER:
        steps = STATES_IN_ORDER[: STATES_IN_ORDER.index(state) + 1]
    elif state is BatchState.FAILED:
        steps = (state,)
    for step in steps:
        move_batch(store, read_batch(store), step)
    return read_batch(store)


@pytest.mark.parametrize(
    ("old", "new"), [(old, new) for old, new in product(BatchState, BatchState) if new in MOVES]
)
def test_only_allowed_moves_are_possible(old: BatchState, new: BatchState, store: Store) -> None:
    """Allowed moves are made and recorded; other moves raise and change nothing."""
    batch = bring_batch(store, old)
    if new in ALLOWED[old]:
        move_batch(store, batch, new)
        assert read_batch(store).state is new
        with store.read() as tx:
            event = tx.exec_driver_sql(
                "SELECT old, new FROM askrows_events ORDER BY id DESC"
            ).first()
        assert tuple(event or ()) == (old.value, new.value)
    else:
        with pytest.raises(ValueError, match="not a move"):
            move_batch(store, batch, new)
        assert read_batch(store) == batch


@pytest.mark.parametrize(
    ("old", "new"),
    [(old, new) for old, new in product(BatchState, sorted(BatchState)) if new in ALLOWED[old]],
)
def test_second_move_of_the_same_row_is_a_conflict(
    old: BatchState, new: BatchState, store: Store
) -> None:
    """The second move raises, because the state or the try changed; the row is unchanged."""
    outdated_batch = bring_batch(store, old)
    move_batch(store, outdated_batch, new)
    moved_batch = read_batch(store)
    with pytest.raises(StateConflictError) as caught:
        move_batch(store, outdated_batch, new)
    assert caught.value.exit_code == 5
    assert read_batch(store) == moved_batch


def test_cancel_of_a_downloaded_batch_is_a_conflict(store: Store) -> None:
    """A cancel is not recorded if another process downloaded the batch."""
    batch = bring_batch(store, BatchState.SUBMITTED)
    move_batch(store, batch, BatchState.DOWNLOADED)
    with pytest.raises(StateConflictError), store.write() as tx:
        batches.record_cancel_request(tx, batch, reason="by hand", now=NOW)
    assert read_batch(store).cancel_asked_at is None


def test_late_end_of_a_try_does_not_change_the_next_try(store: Store) -> None:
    """A stopped process does not overwrite the end time of a later try."""
    first_try = bring_batch(store, BatchState.SUBMITTING)
    move_batch(store, first_try, BatchState.SUBMITTING)
    second_try = read_batch(store)
    with store.write() as tx:
        batches.record_lost_create_reply(tx, first_try, reason="no answer", now=NOW)
    assert read_batch(store) == second_try
    assert second_try.create_ended_at is None
