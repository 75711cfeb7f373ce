"""Run `make test-full`: every test and case on both databases, a crowd, crash sweep, mutants.

All parts take an hour on two cores. Each part prints its time. A failed part does not stop the run.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTEST = ("-m", "pytest", "-q", "-n", "3", "--dist", "worksteal", "--timeout", "1800")
DATABASES = ("sqlite", "postgresql")
# The number of days in the crash sweep.
LIVES = {"sqlite": "600", "postgresql": "300"}
PARTS = {
    "tests": (*PYTEST, "tests"),
    "acceptance": (*PYTEST, "tests/acceptance"),
    "sweep": (*PYTEST, "tests/acceptance/whole_sweep.py"),
}
WIRE = ("tests/integration/gemini", "tests/unit/gemini")
SQLITE_ONLY_PARTS = {
    "oldest SDK": (
        "-m",
        "pytest",
        "-q",
        "-o",
        f"pythonpath={ROOT / '.venv' / 'oldest-sdk'}",
        *WIRE,
    ),
    "newest SDK": (
        "-m",
        "pytest",
        "-q",
        "-o",
        f"pythonpath={ROOT / '.venv' / 'newest-sdk'}",
        *WIRE,
    ),
    "crowd": ("-m", "tests.acceptance.crowd"),
    "mutants": ("-m", "tests.acceptance.mutants"),
}
EVERY_CASE = {"HYPOTHESIS_PROFILE": "searching", "FAULTS": "all", "FINDABLE_MINUTES": "5"}


def main() -> int:
    """Run every part; return 1 if a part failed."""
    failed_parts = []
    for database in DATABASES:
        parts = PARTS | SQLITE_ONLY_PARTS if database == "sqlite" else PARTS
        for name, arguments in parts.items():
            environ = (
                os.environ
                | EVERY_CASE
                | {"FINDABLE_TEST_DATABASE": database, "FINDABLE_MOST": LIVES[database]}
            )
            start_time = time.monotonic()
            exit_code = subprocess.run(
                [sys.executable, *arguments], cwd=ROOT, env=environ, check=False
            ).returncode
            seconds = time.monotonic() - start_time
            outcome = "failed" if exit_code else "passed"
            sys.stdout.write(f"{name} on {database}: {outcome}, {seconds:.0f} s\n")
            sys.stdout.flush()
            if exit_code:
                failed_parts.append(name)

    return 1 if failed_parts else 0


if __name__ == "__main__":
    sys.exit(main())
