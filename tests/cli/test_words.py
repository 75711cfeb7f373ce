"""What a command is called and takes is a target and a variable of make, too; the help of every day stays short."""

import re
import subprocess

from jobs.commands import COMMANDS, EVERY
from pipeline.core.settings import PREFIX, VARIABLES
from tests.lab import ROOT

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
EVERYDAY = 15


def listed(*words: str) -> list[str]:
    """Return the targets that `make help` or a like one lists."""
    done = subprocess.run(["make", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return re.findall(r"^  ([a-z-]+) +\S", done.stdout, re.MULTILINE)


def words(variable: str) -> list[str]:
    """Return the words of a list in the Makefile."""
    found = re.search(rf"^{variable} := ((?:.*\\\n)*.*)", MAKEFILE, re.MULTILINE)
    assert found is not None
    return found[1].replace("\\", "").split()


def test_help_lists_fifteen_targets_and_the_rest_on_request() -> None:
    """What people use every day is fifteen targets; aliases are listed nowhere."""
    everyday, everyones, developers = listed("help"), listed("help", "ALL=1"), listed("help-dev")
    assert len(everyday) <= EVERYDAY
    assert set(everyday) < set(everyones)
    assert not set(everyones) & set(developers)
    assert {*everyones, *developers} <= {*re.findall(r"^\.PHONY: (.*)", MAKEFILE, re.MULTILINE), *words("COMMANDS")}


def test_every_command_is_a_target_and_make_hands_on_what_it_takes() -> None:
    """What a command or a setting takes has an effect on make's command line; a password may not stand there."""
    assert {*words("COMMANDS"), *words("ALIASES")} == {*EVERY, "$(ALIASES)"}
    taken = {name.removeprefix(PREFIX) for (name, *_) in VARIABLES.values() if name.startswith(PREFIX)}
    taken |= {word for name in COMMANDS for word in COMMANDS[name].variables}
    assert taken - set(words("VALUES")) <= {"WEB_TOKEN"}
