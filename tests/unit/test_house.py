"""How the house is built: arrows between rooms lead down; tests/ratchet.py limits its figures."""

from tests.house import Module, arrows, circles, import_cycles, is_down, loose, modules


def test_arrows_lead_down() -> None:
    """No arrow leads up or aside, no circle is left, and no module stands loose."""
    known = modules()
    found = arrows(known)
    assert not [arrow for arrow in found if not is_down(arrow)]
    assert not circles(found)
    assert not loose()


def test_import_cycles_include_late_and_typing_imports() -> None:
    """Modules that import each other inside functions or for type checkers are a cycle; their callers are not in it."""
    texts = {
        "core.at_once": "from core import late\n",
        "core.late": "def f():\n    from core import typed\n",
        "core.typed": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from core.at_once import Thing\n",
        "core.caller": "from core import at_once\n",
    }
    known = {name: Module(name, text) for name, text in texts.items()}
    assert import_cycles(known) == {frozenset({"core.at_once", "core.late", "core.typed"})}


def test_statements_are_counted_without_docstrings_and_with_unpacked_tuples() -> None:
    """A docstring is no statement, and each value of a tuple assignment is one."""
    module = Module(
        "core.sample",
        '"""Sample."""\n\n\ndef f():\n    """Return 3."""\n    a, b = 1, 2\n    return a + b\n',
    )
    assert module.statements() == 4
    assert [tuple(function) for function in module.functions()] == [("core.sample.f", 3)]
