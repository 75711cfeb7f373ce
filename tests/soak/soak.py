"""Rounds of work on one workspace while everything goes wrong, and after each round the invariants.

A round scripts faults, lets another program meddle, runs a few turns of one to three commands at once, each with its
fate, and then holds the invariants against what is there. Now and then the faults are cleared and what `status` says is
typed until there is nothing left to do; then `doctor` must find nothing that contradicts itself.
"""

import json
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from threading import Thread
from typing import Any

from tests import ledger
from tests.lab import KEY, Workspace
from tests.soak.choices import Choices
from tests.soak.crowd import Command, Crowd, wrongly_written
from tests.soak.engine import Engine
from tests.soak.invariants import INVARIANTS, SETTLED, violations
from tests.soak.look import Look, Memory, look
from tests.soak.people import People
from tests.soak.report import Report
from tests.soak.troubles import LEASE_S, fate, faults

AT_ONCE = 3
LEAST_ROUNDS = 3
SETTLE_EVERY = 4
MOST_TO_SETTLE = 60
DAYS_S = 49 * 3600
PEACEFUL = frozenset({0, 3, 4})
INTERRUPTED = 130
FINE = frozenset({0, 3, 4, INTERRUPTED, -signal.SIGKILL, -signal.SIGTERM})
MET_ANOTHER = 5  # of a command that ran beside others, and of doctor, which says what is wrong
MAY_BE_WRONG = frozenset(  # none there, or stands in a batch, or nothing is judged
    {"batch-cancel", "index", "search", "show", "forget"}
)
SENDERS = frozenset({"batch-submit", "batch-poll", "batch-cancel", "doctor"})
NOTHING_TO_DO = ("make search", "make parked", "make import")
QUICK = {
    "LEASE": str(LEASE_S),
    "LIST_LAG": "1",
    "CREATE_TIMEOUT": "0.6",
    "CALL_TIMEOUT": "2",
    "TRANSFER_TIMEOUT": "2",
    "RETRY_FOR": "1.5",
    "RETRY_WAIT": "0.05",
    "POLL_FIRST": "0.05",
    "POLL_MOST": "0.3",
    "POLL_PATIENCE": "2",
    "CONFIRM_ABOVE": "1000",
}
ADOPTED = """CREATE TABLE experts (id INTEGER PRIMARY KEY, username TEXT NOT NULL UNIQUE, bio TEXT, shoe_size INTEGER,
             tags TEXT)"""


