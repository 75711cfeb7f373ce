"""Claims at scale: what asks for open claims goes through their index and not through every request there ever was."""

from pathlib import Path

import pytest

from pipeline.core.errors import StateConflictError
from pipeline.core.states import Outcome
from pipeline.store import batches, claims
from tests.delivery import prepare, put_people, workspace_at
from tests.unit.store.facts import BATCH, NOW


def test_nothing_is_accounted_for_twice(tmp_path: Path) -> None:
    """A request that has an outcome keeps it: what comes second is told, and nothing of theirs is kept."""
    workspace = workspace_at(tmp_path / "data")
    put_people(workspace, 3)
    prepare(workspace)
    with workspace.open() as ws:
        with ws.store.write() as tx:
            first, second, third = claims.request_page(tx, 1, after=None, limit=10)
            claims.record_outcomes(tx, [(second, Outcome.ANSWERED, "ok")])
        late = [(first, Outcome.MISSING, "x"), (second, Outcome.MISSING, "x"), (third, Outcome.MISSING, "x")]
        with pytest.raises(StateConflictError), ws.store.write() as tx:
            claims.record_outcomes(tx, late)
    rows = workspace.query("SELECT line, outcome, open FROM findable_requests ORDER BY line")
    assert rows == [(1, None, 1), (2, "answered", 0), (3, None, 1)]


def test_an_item_that_was_answered_since_it_was_read_is_not_claimed(tmp_path: Path) -> None:
    """All that a batch wants are claimed or none: an answer that came meanwhile takes the whole transaction back."""
    workspace = workspace_at(tmp_path / "data")
    put_people(workspace, 2)
    with workspace.open() as ws:
        with ws.store.write() as tx:
            batches.add_batch(tx, at=NOW, number=1, **BATCH | {"task": ws.task.name})
            found = tx.execute(claims.askable(tx, ws.task)).scalars()
            rows = [(one, line, "hash", None) for line, one in enumerate(found, 1)]
            tx.exec_driver_sql("UPDATE experts SET tags = '[\"bees\"]' WHERE id = 2")
        with pytest.raises(StateConflictError), ws.store.write() as tx:
            claims.take_claims(tx, ws.task, rows, batch=1, at=NOW)
        with ws.store.write() as tx:
            claims.take_claims(tx, ws.task, rows[:1], batch=1, at=NOW)
    assert workspace.query("SELECT item_id FROM findable_requests") == [("1",)]
