"""Run `make test-quick`, `test`, `test-rest`, `test-full` or `test-sdk`: each is a list of runs.

A run is a call of pytest. `test` and `test-rest` have no test in common, and `test-full` is both.

A failed run does not stop the next one. Each run prints its slowest cases.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tests.acceptance.faults import list_tests

ROOT = Path(__file__).parents[1]
ACCEPTANCE = "tests/acceptance"
# Commands wait for each other and for disks, so a third worker uses the two cores better.
PYTEST = ("-m", "pytest", "-q", "--durations", "10", "--dist", "worksteal", "-n", "3")
SQLITE = {"ASKROWS_TEST_DATABASE": "sqlite"}
POSTGRESQL = {"ASKROWS_TEST_DATABASE": "postgresql"}
# Tests outside acceptance that run on PostgreSQL too, because the database makes a difference.
DATABASE_TESTS = (
    "tests/unit/store/test_claims.py",
    "tests/unit/store/test_locks.py",
    "tests/integration/experts",
    "tests/integration/passages",
    "tests/integration/rows",
    "tests/integration/batch/test_ingest.py",
    "tests/integration/ops/test_doctor.py",
    "tests/integration/ops/test_forget.py::test_a_forgotten_person_is_in_no_byte",
)
# Acceptance tests for which the database makes no difference.
SQLITE_FILES = (
    "adding",
    "ask",
    "bad_files",
    "canary",
    "columns_sent",
    "delimiters",
    "evidence",
    "exactly_once",
    "faults",
    "flex",
    "gates",
    "hostile",
    "live",
    "loop",
    "models",
    "next_steps",
    "outside",
    "page",
    "poll",
    "python",
    "refusals",
    "refused_texts",
    "result_files",
    "strict_answers",
    "submit",
    "trails",
    "true_quotations",
    "trying_again",
    "unmeasured",
    "verify",
    "visible_images",
    "words",
    "work",
)
# `make test-web` runs the tests of the page in a browser.
NO_BROWSER = "--ignore=tests/browser"
WIRE_TESTS = ("tests/integration/gemini", "tests/unit/gemini")


class Run(NamedTuple):
    """Arguments of Python, and variables of its environment."""

    title: str
    arguments: tuple[str, ...]
    variables: dict[str, str]


def sdk_run(name: str) -> Run:
    """Return the run of the wire's tests with another release of the SDK."""
    path = f"pythonpath={ROOT / '.venv' / name}"
    return Run(name, (*PYTEST, "-n", "0", "-o", path, *WIRE_TESTS), SQLITE)


TEST_RUNS = (
    Run("promises on SQLite", (*PYTEST, ACCEPTANCE, "-m", "promise"), SQLITE),
    Run(
        "promises on PostgreSQL",
        (*PYTEST, ACCEPTANCE, "-m", "promise(postgresql=True)"),
        POSTGRESQL,
    ),
    Run("other tests", (*PYTEST, "tests", NO_BROWSER, "-m", "not full"), SQLITE),
    Run("database", (*PYTEST, *DATABASE_TESTS, "-m", "not full and not alike"), POSTGRESQL),
)
# The tests that TEST_RUNS leave out.
REST_RUNS = (
    Run("rest of acceptance on SQLite", (*PYTEST, ACCEPTANCE, "-m", "not promise"), SQLITE),
    Run(
        "rest of acceptance on PostgreSQL",
        (
            *PYTEST,
            ACCEPTANCE,
            "-m",
            "not alike and not promise(postgresql=True)",
            *(f"--ignore={ACCEPTANCE}/test_{name}.py" for name in SQLITE_FILES),
        ),
        POSTGRESQL,
    ),
    Run("rest of other tests", (*PYTEST, "tests", NO_BROWSER, "-m", "full"), SQLITE),
    Run("rest of database", (*PYTEST, *DATABASE_TESTS, "-m", "full and not alike"), POSTGRESQL),
)
RUNS = {
    "quick": (
        Run("acceptance", (*PYTEST, *list_tests()), SQLITE),
        Run(
            "unit",
            (*PYTEST, "tests/unit", "-m", "not full", "-k", "not postgresql and not server"),
            SQLITE,
        ),
    ),
    "test": TEST_RUNS,
    "rest": REST_RUNS,
    "full": (*TEST_RUNS, *REST_RUNS),
    "sdk": (sdk_run("oldest-sdk"), sdk_run("newest-sdk")),
}


def main(name: str) -> int:
    """Run a list of runs, and print the time of each; return 1 if a run failed."""
    lines = []
    exit_code = 0
    for run in RUNS[name]:
        start_time_s = time.monotonic()
        environ = os.environ | run.variables
        command = [sys.executable, *run.arguments]
        if subprocess.run(command, cwd=ROOT, env=environ, check=False).returncode:
            exit_code = 1
            lines.append(f"FAILED: {run.title}")
        seconds = time.monotonic() - start_time_s
        lines.append(f"{run.title}: {seconds:.0f} s")

    sys.stdout.write("\n".join([*lines, ""]))
    return exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
