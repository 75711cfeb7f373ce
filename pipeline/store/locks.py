"""Hold a name: one process has it, keeps it while it is stopped, and when it lets go or dies it is free at once.

In a folder a lock is a file that the kernel locks; on a PostgreSQL server it is an advisory lock of a session beside
the pool. No lock replaces a guard: it is lost where its file is removed or its session ended, so each move of a state
is an UPDATE that names the state it expects. `check` is called right before what nothing takes back.
"""

import contextlib
import hashlib
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from pipeline.core.errors import ConfigurationError, FindableError, InconsistentError
from pipeline.store.database import Store
from pipeline.store.postgresql import Session

LOOK_S = 0.2  # how often who waits looks whether a name is free
ENDING = 100  # looks, of 20 ms, at the session of a process that is gone: its server has to notice
UNKNOWN = "held by another process"
_HOST = (platform.node() or "here").replace(" ", "-")[:24]


class LockLostError(FindableError):
    """A lock was lost while it was held, and others may have gone on with the work; nothing more was done."""

    exit_code = 4


class Lock(NamedTuple):
    """A name in hand, and the ways to see that it is so still and to let it go."""

    name: str
    is_held: Callable[[], bool]
    release: Callable[[], None]

    def check(self) -> None:
        """Raise `LockLostError` where it is held no longer: its file was removed, or its session ended."""
        if not self.is_held():
            said = (
                f"the lock {self.name!r} was lost while this process held it; nothing more was done"
            )
            raise LockLostError(said, hint="run the same command again")


class Locks:
    """The locks of one open workspace; another one is another holder, be it of the same process."""

    def __init__(self, store: Store, folder: Path, workspace_id: str) -> None:
        """Take the store, the folder of lock files, and the workspace's id; nothing is made or connected yet."""
        self._store = store
        self._folder = folder
        self._id = workspace_id
        self._mutex = threading.Lock()
        self._session: Session | None = None

    @contextlib.contextmanager
    def hold(self, name: str) -> Iterator[Lock | None]:
        """Hold a name for a block; None where another holds it. Where a block fails, a lost lock is what is raised."""
        lock = self.take(name)
        try:
            yield lock
        except (InconsistentError, OSError):
            if lock is not None:
                lock.check()
            raise
        finally:
            if lock is not None:
                lock.release()

    @contextlib.contextmanager
    def wait(
        self, name: str, *, say: Callable[[str], None], sleep: Callable[[float], None]
    ) -> Iterator[Lock]:
        """Hold a name for the length of a block, waiting for who has it; `say` gets who that is when it changes."""
        said = ""
        looks = 0
        while True:
            with self.hold(name) as lock:
                if lock is not None:
                    yield lock
                    return
            holder = self.holder(name)
            looks = looks + 1
            if holder != said and (
                holder != UNKNOWN or looks * LOOK_S >= 1
            ):  # it may be about to sign
                say(f"waiting for the lock {name!r}, {holder}")
                said = holder
            sleep(LOOK_S)

    def holder(self, name: str) -> str:
        """Return who holds a name, in words: which process, at what, and whether it is stopped."""
        signed = self._signed(name).split()
        if len(signed) != len(_signature().split()):
            return UNKNOWN
        (pid, command, host), how = signed, _standing(signed)
        return (
            f"held by pid {pid}{f' on {host}' * (host != _HOST)}, {command}{f', {how}' * bool(how)}"
        )

    def is_free(self, name: str) -> bool:
        """Return whether nobody holds a name, such as one of a process that died; nothing is changed."""
        if self._store.path is not None and not self._file(name).exists():
            return True
        with contextlib.suppress(ConfigurationError):
            if (lock := self.take(name, signs=False)) is not None:
                lock.release()
                return True
        return False

    def names_with_file(self) -> set[str]:
        """Return the names that have a lock file, held or free."""
        # On a server a lock has no file.
        if self._store.path is None:
            return set()
        return {path.stem for path in self._folder.glob("*.lock")}

    def discard(self, name: str) -> bool:
        """Remove the lock file of a name that is not needed any more; false if it is held."""
        with self.hold(name) as lock:
            # A process that opened the file before sees that it was removed, and makes a new one.
            if lock is not None:
                self._file(name).unlink(missing_ok=True)
            return lock is not None

    def close(self) -> None:
        """Let go of what is held."""
        if self._session is not None:
            self._session.close()
        self._session = None

    def take(self, name: str, *, signs: bool = True) -> Lock | None:
        """Return a name in hand, to be released; None where another process, or thread, holds it."""
        if self._store.path is not None:
            return _locked_file(self._file(name), name, signs=signs)
        key = self._key(name)
        for _ in range(ENDING):
            if (session := self._server()).lock(key):
                return Lock(name, lambda: session.has(key), lambda: session.unlock(key))
            if _standing(self._signed(name).split()) != "gone":
                break
            time.sleep(0.02)
        return None

    def _signed(self, name: str) -> str:
        if self._store.path is None:
            return self._server().locked_by(self._key(name)).removeprefix("findable ")
        with contextlib.suppress(OSError):
            return self._file(name).read_text(encoding="utf-8", errors="replace")
        return ""

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.lock"

    def _key(self, name: str) -> int:
        return int.from_bytes(
            hashlib.sha256(f"{self._id}/{name}".encode()).digest()[:8], signed=True
        )

    def _server(self) -> Session:
        with self._mutex:
            if self._session is None or not self._session.goes_on():
                self._session = self._store.session(f"findable {_signature()}")
            return self._session


def _locked_file(path: Path, name: str, *, signs: bool) -> Lock | None:
    """Lock a file; in a forked child the lock is not held, for filelock closes its copy of the file there."""
    from filelock import FileLock

    inode = list[int]()

    def sign(file: int) -> None:
        found = os.fstat(file)
        inode[:] = found.st_dev, found.st_ino
        with contextlib.suppress(OSError):  # a full disk keeps nobody from working
            if signs:
                os.ftruncate(file, os.write(file, _signature().encode()))

    def is_held() -> bool:
        with contextlib.suppress(FileNotFoundError):
            found = path.stat()
            return lock.is_locked and inode == [found.st_dev, found.st_ino]
        return False

    lock = FileLock(path, fallback_to_soft=False, thread_local=False, on_acquired=sign)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
        while not is_held():  # the file was removed, or another took its place, since it was opened
            lock.release()
            lock.acquire(blocking=False)
    except TimeoutError:
        return None
    except OSError as error:
        said = f"{path} cannot be locked: {error.strerror}; nothing was changed"
        hint = "where it is another user's, work as that user, or have the folder given to you"
        raise ConfigurationError(said, hint=hint) from error
    return Lock(name, is_held, lock.release)


def _signature() -> str:
    program, *words = [*sys.argv, ""]
    is_ours = (
        Path(program).name in {"findable", "__main__.py"} and words[0].replace("-", "").isalpha()
    )
    return f"{os.getpid()} {words[0] if is_ours else Path(program).name.replace(' ', '-') or 'python'} {_HOST}"


def _standing(signed: list[str]) -> str:
    """Return "stopped" or "gone" of a holder on this machine that is so, where the system tells; else nothing."""
    if signed[-1:] != [_HOST] or not Path("/proc/self/stat").is_file():
        return ""
    with contextlib.suppress(OSError):
        said = Path(f"/proc/{signed[0]}/stat").read_text(encoding="utf-8", errors="replace")
        return {"T": "stopped", "t": "stopped", "Z": "gone", "X": "gone"}.get(
            said.rpartition(")")[2].split()[0], ""
        )
    return "gone"
