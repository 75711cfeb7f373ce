"""The sweep: a day is lived in peace, and then again and again with a death in it, and what a user sees is compared.

A day in peace leaves a picture before each command. To live it again with a death at step n of a command is to start
from that picture, let the command die, and type the same commands again until `status` has nothing to do. Then nothing
that a user sees may differ from the end in peace. Where a life is `short`, it ends with a command behind which all that
is seen is as it was there in peace.
"""

import copy
import os
import random
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.acceptance.checker import Look, Memory, index_is_of_one_build, violations
from tests.acceptance.database import connected, names, sql
from tests.acceptance.days import DAYS, Command, Day, begin, finish, live, type_in
from tests.acceptance.engine import Engine
from tests.acceptance.process import LIVES, ROOT, Done
from tests.acceptance.product import ON_POSTGRESQL, Workspace
from tests.acceptance.stage import Stage
from tests.acceptance.state import creates, differences, seen
from tests.acceptance.steps import CUT, FULL, ROT, TAKES_ROOM, Fate

CODES = {  # with which a fate may end
    "KILL": {0, -9},
    "INT": {0, 130},
    "TERM": {0, 130},
    FULL: {0, 3},
    ROT: {5},
    CUT: {0, 4},
}
USERS_FILES = (
    "export",
    "import",
    "ask",
    "backup",
    "restore",
)  # what cannot be written there is the user's to name anew: 2
DATABASE = "postgresql" if ON_POSTGRESQL else "sqlite"
HERE = tuple(day.name for day in DAYS if DATABASE in day.databases)
HALF = (".part", ".staging", ".link-part")
SIDES = ("before", "after")
VERIFIED = ("/faiss.index", "/metadata.json", ".npy")
CREATE = ":batchGenerateContent"
ENOUGH = 10  # lives of which most are struck
MOST_PAGES = 12  # by which a database may still grow when it is full, from none
NUMBERED = (
    "experts",
    "assets",
)  # tables whose ids a server counts, but for those that another program made


class AtRest(Workspace):
    """A workspace that nobody changes while it is looked at, so that it is asked the same only once."""

    def do(self, verb: str, *arguments: object, code: int | str = 0, **options: Any) -> Done:
        """Run a command that must end with an exit code, or return how it ended before."""
        known: dict[str, Done] = self.__dict__.setdefault("known", {})
        asked = repr((verb, arguments, sorted(options.items())))
        if asked not in known:
            known[asked] = super().do(verb, *arguments, code=code, **options)
        return known[asked]

    def outputs(self, *commands: Sequence[str]) -> list[str]:
        """Return what several commands print that end well, or printed before."""
        known: dict[tuple[str, ...], str] = self.__dict__.setdefault("printed", {})
        new = [tuple(words) for words in commands if tuple(words) not in known]
        known.update(zip(new, super().outputs(*new) if new else (), strict=True))
        return [known[tuple(words)] for words in commands]


def looked_at(workspace: Workspace) -> AtRest:
    """Return a workspace as one that is at rest."""
    still = AtRest(workspace.home, workspace.url, workspace.task, workspace.settings)
    still.data, still.below, still.seen = workspace.data, workspace.below, workspace.seen
    return still


def end_of(workspace: Workspace, engine: Engine) -> dict[str, Any]:
    """Return all that a user sees of a workspace, `rows` by state apart; reports are more where one was made twice."""
    found = seen(workspace)
    found["files"] = [name for name in found["files"] if not name.startswith("reports/")]
    if workspace.server:  # which leaves out the numbers that an undone transaction took
        for concept in found["tables"].get("passage_concepts", []):
            concept.pop("id")
    return found | {
        "rows": {task: one["rows"] for task, one in found["status"].items()},
        "creates": creates(engine),
    }


@dataclass(frozen=True)
class Misfortune:
    """What befalls command `number` of a day, one time after the other."""

    number: int
    fates: tuple[Fate, ...]


