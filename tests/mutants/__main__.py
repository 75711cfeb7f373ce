"""`make mutants`: put each fault of `mutants.toml` into a copy of the product, and see that its test finds it.

Exit code 1 unless all are found. A fault counts as found where its test fails; a test that cannot be run, a line that
does not apply and a copy that cannot be imported count as failures of this check.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.mutants.mutation import ROOT, Mutant, listed, mutated
from tests.scratch import quick_folder

COPIED = (
    *(
        "pipeline",
        "jobs",
        "web",
        "emulator",
        "findable.py",
        "tests",
        "data/sample",
        "docs",
        "pyproject.toml",
        "Makefile",
    ),
    "README.md",
)
PYTEST = (
    *("-q", "-x", "--tb=line", "--timeout=120", "-p", "no:cacheprovider", "-p", "no:xdist"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # the changed module may have loaded a plugin's library
)
# imports the module that was changed, says from where, and runs pytest
INSIDE = (
    "import sys, pytest, {module} as changed; print(changed.__file__, flush=True); sys.exit(pytest.main(sys.argv[1:]))"
)
LIMIT_S = 1800.0  # of one run of pytest; each test has its own limit
TESTS_FAILED = 1  # pytest's exit code where tests ran and some failed


class Verdict(NamedTuple):
    """What became of one mutant: whether its test found it, one line that says how, and the seconds that it took."""

    mutant: Mutant
    killed: bool
    said: str
    seconds: float


def main() -> int:
    """Run the mutants that are asked for, print a line for each, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", metavar="NAME", action="append", help="mutants whose name contains this; repeatable")
    parser.add_argument("-j", "--jobs", metavar="N", type=int, default=os.cpu_count() or 1, help="how many at once")
    asked = parser.parse_args()
    chosen = [one for one in listed() if not asked.only or any(word in one.name for word in asked.only)]
    if not chosen:
        parser.error("no mutant has such a name")
    with tempfile.TemporaryDirectory(prefix="findable-mutants-", dir=quick_folder()) as folder:
        unchanged = _copied(ROOT, Path(folder) / "unchanged")
        if not _killers_pass(chosen, unchanged, jobs=asked.jobs):
            sys.stdout.write("a test fails without any fault put in; nothing can be said of the mutants\n")
            return 1
        with ThreadPoolExecutor(asked.jobs) as pool:
            verdicts = []
            for verdict in pool.map(lambda one: _try(one, unchanged, Path(folder) / one.name), chosen):
                verdicts.append(verdict)
                word = "killed" if verdict.killed else "NOT KILLED"
                sys.stdout.write(f"{word:<11} {verdict.seconds:5.1f} s  {verdict.mutant.name}: {verdict.said}\n")
                sys.stdout.flush()
    killed = sum(one.killed for one in verdicts)
    sys.stdout.write(f"{killed} of {len(verdicts)} mutants killed\n")
    return 0 if killed == len(verdicts) else 1


def _killers_pass(chosen: list[Mutant], unchanged: Path, *, jobs: int) -> bool:
    """Return whether every test passes without a fault, and show what pytest says where one does not."""
    shares = [sorted({one.killer for one in chosen})[start::jobs] for start in range(jobs)]
    with ThreadPoolExecutor(jobs) as pool:
        done = list(pool.map(lambda killers: _run(unchanged, "-m", "pytest", *PYTEST, *killers), filter(None, shares)))
    for one in done:
        if one.returncode:
            sys.stdout.write(one.stdout + one.stderr)
    return not any(one.returncode for one in done)


def _try(mutant: Mutant, unchanged: Path, folder: Path) -> Verdict:
    """Put one fault into a copy of its own, run its test there, and remove the copy."""
    began = time.monotonic()
    try:
        changed = mutated(mutant)
        copy = _copied(unchanged, folder)
        path = copy / mutant.file
        path.write_text(changed, encoding="utf-8")
        for stale in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
            stale.unlink()
        killed, said = _judge(mutant, copy)
    except (ValueError, subprocess.TimeoutExpired) as error:
        killed, said = False, str(error)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Verdict(mutant, killed, said, time.monotonic() - began)


def _judge(mutant: Mutant, copy: Path) -> tuple[bool, str]:
    """Return whether the test finds the fault in a copy, and one line that says how or why not."""
    done = _run(copy, "-c", INSIDE.format(module=mutant.module), *PYTEST, mutant.killer)
    if done.stdout.partition("\n")[0] != str(copy / mutant.file):
        return False, f"the copy is not what is imported: {(done.stdout + done.stderr).strip()[-300:]}"
    failed = re.search(r"^FAILED .+?(?: - (.*))?$", done.stdout, re.MULTILINE)
    if done.returncode == TESTS_FAILED and failed:
        return True, (failed[1] or "failed")[:160]
    if done.returncode == 0:
        return False, f"survived {mutant.killer}; {mutant.breaks}"
    return False, f"the test could not be run: {(done.stdout + done.stderr).strip()[-300:]}"


def _copied(root: Path, folder: Path) -> Path:
    """Copy the product, its tests and what they read into a new folder, and return it without links in its path.

    What was compiled goes along, with the times that it is good for.
    """
    for name in COPIED:
        source, target = root / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy2(source, target)
    return folder.resolve()


def _run(copy: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run Python in a copy, where all that is imported by it, and by what it starts, comes from there."""
    ours = ("FINDABLE_", "GEMINI_", "GOOGLE_", "PYTEST_")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environ |= {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "", "COLUMNS": "400"}
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=copy, env=environ, capture_output=True, text=True, check=False, timeout=LIMIT_S)


if __name__ == "__main__":
    sys.exit(main())
