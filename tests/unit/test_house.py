"""Packages import only packages of lower floors; tests/limits.py limits the figures."""

from tests.house import Module, arrows, circles, import_cycles, is_down, loose, modules


def test_arrows_lead_down() -> None:
    """No arrow leads up or aside, no cycle exists, and no module is loose."""
    known_modules = modules()
    room_arrows = arrows(known_modules)
    assert not [arrow for arrow in room_arrows if not is_down(arrow)]
    assert not circles(room_arrows)
    assert not loose()


def test_import_cycles_include_late_and_typing_imports() -> None:
    """Imports in functions and for type checkers form cycles; callers are not part of them."""
    texts = {
        "core.at_once": "from core import late\n",
        "core.late": "def f():\n    from core import typed\n",
        "core.typed": (
            "from typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n    from core.at_once import Thing\n"
        ),
        "core.caller": "from core import at_once\n",
    }
    known_modules = {name: Module(name, text) for name, text in texts.items()}
    assert import_cycles(known_modules) == {frozenset({"core.at_once", "core.late", "core.typed"})}


def test_statements_are_counted_without_docstrings_and_with_unpacked_tuples() -> None:
    """A docstring is not a statement, and each value of a tuple assignment counts."""
    module = Module(
        "core.sample",
        '"""Sample."""\n\n\ndef f():\n    """Return 3."""\n    a, b = 1, 2\n    return a + b\n',
    )
    assert module.statements() == 4
    assert [tuple(function) for function in module.functions()] == [("core.sample.f", 3)]
