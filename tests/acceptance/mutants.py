"""`make mutants`: plant each fault of `faults.toml` in a copy of the product, and test the copy.

The tests first run on a copy that records which test runs the line of each fault. Then these tests
run on each fault, the fastest first, until a test fails. Faults that survive, as the list says, are
planted only if `--only` names them. The exit code is 1 in these cases:

- No test finds a fault without a reason in the list (`survives`).
- A test finds a fault with such a reason.
- A fault cannot be planted.
- A test fails without a fault.

`--quick` runs only the acceptance tests of `make test-quick`. The exit code is 1 if they find too
few of the faults.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.acceptance import quick
from tests.acceptance.faults import (
    ROOT,
    Fault,
    copy_product,
    find_obstacle,
    mark_all,
    plant_fault,
    read_faults,
    write_module,
)
from tests.scratch import quick_folder

TEST_FOLDER = Path(__file__).parent
# Variable with the file in which each test records its folder and its time.
NOTES = "MUTANTS_NOTES"
# Part of the name of the folder in which each process warms up, before any test.
WARM_UP_FOLDER = "findable-warm-"
# All runs draw the same tests, even if a commit is added between them.
SEED = "7"
MAX_RUN_S = "1800"
# Exit code of pytest if tests ran and some failed.
TESTS_FAILED = 1
# The tests that run the line of each fault, by the name of the fault.
Coverage = dict[str, list[str]]


class Note(NamedTuple):
    """A test, its folder, and its time in seconds, as the plugin records them."""

    test: str
    folder: str
    seconds: float


class Verdict(NamedTuple):
    """The result of the tests on a fault."""

    fault: Fault
    # "killed", "survived", "not planted" or "not judged".
    word: str
    # The test that failed, or why no test failed.
    explanation: str
    seconds: float

    @property
    def is_expected(self) -> bool:
        """Return whether a test found the fault, or no test found it and the list says why."""
        return self.word == ("survived" if self.fault.survives else "killed")

    def __str__(self) -> str:
        """Return the line of the fault."""
        return f"{self.word:<11} {self.seconds:5.1f} s  {self.fault.name}: {self.explanation}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Record a test, its folder, and its time; this module is a plugin of the first run."""
    start_time = time.monotonic()
    yield
    folder = str(getattr(item, "funcargs", {}).get("tmp_path", ""))
    note = Note(item.nodeid, folder, time.monotonic() - start_time)
    with Path(os.environ[NOTES]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(note) + "\n")


