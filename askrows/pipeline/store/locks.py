"""Lock names of a workspace: one process has a lock until it releases it or dies.

- In a folder a lock is a file that the kernel locks. On a PostgreSQL server it is an advisory lock
  of a session outside of the pool.
- A stopped process keeps its locks.
- A lock can be lost: its file is removed, or its session ends. So each change of a state is an
  UPDATE that expects the former state, and `raise_if_lost` is called right before an irreversible
  step.
- The holder is the process that has the lock. Its signature names it for messages.
"""

import contextlib
import hashlib
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from askrows.pipeline.core.errors import AskrowsError, ConfigurationError, InconsistentError
from askrows.pipeline.store.database import Store
from askrows.pipeline.store.postgresql import Session

# The pause between two tries to get a lock.
RETRY_PAUSE_S = 0.2
# Tries, and the pause between them, while the server notices that the lock's process is gone.
MAX_DEAD_HOLDER_TRIES = 100
DEAD_HOLDER_PAUSE_S = 0.02
# An unnamed holder is announced after this time; until then it may be about to write its name.
UNKNOWN_HOLDER_DELAY_S = 1
UNKNOWN_HOLDER = "held by another process"
_HOST = (platform.node() or "here").replace(" ", "-")[:24]
# The states of a process in Linux's /proc/PID/stat that matter for a lock.
_PROCESS_STATES = {"T": "stopped", "t": "stopped", "Z": "gone", "X": "gone"}


class LockLostError(AskrowsError):
    """A lock was lost, and another process may have continued the work; nothing more was done."""

    exit_code = 4


class Lock(NamedTuple):
    """A lock that this process has."""

    name: str
    still_exists: Callable[[], bool]
    release: Callable[[], None]

    def raise_if_lost(self) -> None:
        """Check that the lock still exists.

        Raises:
            LockLostError: Its file was removed, or its session ended.
        """
        if not self.still_exists():
            raise LockLostError(
                f"the lock {self.name!r} was lost; nothing more was done",
                hint="run the same command again",
            )


