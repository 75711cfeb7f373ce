"""The acceptance tests know nothing of the product but what a user sees."""

import ast
from pathlib import Path

PRODUCT = {"pipeline", "jobs", "web", "emulator", "findable"}
ALLOWED = ("tests.acceptance", "tests.outside", "tests.postgresql", "tests.scratch")
TABLES = "tables"  # with tasks as their users write them


def imported(path: Path) -> set[str]:
    """Return every module that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
        if isinstance(node, ast.ImportFrom):
            found |= (
                {f"{node.module}.{one.name}" for one in node.names}
                if node.module == "tests"
                else {node.module or ""}
            )
    return found


def test_nothing_of_the_product_is_imported() -> None:
    """Neither these tests nor what they use of other tests imports a module of the product."""
    here = Path(__file__).parent
    files = [
        *(path for path in here.rglob("*.py") if path.parent.name != TABLES),
        *(here.parent / "outside").glob("[!t]*.py"),
        *here.parent.glob("postgresql.py"),
    ]
    assert len(files) > 10
    for path in files:
        names = imported(path)
        assert not {name for name in names if name.partition(".")[0] in PRODUCT}, path
        assert not {
            name for name in names if name.startswith("tests.") and not name.startswith(ALLOWED)
        }, path
