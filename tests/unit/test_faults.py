"""No fault of `make mutants` is lost where code is moved or renamed, and who comes to its line is told."""

import ast

import pytest

from tests.acceptance import quick
from tests.acceptance.faults import ROOT, listed, marked, planted


def test_every_fault_can_be_planted() -> None:
    """There are forty; each line stands exactly once in its file, and what takes its place differs and compiles."""
    every = listed()
    assert len({one.name for one in every}) == len(every) == 40
    for one in every:
        assert one.before != one.after, one.name
        compile(planted(one, (ROOT / one.file).read_text(encoding="utf-8")), one.file, "exec")


def test_the_quick_tests_are_there_for_enough_faults() -> None:
    """Each test of `make test-quick` is in one file, and together they name enough of the faults, each once."""
    assert len(quick.find_tests()) == len(quick.TESTS)
    names = [name for faults in quick.TESTS.values() for name in faults]
    assert len(set(names)) == len(names) >= quick.MIN_KILLED
    assert {*names} <= {fault.name for fault in listed()}


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("def a():\n    b()\n    c()", 1, "def a():\n    MARK\n    b()\n    c()"),
        (
            "if a:\n    b()\nelif c:\n    d()",
            2,
            "if a:\n    b()\nelse:\n    MARK\n    if c:\n        d()",
        ),
        ("x = [\n    a\n    for a in b\n]", 2, "MARK\nx = [a for a in b]"),
        ("try:\n    a()\nexcept E:\n    b()", 3, "try:\n    a()\nexcept E:\n    MARK\n    b()"),
        ("for a in b:\n    c()", 0, "MARK\nfor a in b:\n    c()"),
    ],
)
def test_who_comes_to_a_line_is_told_before_its_statement(
    text: str, line: int, expected: str
) -> None:
    """In whatever block it stands, and in the middle of it, too."""
    assert marked(text, {line: "name"}) == ast.unparse(
        ast.parse(expected.replace("MARK", "__import__('_marks').mark('name')"))
    )
