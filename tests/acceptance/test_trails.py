"""Every command of every day takes its durable steps in an order that keeps a workspace safe."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.days import DAY_OF, Day, run_day_alone
from tests.acceptance.stage import Stage
from tests.acceptance.sweep import DAY_NAMES
from tests.acceptance.trails import find_broken_rules

DAYS = [DAY_OF[name] for name in DAY_NAMES]


def find_violations(day: Day, stage: Stage) -> Iterator[str]:
    """Run a day and all days that begin after it; yield the violations of each command."""
    processes = run_day_alone(day, stage.home, stage.engine)
    for command, process in zip(day.commands, processes, strict=True):
        for sentence in find_broken_rules(process.trail):
            yield f"{day.name}: {command.verb}: {sentence}"

    next_days = [next_day for next_day in DAYS if next_day.after == day.name]
    if next_days:
        stage.save_copy(day.name)
    for number, next_day in enumerate(next_days):
        if number:
            stage.restore_copy(day.name)
        yield from find_violations(next_day, stage)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("own-equal", marks=pytest.mark.promise("steps")),
        *(day.name for day in DAYS if not day.after and day.name != "own-equal"),
    ],
)
def test_every_command_takes_its_steps_in_a_safe_order(tmp_path: Path, name: str) -> None:
    """No command of a day, or of the days after it, breaks a rule."""
    with Stage(tmp_path) as stage:
        assert list(find_violations(DAY_OF[name], stage)) == []