class Locks:
    """The locks of an open workspace.

    Another `Locks` of the same workspace is another holder, even in the same process.
    """

    def __init__(self, store: Store, folder: Path, workspace_id: str) -> None:
        """Set up the locks; no file is created and nothing is connected yet.

        Args:
            folder: The folder of lock files, unless the store is on a server.
        """
        self._store = store
        self._folder = folder
        self._workspace_id = workspace_id
        self._mutex = threading.Lock()
        self._session: Session | None = None

    @contextlib.contextmanager
    def try_lock(self, name: str) -> Iterator[Lock | None]:
        """Try to get a lock without waiting, and release it at the end of the block.

        If the block ends without an error, it is not checked whether the lock still exists. If the
        block raises an InconsistentError or an OSError and the lock was lost meanwhile,
        LockLostError is raised instead, because the loss may be the cause. All other errors are
        raised unchanged.

        Yields:
            The lock; None if another process, or another thread, has it. The block runs anyway.

        Raises:
            LockLostError: The lock was lost, and the block raised one of the two errors.
            ConfigurationError: The file of the lock cannot be locked.
        """
        lock = self.try_acquire(name)
        try:
            yield lock
        except (InconsistentError, OSError):
            if lock is not None:
                lock.raise_if_lost()
            raise
        finally:
            if lock is not None:
                lock.release()

    @contextlib.contextmanager
    def wait_for_lock(
        self,
        name: str,
        *,
        announce: Callable[[str], None],
        sleep: Callable[[float], None],
    ) -> Iterator[Lock]:
        """Wait for a lock without a time limit, and release it at the end of the block.

        Args:
            announce: Called with a message about the lock's holder, and again if that changes.
                An unknown holder is announced only after UNKNOWN_HOLDER_DELAY_S seconds.
            sleep: Called with the seconds to wait before the next try.

        Raises:
            LockLostError: The lock was lost, and the block raised an InconsistentError or OSError.
            ConfigurationError: The file of the lock cannot be locked.
        """
        announced_holder = ""
        tries = 0
        while True:
            with self.try_lock(name) as lock:
                if lock is not None:
                    yield lock
                    return

            tries += 1
            holder = self.describe_lock_holder(name)
            waited_s = tries * RETRY_PAUSE_S
            is_certain = holder != UNKNOWN_HOLDER or waited_s >= UNKNOWN_HOLDER_DELAY_S
            if holder != announced_holder and is_certain:
                announce(f"waiting for the lock {name!r}, {holder}")
                announced_holder = holder
            sleep(RETRY_PAUSE_S)

    def describe_lock_holder(self, name: str) -> str:
        """Describe the holder of a lock: process id, host, command, and if it is stopped or gone.

        The host is left out if it is this host. Returns UNKNOWN_HOLDER if the holder has not
        written its signature. Call it only if the lock is held: this is not checked.
        """
        signature = self._read_holder_signature(name).split()
        if len(signature) != len(_make_process_signature().split()):
            return UNKNOWN_HOLDER

        pid, command, host = signature
        host_text = "" if host == _HOST else f" on {host}"
        state = _describe_stopped_or_gone_process(signature)
        state_text = f", {state}" if state else ""
        return f"held by pid {pid}{host_text}, {command}{state_text}"

    def is_free(self, name: str) -> bool:
        """Return whether nobody has a lock; a lock of a dead process is free.

        Takes the lock for a moment, without writing who has it. With SQLite, a lock whose file is
        missing is free. A lock that cannot be taken at all, for example because the file must not
        be opened, is not free; no error is raised.
        """
        if self._store.path is not None and not self._lock_path(name).exists():
            return True

        with contextlib.suppress(ConfigurationError):
            lock = self.try_acquire(name, should_sign=False)
            if lock is not None:
                lock.release()
                return True
        return False

    def list_names_with_file(self) -> set[str]:
        """Return the names that have a lock file, locked or free."""
        # On a server a lock has no file.
        if self._store.path is None:
            return set()
        return {path.stem for path in self._folder.glob("*.lock")}

    def delete_lock_file_if_free(self, name: str) -> bool:
        """Delete the lock file of a name; return False if another process holds the lock."""
        with self.try_lock(name) as lock:
            # A process that opened the file before sees that it was removed, and makes a new one.
            if lock is not None:
                self._lock_path(name).unlink(missing_ok=True)
            return lock is not None

    def close(self) -> None:
        """Release all locks on a server by closing their session."""
        if self._session is not None:
            self._session.close()
        self._session = None

    def try_acquire(self, name: str, *, should_sign: bool = True) -> Lock | None:
        """Get a lock without waiting for a live holder; the caller releases it.

        On a server the session of a dead process may last a little longer. If the holder's
        signature names a process of this host that no longer exists, the lock is tried up to
        MAX_DEAD_HOLDER_TRIES times, with a pause between the tries.

        Args:
            should_sign: Write the holder into the file of the lock. A server needs no file.

        Returns:
            None if another process, or another thread, has the lock.

        Raises:
            ConfigurationError: The file cannot be locked.
        """
        if self._store.path is not None:
            return _try_acquire_file_lock(self._lock_path(name), name, should_sign=should_sign)

        key = self._make_lock_key(name)
        for _ in range(MAX_DEAD_HOLDER_TRIES):
            session = self._open_session()
            if session.try_lock(key):
                return Lock(name, partial(session.owns_lock, key), partial(session.unlock, key))
            if (
                _describe_stopped_or_gone_process(self._read_holder_signature(name).split())
                != "gone"
            ):
                break
            time.sleep(DEAD_HOLDER_PAUSE_S)
        return None

    def _read_holder_signature(self, name: str) -> str:
        """Return "PID COMMAND HOST" of the process that has the lock `name`; "" if it is unknown.

        Reads the file of the lock, or on PostgreSQL the name of the server session that has it.
        """
        if self._store.path is None:
            session_name = self._open_session().find_lock_holder(self._make_lock_key(name))
            return session_name.removeprefix("askrows ")
        with contextlib.suppress(OSError):
            return self._lock_path(name).read_text(encoding="utf-8", errors="replace")
        return ""

    def _lock_path(self, name: str) -> Path:
        return self._folder / f"{name}.lock"

    def _make_lock_key(self, name: str) -> int:
        """Return the key of a name's advisory lock: 64 bits of a hash."""
        digest = hashlib.sha256(f"{self._workspace_id}/{name}".encode()).digest()
        return int.from_bytes(digest[:8], signed=True)

    def _open_session(self) -> Session:
        """Return the session for locks; open another session after it has ended."""
        with self._mutex:
            if self._session is None or not self._session.is_alive():
                self._session = self._store.open_session(f"askrows {_make_process_signature()}")
            return self._session


