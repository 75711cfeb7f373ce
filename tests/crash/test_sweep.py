"""Killed at any step of the chain and run again, a workspace ends exactly where an undisturbed one does.

A sample, the same each time; `make crash-sweep` takes every step, or MOST lives of all, and other samples by SEED.
"""

import os
import random

import pytest

from tests.acceptance.steps import ON_SERVER, Fate
from tests.crash.chain import DAY_OF
from tests.crash.conftest import Meet
from tests.crash.misfortunes import (
    Misfortune,
    cuts,
    deaths,
    deaths_once,
    full_disks,
    full_pages,
    pairs,
    rots,
    signals,
)
from tests.crash.program import Mortal
from tests.crash.sweep import Sweep
from tests.lab import ON_POSTGRESQL

SEED = int(os.environ.get("FINDABLE_SEED") or 20261120)
MOST = int(os.environ.get("FINDABLE_MOST") or 0) or None
PARTS = 100  # of the whole sweep, of which `make test-full` has every fifth and `make crash-sweep` all
STEP = 1 if os.environ.get("FINDABLE_SWEEP") == "all" else 5
SAMPLED = 60  # of each kind of which the whole sweep has a sample
CUTS = 240  # steps on PostgreSQL before which its server goes away in the whole sweep
CHUNKS, CHUNK = 4, 2  # of single deaths; on both databases the samples are others
# how many disks that are full, servers that go away, builds that go bad; how many deaths in a subject's own days
DISKS, SERVERS, ROTS = (2, 3, 2) if os.environ.get("FAULTS") == "all" else (1, 1, 1)
OF_SUBJECT = 2
CREATE = ":batchGenerateContent"
FIRST, PILOT, OWN, IMAGES, SUBMIT = "first", "pilot", "own", "images", 1
BY_HAND, EDIT = "merged", 1
UNREACHABLE, CONTRADICTION, INTERRUPTED = 4, 5, 130
NO_ROOM = {0, 3}  # of who finds no room: done without it, or told so


def dice_of(number: int) -> random.Random:
    """Return dice that fall the same way each time."""
    return random.Random(SEED + number + 1000 * ON_POSTGRESQL)  # noqa: S311 - a sample, no secret


def everything(sweep: Sweep) -> list[Misfortune]:
    """Return all that is tried, the deaths first, in an order in which any part is a fair sample.

    The deaths are before every step and after the last of a command: after a step is before the next.
    """
    dice, every = dice_of(20), list(deaths_once(sweep))
    rare = [*pairs(sweep, dice, SAMPLED), *signals(sweep, dice, SAMPLED)]
    if ON_POSTGRESQL:
        rare += dice.sample([*cuts(sweep)], CUTS)
        rare += dice.sample([*full_disks(sweep), *rots(sweep)], SAMPLED)
    else:
        rare += [*full_pages(sweep), *full_disks(sweep), *rots(sweep)]
    dice.shuffle(every)
    dice.shuffle(rare)
    return every + rare


@pytest.mark.full
@pytest.mark.parametrize("part", range(0, PARTS, STEP))
def test_the_whole_sweep(sweep: Sweep, meet: Meet, part: int) -> None:
    """Whatever befalls whichever command at whichever step, the end is that of a run in peace."""
    meet(everything(sweep)[:MOST][part::PARTS], until_as_in_peace=True)


@pytest.mark.parametrize("number", range(CHUNKS))
def test_dying_before_or_after_any_step_changes_nothing_in_the_end(sweep: Sweep, meet: Meet, number: int) -> None:
    """Whatever step a command dies before or after, the end is that of a run without deaths."""
    lives = meet(dice_of(number).sample(list(deaths(sweep)), CHUNK))
    assert sum(lived.ended[0].code == -9 for lived in lives) >= CHUNK - 1  # with an engine inside, steps are not fixed


def test_every_step_of_a_command_is_seen(sweep: Sweep) -> None:
    """Commits, files and messages of a command are among its steps, in the order that keeps it safe."""
    trail = sweep.peace[FIRST].trails[SUBMIT]
    seen = [next(n for n, what in enumerate(trail) if word in what) for word in ("write", "fsync", "os.rename", CREATE)]
    assert seen == sorted(seen)
    commits = [number for number, what in enumerate(trail) if what in {"commit findable.db", ON_SERVER}]
    assert any(seen[0] < number < seen[3] for number in commits)
    assert trail[seen[3] + 1].startswith("send")
    assert trail[seen[3] + 2] == "recv"
    assert sum("POST" in what and CREATE in what for what in trail) == 2


@pytest.mark.parametrize("half", [int(ON_POSTGRESQL), pytest.param(1 - ON_POSTGRESQL, marks=pytest.mark.full)])
def test_dying_around_a_create_makes_no_second_batch(sweep: Sweep, meet: Meet, half: int) -> None:
    """After the intent of the first create, and after every step from there to its record, each batch is one."""
    trail = sweep.peace[FIRST].trails[SUBMIT]
    create = next(number for number, what in enumerate(trail, 1) if CREATE in what)
    intent = max(number for number, what in enumerate(trail[: create - 1], 1) if what.startswith("commit"))
    record = next(number for number, what in enumerate(trail, 1) if number > create and what.startswith("commit"))
    assert record - intent >= 4
    lives = meet([Misfortune(FIRST, SUBMIT, (Fate(at, "after"),)) for at in range(intent + half, record + 1, 2)])
    assert [lived.ended[0].code for lived in lives] == [-9] * len(lives)


