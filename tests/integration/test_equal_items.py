"""An item that comes later and asks the same as an answered one takes that answer, in every subject: no call, no cost.

People never ask the same: each is named in what is asked.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests import ledger
from tests.integration import many_passages as passages
from tests.lab import Api, Workspace

COLLECT = ("batch-submit", "batch-poll", "batch-ingest")
CONCEPTS = (
    "SELECT concept_name, concept_type, aliases, confidence, evidence FROM passage_concepts WHERE passage_id = :id "
    "ORDER BY id"
)


def _put_passage(workspace: Workspace, name: str) -> None:
    path = Path("passages.jsonl")
    path.write_text(json.dumps({"id": name, "text": passages.text_of(1)}), encoding="utf-8")
    workspace.ran("import-passages", str(path))


def _put_image(workspace: Workspace, name: str) -> None:
    Path("photos").mkdir(exist_ok=True)
    Image.new("RGB", (48, 32), "navy").save(Path("photos") / f"{name}.png")
    workspace.ran("import-images", "photos")


def _questions(workspace: Workspace, **values: str) -> int:
    found: int = json.loads(workspace.ran("preflight", "--json", **values).stdout)["questions"]
    return found


@pytest.mark.sampled(2, sqlite=2)
@pytest.mark.parametrize("way", [COLLECT, ("tag-live",)], ids=["batch", "live"])
@pytest.mark.parametrize(("subject", "put"), [("passages", _put_passage), ("images", _put_image)])
def test_one_that_comes_later_takes_the_answer(
    subject: str, put: Callable[[Workspace, str], None], way: tuple[str, ...], workspace: Workspace, api: Api
) -> None:
    """One paid, and each has what was answered, for itself."""
    workspace.environ |= {"FINDABLE_TASK": subject, "FINDABLE_SKIP_PILOT": "1", "FINDABLE_YES": "1"}
    put(workspace, "first")
    workspace.ran_each(*COLLECT)
    put(workspace, "second")
    assert (_questions(workspace), _questions(workspace, ASK_EACH="1")) == (0, 1)
    workspace.ran_each(*way)
    assert (len(api.batches()), len(api.seen("POST", ":generateContent"))) == (1, 0)
    given = workspace.query("SELECT item_id, cost > 0, shares IS NULL FROM findable_answers WHERE applied ORDER BY id")
    assert [row[1:] for row in given] == [(True, True), (False, False)]
    assert ledger.findings(workspace) == []
    if subject == "passages":
        assert workspace.query(CONCEPTS, id="second") == workspace.query(CONCEPTS, id="first") != []
    else:
        workspace.ran("forget", "--item", given[0][0])
        assert workspace.query("SELECT asset_id FROM asset_ai") == [(int(given[1][0]),)]


def test_what_was_changed_since_is_asked_again(workspace: Workspace, api: Api) -> None:
    """Concepts that are not those of the answer any more are no other program's."""
    workspace.environ |= {"FINDABLE_TASK": "passages", "FINDABLE_SKIP_PILOT": "1", "FINDABLE_YES": "1"}
    _put_passage(workspace, "first")
    workspace.ran_each(*COLLECT)
    workspace.change("DELETE FROM passage_concepts WHERE id = (SELECT max(id) FROM passage_concepts)")
    _put_passage(workspace, "second")
    workspace.ran("tag-live")
    assert len(api.seen("POST", ":generateContent")) == 1
    assert passages.check(workspace)
