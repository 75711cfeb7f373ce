"""The acceptance tests know nothing of the product but what a user sees, and their engine is frozen."""

import ast
import hashlib
from pathlib import Path

from tests.acceptance.engine import FROZEN

PRODUCT = {"pipeline", "jobs", "web", "emulator", "findable"}
ALLOWED = ("tests.acceptance", "tests.outside", "tests.postgresql", "tests.scratch")
TABLES = "tables"  # with tasks as their users write them
ENGINE = "496140e5bef8033c8dfd07a67a088d938bfbaa575896ef8edd779989b7611a0d"


def imported(path: Path) -> set[str]:
    """Return every module that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
        if isinstance(node, ast.ImportFrom):
            found |= (
                {f"{node.module}.{one.name}" for one in node.names} if node.module == "tests" else {node.module or ""}
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
        assert not {name for name in names if name.startswith("tests.") and not name.startswith(ALLOWED)}, path


def test_the_engine_is_the_frozen_one() -> None:
    """Its bytes are those of the day the yardstick was made."""
    assert hashlib.sha256(FROZEN.read_bytes()).hexdigest() == ENGINE
