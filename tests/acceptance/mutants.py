"""`make mutants`: plant each fault of `faults.toml` in a copy of the product, and run its test."""

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.scratch import quick_folder

TEST_FOLDER = Path(__file__).parent
ROOT = TEST_FOLDER.parents[1]
LIST = TEST_FOLDER / "faults.toml"
PARALLEL_FAULTS = 2
# Exit code of pytest if tests ran and some failed.
TESTS_FAILED = 1


class Fault(NamedTuple):
    """A fault: `after` replaces the text `before` of `file`, and `test` finds it."""

    name: str
    # The promise of askrows that the fault breaks.
    promise: str
    # The effect of the fault.
    breaks: str
    file: str
    before: str
    after: str
    # The name of a case, as pytest writes it, in this folder.
    test: str

    def plant(self, folder: Path) -> str:
        """Return the text of the file in a folder with the fault in it.

        Raises:
            ValueError: `before` is not in the file exactly once.
        """
        text = (folder / self.file).read_text(encoding="utf-8")
        if text.count(self.before) != 1:
            raise ValueError(f"{self.name}: {self.file} does not have its text once: {self.before}")
        return text.replace(self.before, self.after)


def read_faults() -> list[Fault]:
    """Return every fault of the list, in its order."""
    return [Fault(**row) for row in tomllib.loads(LIST.read_text(encoding="utf-8"))["fault"]]


def list_tests() -> list[str]:
    """Return the paths of the tests that find the faults, each once."""
    return [str(TEST_FOLDER / test) for test in dict.fromkeys(row.test for row in read_faults())]


def copy_product(folder: Path) -> None:
    """Copy the tracked files of this checkout, without its tests, to a new folder."""
    command = ["git", "ls-files", "-z", ":!tests"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in names.split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def run_tests(product: Path, tests: Sequence[str]) -> int:
    """Run acceptance tests against a product, and return the exit code of pytest."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    environ = os.environ | {"PRODUCT": str(product), "ASKROWS_TEST_DATABASE": "sqlite"}
    process = subprocess.run(command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL, check=False)
    return process.returncode


def find_fault(fault: Fault, unchanged: Path) -> bool:
    """Plant a fault in a new copy of the product; return whether its test fails."""
    product = Path(shutil.copytree(unchanged, unchanged.with_name(fault.name)))
    (product / fault.file).write_text(fault.plant(product), encoding="utf-8")
    is_found = run_tests(product, [str(TEST_FOLDER / fault.test)]) == TESTS_FAILED
    shutil.rmtree(product)
    sys.stdout.write(f"{'found' if is_found else 'MISSED'} {fault.name}: {fault.test}\n")
    sys.stdout.flush()
    return is_found


def main() -> int:
    """Run the tests without a fault, then on each fault; return 1 if a test does not find one."""
    faults = read_faults()
    with tempfile.TemporaryDirectory(prefix="askrows-mutants-", dir=quick_folder()) as name:
        unchanged = Path(name) / "unchanged"
        copy_product(unchanged)
        subprocess.run([sys.executable, "-m", "compileall", "-q", str(unchanged)], check=True)
        if run_tests(unchanged, ["-n", str(PARALLEL_FAULTS), *list_tests()]):
            sys.stderr.write("error: a test fails without a fault\n")
            return 1

        with ThreadPoolExecutor(PARALLEL_FAULTS) as pool:
            results = [*pool.map(lambda fault: find_fault(fault, unchanged), faults)]

    sys.stdout.write(f"{sum(results)} of {len(results)} faults found\n")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
