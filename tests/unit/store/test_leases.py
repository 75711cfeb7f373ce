"""Leases: who may take one when, how long it holds, and how a process finds out that it lost one."""

import contextlib
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from pipeline.store import leases
from pipeline.store.database import Store
from pipeline.store.leases import LeaseLostError
from pipeline.store.tables import leases as table
from tests.lab import ROOT, slowness

SIGN = "from pipeline.store.leases import this_owner; print(this_owner(), flush=True); input()"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A database with the table of leases alone."""
    made = Store(f"sqlite:///{tmp_path / 'leases.db'}")
    with made.write() as tx:
        table.create(tx)
    yield made
    made.close()


@pytest.fixture(scope="module")
def another() -> Iterator[str]:
    """How another living process of this machine signs."""
    with signing() as (_, owner):
        yield owner


@contextlib.contextmanager
def signing() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a process that signs and then waits for its input to end; return it and how it signed."""
    command = [sys.executable, "-c", SIGN]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        assert child.stdout is not None
        yield child, child.stdout.readline().strip()
        child.communicate()


@contextlib.contextmanager
def other_writer(store: Store) -> Iterator[sqlite3.Connection]:
    """Hold a transaction that writes, as another program would, for the length of a block."""
    assert store.path is not None
    connection = sqlite3.connect(store.path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
    finally:
        connection.close()


def set_until(store: Store, until: datetime) -> None:
    """Set when the lease `work` is over."""
    with store.write() as tx:
        tx.execute(update(table).values(until=until))


def left(store: Store) -> float:
    """Return how many seconds the lease `work` has left."""
    with store.read() as tx:
        until = tx.execute(select(table.c.until).where(table.c.name == "work")).scalar_one()
    return float((until - datetime.now(UTC)).total_seconds())


def check_inside(store: Store, lease: leases.Lease) -> None:
    """Check a lease inside a transaction that writes."""
    with store.write() as tx:
        lease.check(tx)


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
    with leases.hold_lease(store, "work", lasts_s=60) as lease:
        return lease is not None


def test_a_free_lease_is_taken_and_given_back(store: Store) -> None:
    """It is in the database as long as the block lasts, and gone afterwards, also after an exception."""
    with leases.hold_lease(store, "work", lasts_s=60) as lease:
        assert lease is not None
        lease.check()
        assert owner_in(store) == leases.this_owner()
    assert owner_in(store) is None
    with pytest.raises(ZeroDivisionError), leases.hold_lease(store, "work", lasts_s=60):
        _ = 1 / 0
    assert owner_in(store) is None


def test_a_living_owner_keeps_its_lease(store: Store, another: str) -> None:
    """Another process that lives keeps it, and what it holds is not touched."""
    give(store, another)
    assert not take(store)
    assert owner_in(store) == another


def test_a_dead_owner_loses_its_lease_at_once(store: Store) -> None:
    """An hour that is left is worth nothing where the process is gone."""
    with signing() as (_, owner):
        give(store, owner)
        assert not take(store)
    assert take(store)


def test_an_owner_on_another_host_keeps_its_lease_until_its_time_is_over(store: Store) -> None:
    """Of other machines' processes nothing is known, so only time frees what they hold."""
    with signing() as (_, owner):
        pass
    give(store, f"elsewhere-{owner}", for_s=0.2)
    assert not take(store)
    time.sleep(0.25)
    assert take(store)


def test_a_lease_is_renewed_while_its_block_lasts(store: Store) -> None:
    """Work that takes longer than a lease keeps it."""
    with leases.hold_lease(store, "work", lasts_s=0.3) as lease:
        assert lease is not None
        time.sleep(0.7)
        lease.check()


def test_a_lease_that_was_lost_is_noticed_and_not_taken_back(store: Store, another: str) -> None:
    """Once somebody else has it, check raises, renewing fails, and giving back leaves the other's in place."""
    with leases.hold_lease(store, "work", lasts_s=60) as lease:
        assert lease is not None
        with store.write() as tx:
            tx.execute(update(table).values(owner=another))
        with pytest.raises(LeaseLostError, match="stood still"):
            lease.check()
        with store.write() as tx, pytest.raises(LeaseLostError):
            lease.check(tx)
        assert not lease.renew()
    assert owner_in(store) == another


def test_a_lease_whose_time_is_over_goes_on_where_nobody_took_it(store: Store) -> None:
    """A row that names its owner shows that nobody else worked meanwhile: it stood still, or the clock was set."""
    with leases.hold_lease(store, "work", lasts_s=60) as lease:
        assert lease is not None
        for is_inside in (False, True):
            set_until(store, datetime.now(UTC) - timedelta(hours=1))
            if is_inside:
                check_inside(store, lease)
            else:
                lease.check()
            assert left(store) > 59


def test_a_lease_whose_time_is_over_is_lost_to_whoever_took_it(store: Store) -> None:
    """Also where that one has given it back already, and whether the check reads or writes."""
    with leases.hold_lease(store, "work", lasts_s=60) as lease:
        assert lease is not None
        with store.write() as tx:
            tx.execute(table.delete())
        with pytest.raises(LeaseLostError):
            lease.check()
        with pytest.raises(LeaseLostError):
            check_inside(store, lease)
        assert not lease.renew()
        assert owner_in(store) is None


def test_a_check_leaves_half_of_the_time_at_least(store: Store) -> None:
    """What is sent after a check has time: a lease that is nearly over is prolonged first, another costs nothing."""
    with leases.hold_lease(store, "work", lasts_s=60) as lease:
        assert lease is not None
        set_until(store, datetime.now(UTC) + timedelta(seconds=40))
        lease.check()
        assert left(store) < 41
        for seconds in (29, 0.001):
            set_until(store, datetime.now(UTC) + timedelta(seconds=seconds))
            lease.check()
            assert left(store) > 59


def test_a_check_of_a_lease_with_time_waits_for_no_writer(store: Store) -> None:
    """Another process's long transaction does not stand between a check and what is sent."""
    with leases.hold_lease(store, "work", lasts_s=3600) as lease:
        assert lease is not None
        with other_writer(store):
            began = time.monotonic()
            lease.check()
            assert time.monotonic() - began < 3 * slowness()


def test_a_lease_outlives_a_transaction_that_lasts_longer_than_it(store: Store) -> None:
    """While somebody imports nobody can take it, and afterwards it is renewed at once and not lost."""
    with leases.hold_lease(store, "work", lasts_s=0.3) as lease:
        assert lease is not None
        with other_writer(store):
            time.sleep(0.8)
            assert left(store) < 0
        until = time.monotonic() + 5
        while left(store) < 0:
            assert time.monotonic() < until
            time.sleep(0.01)
        lease.check()


def test_leaving_does_not_wait_for_a_busy_database(store: Store, another: str) -> None:
    """What could not be given back is left behind and frees itself; the block's own error is what is seen."""
    with contextlib.ExitStack() as stack:
        with pytest.raises(ZeroDivisionError), leases.hold_lease(store, "work", lasts_s=0.3) as lease:  # noqa: PT012 - its end
            assert lease is not None
            stack.enter_context(other_writer(store))
            time.sleep(0.2)  # the keeper waits for the database by now
            began = time.monotonic()
            _ = 1 / 0
        assert time.monotonic() - began < 5 * slowness()
        assert owner_in(store) == leases.this_owner()
    with store.write() as tx:
        tx.execute(update(table).values(owner=another))
    time.sleep(0.3)
    assert take(store)


def test_waiting_says_so_once_and_ends_when_the_lease_is_free(store: Store, another: str) -> None:
    """Who waits holds nothing, tells the person once, and goes on when the owner is done."""
    said: list[str] = []
    looks: list[float] = []
    give(store, another)

    def sleep(seconds: float) -> None:
        """Let the owner finish during the third wait."""
        looks.append(seconds)
        if len(looks) == 3:
            with store.write() as tx:
                tx.execute(table.delete())

    waiting = leases.wait_for_lease(store, "work", lasts_s=60, on_wait=lambda: said.append("waiting"), sleep=sleep)
    with waiting as lease:
        lease.check()
    assert (said, len(looks)) == (["waiting"], 3)


def test_of_many_at_the_same_time_one_takes_it(store: Store, another: str) -> None:
    """Taking is one transaction: of ten living owners exactly one has it."""
    taken: list[str] = []
    ready = threading.Barrier(10)

    def try_to_take(number: int) -> None:
        """Take the lease as a process of its own would."""
        ready.wait()
        with store.write() as tx:
            if tx.execute(select(table.c.owner).where(table.c.name == "work")).first() is None:
                assert leases.take_lease(tx, "work", lasts_s=60)
                tx.execute(update(table).values(owner=another))
                taken.append(str(number))

    threads = [threading.Thread(target=try_to_take, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 1
    assert not take(store)
