"""What a command is called is a target of make, too; the help of every day stays short, and says what it lists."""

import re
import subprocess

from jobs.commands import ALIASES, ALL_COMMANDS, COMMANDS
from tests.lab import ROOT

MOST = 40


def listed(*words: str) -> list[str]:
    """Return the targets that `make help` or a like one lists."""
    process = subprocess.run(["make", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return re.findall(r"^  ([a-z-]+) +\S", process.stdout, re.MULTILINE)


def test_help_lists_what_a_day_needs_and_the_rest_on_request() -> None:
    """Twelve targets, and the five of the steps of a batch; aliases are listed nowhere."""
    everyday = listed("help")
    everyones = listed("help", "ALL=1")
    developers = listed("help-dev")
    day = "import new-task ask try tag status index search show export web doctor"
    assert everyday == [
        *day.split(),
        *["batch-submit", "batch-poll", "batch-ingest", "index", "add-expert"],
    ]
    assert set(everyday) < set(everyones)
    assert len(everyones) <= MOST
    assert not set(everyones) & {*ALIASES, *developers} - {"setup"}


def test_every_command_is_a_target() -> None:
    """Also under its other names."""
    process = subprocess.run(
        ["make", "-n", *ALL_COMMANDS], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert {name for name in ALL_COMMANDS if f"-m jobs {name} " in process.stdout} == {
        *COMMANDS,
        *ALIASES,
    }
