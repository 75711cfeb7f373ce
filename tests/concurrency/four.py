"""Four workers on one workspace, killed at random and started again, against the journal of the emulator.

`make four-workers KILLS=200` runs it for long and prints the figures. Two of the workers live on another machine, as
far as leases can tell, so that only time frees what these leave behind. People keep coming until the kills are
done; then whatever `status` says is typed until there is nothing to do, and everything is held against everything.
"""

import contextlib
import json
import os
import random
import secrets
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import psutil

from tests import ledger
from tests.concurrency.nursery import Doom
from tests.crash.program import Program
from tests.integration.hands import Hand
from tests.integration.looks import asked_ids
from tests.lab import KEY, URL, Workspace
from tests.postgresql import Server
from tests.soak.engine import Engine
from tests.soak.invariants import violations
from tests.soak.look import Memory, look

WORKERS = 4
MACHINES = ("here", "elsewhere")
COMMANDS = (["batch-submit"], ["batch-poll", "--no-wait"], ["batch-poll"], ["batch-ingest"], ["index"])
LEASE_S = 2.0
QUICK = {
    "LEASE": str(LEASE_S),
    "LIST_LAG": "0.5",  # the emulator's is half of it
    "CREATE_TIMEOUT": "0.6",
    "CALL_TIMEOUT": "10",
    "TRANSFER_TIMEOUT": "10",
    "RETRY_FOR": "5",
    "RETRY_WAIT": "0.05",
    "POLL_FIRST": "0.02",
    "POLL_MOST": "0.2",
    "BATCH_ROWS": "3",
    "CONFIRM_ABOVE": "1000",
}
CODES = frozenset({0, 2, 4})  # done, no person there or tagged yet, or run again later
LOST = 5  # a process that stood still may find that its lease was lost
SENDING = 0.06  # of all lives stand still as they send a create, so that another process may send it, too
STANDING = 0.12  # of the others stand still somewhere else
LATEST_S = 6.0  # of a life whose doom did not come
KILLS_TO_CRASH = 5  # of workers for one crash of the database's server
HUNGRY = 18  # untagged people, below which more are brought
MEAL = 24
LOOK_S = 0.02
CHECK_S = 2.0
LONGEST_S = 3600.0
MOST_COMMANDS = 40
NOTHING_TO_DO = ("make search", "make parked", "make import")
PEOPLE = "Username,First Name,Bio\n"


