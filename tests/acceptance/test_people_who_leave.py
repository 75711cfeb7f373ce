"""People who are missing in a file that is imported again, and people who are forgotten, several at once."""

import csv

import pytest

from tests.acceptance.database import sql
from tests.acceptance.product import Workspace
from tests.acceptance.steps import Fate

CHAIN = ("submit", "poll", "ingest", "index")


def names_in(workspace: Workspace) -> list[str]:
    """Return the usernames of all people who are there."""
    return [row[0] for row in sql(workspace, "SELECT username FROM experts ORDER BY username")]


def without(workspace: Workspace, file: str, *names: str) -> str:
    """Write a file of people without some of those of another one, and return its name."""
    lines = (workspace.home / file).read_text(encoding="utf-8").splitlines()
    kept_lines = [line for line in lines if line.partition(",")[0] not in names]
    workspace.put("again.csv", "\n".join([*kept_lines, ""]))
    return "again.csv"


def test_an_import_says_who_of_earlier_files_is_missing(workspace: Workspace) -> None:
    """How many, and what to type: few by their names, many by a file; a file of other people says nothing."""
    names = workspace.people(14)
    assert "missing" not in workspace.do("import", "people-0.csv").said
    few = workspace.do("import", without(workspace, "people-0.csv", *names[:2])).said
    assert "2 people of earlier files are not in again.csv" in few
    assert f"findable forget {names[0]},{names[1]}" in few
    many = workspace.do("import", without(workspace, "people-0.csv", *names[:11]), dry=True).said
    assert "11 people of earlier files are not in again.csv" in many
    assert "findable forget --file missing.csv" in many
    workspace.do("import", "again.csv", dry=True, report="missing.csv")
    with (workspace.home / "missing.csv").open(encoding="utf-8", newline="") as file:
        usernames = [row["username"] for row in csv.DictReader(file) if row["kind"] == "missing"]
    assert usernames == names[:11]
    workspace.put("others.csv", "Username,Bio\nsomebody,I keep bees.\n")
    assert "earlier files" not in workspace.do("import", "others.csv").said
    workspace.do("forget", file="missing.csv", yes=True)
    assert names_in(workspace) == [*names[11:], "somebody"]


@pytest.mark.excused(
    "nobody_is_answered_twice", "tags_never_change", "batches_are_made_once"
)  # who is forgotten is gone
def test_several_people_are_forgotten_and_the_index_is_built_once(workspace: Workspace) -> None:
    """By commas, by words, by a file; one name that is unknown or busy changes nothing; a killed run goes on."""
    names = workspace.people(6)
    workspace.each(*CHAIN)
    builds = workspace.status()["index"]["build"]
    refused = workspace.do("forget", names[0], "nobody", yes=True, code=2).err
    assert "nobody" in refused
    assert names_in(workspace) == names
    assert (
        "2 people are forgotten" in workspace.do("forget", f"{names[0]},{names[1]}", yes=True).out
    )
    index = workspace.status()["index"]
    assert (index["count"], index["build"], index["behind"]) == (4, builds + 1, 0)

    workspace.put("gone.txt", f"{names[2]}\n{names[3]}\n")
    killed = workspace.run(
        "forget", file="gone.txt", yes=True, fate=Fate(at=10, side="after", how="KILL")
    )
    assert killed.code != 0
    workspace.do("forget", file="gone.txt", yes=True)
    assert names_in(workspace) == names[4:]
    assert workspace.status()["index"]["count"] == 2
    for path in (workspace.data / "batches").iterdir():
        assert b"number 2." not in path.read_bytes()
        assert b"number 3." not in path.read_bytes()
    workspace.people(1, first=50)
    workspace.do("submit")
    assert "batch" in workspace.do("forget", names[4], "person-0050", yes=True, code=2).err
    assert names_in(workspace) == [*names[4:], "person-0050"]
    workspace.each("poll", "ingest")
    workspace.do("doctor")
