"""Where tests put what need not outlive them: a disk in memory, where there is one with room."""

import os
import shutil
import tempfile
from pathlib import Path

RUN = "TESTS_RUN"  # where what all processes of a run of the tests share stands
OWNER = "TESTS_OWNER"  # process that a run of the tests ends with
MEMORY = Path("/dev/shm")  # noqa: S108 - SIGKILL leaves what is there just as it leaves what is on a disk
ROOM = 4 << 30  # bytes that must be free there; a container often has no more than 64 MB


def quick_folder() -> str:
    """Return the folder for what is written much and never kept; else the usual one."""
    if (
        MEMORY.is_dir()
        and not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC
        and shutil.disk_usage(MEMORY).free >= ROOM
    ):
        return str(MEMORY)
    return tempfile.gettempdir()


def announce() -> None:
    """Say where that will be which the processes of a run share; for the process that the others come from.

    The folders of single tests go there, too: a quarter of their time was waiting for a disk.
    """
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", quick_folder())
    os.environ[OWNER] = str(os.getpid())
    os.environ[RUN] = tempfile.mktemp(prefix="findable-run-", dir=quick_folder())  # noqa: S306 - made by mkdir


def remove() -> None:
    """Remove what stands there."""
    shutil.rmtree(os.environ[RUN], ignore_errors=True)
