"""Items are found by a part of what they are called, in any state, page by page."""

import json
from typing import Any

import pytest

from tests.lab import Workspace

CSV = """Username,First Name,Last Name,Job Title,Company,Bio
piet-h,Piet,Hallibrook,Shipwright,Mudcreek Yard,I restore boats.
zoe-å,Zoë,ÅKESSON,Bell founder,Hallibrook & Daughters,I cast bells.
ann,Ann,Archer,Baker,,
ben,Ben,Archer,Baker,,I bake bread.
"""


@pytest.fixture
def four(workspace: Workspace, tmp_path: Any) -> Workspace:
    """A workspace of four people, the last of them parked."""
    (tmp_path / "people.csv").write_text(CSV, encoding="utf-8")
    workspace.ran("import", str(tmp_path / "people.csv"))
    return workspace


def found(workspace: Workspace, *args: str, **values: str) -> list[str]:
    """Return the usernames that are found."""
    document = json.loads(workspace.ran("people", *args, "--json", **values).stdout)
    return [one["username"] for one in document["items"]]


@pytest.mark.sampled(0)
def test_a_tag_is_found_and_a_state_may_be_asked_for(four: Workspace) -> None:
    """Tags are looked in once there are some; a state that there is not is refused with those that there are."""
    assert (found(four, "--state", "no_bio"), found(four, STATE="tagged")) == (["ann"], [])
    for command in ("batch-submit", "batch-poll", "batch-ingest"):
        four.ran(command)
    tags = json.loads(four.ran("show", "piet-h", "--json").stdout)["columns"]["tags"]
    assert "piet-h" in found(four, tags[0], "--state", "tagged")
    assert "tagged, untagged, no_bio, claimed, parked, foreign" in four.ran("people", "--state", "lost", code=2).stderr


def test_pages_follow_one_another(four: Workspace) -> None:
    """Each says where the next begins, and the last says nothing; a page never repeats or loses an item."""
    seen: list[str] = []
    after: str | None = None
    while True:
        more = ["--after", after] if after else []
        page = json.loads(four.ran("items", "--limit", "3", *more, "--json").stdout)
        seen += [one["username"] for one in page["items"]]
        after = page["after"]
        if after is None:
            break
    assert seen == ["piet-h", "zoe-å", "ann", "ben"]
    assert "AFTER=3" in four.ran("items", "--limit", "3").stderr
    assert four.ran("items", "--limit", "4").stderr == ""
    four.ran("items", "--after", "nobody", code=2)