def _try_acquire_file_lock(path: Path, name: str, *, should_sign: bool) -> Lock | None:
    """Lock a file without waiting, and create it and its folder if it is missing.

    If the file was removed or replaced before it was locked, the new file is locked. A forked child
    process does not have the lock.

    Args:
        should_sign: Write the signature of this process into the file; a full disk is ignored.

    Returns:
        None if another holder has locked the file.

    Raises:
        ConfigurationError: The file cannot be created or locked.
    """
    from filelock import FileLock

    # Device and inode of the locked file.
    locked_inode = list[int]()

    def remember_inode_and_sign(descriptor: int) -> None:
        """Remember which file was locked, and write the signature into it."""
        status = os.fstat(descriptor)
        locked_inode[:] = status.st_dev, status.st_ino
        # A full disk must not prevent the work.
        with contextlib.suppress(OSError):
            if should_sign:
                written_bytes = os.write(descriptor, _make_process_signature().encode())
                os.ftruncate(descriptor, written_bytes)

    def owns_lock_file() -> bool:
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            return lock.is_locked and locked_inode == [status.st_dev, status.st_ino]
        return False

    lock = FileLock(
        path, fallback_to_soft=False, thread_local=False, on_acquired=remember_inode_and_sign
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
        # The file may have been removed or replaced between its opening and its locking.
        while not owns_lock_file():
            lock.release()
            lock.acquire(blocking=False)
    except TimeoutError:
        return None
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be locked: {error.strerror}; nothing was changed",
            hint="if the folder belongs to another user, work as that user, "
            "or take over the folder",
        ) from error
    return Lock(name, owns_lock_file, lock.release)


def _make_process_signature() -> str:
    """Return the process id, the command and the host of this process, with blanks between them.

    The command is the first argument of the askrows program, else the name of the program.
    """
    program, *arguments = [*sys.argv, ""]
    program_name = Path(program).name
    first_argument = arguments[0]
    is_command = (
        program_name in {"askrows", "__main__.py"} and first_argument.replace("-", "").isalpha()
    )
    command = first_argument if is_command else program_name.replace(" ", "-") or "python"
    return f"{os.getpid()} {command} {_HOST}"


def _describe_stopped_or_gone_process(signature: list[str]) -> str:
    """Return "stopped" or "gone" for the process of a signature; "" if it runs or is not known.

    A process is gone if this host has no process of its id, or if that process has ended. The
    command is not compared, so a process that got the same id later counts as running. A process is
    not known for an incomplete signature, on another host, and without /proc.

    Args:
        signature: Process id, command and host.
    """
    if signature[-1:] != [_HOST] or not Path("/proc/self/stat").is_file():
        return ""

    with contextlib.suppress(OSError):
        status = Path(f"/proc/{signature[0]}/stat").read_text(encoding="utf-8", errors="replace")
        # The state follows the command's name, which is in parentheses and may contain some.
        state = status.rpartition(")")[2].split()[0]
        return _PROCESS_STATES.get(state, "")
    return "gone"
