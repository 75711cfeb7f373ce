"""Leases: who works on a batch, on the index, or on preparing. Kept in the database, never held while only waiting.

An owner is a process (see `owners`). A lease is free when its time is over (on any host), or when its owner is known
to be dead. As long as its row names an owner, nobody else has had it since: so an owner whose time is over, because it
stood still or could not write for too long, may go on where nobody took the lease, and finds out by `check` where
somebody did, before it does anything that others could see.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, delete, insert, select, update

from pipeline.errors import FindableError, InconsistentError
from pipeline.store.database import Store
from pipeline.store.owners import is_dead, this_owner
from pipeline.store.tables import leases

__all__ = ["Lease", "LeaseLostError", "held", "take", "waited_for"]

LOOK_S = 0.2  # how often a waiting process looks whether a lease is free
LEAVING_S = 0.2  # how long a process that leaves waits for a busy database; what it leaves behind has a dead owner


class LeaseLostError(InconsistentError):
    """The lease is gone: this process was stopped for too long and somebody else goes on with the work."""


def take(tx: Connection, name: str, *, lasts_s: float) -> bool:
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


def alive(tx: Connection) -> list[str]:
    """Return the names of the leases that a living owner holds."""
    rows = tx.execute(select(leases.c.name, leases.c.owner, leases.c.until).order_by(leases.c.name))
    return [row.name for row in rows if row.until > datetime.now(UTC) and not is_dead(row.owner)]


def drop_all(tx: Connection) -> None:
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
