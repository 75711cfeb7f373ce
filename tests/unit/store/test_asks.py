"""Claims: all or none of what a batch wants, each accounted for once, whatever others do meanwhile."""

from pathlib import Path

import pytest

from pipeline.core.errors import StateConflictError
from pipeline.store import asks, batches
from pipeline.store.asks import Ask, Ends
from tests.delivery import prepare, put_people, workspace_at
from tests.unit.store.facts import BATCH, NOW


def test_nothing_is_accounted_for_twice(tmp_path: Path) -> None:
    """A claim that has ended stays ended: what comes second is told, and nothing of theirs is kept."""
    workspace = workspace_at(tmp_path / "data")
    put_people(workspace, 3)
    prepare(workspace)
    with workspace.open() as ws:
        with ws.store.write() as tx:
            first, second, third = asks.claimed(tx, 1)
            asks.end_claims(tx, ws.task.name, ws.extractor, 1, Ends([second], {}, []), at=NOW)
        late = Ends([], {first: "x"}, [second, third])
        with pytest.raises(StateConflictError), ws.store.write() as tx:
            asks.end_claims(tx, ws.task.name, ws.extractor, 1, late, at=NOW)
    rows = workspace.query("SELECT line, state FROM findable_asks ORDER BY line")
    assert rows == [(1, "claimed"), (2, "answered"), (3, "claimed")]


def test_an_item_that_was_answered_since_it_was_read_is_not_claimed(tmp_path: Path) -> None:
    """All that a batch wants are claimed or none: an answer that came meanwhile takes the whole transaction back."""
    workspace = workspace_at(tmp_path / "data")
    put_people(workspace, 2)
    with workspace.open() as ws:
        with ws.store.write() as tx:
            batches.add_batch(tx, at=NOW, number=1, **BATCH | {"task": ws.task.name})
            found = tx.execute(asks.askable(tx, ws.task)).scalars()
            rows = [Ask(one, f"hash {line}", line) for line, one in enumerate(found, 1)]
            tx.exec_driver_sql("UPDATE experts SET tags = '[\"bees\"]' WHERE id = 2")
        with pytest.raises(StateConflictError), ws.store.write() as tx:
            asks.claim(tx, ws.task, ws.extractor, rows, batch=1, asks_each=False, at=NOW)
        with ws.store.write() as tx:
            asks.claim(tx, ws.task, ws.extractor, rows[:1], batch=1, asks_each=False, at=NOW)
        with pytest.raises(StateConflictError), ws.store.write() as tx:  # another version waits for it
            asks.claim(tx, ws.task, "another@1/model", rows[:1], batch=1, asks_each=False, at=NOW)
    assert workspace.query("SELECT item_id FROM findable_asks") == [("1",)]
