"""Rows to which two versions gave different answers are found."""

import json

import pytest

from pipeline.core.row_listing import RowFilter, RowListOptions
from tests.integration import reviews
from tests.lab import Workspace


@pytest.mark.full
def test_rows_with_different_values_are_found(workspace: Workspace) -> None:
    """The filter of differing versions lists the rows whose answers have different values."""
    reviews.set_up_task(workspace).ran_each(*reviews.BY_BATCH)
    reviews.write_task_file(version=2, system="Be exact.")
    workspace.ran_each(*reviews.BY_BATCH)
    condition = "item_id = '3' AND extractor LIKE 'reviews@2%'"
    answer = json.loads(workspace.scalar(f"SELECT answer FROM findable_answers WHERE {condition}"))  # noqa: S608 - ours
    statement = f"UPDATE findable_answers SET answer = :answer WHERE {condition}"  # noqa: S608
    workspace.change(statement, answer=json.dumps(answer | {"stars": 5}))

    row_filter = RowFilter(differing_versions=("reviews@1", "reviews@2"))
    with workspace.open() as ws, ws.store.read() as tx:
        page = ws.task.rows.grid(tx).read_page(tx, RowListOptions(10, row_filter))
    assert [row.id for row in page.items] == ["3"]
