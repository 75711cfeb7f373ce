"""Claims at scale: what asks for open claims goes through their index and not through every request there ever was."""

from pathlib import Path

import pytest
from sqlalchemy import Select, text
from sqlalchemy.dialects import sqlite

from pipeline.experts.tags import TagsTask
from pipeline.store import claims
from tests.delivery import put_people, workspace_at


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
