"""Locks: who has one, who waits for whom, and how it is found out that one was lost, on either database."""

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
HOLD = """
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
    """A function that opens the locks of a workspace, as another process would have them."""
    with contextlib.ExitStack() as closing:

        def made(
            workspace: str = "workspace", url: str = "", folder: Path = tmp_path / "locks"
        ) -> Locks:
            store = closing.enter_context(contextlib.closing(Store(url or url_of(tmp_path))))
            return closing.enter_context(contextlib.closing(Locks(store, folder, workspace)))

        yield made


@contextlib.contextmanager
def held_elsewhere(tmp_path: Path) -> "Iterator[subprocess.Popen[str]]":
    """Have another process hold `work` for the length of a block."""
    code = HOLD.replace("sys.argv_given", repr([url_of(tmp_path), str(tmp_path / "locks")]))
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "True\n"
        yield child
        child.kill()


class Pooler:
    """Stands between clients and one session of a server, which each transaction has for itself while it lasts."""

    def __init__(self, folder: Path, server: str) -> None:
        """Listen in a folder for clients of the server that listens in another one."""
        self._free = threading.Lock()
        self._greeting = list[bytes]()
        self._backend = socket.socket(socket.AF_UNIX)
        self._listening = socket.socket(socket.AF_UNIX)
        self._backend.connect(f"{server}/.s.PGSQL.5432")
        self._listening.bind(str(folder / ".s.PGSQL.5432"))
        self._listening.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End its session and take no more clients."""
        for one in (self._listening, self._backend):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(
                    target=self._serve, args=[self._listening.accept()[0]], daemon=True
                ).start()

    def _serve(self, client: socket.socket) -> None:
        begin = client.recv(4, socket.MSG_WAITALL)
        begin += client.recv(int.from_bytes(begin, "big") - 4, socket.MSG_WAITALL)
        if not self._greeting:
            self._backend.sendall(begin)
            self._greeting += self._replies()
        client.sendall(b"".join(self._greeting))
        is_in_hand = False
        while (asked := _message(client))[:1] not in {b"", b"X"}:
            is_in_hand = is_in_hand or self._free.acquire()
            self._backend.sendall(asked)
            if asked[:1] in {b"Q", b"S"}:
                said = self._replies()
                if said[-1].endswith(b"I"):  # no transaction is open
                    is_in_hand = False
                    self._free.release()
                client.sendall(b"".join(said))
        client.close()

    def _replies(self) -> list[bytes]:
        found = [_message(self._backend)]
        while found[-1][:1] not in {b"", b"Z"}:
            found.append(_message(self._backend))
        return found


def _message(sender: socket.socket) -> bytes:
    head = sender.recv(5, socket.MSG_WAITALL)
    return head + (
        sender.recv(size, socket.MSG_WAITALL)
        if (size := int.from_bytes(head[1:], "big") - 4) > 0
        else b""
    )


def has(locks: Locks, name: str = "work") -> bool:
    """Return whether locks get a name."""
    with locks.try_lock(name) as lock:
        return lock is not None


def test_who_is_stopped_keeps_it_and_who_dies_frees_it(tmp_path: Path, make: Make) -> None:
    """Who waits says who has it, by process, command and that it is stopped; after SIGKILL it is free at once."""
    locks = make()
    said = list[str]()

    def say(line: str) -> None:
        """Let the holder die once it was named."""
        said.append(line)
        child.kill()

    with held_elsewhere(tmp_path) as child:
        assert not has(locks)
        assert not locks.is_free("work")
        child.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + 60 * slowness()
        while not locks.describe_holder("work").endswith(", stopped"):
            assert time.monotonic() < deadline
        assert not has(locks)
        with locks.wait_for_lock("work", announce=say, sleep=time.sleep) as lock:
            lock.raise_if_lost()
    assert said == [f"waiting for the lock 'work', held by pid {child.pid}, batch-submit, stopped"]
    assert locks.is_free("work")


def test_a_thread_is_refused_what_its_sibling_has(make: Make) -> None:
    """As another process would be: by the same object, too, though a session would get it twice; then it gets it."""
    locks = make()
    got = list[bool]()
    one = threading.Thread(target=lambda: got.append(has(locks)))
    with locks.try_lock("work") as lock:
        one.start()
        one.join()
        assert not has(make())
        assert has(locks, "other")
        assert lock is not None
        lock.raise_if_lost()
    two = threading.Thread(target=lambda: got.append(has(locks)))
    two.start()
    two.join()
    assert got == [False, True]


@pytest.mark.skipif(not ON_POSTGRESQL, reason="sessions")
def test_a_pooler_of_transactions_is_refused(tmp_path: Path, make: Make) -> None:
    """What one client locks there would be another's, for both have one session in turn."""
    said = "a pooler before .* gives each transaction another session"
    name, _, server = url_of(tmp_path).partition("?host=")
    with (
        tempfile.TemporaryDirectory(dir=quick_folder()) as folder,  # for a socket's path is short
        contextlib.closing(Pooler(Path(folder), server)),
        pytest.raises(ConfigurationError, match=said),
    ):
        has(make(url=f"{name}?host={folder}"))
