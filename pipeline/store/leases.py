"""Hold leases in the database: which process works on a batch, on the index, or on preparing.

A lease is free when its time is over (on any host), or when its owner is known to be dead. An owner whose time is over,
because it stood still, may go on where no other process took the lease; `check` finds out before anything is done that
others could see.

An owner is written `host|boot|process id|start|nonce`. The host is a machine's name and id with the namespace of its
process ids, for two containers may share name and ids; the start is counted from boot where the system says so, for a
clock that is set moves all other times. Of an owner that cannot be judged on this machine, its time decides.
"""

import contextlib
import functools
import itertools
import os
import platform
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from pipeline.core.errors import FindableError, InconsistentError
from pipeline.core.files import process_exists
from pipeline.store.database import Store
from pipeline.store.tables import leases

T = TypeVar("T")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MACHINE_ID = Path("/etc/machine-id")
NAMESPACE = Path("/proc/self/ns/pid")
FIRST_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO: the machine's own, on every Linux
START_TOLERANCE_S = 2.0  # of start times that are times of day
ZOMBIES = frozenset({"Z", "X", "zombie", "dead"})
LOOK_S = 0.2  # how often a waiting process looks whether a lease is free
LEAVING_S = 0.2  # how long a process that leaves waits for a busy database; what it leaves behind has a dead owner


def this_owner() -> str:
    """Return how this process signs what it holds."""
    return _owner(os.getpid())


def is_dead(owner: str) -> bool:
    """Return whether an owner is known to be dead; of another host's processes nothing is known.

    A machine that was booted since has none of its processes any more; that does not hold for containers, of which two
    on two machines may have one name.
    """
    parts = owner.split("|")
    if len(parts) != 5 or parts[0] != _host():  # noqa: PLR2004 - the five of the docstring
        return False
    _, boot, pid, started, _ = parts
    if boot != _boot():
        return _namespace() in {FIRST_NAMESPACE, ""}
    found = _process(int(pid))
    if found is None:
        return os.name == "posix" and not process_exists(int(pid))  # some systems hide the processes of others
    state, since = found
    return state in ZOMBIES or abs(since - float(started)) > (0.01 if _counts_from_boot() else START_TOLERANCE_S)


def is_alive(owner: str) -> bool:
    """Return whether an owner is known to be a process of this machine that goes on."""
    return owner.partition("|")[0] == _host() and not is_dead(owner)


@functools.cache
def _owner(pid: int) -> str:
    found = _process(pid)
    return f"{_host()}|{_boot()}|{pid}|{found[1] if found else 0.0:.2f}|{secrets.token_hex(4)}"


@functools.cache
def _host() -> str:
    """Return what tells one place where processes live from another."""
    machine = MACHINE_ID.read_text().strip() if MACHINE_ID.is_file() else ""
    return f"{platform.node()}/{machine}/{_namespace()}".replace("|", "-")


def _namespace() -> str:
    """Return the namespace in which process ids count here; empty where the system has no such thing."""
    try:
        return str(NAMESPACE.readlink())
    except OSError:
        return ""


def _boot() -> str:
    if BOOT_ID.exists():
        return BOOT_ID.read_text().strip()
    import psutil

    return str(round(psutil.boot_time() / 10))


def _counts_from_boot() -> bool:
    """Return whether this system tells starts in ticks since boot, as exactly as they are written."""
    return Path("/proc/self/stat").is_file()


def _process(pid: int) -> tuple[str, float] | None:
    """Return the state and the start, in seconds, of a process of this machine; None where it is not to be seen."""
    if _counts_from_boot():
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()  # a name may hold anything
            return words[0].decode(), int(words[19]) / os.sysconf("SC_CLK_TCK")
        return None
    import psutil

    try:
        process = psutil.Process(pid)
        return process.status(), process.create_time()
    except (psutil.Error, OSError):
        return None


class LeaseLostError(InconsistentError):
    """The lease was lost: this process was stopped for too long and another one goes on with the work."""


def take_lease(tx: Connection, name: str, *, lasts_s: float) -> bool:
    """Take a lease if it is free, over, or its owner is dead; return whether it is ours now."""
    now = datetime.now(UTC)
    row = tx.execute(select(leases.c.owner, leases.c.until).where(leases.c.name == name).with_for_update()).first()
    if row is not None and row.until > now and row.owner != this_owner() and not is_dead(row.owner):
        return False
    tx.execute(delete(leases).where(leases.c.name == name))
    tx.execute(insert(leases).values(name=name, owner=this_owner(), until=now + timedelta(seconds=lasts_s)))
    return True