def run_tests(product: Path, *words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run acceptance tests against a product."""
    environ = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FINDABLE_", "ACCEPTANCE_"))
    }
    environ |= {"PRODUCT": str(product), "COLUMNS": "400", "FINDABLE_SEED": SEED, **variables}
    options = (
        "-q",
        "--tb=line",
        "-p",
        "no:cacheprovider",
        f"--rootdir={TEST_FOLDER}",
        f"--config-file={TEST_FOLDER / 'pytest.ini'}",
    )
    command = ("timeout", MAX_RUN_S, sys.executable, "-m", "pytest", *options, *words)
    return subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )


def measure_coverage(
    faults: list[Fault],
    unchanged: Path,
    folder: Path,
    *,
    workers: int,
    tests_to_run: Sequence[str] = (str(TEST_FOLDER),),
) -> Coverage:
    """Return which tests run the line of each fault, the fastest first.

    If the tests of a line are unknown, they are all tests.

    Raises:
        SystemExit: A test fails, or no test ran.
    """
    product = Path(shutil.copytree(unchanged, folder / "marked"))
    marks_file = folder / "marks"
    notes_file = folder / "notes"
    mark_all(product, faults, marks_file)
    marks_file.touch()
    words = ("-p", "tests.acceptance.mutants", "-n", str(workers), *tests_to_run)
    process = run_tests(product, *words, **{NOTES: str(notes_file)})
    if process.returncode:
        raise SystemExit(
            f"{process.stdout}{process.stderr}"
            "a test fails without a fault; nothing can be said of the faults"
        )

    note_lines = notes_file.read_text(encoding="utf-8").splitlines()
    notes = sorted((Note(*json.loads(line)) for line in note_lines), key=lambda note: note.seconds)
    folders_by_line: dict[str, set[str]] = defaultdict(set)
    for mark in marks_file.read_text(encoding="utf-8").splitlines():
        line, _, run_folder = mark.partition("\t")
        folders_by_line[line].add(run_folder)
    return {fault.name: _select_tests(notes, folders_by_line[fault.line]) for fault in faults}


def _select_tests(notes: Sequence[Note], run_folders: set[str]) -> list[str]:
    """Return the tests that ran a line in some folders, in the order of the notes."""
    folders = {Path(folder) for folder in run_folders if WARM_UP_FOLDER not in folder}
    test_folders = {
        note.test: note.folder
        for note in notes
        if note.folder and any(folder.is_relative_to(note.folder) for folder in folders)
    }
    has_unknown_test = not all(
        any(folder.is_relative_to(test_folder) for test_folder in test_folders.values())
        for folder in folders
    )
    # The line runs only when the product is loaded.
    runs_in_warm_up_only = bool(run_folders) and not folders
    if runs_in_warm_up_only or has_unknown_test:
        return [*test_folders, *(note.test for note in notes)]
    return list(test_folders)


def judge_fault(fault: Fault, tests: list[str], unchanged: Path, folder: Path) -> Verdict:
    """Plant a fault in a new copy of the product, and run its tests until a test fails."""
    start_time = time.monotonic()
    word = "survived"
    explanation = fault.survives or f"{fault.breaks}; {len(tests)} tests come to its line"
    if tests:
        product = Path(shutil.copytree(unchanged, folder / fault.name))
        module = product / fault.file
        write_module(module, plant_fault(fault, module.read_text(encoding="utf-8")))
        test_list = folder / f"{fault.name}.txt"
        lines = [f"{TEST_FOLDER.relative_to(ROOT)}/{test}\n" for test in tests]
        test_list.write_text("".join(lines), encoding="utf-8")

        process = run_tests(product, "-x", "-p", "no:xdist", f"@{test_list}")
        failure = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", process.stdout, re.MULTILINE)
        if process.returncode == TESTS_FAILED and failure:
            word = "killed"
            explanation = failure[1]
        elif process.returncode:
            word = "not judged"
            explanation = (process.stdout + process.stderr).strip()[-300:]
        shutil.rmtree(product)
    return Verdict(fault, word, explanation, time.monotonic() - start_time)


def parse_arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.mutants", description=__doc__)
    parser.add_argument(
        "--only",
        metavar="NAME",
        action="append",
        help="faults whose name contains this; repeatable",
    )
    parser.add_argument("-j", "--jobs", metavar="N", type=int, default=2, help="how many at once")
    parser.add_argument(
        "--quick", action="store_true", help="only with the acceptance tests of `make test-quick`"
    )
    return parser.parse_args()


def select_faults(name_parts: Sequence[str] | None) -> list[Fault]:
    """Return the faults whose name contains a part; without parts, those that tests must find.

    A surviving fault would run all tests that come to its line.
    """
    if name_parts:
        return [fault for fault in read_faults() if any(part in fault.name for part in name_parts)]
    return [fault for fault in read_faults() if not fault.survives]


def judge_faults(faults: list[Fault], *, jobs: int, is_quick: bool) -> list[Verdict]:
    """Judge faults in parallel, and print the line of each."""
    verdicts = []
    with tempfile.TemporaryDirectory(prefix="findable-mutants-", dir=quick_folder()) as name:
        folder = Path(name).resolve()
        unchanged = copy_product(folder / "unchanged")
        subprocess.run([sys.executable, "-m", "compileall", "-q", str(unchanged)], check=True)
        tests_to_run = [str(TEST_FOLDER)]
        if is_quick:
            tests_to_run = [str(TEST_FOLDER / test) for test in quick.find_tests()]
        tests = measure_coverage(faults, unchanged, folder, workers=jobs, tests_to_run=tests_to_run)

        with ThreadPoolExecutor(jobs) as pool:
            new_verdicts = pool.map(
                lambda fault: judge_fault(fault, tests[fault.name], unchanged, folder), faults
            )
            for verdict in new_verdicts:
                print(verdict, flush=True)  # noqa: T201
                verdicts.append(verdict)
    return verdicts


def main() -> int:
    """Judge the selected faults, print the summary, and return the exit code."""
    arguments = parse_arguments()
    verdicts = []
    plantable_faults = []
    for fault in select_faults(arguments.only):
        obstacle = find_obstacle(fault)
        if obstacle:
            verdicts.append(Verdict(fault, "not planted", obstacle, 0))
        else:
            plantable_faults.append(fault)
    verdicts += judge_faults(plantable_faults, jobs=arguments.jobs, is_quick=arguments.quick)

    killed_count = sum(verdict.word == "killed" for verdict in verdicts)
    summary = f"{killed_count} of {len(verdicts)} faults killed"
    if arguments.quick:
        print(f"{summary} by the tests of `make test-quick`")  # noqa: T201
        return int(killed_count < min(quick.MIN_KILLED, len(verdicts)))

    unexpected = [str(verdict) for verdict in verdicts if not verdict.is_expected]
    print(f"{summary}; otherwise than listed:")  # noqa: T201
    print("\n".join(unexpected or ["none"]))  # noqa: T201
    return 1 if unexpected else 0


if __name__ == "__main__":
    sys.exit(main())
