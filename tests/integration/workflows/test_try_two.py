"""`try A= B=` compares two versions, models or files of a task, and stores no answer."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.row_listing import RowFilter, RowListOptions
from tests.integration import reviews
from tests.lab import Api, Workspace

COUNTS = "SELECT (SELECT count(*) FROM findable_answers), (SELECT count(*) FROM findable_batches)"


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


def try_both(workspace: Workspace, a: str, b: str, *words: str, **values: str) -> Any:
    """Try two sides, and return the document."""
    return json.loads(workspace.ran("try", "--a", a, "--b", b, *words, "--json", **values).stdout)


def test_two_stored_versions_are_compared(two_versions: Workspace, api: Api) -> None:
    """No call is made, even without the file; differences are marked; a seed repeats the sample."""
    samples = []
    for seed in "1123456":
        document = try_both(two_versions, "2", "1", "--n", "2", SEED=seed)
        samples.append(tuple(item["id"] for item in document["items"]))
    assert samples[0] == samples[1]
    assert len(set(samples)) > 1

    Path("tasks", "reviews.py").unlink()
    before = two_versions.query(COUNTS)
    calls = len(api.journal())

    comparison = try_both(two_versions, "1", "2")
    assert two_versions.query(COUNTS) == before
    assert len(api.journal()) == calls
    assert comparison["cost"] == 0
    assert [item["id"] for item in comparison["items"] if item["a"] != item["b"]] == ["3"]

    stdout = two_versions.ran("try", "--a", "1", "--b", "2").stdout
    # Only the row with other stars differs.
    assert stdout.count(" ≠") == 1
    assert "3 of 4 rows equal" in stdout
    assert "reviews@7" in two_versions.ran("try", "--a", "1", "--b", "7", code=2).output
    assert "two different versions" in two_versions.ran("try", "--a", "1", code=2).output


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