class Soak:
    """One workspace, one emulator, and what is known of both."""

    def __init__(self, folder: Path, *, seed: int, tell: Callable[[str], None] = lambda _line: None) -> None:
        """Make an empty workspace under `folder`; every second seed adopts a table of another program."""
        self.data = folder / "data"
        self.report = Report(seed)
        self._folder, self._seed, self._tell = folder, seed, tell
        self.data.mkdir(parents=True)
        self.engine = Engine(folder / "api")
        environ = {"FINDABLE_DATA": str(self.data), "GEMINI_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": self.engine.url}
        self.workspace = Workspace(self.data, environ | {f"FINDABLE_{name}": value for name, value in QUICK.items()})
        self._crowd = Crowd(AT_ONCE)
        self.people = People(self.data / "findable.db")
        self._memory = Memory()
        self._forgetting: set[str] = set()
        self._forgotten: set[str] = set()
        self._stops: list[tuple[datetime, datetime]] = []
        self._began = time.monotonic()
        if seed % 2:
            with closing(sqlite3.connect(self.data / "findable.db")) as connection, connection:
                connection.execute(ADOPTED)
        self.workspace.begin()
        self._begin(random.Random(seed))  # noqa: S311 - to be repeated, not to be secret

    def run(self, *, minutes: float) -> Report:
        """Do rounds until the time is over or something is violated, settle, and return what was seen."""
        while not self.report.violations and (self.report.rounds < LEAST_ROUNDS or self._passed_s() < minutes * 60):
            self.round()
        if not self.report.violations:
            self.settle()
        self._sum_up()
        return self.report

    def round(self) -> None:
        """Do one round and hold the invariants."""
        self.report.rounds += 1
        dice = random.Random(f"{self._seed}-{self.report.rounds}")  # noqa: S311 - to be repeated, not to be secret
        scripted = faults(dice)
        self.engine.script(scripted)
        self._log(f"round {self.report.rounds}: faults {json.dumps(scripted)}")
        for _ in range(dice.randint(2, 6)):
            self._turn(dice)
        self.check()
        if self.report.rounds % SETTLE_EVERY == 0 and not self.report.violations:
            self.settle()

    def settle(self) -> None:
        """Clear the faults, type what `status` says until there is nothing to do, and hold the strict invariants."""
        self.engine.script([])
        self.report.settled += 1
        self._log("settle")
        before, same = "", 0
        for _ in range(MOST_TO_SETTLE):
            following = ledger.next_by_batch(self._status())
            if self.report.violations or following.startswith(NOTHING_TO_DO) or not following:
                break
            same = same + 1 if following == before else 0
            if same and same % 4 == 0:
                self.engine.advance(DAYS_S)
                self._log("the emulator's clock moves on by two days")
            before = following
            self._peaceful(*following.split()[1:], WAIT="0")
        else:
            self.report.violations.append(f"there is always something left to do: {following}")
        self._finish_forgetting()
        self._peaceful("score")
        self._peaceful("index")
        self._peaceful("doctor", "--fix", "--json")
        self.check(is_settled=True)
        for finding in json.loads(self._peaceful("doctor", "--json").told.out or "{}").get("findings", []):
            if finding["contradiction"]:
                self.report.violations.append(f"doctor: {finding['check']}: {finding['said']}")

    def _finish_forgetting(self) -> None:
        """Forget again whom a command that was cut off began to forget, and look for all who are forgotten."""
        for name in sorted(self._forgetting):
            command = self._peaceful("forget", name, "--yes")
            self.people.may_have({name: None}, done=command.code == 0)
            self._forgotten |= {name} if command.code == 0 else set()
        self._forgetting.clear()
        for path in self.data.rglob("*"):
            held = path.read_bytes() if path.is_file() else b""
            found = [name for name in self._forgotten if name.encode() in held]
            self.report.violations += [f"{name} was forgotten and stands in {path.name}" for name in found]

    def check(self, *, is_settled: bool = False) -> None:
        """Hold every invariant against what is there now."""
        self.engine.collect()
        here = self._look(is_settled=is_settled)
        self.report.invariants += len(INVARIANTS) + is_settled * len(SETTLED)
        self.report.violations += [*violations(here), *self.people.wrong(here.bios)]

    def _begin(self, dice: random.Random) -> None:
        path = self._folder / "first.jsonl"
        said = self.people.file(dice, path, ())
        self._peaceful("import", str(path))
        self.people.may_have(said, done=True)
        self.check()

    def _turn(self, dice: random.Random) -> None:
        """Run one to three commands at once, with another program meddling or the emulator dying now and then."""
        choices = Choices(dice, self.people, self._folder, batches=self._batch_numbers())
        commands = [choices.command(fate(dice)) for _ in range(dice.choice((1, 1, 2, 2, 3)))]
        self.report.at_once += len(commands) if len(commands) > 1 else 0
        self._log(" | ".join(map(str, commands)))
        beside = Thread(target=self._beside, args=(random.Random(dice.random()), choices.touched))  # noqa: S311 - to be repeated
        beside.start()
        self._crowd.run(self.workspace, commands)
        beside.join()
        for command in commands:
            self._judge(command, is_alone=len(commands) == 1)
            if command.name in choices.said:
                self.people.may_have(choices.said[command.name], done=command.code == 0)
            if command.name == "forget":
                (self._forgotten if command.code == 0 else self._forgetting).add(command.args[1])

    def _beside(self, dice: random.Random, touched: set[str]) -> None:
        """Be another program that meddles, or kill the emulator and start it again; mostly neither."""
        chance = dice.random()
        if chance < 0.25:
            self._log(f"another program: {self.people.meddle(dice, touched)}")
        elif chance < 0.33:
            time.sleep(dice.random())
            self.engine.restart()
            self._log("the engine was killed and started again")

    def _peaceful(self, *args: str, **values: str) -> Command:
        command = Command(args, values=values)
        self._crowd.run(self.workspace, [command])
        self._judge(command, is_alone=True)
        allowed = PEACEFUL | ({2} if args[0] in MAY_BE_WRONG else set()) | ({5} if args[0] == "doctor" else set())
        if command.code not in allowed:
            self.report.violations.append(f"in peace: {command} ended with {command.code}: {_said(command)}")
        return command

    def _judge(self, command: Command, *, is_alone: bool) -> None:
        """Count how a command ended, and hold that it neither hung nor showed a bug."""
        self.report.commands[command.name] += 1
        self.report.ends[str(command.code)] += 1
        if command.fate.signal and (command.code < 0 or command.code == INTERRUPTED or command.stood):
            self.report.signals[command.fate.signal] += 1
        if command.stood and command.name in SENDERS:
            self._stops.append((command.stood[0], command.stood[-1]))
        self._log(f"  {command.name}: {command.code} {_said(command)}")
        self.report.violations += wrongly_written(command, self.people.named)
        fine = FINE | ({2} if command.name in MAY_BE_WRONG else set())
        fine |= set() if is_alone and command.name != "doctor" else {MET_ANOTHER}
        wrong = ""
        if command.hung:
            wrong = "hung and had to be killed"
        elif command.code == -signal.SIGTERM and command.fate.signal != "TERM":
            wrong = "ended by a signal that nobody sent"
        elif "Traceback" in command.told.err or "bug in findable" in command.told.err or KEY in command.told.err:
            wrong = "showed a bug"
        elif command.code not in fine:
            wrong = f"ended with {command.code}"
        if wrong:
            self.report.violations.append(f"{command} {wrong}: {command.told.err[-2000:]}")

    def _status(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self._peaceful("status", "--json").told.out or "{}")
        return document

    def _look(self, *, is_settled: bool) -> Look:
        return look(
            self.data,
            status=self._status(),
            remote=self.engine.batches(),
            memory=self._memory,
            is_settled=is_settled,
            stops=tuple(self._stops),
            doubled=self.engine.struck["duplicate_batch"] + self.engine.restarts,  # whose last moments were not counted
            creates=tuple(one["name"] for one in self.engine.creates()),
            by_hand=frozenset(self.people.by_hand),
        )

    def _batch_numbers(self) -> list[int]:
        with closing(sqlite3.connect(self.data / "findable.db", timeout=60)) as connection:
            rows = connection.execute("SELECT number FROM findable_batches WHERE state NOT IN ('ingested', 'failed')")
            return [row[0] for row in rows]

    def _sum_up(self) -> None:
        report = self.report
        report.minutes = self._passed_s() / 60
        report.engine_restarts = self.engine.restarts
        report.faults = +self.engine.struck
        here = self._look(is_settled=False)
        report.people = Counter(here.status["experts"]) + Counter(
            {"ever": len(self.people.named), "deleted": self.people.deleted, "changed": self.people.changed}
        )
        report.batches = Counter(row["state"] for row in here.rows["batches"])
        report.batches += Counter({"remote": len(here.remote), "twins": len(here.rows["twins"])})
        report.rows = Counter({name: len(rows) for name, rows in here.rows.items()})

    def _log(self, line: str) -> None:
        self.report.actions.append(line)
        self._tell(f"{self._passed_s():8.1f}  {line}")

    def _passed_s(self) -> float:
        return time.monotonic() - self._began

    def close(self) -> None:
        """End every process that was started."""
        try:
            self._crowd.close()
        finally:
            self.engine.kill()


def _said(command: Command) -> str:
    lines = [line for line in command.told.err.splitlines() if line.strip()]
    return next((line for line in lines if "rror" in line), lines[0] if lines else "") if command.code else ""
