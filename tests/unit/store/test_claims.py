"""Claims at scale: what asks for open claims goes through their index and not through every request there ever was."""

from pathlib import Path

import pytest
from sqlalchemy import Select, text
from sqlalchemy.dialects import sqlite

from pipeline.errors import StateConflictError
from pipeline.experts.tags import TagsTask
from pipeline.states import Outcome
from pipeline.store import claims
from tests.delivery import prepare, put_people, workspace_at


@pytest.mark.sqlite_only("asks SQLite for its plan")
@pytest.mark.parametrize("query", [claims.askable(TagsTask()), claims.claimed_ids("expert-tags")])
def test_open_claims_are_found_by_their_index(tmp_path: Path, query: Select[tuple[str]]) -> None:
    """SQLite takes a partial index only where its condition stands in the query word for word."""
    workspace = workspace_at(tmp_path / "data")
    put_people(workspace, 1)
    sql = query.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})
    with workspace.open() as rt, rt.store.read() as tx:
        plan = " ".join(row[-1] for row in tx.execute(text(f"EXPLAIN QUERY PLAN {sql}")))
    assert "findable_claims" in plan
    assert "SCAN findable_requests" not in plan.replace("SCAN findable_requests USING", "")


def test_nothing_is_accounted_for_twice(tmp_path: Path) -> None:
    """A request that has an outcome keeps it: whoever comes second is told, and nothing of theirs is kept."""
    workspace = workspace_at(tmp_path / "data")
    put_people(workspace, 3)
    prepare(workspace)
    with workspace.open() as rt:
        with rt.store.write() as tx:
            first, second, third = claims.page(tx, 1, after=0, limit=10)
            claims.account(tx, [(second, Outcome.ANSWERED, "ok")])
        late = [(first, Outcome.MISSING, "x"), (second, Outcome.MISSING, "x"), (third, Outcome.MISSING, "x")]
        with pytest.raises(StateConflictError), rt.store.write() as tx:
            claims.account(tx, late)
    rows = workspace.query("SELECT line, outcome, open FROM findable_requests ORDER BY line")
    assert rows == [(1, None, 1), (2, "answered", 0), (3, None, 1)]
