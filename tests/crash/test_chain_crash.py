"""Killed anywhere in the chain and run again, a workspace ends exactly where an undisturbed one does."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.chain import CHAIN, deaths_of, die_through_the_chain, finish, spelled, undisturbed
from tests.crash.conftest import Mortal
from tests.crash.final_state import final_state, local_names, names, remote_names
from tests.lab import Api, Workspace

SEED = 20261120
ROUNDS = 4  # times the length of the chain, and now and then two deaths in a row: some fifty deaths
LOCAL_ROUNDS = 2
CREATE = ":batchGenerateContent"
TRADES = ("bees", "law", "glass", "ships", "bread", "clocks", "rivers", "maps", "looms", "soil", "stars", "bridges")

Start = Callable[[str], Workspace]


def dice_of(number: int) -> random.Random:
    """Return dice that fall the same way each time."""
    return random.Random(SEED + number)  # noqa: S311 - a sample, no secret


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """A file of fourteen people, two of them without a bio."""
    rows = [
        f"person-{number},Given{number},Name{number},Keeper of {trade},House of {trade},My work is {trade} and water."
        for number, trade in enumerate(TRADES)
    ]
    header = "Username,First Name,Last Name,Job Title,Company,Bio\n"
    path = tmp_path / "people.csv"
    path.write_text(header + "\n".join(rows) + "\nsilent-1,No,Bio,Baker,,\nsilent-2,No,Bio,,,\n")
    return path


@pytest.fixture
def start(at: Start, api: Api) -> Start:
    """A function that makes a workspace with small batches, on an API that never answers about two of the people."""
    api.fault("error_line", key="expert-tags/3$", times=10_000)
    api.fault("missing_line", key="expert-tags/7$", times=10_000)

    def make(name: str) -> Workspace:
        """Return a new workspace."""
        workspace = at(name)
        workspace.environ |= {"FINDABLE_BATCH_ROWS": "5", "FINDABLE_CREATE_TIMEOUT": "0.5"}
        return workspace

    return make


@pytest.mark.parametrize("number", range(ROUNDS))
def test_dying_anywhere_changes_nothing_in_the_end(
    mortal: Mortal, start: Start, api: Api, people: Path, number: int
) -> None:
    """Whatever step each command dies at, once or twice in a row, the end is that of a run without deaths."""
    plain, workspace = start("plain"), start("dying")
    steps = undisturbed(mortal, plain, people)
    expected = final_state(plain, remote_names(api))
    assert set(expected["remote"].values()) == {1}
    assert len(expected["attempts"]) == 4
    died = die_through_the_chain(mortal, workspace, people, steps=steps, dice=dice_of(number))
    found = final_state(workspace, remote_names(api))
    for part, value in expected.items():
        assert found[part] == value, (part, died)
    assert len(died) >= len(CHAIN) - 2


def test_dying_around_a_create_makes_no_second_batch(mortal: Mortal, start: Start, api: Api, people: Path) -> None:
    """At every step from the intent to the record of the second of three creates, each batch is made once."""
    imported, submit = ("import", str(people)), ("batch-submit",)
    plain = start("plain")
    assert mortal.run(plain, *imported).code == 0
    trail = deaths_of(mortal, plain, *submit).trail
    creates = [number for number, what in enumerate(trail) if what.startswith("before sending POST") and CREATE in what]
    assert len(creates) == 3
    recorded = next(number for number in range(creates[1], len(trail)) if trail[number] == "commit")
    lost = 0
    for moment in range(creates[1] - 1, recorded + 2):
        workspace = start(f"died-{moment}")
        assert mortal.run(workspace, *imported).code == 0
        assert mortal.run(workspace, *submit, die_at=moment + 1).code == -9
        lost += workspace.scalar("SELECT count(*) FROM findable_batches WHERE state = 'submitting'")
        assert mortal.run(workspace, *submit).code == 0
        state = final_state(workspace, remote_names(api))
        assert state["remote"] == {1: 1, 2: 1, 3: 1}, trail[moment]
        assert [batch[1] for batch in state["batches"]] == ["submitted"] * 3
    assert lost >= 3


@pytest.mark.parametrize("number", range(LOCAL_ROUNDS))
def test_dying_with_the_engine_inside_changes_nothing_either(
    mortal: Mortal, tmp_path: Path, people: Path, number: int
) -> None:
    """On the local backend the engine dies with the command that hosts it, at any step of either, and goes on."""

    def make(name: str) -> Workspace:
        """Return a new workspace without a key."""
        waits = {"POLL_FIRST": "0.02", "POLL_MOST": "0.1", "CREATE_TIMEOUT": "0.5", "BATCH_ROWS": "5"}
        environ = {f"FINDABLE_{key}": value for key, value in waits.items()}
        return Workspace(tmp_path / name, environ | {"FINDABLE_DATA": str(tmp_path / name)})

    plain, workspace = make("plain"), make("dying")
    steps = undisturbed(mortal, plain, people)
    expected = final_state(plain, local_names(plain))
    assert set(expected["remote"].values()) == {1}
    died = die_through_the_chain(mortal, workspace, people, steps=steps, dice=dice_of(number))
    found = final_state(workspace, local_names(workspace))
    for part, value in expected.items():
        assert found[part] == value, (part, died)


@pytest.mark.parametrize("how", ["INT", "TERM"])
def test_a_signal_ends_a_command_in_order(mortal: Mortal, start: Start, api: Api, people: Path, how: str) -> None:
    """Ctrl-C and SIGTERM at any step exit with 130, leave nothing half written, and cost nothing but the time."""
    dice = dice_of(len(how))
    plain = start("plain")
    steps = undisturbed(mortal, plain, people)
    expected = final_state(plain, remote_names(api))
    workspace = start("signalled")
    for command, most in zip(CHAIN, steps, strict=True):
        words = spelled(command, workspace, people)
        for _ in range(3):
            ended = mortal.run(workspace, *words, die_at=dice.randint(1, most), how=how)
            assert ended.code in {0, 130}, ended
            assert "Traceback" not in ended.err, ended
            assert ended.code == 0 or "interrupted" in ended.err, ended
            half = [name for name in names(workspace.data) if name.endswith((".part", ".staging", ".link-part"))]
            assert half == [], ended
        assert mortal.run(workspace, *words).code == 0
    finish(mortal, workspace)
    assert final_state(workspace, remote_names(api)) == expected


def test_dying_while_a_person_is_added_loses_nobody(mortal: Mortal, start: Start, api: Api, tmp_path: Path) -> None:
    """Whatever step `add-expert` dies at, the person is not there at all, or goes out with the next batch."""
    file = tmp_path / "new.json"
    file.write_text(json.dumps({"Username": "new", "First Name": "New", "Bio": "I mend clocks and bells."}))
    plain = start("plain")
    ended = deaths_of(mortal, plain, "add-expert", str(file))
    (expected,) = plain.query("SELECT username, tags, findability_score FROM experts")
    for step in range(1, ended.steps + 1):
        workspace = start(f"added-{step}")
        died = mortal.run(workspace, "add-expert", str(file), die_at=step)
        assert died.code == -9
        assert mortal.run(workspace, "add-expert", str(file)).code in {0, 2}
        finish(mortal, workspace)
        assert workspace.query("SELECT username, tags, findability_score FROM experts") == [expected], died
        assert workspace.query("SELECT count(*) FROM findable_requests WHERE open") == [(0,)]
        assert set(final_state(workspace, remote_names(api))["remote"].values()) <= {1}


def test_dying_while_local_answers_are_cleared(mortal: Mortal, tmp_path: Path, people: Path) -> None:
    """Whatever step `rebind` dies at, the workspace is as before or cleared, and running it again clears the rest."""
    base = Workspace(tmp_path / "base", {"FINDABLE_DATA": str(tmp_path / "base"), "FINDABLE_POLL_FIRST": "0.02"})
    for command in CHAIN[:5]:
        assert base.run(*spelled(command, base, people)).exit_code == 0

    def copy(name: str) -> Workspace:
        """Return a copy of the workspace."""
        shutil.copytree(base.data, tmp_path / name, symlinks=True)
        return Workspace(tmp_path / name, {"FINDABLE_DATA": str(tmp_path / name)})

    rebind = ("rebind", "--yes")
    ended = deaths_of(mortal, copy("plain"), *rebind)
    for step in range(1, ended.steps + 1):
        workspace = copy(f"cleared-{step}")
        assert mortal.run(workspace, *rebind, die_at=step).code == -9
        bound = workspace.scalar("SELECT backend FROM findable_workspace")
        tagged = workspace.scalar("SELECT count(*) FROM experts WHERE tags IS NOT NULL")
        assert (bound, tagged) in {("local", len(TRADES)), (None, 0)}
        assert mortal.run(workspace, *rebind).code == 0
        assert workspace.scalar("SELECT count(*) FROM findable_answers") == 0
        assert names(workspace.data) == []
        assert mortal.run(workspace, "doctor").code == 0
