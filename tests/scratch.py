"""The folder that all processes of a test run share, and the loaded processes that serve in it.

A loaded process imports its libraries once for all tests of the run. It ends after the run, whose
owner is its first process.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Name the variables with the run's folder, and with the process id of its owner.
RUN = "TESTS_RUN"
OWNER = "TESTS_RUN_OWNER"
# SIGKILL leaves files in memory, as it leaves files on a disk.
MEMORY = Path("/dev/shm")  # noqa: S108 - see above
# Bytes that must be free in memory; a container often has only 64 MB.
ROOM = 4 << 30
# Ends a hang.
MAX_WAIT_S = 300.0
_INHERITED_VARIABLES = ("PATH", "HOME", "LANG", "TMPDIR")
# The environment of a command without its workspace's variables and without settings of the user.
BASE_ENVIRON = {name: os.environ[name] for name in _INHERITED_VARIABLES if name in os.environ} | {
    "NO_COLOR": "1",
    "COLUMNS": "120",
    # A loaded process may fork only if its libraries start no threads.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


def quick_folder() -> str:
    """Return the folder for temporary files: memory, else the usual folder."""
    if (
        MEMORY.is_dir()
        and not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC
        and shutil.disk_usage(MEMORY).free >= ROOM
    ):
        return str(MEMORY)
    return tempfile.gettempdir()


def run_folder() -> Path:
    """Return the folder that all processes of this test run share; create it if it is missing."""
    if RUN not in os.environ:
        os.environ[RUN] = tempfile.mkdtemp(prefix="askrows-run-", dir=quick_folder())
        os.environ[OWNER] = str(os.getpid())
        # PostgreSQL may run as another user.
        Path(os.environ[RUN]).chmod(0o755)
    return Path(os.environ[RUN])


def begin_run() -> None:
    """Let Ctrl-C reach the processes of tests, and create the folder that they share."""
    # A shell starts background jobs with an ignored SIGINT, and commands would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # The folders of single tests are in memory as well: a disk took a quarter of their time.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", quick_folder())
    # Workers inherit the folder from the first process.
    run_folder()


def end_run() -> None:
    """Remove the folder that the processes of this run shared, if this process is its owner."""
    if os.environ.get(OWNER) == str(os.getpid()):
        shutil.rmtree(os.environ[RUN], ignore_errors=True)


def start_loaded_process(
    name: str, command: Sequence[object], *, python: str = sys.executable
) -> Path:
    """Start a loaded process of this test run unless it runs, and return its folder.

    Args:
        command: The program and its arguments. The folder and the process id of the run's owner are
            inserted between them.
    """
    folder = run_folder() / name
    program, *arguments = command
    # If the folder exists, another process is starting it.
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
        words = [python, "-W", "ignore", *str(program).split()]
        words += [str(folder), os.environ[OWNER], *map(str, arguments)]
        subprocess.run(words, cwd=ROOT, env={**BASE_ENVIRON}, check=True, start_new_session=True)
    wait_until(lambda: _is_ready(folder))
    return folder


def _is_ready(folder: Path) -> bool:
    """Return whether a loaded process is ready."""
    assert not (folder / "failed").exists(), (folder / "failed").read_text(encoding="utf-8")
    return (folder / "ready").exists()


def serve_in_background(serve: Callable[..., None]) -> None:
    """Serve as a loaded process, in a child process; the caller continues at once.

    Args:
        serve: Gets the folder, the process id of the owner, and all other arguments of the program.
            It creates the file `ready` in the folder, and serves while the owner lives.
    """
    if os.fork():
        return
    folder = Path(sys.argv[1])
    with Path(os.devnull).open("rb") as null_file, (folder / "log").open("ab") as log_file:
        for stream, file in enumerate((null_file, log_file, log_file)):
            os.dup2(file.fileno(), stream)

    try:
        serve(folder, int(sys.argv[2]), *sys.argv[3:])
    except BaseException:
        (folder / "failed").write_text(traceback.format_exc(), encoding="utf-8")
        raise
    # The run is over, but its owner may have been killed before it removed the folder.
    shutil.rmtree(folder.parent, ignore_errors=True)


def lives(pid: int) -> bool:
    """Return whether a process exists and is not a zombie."""
    return process_state(pid) not in {"", "Z"}


def process_state(pid: int) -> str:
    """Return the letter of the state of a process; empty if there is no such process."""
    try:
        # The name of the process, in brackets, may contain spaces.
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2]
    except OSError:
        return ""
    return status.split()[0]


def wait_until(condition: Callable[[], object], *shown: Callable[[], object]) -> None:
    """Wait until a function returns a true value.

    Args:
        shown: Return what a failure shows, such as the outputs of processes.
    """
    deadline = time.monotonic() + MAX_WAIT_S
    while not condition():
        assert time.monotonic() < deadline, [show() for show in shown]
        time.sleep(0.01)
