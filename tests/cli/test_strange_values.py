"""Values that are typed by mistake: too large, no text, with a `~` that no shell expanded."""

import contextlib
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
    for command in (("import", str(tmp_path / "people.csv")), ("status",)):
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
    assert "FINDABLE_SKIP_VERSIONS is ','" in local.ran("batch-submit", SKIP_VERSIONS=",", code=3).stderr
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


def test_limits_are_read_as_people_write_them(local: Workspace) -> None:
    """Thousands with a comma, hours with their minutes, money with its sign; what is none names the value."""
    local.ran("batch-submit", "--dry", LIMIT="1,000", BATCH_BYTES="200MB", CONFIRM_ABOVE="$5", BATCH_HOURS="2d")
    local.ran("preflight", LIMIT="1k", DEADLINE="2h30m", BUDGET_PER_DAY="5 USD")
    assert "'1,00'" in local.ran("tag", LIMIT="1,00", code=2).stderr
    assert "'2h30'" in local.ran("preflight", DEADLINE="2h30", code=2).stderr
    assert "FINDABLE_BATCH_BYTES is '5 apples'" in local.ran("status", BATCH_BYTES="5 apples", code=3).stderr
