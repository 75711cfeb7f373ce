"""A variable that no command knows is refused, a place that was given is repeated, and an error is told in any form."""

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
def _local(tmp_path: Path) -> Workspace:
    """A place without a workspace."""
    return Workspace(tmp_path / "data", {"FINDABLE_DATA": str(tmp_path / "data")})


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


@pytest.mark.parametrize("name", ALL_COMMANDS)
def test_every_variable_of_make_is_an_option_of_that_name(name: str) -> None:
    """What a command takes, and every setting but keys, which a list of processes would show."""
    entry = ALL_COMMANDS[name]
    settings = {
        variable.upper()
        for variable, names in VARIABLES.items()
        if names == (f"{PREFIX}{variable.upper()}",)
    }
    variables = {*entry.variables, *settings, "YES", "DEBUG", *(["JSON"] if entry.has_json else [])}
    assert {"DATA", "TASK", "MODEL", "DATABASE_URL"} <= variables
    command = ClickCommand(name, entry)
    options = [
        option for param in command.params for option in (*param.opts, *param.secondary_opts)
    ]
    wanted = {f"--{one.lower().replace('_', '-')}" for one in variables}
    assert wanted <= set(options)
    assert len({one for one in options if one.startswith("-")}) == sum(
        one.startswith("-") for one in options
    )
