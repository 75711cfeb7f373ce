"""Rows of any subject that another program's rule keeps from their answers: parked, and given them when it is gone."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests import ledger
from tests.integration import many_passages as passages
from tests.lab import ON_POSTGRESQL, Api, Workspace

COLLECT = ("batch-submit", "batch-poll", "batch-ingest")


def _put_people(workspace: Workspace) -> None:
    rows = (f"{name},I keep bees and teach water law as {name}.\n" for name in "abc")
    Path("people.csv").write_text(f"Username,Bio\n{''.join(rows)}", encoding="utf-8")
    workspace.ran("import", "people.csv")


def _put_passages(workspace: Workspace) -> None:
    lines = (json.dumps({"id": name, "text": passages.text_of(number)}) for number, name in enumerate("abc"))
    Path("passages.jsonl").write_text("\n".join(lines), encoding="utf-8")
    workspace.ran("import-passages", "passages.jsonl")


def _put_images(workspace: Workspace) -> None:
    Path("photos").mkdir()
    for name, colour in (("a", "navy"), ("b", "green"), ("c", "white")):
        Image.new("RGB", (48, 32), colour).save(Path("photos") / f"{name}.png")
    workspace.ran("import-images", "photos")


# subject -> what puts three items into a workspace; the table that a rule is for, and what the rule is about
SUBJECTS = {
    "experts": (_put_people, "experts", "UPDATE", "new.username = 'b' AND new.tags IS NOT NULL"),
    "passages": (_put_passages, "passage_concepts", "INSERT", "new.passage_id = 'b'"),
    "images": (_put_images, "asset_ai", "INSERT", "new.asset_id = 2"),
}


def _forbid(workspace: Workspace, table: str, doing: str, which: str) -> None:
    """Make a trigger that stops what is done to some rows of a table."""
    if ON_POSTGRESQL:
        stop = "BEGIN RAISE EXCEPTION 'not this one'; END"
        workspace.change(f"CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$ {stop} $$")
        workspace.change(
            f"CREATE TRIGGER loud BEFORE {doing} ON {table} FOR EACH ROW WHEN ({which}) EXECUTE FUNCTION stop()"
        )
    else:
        stop = "BEGIN SELECT RAISE(ABORT, 'not this one'); END"
        workspace.change(f"CREATE TRIGGER loud BEFORE {doing} ON {table} WHEN {which} {stop}")


@pytest.mark.sampled(2, sqlite=2)
@pytest.mark.parametrize("way", [COLLECT, ("tag-live",)], ids=["batch", "live"])
@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_row_that_is_refused_is_parked_and_paid_for_once(
    subject: str, way: tuple[str, ...], workspace: Workspace, api: Api
) -> None:
    """All others are written, and nothing waits; without the rule the row takes the answer that is kept."""
    put: Callable[[Workspace], None]
    put, *rule = SUBJECTS[subject]
    workspace.environ |= {"FINDABLE_TASK": subject, "FINDABLE_SKIP_PILOT": "1", "FINDABLE_YES": "1"}
    put(workspace)
    _forbid(workspace, *rule)
    workspace.ran_each(*way)
    answered = "SELECT count(*) FROM findable_answers WHERE applied"
    assert workspace.scalar(answered) == 2
    ((reason,),) = workspace.query("SELECT reason FROM findable_asks WHERE state = 'parked'")
    assert reason.endswith("this database refuses a row: not this one"), reason
    assert ledger.findings(workspace) == []
    sent = (len(api.batches()), len(api.seen("POST", ":generateContent")))
    workspace.change("DROP TRIGGER loud" + (f" ON {rule[0]}" if ON_POSTGRESQL else ""))
    workspace.ran("unpark", "--all")
    workspace.ran_each(*way)
    assert workspace.scalar(answered) == 3
    assert (len(api.batches()), len(api.seen("POST", ":generateContent"))) == sent
    assert ledger.findings(workspace) == []
