"""What goes wrong is said in one to three lines with an exit code that means something, and never as a traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.store import database
from tests.lab import Workspace

PEOPLE = "Username,First Name,Bio\nada,Ada,I keep bees and teach water law.\n"


@pytest.fixture
def local(tmp_path: Path) -> Workspace:
    """An empty workspace without a key."""
    return Workspace(tmp_path / "data", {"FINDABLE_DATA": str(tmp_path / "data")})


@pytest.fixture
def csv(tmp_path: Path) -> str:
    """A file of one person."""
    path = tmp_path / "people.csv"
    path.write_text(PEOPLE)
    return str(path)


def refused(workspace: Workspace, *args: str, code: int, said: str, **values: str) -> str:
    """Run a command that must be refused in at most three lines; return what it said."""
    result = workspace.ran(*args, **values, code=code)
    assert result.stdout == ""
    assert said in result.stderr
    assert 1 <= result.stderr.count("\n") <= 3, result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr


def test_a_database_that_another_program_holds_is_waited_for_and_then_refused(
    local: Workspace,
    csv: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Readers wait for no one; a writer waits its time, then exits with 4 and has changed nothing."""
    local.ran("import", csv)
    local.environ["FINDABLE_BACKEND"] = "local"  # named, it is not told
    monkeypatch.setattr(database, "BUSY_S", 0.3)
    with local.held():
        assert local.run("status").exit_code == 0
        refused(local, "batch-submit", code=4, said="for more than 0.3 s; nothing was changed")
    assert local.scalar("SELECT count(*) FROM findable_batches") == 0


def test_a_newer_schema_is_refused(local: Workspace, csv: str) -> None:
    """A database of a newer findable: exit code 5, nothing changed."""
    local.ran("import", csv)
    local.change("UPDATE findable_workspace SET schema = '9999'")
    refused(local, "status", code=5, said="newer findable")


def test_tables_of_before_are_refused(local: Workspace, csv: str) -> None:
    """A reading and a writing command name the commit that exports them, and change nothing."""
    local.ran("import", csv)
    local.change("CREATE TABLE findable_version (version_num TEXT)")
    local.change("ALTER TABLE findable_workspace DROP COLUMN schema")
    local.change("INSERT INTO findable_version VALUES ('0016')")
    for one in ("status", "batch-submit"):
        refused(local, one, code=5, said="git checkout 20ee0c6d && make export TO=people.jsonl")
    assert local.scalar("SELECT version_num FROM findable_version") == "0016"


def test_a_bug_is_one_line_without_anybodys_data(
    local: Workspace,
    csv: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An unexpected error exits with 1 and says where, but not what it held; --debug shows all."""
    local.ran("import", csv)

    def broken(*_workspace: object, **_options: object) -> None:
        """Fail as a bug does."""
        raise ValueError("Ada Lovelace, 12 Secret Street")

    monkeypatch.setattr("pipeline.ops.status.run", broken)
    told = refused(
        local,
        "status",
        code=1,
        said="this is a bug in findable: ValueError in test_errors.py, line ",
    )
    assert "Secret Street" not in told
    status_run = local.ran("status", "--debug", code=1)
    assert "Traceback" in status_run.stderr


@pytest.mark.parametrize(
    "pause",
    [1e-4, 1e-2],
)  # the first is over before the thread that waits for it has begun
def test_a_signal_that_strikes_where_errors_are_dropped_comes_again(pause: float) -> None:
    """Python drops what is raised while an object goes; the signal is not lost for that."""
    program = f"""
import os, signal, time
from jobs import exit_codes
from jobs.exit_codes import exit_on_error, interruptible
exit_codes.RESEND_DELAY_S = {pause}
class Going:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0)
with exit_on_error([]), interruptible():
    Going()
    print("on", flush=True)
    time.sleep(60)
"""
    process = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (process.returncode, process.stdout.strip()) == (130, "on"), process.stderr
