"""Killed anywhere in the chain and run again, a workspace ends exactly where an undisturbed one does."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.crash.conftest import Ended, Mortal
from tests.crash.final_state import final_state, names
from tests.lab import Api, Workspace

SEED = 20261120
ROUNDS = 9  # times the length of the chain, and now and then two deaths in a row: about a hundred deaths
TWICE = 0.3  # the share of commands that die a second time when they are run again
# One line a command; each may die at any of its steps, and is then run again. Order is the order of a user's day
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
)
MOST_COMMANDS = 12  # that it may take until there is nothing to do

Start = Callable[[str], Workspace]


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """A file of fourteen people, two of them without a bio."""
    trades = "bees law glass ships bread clocks rivers maps looms soil stars bridges".split()
    rows = [
        f"person-{number},Given{number},Name{number},Keeper of {trade},House of {trade},My work is {trade} and water."
        for number, trade in enumerate(trades)
    ]
    header = "Username,First Name,Last Name,Job Title,Company,Bio\n"
    path = tmp_path / "people.csv"
    path.write_text(header + "\n".join(rows) + "\nsilent-1,No,Bio,Baker,,\nsilent-2,No,Bio,,,\n")
    return path


@pytest.fixture
def start(at: Start, api: Api) -> Start:
    """A function that makes a workspace with small batches; two people never get an answer, one gets it late."""
    api.fault("error_line", key="expert-tags/3$", times=10_000)
    api.fault("missing_line", key="expert-tags/7$", times=10_000)

    def make(name: str) -> Workspace:
        """Return a new workspace."""
        workspace = at(name)
        workspace.environ["FINDABLE_BATCH_ROWS"] = "5"
        return workspace

    return make


def spelled(command: tuple[str, ...], people: Path) -> list[str]:
    """Return a command of the chain with its file put in."""
    return [word.format(people=people) for word in command]


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


def undisturbed(mortal: Mortal, workspace: Workspace, people: Path) -> list[Ended]:
    """Run the chain without any death and return how each command ended."""
    ended = [mortal.run(workspace, *spelled(command, people)) for command in CHAIN]
    assert [one.code for one in ended] == [0] * len(CHAIN), ended
    finish(mortal, workspace)
    return ended


def die_through_the_chain(
    mortal: Mortal, workspace: Workspace, people: Path, *, steps: list[int], dice: random.Random
) -> list[str]:
    """Let each command die at a step of its own, now and then twice, then run it in peace; return where it died."""
    deaths = []
    for command, most in zip(CHAIN, steps, strict=True):
        for _ in range(1 + (dice.random() < TWICE)):
            died = mortal.run(workspace, *spelled(command, people), die_at=dice.randint(1, most))
            if died.code == 0:
                break  # it had fewer steps to do than in an undisturbed run
            assert died.code == -9, died
            deaths.append(f"{command[0]}: {died.last}")
            status_of(mortal, workspace)
        ended = mortal.run(workspace, *spelled(command, people))
        assert ended.code == 0, (deaths, ended)
    finish(mortal, workspace)
    return deaths


def test_dying_anywhere_changes_nothing_in_the_end(mortal: Mortal, start: Start, api: Api, people: Path) -> None:
    """Whatever step each command dies at, once or twice in a row, the end is that of a run without deaths."""
    dice = random.Random(SEED)  # noqa: S311 - a sample that is the same each time
    plain = start("plain")
    steps = [ended.steps for ended in undisturbed(mortal, plain, people)]
    expected = final_state(plain, api)
    assert set(expected["remote"].values()) == {1}
    deaths = 0
    for number in range(ROUNDS):
        workspace = start(f"round-{number}")
        died = die_through_the_chain(mortal, workspace, people, steps=steps, dice=dice)
        found = final_state(workspace, api)
        for part, value in expected.items():
            assert found[part] == value, (part, died)
        deaths += len(died)
    assert deaths > 60


@pytest.mark.parametrize("how", ["INT", "TERM"])
def test_a_signal_ends_a_command_in_order(mortal: Mortal, start: Start, api: Api, people: Path, how: str) -> None:
    """Ctrl-C and SIGTERM at any step exit with 130, leave nothing half written, and cost nothing but the time."""
    dice = random.Random(SEED + len(how))  # noqa: S311 - a sample that is the same each time
    plain = start("plain")
    steps = [ended.steps for ended in undisturbed(mortal, plain, people)]
    expected = final_state(plain, api)
    workspace = start("signalled")
    for command, most in zip(CHAIN, steps, strict=True):
        for _ in range(3):
            ended = mortal.run(workspace, *spelled(command, people), die_at=dice.randint(1, most), how=how)
            assert ended.code in {0, 130}, ended
            if ended.code == 130:
                assert "interrupted" in ended.err, ended
                assert "Traceback" not in ended.err
            half = [name for name in names(workspace.data) if name.endswith((".part", ".staging", ".link-part"))]
            assert half == [], ended
        assert mortal.run(workspace, *spelled(command, people)).code == 0
    finish(mortal, workspace)
    assert final_state(workspace, api) == expected


def test_dying_while_a_person_is_added_loses_nobody(mortal: Mortal, start: Start, api: Api, tmp_path: Path) -> None:
    """Whatever step `add-expert` dies at, the person is not there at all, or goes out with the next batch."""
    file = tmp_path / "new.json"
    file.write_text(json.dumps({"Username": "new", "First Name": "New", "Bio": "I mend clocks and bells."}))
    plain = start("plain")
    ended = mortal.run(plain, "add-expert", str(file))
    assert ended.code == 0, ended
    (expected,) = plain.query("SELECT username, tags, findability_score FROM experts")
    for step in range(1, ended.steps + 1):
        workspace = start(f"added-{step}")
        died = mortal.run(workspace, "add-expert", str(file), die_at=step)
        assert died.code == -9
        assert mortal.run(workspace, "add-expert", str(file)).code in {0, 2}
        finish(mortal, workspace)
        assert workspace.query("SELECT username, tags, findability_score FROM experts") == [expected], died
        assert workspace.query("SELECT count(*) FROM findable_requests WHERE open") == [(0,)]
        assert set(final_state(workspace, api)["remote"].values()) <= {1}
