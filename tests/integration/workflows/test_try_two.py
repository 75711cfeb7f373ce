"""`try A= B=` puts two versions, models or files of a task side by side, and stores no answer."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration import reviews
from tests.lab import Api, Workspace

COUNTS = "SELECT (SELECT count(*) FROM findable_answers), (SELECT count(*) FROM findable_batches)"


@pytest.fixture(name="two")
def _two(workspace: Workspace) -> Workspace:
    """A workspace whose reviews were answered under two versions, one of which has other stars in one row."""
    reviews.set_up_task(workspace).ran_each(*reviews.BY_BATCH)
    reviews.write_task_file(version=2, system="Be exact.")
    workspace.ran_each(*reviews.BY_BATCH)
    mine = "item_id = '3' AND extractor LIKE 'reviews@2%'"
    (given,) = workspace.query(f"SELECT answer FROM findable_answers WHERE {mine}")[0]  # noqa: S608 - ours
    changed = json.dumps({**json.loads(given), "stars": 5})
    workspace.change(f"UPDATE findable_answers SET answer = :changed WHERE {mine}", changed=changed)  # noqa: S608
    return workspace


def tried(workspace: Workspace, a: str, b: str, *words: str, **values: str) -> Any:
    """Try two sides, and return the document."""
    return json.loads(workspace.ran("try", "--a", a, "--b", b, *words, "--json", **values).stdout)


def test_two_versions_stand_side_by_side_as_they_are_stored(two: Workspace, api: Api) -> None:
    """Nothing is asked, also where the file is gone; what differs is marked; the same seed draws the same items."""
    drawn = [
        [one["id"] for one in tried(two, "2", "1", "--n", "2", SEED=seed)["items"]]
        for seed in "1123456"
    ]
    assert drawn[0] == drawn[1]
    assert len({tuple(one) for one in drawn}) > 1
    Path("tasks", "reviews.py").unlink()
    before = two.query(COUNTS)
    calls = len(api.journal())
    found = tried(two, "1", "2")
    assert (two.query(COUNTS), len(api.journal()), found["cost"]) == (before, calls, 0)
    assert [one["id"] for one in found["items"] if one["a"] != one["b"]] == ["3"]
    stdout = two.ran("try", "--a", "1", "--b", "2").stdout
    assert stdout.count(" ≠") == 1
    assert "3 of 4 alike" in stdout
    assert "reviews@7" in two.ran("try", "--a", "1", "--b", "7", code=2).output
    assert "two ways" in two.ran("try", "--a", "1", code=2).output
