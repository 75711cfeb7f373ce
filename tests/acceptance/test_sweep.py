"""A workspace that is killed at any step and used again ends like an undisturbed workspace.

The tests draw two days (on PostgreSQL a single day) and a sample of faults. Each commit or SEED=
draws others. `make crash-sweep` runs all days and every step, see `test_whole_sweep`.
"""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.days import DAY_OF, SUCCESS_OR_REFUSAL
from tests.acceptance.engine import LIVE_CALL
from tests.acceptance.loaded import NOT_PERMITTED
from tests.acceptance.process import NO_FATE, EndedCommand
from tests.acceptance.product import ON_POSTGRESQL, PEOPLE, Workspace
from tests.acceptance.steps import Fate
from tests.acceptance.sweep import (
    DAY_NAMES,
    RARE_KINDS,
    Misfortune,
    Sweep,
    deaths,
    make_dice,
    repeat_with,
)

# A life for each rare kind of fault, and one death.
REPETITIONS = 8
READ_NOTHING = 3
INTERRUPTED = 130
# Commands of each day that run on a read-only disk.
READ_ONLY_COMMANDS = 2
# A command without disk space succeeds, reports it, or refuses the name of a file.
NO_ROOM_CODES = (0, 2, 3)
DAY_COUNT = 1 if ON_POSTGRESQL else 2


def draw_days(count: int) -> list[str]:
    """Return the names of the days that this test run repeats."""
    return make_dice("days").sample(DAY_NAMES, count)


def draw_sample(sweep: Sweep, dice: random.Random, count: int) -> list[Misfortune]:
    """Draw misfortunes of a day: some of each rare kind, and then deaths."""
    sample: list[Misfortune] = []
    for kind, share in RARE_KINDS.items():
        candidates = list(kind(sweep))
        sample += dice.sample(candidates, min(len(candidates), max(1, share * count // 20)))

    candidates = list(deaths(sweep))
    death_count = min(len(candidates), max(0, count - len(sample)))
    return sample[:count] + dice.sample(candidates, death_count)


@pytest.mark.parametrize(
    "number",
    [pytest.param(0, marks=pytest.mark.promise("kill", postgresql=True)), *range(1, DAY_COUNT)],
)
def test_a_day_with_faults_ends_like_an_undisturbed_day(
    tmp_path: Path, number: int, record_property: Callable[[str, object], None]
) -> None:
    """A fault at any step of any command of a day does not change its end."""
    sweep = Sweep(tmp_path, DAY_OF[draw_days(DAY_COUNT)[number]])
    with sweep.stage:
        sweep.run_undisturbed()
        misfortunes = draw_sample(sweep, make_dice(sweep.day.name), REPETITIONS)
        repeat_with(sweep, misfortunes, record_property)
        if not ON_POSTGRESQL:
            check_read_only_commands(sweep)


def check_read_only_commands(sweep: Sweep) -> None:
    """Assert that commands on a read-only disk change no file."""
    dice = make_dice(f"{sweep.day.name}, read only")
    command_indexes = range(len(sweep.trails))
    command_count = min(READ_ONLY_COMMANDS, len(command_indexes))
    for command_index in dice.sample(command_indexes, command_count):
        command = sweep.day.commands[command_index]
        process, changed_files = sweep.try_read_only(command_index)
        if process.code == NOT_PERMITTED:
            pytest.skip(
                "A READ-ONLY WORKSPACE IS NOT TESTED HERE: "
                "this machine permits no mounts of our own"
            )
        assert changed_files == [], command
        assert process.code in NO_ROOM_CODES, (command, process)


@pytest.mark.alike
def test_a_received_reply_is_never_asked_again(tmp_path: Path) -> None:
    """A live command that is killed at a later call continues with that call.

    Each reply is on disk before the next call.
    """
    sweep = Sweep(tmp_path, DAY_OF["own-live"])
    engine = sweep.stage.engine
    command_index = 1
    with sweep.stage:
        sweep.run_undisturbed()
        trail = sweep.trails[command_index]
        call_steps = [
            number for number, step in enumerate(trail, 1) if step.startswith("send POST")
        ]
        assert len(call_steps) > 3

        for step in call_steps[1::2]:
            repetition = sweep.repeat(Misfortune(command_index, (Fate(step),)))
            assert repetition.processes[0].code == -9
            assert repetition.faults == []
            calls = [request for request in engine.journal() if request["path"].endswith(LIVE_CALL)]
            # Only the call that runs during the kill may be asked again.
            assert len(calls) <= len(call_steps) + 1, step


@pytest.mark.skipif(ON_POSTGRESQL, reason="the database of a server is copied by its own programs")
@pytest.mark.promise("restore")
def test_a_killed_restore_leaves_no_workspace_or_a_complete_workspace(
    workspace: Workspace,
) -> None:
    """A second run of the restore completes the workspace."""
    names = workspace.import_people(2)
    workspace.run_command("backup", workspace.home / "copy")

    def restore(name: str, fate: Fate = NO_FATE) -> tuple[Workspace, EndedCommand]:
        copy = Workspace(workspace.home / name)
        return copy, copy.try_command("restore", workspace.home / "copy", fate=fate)

    _, undisturbed_process = restore("peace")
    refused_count = 0
    for step in range(1, len(undisturbed_process.trail) + 1, 2):
        # An interrupted command may still complete its work.
        event, codes = ("INT", {0, INTERRUPTED}) if step % 4 == 1 else ("KILL", {-9})
        copy, process = restore(f"life-{step}", Fate(step, event=event))
        assert process.code in codes

        status_run = copy.try_command("status", json=True)
        is_refused = status_run.code == READ_NOTHING
        refused_count += is_refused
        if not is_refused:
            row_count = status_run.json[PEOPLE]["total"]
            assert row_count in {0, len(names)}, (step, status_run)

        _, second_process = restore(f"life-{step}")
        assert second_process.code in SUCCESS_OR_REFUSAL
        assert list(copy.exported_tags()) == names
    assert refused_count
