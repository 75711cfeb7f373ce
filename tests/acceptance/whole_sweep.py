"""Every day with every death in it, and a sample of all else that may befall it; `make crash-sweep`.

MOST= lives of all days, where that is given; SEED= draws others.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.days import DAY_OF
from tests.acceptance.sweep import HERE, Sweep, dice_of, everything, meet

MOST = int(os.environ.get("FINDABLE_MOST") or 0)
PARTS = 1 if MOST else 3


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", HERE)
def test_every_death_of_a_day(
    tmp_path: Path, name: str, part: int, record_property: Callable[[str, object], None]
) -> None:
    """Whatever befalls whichever command at whichever step, the end is that of a run in peace."""
    sweep = Sweep(tmp_path, DAY_OF[name])
    with sweep.stage:
        sweep.live_in_peace(for_short_lives=True)
        every = everything(sweep, dice_of(name))
        some = every[: -(-MOST // len(HERE))] if MOST else every[part::PARTS]
        meet(sweep, some, record_property, short=True)
