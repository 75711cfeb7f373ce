"""Every command is a target of make, and `make help` stays short."""

import re
import subprocess

from askrows.jobs.commands import ALIASES, ALL_COMMANDS, COMMANDS
from tests.lab import ROOT

MAX_LISTED_TARGETS = 42


def list_targets(*words: str) -> list[str]:
    """Return the targets that a help command of make lists."""
    process = subprocess.run(["make", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return re.findall(r"^  ([a-z-]+) +\S", process.stdout, re.MULTILINE)


def test_help_lists_everyday_targets_and_the_rest_on_request() -> None:
    """Help lists twelve targets and five steps of a batch, but no other alias."""
    everyday_targets = list_targets("help")
    all_targets = list_targets("help", "ALL=1")
    developers = list_targets("help-dev")
    everyday_commands = "import new-task ask try tag status index search show export web doctor"
    assert everyday_targets == [
        *everyday_commands.split(),
        *["batch-submit", "batch-poll", "batch-ingest", "index", "add-expert"],
    ]
    assert set(everyday_targets) < set(all_targets)
    assert len(all_targets) <= MAX_LISTED_TARGETS
    assert not set(all_targets) & {*ALIASES, *developers} - {"setup", "add-expert"}


def test_every_command_is_a_target() -> None:
    """Aliases are targets as well."""
    process = subprocess.run(
        ["make", "-n", *ALL_COMMANDS], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert {name for name in ALL_COMMANDS if f"-m askrows {name} " in process.stdout} == {
        *COMMANDS,
        *ALIASES,
    }
