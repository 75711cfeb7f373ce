"""What was seen of the API once, and what a workspace makes of it."""

from datetime import UTC, datetime

from pipeline.store.workspace import LAG, record_event
from tests.lab import Workspace


def test_a_list_that_lagged_is_waited_for_unless_its_lag_is_set(workspace: Workspace) -> None:
    """By twice the longest lag that was seen, and never for a shorter time than usual."""
    workspace.environ.pop("FINDABLE_LIST_LAG", None)
    with workspace.open() as ws:
        usual = ws.settings.list_lag
    for seen in ("50.5", "0.2"):
        with workspace.open() as ws, ws.store.write() as tx:
            record_event(tx, LAG, "verify-gemini", old=None, new=seen, why="seen", at=datetime.now(UTC))
    with workspace.open() as ws:
        assert usual < ws.settings.list_lag == 101
    workspace.environ["FINDABLE_LIST_LAG"] = "5"
    with workspace.open() as ws:
        assert ws.settings.list_lag == 5
