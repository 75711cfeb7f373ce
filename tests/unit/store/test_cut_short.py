"""How often answers were cut by the token limit, of which items their tasks may give any id."""

from datetime import UTC, datetime

import pytest

from pipeline.store import database
from pipeline.store.cut_short import count_cut_short
from pipeline.store.tables import attempts
from tests.lab import Workspace

CUT, OTHER, FORGIVEN = ("max-tokens", False), ("safety", False), ("max-tokens", True)
KEPT = {"one": [CUT, OTHER, CUT], "it's": [CUT, FORGIVEN], "other": [OTHER]}
ODD = r"n\u0000l"  # as JSON it looks as if it held what would end a text in SQLite


@pytest.mark.parametrize("odd", ["", ODD])
def test_what_was_cut_is_counted_by_item(workspace: Workspace, odd: str) -> None:
    """Neither what failed otherwise nor what was forgiven counts, nor what was cut of another task or item."""
    rows = [(item, reason, forgiven) for item, kept in KEPT.items() for reason, forgiven in kept]
    same = {"at": datetime(2026, 11, 20, tzinfo=UTC), "charged": True, "outcome": "invalid"}
    with workspace.open() as ws, ws.store.write() as tx:
        for task in ("mine", "another"):
            database.insert_rows(tx, attempts, ("item_id", "reason", "forgiven"), rows, same={**same, "task": task})
        found = count_cut_short(tx, "mine", ["one", "it's", "other", *filter(None, [odd]), "none"])
        assert found == {"one": 2, "it's": 1}
        assert count_cut_short(tx, "mine", ["other"]) == {}
