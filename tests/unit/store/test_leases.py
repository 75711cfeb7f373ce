"""Leases: who may take one when, how long it holds, and how a process finds out that it lost one."""

import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from sqlalchemy import insert, select, update

from pipeline.store import leases
from pipeline.store.database import Store
from pipeline.store.leases import LeaseLostError
from pipeline.store.tables import leases as table


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A database with the table of leases alone."""
    made = Store(f"sqlite:///{tmp_path / 'leases.db'}")
    with made.write() as tx:
        table.create(tx)
    yield made
    made.close()


def owner_of(pid: int, *, host: str = "", boot: str = "", started: float | None = None) -> str:
    """Return how another process signs; without more it is a living process of this machine."""
    mine = leases.this_owner().split("|")
    since = psutil.Process(pid).create_time() if started is None else started
    return f"{host or mine[0]}|{boot or mine[1]}|{pid}|{since:.2f}|0badcafe"


def give(store: Store, owner: str, *, for_s: float = 3600) -> None:
    """Let somebody else hold the lease `work`."""
    with store.write() as tx:
        tx.execute(insert(table).values(name="work", owner=owner, until=datetime.now(UTC) + timedelta(seconds=for_s)))


def owner_in(store: Store) -> str | None:
    """Return who holds the lease `work`."""
    with store.read() as tx:
        found: str | None = tx.execute(select(table.c.owner).where(table.c.name == "work")).scalar()
        return found


def take(store: Store) -> bool:
    """Try to take the lease `work` for this process."""
    with leases.held(store, "work", lasts_s=60) as lease:
        return lease is not None


def test_a_free_lease_is_taken_and_given_back(store: Store) -> None:
    """It is in the database as long as the block lasts, and gone afterwards, also after an exception."""
    with leases.held(store, "work", lasts_s=60) as lease:
        assert lease is not None
        lease.check()
        assert owner_in(store) == leases.this_owner()
    assert owner_in(store) is None
    with pytest.raises(ZeroDivisionError), leases.held(store, "work", lasts_s=60):
        _ = 1 / 0
    assert owner_in(store) is None


def test_a_living_owner_keeps_its_lease(store: Store) -> None:
    """Another process that lives keeps it, and what it holds is not touched."""
    other = owner_of(os.getppid())
    give(store, other)
    assert not take(store)
    assert owner_in(store) == other


def test_a_dead_owner_loses_its_lease_at_once(store: Store) -> None:
    """An hour that is left is worth nothing where the process is gone."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    give(store, owner_of(child.pid))
    assert not take(store)
    child.communicate(b"\n")
    assert take(store)


def test_a_zombie_is_dead(store: Store) -> None:
    """A process that ended and was not waited for does nothing any more."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    give(store, owner_of(child.pid))
    assert child.stdin is not None
    child.stdin.close()
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert take(store)
    child.wait()


def test_a_process_id_that_was_given_out_again_is_another_process(store: Store) -> None:
    """The same id with another start time, or after another boot, is not the owner."""
    give(store, owner_of(os.getppid(), started=12.0))
    assert take(store)
    give(store, owner_of(os.getppid(), boot="another-boot"))
    assert take(store)


def test_another_host_keeps_its_lease_until_its_time_is_over(store: Store) -> None:
    """Of other machines' processes nothing is known, so only time frees what they hold."""
    give(store, owner_of(os.getppid(), host=f"not-{platform.node()}"), for_s=0.2)
    assert not take(store)
    time.sleep(0.25)
    assert take(store)


def test_a_lease_is_renewed_while_its_block_lasts(store: Store) -> None:
    """Work that takes longer than a lease keeps it."""
    with leases.held(store, "work", lasts_s=0.3) as lease:
        assert lease is not None
        time.sleep(0.7)
        lease.check()


def test_a_lease_that_was_lost_is_noticed_and_not_taken_back(store: Store) -> None:
    """Once somebody else has it, check raises, renewing fails, and giving back leaves the other's in place."""
    other = owner_of(os.getppid())
    with leases.held(store, "work", lasts_s=60) as lease:
        assert lease is not None
        with store.write() as tx:
            tx.execute(update(table).values(owner=other))
        with pytest.raises(LeaseLostError, match="stood still"):
            lease.check()
        with store.write() as tx, pytest.raises(LeaseLostError):
            lease.check(tx)
        assert not lease.renew()
    assert owner_in(store) == other


def test_a_lease_whose_time_is_over_is_lost_even_where_nobody_took_it(store: Store) -> None:
    """A process that stood still cannot know that nobody worked meanwhile."""
    with leases.held(store, "work", lasts_s=60) as lease:
        assert lease is not None
        with store.write() as tx:
            tx.execute(update(table).values(until=datetime.now(UTC) - timedelta(seconds=1)))
        with pytest.raises(LeaseLostError):
            lease.check()
        assert not lease.renew()


def test_waiting_says_so_once_and_ends_when_the_lease_is_free(store: Store) -> None:
    """Who waits holds nothing, tells the person once, and goes on when the owner is done."""
    said: list[str] = []
    looks: list[float] = []
    give(store, owner_of(os.getppid()))

    def sleep(seconds: float) -> None:
        """Let the owner finish during the third wait."""
        looks.append(seconds)
        if len(looks) == 3:
            with store.write() as tx:
                tx.execute(table.delete())

    waiting = leases.waited_for(store, "work", lasts_s=60, on_wait=lambda: said.append("waiting"), sleep=sleep)
    with waiting as lease:
        lease.check()
    assert (said, len(looks)) == (["waiting"], 3)


def test_of_many_at_the_same_time_one_takes_it(store: Store) -> None:
    """Taking is one transaction: of ten living owners exactly one has it."""
    taken: list[str] = []
    ready = threading.Barrier(10)

    def try_to_take(number: int) -> None:
        """Take the lease as a process of its own would."""
        ready.wait()
        with store.write() as tx:
            if tx.execute(select(table.c.owner).where(table.c.name == "work")).first() is None:
                assert leases.take(tx, "work", lasts_s=60)
                tx.execute(update(table).values(owner=owner_of(os.getppid())))
                taken.append(str(number))

    threads = [threading.Thread(target=try_to_take, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 1
    assert not take(store)
