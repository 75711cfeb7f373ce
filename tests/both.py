"""`make test`: the acceptance tests on both databases, then the others, on PostgreSQL those named.

Both databases are tested at the same time: a run on a server waits for it half of the time, which the other run uses.
What the tests on SQLite print is seen at once, what those on PostgreSQL print when the others are over. Ctrl-C ends
both. `make test-full` has all tests. At the end it prints what took longest.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from tests import postgresql
from tests.times import TIMES_FILE, describe_slowest

ACCEPTANCE = ("tests/acceptance",)
# What the database makes no difference to, beside the tests marked `alike`; `make test-full` has all on both.
ALIKE = (
    *(
        "adding",
        "ask",
        "bad_files",
        "canary",
        "chain",
        "columns_sent",
        "delimiters",
        "evidence",
        "exactly_once",
    ),
    *(
        "faults",
        "models",
        "refusals",
        "refused_texts",
        "result_files",
        "strict_answers",
        "true_quotations",
        "unmeasured",
        "visible_images",
    ),
    *(
        "flex",
        "gates",
        "hostile",
        "live",
        "loop",
        "next_steps",
        "outside",
        "page",
        "poll",
        "python",
        "stories",
    ),
    *("submit", "trails", "trying_again", "verify", "words", "work"),
)
PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "tests.times", "--dist", "worksteal", "-n")
ON_SQLITE = "3"  # workers
ON_POSTGRESQL = "2"
PATIENCE_S = 10.0  # in which a run that was interrupted by the terminal ends by itself
INTERRUPTED = 130
# A run that takes longer gets a warning.
MAX_MINUTES = 6


def main(words: Sequence[str]) -> int:
    """Run the acceptance tests, then the others, with the words for those on PostgreSQL; return a code."""
    others = [f"--ignore={ACCEPTANCE[0]}/test_{name}.py" for name in ALIKE]
    started_at_s = time.monotonic()
    with tempfile.NamedTemporaryFile(prefix="findable-times-") as times_file:
        os.environ[TIMES_FILE] = times_file.name
        code = _both(ACCEPTANCE, (*ACCEPTANCE, *others)) or _both((), words)
        print_times(Path(times_file.name), time.monotonic() - started_at_s)
    return code


def print_times(times_file: Path, seconds: float) -> None:
    """Print what took longest and how long all took, with a warning if that was too long."""
    minutes, rest_s = divmod(round(seconds), 60)
    lines = [*describe_slowest(times_file), f"all tests took {minutes} min {rest_s} s"]
    if seconds > 60 * MAX_MINUTES:
        lines.append(
            f"warning: that is longer than {MAX_MINUTES} minutes; see above which tests to make quicker"
        )
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _both(on_sqlite: Sequence[str], on_postgresql: Sequence[str]) -> int:
    """Run tests on both databases; return the code of the first run that failed, or 0."""
    try:
        with (
            tempfile.TemporaryFile() as told,
            _running(told, on_sqlite, on_postgresql) as (sqlite, postgresql),
        ):
            code = sqlite.wait()
            sys.stdout.write("on PostgreSQL:\n")
            sys.stdout.flush()
            code = postgresql.wait() or code
            told.seek(0)
            sys.stdout.buffer.write(told.read())
            return code
    except KeyboardInterrupt:
        return INTERRUPTED


@contextmanager
def _running(
    told: IO[bytes], on_sqlite: Sequence[str], on_postgresql: Sequence[str]
) -> Iterator[tuple[subprocess.Popen[bytes], ...]]:
    """Start both; neither runs on after the block, also where this process is interrupted or terminated."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    postgresql.announce()  # one server for both
    environ = os.environ | {"FINDABLE_TEST_DATABASE": "postgresql"}
    silent: Any = {"stdin": subprocess.DEVNULL, "stdout": told, "stderr": subprocess.STDOUT}
    both = (
        subprocess.Popen(
            [*PYTEST, ON_SQLITE, *on_sqlite], env=os.environ | {"FINDABLE_TEST_DATABASE": "sqlite"}
        ),
        subprocess.Popen(
            [*PYTEST, ON_POSTGRESQL, "-m", "not alike", *on_postgresql], env=environ, **silent
        ),
    )
    try:
        yield both
    finally:
        deadline = time.monotonic() + PATIENCE_S
        for one in both:
            with suppress(subprocess.TimeoutExpired):
                one.wait(max(0.0, deadline - time.monotonic()))
        for one in both:  # where this process alone was told to end
            if one.poll() is None:
                one.send_signal(signal.SIGINT)
                one.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
