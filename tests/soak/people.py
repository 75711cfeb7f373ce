"""The people of a soak: files to import, rows that another program changes and deletes, and what must be there.

For each username it is known which values the row may have: one where it is certain, several where a command that would
have changed it was killed; `None` stands for no row. What is found afterwards is what is certain from then on.
"""

import json
import random
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

TRADES = (
    *("water law", "beekeeping", "machine learning", "bookbinding", "marine biology", "tax accounting", "typography"),
    *("organic chemistry", "jazz piano", "database design", "forestry", "ceramics", "nursing", "astronomy"),
)
ODD = ("", " naïve Ümläute", ' and "quotes", commas', " 数学", " <b>mark-up</b>", "\nsecond line", "\u2028separated")
MOST_PEOPLE = 400
NEWEST = 0.4  # how often the newest person is deleted, whose id a table may give again
BY_HAND = '["by hand"]'


class People:
    """Who may be in the table, and with what biography."""

    def __init__(self, database: Path) -> None:
        """Know no person yet."""
        self._database = database
        self._count = 0
        self.may: dict[str, set[str | None]] = {}
        self.by_hand: set[str] = set()
        self.named: set[str] = set()
        self.deleted = 0
        self.changed = 0

    @property
    def present(self) -> list[str]:
        """Return who is there for certain."""
        return sorted(name for name, values in self.may.items() if None not in values)

    def new(self, dice: random.Random, count: int) -> dict[str, str]:
        """Return usernames that were never used, with a biography each; a few have none."""
        found = {}
        for _ in range(count):
            self._count += 1
            found[f"soak-{self._count:05d}"] = biography(dice, self._count) if dice.random() < 0.93 else ""
        self.named |= found.keys()
        return found

    def file(self, dice: random.Random, path: Path, untouched: Iterable[str]) -> dict[str, str]:
        """Write a file to import, of new people and changed ones, and return what it says by username."""
        said = self.new(dice, dice.randint(3, 25))
        known = sorted(set(self.present) - set(untouched))
        for name in dice.sample(known, min(len(known), dice.randint(0, 4))):
            said[name] = biography(dice, dice.randrange(10_000))
        rows = [{"username": name, "first_name": name, "bio": bio} for name, bio in said.items()]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return said

    def document(self, dice: random.Random, path: Path) -> dict[str, str]:
        """Write the file of one new person for add-expert, and return what it says."""
        said = self.new(dice, 1)
        name, bio = next(iter(said.items()))
        path.write_text(json.dumps({"username": name, "bio": bio}), encoding="utf-8")
        return said

    def may_have(self, said: Mapping[str, str | None], *, done: bool) -> None:
        """Keep what a command wrote, or where it was cut off may have written; None where it removes the person."""
        for name, bio in said.items():
            before: set[str | None] = set() if done else self.may.get(name, {None})
            self.may[name] = before | {bio}

    def meddle(self, dice: random.Random, untouched: Iterable[str]) -> str:
        """Be another program, for one transaction: change, delete, insert, tag by hand; return what was done.

        `untouched` are people whom a command of ours is changing at this moment.
        """
        known = sorted(set(self.present) - set(untouched))
        most = min(5, len(known) // 4) + max(0, len(known) - MOST_PEOPLE)
        gone = dice.sample(known, min(len(known), dice.randint(0, most)))
        if known and dice.random() < NEWEST:
            gone = sorted({*gone, known[-1]})
        changed = [name for name in dice.sample(known, min(len(known), dice.randint(0, 5))) if name not in gone]
        new = self.new(dice, dice.randint(0, 2))
        bios = {name: biography(dice, dice.randrange(10_000)) for name in changed}
        with closing(sqlite3.connect(self._database, timeout=60)) as connection, connection:
            connection.executemany("DELETE FROM experts WHERE username = ?", [(name,) for name in gone])
            connection.executemany("UPDATE experts SET bio = ? WHERE username = ?", [(b, n) for n, b in bios.items()])
            connection.executemany("INSERT INTO experts (username, bio) VALUES (?, ?)", list(new.items()))
            tagged = [name for name in dice.sample(known, min(len(known), 2)) if _tag(connection, name)]
        self.may.update({name: {None} for name in gone})
        self.may.update({name: {bio} for name, bio in (bios | new).items()})
        self.by_hand |= set(tagged)
        self.deleted += len(gone)
        self.changed += len(bios)
        return f"deleted {len(gone)}, changed {len(bios)}, inserted {len(new)}, tagged {len(tagged)}"

    def wrong(self, rows: dict[str, str]) -> Iterator[str]:
        """Yield who is lost, back, or has a biography that was not given; what is found is certain from now on."""
        for name in sorted(rows.keys() - self.may.keys()):
            yield f"{name} is in the table and nobody put them there"
        for name, values in self.may.items():
            found = rows.get(name)
            if found not in values:
                yield f"{name} has {found!r} and not one of {sorted(map(repr, values))}"
            values.intersection_update({found})
            values.add(found)


def _tag(connection: sqlite3.Connection, name: str) -> bool:
    """Tag a person by hand who has no tags yet, claimed or not; return whether it was done."""
    query = "UPDATE experts SET tags = ? WHERE username = ? AND tags IS NULL"
    return connection.execute(query, (BY_HAND, name)).rowcount == 1


def biography(dice: random.Random, number: int) -> str:
    """Return a biography unlike any other."""
    first, second = dice.sample(TRADES, 2)
    return f"I have taught {first} for years and know {second}, number {number}{dice.choice(ODD)}."
