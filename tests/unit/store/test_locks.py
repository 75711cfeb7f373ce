"""Locks on both databases: holders, waiting processes and lost locks."""

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from askrows.pipeline.core.errors import ConfigurationError
from askrows.pipeline.store import postgresql
from askrows.pipeline.store.database import Store
from askrows.pipeline.store.locks import Locks
from tests.integration.passages.workspaces import url_of
from tests.lab import ON_POSTGRESQL

ROOT = Path(__file__).parents[3]
HOLDER_PROGRAM = """
import sys
from pathlib import Path
from askrows.pipeline.store.database import Store
from askrows.pipeline.store.locks import Locks
sys.argv = ["askrows", "batch-submit", "--limit", "2"]
locks = Locks(Store(sys.argv_given[0]), Path(sys.argv_given[1]), "workspace")
with locks.try_lock("work") as lock:
    print(lock is not None, flush=True)
    input()
"""

Make = Callable[[], Locks]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """A function that opens the locks of a workspace, as another process does."""
    with contextlib.ExitStack() as closing:

        def open_locks() -> Locks:
            store = closing.enter_context(contextlib.closing(Store(url_of(tmp_path))))
            locks = Locks(store, tmp_path / "locks", "workspace")
            return closing.enter_context(contextlib.closing(locks))

        yield open_locks


@contextlib.contextmanager
def hold_in_other_process(tmp_path: Path) -> "Iterator[subprocess.Popen[str]]":
    """Let another process lock `work` for the length of a block."""
    code = HOLDER_PROGRAM.replace(
        "sys.argv_given", repr([url_of(tmp_path), str(tmp_path / "locks")])
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "True\n"
        yield child
        child.kill()


def can_lock(locks: Locks, name: str = "work") -> bool:
    """Return whether a lock is free for these locks."""
    with locks.try_lock(name) as lock:
        return lock is not None


def test_stopped_holder_keeps_the_lock_and_a_dead_holder_frees_it(
    tmp_path: Path, make: Make
) -> None:
    """A waiting process names the holder and its state; SIGKILL of the holder frees the lock."""
    locks = make()
    lines = list[str]()

    def say(line: str) -> None:
        """Kill the holder after it is named."""
        lines.append(line)
        child.kill()

    with hold_in_other_process(tmp_path) as child:
        assert not can_lock(locks)
        assert not locks.is_free("work")
        child.send_signal(signal.SIGSTOP)
        while not locks.describe_lock_holder("work").endswith(", stopped"):
            time.sleep(0.01)
        assert not can_lock(locks)
        with locks.wait_for_lock("work", announce=say, sleep=time.sleep) as lock:
            lock.raise_if_lost()
    assert lines == [f"waiting for the lock 'work', held by pid {child.pid}, batch-submit, stopped"]
    assert locks.is_free("work")


def test_lock_of_a_sibling_thread_is_refused(make: Make) -> None:
    """A thread cannot lock a name of its sibling, even with the same object; later it can."""
    locks = make()
    lock_results = list[bool]()
    first_thread = threading.Thread(target=lambda: lock_results.append(can_lock(locks)))
    with locks.try_lock("work") as lock:
        first_thread.start()
        first_thread.join()
        assert not can_lock(make())
        assert can_lock(locks, "other")
        assert lock is not None
        lock.raise_if_lost()
    second_thread = threading.Thread(target=lambda: lock_results.append(can_lock(locks)))
    second_thread.start()
    second_thread.join()
    assert lock_results == [False, True]


@pytest.mark.skipif(not ON_POSTGRESQL, reason="sessions")
def test_pooler_of_transactions_is_refused(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients of such a pooler share a session, so a lock would belong to all of them."""
    # Two connections in the same session have the same process id.
    monkeypatch.setattr(postgresql, "_SELECT_PID", "SELECT 1")
    message = "a pooler before .* gives each transaction another session"
    with pytest.raises(ConfigurationError, match=message):
        can_lock(make())
