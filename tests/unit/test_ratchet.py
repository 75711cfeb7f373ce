"""The figures of the house may fall and not rise, and the libraries of the design are what the product is made of."""

from tests import ratchet
from tests.house import ROOT, modules

PRODUCT = {"click", "faiss", "google.genai", "jsonlines", "numpy", "pydantic", "sqlalchemy", "tenacity"}


def test_the_libraries_of_the_design_are_used() -> None:
    """Each is imported by a module of the product when it runs, and pytest by the tests."""
    imported = {one.name for module in modules().values() for one in module.imports()}
    parts = {".".join(name.split(".")[:count]) for name in imported for count in (1, 2)}
    assert PRODUCT - parts == set()
    assert any("import pytest\n" in path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))


def test_no_figure_is_lost() -> None:
    """Each figure of this house is written down, and counts something."""
    allowed, now = ratchet.written()[0], ratchet.figures()
    for name in ("lines", "statements", "names", "tables", "settings", "commands", "bytes", "test lines"):
        assert allowed[name] > 0, name
        assert now[name] > 0, name
