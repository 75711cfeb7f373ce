"""A program that does not close the engine ends, whatever its threads were doing."""

import subprocess
import sys
from pathlib import Path

from tests.lab import ROOT

LIMIT_S = 120  # to end a hang
PROGRAM = """
import contextlib, sys, threading, time
from pathlib import Path
from emulator.server import start

@contextlib.contextmanager
def served():
    with start(Path(sys.argv[1])) as server:
        yield server

def hold(lock, held):
    with lock:
        held.set()
        time.sleep(3600)

kept, held = served(), threading.Event()
server = kept.__enter__()
threading.Thread(target=hold, args=(server.world.database._lock, held), daemon=True).start()
held.wait()
circle = [kept, server]
circle.append(circle)
del circle, kept, server
"""


def test_a_lock_of_a_thread_that_is_gone_keeps_no_program_from_ending(tmp_path: Path) -> None:
    """What is left open is closed by the last collection, when threads are gone with what they held."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], cwd=ROOT, timeout=LIMIT_S, check=False)
    assert ran.returncode == 0
