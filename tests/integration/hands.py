"""Commands in processes of their own, that run at the same time, and that can be made to stand still at any step."""

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.crash.program import Program
from tests.lab import Workspace

LONGEST_S = 200.0


@dataclass(frozen=True)
class Ended:
    """How one command ended: exit code (negative: its signal), what it printed, and the steps it took."""

    code: int
    out: str
    err: str
    trail: list[str]

    @property
    def steps(self) -> int:
        """Return how many steps it took."""
        return len(self.trail)


class Hand:
    """A program with the product loaded, which runs one command after the other, each in a process of its own."""

    def __init__(self, module: str = "tests.crash.mortal") -> None:
        """Start it; `module` obeys its orders."""
        self._program = Program(module)

    def start(
        self,
        workspace: Workspace,
        *args: str,
        values: Mapping[str, str] | None = None,
        stop_at: int = 0,
        side: str = "before",
        how: str = "STOP",
        **more: object,
    ) -> None:
        """Begin a command with settings by their bare names; before or after a step it gets the signal SIG`how`.

        `more` is what the module that obeys takes beside that.
        """
        environ = workspace.environ | {f"FINDABLE_{name}": value for name, value in (values or {}).items()}
        order = {"args": args, "environ": environ, "cwd": str(Path.cwd()), "die_at": stop_at, "side": side, "how": how}
        self._program.tell(order | more)

    def child(self) -> psutil.Process | None:
        """Return the process of the command that runs, if there is one."""
        children = psutil.Process(self._program.pid).children()
        return children[0] if children else None

    def wait_until_stopped(self) -> bool:
        """Wait until the command stands still; false when it ended without."""
        for _ in range(int(LONGEST_S / 0.01)):
            if self.is_stopped():
                return True
            if self.has_ended():
                return False
            time.sleep(0.01)
        raise AssertionError("the command neither stopped nor ended")

    def is_stopped(self) -> bool:
        """Return whether the command stands still."""
        child = self.child()
        try:
            return child is not None and child.status() == psutil.STATUS_STOPPED
        except psutil.NoSuchProcess:
            return False

    def go_on(self) -> None:
        """Let the command go on from where it stands still."""
        self.signal(signal.SIGCONT)

    def ended(self) -> Ended:
        """Wait for the command's end and return what became of it."""
        return Ended(**self._program.answer())

    def close(self) -> None:
        """End the program and whatever it runs."""
        child = self.child()
        if child is not None:
            child.kill()
        self._program.close()

    def wait_until_ended(self, most_s: float) -> None:
        """Wait until the command ended, for so long at most."""
        until = time.monotonic() + most_s
        while time.monotonic() < until and not self.has_ended():
            time.sleep(0.01)

    def signal(self, number: int) -> None:
        """Send the command a signal."""
        child = self.child()
        assert child is not None
        os.kill(child.pid, number)

    def has_ended(self) -> bool:
        """Return whether the command ended and its answer waits to be read."""
        return self._program.has_answered()
