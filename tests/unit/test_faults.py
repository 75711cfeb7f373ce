"""The faults of `make mutants` match the code, and executed lines are marked."""

import ast
import itertools

import pytest

from tests.acceptance import quick
from tests.acceptance.faults import ROOT, mark_lines, plant_fault, read_faults


def test_every_fault_can_be_planted() -> None:
    """The line of each of the forty faults occurs once, and its replacement compiles."""
    faults = read_faults()
    assert len({fault.name for fault in faults}) == len(faults) == 40
    for fault in faults:
        assert fault.before != fault.after, fault.name
        text = (ROOT / fault.file).read_text(encoding="utf-8")
        compile(plant_fault(fault, text), fault.file, "exec")


def test_the_quick_tests_are_there_for_enough_faults() -> None:
    """Each test of `make test-quick` is in a file, and the tests name enough faults, each once."""
    assert len(quick.find_tests()) == len(quick.TESTS)
    names = list(itertools.chain.from_iterable(quick.TESTS.values()))
    assert len(set(names)) == len(names) >= quick.MIN_KILLED
    assert {*names} <= {fault.name for fault in read_faults()}


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
def test_mark_is_inserted_before_the_statement_of_a_line(
    text: str, line: int, expected: str
) -> None:
    """The mark is in the block of the statement, even if the line is within the statement."""
    assert mark_lines(text, {line: "name"}) == ast.unparse(
        ast.parse(expected.replace("MARK", "__import__('_marks').mark('name')"))
    )
