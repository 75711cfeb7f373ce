"""The figures of the house may fall and not rise, and the libraries of the design are what the product is made of."""

from pathlib import Path

from tests import ratchet
from tests.house import ROOT, modules

PRODUCT = {"click", "faiss", "google.genai", "jsonlines", "numpy", "pydantic", "sqlalchemy", "tenacity"}
LOAN = {"figure": "lines.web", "size": 5, "reason": "a page that goes away again"}


def test_what_rose_is_told_and_by_how_much() -> None:
    """A figure that is not written down was 0; a loan on a room is one on the sum of the rooms, and on no other one."""
    allowed = {"lines": 30, "lines.web": 20, "lines.jobs": 10}
    now = {"lines": 36, "lines.web": 25, "lines.jobs": 10, "lines.attic": 1}
    assert list(ratchet.risen(now, allowed, [])) == [
        "lines rose by 6: 36, and 30 are allowed",
        "lines.web rose by 5: 25, and 20 are allowed",
        "lines.attic rose by 1: 1, and 0 are allowed",
    ]
    assert list(ratchet.risen(now, allowed, [LOAN])) == [
        "lines rose by 1: 36, and 35 are allowed, 5 of them on loan",
        "lines.attic rose by 1: 1, and 0 are allowed",
    ]
    assert list(ratchet.risen(allowed, allowed, [])) == []


def test_only_what_fell_is_written_down(tmp_path: Path) -> None:
    """What rose, or is new, is not; what is gone goes, loans stay; a file that is gone is made with what is there."""
    file = tmp_path / "ratchet.toml"
    ratchet.lower({"lines": 30, "lines.web": 20, "test lines": 9}, file)
    file.write_text(
        file.read_text() + "\n".join(["[[loan]]", *(f"{name} = {value!r}" for name, value in LOAN.items())])
    )
    now = {"lines": 31, "lines.web": 15, "lines.attic": 3}
    assert ratchet.fallen(now, ratchet.written(file)[0]) == ["lines.web", "test lines"]
    ratchet.lower(now, file)
    assert ratchet.written(file) == ({"lines": 30, "lines.web": 15}, [LOAN])


def test_everything_is_counted(tmp_path: Path) -> None:
    """Of a house of two rooms each figure is what a reader counts."""
    files = {
        "pipeline/core/settings.py": 'class Settings:\n    """All."""\n\n    data: str = _setting(1)\n',
        "pipeline/live/a.py": "from pipeline.core.settings import Settings\n\nx = Table('x')\n\ndef _run(): ...\n",
        "pipeline/batch/b.py": "from pipeline.live.a import _run\n\ndef run(): return _run()\n\ndef _own(): ...\n",
        "pipeline/batch/words.txt": "four",
        "tests/test_a.py": "\n\n",
        "jobs/commands.py": 'COMMANDS = {\n    "a": Command(),\n}\nALIASES = {\n    "b": Command(),\n}\n',
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    found = ratchet.figures(tmp_path)
    assert [found[f"lines{room}"] for room in ("", ".core", ".batch", ".findable")] == [20, 4, 10, 0]
    assert [found[f"statements{room}"] for room in ("", ".core", ".batch")] == [11, 2, 7]
    assert [found[name] for name in ("rooms", "floors", "arrows", "modules", "names")] == [4, 3, 2, 4, 3]
    assert [found[name] for name in ("tables", "settings", "commands", "bytes", "test lines")] == [1, 1, 2, 4, 2]


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
