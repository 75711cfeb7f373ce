"""What may befall a command of the chain: deaths at every step, two in a row, signals, a full disk or database."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from tests.acceptance.steps import CUT, FULL, ROT, TAKES_ROOM, Fate
from tests.crash.sweep import Sweep

SIDES = ("before", "after")
VERIFIED = ("/faiss.index", "/metadata.json", ".npy")
MOST_PAGES = 12  # by which a database may still grow when it is full, from none


@dataclass(frozen=True)
class Misfortune:
    """What befalls command `number` of a day, one time after the other."""

    day: str
    number: int
    fates: tuple[Fate, ...]


def deaths(sweep: Sweep) -> Iterator[Misfortune]:
    """Yield a death before and one after every step of every command of every day."""
    for day, number, trail in _commands(sweep):
        for at in range(1, len(trail) + 1):
            for side in SIDES:
                yield Misfortune(day, number, (Fate(at, side),))


def deaths_once(sweep: Sweep) -> Iterator[Misfortune]:
    """Yield a death before every step and after a command's last: after one step is what is before the next."""
    for day, number, trail in _commands(sweep):
        for at in range(1, len(trail) + 1):
            yield Misfortune(day, number, (Fate(at, "before"),))
        yield Misfortune(day, number, (Fate(len(trail), "after"),))


def pairs(sweep: Sweep, dice: random.Random, count: int) -> Iterator[Misfortune]:
    """Yield two deaths in a row: the command that is run again dies as well, at any step."""
    for day, number, trail in dice.choices(_commands(sweep), k=count):
        fates = (Fate(dice.randint(1, len(trail)), dice.choice(SIDES)) for _ in range(2))
        yield Misfortune(day, number, tuple(fates))


def signals(sweep: Sweep, dice: random.Random, count: int) -> Iterator[Misfortune]:
    """Yield Ctrl-C and SIGTERM at any step."""
    for day, number, trail in dice.choices(_commands(sweep), k=count):
        fate = Fate(dice.randint(1, len(trail)), dice.choice(SIDES), dice.choice(("INT", "TERM")))
        yield Misfortune(day, number, (fate,))


def full_disks(sweep: Sweep) -> Iterator[Misfortune]:
    """Yield a disk that is full at the n-th step that takes room, for that moment or from then on, for every n."""
    for day, number, trail in _commands(sweep, backend="gemini"):
        for at, what in enumerate(trail, 1):
            if what.startswith(TAKES_ROOM):
                yield Misfortune(day, number, (Fate(at, how=FULL), Fate(at, how=FULL, once=True)))


def full_pages(sweep: Sweep) -> Iterator[Misfortune]:
    """Yield a database that may grow by a few pages and no more."""
    for day, number, _ in _commands(sweep, backend="gemini"):
        for pages in range(MOST_PAGES):
            yield Misfortune(day, number, (Fate(pages=pages),))


def rots(sweep: Sweep) -> Iterator[Misfortune]:
    """Yield a byte that changes in a file of a build right after it was sealed, before it is verified."""
    for day, number, trail in _commands(sweep, backend="gemini"):
        for at, what in enumerate(trail, 1):
            if what.startswith("os.rename") and what.endswith(VERIFIED) and ".staging/" in what:
                yield Misfortune(day, number, (Fate(at, "after", ROT),))


def cuts(sweep: Sweep) -> Iterator[Misfortune]:
    """Yield a server that goes away before every step of every command, and one that does so again in the next run."""
    for day, number, trail in _commands(sweep):
        for at in range(1, len(trail) + 1):
            yield Misfortune(day, number, (Fate(at, how=CUT),) * (1 + at % 2))


def _commands(sweep: Sweep, backend: str = "") -> list[tuple[str, int, tuple[str, ...]]]:
    """Return every command that takes steps: its day, its number, its steps in peace."""
    return [
        (day, number, trail)
        for day, peace in sweep.peace.items()
        for number, trail in enumerate(peace.trails)
        if trail and peace.day.backend.startswith(backend)
    ]
