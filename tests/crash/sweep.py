"""The sweep: every day of the chain is lived once in peace and then again and again with a death in it, and compared.

A day in peace leaves, before each command, a picture of the workspace and of the engine's state. To live it again with
a death at step n of a command is to start from that picture, let the command die, and type the same commands again
until `status` has nothing to do. Then nothing may differ from the end in peace. In the whole sweep a life ends where a
command left all as it was behind that command in peace, in every table and file: what follows is the same.
"""

import fcntl
import itertools
import json
import os
import pickle
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from tests import ledger, postgresql
from tests.acceptance.steps import CUT, FULL, ROT, Fate
from tests.crash.chain import DAY_OF, EVERY, IMAGES, OWN, Command, Day
from tests.crash.final_state import broken_index, calls_without_mark, final_state, left_over, rows_of_tables
from tests.crash.program import LIVES, Ended, Mortal
from tests.lab import CONTROL, ON_POSTGRESQL, Workspace, copy_tree

KEY = "key-of-the-sweep"
PATIENCE_S = 1500.0  # for days in peace that another process lives
MOST_COMMANDS = 12  # that it may take until there is nothing to do
WAITS = {
    "BATCH_ROWS": "4",
    "LIST_LAG": "0",
    "CREATE_TIMEOUT": "2",  # a busy engine must keep it, or a second batch is made and cancelled, as it should
    "CALL_TIMEOUT": "5",
    "RETRY_FOR": "2",
    "RETRY_WAIT": "0.01",
    "POLL_FIRST": "0.02",
    "POLL_MOST": "0.1",
    "POLL_PATIENCE": "3",
}
CODES = {
    "KILL": {0, -9},
    "INT": {0, 130},
    "TERM": {0, 130},
    FULL: {0, 3},
    ROT: {5},
    CUT: {0, 4},
}  # with which a fate may end
USERS_FILES = ("export", "import")  # what cannot be written there is the user's to name anew: 2
LONGEST = 400  # characters of one difference
COUNTED = {"requests_per_day": 1_000_000}  # no limit, but so the engine keeps count of live calls in its state
CALM = {"batch_looks": 1, "paused": False, "quotas": {"gemini-3.5-flash-lite": COUNTED}}
TRADES = ("bees", "law", "glass", "ships", "bread", "clocks", "rivers", "maps", "looms", "soil", "stars")
OWN_TASK = """
from typing import Literal
from pydantic import BaseModel
from findable import Quote, Task

class Answer(BaseModel):
    verdict: Literal["praise", "blame"]
    quote: Quote
    tags: list[str]
{fields}

task = Task(
    answer=Answer, items="reviews.csv", prompt="{{product}}: {{text}}", version={version}, refresh=True, label="{{id}}"
{index})
"""
HEADER = "Username,First Name,Last Name,Job Title,Company,Bio\n"