@dataclass
class Lived:
    """What became of one day with a fate in it: how each disturbed command ended, and all that is not as it must be."""

    day: str
    command: Command
    fates: Sequence[Fate]
    ended: list[Done] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Tell where it died and what was wrong."""
        where = "; then ".join(
            f"{fate.how} {fate.side} step {fate.at} ({fate.pages})" for fate in self.fates
        )
        last = " / ".join(one.trail[-1] if one.trail else "" for one in self.ended)
        return f"{self.day}: {self.command.verb}: {where} ({last}): {'; '.join(self.faults) or 'no difference'}"


class Sweep:
    """One day: as it goes in peace, and the lives that start from its pictures."""

    def __init__(self, root: Path, day: Day) -> None:
        """Take an empty folder; nothing runs yet."""
        self.day = day
        self.stage = Stage(root)
        self.trails: list[list[str]] = []
        self._behind: list[dict[str, Any]] = []
        self._memories: list[Memory] = []
        self._end: dict[str, Any] = {}

    @property
    def steps(self) -> int:
        """Return how many durable steps the day takes in peace."""
        return sum(map(len, self.trails))

    @property
    def is_on_server(self) -> bool:
        """Return whether the database is on a PostgreSQL server."""
        return ON_POSTGRESQL or self.day.on_server

    def live_in_peace(self, *, for_short_lives: bool = False) -> None:
        """Live the day once, and before it what it begins after, with a picture before each command."""
        day = self.day
        stage = self.stage
        if day.before:
            live(day.before[-1], stage.home, stage.engine)
        stage.home.mkdir(exist_ok=True)
        memory = Memory()
        for number, command in enumerate(day.commands):
            stage.keep(str(number))
            here = begin(day, stage.home, stage.engine)
            if number or day.before:
                self._check(looked_at(here), memory)
            self._memories.append(copy.deepcopy(memory))
            self.trails.append(type_in(here, day, stage.engine, command, fate=LIVES).trail)
            self._behind.append(end_of(looked_at(here), stage.engine) if for_short_lives else {})
        finish(here, day, stage.engine)
        still = looked_at(here)
        self._check(still, memory, is_settled=True)
        self._end = end_of(still, stage.engine)

    def live(self, misfortune: Misfortune, *, short: bool = False) -> Lived:
        """Live the day again from the command that meets its fates one after the other and then none."""
        day = self.day
        stage = self.stage
        lived = Lived(day.name, day.commands[misfortune.number], misfortune.fates)
        stage.back_to(str(misfortune.number))
        here = begin(day, stage.home, stage.engine)
        try:
            self._meet(here, lived)
            self._go_on(here, misfortune.number, lived, short=short)
        except AssertionError as error:
            lived.faults.append(str(error))
        return lived

    def try_read_only(self, number: int) -> tuple[Done, list[str]]:
        """Run one command on a disk that cannot be written; return how it ended and which files changed."""
        self.stage.back_to(str(number))
        here = begin(self.day, self.stage.home, self.stage.engine)
        before = _contents(here.home)
        done = type_in(
            here,
            self.day,
            self.stage.engine,
            self.day.commands[number],
            codes=range(256),
            read_only=True,
        )
        after = _contents(here.home)
        return done, sorted(
            name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
        )

    def _meet(self, workspace: Workspace, lived: Lived) -> None:
        for fate in lived.fates:
            codes = _codes(lived.command, fate)
            there = _half_written(workspace.home)
            how = {"fate": fate, "off_days": lived.command.off_days}
            done = type_in(
                workspace, self.day, self.stage.engine, lived.command, codes=codes, **how
            )
            lived.ended.append(done)
            give_back_numbers(workspace)
            lived.faults += index_is_of_one_build(Look(workspace))
            left = sorted(_half_written(workspace.home) - there)
            lived.faults += (
                [f"left behind by who ended by itself: {left}"] if left and done.code >= 0 else []
            )

    def _go_on(self, workspace: Workspace, number: int, lived: Lived, *, short: bool) -> None:
        day = self.day
        engine = self.stage.engine
        memory = copy.deepcopy(self._memories[number])
        for index, command in enumerate(day.commands[number:], number):
            type_in(workspace, day, engine, command, codes=command.again)
            if short:
                still = looked_at(workspace)
                if end_of(still, engine) == self._behind[index]:
                    lived.faults += self._wrong(still, memory)
                    return
        finish(workspace, day, engine)
        still = looked_at(workspace)
        lived.faults += self._wrong(still, memory, is_settled=True)
        end = end_of(still, engine)
        parts = day.same or tuple(self._end)
        lived.faults += differences(
            {part: self._end[part] for part in parts}, {part: end[part] for part in parts}
        )

    def _wrong(
        self, workspace: Workspace, memory: Memory, *, is_settled: bool = False
    ) -> list[str]:
        engine = self.stage.engine
        look = Look(
            workspace,
            () if self.day.alone else engine.batches(),
            engine.creates(),
            memory,
            is_settled=is_settled,
        )
        return violations(look, excused=self.day.excused)

    def _check(self, workspace: Workspace, memory: Memory, *, is_settled: bool = False) -> None:
        wrong = self._wrong(workspace, memory, is_settled=is_settled)
        assert not wrong, f"{self.day.name} in peace: {wrong}"


def give_back_numbers(workspace: Workspace) -> None:
    """Let PostgreSQL give ids again that an undone transaction took, so that ends can be compared."""
    if not workspace.server:
        return
    with connected(workspace) as connection:
        there = {*names(connection)}
    for table in there.intersection(NUMBERED):
        if sql(workspace, f"SELECT pg_get_serial_sequence('{table}', 'id')") == [(None,)]:
            continue
        newest = f"coalesce((SELECT max(id) FROM {table}), 0) + 1"  # noqa: S608 - our names
        sql(workspace, f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {newest}, false)")


def _half_written(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*") if path.name.endswith(HALF)}


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _codes(command: Command, fate: Fate) -> Sequence[int]:
    full = fate.how == FULL or fate.pages >= 0
    named = {2} if full and command.verb in USERS_FILES else set()
    return sorted(CODES[FULL if full else fate.how] | {*command.again} | named)


Kind = Callable[[Sweep], Iterator[Misfortune]]


def deaths(sweep: Sweep) -> Iterator[Misfortune]:
    """Yield a death before and one after every step of every command."""
    for number, trail in enumerate(sweep.trails):
        for at in range(1, len(trail) + 1):
            yield from (Misfortune(number, (Fate(at, side),)) for side in SIDES)


def deaths_once(sweep: Sweep) -> Iterator[Misfortune]:
    """Yield a death before every step and after a command's last: after one step is what is before the next."""
    for number, trail in enumerate(sweep.trails):
        yield from (Misfortune(number, (Fate(at),)) for at in range(1, len(trail) + 1))
        yield from [Misfortune(number, (Fate(len(trail), "after"),))] if trail else ()


