"""A variable that no command knows is refused, a place that was given is repeated, and an error is told in any form."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import click
import pytest

from jobs.commands import COMMANDS, command_of
from jobs.typed import GIVEN
from tests.cli.test_makefile import inherited
from tests.lab import ROOT, URL, Workspace

UNREAD = "in the environment is not read without make"
DOCUMENT = {"error", "hint", "exit_code"}
NAME = "eleuterio-campoverde-ruz"
PEOPLE = str(ROOT / "data/sample/experts.csv")


@pytest.fixture(name="local")
def _local(tmp_path: Path) -> Workspace:
    """A place without a workspace."""
    return Workspace(tmp_path / "data", {"FINDABLE_DATA": str(tmp_path / "data")})


@pytest.fixture(name="bare")
def _bare(local: Workspace) -> Workspace:
    """The same, without make; and without a variable for the folder."""
    del local.environ[GIVEN], local.environ["FINDABLE_DATA"]
    return local


def make(workspace: Workspace, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the real make."""
    return subprocess.run(
        ["make", "-s", *words],
        cwd=ROOT,
        env=inherited() | {"FINDABLE_DATA": str(workspace.data)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.full
def test_make_takes_a_variable_of_any_of_its_targets(local: Workspace) -> None:
    """And its own, beside them; the next step is typed with the places that were given."""
    done = make(local, "prices", "search", "Q=law", "PYTHON=python3", f"DATA={local.data}")
    assert "gemini" in done.stdout
    assert f"error: there is no workspace in {local.data}; nothing was made\nnext: `make import DATA=" in done.stderr


def test_the_environment_and_the_dotenv_may_have_what_any_command_takes(local: Workspace) -> None:
    """For they are of all commands; but a variable that is of none is refused there, too."""
    local.ran("settings", BATCH="3", ROUNDS="2", TEST_DATABASE="sqlite")
    assert "unknown LIMTI; did you mean LIMIT?" in local.ran("settings", LIMTI="5", code=2).stderr
    Path(".env").write_text("FINDABLE_BATCH=3\nANOTHER=1\n")
    local.ran("settings")
    Path(".env").write_text("FINDABLE_LIMTI=5\n")
    assert "unknown LIMTI; did you mean LIMIT?" in local.ran("settings", code=2).stderr


@pytest.mark.sqlite_only(reason="a file is named as the database")
@pytest.mark.parametrize(
    ("args", "values", "said"),
    [
        (("search", "law"), {}, "`make index`"),
        (("search", "law"), {GIVEN: "search : Q DATA"}, "`make index DATA={data}`"),
        (
            ("search", "law"),
            {GIVEN: "search : Q DATA", URL: "sqlite:///{data}/findable.db"},
            "`make index DATA={data}`",
        ),
        (
            ("search", "law"),
            {GIVEN: "search : Q DATABASE_URL", URL: "sqlite:///{data}/findable.db"},
            "`make index DATABASE_URL=sqlite:///{data}/findable.db`",
        ),
        (("search", "law", "--data", "{data}"), {GIVEN: ""}, "`findable index --data {data}`"),
        (("search", "law"), {GIVEN: "", "FINDABLE_DATA": "{data}"}, "`findable index`"),
        (("status", "--data", "{data}"), {GIVEN: ""}, "next       findable tag --data {data}\n"),
        (("forget", "eleuterio-campoverde-ruz"), {}, "next: YES=1 answers yes\n"),
        (("forget", "eleuterio-campoverde-ruz"), {GIVEN: ""}, "next: --yes answers yes\n"),
        (("import-images", "{data}/none"), {GIVEN: ""}, "next: FOLDER names one with images\n"),
        (("status", "--data", "{data}/findable.db"), {GIVEN: ""}, "next: set --data to a directory "),
    ],
)
def test_a_next_step_is_typed_as_this_one_was(
    local: Workspace, args: tuple[str, ...], values: dict[str, str], said: str
) -> None:
    """With make or without, and with the place where it was given on the line and not where every command finds it."""
    local.ran("import", PEOPLE)
    data = str(local.data)
    local.environ |= {name: value.format(data=data) for name, value in values.items()}
    if not local.environ[GIVEN]:
        del local.environ[GIVEN]
    result = local.run(*(one.format(data=data) for one in args))
    assert said.format(data=data) in result.output


@pytest.mark.sqlite_only(reason="the database is in the folder that is named")
def test_what_doctor_advises_is_about_the_folder_it_looked_at(bare: Workspace) -> None:
    """As the next steps of other commands are."""
    place = ("--data", str(bare.data))
    bare.ran("import", PEOPLE, *place)
    for step in (("tag", "--mode", "live", "--limit", "2"), ("index",), ("tag", "--mode", "live", "--limit", "1")):
        bare.ran(*step, *place)
    assert f"To repair it: findable index {' '.join(place)}" in bare.run("doctor", *place).output


def test_a_name_that_only_make_reads_is_warned_of(bare: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what is read instead; names that are everywhere are passed over, and what is given too is not missed."""
    for name, value in (("DATA", "x"), ("LIMIT", "5"), ("DATABASE_URL", "sqlite:///them.db"), ("MODEL", "t")):
        monkeypatch.setenv(name, value)
    said = bare.run("preflight").stderr
    assert "DATA in the environment is not read without make: set FINDABLE_DATA or --data\n" in said
    assert "LIMIT in the environment is not read without make: set FINDABLE_LIMIT or --limit\n" in said
    assert said.count(UNREAD) == 2
    assert UNREAD not in bare.run("preflight", DATA="x", LIMIT="5").stderr
    monkeypatch.setenv(GIVEN, "preflight :")
    assert UNREAD not in bare.run("preflight").stderr


TAKING_JSON = [name for name in COMMANDS if any(one.name == "as_json" for one in command_of(name).params)]


def told(workspace: Workspace, *args: str, **values: str) -> str:
    """Return the error in the document of a command that was refused."""
    result = workspace.run(*args, **values)
    document = json.loads(result.stdout)
    assert set(document) == DOCUMENT, args
    assert document["exit_code"] == result.exit_code != 0, args
    assert result.stderr.startswith(f"error: {document['error']}\n"), args
    return str(document["error"])


@pytest.mark.parametrize("name", TAKING_JSON)
def test_every_error_is_a_document_where_one_was_asked_for(local: Workspace, name: str) -> None:
    """Of usage, of the settings, and of a place without a workspace; by the option and by its variable."""
    needed = [one for one in command_of(name).params if isinstance(one, click.Argument) and one.required]
    words = [str(Path(f"not-there-{number}")) for number, _ in enumerate(needed)]
    told(local, name, *words, "--no-such-option", "--json")
    told(local, name, *words, "--json", LIMTI="5")
    assert "LIMTI" in told(local, name, *words, JSON="1", LIMTI="5")
    if name not in {"demo", "prices", "restore"}:  # which read no settings first
        told(local, name, *words, JSON="1", DIM="many")
    assert not local.data.exists()


def test_a_persons_no_changes_nothing_and_is_no_error(local: Workspace) -> None:
    """At a question of a command's own; exit code 0."""
    local.ran("import", PEOPLE)
    ours, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "jobs", "forget", NAME],
        cwd=ROOT,
        env={**os.environ, **local.environ},
        stdin=terminal,
        stderr=subprocess.PIPE,
    ) as command:
        os.write(ours, b"n\n")
        said = command.communicate(timeout=60)[1].decode()
    os.close(terminal)
    os.close(ours)
    assert command.returncode == 0, said
    assert said.endswith("nothing was changed\n")