@pytest.mark.full
def test_a_pilot_that_is_killed_resumes(sweep: Sweep, meet: Meet) -> None:
    """Run again the command ends the same pilot, in the same batch, and sends the rest."""
    meet(dice_of(7).sample([one for one in deaths(sweep) if (one.day, one.number) == (PILOT, SUBMIT)], CHUNK))


@pytest.mark.full
def test_an_edit_by_hand_is_whole_or_was_never_begun(sweep: Sweep, meet: Meet) -> None:
    """Killed around any of its steps and run again it is one edit, and tags, score and index are as without deaths."""
    lives = meet([one for one in deaths(sweep) if (one.day, one.number) == (BY_HAND, EDIT)])
    assert [lived.ended[0].code for lived in lives] == [-9] * len(lives)


@pytest.mark.full
def test_a_day_with_a_task_of_ones_own_may_be_cut_short(sweep: Sweep, meet: Meet) -> None:
    """Its record, tables, rows, answers and fingerprints are what they are without deaths."""
    meet(dice_of(8).sample([one for one in deaths(sweep) if one.day.startswith(OWN)], OF_SUBJECT))


@pytest.mark.full
def test_a_day_with_images_may_be_cut_short(sweep: Sweep, meet: Meet) -> None:
    """Each image has one row, is asked about once, and has its row for other programs, as without deaths."""
    meet(dice_of(9).sample([one for one in deaths(sweep) if one.day.startswith(IMAGES)], OF_SUBJECT))


@pytest.mark.full
def test_two_deaths_in_a_row_change_nothing(sweep: Sweep, meet: Meet) -> None:
    """A command that dies again when it is run again loses no more than one that dies once."""
    meet(list(pairs(sweep, dice_of(1), 2)))


@pytest.mark.full
@pytest.mark.sampled(2, sqlite=2)
@pytest.mark.parametrize("number", range(2))
def test_a_signal_ends_a_command_in_order(sweep: Sweep, meet: Meet, number: int) -> None:
    """Ctrl-C and SIGTERM at any step exit with 130, leave nothing half written, and cost nothing but the time."""
    lives = meet(list(signals(sweep, dice_of(10 + number), 3)))
    for ended in (lived.ended[0] for lived in lives):
        assert ended.code == 0 or "interrupted" in ended.err
    assert any(lived.ended[0].code == INTERRUPTED for lived in lives)


@pytest.mark.sampled(0)
def test_a_disk_that_is_full_loses_nothing(sweep: Sweep, meet: Meet) -> None:
    """Where no file can be made, written, synced or renamed any more, a command says so, and goes on later."""
    lives = meet(dice_of(3).sample(list(full_disks(sweep)), DISKS))
    assert any(ended.code for lived in lives for ended in lived.ended)


@pytest.mark.full
@pytest.mark.sqlite_only("counts pages of its file")
def test_a_database_that_cannot_grow_loses_nothing(sweep: Sweep, meet: Meet) -> None:
    """Where the database finds no page any more, a command says so, and goes on later."""
    lives = meet([one for one in full_pages(sweep) if one.day == FIRST and one.fates[0].pages == 1][:2])
    assert any(ended.code for lived in lives for ended in lived.ended)


@pytest.mark.skipif(not ON_POSTGRESQL, reason="a file does not go away")
def test_a_server_that_goes_away_loses_nothing(sweep: Sweep, meet: Meet) -> None:
    """Where the server ends all connections, at whatever step, a command says so (exit 4) or goes on."""
    lives = meet(dice_of(6).sample(list(cuts(sweep)), SERVERS))
    assert {ended.code for lived in lives for ended in lived.ended} <= {0, UNREACHABLE}


@pytest.mark.sampled(0)
def test_a_build_that_went_bad_before_it_was_verified_is_not_promoted(sweep: Sweep, meet: Meet) -> None:
    """A byte that changed on the disk is found, the index in service stays whole, the next run builds a good one."""
    lives = meet(dice_of(5).sample(list(rots(sweep)), ROTS))
    assert [lived.ended[0].code for lived in lives] == [CONTRADICTION] * len(lives), [one.ended for one in lives]


@pytest.mark.sqlite_only("the database on a server can still be written")
@pytest.mark.parametrize("day", [day for day in ("second", "third") if day in DAY_OF])
def test_a_workspace_that_cannot_be_written_is_left_as_it_is(sweep: Sweep, mortal: Mortal, day: str) -> None:
    """On a disk that is read-only every command says so or does without, and not a byte is changed."""
    codes = set()
    for number, command in enumerate(DAY_OF[day].commands):
        ended, changed = sweep.try_read_only(mortal, day, number)
        if ended.code == mortal.NOT_PERMITTED:
            pytest.skip("A READ-ONLY WORKSPACE IS NOT TESTED HERE: this machine permits no mounts of our own")
        assert changed == [], command.name
        assert ended.code in NO_ROOM, (command.name, ended)
        assert "Traceback" not in ended.err
        assert "bug in findable" not in ended.err, ended
        codes.add(ended.code)
    assert 3 in codes