def read_again(once: Callable[[], T], *, times: int, after: type[InconsistentError] = LeaseLostError) -> T:
    """Do what begins by reading its rows, anew where another process went on with them; so many `times` at the most.

    Raises:
        InconsistentError: of the kind `after`, from the last time.
    """
    for _ in range(times - 1):
        with contextlib.suppress(after):
            return once()
    return once()


@dataclass
class Lease:
    """A lease in hand; renewed in the background until the block that took it ends.

    A process may work under that of another `owner`, of the same command; `check` says whether that one has it still.
    """

    store: Store
    name: str
    lasts_s: float
    owner: str = field(default_factory=this_owner)

    def check(self, tx: Connection | None = None) -> None:
        """Make sure that the lease is ours for a while yet, right before something that others can see.

        With a transaction that writes, until that ends. Without one, for half of its time at least.

        Raises:
            LeaseLostError: it is not ours; nothing more may be done under it.
        """
        if not (self._prolong(tx) if tx is not None else self._has_time() or self.renew()):
            raise LeaseLostError(
                f"the lease on {self.name!r} was lost while this process stood still; nothing more was done",
                hint="run the same command again",
            )

    def renew(self, *, patience_s: float | None = None) -> bool:
        """Prolong the lease; false when it is no longer ours."""
        with self.store.write(patience_s=patience_s) as tx:
            return self._prolong(tx)

    def release(self) -> None:
        """Give the lease back; where the database is busy for too long, it is left behind and frees itself."""
        with contextlib.suppress(FindableError), self.store.write(patience_s=LEAVING_S) as tx:
            tx.execute(delete(leases).where(self._ours()))

    def _has_time(self) -> bool:
        """Return whether it is ours for at least half of its length, without waiting."""
        with self.store.read() as tx:
            until: datetime | None = tx.execute(select(leases.c.until).where(self._ours())).scalar()
        return until is not None and until - datetime.now(UTC) > timedelta(seconds=self.lasts_s / 2)

    def _prolong(self, tx: Connection) -> bool:
        until = datetime.now(UTC) + timedelta(seconds=self.lasts_s)
        return tx.execute(update(leases).where(self._ours()).values(until=until)).rowcount == 1

    def _ours(self) -> ColumnElement[bool]:
        return (leases.c.name == self.name) & (leases.c.owner == self.owner)


@contextlib.contextmanager
def hold_lease(store: Store, name: str, *, lasts_s: float) -> Iterator[Lease | None]:
    """Hold a lease for the length of a block; None when a living owner has it."""
    with store.write() as tx:
        taken = take_lease(tx, name, lasts_s=lasts_s)
    if not taken:
        yield None
        return
    lease = Lease(store, name, lasts_s)
    over = threading.Event()
    keeper = threading.Thread(target=_keep, args=(lease, over), name=f"lease {name}", daemon=True)
    keeper.start()
    try:
        yield lease
    finally:
        over.set()
        keeper.join()
        lease.release()


@contextlib.contextmanager
def wait_for_lease(
    store: Store, name: str, *, lasts_s: float, on_wait: Callable[[], None], sleep: Callable[[float], None] = time.sleep
) -> Iterator[Lease]:
    """Hold a lease for the length of a block, waiting for a living owner to finish; `on_wait` is called once."""
    for looked in itertools.count():
        with hold_lease(store, name, lasts_s=lasts_s) as lease:
            if lease is not None:
                yield lease
                return
        if not looked:
            on_wait()
        sleep(LOOK_S)


def leases_by_life(tx: Connection, *, now: datetime) -> tuple[list[str], list[str]]:
    """Return the names of the leases that a living owner holds, and of those that are over or whose owner is dead."""
    found: tuple[list[str], list[str]] = ([], [])
    for row in tx.execute(select(leases.c.name, leases.c.owner, leases.c.until).order_by(leases.c.name)):
        found[row.until <= now or is_dead(row.owner)].append(row.name)
    return found


def drop_leases(tx: Connection) -> None:
    """Delete every lease, in a copy of a database that no process works in yet."""
    tx.execute(delete(leases))


def _keep(lease: Lease, over: threading.Event) -> None:
    """Renew a lease until its block is over; a lease that was lost stays lost, and `check` will say so.

    Where another transaction writes it tries again and again, briefly, so that the end of the block need not wait.
    """
    pause = lease.lasts_s / 3
    while not over.wait(pause):
        try:
            if not lease.renew(patience_s=LEAVING_S):
                return
            pause = lease.lasts_s / 3
        except FindableError:
            pause = min(lease.lasts_s / 3, LOOK_S)
