"""Each claim of a batch ends exactly once."""

from pathlib import Path

import pytest

from askrows.pipeline.core.errors import StateConflictError
from askrows.pipeline.store import claims
from askrows.pipeline.store.claims import ClaimOutcomes
from tests.delivery import prepare, workspace_at
from tests.lab import put_people
from tests.unit.store.facts import NOW


def test_ended_claim_cannot_end_again(tmp_path: Path) -> None:
    """A second end of a claim raises, and none of its outcomes is stored."""
    workspace = workspace_at(tmp_path / "data")
    put_people(workspace, 3)
    prepare(workspace)
    with workspace.open() as ws:
        with ws.workspace.store.write() as tx:
            first, second, third = claims.read_claims_of_batch(tx, 1)
            claims.end_claims(
                tx, ws.task.name, ws.version, 1, ClaimOutcomes([second], {}, []), now=NOW
            )
        claim_outcomes = ClaimOutcomes([], {first: "x"}, [second, third])
        with pytest.raises(StateConflictError), ws.workspace.store.write() as tx:
            claims.end_claims(tx, ws.task.name, ws.version, 1, claim_outcomes, now=NOW)
    rows = workspace.query("SELECT line, state FROM askrows_asks ORDER BY line")
    assert rows == [(1, "claimed"), (2, "answered"), (3, "claimed")]
