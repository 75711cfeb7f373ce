"""Claims: all or none of what a batch wants, each accounted for once, whatever others do meanwhile."""

from pathlib import Path

import pytest

from pipeline.core.errors import StateConflictError
from pipeline.store import claims
from pipeline.store.claims import ClaimOutcomes
from tests.delivery import prepare, put_people, workspace_at
from tests.unit.store.facts import NOW


def test_nothing_is_accounted_for_twice(tmp_path: Path) -> None:
    """A claim that has ended stays ended: what comes second is told, and nothing of theirs is kept."""
    workspace = workspace_at(tmp_path / "data")
    put_people(workspace, 3)
    prepare(workspace)
    with workspace.open() as ws:
        with ws.store.write() as tx:
            first, second, third = claims.claimed_rows(tx, 1)
            claims.end_claims(
                tx, ws.task.name, ws.extractor, 1, ClaimOutcomes([second], {}, []), now=NOW
            )
        claim_outcomes = ClaimOutcomes([], {first: "x"}, [second, third])
        with pytest.raises(StateConflictError), ws.store.write() as tx:
            claims.end_claims(tx, ws.task.name, ws.extractor, 1, claim_outcomes, now=NOW)
    rows = workspace.query("SELECT line, state FROM findable_asks ORDER BY line")
    assert rows == [(1, "claimed"), (2, "answered"), (3, "claimed")]
