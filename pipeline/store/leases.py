"""Leases: who works on a batch, on the index, or on preparing. Kept in the database, never held while only waiting.

An owner is a process (see `owners`). A lease is free when its time is over (on any host), or when its owner is known
to be dead. As long as its row names an owner, nobody else has had it since: so an owner whose time is over, because it
stood still or could not write for too long, may go on where nobody took the lease, and finds out by `check` where
somebody did, before it does anything that others could see.

Owners: which process something in the database belongs to, and whether that process is known to be dead.

An owner is written `host|boot|process id|start|nonce`. The host is a machine's name and id with the namespace of its
process ids, because two containers may well have the same name and the same ids; the start is counted from boot where
the system says so, because a clock that is set moves all other times. Of an owner that cannot be judged from here
nothing is said, and its time decides.
"""

import contextlib
import functools
import os
import platform
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, delete, insert, select, update

from pipeline.core.errors import FindableError, InconsistentError
from pipeline.store.database import Store
from pipeline.store.tables import leases

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MACHINE_ID = Path("/etc/machine-id")
NAMESPACE = Path("/proc/self/ns/pid")
FIRST_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO: the machine's own, on every Linux
START_TOLERANCE_S = 2.0  # of start times that are told as times of day
ZOMBIES = frozenset({"Z", "X", "zombie", "dead"})


def this_owner() -> str:
    """Return how this process signs what it holds."""
    return _owner(os.getpid())


def is_dead(owner: str) -> bool:
    """Return whether an owner is known to be dead; of another host's processes nothing is known.

    A machine that was booted since has none of its processes any more. Of containers that is not said: two of them on
    two machines may have one name.
    """
    parts = owner.split("|")
    if len(parts) != 5 or parts[0] != _host():  # noqa: PLR2004 - the five of the docstring
        return False
    _, boot, pid, started, _ = parts
    if boot != _boot():
        return _namespace() in {FIRST_NAMESPACE, ""}
    found = _process(int(pid))
    if found is None:
        return not _answers(int(pid))
    state, since = found
    return state in ZOMBIES or abs(since - float(started)) > _tolerance()


@functools.cache
def _owner(pid: int) -> str:
    """Return the signature of this process; its id is asked for, so that one that was forked off has its own."""
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
    """Return what tells one boot of this machine from the next."""
    if BOOT_ID.exists():
        return BOOT_ID.read_text().strip()
    import psutil

    return str(round(psutil.boot_time() / 10))


def _tolerance() -> float:
    """Return by how many seconds two readings of one start may differ."""
    return 0.01 if _counts_from_boot() else START_TOLERANCE_S


def _counts_from_boot() -> bool:
    """Return whether this system tells starts in ticks since boot."""
    return Path("/proc/self/stat").is_file()


def _process(pid: int) -> tuple[str, float] | None:
    """Return the state and the start, in seconds, of a process of this machine; None where it is not to be seen."""
    if _counts_from_boot():
        with contextlib.suppress(OSError):
            told = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()  # a name may hold anything
            return told[0].decode(), int(told[19]) / os.sysconf("SC_CLK_TCK")
        return None
    import psutil

    try:
        process = psutil.Process(pid)
        return process.status(), process.create_time()
    except (psutil.Error, OSError):
        return None


def _answers(pid: int) -> bool:
    """Return whether a process that is not to be seen is there all the same: some systems hide those of others."""
    if os.name != "posix":
        return False  # there the question itself would be a signal
    try:
        os.kill(pid, 0)  # asks only whether it is there
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


LOOK_S = 0.2  # how often a waiting process looks whether a lease is free
LEAVING_S = 0.2  # how long a process that leaves waits for a busy database; what it leaves behind has a dead owner


class LeaseLostError(InconsistentError):
    """The lease is gone: this process was stopped for too long and somebody else goes on with the work."""


def take_lease(tx: Connection, name: str, *, lasts_s: float) -> bool:
    """Take a lease if it is free, over, or its owner is dead; return whether it is ours now."""
    now = datetime.now(UTC)
    row = tx.execute(select(leases.c.owner, leases.c.until).where(leases.c.name == name).with_for_update()).first()
    if row is not None and row.until > now and row.owner != this_owner() and not is_dead(row.owner):
        return False
    tx.execute(delete(leases).where(leases.c.name == name))
    tx.execute(insert(leases).values(name=name, owner=this_owner(), until=now + timedelta(seconds=lasts_s)))
    return True


@dataclass
class Lease:
    """A lease in hand; renewed in the background until the block that took it ends."""

    store: Store
    name: str
    lasts_s: float

    def check(self, tx: Connection | None = None) -> None:
        """Make sure that the lease is ours, and for a while yet, right before something that others can see.

        With a transaction that writes, it is ours until that ends. Without one, half of its time is left at least: who
        sends afterwards has that long before anybody else may go on.

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
            tx.execute(delete(leases).where((leases.c.name == self.name) & (leases.c.owner == this_owner())))

    def _has_time(self) -> bool:
        """Return whether it is ours for at least half of its length; waits for nobody."""
        ours = (leases.c.name == self.name) & (leases.c.owner == this_owner())
        with self.store.read() as tx:
            until: datetime | None = tx.execute(select(leases.c.until).where(ours)).scalar()
        return until is not None and until - datetime.now(UTC) > timedelta(seconds=self.lasts_s / 2)

    def _prolong(self, tx: Connection) -> bool:
        """Let it last its full length from now; false when it is no longer ours."""
        until = datetime.now(UTC) + timedelta(seconds=self.lasts_s)
        ours = (leases.c.name == self.name) & (leases.c.owner == this_owner())
        return tx.execute(update(leases).where(ours).values(until=until)).rowcount == 1


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
    said = False
    while True:
        with hold_lease(store, name, lasts_s=lasts_s) as lease:
            if lease is not None:
                yield lease
                return
        if not said:
            on_wait()
            said = True
        sleep(LOOK_S)


def live_leases(tx: Connection) -> list[str]:
    """Return the names of the leases that a living owner holds."""
    rows = tx.execute(select(leases.c.name, leases.c.owner, leases.c.until).order_by(leases.c.name))
    return [row.name for row in rows if row.until > datetime.now(UTC) and not is_dead(row.owner)]


def drop_all_leases(tx: Connection) -> None:
    """Forget every lease; only for a copy of a database in which nobody works."""
    tx.execute(delete(leases))


def _keep(lease: Lease, over: threading.Event) -> None:
    """Renew a lease until its block is over; a lease that was lost stays lost, and `check` will say so.

    While somebody else's transaction keeps it from writing it tries again and again, a little at a time, so that the
    end of the block need not wait for it.
    """
    pause = lease.lasts_s / 3
    while not over.wait(pause):
        try:
            if not lease.renew(patience_s=LEAVING_S):
                return
            pause = lease.lasts_s / 3
        except FindableError:
            pause = min(lease.lasts_s / 3, LOOK_S)
