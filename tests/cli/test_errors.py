"""Errors are printed in at most three lines with a specific exit code and no traceback."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import Workspace

PEOPLE = "Username,First Name,Bio\nada,Ada,I keep bees and teach water law.\n"


@pytest.fixture
def local(tmp_path: Path) -> Workspace:
    """An empty workspace without a key."""
    return Workspace(tmp_path / "data", {"ASKROWS_DATA": str(tmp_path / "data")})


@pytest.fixture
def csv(tmp_path: Path) -> str:
    """A file with a single person."""
    path = tmp_path / "people.csv"
    path.write_text(PEOPLE)
    return str(path)


def refused(workspace: Workspace, *args: str, code: int, message: str, **values: str) -> str:
    """Run a command that must be refused in at most three lines; return the lines."""
    result = workspace.ran(*args, **values, code=code)
    assert result.stdout == ""
    assert message in result.stderr
    assert 1 <= result.stderr.count("\n") <= 3, result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr


@pytest.mark.parametrize("number", [5, 7])
def test_another_schema_number_is_refused(local: Workspace, csv: str, number: int) -> None:
    """A reading and a writing command exit with code 5, and the database is unchanged."""
    local.ran("import", csv)
    local.change(f"UPDATE askrows_workspace SET schema = {number}")  # noqa: S608 - a number
    for command in ("status", "batch-submit"):
        refused(local, command, code=5, message=f"this database has the schema {number}, but")
    assert local.scalar("SELECT schema FROM askrows_workspace") == number


def test_unexpected_error_is_one_line_without_row_content(
    local: Workspace,
    csv: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An unexpected error exits with code 1 and its place; only --debug prints a traceback."""
    local.ran("import", csv)

    def broken(*_workspace: object, **_options: object) -> None:
        """Raise an unexpected error."""
        raise ValueError("Ada Lovelace, 12 Secret Street")

    monkeypatch.setattr("askrows.pipeline.ops.status.make_status_document", broken)
    stderr = refused(
        local,
        "status",
        code=1,
        message="this is a bug in askrows: ValueError in test_errors.py, line ",
    )
    assert "Secret Street" not in stderr
    status_run = local.ran("status", "--debug", code=1)
    assert "Traceback" in status_run.stderr


@pytest.mark.parametrize("number", ["9223372036854775807", "9" * 5000])
@pytest.mark.parametrize(
    "command",
    [
        "items --limit",
        "tag --budget",
        "search boat --k",
        "web --port",
        "status --rpm",
        "ask people.csv Who? --header",
        "import people.csv --header",
    ],
)
def test_number_out_of_range_is_refused_with_its_bounds(
    local: Workspace, command: str, number: str
) -> None:
    """The error of a number that is too large names its option and its bounds."""
    Path("people.csv").write_text(PEOPLE)
    *words, option = command.split()
    stderr = refused(local, *words, f"{option}={number}", code=2, message="")
    assert option[2:] in stderr.casefold()
    assert re.search(r" from [01] to [\d,]+", stderr)


# The first pause ends before the waiting thread starts.
@pytest.mark.parametrize("pause", [1e-4, 1e-2])
def test_signal_during_a_destructor_is_repeated(pause: float) -> None:
    """Python drops errors that are raised in `__del__`, so the signal is sent again."""
    program = f"""
import os, signal, time
from askrows.jobs import exit_codes
from askrows.jobs.exit_codes import exit_on_error, raise_interrupt_on_signals
exit_codes.RESEND_DELAY_S = {pause}
class Going:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0)
with exit_on_error([]), raise_interrupt_on_signals():
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
