"""No test says how long something takes: a busy machine would fail it, and one that is given more time proves nothing.

What a test may do is to wait for something until a limit; to hold the time that has passed against a bound it may not.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
CLOCKS = {
    f"time.{name}{unit}" for name in ("monotonic", "perf_counter", "process_time", "time") for unit in ("", "_ns")
}


def _reads_clock(node: ast.AST, begun: set[str]) -> bool:
    """Return whether an expression is a reading of a clock, now or before, or has one in it."""
    read = {ast.unparse(one) for one in ast.walk(node) if isinstance(one, ast.Name | ast.Call)}
    return bool(read & begun or {one[:-2] for one in read} & CLOCKS)


def timed(text: str) -> Iterator[int]:
    """Yield the lines of a module of tests where one reading of a clock is taken from another one."""
    tree = ast.parse(text)
    begun = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and CLOCKS & {ast.unparse(one)[:-2] for one in ast.walk(node.value)}
        for target in ast.walk(node.targets[0])
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub):
            yield from [node.lineno] * (_reads_clock(node.left, begun) and _reads_clock(node.right, begun))


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("began = time.monotonic()\nassert time.monotonic() - began < 5", [2]),
        ("a, b = time.perf_counter(), 0\ntook = time.perf_counter() - a\nassert took < 5 * slow()", [2]),
        ("until = time.monotonic() + 5\nwhile not done():\n    assert time.monotonic() < until", []),
        ("os.utime(path, (time.time() - 10_000,) * 2)", []),
    ],
)
def test_what_is_timed_is_found(text: str, lines: list[int]) -> None:
    """A difference of two readings, and neither a wait with a limit nor a time in the past."""
    assert list(timed(text)) == lines


def test_no_test_holds_a_time_against_a_bound() -> None:
    """In no module of tests one reading of a clock is taken from another one."""
    modules = sorted(TESTS.rglob("test_*.py"))
    assert Path(__file__) in modules
    found = {str(path.relative_to(TESTS)): [*timed(path.read_text(encoding="utf-8"))] for path in modules}
    assert {name: lines for name, lines in found.items() if lines} == {}
