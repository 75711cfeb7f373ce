"""Choose the folder for temporary files of tests: memory if it has enough space."""

import os
import shutil
import tempfile
from pathlib import Path

# Names the variable with the folder that all processes of a test run share.
RUN = "TESTS_RUN"
# Names the variable with the process id of the test run.
OWNER = "TESTS_OWNER"
# SIGKILL leaves files in memory, as it leaves files on a disk.
MEMORY = Path("/dev/shm")  # noqa: S108 - see above
# Bytes that must be free in memory; a container often has only 64 MB.
ROOM = 4 << 30


def quick_folder() -> str:
    """Return the folder for temporary files: memory, else the usual folder."""
    if (
        MEMORY.is_dir()
        and not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC
        and shutil.disk_usage(MEMORY).free >= ROOM
    ):
        return str(MEMORY)
    return tempfile.gettempdir()


def announce() -> None:
    """Choose the folder that all processes of a run share; called by the first process.

    The folders of single tests are in memory as well, because a disk took a quarter of their time.
    """
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", quick_folder())
    os.environ[OWNER] = str(os.getpid())
    run_path = tempfile.mktemp(prefix="askrows-run-", dir=quick_folder())  # noqa: S306 - see mkdir
    os.environ[RUN] = run_path


def remove() -> None:
    """Remove the folder of the run."""
    shutil.rmtree(os.environ[RUN], ignore_errors=True)
