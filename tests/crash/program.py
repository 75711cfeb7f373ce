"""The program that runs mortal commands and engines, as the tests speak to it."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.crash.steps import Fate
from tests.lab import ROOT

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # so that the program may fork
LIVES = Fate()


@dataclass(frozen=True)
class Ended:
    """How one command ended: exit code (negative: the signal that killed it), what it printed, the steps it took."""

    code: int
    out: str
    err: str
    trail: list[str] = field(repr=False)

    @property
    def last(self) -> str:
        """Return the last step it took, or was about to take."""
        return self.trail[-1] if self.trail else ""


def program(module: str) -> "subprocess.Popen[str]":
    """Start a module of the tests as a program that takes orders on its standard input and answers on its output."""
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", module],
        cwd=ROOT,
        env={**os.environ, **ONE_THREAD},
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def ask(told: "subprocess.Popen[str]", order: Mapping[str, Any]) -> dict[str, Any]:
    """Give a program one order and return its answer."""
    assert told.stdin is not None
    assert told.stdout is not None
    told.stdin.write(json.dumps(order) + "\n")
    told.stdin.flush()
    found: dict[str, Any] = json.loads(told.stdout.readline())
    return found


class Mortal:
    """The program that runs commands which die at a chosen step. One order at a time."""

    NOT_PERMITTED = 77  # the exit code of a child that may not do what its order asks of the machine

    def __init__(self) -> None:
        """Start it."""
        self._program = program("tests.crash.mortal")

    def run(
        self, environ: Mapping[str, str], *args: str, cwd: Path, fate: Fate = LIVES, read_only: bool = False
    ) -> Ended:
        """Run one command in a folder with nothing of ours in its environment but `environ`, and let its fate be."""
        order: dict[str, Any] = {"args": args, "environ": dict(environ), "cwd": str(cwd), "read_only": read_only}
        order |= {"die_at": fate.at, "side": fate.side, "how": fate.how}
        return Ended(**ask(self._program, order | {"disk": {"once": fate.once, "pages": fate.pages}}))

    def start_engine(self, root: Path, *, settings: Mapping[str, Any], faults: list[dict[str, Any]]) -> tuple[str, int]:
        """Start an engine on the state under `root`, in a process of its own; return its URL and its number."""
        found = ask(self._program, {"engine": str(root), "settings": dict(settings), "faults": faults})
        return str(found["url"]), int(found["engine"])

    def end_engine(self, number: int) -> None:
        """Kill an engine."""
        ask(self._program, {"end": number})

    def close(self) -> None:
        """End the program."""
        self._program.communicate(timeout=10)

    def __enter__(self) -> Self:
        """Return the program, which runs already."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.close()
