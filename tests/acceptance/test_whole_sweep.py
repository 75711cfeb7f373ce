"""Repeat every day with every death, and with a sample of the rare faults; `make crash-sweep`.

MOST= limits the number of repetitions of all days together. SEED= draws others.
"""

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.days import DAY_OF
from tests.acceptance.steps import Fate
from tests.acceptance.sweep import DAY_NAMES, RARE_KINDS, Misfortune, Sweep, make_dice, repeat_with

MAX_REPETITIONS = int(os.environ.get("ASKROWS_MOST") or 0)
# Each day is split into parts that run in parallel.
PARTS = 1 if MAX_REPETITIONS else 3


def distinct_deaths(sweep: Sweep) -> Iterator[Misfortune]:
    """Yield a death before every step, and a death after the last step of every command.

    The state after a step is the state before the next step.
    """
    for number, trail in enumerate(sweep.trails):
        for step in range(1, len(trail) + 1):
            yield Misfortune(number, (Fate(step),))
        if trail:
            yield Misfortune(number, (Fate(len(trail), "after"),))


def list_misfortunes(
    sweep: Sweep, dice: random.Random, max_rare_count: int = 24
) -> list[Misfortune]:
    """Return every distinct death of a day and a sample of each rare kind, in random order."""
    misfortunes = list(distinct_deaths(sweep))
    for kind in RARE_KINDS:
        candidates = list(kind(sweep))
        misfortunes += dice.sample(candidates, min(len(candidates), max_rare_count))
    dice.shuffle(misfortunes)
    return misfortunes


@pytest.mark.skipif("WHOLE_SWEEP" not in os.environ, reason="`make crash-sweep` takes hours")
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", DAY_NAMES)
def test_every_fault_of_a_day_leaves_the_same_end(
    tmp_path: Path, name: str, part: int, record_property: Callable[[str, object], None]
) -> None:
    """A fault at any step of any command leaves the end of a day without a fault."""
    sweep = Sweep(tmp_path, DAY_OF[name])
    with sweep.stage:
        sweep.run_undisturbed(for_short_repetitions=True)
        misfortunes = list_misfortunes(sweep, make_dice(name))
        if MAX_REPETITIONS:
            # Round up, so that each day has a repetition.
            max_day_repetitions = -(-MAX_REPETITIONS // len(DAY_NAMES))
            selected_misfortunes = misfortunes[:max_day_repetitions]
        else:
            selected_misfortunes = misfortunes[part::PARTS]
        repeat_with(sweep, selected_misfortunes, record_property, short=True)
