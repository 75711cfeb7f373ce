"""The commands that die, and how a workspace is brought to its end afterwards. A new command is one more line here."""

import json
import random
from pathlib import Path
from typing import Any

from tests.crash.conftest import Ended, Mortal
from tests.lab import Workspace

# Each may die at any of its steps, and is then run again. Their order is that of a user's day
CHAIN: tuple[tuple[str, ...], ...] = (
    ("import", "{people}"),
    ("batch-submit",),
    ("batch-poll",),
    ("batch-ingest",),
    ("index",),
    ("batch-submit",),
    ("batch-poll",),
    ("batch-ingest",),
    ("score",),
    ("index",),
    ("export", "{export}"),
    ("doctor", "--fix"),
)
TWICE = 0.3  # the share of commands that die a second time when they are run again
MOST_COMMANDS = 12  # that it may take until there is nothing to do


def spelled(command: tuple[str, ...], workspace: Workspace, people: Path) -> list[str]:
    """Return a command of the chain with its files put in."""
    return [word.format(people=people, export=workspace.data / "people-out.csv") for word in command]


def status_of(mortal: Mortal, workspace: Workspace) -> dict[str, Any]:
    """Return where a workspace stands, by the command; it must work at any moment, and add up."""
    ended = mortal.run(workspace, "status", "--json")
    assert ended.code == 0, ended.err
    status: dict[str, Any] = json.loads(ended.out)
    experts = status["experts"]
    assert experts["total"] == sum(experts[name] for name in ("tagged", "untagged", "no_bio", "claimed", "parked"))
    return status


def finish(mortal: Mortal, workspace: Workspace) -> None:
    """Type what `status` says until it has nothing to say but to search, or to look at who is parked."""
    for _ in range(MOST_COMMANDS):
        following = str(status_of(mortal, workspace)["next"])
        if following.startswith(("make search", "findable parked")):
            return
        ended = mortal.run(workspace, *following.split()[1:])
        assert ended.code == 0, (following, ended)
    raise AssertionError(f"still something to do: {following}")


def undisturbed(mortal: Mortal, workspace: Workspace, people: Path) -> list[int]:
    """Run the chain without any death and return how many steps each command took."""
    ended = [mortal.run(workspace, *spelled(command, workspace, people)) for command in CHAIN]
    assert [one.code for one in ended] == [0] * len(CHAIN), ended
    finish(mortal, workspace)
    return [one.steps for one in ended]


def die_through_the_chain(
    mortal: Mortal, workspace: Workspace, people: Path, *, steps: list[int], dice: random.Random
) -> list[str]:
    """Let each command die at a step of its own, now and then twice, then run it in peace; return where it died."""
    deaths = []
    for command, most in zip(CHAIN, steps, strict=True):
        words = spelled(command, workspace, people)
        for _ in range(1 + (dice.random() < TWICE)):
            died = mortal.run(workspace, *words, die_at=dice.randint(1, most))
            if died.code == 0:
                break  # it had fewer steps to do than in an undisturbed run
            assert died.code == -9, died
            deaths.append(f"{command[0]}: {died.last}")
            status_of(mortal, workspace)
        peaceful = mortal.run(workspace, *words)
        assert peaceful.code == 0, (deaths, peaceful)
    finish(mortal, workspace)
    return deaths


def deaths_of(mortal: Mortal, workspace: Workspace, *args: str) -> Ended:
    """Run a command once, undisturbed, to learn its steps."""
    ended = mortal.run(workspace, *args)
    assert ended.code == 0, ended
    return ended
