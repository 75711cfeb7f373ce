"""The whole sweep, as `make crash-sweep` runs it: a death before and after every step, then the rarer misfortunes.

Where FINDABLE_TEST_DATABASE is postgresql the deaths are before every step and after the last of a command, for what is
so after a step is so before the next; of the rarer misfortunes there is a sample.

WORKERS processes share the work, and MOST ends it after so many lives. Where FULL_DONE names a file, the sweep goes on
behind the lives that it counts, which are those that came to no difference. What differed is printed with where it
died, and its folder is kept; the exit code is 1 then.
"""

import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests import postgresql, scratch
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
from tests.crash.sweep import Lived, Sweep
from tests.lab import ON_POSTGRESQL

SEED = int(os.environ.get("FINDABLE_SEED") or 20261120)
SPOKEN_EVERY = 50
SAMPLED = 60  # of each kind that is not swept in full
CUTS = 240  # steps on PostgreSQL before which its server goes away


def say(text: str) -> None:
    """Print one line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def everything(sweep: Sweep) -> list[Misfortune]:
    """Return all that is tried, the deaths first, in an order in which any part is a fair sample."""
    dice = random.Random(SEED)  # noqa: S311 - a sample, no secret
    rare = [*pairs(sweep, dice, SAMPLED), *signals(sweep, dice, SAMPLED)]
    if ON_POSTGRESQL:
        every = list(deaths_once(sweep))
        rare += dice.sample([*cuts(sweep)], CUTS)
        rare += dice.sample([*full_disks(sweep), *rots(sweep)], SAMPLED)
    else:
        every = list(deaths(sweep))
        rare += [*full_pages(sweep), *full_disks(sweep), *rots(sweep)]
    dice.shuffle(every)
    dice.shuffle(rare)
    return every + rare


class Crew:
    """Threads that live days side by side, each with a program of its own."""

    def __init__(self, sweep: Sweep, count: int) -> None:
        """Begin `count` threads."""
        self._sweep, self._own = sweep, threading.local()
        self._programs: list[Mortal] = []
        self._pool = ThreadPoolExecutor(count)

    def live(self, all_of_them: list[Misfortune]) -> Iterator[Lived]:
        """Yield what became of each, in their order."""
        return self._pool.map(self._live, all_of_them)

    def close(self) -> None:
        """End the programs."""
        self._pool.shutdown()
        for program in self._programs:
            program.close()

    def _live(self, one: Misfortune) -> Lived:
        if not hasattr(self._own, "program"):
            self._own.program = Mortal()
            self._programs.append(self._own.program)
        return self._sweep.live(self._own.program, one.day, one.number, one.fates)


def main() -> int:
    """Sweep everything; return 1 where anything differed."""
    began, workers = time.monotonic(), int(os.environ.get("FINDABLE_WORKERS") or os.cpu_count() or 1)
    postgresql.announce()
    scratch.announce()
    root = Path(os.environ[scratch.PEACE])
    with Mortal() as mortal:
        sweep = Sweep(root, mortal)
        sweep.live_in_peace()
    for peace in sweep.peace.values():
        say(f"{peace.day.name}: " + ", ".join(f"{name} {count}" for name, count in peace.counted()))
    kept = Path(os.environ.get("FULL_DONE", os.devnull))
    before = int(kept.read_text(encoding="utf-8") or 0) if kept.is_file() else 0
    every = everything(sweep)[before : int(os.environ.get("FINDABLE_MOST") or 0) or None]
    say(f"N = {sweep.steps} durable steps; {len(every)} lives to live, in {root}")
    crew, done, ended, differing = Crew(sweep, workers), 0, 0, 0
    for lived in crew.live(every):
        done += 1
        ended += sum(one.code == -9 for one in lived.ended)
        if lived.faults:
            differing += 1
            say(str(lived))
        if done % SPOKEN_EVERY == 0:
            if kept.name != Path(os.devnull).name and not differing:
                kept.write_text(str(before + done), encoding="utf-8")
            say(f"{done} of {len(every)}, {differing} with differences, {(time.monotonic() - began) / 60:.1f} min")
    crew.close()
    say(
        f"N = {sweep.steps} durable steps, {done} lives, {ended} kills, {differing} with differences, "
        f"{(time.monotonic() - began) / 60:.1f} min"
    )
    if differing:
        return 1
    scratch.remove()
    return 0


if __name__ == "__main__":
    sys.exit(main())
