"""The figures of the code keep their limits, and the product uses the chosen libraries."""

import ast

from tests import limits
from tests.house import ROOT, modules

PRODUCT = {
    "click",
    "faiss",
    "google.genai",
    "jsonlines",
    "numpy",
    "pydantic",
    "sqlalchemy",
    "tenacity",
}


def test_the_libraries_of_the_design_are_used() -> None:
    """The product imports each chosen library, and the tests import pytest."""
    parts = set[str]()
    for module in modules().values():
        for imported in module.imports():
            names = imported.name.split(".")
            parts.update([names[0], ".".join(names[:2])])
    assert PRODUCT - parts == set()

    assert any(
        "import pytest\n" in path.read_text(encoding="utf-8")
        for path in (ROOT / "tests").rglob("test_*.py")
    )


def test_every_figure_has_a_limit() -> None:
    """The code and the file have the same figures, and no count is zero."""
    figures = limits.count_figures(modules())
    assert figures.keys() == limits.read_limits().keys()
    for name in ("statements", "branches", "settings", "commands", "statements of the tests"):
        assert figures[name] > 0, name


def test_a_figure_above_its_limit_is_a_violation() -> None:
    """A figure may reach its limit."""
    figures = {"statements": 5, "branches": 16}
    assert list(limits.find_violations(figures, {"statements": 5, "branches": 15})) == [
        "branches: 16, but at most 15 are allowed"
    ]


def test_branches_are_conditions_loops_handlers_cases_and_operands() -> None:
    """Each construct counts once, and a condition with two operands counts twice."""
    source = """
for row in rows:
    if row and row.cells:
        names = [cell.name for cell in row.cells if cell]
while waiting:
    try:
        kind = 1 if names else 2
    except OSError:
        match kind:
            case 1:
                pass
"""
    assert limits.count_branches(ast.parse(source)) == 9
