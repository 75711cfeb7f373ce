"""A batch's state moves only by the table of moves, and only from the state that was read."""

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import pytest

from pipeline.core.errors import StateConflictError
from pipeline.core.files import SealedFile
from pipeline.core.states import BatchState
from pipeline.store import batches, schema
from pipeline.store.batches import BatchRow
from pipeline.store.database import Connection, Store
from tests.unit.store.facts import BATCH, NOW

Move = Callable[[Connection, BatchRow], None]
RESULT = SealedFile(Path("batches/result"), "0", 0)

MOVES: dict[BatchState, Move] = {  # a way into each state but the first
    BatchState.PREPARED: lambda tx, batch: batches.mark_refused(
        tx, batch, reason="no", outcome="refused", now=NOW
    ),
    BatchState.SUBMITTING: lambda tx, batch: batches.mark_submitting(
        tx, batch, display_name=f"n-t{batch.tries + 1}", now=NOW
    ),
    BatchState.SUBMITTED: lambda tx, batch: batches.mark_submitted(
        tx, batch, remote_name="batches/b", display_name="n-t1", outcome="created", now=NOW
    ),
    BatchState.DOWNLOADED: lambda tx, batch: batches.mark_downloaded(
        tx, batch, RESULT.path, RESULT, event_reason="succeeded", now=NOW
    ),
    BatchState.INGESTED: lambda tx, batch: batches.mark_ingested(tx, batch, now=NOW),
    BatchState.FAILED: lambda tx, batch: batches.mark_failed(tx, batch, reason="failed", now=NOW),
}
# every move that is allowed, written down here as it was decided, and not as the product has it
ALLOWED = {
    BatchState.PREPARED: {BatchState.SUBMITTING, BatchState.FAILED},
    BatchState.ASKING: {BatchState.DOWNLOADED, BatchState.INGESTED},
    BatchState.SUBMITTING: {BatchState.PREPARED, BatchState.SUBMITTING, BatchState.SUBMITTED},
    BatchState.SUBMITTED: {BatchState.DOWNLOADED, BatchState.FAILED},
    BatchState.DOWNLOADED: {BatchState.INGESTED, BatchState.FAILED},
    BatchState.INGESTED: set(),
    BatchState.FAILED: set(),
}
WAY = (BatchState.SUBMITTING, BatchState.SUBMITTED, BatchState.DOWNLOADED, BatchState.INGESTED)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A database with our tables and batch 1, prepared."""
    made = Store(f"sqlite:///{tmp_path / 'findable.db'}")
    with made.write() as tx:
        schema.metadata.create_all(tx)
        batches.add_batch(tx, now=NOW, number=1, **BATCH)
    yield made
    made.close()


def read(store: Store) -> BatchRow:
    """Return batch 1 as it stands."""
    with store.read() as tx:
        return batches.get_batch(tx, 1)


def move(store: Store, batch: BatchRow, batch_state: BatchState) -> None:
    """Move a batch as it was read."""
    with store.write() as tx:
        MOVES[batch_state](tx, batch)


def bring(store: Store, state: BatchState) -> BatchRow:
    """Bring batch 1 to a state and return it."""
    if state is BatchState.ASKING:
        with store.write() as tx:
            tx.exec_driver_sql("UPDATE findable_batches SET way = 'live', state = 'asking'")
    steps = WAY[: WAY.index(state) + 1] if state in WAY else (state,)[: state is BatchState.FAILED]
    for step in steps:
        move(store, read(store), step)
    return read(store)


@pytest.mark.parametrize(
    ("old", "new"), [(old, new) for old, new in product(BatchState, BatchState) if new in MOVES]
)
def test_only_what_is_allowed_is_possible(old: BatchState, new: BatchState, store: Store) -> None:
    """Every move that is allowed is made and written to the journal; every other one raises and changes nothing."""
    batch = bring(store, old)
    if new in ALLOWED[old]:
        move(store, batch, new)
        assert read(store).state is new
        with store.read() as tx:
            found = tx.exec_driver_sql(
                "SELECT old, new FROM findable_events ORDER BY id DESC"
            ).first()
        assert tuple(found or ()) == (old.value, new.value)
    else:
        with pytest.raises(ValueError, match="not a move"):
            move(store, batch, new)
        assert read(store) == batch


@pytest.mark.parametrize(
    ("old", "new"), [(old, new) for old in BatchState for new in sorted(ALLOWED[old])]
)
def test_of_two_that_read_the_same_row_one_moves_it(
    old: BatchState, new: BatchState, store: Store
) -> None:
    """The second one finds another state, or another try, and is told; the row stays as the first one left it."""
    seen_by_both = bring(store, old)
    move(store, seen_by_both, new)
    after = read(store)
    with pytest.raises(StateConflictError) as caught:
        move(store, seen_by_both, new)
    assert caught.value.exit_code == 5
    assert read(store) == after


def test_a_cancel_of_what_is_home_is_a_conflict(store: Store) -> None:
    """Of a batch that another process brought home meanwhile no cancel is noted."""
    batch = bring(store, BatchState.SUBMITTED)
    move(store, batch, BatchState.DOWNLOADED)
    with pytest.raises(StateConflictError), store.write() as tx:
        batches.record_cancel_request(tx, batch, reason="by hand", now=NOW)
    assert read(store).cancel_asked_at is None


def test_an_end_seen_late_says_nothing_of_the_next_try(store: Store) -> None:
    """A process that stood still during one try does not overwrite when the next one's call ended."""
    first = bring(store, BatchState.SUBMITTING)
    move(store, first, BatchState.SUBMITTING)
    second = read(store)
    with store.write() as tx:
        batches.record_unclear_create(tx, first, reason="no answer", now=NOW)
    assert read(store) == second
    assert second.create_ended_at is None
