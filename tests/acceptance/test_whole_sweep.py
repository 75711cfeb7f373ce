"""Repeat every day with every death, and with a sample of the rare faults; `make crash-sweep`.

MOST= limits the number of repetitions of all days together. SEED= draws others.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.days import DAY_OF
from tests.acceptance.sweep import DAY_NAMES, Sweep, list_misfortunes, make_dice, repeat_with

MAX_REPETITIONS = int(os.environ.get("ASKROWS_MOST") or 0)
# Each day is split into parts that run in parallel.
PARTS = 1 if MAX_REPETITIONS else 3


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
