"""Brings up workers: processes that run commands for ever, until they are killed; a program of the four-workers test.

An order forks a worker, which has only imported. A worker runs the commands it was given in random order. What it did
is in its log, a JSON line for each command that ended; how it ends itself, if it does, was drawn when it was born.
"""

import ctypes
import json
import os
import random
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.acceptance.steps import Fate, Steps
from tests.acceptance.watching import watch
from tests.concurrency.standing import be_elsewhere
from tests.crash.mortal import DIE_WITH_PARENT, to_the_end

CREATE = ":batchGenerateContent"
PAUSE_S = 0.05  # the longest pause between two commands
LONGEST = 600  # characters of what a command said that go into the log


@dataclass(frozen=True)
class Doom:
    """How a worker comes to its end, or to stand still: the signal SIG`how` at a step.

    The step is `at`, counted from its birth; or where `after_create` is not negative, so many steps after the next
    create that it sends. With neither, it is left to what watches it.
    """

    at: int = 0
    after_create: int = -1
    side: str = "before"
    how: str = "KILL"


class Doomed(Steps):
    """Steps of a worker that is to meet its doom at a create, whenever that comes."""

    def __init__(self, doom: Doom, *, folder: str) -> None:
        """Count below `folder`, and on the network."""
        super().__init__(lambda _what: None, folder=folder, fate=Fate(doom.at, doom.side, doom.how))
        self._doom = doom
        self._armed = doom.after_create >= 0

    def step(self, what: str) -> None:
        """Count one step; a create that is about to be sent decides at which the doom comes."""
        if self._armed and CREATE in what:
            self._armed = False
            self.fate = Fate(self._count + 1 + self._doom.after_create, self._doom.side, self._doom.how)
        super().step(what)


def work(order: dict[str, Any]) -> None:
    """Be a worker: run commands in random order until a file tells to stop, or the doom comes."""
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    os.environ.update(order["environ"])
    be_elsewhere(str(order["machine"]))
    said = os.open(order["log"] + ".said", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    watch(Doomed(Doom(**order["doom"]), folder=order["environ"]["FINDABLE_DATA"]))
    dice = random.Random(order["seed"])  # noqa: S311 - the same choices each time, no secret
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    while not Path(order["until"]).exists():
        command = dice.choice(order["commands"])
        os.ftruncate(said, 0)
        os.lseek(said, 0, os.SEEK_SET)
        code = _run(command)
        line = {"command": command, "code": code, "said": os.pread(said, LONGEST, 0).decode("utf-8", "replace")}
        os.write(log, json.dumps(line).encode() + b"\n")
        time.sleep(dice.uniform(0, PAUSE_S))


def _run(command: list[str]) -> int:
    from jobs.cli import main

    try:
        main(command, prog_name="findable")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def obey(order: dict[str, Any]) -> dict[str, Any]:
    """Bring up a worker and return its process id, or return how one ended; nothing where it lives."""
    if "ended" in order:
        found, status = os.waitpid(order["ended"], os.WNOHANG)
        return {"code": os.waitstatus_to_exitcode(status) if found else None}
    child = os.fork()
    if child == 0:
        to_the_end(lambda: work(order))
    return {"pid": child}
