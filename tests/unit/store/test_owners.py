"""Owners: who is known to be dead, and of whom nothing is known from here."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.store import leases
from tests.lab import ROOT

SIGN = "from pipeline.store.leases import this_owner; print(this_owner(), flush=True); input()"


@pytest.fixture
def child() -> Iterator[subprocess.Popen[str]]:
    """A living process that prints how it signs."""
    command = [sys.executable, "-c", SIGN]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        yield process
        process.kill()


@pytest.fixture
def owner(child: subprocess.Popen[str]) -> str:
    """How the living process signs."""
    assert child.stdout is not None
    return child.stdout.readline().strip()


def with_part(owner: str, number: int, value: str) -> str:
    """Return a signature with one of its five parts replaced."""
    parts = owner.split("|")
    return "|".join([*parts[:number], value, *parts[number + 1 :]])


def test_a_living_process_is_not_dead_whatever_it_does(child: subprocess.Popen[str], owner: str) -> None:
    """Also one that stands still lives, and so does this one."""
    assert not leases.is_dead(owner)
    assert not leases.is_dead(leases.this_owner())
    child.send_signal(signal.SIGSTOP)
    assert not leases.is_dead(owner)


def test_a_zombie_and_a_process_that_is_gone_are_dead(child: subprocess.Popen[str], owner: str) -> None:
    """From the moment a process ends, whether or not anybody waited for it."""
    child.kill()
    until = time.monotonic() + 5
    while not leases.is_dead(owner):
        assert time.monotonic() < until
    assert Path(f"/proc/{child.pid}").exists(), "it was a zombie"
    child.wait()
    assert leases.is_dead(owner)


def test_a_process_id_that_was_given_out_again_is_another_process(owner: str) -> None:
    """The same id with another start is not the owner, be it half a second later."""
    started = float(owner.split("|")[3])
    assert leases.is_dead(with_part(owner, 3, f"{started - 0.5:.2f}"))


def test_a_clock_that_is_set_kills_nobody(owner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Starts count from boot, so that a clock that jumps does not make another process of the owner."""
    real = time.time
    for jump in (-86_400.0, 3_600.0):
        monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
        assert not leases.is_dead(owner)
    import psutil

    monkeypatch.setattr(psutil, "boot_time", lambda: 0.0)
    assert not leases.is_dead(owner)


@pytest.mark.parametrize(
    "elsewhere", ["another-name/machine/pid:[4026531836]", "", "{node}/{machine}/pid:[4026532201]", "{node}"]
)
def test_of_another_host_nothing_is_known(owner: str, elsewhere: str) -> None:
    """Another name, another machine, or another container on this machine: its process ids are not ours to judge."""
    node, machine, _ = owner.split("|", maxsplit=1)[0].split("/")
    gone = with_part(owner, 2, "999999999")
    assert leases.is_dead(gone)
    assert not leases.is_dead(with_part(gone, 0, elsewhere.format(node=node, machine=machine)))


def test_after_a_boot_all_processes_of_a_machine_are_dead(owner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a container that is not said: two on two machines may have one name, one image and the same process ids."""
    assert leases.is_dead(with_part(owner, 1, "another-boot")) == (leases.NAMESPACE.readlink() == _first())
    monkeypatch.setattr(leases, "_namespace", lambda: "pid:[4026532201]")
    contained = with_part(with_part(owner, 1, "another-boot"), 0, leases._host.__wrapped__())
    monkeypatch.setattr(leases, "_host", leases._host.__wrapped__)
    assert not leases.is_dead(contained)


def _first() -> Path:
    return Path(leases.FIRST_NAMESPACE)


def test_a_process_that_is_hidden_is_not_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a system hides the processes of others, whether one answers decides."""
    monkeypatch.setattr(leases, "_process", lambda _pid: None)
    mine = f"{leases._host()}|{leases._boot()}"
    assert not leases.is_dead(f"{mine}|{os.getpid()}|1.00|aa")
    assert leases.is_dead(f"{mine}|999999999|1.00|aa")


def test_a_process_that_was_forked_off_signs_for_itself() -> None:
    """It is another process than the one that signed before, and each signs the same way again and again."""
    mine = leases.this_owner()
    assert leases.this_owner() == mine
    reading, writing = os.pipe()
    if (forked := os.fork()) == 0:
        os.write(writing, leases.this_owner().encode())
        os._exit(0)
    os.waitpid(forked, 0)
    theirs = os.read(reading, 1000).decode()
    os.close(reading)
    os.close(writing)
    assert theirs.split("|")[2] == str(forked) != mine.split("|")[2]
    assert leases.is_dead(theirs)


@pytest.mark.parametrize("words", ["", "nobody", "a|b|c", "a|b|c|d|e|f"])
def test_what_is_no_signature_is_not_judged(words: str) -> None:
    """What another version or another hand wrote keeps its place until its time is over."""
    assert not leases.is_dead(words)


def test_without_boot_ticks_a_start_is_a_time_of_day(owner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no table of ticks, start times are those that are told, give or take a little."""
    import psutil

    monkeypatch.setattr(leases, "_counts_from_boot", lambda: False)
    pid = int(owner.split("|")[2])
    started = psutil.Process(pid).create_time()
    assert not leases.is_dead(with_part(owner, 3, f"{started:.2f}"))
    assert not leases.is_dead(with_part(owner, 3, f"{started + 1:.2f}"))
    assert leases.is_dead(with_part(owner, 3, f"{started - 3:.2f}"))
    assert leases.is_dead(with_part(owner, 2, "999999999"))
