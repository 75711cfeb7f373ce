"""Run `make test`: the acceptance tests on both databases, then all other tests.

PostgreSQL gets only the files that the command line names. Both databases are tested at the same
time, because a run on a server waits half of its time. The output of PostgreSQL is printed after
the output of SQLite. Ctrl-C ends both runs. `make test-full` has all tests. The slowest tests are
printed at the end.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any

from tests import postgresql

ACCEPTANCE = ("tests/acceptance",)
# The tests that run on PostgreSQL, too. `alike` marks tests for which the database makes no
# difference. `same_sql` marks tests whose statements other tests send to PostgreSQL, from the same
# lines of the product. `make test-full` runs all tests on both databases.
POSTGRESQL_MARKS = "not alike and not same_sql"
# Test files that run on SQLite only, because the database makes no difference.
SQLITE_ONLY_TESTS = (
    "adding",
    "ask",
    "bad_files",
    "canary",
    "chain",
    "columns_sent",
    "delimiters",
    "evidence",
    "exactly_once",
    "faults",
    "models",
    "refusals",
    "refused_texts",
    "result_files",
    "strict_answers",
    "true_quotations",
    "unmeasured",
    "visible_images",
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
    "submit",
    "trails",
    "trying_again",
    "verify",
    "words",
    "work",
)
PYTEST = (sys.executable, "-m", "pytest", "-q", "--durations", "15", "--dist", "worksteal", "-n")
# The number of workers by database.
ON_SQLITE = "3"
ON_POSTGRESQL = "2"
# An interrupted run ends by itself within this time.
PATIENCE_S = 10.0
INTERRUPTED = 130


def main(arguments: Sequence[str]) -> int:
    """Run the acceptance tests, then all other tests, and return an exit code."""
    ignored_files = [f"--ignore={ACCEPTANCE[0]}/test_{name}.py" for name in SQLITE_ONLY_TESTS]
    started_at_s = time.monotonic()
    exit_code = _run_both(ACCEPTANCE, (*ACCEPTANCE, *ignored_files)) or _run_both((), arguments)
    minutes, rest_s = divmod(round(time.monotonic() - started_at_s), 60)
    sys.stdout.write(f"all tests took {minutes} min {rest_s} s\n")
    return exit_code


def _run_both(on_sqlite: Sequence[str], on_postgresql: Sequence[str]) -> int:
    """Run tests on both databases; return the code of the first failed run, or 0."""
    try:
        with (
            tempfile.TemporaryFile() as postgresql_output,
            _start_both(postgresql_output, on_sqlite, on_postgresql) as (sqlite, postgresql),
        ):
            exit_code = sqlite.wait()
            sys.stdout.write("on PostgreSQL:\n")
            sys.stdout.flush()
            exit_code = postgresql.wait() or exit_code
            postgresql_output.seek(0)
            sys.stdout.buffer.write(postgresql_output.read())
            return exit_code
    except KeyboardInterrupt:
        return INTERRUPTED


@contextmanager
def _start_both(
    postgresql_output: IO[bytes], on_sqlite: Sequence[str], on_postgresql: Sequence[str]
) -> Iterator[tuple[subprocess.Popen[bytes], ...]]:
    """Start both runs, and end them after the block, even if this process is interrupted."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)

    # Both runs share a server.
    postgresql.announce()
    environ = os.environ | {"FINDABLE_TEST_DATABASE": "postgresql"}
    output_options: Any = {
        "stdin": subprocess.DEVNULL,
        "stdout": postgresql_output,
        "stderr": subprocess.STDOUT,
    }
    runs = (
        subprocess.Popen(
            [*PYTEST, ON_SQLITE, *on_sqlite], env=os.environ | {"FINDABLE_TEST_DATABASE": "sqlite"}
        ),
        subprocess.Popen(
            [*PYTEST, ON_POSTGRESQL, "-m", POSTGRESQL_MARKS, *on_postgresql],
            env=environ,
            **output_options,
        ),
    )
    try:
        yield runs
    finally:
        deadline = time.monotonic() + PATIENCE_S
        for run in runs:
            with suppress(subprocess.TimeoutExpired):
                run.wait(max(0.0, deadline - time.monotonic()))

        # A run is still alive if only this process got the signal.
        for run in runs:
            if run.poll() is None:
                run.send_signal(signal.SIGINT)
                run.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
