"""What the crash tests share: the program that runs mortal commands, started once, and a line of workspaces."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab import ROOT, Workspace

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # so that the program may fork


@dataclass(frozen=True)
class Ended:
    """How one command ended: exit code (negative: the signal that killed it), what it printed, the steps it took."""

    code: int
    out: str
    err: str
    trail: list[str]

    @property
    def steps(self) -> int:
        """Return how many steps it took; one that died did not do the last."""
        return len(self.trail)

    @property
    def last(self) -> str:
        """Return the step before which it died."""
        return self.trail[-1] if self.trail else ""


class Mortal:
    """The program that runs commands which die at a chosen step."""

    def __init__(self) -> None:
        """Start it."""
        command = [sys.executable, "-W", "ignore", "-m", "tests.crash.mortal"]
        self._program = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **ONE_THREAD},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def run(self, workspace: Workspace, *args: str, die_at: int = 0, how: str = "KILL", **values: str) -> Ended:
        """Run one command; before its step number `die_at` it gets the signal SIG`how`."""
        environ = workspace.environ | {f"FINDABLE_{name}": value for name, value in values.items()}
        order = {"args": args, "environ": environ, "cwd": os.getcwd(), "die_at": die_at, "how": how}  # noqa: PTH109
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write(json.dumps(order) + "\n")
        self._program.stdin.flush()
        return Ended(**json.loads(self._program.stdout.readline()))

    def close(self) -> None:
        """End the program."""
        self._program.communicate(timeout=10)


@pytest.fixture(scope="module")
def mortal() -> Iterator[Mortal]:
    """The program that runs mortal commands."""
    program = Mortal()
    yield program
    program.close()


@pytest.fixture
def at(tmp_path: Path, workspace: Workspace) -> Any:
    """A function that returns workspace `name` on the one emulator, each with a key and so with batches of its own."""

    def make(name: str) -> Workspace:
        """Return a new workspace."""
        own = {"FINDABLE_DATA": str(tmp_path / name), "GEMINI_API_KEY": f"key-of-{name}"}
        return Workspace(tmp_path / name, workspace.environ | own)

    return make
