"""A day with what a reader does to the page: a process that serves it dies at its steps, and the same is done again."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.experts import tags
from tests import ledger
from tests.crash import homes
from tests.crash.days import SOME_OR_EVERY, Day
from tests.crash.program import Mortal
from tests.lab import Workspace

POST = 0
EDITS = [["eve", ["by hand"], [], None], ["bob", [], ["by hand"], 1]]
DAY = Day(
    lambda home, url: homes.workspace_at(home / "data", url, RETRY_WAIT="0.01").begin(),
    ("page-post", "tag-live", "page-edit", "page-undo", "index"),
    (POST, 3),
)


def end_of(workspace: Workspace) -> dict[str, Any]:
    """Return what a day leaves: the person's tags, score and edits, and how far the index is behind."""
    with workspace.open() as ws:
        found = tags.read_tags(ws.store, "ada")
    edits = [{name: one.document()[name] for name in ("who", "added", "removed", "undoes")} for one in found.edits]
    index = ledger.status(workspace)["index"]
    return {"tags": list(found.tags), "score": found.findability_score, "edits": edits, "behind": index["behind"]}


@pytest.mark.timeout(3600)
@SOME_OR_EVERY
def test_a_day_with_the_pages_writes_dies(mortal: Mortal, tmp_path: Path, *, every: bool) -> None:
    """A post, an edit and an undo: there is one person, asked about once for an answer, and each edit once."""
    ends = {}
    for where, workspace in DAY.lived(mortal, tmp_path, every=every):
        ledger.check(workspace)
        ends[where] = end = end_of(workspace)
        assert [list(one.values()) for one in end["edits"]] == EDITS, where
        assert (end["tags"] != [], "by hand" in end["tags"], end["behind"]) == (True, False, 0), where
        assert workspace.scalar("SELECT count(*) FROM findable_answers WHERE extractor <> 'person'") == 1, where
    assert all(end == ends[where] for end in ends.values())
