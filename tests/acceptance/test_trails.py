"""The order of durable steps that keeps a workspace safe, in every command of every day."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.days import DAY_OF, Day, live_on
from tests.acceptance.stage import Stage
from tests.acceptance.sweep import HERE
from tests.acceptance.trails import broken

DAYS = [DAY_OF[name] for name in HERE]


def lived(day: Day, stage: Stage) -> Iterator[str]:
    """Live a day and all that begin after it; yield what is wrong with the steps of each command."""
    for command, done in zip(day.commands, live_on(day, stage.home, stage.engine), strict=True):
        yield from (f"{day.name}: {command.verb}: {said}" for said in broken(done.trail))
    following = [one for one in DAYS if one.after == day.name]
    if following:
        stage.keep(day.name)
    for number, one in enumerate(following):
        if number:
            stage.back_to(day.name)
        yield from lived(one, stage)


@pytest.mark.parametrize("day", [day for day in DAYS if not day.after], ids=lambda day: day.name)
def test_every_command_takes_its_steps_in_a_safe_order(tmp_path: Path, day: Day) -> None:
    """Whatever day is lived, with all that begin after it."""
    with Stage(tmp_path) as stage:
        assert list(lived(day, stage)) == []
