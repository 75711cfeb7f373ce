"""The figures of the product keep their limits, and the libraries of the design are what the product is made of."""

from pathlib import Path

from tests import ratchet
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
    """Each is imported by a module of the product when it runs, and pytest by the tests."""
    imported = {one.name for module in modules().values() for one in module.imports()}
    parts = {".".join(name.split(".")[:count]) for name in imported for count in (1, 2)}
    assert PRODUCT - parts == set()
    assert any(
        "import pytest\n" in path.read_text(encoding="utf-8")
        for path in (ROOT / "tests").rglob("test_*.py")
    )


def test_every_figure_is_recorded() -> None:
    """The product and the file have the same figures, and each counts something."""
    figures = ratchet.count_figures(modules())
    limits = ratchet.read_limits()
    assert figures.keys() == limits.keys()
    for name in ("statements", "settings", "tables", "commands", "arrows between packages"):
        assert figures[name] > 0, name


def test_a_figure_may_exceed_its_record_only_by_its_allowance(tmp_path: Path) -> None:
    """Falls are recorded, rises are not, and comments of the file stay."""
    file = tmp_path / "ratchet.toml"
    file.write_text('# why\n[figures]\n"cycles" = 5\n"tables" = 14\n\n[allowance]\n"tables" = 1\n')
    limits = ratchet.read_limits(file)
    assert list(ratchet.find_violations({"cycles": 5, "tables": 15}, limits)) == []
    assert list(ratchet.find_violations({"cycles": 6, "tables": 16}, limits)) == [
        "cycles: 6, but at most 5 are allowed",
        "tables: 16, but at most 15 are allowed",
    ]

    ratchet.record_falls({"cycles": 4, "tables": 15}, file)
    assert (
        file.read_text()
        == '# why\n[figures]\n"cycles" = 4\n"tables" = 14\n\n[allowance]\n"tables" = 1\n'
    )
