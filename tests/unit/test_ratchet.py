"""The figures of the product keep their limits, and the product uses the chosen libraries."""

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


def test_every_figure_is_recorded() -> None:
    """The product and the file have the same figures, and no figure is zero."""
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
