"""`compare` puts two versions, models or files of a task side by side, and stores no answer."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.integration import reviews
from tests.lab import Api, Workspace

COUNTS = "SELECT (SELECT count(*) FROM findable_answers), (SELECT count(*) FROM findable_calls)"


@pytest.fixture(name="two")
def _two(workspace: Workspace) -> Workspace:
    """A workspace whose reviews were answered under two versions, one of which has other stars in one row."""
    reviews.put(workspace).ran_each(*reviews.BY_BATCH)
    reviews.declare(version=2, system="Be exact.")
    workspace.ran_each(*reviews.BY_BATCH)
    (given,) = workspace.query(
        "SELECT answer FROM findable_answers WHERE item_id = '3' AND extractor LIKE 'reviews@2%'"
    )[0]
    changed = json.dumps({**json.loads(given), "stars": 5, "praise": ["a|b <i>*none*</i>"]})
    workspace.change(
        "UPDATE findable_answers SET answer = :changed WHERE item_id = '3' AND extractor LIKE 'reviews@2%'",
        changed=changed,
    )
    return workspace


def compared(workspace: Workspace, *words: str, **values: str) -> Any:
    """Compare two sides, and return the document."""
    return json.loads(workspace.ran("compare", *words, "--json", **values).stdout)


def test_two_versions_are_compared_as_they_are_stored(two: Workspace, api: Api) -> None:
    """Nothing is asked, also where the file is gone; shares by field, what differs is marked, texts are escaped."""
    Path("tasks", "reviews.py").unlink()
    before, calls = two.query(COUNTS), len(api.journal())
    found = compared(two, "1", "2")
    assert (two.query(COUNTS), len(api.journal()), found["asked"]) == (before, calls, 0)
    shares = {name: one["share"] for name, one in found["agreement"].items()}
    assert (shares["stars"], shares["quote"]) == (0.75, 1.0)
    assert [(one["id"], one["differs"]) for one in found["items"] if one["differs"]] == [("3", ["praise[]", "stars"])]
    assert all(one["a"]["is_stored"] and one["a"]["tokens_in"] > 0 for one in found["items"])
    two.ran("compare", "1", "2", "--to", "both.md")
    said = Path("both.md").read_text(encoding="utf-8")
    assert re.search(r"\| stars \| \*\*\S?3\S?\*\* \| \*\*\S?5\S?\*\* \| ≠ \|", said)
    assert "a&#124;b &lt;i&gt;" in said
    assert "4 answered by both, 3 of them alike" in said


@pytest.mark.full
def test_a_sample_is_drawn_by_its_seed(two: Workspace) -> None:
    """The same seed draws the same items, another one others; a version without answers is named."""
    drawn = [[one["id"] for one in compared(two, "2", "1", "--n", "2", SEED=seed)["items"]] for seed in "1123456"]
    assert drawn[0] == drawn[1]
    assert len({tuple(one) for one in drawn}) > 1
    assert "reviews@7" in two.ran("compare", "1", "7", code=2).output


def test_models_and_files_are_asked_and_not_stored(two: Workspace) -> None:
    """What is stored of the same question is not asked again; what is asked is paid for, within every limit."""
    other = reviews.declare(version=2, system="Be kind.", name="others")
    reviews.declare(version=2, system="Be exact.")
    answers, calls = two.query(COUNTS)[0]
    model = two.scalar("SELECT model FROM findable_batches LIMIT 1")
    found = compared(two, model, "gemini-2.5-pro", "--n", "3")
    assert [one["a"]["is_stored"] for one in found["items"]] == [True] * 3
    assert [one["b"]["is_stored"] for one in found["items"]] == [False] * 3
    assert found["asked"] == 3
    assert two.query(COUNTS) == [(answers, calls + 3)]
    paid = two.scalar("SELECT sum(cost) FROM findable_calls WHERE purpose = 'probe' AND model = 'gemini-2.5-pro'")
    assert found["cost"] == pytest.approx(paid)
    assert paid > 0
    assert compared(two, str(other), "1", "--n", "2")["asked"] == 2
    refused = two.ran("compare", model, str(other), CONFIRM_ABOVE="0", code=2)
    assert "not confirmed; nothing was asked" in refused.output
    assert two.query(COUNTS) == [(answers, calls + 5)]
    stopped = two.ran("compare", "gemini-2.5-pro", "1", BUDGET_PER_DAY="0.0000001", code=3)
    assert "not asked" in stopped.stdout
