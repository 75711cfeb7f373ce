"""Imports report people who are gone, and several people are forgotten at once."""

import csv

import pytest

from tests.acceptance.database import run_sql
from tests.acceptance.product import Workspace
from tests.acceptance.steps import Fate

CHAIN = ("submit", "poll", "ingest", "index")


def names_in(workspace: Workspace) -> list[str]:
    """Return the usernames of all people."""
    return [row[0] for row in run_sql(workspace, "SELECT username FROM experts ORDER BY username")]


def write_without(workspace: Workspace, source_file: str, *names: str) -> str:
    """Write a copy of a file without some people; return its name."""
    lines = (workspace.home / source_file).read_text(encoding="utf-8").splitlines()
    other_lines = [line for line in lines if line.partition(",")[0] not in names]
    workspace.write_file("again.csv", "\n".join([*other_lines, ""]))
    return "again.csv"


def test_import_reports_missing_people_of_earlier_files(workspace: Workspace) -> None:
    """The report has the number, and commands that list and delete the people.

    They are listed in the order of their ids. A file of other people reports nobody as gone.
    """
    names = workspace.import_people(14)
    # PostgreSQL moves an updated row to the end of its table.
    run_sql(workspace, "UPDATE experts SET bio = bio WHERE username = :name", name=names[0])
    output = workspace.run_command(
        "import", write_without(workspace, "people-0.csv", *names[:11]), dry=True
    ).output
    assert "again.csv lacks 11 people of the table experts" in output
    assert "askrows forget --task experts --file gone.csv" in output
    workspace.run_command("import", "again.csv", dry=True, report="gone.csv")
    with (workspace.home / "gone.csv").open(encoding="utf-8", newline="") as file:
        usernames = [row["username"] for row in csv.DictReader(file) if row["kind"] == "gone"]
    assert usernames == names[:11]

    workspace.write_file("others.csv", "Username,Bio\nsomebody,I keep bees.\n")
    assert "lacks" not in workspace.run_command("import", "others.csv").output
    workspace.run_command("forget", file="gone.csv", yes=True)
    assert names_in(workspace) == [*names[11:], "somebody"]


# Answers and request lines of forgotten people are deleted.
@pytest.mark.excused("nobody_is_answered_twice", "tags_never_change", "batches_are_made_once")
@pytest.mark.promise("forget")
def test_several_people_are_forgotten_with_a_single_build(workspace: Workspace) -> None:
    """Names are separated by commas, are arguments, or are in a file.

    An unknown or busy person stops the command before any change. A killed run is completed.
    """
    names = workspace.import_people(6)
    workspace.run_commands(*CHAIN)
    builds = workspace.status()["index"]["build"]
    error_output = workspace.run_command("forget", names[0], "nobody", yes=True, code=2).stderr
    assert "nobody" in error_output
    assert names_in(workspace) == names

    # A killed backup into the workspace leaves such a folder. No process has this number.
    leftover = workspace.data / "copy.7fffffff-0123456789.part"
    leftover.mkdir()
    (leftover / "askrows.db").write_bytes(b"a person")
    forget_run = workspace.run_command("forget", f"{names[0]},{names[1]}", yes=True)
    assert not leftover.exists()
    assert f"{names[0]}, {names[1]} forgotten" in forget_run.stdout
    index = workspace.status()["index"]
    assert (index["count"], index["build"], index["behind"]) == (4, builds + 1, 0)

    workspace.write_file("gone.txt", f"{names[2]}\n{names[3]}\n")
    killed_run = workspace.try_command(
        "forget", file="gone.txt", yes=True, fate=Fate(step=10, side="after", event="KILL")
    )
    assert killed_run.code != 0
    workspace.run_command("forget", file="gone.txt", yes=True)
    assert names_in(workspace) == names[4:]
    assert workspace.status()["index"]["count"] == 2
    for path in (workspace.data / "batches").iterdir():
        assert b"number 2." not in path.read_bytes()
        assert b"number 3." not in path.read_bytes()

    # A person in a running batch cannot be forgotten.
    workspace.import_people(1, first=50)
    workspace.run_command("submit")
    assert (
        "batch" in workspace.run_command("forget", names[4], "person-0050", yes=True, code=2).stderr
    )
    assert names_in(workspace) == [*names[4:], "person-0050"]
    workspace.run_commands("poll", "ingest")
    workspace.run_command("doctor")
