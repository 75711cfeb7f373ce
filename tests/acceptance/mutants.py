"""`make mutants`: plant each fault of `faults.toml` in a copy of the product, and see that an acceptance test finds it.

The tests run once on a copy that writes down who comes to the lines of the faults; then those that do are run on each
fault, the quickest first, until one fails. Faults that survive, as the list says, are planted by name alone (`--only`).
Exit code 1 where a fault is not found that has no word why (`survives`), or one is found that has, where a fault cannot
be planted, and where a test fails without any.

`--quick` runs only the acceptance tests of `make test-quick`. Exit code 1 if they find too few of the faults.
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
from tests.acceptance.faults import ROOT, Fault, copied, listed, lost, mark_all, planted, write
from tests.scratch import quick_folder

HERE = Path(__file__).parent
NOTES = "MUTANTS_NOTES"  # file in which each test says where it was and how long it took
WARM = "findable-warm-"  # in what each process runs once, before any test
SEED = "7"  # the drawn tests of all runs are the same, whatever is committed meanwhile
LIMIT = "1800"  # seconds of one run of the tests
TESTS_FAILED = 1  # exit code of pytest where tests ran and some failed
Covering = dict[str, list[str]]


class Verdict(NamedTuple):
    """What became of a fault: killed, survived, not planted or not judged, what is to be said, the seconds it took."""

    fault: Fault
    word: str
    said: str
    seconds: float

    @property
    def is_as_listed(self) -> bool:
        """Return whether it was found, or was not and the list says why."""
        return self.word == ("survived" if self.fault.survives else "killed")

    def __str__(self) -> str:
        """Return its line."""
        return f"{self.word:<11} {self.seconds:5.1f} s  {self.fault.name}: {self.said}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Write down a test, its folder, and how long it took; this module is a plugin of the first run."""
    start_time = time.monotonic()
    yield
    where = str(getattr(item, "funcargs", {}).get("tmp_path", ""))
    with Path(os.environ[NOTES]).open("a", encoding="utf-8") as file:
        file.write(json.dumps([item.nodeid, where, time.monotonic() - start_time]) + "\n")


def run(product: Path, *words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Run acceptance tests against a product."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FINDABLE_", "ACCEPTANCE_"))
    }
    kept |= {"PRODUCT": str(product), "COLUMNS": "400", "FINDABLE_SEED": SEED} | environ
    options = (
        "-q",
        "--tb=line",
        "-p",
        "no:cacheprovider",
        f"--rootdir={HERE}",
        f"--config-file={HERE / 'pytest.ini'}",
    )
    command = ("timeout", LIMIT, sys.executable, "-m", "pytest", *options, *words)
    return subprocess.run(command, cwd=ROOT, env=kept, capture_output=True, text=True, check=False)


def covering(
    faults: list[Fault],
    unchanged: Path,
    folder: Path,
    *,
    workers: int,
    tests_to_run: Sequence[str] = (str(HERE),),
) -> Covering:
    """Return which tests come to the line of each fault, the quickest first, all where that cannot be known.

    Raises:
        SystemExit: a test fails, or none ran.
    """
    product = Path(shutil.copytree(unchanged, folder / "marked"))
    mark_all(product, faults, folder / "marks")
    (folder / "marks").touch()
    words = ("-p", "tests.acceptance.mutants", "-n", str(workers), *tests_to_run)
    process = run(product, *words, **{NOTES: str(folder / "notes")})
    if process.returncode:
        raise SystemExit(
            f"{process.stdout}{process.stderr}a test fails without a fault; nothing can be said of the faults"
        )
    notes = [
        json.loads(line) for line in (folder / "notes").read_text(encoding="utf-8").splitlines()
    ]
    notes.sort(key=lambda note: note[2])
    met: dict[str, set[str]] = defaultdict(set)
    for line in (folder / "marks").read_text(encoding="utf-8").splitlines():
        name, _, where = line.partition("\t")
        met[name].add(where)
    found: Covering = {}
    for fault in faults:
        places = {Path(where) for where in met[fault.line] if WARM not in where}
        tests = {
            test: where
            for test, where, _ in notes
            if where and any(place.is_relative_to(where) for place in places)
        }
        is_known = all(
            any(place.is_relative_to(where) for where in tests.values()) for place in places
        )
        is_loaded = (
            bool(met[fault.line]) and not places
        )  # the line runs when the product is loaded, and never again
        found[fault.name] = [*tests, *(test for test, _, _ in notes if is_loaded or not is_known)]
    return found


def verdict(fault: Fault, tests: list[str], unchanged: Path, folder: Path) -> Verdict:
    """Plant a fault in a copy of its own and run these tests against it until one fails."""
    start_time = time.monotonic()
    word = "survived"
    said = fault.survives or f"{fault.breaks}; {len(tests)} tests come to its line"
    if tests:
        product = Path(shutil.copytree(unchanged, folder / fault.name))
        write(
            product / fault.file, planted(fault, (product / fault.file).read_text(encoding="utf-8"))
        )
        names = folder / f"{fault.name}.txt"
        names.write_text(
            "".join(f"{HERE.relative_to(ROOT)}/{test}\n" for test in tests), encoding="utf-8"
        )
        process = run(product, "-x", "-p", "no:xdist", f"@{names}")
        failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", process.stdout, re.MULTILINE)
        if process.returncode == TESTS_FAILED and failed:
            word = "killed"
            said = failed[1]
        elif process.returncode:
            word = "not judged"
            said = (process.stdout + process.stderr).strip()[-300:]
        shutil.rmtree(product)
    return Verdict(fault, word, said, time.monotonic() - start_time)


def main() -> int:
    """Try the faults that are asked for, print a line for each, and return the exit code."""
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
    asked = parser.parse_args()
    # without a name none that survives, for all tests that come to its line would be run on it
    faults = [
        one
        for one in listed()
        if any(word in one.name for word in asked.only or [""] * (not one.survives))
    ]
    verdicts = [Verdict(one, "not planted", why, 0) for one in faults if (why := lost(one))]
    faults = [one for one in faults if not lost(one)]
    with tempfile.TemporaryDirectory(prefix="findable-mutants-", dir=quick_folder()) as name:
        folder = Path(name).resolve()
        unchanged = copied(folder / "unchanged")
        subprocess.run([sys.executable, "-m", "compileall", "-q", str(unchanged)], check=True)
        tests_to_run = (
            [str(HERE / test) for test in quick.find_tests()] if asked.quick else [str(HERE)]
        )
        tests = covering(faults, unchanged, folder, workers=asked.jobs, tests_to_run=tests_to_run)
        with ThreadPoolExecutor(asked.jobs) as pool:
            for one in pool.map(
                lambda fault: verdict(fault, tests[fault.name], unchanged, folder), faults
            ):
                print(one, flush=True)  # noqa: T201
                verdicts.append(one)
    killed = sum(one.word == "killed" for one in verdicts)
    if asked.quick:
        print(f"{killed} of {len(verdicts)} faults killed by the tests of `make test-quick`")  # noqa: T201
        return int(killed < min(quick.MIN_KILLED, len(verdicts)))

    odd = [str(one) for one in verdicts if not one.is_as_listed]
    print(  # noqa: T201
        f"{killed} of {len(verdicts)} faults killed; otherwise than listed:",
        *(odd or ["none"]),
        sep="\n",
    )
    return 1 if odd else 0


if __name__ == "__main__":
    sys.exit(main())
