"""What the crash tests share: the program that runs mortal commands, and the days in peace, lived once."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.crash.misfortunes import Misfortune
from tests.crash.program import Mortal
from tests.crash.sweep import Lived, Sweep
from tests.scratch import PEACE

Meet = Callable[..., list[Lived]]


@pytest.fixture(scope="session")
def mortal() -> Iterator[Mortal]:
    """The program that runs mortal commands."""
    if sys.platform != "linux":
        pytest.skip("THE SWEEP IS NOT RUN HERE: it needs fork and /proc as Linux has them")
    with Mortal() as program:
        yield program


@pytest.fixture(scope="session")
def sweep(mortal: Mortal) -> Sweep:
    """The days of the chain as they go in peace, lived once for all processes of a run."""
    lived = Sweep(Path(os.environ[PEACE]), mortal)
    lived.live_in_peace()
    return lived


@pytest.fixture
def meet(mortal: Mortal, sweep: Sweep, record_property: Callable[[str, object], None]) -> Meet:
    """A function that lets misfortunes happen, one life each, and tells the summary of the run how that went."""

    def live(all_of_them: Sequence[Misfortune], *, until_as_in_peace: bool = False) -> list[Lived]:
        """Return what became of each life; nothing of any may differ from peace."""
        lives = [
            sweep.live(mortal, one.day, one.number, one.fates, until_as_in_peace=until_as_in_peace)
            for one in all_of_them
        ]
        struck = sum(ended.code < 0 for lived in lives for ended in lived.ended)
        differing = [str(lived) for lived in lives if lived.faults]
        record_property("crash sweep", [sweep.steps, len(lives), struck, len(differing)])
        assert not differing, "\n".join(differing)
        return lives

    return live
