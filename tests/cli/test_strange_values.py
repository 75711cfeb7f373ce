"""Values that are typed by mistake: too large, no text, with a `~` that no shell expanded."""

import contextlib
import os
from pathlib import Path

import pytest

from tests.lab import ON_POSTGRESQL, Workspace


@pytest.fixture
def local(tmp_path: Path) -> Workspace:
    """A workspace of one person, without a key."""
    workspace = Workspace(tmp_path / "data", {"FINDABLE_DATA": str(tmp_path / "data")})
    people = tmp_path / "people.csv"
    people.write_text("Username,Bio\nada,I keep bees.\n")
    assert workspace.run("import", str(people)).exit_code == 0
    return workspace


def test_a_number_beyond_all_databases_is_no_bug(local: Workspace) -> None:
    """A number of thirty digits is refused, as a batch and as a limit."""
    for command in (("batch-cancel", "9" * 30), ("batch-submit", "--limit", "9" * 30, "--dry")):
        assert "bug" not in local.ran(*command, code=2).stderr


@pytest.mark.parametrize(
    "words", ["show", "unpark", "best-concepts", "qc --extractor", "export to.json --extractor", "rollback"]
)
def test_a_name_that_is_no_text_is_refused(local: Workspace, words: str) -> None:
    """Bytes that are no UTF-8 in a username, in a passage's id, or in a version's name, are bad usage, and no bug."""
    told = local.ran(*words.split(), "ad\udcffa", code=2).stderr
    assert "not valid UTF-8" in told
    assert "bug" not in told


def test_a_file_whose_name_is_no_text_is_imported(local: Workspace, tmp_path: Path) -> None:
    """The journal has the name with replacement characters; rows and images whose place is recorded are refused."""
    people = tmp_path / "leute\udce4.csv"
    people.write_text("Username,Bio\nbo,I mend clocks.\n")
    assert "1 added" in local.ran("import", str(people)).stdout
    assert local.query("SELECT name FROM findable_events WHERE kind = 'import' ORDER BY id DESC LIMIT 1") == [
        ("leute\ufffd.csv",)
    ]
    (tmp_path / "photos\udce4").mkdir()
    for command in (("new-task", "mine", "--from", str(people)), ("import-images", str(tmp_path / "photos\udce4"))):
        assert "this name is not valid UTF-8; nothing was imported" in local.ran(*command, code=2).stderr


def test_a_folder_whose_name_is_no_text_is_no_workspace(local: Workspace, tmp_path: Path) -> None:
    """It is refused before anything is made, whether it is named or is the folder where the command runs."""
    for command in (("import", str(tmp_path / "people.csv")), ("status",), ("init", "--yes")):
        told = local.ran(*command, "--data", str(tmp_path / "d\udce4ta"), code=3).stderr
        assert "FINDABLE_DATA is" in told
        assert "not valid UTF-8" in told
    here = tmp_path / "her\udce4"
    here.mkdir()
    with contextlib.chdir(here):
        assert "not valid UTF-8" in local.ran("import", "../people.csv", "--data", "data", code=3).stderr
    assert not (tmp_path / "d\udce4ta").exists()
    assert not list(here.iterdir())


def test_what_no_setting_can_be_is_named(local: Workspace) -> None:
    """A list of no names, a version that is no text, and more days than a calendar has: exit code 3, no bug."""
    assert "FINDABLE_MIME_TYPES is ','" in local.ran("batch-submit", MIME_TYPES=",", code=3).stderr
    assert "FINDABLE_VERSION" in local.ran("status", TASK="passages", VERSION="a\udcffb", code=3).stderr
    local.ran("clean", KEEP_DAYS="100000")
    told = local.ran("clean", KEEP_DAYS="800000", code=3).stderr
    assert "FINDABLE_KEEP_DAYS is '800000'" in told
    assert "from 0 to 100,000" in told


@pytest.mark.parametrize(
    "name",
    ["100% #1 & co?b#c%20d", *(pytest.param(name, marks=pytest.mark.full) for name in ("file:x", 'it\'s "quoted"'))],
)
def test_a_workspace_may_have_any_name(tmp_path: Path, name: str) -> None:
    """What a URL would take for its own is part of the directory's name: the database is in it and nowhere else."""
    place = tmp_path / "here"
    workspace = Workspace(place / name, {"FINDABLE_DATA": str(place / name)})
    people = tmp_path / "people.csv"
    people.write_text("Username,Bio\nada,I keep bees.\n")
    for command in (["import", str(people)], ["batch-submit"], ["status"]):
        workspace.ran(*command)
    assert [path.name for path in place.iterdir()] == [name]
    assert (place / name / "batches").is_dir()
    assert ON_POSTGRESQL or (place / name / "findable.db").is_file()


def test_a_tilde_in_the_workspace_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`DATA=~/people` from a `.env` file or a plain shell never makes a directory called `~`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    workspace = Workspace(tmp_path / "people", {"FINDABLE_DATA": "~/people"})
    people = tmp_path / "people.csv"
    people.write_text("Username,Bio\nada,I keep bees.\n")
    workspace.ran("import", str(people))
    assert (tmp_path / "people").is_dir()
    assert ON_POSTGRESQL or (tmp_path / "people" / "findable.db").is_file()
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize(("command", "value"), [("import", "EXPERTS="), ("batch-cancel", "BATCH="), ("export", "TO=")])
def test_a_missing_value_is_named_as_make_takes_it(local: Workspace, command: str, value: str) -> None:
    """`make import` without a file says that EXPERTS= is missing."""
    result = local.ran(command, code=2)
    assert f"With make: {value}" in result.stderr


@pytest.mark.parametrize("args", [("export", "PIPE", "--format", "csv"), ("import", "PEOPLE", "--report", "PIPE")])
def test_what_is_no_regular_file_is_never_replaced(local: Workspace, tmp_path: Path, args: tuple[str, ...]) -> None:
    """A pipe or a device that is given as the file to write stays what it is, also through a link."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        places = {"PIPE": str(tmp_path / name), "PEOPLE": str(tmp_path / "people.csv")}
        result = local.ran(*(places.get(arg, arg) for arg in args), code=2)
        assert "no regular file" in result.stderr
    assert (tmp_path / "pipe").is_fifo()
    assert (tmp_path / "link").is_symlink()


def test_an_export_reaches_the_file_behind_a_link(local: Workspace, tmp_path: Path) -> None:
    """A link that a user made stays, and what it leads to is written; one that leads to itself is bad input."""
    (tmp_path / "link.csv").symlink_to("real.csv")
    local.ran("export", str(tmp_path / "link.csv"))
    assert (tmp_path / "link.csv").is_symlink()
    assert "ada" in (tmp_path / "real.csv").read_text(encoding="utf-8")
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    assert "bug" not in local.ran("export", str(tmp_path / "loop.csv"), code=2).stderr


def test_limits_are_read_as_people_write_them(local: Workspace) -> None:
    """Thousands with a comma, hours with their minutes, money with its sign; what is none names the value."""
    local.ran("batch-submit", "--dry", LIMIT="1,000", BATCH_BYTES="200MB", CONFIRM_ABOVE="$5", BATCH_HOURS="2d")
    local.ran("preflight", LIMIT="1k", DEADLINE="2h30m", BUDGET_PER_DAY="5 USD")
    assert "'1,00'" in local.ran("tag", LIMIT="1,00", code=2).stderr
    assert "'2h30'" in local.ran("preflight", DEADLINE="2h30", code=2).stderr
    assert "FINDABLE_BATCH_BYTES is '5 apples'" in local.ran("status", BATCH_BYTES="5 apples", code=3).stderr