def write_inputs(folder: Path) -> Path:
    """Write the files that the commands read, and return their folder: seven people with a bio, then four more.

    And five passages, images of one colour each and one that is cut off, and two files each of a declared task and its
    rows: as they are first, and as they are later.
    """
    folder.mkdir(parents=True)
    rows = [
        f"person-{number},Given{number},Name{number},Keeper of {trade},House of {trade},My work is {trade} and water.\n"
        for number, trade in enumerate(TRADES)
    ]
    (folder / "people.csv").write_text(HEADER + "".join(rows[:7]) + "silent,No,Bio,Baker,,\n")
    (folder / "more.csv").write_text(HEADER + rows[1].replace("Keeper", "Friend") + "".join(rows[7:]) + ",Nobody,,,,\n")
    _write_judged(folder)
    for colour in ("navy", "lime", "red", "gold", "teal", "pink"):
        Image.new("RGB", (24, 16), colour).save(folder / f"{colour}.png")
    (folder / "cut.png").write_bytes((folder / "teal.png").read_bytes()[:40])
    new = {"Username": "new", "First Name": "New", "Bio": "I mend clocks and bells."}
    passages = (
        {
            "id": f"p-{number}",
            "text": f"We study {trade} in wet cellars. \U0001f41d Old {trade} keep longer than new {trade}.",
        }
        for number, trade in enumerate(TRADES[:5])
    )
    (folder / "passages.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in passages))
    (folder / "new.json").write_text(json.dumps(new))
    reviews = [
        f"r-{number},{trade},Old {trade} keep longer than new {trade}. I praise the {trade}.\n"
        for number, trade in enumerate(TRADES)
    ]
    changed = reviews[1].replace("I praise", "But I blame")
    (folder / "own.csv").write_text("".join(["id,product,text\n", *reviews[:6], "blank,,\n"]))
    (folder / "own-changed.csv").write_text("".join(["id,product,text\n", changed, *reviews[2:9], "blank,,\n"]))
    (folder / "own.py").write_text(OWN_TASK.format(fields="", version=1, index=""))
    (folder / "own-indexed.py").write_text(OWN_TASK.format(fields="", version=1, index=', index="{text} {tags}"'))
    raised = OWN_TASK.format(fields="    stars: int | None = None", version=2, index="")
    (folder / "own-raised.py").write_text(raised)
    return folder


def _write_judged(folder: Path) -> None:
    """Write questions about the first seven people with who answers them, and these people without what is asked."""
    words = ("keeper", "house", "work", "old", "my", "a", "on", "of")
    asked = [(f"{word} {trade}", number) for number, trade in enumerate(TRADES[:7]) for word in words]
    queries = (json.dumps({"qid": f"q{at}", "text": text}) for at, (text, _) in enumerate(asked))
    (folder / "queries.jsonl").write_text("".join(f"{query}\n" for query in queries))
    (folder / "qrels.tsv").write_text("".join(f"q{at} 0 person-{number} 1\n" for at, (_, number) in enumerate(asked)))
    rows = (f"person-{number},,,,,Nothing to tell.\n" for number in range(7))
    (folder / "worse.csv").write_text(HEADER + "".join(rows))


@dataclass
class Place:
    """A workspace and the engine it speaks to, in one folder, while a day is lived there."""

    mortal: Mortal
    day: Day
    home: Path
    inputs: Path
    engine: tuple[str, int] | None = None

    @property
    def data(self) -> Path:
        """Return the workspace's directory."""
        return self.home / "data"

    @property
    def state(self) -> Path:
        """Return where the engine keeps its state: on the local backend inside the workspace."""
        return self.data if self.day.backend == "local" else self.home / "engine"

    @property
    def environ(self) -> dict[str, str]:
        """Return the environment of its commands."""
        settings = {**WAITS, **self.day.settings, "DATA": str(self.data)}
        environ = {f"FINDABLE_{name}": value for name, value in settings.items()}
        environ = Workspace(self.data, environ).environ  # where the database is, too
        if self.engine is not None:
            environ |= {"GEMINI_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": self.engine[0]}
        return environ

    def run(self, *args: str, fate: Fate = LIVES, read_only: bool = False) -> Ended:
        """Run one command."""
        words = [word.format(inputs=self.inputs, here=self.home) for word in args]
        return self.mortal.run(self.environ, *words, cwd=self.home, fate=fate, read_only=read_only)

    def start(self, engine: Mapping[str, Any]) -> None:
        """Start the engine, behaving so, where it is none of its own commands' business."""
        if self.day.backend != "local":
            faults = [dict(fault) for fault in self.day.faults]
            self.engine = self.mortal.start_engine(self.state, settings={**CALM, **engine}, faults=faults)

    def stop(self) -> None:
        """Kill the engine."""
        if self.engine is not None:
            self.mortal.end_engine(self.engine[1])
            self.engine = None

    def give_back_numbers(self) -> None:
        """Let PostgreSQL give ids again that an undone transaction took, so that ends can be compared."""
        workspace = Workspace(self.data, self.environ)
        for table in {"experts", "assets"} & {*workspace.tables()} if ON_POSTGRESQL else ():
            sequence = f"pg_get_serial_sequence('{table}', 'id')"
            newest = workspace.scalar(f"SELECT coalesce(max(id), 0) FROM {table}")  # noqa: S608 - our names
            workspace.query(f"SELECT setval({sequence}, :next, false)", next=newest + 1)

    def take_over_tasks(self) -> None:
        """Let a copied workspace find the files of a task, which it knows by where they were."""
        workspace = Workspace(self.data, self.environ)
        if self.data.is_dir() and "findable_tasks" in workspace.tables():
            for column, name in (("path", "reviews.py"), ("items", "reviews.csv")):
                here = str(self.home / "tasks" / name)
                workspace.change(f"UPDATE findable_tasks SET {column} = :here", here=here)  # noqa: S608 - our names

    def behave(self, engine: Mapping[str, Any]) -> None:
        """Let the engine behave as a command wants it."""
        if self.engine is not None:
            CONTROL.post(f"{self.engine[0]}/_emu/settings", json={**CALM, **engine}).raise_for_status()

    def status(self, *words: str) -> dict[str, Any]:
        """Return where the workspace stands, by the command; it works at any moment, and adds up."""
        ended = self.run("status", "--json", *words)
        assert ended.code == 0, ended.err
        status: dict[str, Any] = json.loads(ended.out)
        items = status[self.day.settings.get("TASK", "experts")]
        assert items["total"] == sum(count for name, count in items.items() if name != "total")
        return status

    def is_known(self) -> bool:
        """Return whether the workspace was made and has the day's task, so that `status` can tell of it."""
        if not self.data.is_dir() or not (ON_POSTGRESQL or (self.data / "findable.db").is_file()):
            return False
        task = self.day.settings.get("TASK")
        wanted = f"{task}_items" if task in {OWN["TASK"], IMAGES["TASK"]} else "findable_changes"
        return wanted in Workspace(self.data, self.environ).tables()

    def unseen(self, found: Mapping[str, Any]) -> list[str]:
        """Return how a look at every row differs from what `status` found by the lists of what changed."""
        listed, exact = ({**(one["index"] or {}), "compared_at": None} for one in (found, self.status("--exact")))
        return [] if listed == exact else [f"by its lists the index stands at {listed}, and in truth at {exact}"]

    def finish(self) -> dict[str, Any]:
        """Type what `status` says until it has nothing to say but to search, to import, or to look at who is parked.

        What it says in the end is returned.
        """
        self.behave({})
        for _ in range(MOST_COMMANDS):
            found = self.status()
            following = ledger.next_by_batch(found)
            if not following or following.startswith(("make search", "make parked", "make import", "make export")):
                return found
            words = [word for word in following.split()[1:] if "=" not in word]  # TASK is among the settings
            ended = self.run(*words, *(["--yes"] if words[0].startswith("passages") else []))
            assert ended.code == 0, (following, ended)
        raise AssertionError(f"still something to do: {following}")

    def end(self) -> dict[str, Any]:
        """Return what became of the workspace."""
        return final_state(self.data, self.state)

    def behind(self) -> dict[str, Any]:
        """Return the same between two commands, with how many rows each table has."""
        return {**self.end(), "rows": rows_of_tables(self.data)} if self.is_known() else {}


@dataclass(frozen=True)
class Peace:
    """A day as it goes when no process dies: the steps of each command, what is there behind it, and the end."""

    day: Day
    trails: tuple[tuple[str, ...], ...]
    behind: tuple[dict[str, Any], ...]
    end: dict[str, Any]

    def counted(self) -> list[tuple[str, int]]:
        """Return each command with the number of its steps."""
        return [(command.name, len(trail)) for command, trail in zip(self.day.commands, self.trails, strict=True)]


@dataclass
class Lived:
    """What became of one day with a fate in it: how each disturbed command ended, and all that is not as it must be."""

    day: str
    command: str
    fates: Sequence[Fate]
    ended: list[Ended] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Tell where it died and what was wrong."""
        where = "; then ".join(f"{fate.how} {fate.side} step {fate.at}" for fate in self.fates)
        last = " / ".join(one.last for one in self.ended)
        return f"{self.day}: {self.command}: {where} ({last}): {'; '.join(self.faults) or 'no difference'}"


class Sweep:
    """All days in peace, and the days with a death in them that start from their pictures.

    Several processes may share one: the first that asks for it lives the days in peace, the others wait for that.
    """

    def __init__(self, root: Path, mortal: Mortal) -> None:
        """Keep everything below `root`; nothing runs yet."""
        self._root = root
        self._mortal = mortal
        self.inputs = root / "inputs"
        self.peace: dict[str, Peace] = {}
        self._lives = itertools.count(1)

    @property
    def steps(self) -> int:
        """Return N: how many durable steps all days take in peace."""
        return sum(count for peace in self.peace.values() for _, count in peace.counted())

    def live_in_peace(self) -> None:
        """Live every day once, with a picture before each command and one at its end; or have another one's.

        Raises:
            AssertionError: the process that lives them did not come to their end.
        """
        told = self._root / "peace.pickle"
        try:
            self._root.mkdir()
        except FileExistsError:
            until = time.monotonic() + PATIENCE_S
            while not told.exists():
                assert time.monotonic() < until, "no peace"
                time.sleep(0.1)
            self.peace, databases = pickle.loads(told.read_bytes())  # noqa: S301 - our own
            postgresql.take_over(databases)
            return
        self._live_all()
        part = self._root / "peace.part"
        part.write_bytes(pickle.dumps((self.peace, postgresql.made_below(self._root))))
        part.rename(told)

    def _live_all(self) -> None:
        write_inputs(self.inputs)
        for day in DAY_OF.values():
            with (
                self._home(day, self._root / "peace" / day.name) as home,
                self._place(self._mortal, day, home=home) as place,
            ):
                self.peace[day.name] = self._live(place)

    def live(
        self, mortal: Mortal, day: str, number: int, fates: Sequence[Fate], *, until_as_in_peace: bool = False
    ) -> Lived:
        """Live a day again from its command `number` on, which meets its fates one after the other and then none.

        To its end, or `until_as_in_peace`: until all is as it was there.
        """
        peace, command = self.peace[day], DAY_OF[day].commands[number]
        lived = Lived(day, command.name, fates)
        with self._home(peace.day, self._new_home()) as home:
            copy_tree(self._picture(day, number), home)
            with self._place(mortal, peace.day, home=home, number=number) as place:
                try:
                    self._meet(place, command, lived)
                    self._go_on(place, number, lived, until_as_in_peace=until_as_in_peace)
                except AssertionError as error:
                    lived.faults.append(str(error))
            if not lived.faults:
                _remove(home)
        return lived

    def try_read_only(self, mortal: Mortal, day: str, number: int) -> tuple[Ended, list[str]]:
        """Run one command of a day on a disk that cannot be written; return how it ended and which files changed."""
        home = self._new_home()
        copy_tree(self._picture(day, number), home)
        (home / "data").mkdir(exist_ok=True)
        with self._place(mortal, DAY_OF[day], home=home, number=number) as place:
            before = _contents(place.data)
            ended = place.run(*DAY_OF[day].commands[number].words, read_only=True)
            after = _contents(place.data)
        _remove(home)
        return ended, sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))

    def _meet(self, place: Place, command: Command, lived: Lived) -> None:
        place.behave(command.engine)
        for fate in lived.fates:
            ended = place.run(*command.words, fate=fate)
            lived.ended.append(ended)
            place.give_back_numbers()
            lived.faults += [f"unfit to be seen: {ended.err}"] if _is_ugly(ended) else []
            lived.faults += [f"ended with {ended.code}: {ended.err}"] if ended.code not in _codes(command, fate) else []
            if not place.day.unmakes and (wrong := broken_index(place.data)):
                lived.faults.append(wrong)
            if ended.code >= 0 and (left := left_over(place.data)):
                lived.faults.append(f"left behind by who ended by itself: {left}")
        if EVERY and place.is_known():
            lived.faults += place.unseen(place.status())

    def _go_on(self, place: Place, number: int, lived: Lived, *, until_as_in_peace: bool) -> None:
        peace = self.peace[lived.day]
        for command, behind in list(zip(peace.day.commands, peace.behind, strict=True))[number:]:
            place.behave(command.engine)
            again = place.run(*command.words)
            assert again.code in command.again, (command.name, again)
            if until_as_in_peace and behind and place.behind() == behind:
                lived.faults += place.unseen(place.status()) + self._unmarked(place)
                return
        lived.faults += place.unseen(place.finish()) + self._unmarked(place)
        end = place.end()
        for part in peace.day.same or peace.end:
            if end[part] != peace.end[part]:
                lived.faults.append(f"{part} differ: {_difference(peace.end[part], end[part])}")

    @staticmethod
    def _unmarked(place: Place) -> list[str]:
        more = calls_without_mark(place.data, place.state)
        return [f"{more} live calls were made without a mark"] if more else []

    def _live(self, place: Place) -> Peace:
        day, trails, behind = place.day, [], []
        for number, command in enumerate(day.commands):
            self._take_picture(place, number)
            place.behave(command.engine)
            ended = place.run(*command.words)
            assert ended.code == command.again[0], (command.name, ended)
            assert not EVERY or not place.unseen(place.status()), command.name
            trails.append(tuple(ended.trail))
            behind.append(place.behind())
        place.finish()
        self._take_picture(place, len(day.commands))
        return Peace(day, tuple(trails), tuple(behind), place.end())

    def _take_picture(self, place: Place, number: int) -> None:
        """Copy the workspace and the engine's state, before a day's command `number`, while no process writes them."""
        place.stop()
        copy_tree(place.home, self._picture(place.day.name, number))
        place.start(_engine(place.day, number))

    @contextmanager
    def _home(self, day: Day, home: Path) -> Iterator[Path]:
        """Yield a home for a life; with images one for all lives, as images are known by where they are."""
        if day.settings != IMAGES:
            yield home
            return
        home = self._root / "images"
        with (self._root / "images.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                yield home
            finally:
                if home.exists():
                    _remove(home)

    def _new_home(self) -> Path:
        """Return a folder for a life, of which no other process or thread has heard."""
        return self._root / f"life-{os.getpid()}-{next(self._lives)}"

    def _picture(self, day: str, number: int) -> Path:
        return self._root / "pictures" / day / str(number)

    @contextmanager
    def _place(self, mortal: Mortal, day: Day, *, home: Path, number: int = 0) -> Iterator[Place]:
        """Make a place for a day from command `number` on, its engine running, for the length of a block."""
        if not home.exists() and day.after:
            copy_tree(self._picture(day.after, len(DAY_OF[day.after].commands)), home)
        home.mkdir(parents=True, exist_ok=True)
        for path, name in day.files.items():
            (home / path).parent.mkdir(exist_ok=True)
            shutil.copy(self.inputs / name, home / path)
        place = Place(mortal, day, home, self.inputs)
        place.take_over_tasks()
        place.start(_engine(day, number))
        try:
            yield place
        finally:
            place.stop()


def _remove(home: Path) -> None:
    shutil.rmtree(home)
    postgresql.drop_below(home)


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _engine(day: Day, number: int) -> Mapping[str, Any]:
    """Return how the engine behaves when a day's command `number` comes, or after the last."""
    return day.commands[number].engine if number < len(day.commands) else {}


def _codes(command: Command, fate: Fate) -> set[int]:
    full = fate.how == FULL or fate.pages >= 0
    return (
        CODES[FULL if full else fate.how]
        | {*command.again}
        | ({2} if full and command.words[0] in USERS_FILES else set())
    )


def _is_ugly(ended: Ended) -> bool:
    """Return whether a command ended as no command may: with a traceback, a bug, or a code of its own."""
    return "Traceback" in ended.err or "bug in findable" in ended.err or ended.code in {1, 99}


def _difference(wanted: Any, found: Any) -> str:
    if isinstance(wanted, list):
        missing = [one for one in wanted if one not in found]
        more = [one for one in found if one not in wanted]
        return f"missing {missing}, instead {more}"[:LONGEST]
    return f"{wanted} became {found}"[:LONGEST]
