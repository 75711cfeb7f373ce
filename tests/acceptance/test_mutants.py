"""Each fault of `faults.toml` makes its test fail; `make mutants` runs this."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.acceptance.faults import ROOT, TEST_FOLDER, Fault, list_tests, read_faults
from tests.scratch import RUN

pytestmark = pytest.mark.skipif("MUTANTS" not in os.environ, reason="`make mutants` takes an hour")
# Exit code of pytest if tests ran and some failed.
TESTS_FAILED = 1


@pytest.fixture(scope="session")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a compiled copy of the product without a fault."""
    product = tmp_path_factory.mktemp("mutants") / "unchanged"
    copy_product(product)
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(product)], check=True)
    return product


def test_no_test_fails_without_a_fault(unchanged: Path) -> None:
    """The tests that find the faults succeed."""
    assert run_tests(unchanged, list_tests()) == 0


@pytest.mark.parametrize("fault", read_faults(), ids=lambda fault: fault.name)
def test_fault_makes_its_test_fail(fault: Fault, unchanged: Path) -> None:
    """The test of a fault fails on a copy of the product with the fault."""
    product = Path(shutil.copytree(unchanged, unchanged.with_name(fault.name)))
    (product / fault.file).write_text(fault.plant(product), encoding="utf-8")
    assert run_tests(product, [str(TEST_FOLDER / fault.test)]) == TESTS_FAILED
    shutil.rmtree(product)


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
    # The processes of this run have loaded another product.
    del environ[RUN]
    process = subprocess.run(command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL, check=False)
    return process.returncode
