"""Killed at any step of a day and run again, a workspace ends exactly where an undisturbed one does.

Two days are drawn of all, one on PostgreSQL, and a sample of what may befall them: others with each commit, or by SEED.
`make crash-sweep` takes all days and every step, see `whole_sweep`.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.days import DAY_OF, DONE_BEFORE
from tests.acceptance.loaded import NOT_PERMITTED
from tests.acceptance.process import LIVES, Done
from tests.acceptance.product import ON_POSTGRESQL, PEOPLE, Workspace
from tests.acceptance.steps import Fate
from tests.acceptance.sweep import Misfortune, Sweep, dice_of, drawn_days, meet, sample
from tests.acceptance.trails import broken

EACH = 10 if ON_POSTGRESQL else 12  # lives of a day
READ_NOTHING = 3
INTERRUPTED = 130
READ_ONLY = 2  # commands of each day on a disk that cannot be written
NO_ROOM = (
    0,
    2,
    3,
)  # of who finds none: done without it, or told so, or told that this is not a name for a file
DRAWN = 1 if ON_POSTGRESQL else 2


@pytest.mark.parametrize("number", range(DRAWN))
def test_a_day_with_a_death_in_it_ends_as_one_in_peace(
    tmp_path: Path, number: int, record_property: Callable[[str, object], None]
) -> None:
    """Whatever befalls whichever command at whichever step of a day."""
    sweep = Sweep(tmp_path, DAY_OF[drawn_days(DRAWN)[number]])
    with sweep.stage:
        sweep.live_in_peace()
        assert [said for trail in sweep.trails for said in broken(trail)] == []
        meet(sweep, sample(sweep, dice_of(sweep.day.name), EACH), record_property)
        if not ON_POSTGRESQL:
            commands = range(len(sweep.trails))
            for one in dice_of(f"{sweep.day.name}, read only").sample(
                commands, min(READ_ONLY, len(commands))
            ):
                done, changed = sweep.try_read_only(one)
                if done.code == NOT_PERMITTED:
                    pytest.skip(
                        "A READ-ONLY WORKSPACE IS NOT TESTED HERE: this machine permits no mounts of our own"
                    )
                assert changed == [], sweep.day.commands[one]
                assert done.code in NO_ROOM, (sweep.day.commands[one], done)


@pytest.mark.alike
def test_a_reply_that_came_is_never_asked_for_again(tmp_path: Path) -> None:
    """Killed at any further call, a live command goes on with that one: each reply is on disk before the next."""
    sweep = Sweep(tmp_path, DAY_OF["own-live"])
    engine = sweep.stage.engine
    live = 1
    with sweep.stage:
        sweep.live_in_peace()
        calls = [
            at for at, what in enumerate(sweep.trails[live], 1) if what.startswith("send POST")
        ]
        assert len(calls) > 3
        for at in calls[1::2]:
            lived = sweep.live(Misfortune(live, (Fate(at),)))
            assert lived.ended[0].code == -9
            assert lived.faults == []
            asked = [one for one in engine.journal() if one["path"].endswith(":generateContent")]
            assert len(asked) <= len(calls) + 1, at  # the one under way may be asked again


@pytest.mark.skipif(ON_POSTGRESQL, reason="the database of a server is copied by its own programs")
def test_a_restore_that_was_killed_leaves_nothing_or_all_of_it(workspace: Workspace) -> None:
    """There is no workspace, or all of it; run again it is whole."""
    names = workspace.people(2)
    workspace.do("backup", workspace.home / "copy")

    def restored(name: str, fate: Fate = LIVES) -> tuple[Workspace, Done]:
        one = Workspace(workspace.home / name)
        return one, one.run("restore", workspace.home / "copy", fate=fate)

    steps = len(restored("peace")[1].trail)
    refused = 0
    for at in range(1, steps + 1, 2):
        how = "INT" if at % 4 == 1 else "KILL"  # who is interrupted may still come to the end
        one, died = restored(f"life-{at}", Fate(at, how=how))
        assert died.code in ({-9} if how == "KILL" else {0, INTERRUPTED})
        status_run = one.run("status", json=True)
        refused += status_run.code == READ_NOTHING
        assert status_run.code == READ_NOTHING or status_run.json[PEOPLE]["total"] in {
            0,
            len(names),
        }, (
            at,
            status_run,
        )
        assert restored(f"life-{at}")[1].code in DONE_BEFORE
        assert list(one.tags()) == names
    assert refused
