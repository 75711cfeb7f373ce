"""`make test-full`: every test with every case on both databases, a crowd, part of the crash sweep, mutants.

An hour on two cores. Each part is told with its time; what fails does not keep the others from running.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTEST = ("-m", "pytest", "-q", "-n", "3", "--dist", "worksteal", "--timeout", "1800")
DATABASES = ("sqlite", "postgresql")
LIVES = {"sqlite": "600", "postgresql": "300"}  # of all days in the sweep
PARTS = {
    "tests": (*PYTEST, "tests"),
    "acceptance": (*PYTEST, "tests/acceptance"),
    "sweep": (*PYTEST, "tests/acceptance/whole_sweep.py"),
}
WIRE = ("tests/integration/gemini", "tests/unit/gemini")
ALONE = {
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
    """Run every part; return 1 where one failed."""
    failed = []
    for database in DATABASES:
        for name, words in (PARTS | (ALONE if database == "sqlite" else {})).items():
            environ = (
                os.environ
                | EVERY_CASE
                | {"FINDABLE_TEST_DATABASE": database, "FINDABLE_MOST": LIVES[database]}
            )
            start_time = time.monotonic()
            code = subprocess.run(
                [sys.executable, *words], cwd=ROOT, env=environ, check=False
            ).returncode
            sys.stdout.write(
                f"{name} on {database}: {'failed' if code else 'passed'}, {time.monotonic() - start_time:.0f} s\n"
            )
            sys.stdout.flush()
            failed += [name] if code else []
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
