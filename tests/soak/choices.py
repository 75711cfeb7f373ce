"""Which commands a turn runs: any of them, with whatever input they need. A new command is one line in `COMMANDS`."""

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jobs import commands
from pipeline.core.ranking import Rank
from tests.soak.crowd import Command
from tests.soak.people import TRADES, People
from tests.soak.troubles import Fate

ENDING = frozenset({"KILL", "INT", "TERM"})
Words = tuple[str, ...]


class Choices:
    """Chooses the commands of one turn; `touched` are the people they change, `said` what they write of them."""

    def __init__(self, dice: random.Random, people: People, folder: Path, *, batches: Sequence[int]) -> None:
        """Choose by these dice; `batches` are those that can be cancelled."""
        self._dice, self._people, self._folder, self._batches = dice, people, folder, batches
        self.touched: set[str] = set()
        self.said: dict[str, Mapping[str, str | None]] = {}

    def command(self, fate: Fate) -> Command:
        """Return one command; none that writes people twice in a turn, so that it is known who wrote what."""
        known = [name for name in COMMANDS if name in commands.COMMANDS]
        name = self._dice.choices(known, weights=[COMMANDS[name][0] for name in known])[0]
        if name in self.said:
            name = "status"
        words = COMMANDS[name][1](self)
        rows = {"BATCH_ROWS": str(self._dice.randint(3, 30))} if name == "batch-submit" else {}
        is_long = fate.signal in ENDING and self._dice.random() < 0.5  # what waits for all must be ended
        waits = {"WAIT": str(int(is_long))} if name == "batch-poll" else {}
        days = {"KEEP_DAYS": str(self._dice.choice((0, 1)))} if name == "clean" else {}
        return Command((name, *words), fate, rows | waits | days)

    def people_file(self) -> Words:
        """Write a file to import."""
        path = self._folder / "people.jsonl"
        return self._wrote("import", path, self._people.file(self._dice, path, self.touched))

    def person_file(self) -> Words:
        """Write a file of one person to add."""
        path = self._folder / "person.json"
        return self._wrote("add-expert", path, self._people.document(self._dice, path))

    def _wrote(self, name: str, path: Path, said: Mapping[str, str]) -> Words:
        self.said[name] = said
        self.touched |= said.keys()
        return (str(path),)

    def forgotten(self) -> Words:
        """Choose whom to forget."""
        known = sorted(set(self._people.present) - self.touched)
        name = self._dice.choice(known) if known else "nobody"
        self.said["forget"] = {name: None} if known else {}
        self.touched.add(name)
        return (name, "--yes")

    def question(self) -> Words:
        """Choose what to search for, and how."""
        how = (
            (f"who knows {self._dice.choice(TRADES)}",),
            ("bees -hive", "--rank", str(self._dice.choice(list(Rank)))),
            ("--like", self._dice.choice(self._people.present or ["nobody"])),
            ("knows", "--where", "bio CONTAINS 'a' AND tags IS NOT NULL", "--why"),
        )
        return (*self._dice.choice(how), "-k", "5", "--json")


def _plain(*words: str) -> Callable[[Choices], Words]:
    return lambda _choices: words


# name -> how often, relative to the others, and the words after the name
COMMANDS: dict[str, tuple[int, Callable[[Choices], Words]]] = {
    "import": (12, Choices.people_file),
    "batch-submit": (18, _plain()),
    "batch-poll": (14, _plain()),
    "batch-ingest": (14, _plain()),
    "index": (10, lambda one: () if one._dice.random() < 0.7 else ("--rollback",)),
    "add-expert": (6, Choices.person_file),
    "search": (5, Choices.question),
    "export": (4, lambda one: (str(one._folder / f"out.{one._dice.choice(('csv', 'json', 'jsonl'))}"),)),
    "batch-cancel": (4, lambda one: (str(one._dice.choice(one._batches or [999_999])), "--yes")),
    "score": (3, _plain()),
    "unpark": (3, _plain("--all", "--yes")),
    "status": (3, _plain("--json")),
    "doctor": (3, lambda one: () if one._dice.random() < 0.5 else ("--fix",)),
    "show": (2, lambda one: (one._dice.choice(one._people.present or ["nobody"]), "--json")),
    "batches": (1, _plain("--json")),
    "parked": (1, _plain("--json")),
    "forget": (3, Choices.forgotten),
    "backup": (2, lambda one: (str(one._folder / f"backup-{one._dice.randrange(10**9)}"),)),
    "clean": (2, _plain()),
    "tags": (1, _plain("--json")),
}