def pairs(sweep: Sweep) -> Iterator[Misfortune]:
    """Yield two deaths in a row: the command that is run again dies as well, a third of its steps later or earlier."""
    for number, trail in enumerate(sweep.trails):
        for at in range(1, len(trail) + 1):
            again = (at + len(trail) // 3) % len(trail) + 1
            yield Misfortune(number, (Fate(at), Fate(again, SIDES[at % 2])))


def signals(sweep: Sweep) -> Iterator[Misfortune]:
    """Yield Ctrl-C and SIGTERM at any step."""
    for death in deaths(sweep):
        fate = death.fates[0]
        yield from (
            Misfortune(death.number, (Fate(fate.at, fate.side, how),)) for how in ("INT", "TERM")
        )


def full_disks(sweep: Sweep) -> Iterator[Misfortune]:
    """Yield a disk that is full at the n-th step that takes room, for that moment or from then on, for every n."""
    for number, trail in enumerate(sweep.trails):
        for index, what in enumerate(trail, 1):
            if what.startswith(TAKES_ROOM) and not sweep.day.alone:
                yield Misfortune(number, (Fate(index, how=FULL), Fate(index, how=FULL, once=True)))


def full_pages(sweep: Sweep) -> Iterator[Misfortune]:
    """Yield a database file that may grow by a few pages and no more."""
    for number, trail in enumerate(sweep.trails):
        if trail and not sweep.day.alone and not sweep.is_on_server:
            yield from (Misfortune(number, (Fate(pages=pages),)) for pages in range(MOST_PAGES))


def cuts(sweep: Sweep) -> Iterator[Misfortune]:
    """Yield a server that goes away before every step, and one that does so again in the next run."""
    for number, trail in enumerate(sweep.trails if sweep.is_on_server else ()):
        yield from (
            Misfortune(number, (Fate(at, how=CUT),) * (1 + at % 2))
            for at in range(1, len(trail) + 1)
        )


def rots(sweep: Sweep) -> Iterator[Misfortune]:
    """Yield a byte that changes in a file of a build right after it was sealed, before it is verified."""
    for number, trail in enumerate(sweep.trails):
        for index, what in enumerate(trail, 1):
            if (
                what.startswith("os.rename")
                and what.endswith(VERIFIED)
                and _is_staged(what)
                and not sweep.day.alone
            ):
                yield Misfortune(number, (Fate(index, "after", ROT),))


def creates_begun(sweep: Sweep) -> Iterator[Misfortune]:
    """Yield a death after each step from the intent of a create to the commit of what came of it."""
    for number, trail in enumerate(sweep.trails):
        for create, what in enumerate(trail, 1):
            if what.startswith("send POST") and CREATE in what and not sweep.day.alone:
                commits = [at for at, one in enumerate(trail, 1) if one.startswith("commit")]
                intent = max(at for at in commits if at < create)
                record = min(at for at in commits if at > create)
                yield from (
                    Misfortune(number, (Fate(at, "after"),)) for at in range(intent, record + 1)
                )


def _is_staged(what: str) -> bool:
    return ".staging/" in what.rpartition(" ")[2]


RARE: Mapping[Kind, int] = {  # so many of each in twenty lives
    pairs: 2,
    signals: 3,
    full_disks: 2,
    full_pages: 1,
    cuts: 2,
    rots: 1,
    creates_begun: 2,
}


def sample(sweep: Sweep, dice: random.Random, count: int) -> list[Misfortune]:
    """Draw so many misfortunes of a day: some of each rare kind that it may meet, and deaths."""
    drawn: list[Misfortune] = []
    for kind, share in RARE.items():
        every = list(kind(sweep))
        drawn += dice.sample(every, min(len(every), max(1, share * count // 20)))
    every = list(deaths(sweep))
    return drawn[:count] + dice.sample(every, min(len(every), max(0, count - len(drawn))))


def everything(sweep: Sweep, dice: random.Random, most: int = 24) -> list[Misfortune]:
    """Return all that is tried of a day: every death, and no more than so many of each rare kind."""
    rare = [
        one
        for kind in RARE
        for every in [list(kind(sweep))]
        for one in dice.sample(every, min(len(every), most))
    ]
    every = [*deaths_once(sweep), *rare]
    dice.shuffle(every)
    return every


def meet(
    sweep: Sweep,
    every: Sequence[Misfortune],
    tell: Callable[[str, object], None],
    *,
    short: bool = False,
) -> list[Lived]:
    """Let misfortunes happen, one life each; nothing of any may differ from peace. `tell` the summary of the run."""
    lives = [sweep.live(one, short=short) for one in every]
    struck = sum(done.code != 0 for lived in lives for done in lived.ended)
    differing = [str(lived) for lived in lives if lived.faults]
    tell("crash sweep", [sweep.day.name, sweep.steps, len(lives), struck, len(differing)])
    assert not differing, "\n".join(differing)
    assert 2 * struck > len(lives) or len(lives) < ENOUGH, "most lives had no death in them"
    return lives


def _seed() -> int:
    """Return SEED, or the number that the commit gives: each has other days and deaths."""
    given = os.environ.get("FINDABLE_SEED")
    command = ["git", "rev-parse", "--short=8", "HEAD"]
    said = (
        ""
        if given
        else subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False
        ).stdout.strip()
    )
    return int(given) if given else int(said or "1", 16)


SEED = _seed()  # before a test takes the environment away


def dice_of(name: str) -> random.Random:
    """Return dice that fall the same way each time, for one seed."""
    return random.Random(f"{SEED} {DATABASE} {name}")  # noqa: S311 - a sample, no secret


def drawn_days(count: int) -> list[str]:
    """Return the days that are lived with deaths this time."""
    return dice_of("days").sample(HERE, count)
