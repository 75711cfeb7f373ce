"""Rows to which two versions gave different answers are found."""

import json

import pytest

from askrows.pipeline.core.row_listing import RowFilter, RowListOptions
from tests.integration import reviews
from tests.lab import Workspace


@pytest.mark.full
def test_the_order_of_fields_is_no_difference(workspace: Workspace) -> None:
    """The filter of differing versions compares values, not the texts in which they are stored."""
    reviews.set_up_task(workspace).ran_each(*reviews.BY_BATCH)
    reviews.write_task_file(version=2, system="Be exact.")
    workspace.ran_each(*reviews.BY_BATCH)
    condition = "row_id = :row_id AND version LIKE 'reviews@2%'"
    for row_id, change in (("2", {}), ("3", {"stars": 5})):
        query = f"SELECT answer FROM askrows_answers WHERE {condition}"  # noqa: S608 - ours
        answer = json.loads(workspace.scalar(query, row_id=row_id))
        new_answer = json.dumps(dict(reversed((answer | change).items())))
        statement = f"UPDATE askrows_answers SET answer = :answer WHERE {condition}"  # noqa: S608
        workspace.change(statement, answer=new_answer, row_id=row_id)

    row_filter = RowFilter(differing_versions=("reviews@1", "reviews@2"))
    with workspace.open() as ws, ws.workspace.store.read() as tx:
        page = ws.task.make_grid(tx).read_page(tx, RowListOptions(10, row_filter))
    assert [row.id for row in page.rows] == ["3"]
