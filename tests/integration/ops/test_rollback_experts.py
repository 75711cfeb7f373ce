"""Experts' tags taken back: those of one extractor alone, with score and index."""

import json
from collections.abc import Callable

import pytest

from tests import ledger
from tests.lab import Workspace, ran

People = Callable[..., list[str]]
EXTRACTOR = "expert-tags@2"
OTHER = "gemini-2.5-flash"


def rows(workspace: Workspace) -> dict[str, tuple[str | None, float]]:
    """Return tags and score of all people."""
    return {row[0]: row[1:] for row in workspace.query("SELECT username, tags, findability_score FROM experts")}


@pytest.fixture
def tagged(workspace: Workspace, people: People, begun: Callable[..., None]) -> Workspace:
    """Six people: two tagged by a batch, one live, one by another model, one who came with tags, one changed since."""

    def prepare() -> None:
        """Tag them."""
        people(6)
        workspace.change("UPDATE experts SET tags = '[\"beekeeping\"]' WHERE username = 'person-0005'")
        ran(workspace, "score")
        ran(workspace, "batch-submit", LIMIT="3")
        ran(workspace, "batch-poll")
        ran(workspace, "batch-ingest")
        ran(workspace, "tag-live", LIMIT="1")
        ran(workspace, "tag-live", MODEL=OTHER)
        workspace.change("UPDATE experts SET tags = '[\"by hand\"]' WHERE username = 'person-0002'")
        ran(workspace, "score")
        ran(workspace, "index")

    begun(prepare)
    return workspace


def test_tags_of_one_extractor_go(tagged: Workspace) -> None:
    """They become NULL and the score follows; what came with the data, was changed, or is another's stays."""
    before = rows(tagged)
    (model,) = {row[0].partition("/")[2] for row in tagged.query("SELECT DISTINCT extractor FROM findable_batches")}
    told = ran(tagged, "rollback", f"{EXTRACTOR}/{model}", "--yes")
    assert "3 rows and 4 answers" in told
    assert "make index" in told
    after = rows(tagged)
    gone = {name for name, (tags, _) in after.items() if tags is None}
    assert gone == {"person-0000", "person-0001", "person-0003"}
    assert all(after[name] == before[name] for name in after.keys() - gone)
    assert all(after[name][1] < before[name][1] for name in gone)
    status = json.loads(ran(tagged, "status", "--json"))
    assert (status["index"]["count"], status["index"]["behind"] > 0) == (6, True)
    assert tagged.run("doctor").exit_code == 0
    ran(tagged, "index")
    assert json.loads(ran(tagged, "status", "--json"))["index"]["count"] == 3
    ran(tagged, "tag-live")
    assert ledger.people(tagged) == {"total": 6, "tagged": 6}
    assert tagged.run("doctor").exit_code == 0


def test_what_was_paid_is_told_as_versions_tells_it(tagged: Workspace) -> None:
    """A few hundredths of a cent are more than nothing, also where it asks; a label goes with all its models."""
    listed = [line.split() for line in ran(tagged, "versions").splitlines() if EXTRACTOR in line]
    costs = [word for words in listed for word in words if word.startswith("$")]
    asked = tagged.run("rollback", EXTRACTOR)
    assert (asked.exit_code, len(costs)) == (2, 2)
    assert [line.split(", ")[-1] for line in asked.stderr.splitlines() if " rows of " in line] == [
        f"{cost} paid" for cost in costs
    ]
    assert "$0.00 " not in asked.stderr
    told = json.loads(tagged.run("rollback", EXTRACTOR, "--yes", "--json").stdout)
    assert (told["task"], told["rows"], told["answers"], len(told["found"])) == ("experts", 4, 5, 2)
    assert {name for name, (tags, _) in rows(tagged).items() if tags} == {"person-0002", "person-0005"}


def test_tags_that_another_extractor_gave_since_stay(tagged: Workspace) -> None:
    """Also where they are the very same."""
    tags = tagged.scalar("SELECT tags FROM experts WHERE username = 'person-0000'")
    tagged.change(
        "INSERT INTO findable_answers (task, item_id, batch, extractor, input_hash, answer, applied, outdated,"
        " model_version, response_id, tokens_in, tokens_out, cost, at) SELECT task, item_id, NULL, 'expert-tags@3/m',"
        " input_hash, answer, applied, outdated, 'm', 'r', 1, 1, 0, at FROM findable_answers ORDER BY id LIMIT 1"
    )
    first = tagged.scalar("SELECT item_id FROM findable_answers ORDER BY id LIMIT 1")
    ran(tagged, "rollback", EXTRACTOR, "--yes")
    kept = "SELECT tags FROM experts WHERE CAST(id AS TEXT) = :id"
    assert tagged.scalar(kept, id=first) == tags
    ran(tagged, "rollback", "expert-tags@3/m", "--yes")
    assert tagged.scalar(kept, id=first) is None
