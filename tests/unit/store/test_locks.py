"""Locks on both databases: holders, waiting processes and lost locks."""

import contextlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.core.errors import ConfigurationError
from pipeline.store.database import Store
from pipeline.store.locks import Locks
from tests.integration.passages.workspaces import url_of
from tests.lab import ON_POSTGRESQL, slowness
from tests.scratch import quick_folder

ROOT = Path(__file__).parents[3]
HOLDER_PROGRAM = """
import sys
from pathlib import Path
from pipeline.store.database import Store
from pipeline.store.locks import Locks
sys.argv = ["findable", "batch-submit", "--limit", "2"]
locks = Locks(Store(sys.argv_given[0]), Path(sys.argv_given[1]), "workspace")
with locks.try_lock("work") as lock:
    print(lock is not None, flush=True)
    input()
"""

Make = Callable[..., Locks]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """A function that opens the locks of a workspace, as another process does."""
    with contextlib.ExitStack() as closing:

        def open_locks(
            workspace: str = "workspace", url: str = "", folder: Path = tmp_path / "locks"
        ) -> Locks:
            store = closing.enter_context(contextlib.closing(Store(url or url_of(tmp_path))))
            return closing.enter_context(contextlib.closing(Locks(store, folder, workspace)))

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


class Pooler:
    """A pooler that gives a single session of a server to a transaction at a time."""

    def __init__(self, folder: Path, server: str) -> None:
        """Listen in a folder for clients of a server in another folder."""
        self._free = threading.Lock()
        self._greeting = list[bytes]()
        self._backend = socket.socket(socket.AF_UNIX)
        self._listening = socket.socket(socket.AF_UNIX)
        self._backend.connect(f"{server}/.s.PGSQL.5432")
        self._listening.bind(str(folder / ".s.PGSQL.5432"))
        self._listening.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End the session and accept no more clients."""
        for pooler_socket in (self._listening, self._backend):
            with contextlib.suppress(OSError):
                pooler_socket.shutdown(socket.SHUT_RDWR)
            pooler_socket.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(
                    target=self._serve, args=[self._listening.accept()[0]], daemon=True
                ).start()

    def _serve(self, client: socket.socket) -> None:
        startup_message = client.recv(4, socket.MSG_WAITALL)
        startup_message += client.recv(
            int.from_bytes(startup_message, "big") - 4, socket.MSG_WAITALL
        )
        if not self._greeting:
            self._backend.sendall(startup_message)
            self._greeting += self._replies()
        client.sendall(b"".join(self._greeting))
        is_in_hand = False
        while (client_message := _receive_message(client))[:1] not in {b"", b"X"}:
            is_in_hand = is_in_hand or self._free.acquire()
            self._backend.sendall(client_message)
            if client_message[:1] in {b"Q", b"S"}:
                replies = self._replies()
                # The last reply ends with I if no transaction is open.
                if replies[-1].endswith(b"I"):
                    is_in_hand = False
                    self._free.release()
                client.sendall(b"".join(replies))
        client.close()

    def _replies(self) -> list[bytes]:
        messages = [_receive_message(self._backend)]
        while messages[-1][:1] not in {b"", b"Z"}:
            messages.append(_receive_message(self._backend))
        return messages


def _receive_message(sender: socket.socket) -> bytes:
    header = sender.recv(5, socket.MSG_WAITALL)
    size = int.from_bytes(header[1:], "big") - 4
    if size <= 0:
        return header
    return header + sender.recv(size, socket.MSG_WAITALL)


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
        deadline = time.monotonic() + 60 * slowness()
        while not locks.describe_holder("work").endswith(", stopped"):
            assert time.monotonic() < deadline
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
def test_pooler_of_transactions_is_refused(tmp_path: Path, make: Make) -> None:
    """Clients of such a pooler share a session, so a lock would belong to all of them."""
    message = "a pooler before .* gives each transaction another session"
    name, _, server = url_of(tmp_path).partition("?host=")
    with (
        # The path of a socket must be short.
        tempfile.TemporaryDirectory(dir=quick_folder()) as folder,
        contextlib.closing(Pooler(Path(folder), server)),
        pytest.raises(ConfigurationError, match=message),
    ):
        can_lock(make(url=f"{name}?host={folder}"))
