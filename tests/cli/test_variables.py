"""Variables of make are options of the commands, and questions accept a no."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.command import ClickCommand
from jobs.commands import ALL_COMMANDS
from pipeline.core.settings import PREFIX, VARIABLES
from tests.lab import ROOT, Workspace

NAME = "eleuterio-campoverde-ruz"
PEOPLE = str(ROOT / "data/sample/experts.csv")


@pytest.fixture(name="local")
def _empty_workspace(tmp_path: Path) -> Workspace:
    """A folder without a workspace."""
    return Workspace(tmp_path / "data", {"FINDABLE_DATA": str(tmp_path / "data")})


def test_answer_no_changes_nothing_and_is_not_an_error(local: Workspace) -> None:
    """A no to the question of a command gives exit code 0."""
    local.ran("import", PEOPLE)
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "findable", "forget", NAME],
        cwd=ROOT,
        env={**os.environ, **local.environ},
        stdin=terminal,
        stderr=subprocess.PIPE,
    ) as command:
        os.write(controller, b"n\n")
        stderr = command.communicate(timeout=60)[1].decode()
    os.close(terminal)
    os.close(controller)
    assert command.returncode == 0, stderr
    assert stderr.endswith("nothing was changed\n")


@pytest.mark.parametrize("name", ALL_COMMANDS)
def test_every_variable_of_make_is_an_option_of_that_name(name: str) -> None:
    """Options are the variables of a command and all settings except keys."""
    entry = ALL_COMMANDS[name]
    settings = {
        variable.upper()
        for variable, names in VARIABLES.items()
        if names == (f"{PREFIX}{variable.upper()}",)
    }
    variables = {*entry.variables, *settings, "YES", "DEBUG", *(["JSON"] if entry.has_json else [])}
    assert {"DATA", "TASK", "MODEL", "DATABASE_URL"} <= variables
    command = ClickCommand(name, entry)
    options: list[str] = []
    for param in command.params:
        options += [*param.opts, *param.secondary_opts]

    expected_options = {f"--{variable.lower().replace('_', '-')}" for variable in variables}
    assert expected_options <= set(options)
    dashed_options = [option for option in options if option.startswith("-")]
    assert len(set(dashed_options)) == len(dashed_options)
