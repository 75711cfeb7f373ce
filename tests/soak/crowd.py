"""Commands that run at the same time, each with its fate; what hangs is ended, and what was written is read."""

import csv
import io
import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from tests.integration.hands import Ended, Hand
from tests.lab import Workspace
from tests.soak.troubles import Fate

LONGEST_S = 90.0
LOOK_S = 0.02


@dataclass
class Command:
    """One command on its way: its words and settings, its fate, and what came of it.

    `stood` are the times at which it was seen standing still.
    """

    args: tuple[str, ...]
    fate: Fate = field(default_factory=Fate)
    values: dict[str, str] = field(default_factory=dict)
    ended: Ended | None = None
    hung: bool = False
    stood: list[datetime] = field(default_factory=list)
    signalled: bool = False
    goes_on_at: float = 0.0

    @property
    def name(self) -> str:
        """Return the command's own name."""
        return self.args[0]

    @property
    def told(self) -> Ended:
        """Return how it ended, with what it said."""
        assert self.ended is not None
        return self.ended

    @property
    def code(self) -> int:
        """Return its exit code, negative where a signal killed it."""
        return self.told.code

    def __str__(self) -> str:
        """Return it as the log has it."""
        settings = "".join(f" {name}={value}" for name, value in self.values.items())
        return f"{' '.join(self.args)}{settings} [{self.fate}]"


class Crowd:
    """Programs that run commands at the same time."""

    def __init__(self, size: int) -> None:
        """Start them."""
        self._hands = [Hand() for _ in range(size)]

    def run(self, workspace: Workspace, commands: Sequence[Command]) -> None:
        """Run commands at once until the last has ended, sending each the signal of its fate."""
        began = time.monotonic()
        for hand, command in zip(self._hands, commands, strict=False):
            how = command.fate.signal or "STOP"
            hand.start(workspace, *command.args, values=command.values, stop_at=command.fate.at_step, how=how)
        while any(command.ended is None for command in commands):
            for hand, command in zip(self._hands, commands, strict=False):
                if command.ended is None:
                    _tend(hand, command, passed=time.monotonic() - began)
            time.sleep(LOOK_S)

    def close(self) -> None:
        """End the programs; one that takes its time on a busy machine ends later, by itself."""
        for hand in self._hands:
            with suppress(subprocess.TimeoutExpired):
                hand.close()


def _tend(hand: Hand, command: Command, *, passed: float) -> None:
    """Look after one command: has it ended, is it time for its signal, must it go on, does it hang?"""
    if hand.has_ended():
        command.ended = hand.ended()
        return
    child = hand.child()
    if child is None:
        return
    fate = command.fate
    with suppress(psutil.NoSuchProcess, ProcessLookupError):
        if fate.signal and not fate.at_step and not command.signalled and passed >= fate.at_s:
            command.signalled = True
            os.kill(child.pid, fate.number)
        if child.status() == psutil.STATUS_STOPPED:
            command.stood.append(datetime.now(UTC))
            command.goes_on_at = command.goes_on_at or passed + fate.still_s
            if passed >= command.goes_on_at:
                child.resume()
        if passed > LONGEST_S:
            command.hung = True
            child.kill()


def wrongly_written(command: Command, named: set[str]) -> Iterator[str]:
    """Yield what is wrong with what a command printed or wrote; `named` is all people who ever were."""
    if command.code != 0:
        return
    names: list[str] = []
    if command.name == "export":
        path = Path(command.args[1])
        names = [row["Username"] for row in READERS[path.suffix](path.read_bytes().decode())]
    elif "--json" in command.args:
        document = json.loads(command.told.out)
        names = [hit["username"] for hit in document] if command.name == "search" else []
    for name, count in Counter(names).items():
        if count > 1 or name not in named:
            yield f"{command} wrote {name} {count} times"


READERS: dict[str, Callable[[str], list[Any]]] = {
    ".csv": lambda text: list(csv.DictReader(io.StringIO(text, newline=""))),
    ".json": json.loads,
    ".jsonl": lambda text: [json.loads(line) for line in text.split("\n") if line],
}