@dataclass
class Figures:
    """What a run came to. `double_asks` are items in two remote batches that are no recorded twins."""

    database: str
    seed: int
    kills: int = 0
    stops: int = 0
    crashes: int = 0
    lives: int = 0
    commands: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    people: int = 0
    creates: int = 0
    batches: int = 0
    remote: int = 0
    adopted: int = 0
    twins: int = 0
    double_asks: int = 0
    looks: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Return them on one line, and below it what was wrong."""
        codes = ", ".join(f"{code}: {count}" for code, count in sorted(self.codes.items()))
        line = (
            f"{self.database}, seed {self.seed}: {self.kills} kills, {self.stops} stops, "
            f"{self.crashes} crashes of the server, {self.lives} lives of "
            f"{WORKERS} workers, {self.commands:,} commands (exit codes {codes}), {self.people} people, "
            f"{self.creates} creates, {self.batches} batches, {self.remote} remote, {self.adopted} adopted, "
            f"{self.twins} twins, {self.double_asks} double asks, {self.looks} looks, {self.seconds:.0f} s"
        )
        return "\n".join([line, *(f"WRONG: {one}" for one in self.wrong)])


@dataclass(frozen=True)
class Place:
    """Which kind of database, what the environment says of where it is, and the server that may crash."""

    name: str
    environ: Mapping[str, str] = field(default_factory=dict)
    server: Server | None = None


@dataclass
class Life:
    """One life of a worker: its process, when it began, when it is killed from outside, and how it stood still."""

    pid: int
    log: Path
    began: float
    kill_at: float
    stood: list[datetime] = field(default_factory=list)
    goes_on_at: float = 0.0


class Nursery:
    """The program that brings up workers."""

    def __init__(self) -> None:
        """Start it."""
        self._program = Program("tests.concurrency.nursery")

    def bring_up(self, **order: Any) -> int:
        """Bring up a worker and return its process id."""
        return int(self._program.ask(order)["pid"])

    def ended(self, pid: int) -> int | None:
        """Return the exit code of a worker that ended (negative: its signal), None while it lives."""
        code: int | None = self._program.ask({"ended": pid})["code"]
        return code

    def close(self) -> None:
        """End it, and with it every worker."""
        os.kill(self._program.pid, signal.SIGKILL)
        self._program.close()


class Four:
    """One workspace, the emulator in a process of its own, and the workers."""

    def __init__(self, folder: Path, *, seed: int, where: Place) -> None:
        """Begin an empty workspace under `folder`, with its database at a place."""
        self.figures = Figures(where.name, seed)
        self._server = where.server
        self._folder, self._dice = folder, random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
        self._until = folder / "until"
        self.engine = Engine(folder / "api")
        self.engine.configure(batch_looks=1)
        own = {"FINDABLE_DATA": str(folder / "data"), "GEMINI_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": self.engine.url}
        quick = {f"FINDABLE_{name}": value for name, value in QUICK.items()}
        self.workspace = Workspace(folder / "data", {**quick, **own, **where.environ}).begin()
        self._nursery, self._hand = Nursery(), Hand()
        self._lives: dict[int, Life] = {}
        self._stops: list[tuple[datetime, datetime]] = []
        self._asked: dict[str, list[str]] = {}
        self._began = time.monotonic()

    def run(self, *, kills: int) -> Figures:
        """Let the workers work until so many were killed, finish, check, and return the figures."""
        self._feed()
        checked = time.monotonic()
        while self.figures.kills < kills and not self.figures.wrong:
            self._tend_all()
            self._crash_server()
            if time.monotonic() - checked > CHECK_S:
                checked = time.monotonic()
                self._look_in()
            time.sleep(LOOK_S)
            assert self._passed_s() < LONGEST_S, self.figures.text()
        self._call_in()
        if not self.figures.wrong:
            self._finish()
            self._hold()
        self.figures.seconds = self._passed_s()
        return self.figures

    def _crash_server(self) -> None:
        """Let the database's server crash now and then, in the middle of whatever goes on, and start it again."""
        if self._server is not None and self.figures.kills // KILLS_TO_CRASH > self.figures.crashes:
            self.figures.crashes += 1
            self._server.crash()
            self._server.start()

    def _tend_all(self) -> None:
        for number in range(WORKERS):
            life = self._lives.get(number)
            if life is None:
                self._lives[number] = self._bring_up(number)
            else:
                self._tend(number, life)

    def _bring_up(self, number: int) -> Life:
        self.figures.lives += 1
        doom, kill_at = self._drawn()
        log = self._folder / f"worker-{number}-{self.figures.lives}.jsonl"
        pid = self._nursery.bring_up(
            environ=self.workspace.environ,
            commands=COMMANDS,
            machine=MACHINES[number % len(MACHINES)],
            seed=self._dice.randrange(10**9),
            log=str(log),
            until=str(self._until),
            doom=asdict(doom),
        )
        return Life(pid, log, time.monotonic(), kill_at)

    def _drawn(self) -> tuple[Doom, float]:
        """Draw how a life ends: around a create, at some step, or in the time from birth, in seconds, at any moment."""
        dice = self._dice
        if dice.random() < SENDING:
            return Doom(after_create=0, how="STOP"), LATEST_S
        how = "STOP" if dice.random() < STANDING else "KILL"
        side, latest = dice.choice(("before", "after")), LATEST_S
        kind = dice.random()
        if kind < 0.35:
            return Doom(after_create=dice.randint(0, 4), side=side, how=how), latest
        if kind < 0.7:
            return Doom(at=1 + int(150 * dice.random() ** 2), side=side, how=how), latest
        return Doom(), dice.uniform(0.05, 2.0)

    def _tend(self, number: int, life: Life) -> None:
        """Look after one worker: has it ended, does it stand still, is it time?"""
        code = self._nursery.ended(life.pid)
        now = time.monotonic()
        if code is not None:
            self._end(number, life, code)
        elif _is_stopped(life.pid):
            life.stood.append(datetime.now(UTC))
            life.goes_on_at = life.goes_on_at or now + LEASE_S * self._dice.uniform(0.2, 2.5)
            if now >= life.goes_on_at:
                os.kill(life.pid, signal.SIGCONT)
        elif now - life.began >= life.kill_at and now > life.goes_on_at + 1:
            os.kill(life.pid, signal.SIGKILL)

    def _end(self, number: int, life: Life, code: int) -> None:
        del self._lives[number]
        self.figures.kills += code == -signal.SIGKILL
        if life.stood:
            self.figures.stops += 1
            self._stops.append((life.stood[0], life.stood[-1]))
        if code not in {0, -signal.SIGKILL}:
            said = Path(f"{life.log}.said").read_text(encoding="utf-8")
            self.figures.wrong.append(f"worker {number} ended with {code}: {said[-2000:]}")
        for line in life.log.read_text(encoding="utf-8").splitlines() if life.log.exists() else []:
            self._judge(json.loads(line), stood=bool(life.stood))

    def _judge(self, done: Mapping[str, Any], *, stood: bool) -> None:
        self.figures.commands += 1
        self.figures.codes[done["code"]] += 1
        allowed = CODES | ({LOST} if stood else set())
        if done["code"] not in allowed or "bug in findable" in done["said"] or "Traceback" in done["said"]:
            self.figures.wrong.append(f"{done['command']} ended with {done['code']}: {done['said']}")

    def _look_in(self) -> None:
        """While all work: bring people where few are left, and hold what must hold at any moment."""
        self.figures.looks += 1
        if self.workspace.scalar("SELECT count(*) FROM experts WHERE tags IS NULL") < HUNGRY:
            self._feed()
        self.engine.collect()
        self.figures.wrong += self._double_asks()
        for table in ("findable_requests WHERE open", "findable_answers WHERE applied"):
            twice = f"SELECT item_id FROM {table} GROUP BY task, item_id HAVING count(*) > 1"  # noqa: S608 - our names
            self.figures.wrong += [f"{row[0]} twice in {table}" for row in self.workspace.query(twice)]

    def _double_asks(self) -> list[str]:
        """Return who was asked in remote batches of two of our batches; two of one are twins, judged at the end."""
        asked: dict[str, set[str]] = {}
        for one in self.engine.batches():
            for item in self._items(one["displayName"]):
                asked.setdefault(item, set()).add(_number(one["displayName"]))
        twice = {item: numbers for item, numbers in asked.items() if len(numbers) > 1}
        self.figures.double_asks += len(twice)
        return [f"{item} was asked in batches {sorted(numbers)}" for item, numbers in twice.items()]

    def _items(self, name: str) -> list[str]:
        """Return who is asked about in the remote batch of this name, as the sealed request file says."""
        number = _number(name)
        if number not in self._asked:
            self._asked[number] = asked_ids(self.workspace, [int(number)])
        return self._asked[number]

    def _feed(self) -> None:
        first = self.figures.people
        self.figures.people += MEAL
        path = self._folder / "people.csv"
        rows = [
            f"person-{number:05d},P{number},I teach bees and water law {number}.\n"
            for number in range(first, first + MEAL)
        ]
        path.write_text(PEOPLE + "".join(rows), encoding="utf-8")
        self._hand.start(self.workspace, "import", str(path))
        while not self._hand.has_ended():  # what stands still in a transaction must be looked after meanwhile
            self._tend_all()
            time.sleep(LOOK_S)
        done = self._hand.ended()
        assert done.code == 0, done.err

    def _call_in(self) -> None:
        self._until.touch()
        while self._lives:
            for number, life in list(self._lives.items()):
                self._tend(number, life)
            time.sleep(LOOK_S)

    def _finish(self) -> None:
        """Type what `status` says until there is nothing to do, then let `doctor` clear away what the dead left."""
        time.sleep(LEASE_S)  # what died on another machine is freed by time alone
        for _ in range(MOST_COMMANDS):
            following = ledger.next_by_batch(ledger.status(self.workspace))
            if following.startswith(NOTHING_TO_DO):
                break
            done = self.workspace.run(*following.split()[1:])
            if done.exit_code:
                self.figures.wrong.append(f"{following} ended with {done.exit_code}: {done.output}")
                return
        else:
            self.figures.wrong.append(f"there is always something left to do: {following}")
        for words in (("index",), ("doctor", "--fix"), ("doctor",)):
            done = self.workspace.run(*words)
            if done.exit_code:
                self.figures.wrong.append(f"{words} ended with {done.exit_code}: {done.output}")

    def _hold(self) -> None:
        """Hold everything against everything, now that nothing is left to do, and count."""
        self.engine.collect()
        self.figures.wrong += self._double_asks()
        ledger.check(self.workspace)
        here = look(
            self.workspace.data,
            status=ledger.status(self.workspace),
            remote=self.engine.batches(),
            memory=Memory(),
            url=self.workspace.environ.get(URL, ""),
            is_settled=True,
            stops=tuple(self._stops),
            creates=tuple(one["name"] for one in self.engine.creates()),
        )
        self.figures.wrong += violations(here)
        self._hold_twins(here.remote)
        self.figures.creates = len(self.engine.creates())
        self.figures.batches = len(here.batches)
        self.figures.remote = len(here.remote)
        self.figures.adopted = sum(row["outcome"] == "adopted" for row in here.rows["tries"])
        self.figures.twins = len(here.rows["twins"])
        tagged = here.status["experts"]["tagged"]
        if tagged != self.figures.people:
            self.figures.wrong.append(f"{tagged} of {self.figures.people} are tagged")

    def _hold_twins(self, remote: list[dict[str, Any]]) -> None:
        """Hold that each batch has one remote batch, and that any other was cancelled and recorded as its twin."""
        ours = {row[0] for row in self.workspace.query("SELECT remote_name FROM findable_batches")}
        twins = "SELECT remote_name FROM findable_twins WHERE cancelled_at IS NOT NULL"
        recorded = {row[0] for row in self.workspace.query(twins)}
        loose = [one["displayName"] for one in remote if one["name"] not in ours | recorded]
        self.figures.double_asks += len(loose)
        self.figures.wrong += [f"{name} is a second remote batch that nobody recorded" for name in loose]

    def _passed_s(self) -> float:
        return time.monotonic() - self._began

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End every process that was started."""
        try:
            self._nursery.close()
            self._hand.close()
        finally:
            self.engine.kill()


def _number(display_name: str) -> str:
    """Return the number of our batch from a display name: workspace, task, number, file, try."""
    return display_name.split("-")[-3]


def _is_stopped(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.NoSuchProcess:
        return False


@contextlib.contextmanager
def place(name: str) -> Iterator[Place]:
    """Yield where a database of this kind is; a server of its own is gone afterwards."""
    if name == "sqlite":
        yield Place(name)
        return
    with Server(Path(tempfile.mkdtemp(prefix="four-pg-"))) as server:
        yield Place(name, {URL: server.make("four")}, server)


def main() -> int:
    """Run for long, print the figures, and return 1 where anything was wrong."""
    name = os.environ.get("FINDABLE_TEST_DATABASE") or "sqlite"
    kills = int(os.environ.get("FINDABLE_KILLS") or 200)
    seed = int(os.environ.get("FINDABLE_SEED") or secrets.randbelow(10**6))
    for one in [one for one in os.environ if one.startswith(("FINDABLE_", "GEMINI_", "GOOGLE_"))]:
        del os.environ[one]
    folder = Path(tempfile.mkdtemp(prefix=f"four-workers-{seed}-"))
    sys.stderr.write(f"{kills} kills on {name}, seed {seed}, in {folder}\n")
    with place(name) as where, Four(folder, seed=seed, where=where) as four:
        figures = four.run(kills=kills)
    sys.stdout.write(figures.text() + "\n")
    return 1 if figures.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
