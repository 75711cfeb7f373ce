"""Rows to which two versions gave different answers are found."""

import json

import pytest

from pipeline.core.row_listing import RowFilter, RowListOptions
from tests.integration import reviews
from tests.lab import Workspace


@pytest.fixture(name="two_versions")
def _two_versions(workspace: Workspace) -> Workspace:
    """Answer the reviews under two versions, with different stars in a row."""
    reviews.set_up_task(workspace).ran_each(*reviews.BY_BATCH)
    reviews.write_task_file(version=2, system="Be exact.")
    workspace.ran_each(*reviews.BY_BATCH)
    condition = "item_id = '3' AND extractor LIKE 'reviews@2%'"
    query = f"SELECT answer FROM findable_answers WHERE {condition}"  # noqa: S608 - ours
    (answer,) = workspace.query(query)[0]
    changed = json.dumps({**json.loads(answer), "stars": 5})
    statement = f"UPDATE findable_answers SET answer = :changed WHERE {condition}"  # noqa: S608
    workspace.change(statement, changed=changed)
    return workspace


def test_the_order_of_fields_is_no_difference(two_versions: Workspace) -> None:
    """The filter of differing versions compares values, not the texts in which they are stored."""
    condition = "item_id = '2' AND extractor LIKE 'reviews@2%'"
    query = f"SELECT answer FROM findable_answers WHERE {condition}"  # noqa: S608 - ours
    (answer,) = two_versions.query(query)[0]
    reversed_answer = json.dumps(dict(reversed(json.loads(answer).items())))
    statement = f"UPDATE findable_answers SET answer = :answer WHERE {condition}"  # noqa: S608
    two_versions.change(statement, answer=reversed_answer)

    row_filter = RowFilter(differing_versions=("reviews@1", "reviews@2"))
    with two_versions.open() as ws, ws.store.read() as tx:
        page = ws.task.rows.grid(tx).read_page(tx, RowListOptions(10, row_filter))
    assert [row.id for row in page.items] == ["3"]
