"""The acceptance tests use the product only as a user does."""

import ast
from pathlib import Path

import pytest

from tests.acceptance.process import PROCESSOR_TIME
from tests.acceptance.product import Workspace

PRODUCT = {"askrows", "pipeline", "jobs"}
ALLOWED = ("tests.acceptance", "tests.outside", "tests.postgresql", "tests.scratch")
# A folder with tasks as users write them.
TABLES = "tables"


def imported_modules(path: Path) -> set[str]:
    """Return the modules that a file imports on any level."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            if node.module == "tests":
                modules |= {f"tests.{alias.name}" for alias in node.names}
            else:
                modules.add(node.module or "")
    return modules


def test_acceptance_tests_import_no_module_of_the_product() -> None:
    """Acceptance tests and the helpers that they import use no module of the product."""
    folder = Path(__file__).parent
    files = [
        *(path for path in folder.rglob("*.py") if path.parent.name != TABLES),
        *(folder.parent / "outside").glob("[!t]*.py"),
        *folder.parent.glob("postgresql.py"),
    ]
    assert len(files) > 10
    for path in files:
        names = imported_modules(path)
        assert not {name for name in names if name.partition(".")[0] in PRODUCT}, path
        test_modules = {name for name in names if name.startswith("tests.")}
        assert not {name for name in test_modules if not name.startswith(ALLOWED)}, path


@pytest.mark.alike
def test_a_test_may_use_limited_processor_time(tmp_path: Path) -> None:
    """A test fails at the command that exceeds its limit, however long the clock took."""
    PROCESSOR_TIME.begin(0.0)
    with pytest.raises(AssertionError, match="of processor time"):
        Workspace(tmp_path / "here").run_command("prices")
