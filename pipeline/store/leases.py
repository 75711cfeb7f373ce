"""Leases: who works on a batch, on the index, or on preparing. Kept in the database, never held while only waiting.

An owner is a process: host, boot, process id, its start time, and a nonce. A lease is free when its time is over (on
any host), or when its owner is known to be dead (on this host). A process that was stopped past its lease finds out by
`check` before it does anything that others could see.
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

from pipeline.errors import FindableError, InconsistentError
from pipeline.store.database import Store
from pipeline.store.tables import leases

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
START_TOLERANCE_S = 2.0  # psutil's start times are counted from boot and may wander by a clock step
LOOK_S = 0.2  # how often a waiting process looks whether a lease is free


class LeaseLostError(InconsistentError):
    """The lease is gone: this process was stopped for too long and somebody else goes on with the work."""


@functools.cache
def this_owner() -> str:
    """Return how this process signs its leases."""
    import psutil

    started = psutil.Process().create_time()
    return f"{platform.node()}|{_boot()}|{os.getpid()}|{started:.2f}|{secrets.token_hex(4)}"


def is_dead(owner: str) -> bool:
    """Return whether an owner is known to be dead; of another host's processes nothing is known."""
    import psutil

    host, boot, pid, started, _ = owner.split("|")
    if host != platform.node():
        return False
    if boot != _boot():
        return True
    try:
        process = psutil.Process(int(pid))
        if process.status() == psutil.STATUS_ZOMBIE:
            return True
        return abs(process.create_time() - float(started)) > START_TOLERANCE_S
    except psutil.NoSuchProcess:
        return True


def _boot() -> str:
    """Return what tells one boot of this machine from the next."""
    if BOOT_ID.exists():
        return BOOT_ID.read_text().strip()
    import psutil

    return str(round(psutil.boot_time() / 10))


def take(tx: Connection, name: str, *, lasts_s: float) -> bool:
    """Take a lease if it is free, over, or its owner is dead; return whether it is ours now."""
    now = datetime.now(UTC)
    row = tx.execute(select(leases.c.owner, leases.c.until).where(leases.c.name == name).with_for_update()).first()
    if row is not None and row.until > now and row.owner != this_owner() and not is_dead(row.owner):
        return False
    tx.execute(delete(leases).where(leases.c.name == name))
    tx.execute(insert(leases).values(name=name, owner=this_owner(), until=now + timedelta(seconds=lasts_s)))
    return True


def holds(tx: Connection, name: str) -> bool:
    """Return whether this process holds a lease that is not over."""
    ours = (leases.c.name == name) & (leases.c.owner == this_owner()) & (leases.c.until > datetime.now(UTC))
    return tx.execute(select(leases.c.name).where(ours).with_for_update()).first() is not None


@dataclass
class Lease:
    """A lease in hand; renewed in the background until the block that took it ends."""

    store: Store
    name: str
    lasts_s: float

    def check(self, tx: Connection | None = None) -> None:
        """Make sure that the lease is still ours, right before something that others can see.

        Raises:
            LeaseLostError: it is not; nothing more may be done under it.
        """
        if tx is not None:
            still_ours = holds(tx, self.name)
        else:
            with self.store.read() as snapshot:
                still_ours = holds(snapshot, self.name)
        if not still_ours:
            raise LeaseLostError(
                f"the lease on {self.name!r} was lost while this process stood still; nothing more was done",
                hint="run the same command again",
            )

    def renew(self) -> bool:
        """Prolong the lease; false when it is no longer ours."""
        now = datetime.now(UTC)
        ours = (leases.c.name == self.name) & (leases.c.owner == this_owner()) & (leases.c.until > now)
        with self.store.write() as tx:
            moved = tx.execute(update(leases).where(ours).values(until=now + timedelta(seconds=self.lasts_s)))
            return moved.rowcount == 1

    def release(self) -> None:
        """Give the lease back."""
        with self.store.write() as tx:
            tx.execute(delete(leases).where((leases.c.name == self.name) & (leases.c.owner == this_owner())))


@contextlib.contextmanager
def held(store: Store, name: str, *, lasts_s: float) -> Iterator[Lease | None]:
    """Hold a lease for the length of a block; None when a living owner has it."""
    with store.write() as tx:
        taken = take(tx, name, lasts_s=lasts_s)
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
def waited_for(
    store: Store, name: str, *, lasts_s: float, on_wait: Callable[[], None], sleep: Callable[[float], None] = time.sleep
) -> Iterator[Lease]:
    """Hold a lease for the length of a block, waiting for a living owner to finish; `on_wait` is called once."""
    said = False
    while True:
        with held(store, name, lasts_s=lasts_s) as lease:
            if lease is not None:
                yield lease
                return
        if not said:
            on_wait()
            said = True
        sleep(LOOK_S)


def _keep(lease: Lease, over: threading.Event) -> None:
    """Renew a lease until its block is over; a lease that was lost stays lost, and `check` will say so."""
    while not over.wait(lease.lasts_s / 3):
        with contextlib.suppress(FindableError):  # a busy database: the next round tries again
            if not lease.renew():
                return
