"""Owners: which process something in the database belongs to, and whether that process is known to be dead.

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
from pathlib import Path

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
