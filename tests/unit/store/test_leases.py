"""Leases: when a process may take one, how long it holds, how a loss is found out, and which owners are dead."""

import contextlib
import signal
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


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> Iterator[Store]:
    """A database with the table of leases alone."""
    made = Store(f"sqlite:///{tmp_path / 'leases.db'}")
    with made.write() as tx:
        table.create(tx)
    yield made
    made.close()


@contextlib.contextmanager
def signing() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a process that signs and then waits for its input to end; return it and how it signed."""
    command = [sys.executable, "-c", SIGN]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        assert child.stdout is not None
        yield child, child.stdout.readline().strip()
        child.kill()


@pytest.fixture(name="another", scope="module")
def _another() -> Iterator[str]:
    """How another living process of this machine signs."""
    with signing() as (_, owner):
        yield owner


@contextlib.contextmanager
def held(store: Store, *, for_s: float = 60) -> Iterator[leases.Lease]:
    """Hold the lease `work` for the length of a block."""
    with leases.hold_lease(store, "work", lasts_s=for_s) as lease:
        assert lease is not None
        yield lease


def set_until(store: Store, seconds: float) -> None:
    """Set in how many seconds the lease `work` is over."""
    with store.write() as tx:
        tx.execute(update(table).values(until=datetime.now(UTC) + timedelta(seconds=seconds)))


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
    """Let another process hold the lease `work`."""
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


def with_part(owner: str, number: int, value: str) -> str:
    """Return a signature with one of its five parts replaced."""
    parts = owner.split("|")
    return "|".join([*parts[:number], value, *parts[number + 1 :]])


def test_a_dead_owner_loses_its_lease_at_once(store: Store) -> None:
    """A living process keeps what it holds, one that stands still too; of a dead one, a zombie too, an hour is void."""
    with signing() as (child, owner):
        give(store, owner)
        child.send_signal(signal.SIGSTOP)
        assert not take(store)
        assert owner_in(store) == owner
        child.kill()
        until = time.monotonic() + 5 * slowness()
        while not leases.is_dead(owner):
            assert time.monotonic() < until
        assert Path(f"/proc/{child.pid}").exists(), "it was a zombie"
    assert leases.is_dead(owner)
    assert take(store)


def test_an_owner_on_another_host_keeps_its_lease_until_its_time_is_over(store: Store) -> None:
    """Of other machines' processes nothing is known, so only time frees what they hold."""
    give(store, f"elsewhere-{with_part(leases.this_owner(), 2, '999999999')}")
    assert not take(store)
    set_until(store, -0.001)
    assert take(store)


def test_a_lease_that_was_lost_is_noticed_and_not_taken_back(store: Store, another: str) -> None:
    """Once another process has it, check raises, renewing fails, and giving back leaves the other's in place."""
    with held(store) as lease:
        with store.write() as tx:
            tx.execute(update(table).values(owner=another))
        with pytest.raises(LeaseLostError, match="stood still"):
            lease.check()
        with pytest.raises(LeaseLostError):
            check_inside(store, lease)
        assert not lease.renew()
    assert owner_in(store) == another


def test_a_lease_whose_time_is_over_is_lost_only_where_it_was_taken(store: Store) -> None:
    """A row that names its owner shows that it alone worked; without a row, the lease was taken and given back."""
    with held(store) as lease:
        set_until(store, -3600)
        lease.check()
        assert left(store) > 59
        set_until(store, -3600)
        check_inside(store, lease)
        assert left(store) > 59
        with store.write() as tx:
            tx.execute(table.delete())
        with pytest.raises(LeaseLostError):
            lease.check()
        with pytest.raises(LeaseLostError):
            check_inside(store, lease)
        assert not lease.renew()
        assert owner_in(store) is None


def test_a_lease_outlives_a_transaction_that_lasts_longer_than_it(store: Store) -> None:
    """It is renewed while its block lasts: during an import nothing can take it, and afterwards it is not lost."""
    other = Store(store.address)
    with held(store, for_s=0.1) as lease:
        with other.write():
            while left(store) > 0:
                time.sleep(0.01)
        until = time.monotonic() + 5 * slowness()
        while left(store) < 0:
            assert time.monotonic() < until
            time.sleep(0.01)
        lease.check()
    other.close()


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


def test_after_a_boot_all_processes_of_a_machine_are_dead(another: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a container that is not said: two on two machines may have one name, one image and the same process ids."""
    booted = with_part(another, 1, "another-boot")
    assert leases.is_dead(booted) == (leases.NAMESPACE.readlink() == Path(leases.FIRST_NAMESPACE))
    monkeypatch.setattr(leases, "_namespace", lambda: "pid:[4026532201]")
    contained = with_part(booted, 0, leases._host.__wrapped__())
    monkeypatch.setattr(leases, "_host", leases._host.__wrapped__)
    assert not leases.is_dead(contained)
