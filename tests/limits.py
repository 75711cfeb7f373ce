"""Compare the size of the code with `limits.toml`; `make check` fails above a limit.

The figures of tests/readability.py are compared as well.
"""

import ast
import dataclasses
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

from askrows.jobs.commands import COMMANDS
from askrows.pipeline.core.settings import Settings
from tests import readability

ROOT = Path(__file__).parents[1]
FILE = Path(__file__).with_suffix(".toml")
BRANCHES = (
    ast.If,
    ast.IfExp,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.match_case,
)


def count_figures() -> dict[str, int]:
    """Return every figure by its name."""
    modules = sorted((ROOT / "askrows").rglob("*.py"))
    product_nodes = _parse(modules)
    test_files = sorted((ROOT / "tests").rglob("*.py"))
    test_nodes = _parse(test_files)
    helper_nodes = _parse(path for path in test_files if not path.name.startswith("test_"))
    return {
        "statements": sum(_count_statements(node) for node in product_nodes),
        "branches": sum(_count_branches(node) for node in product_nodes),
        "modules": len(modules),
        "statements of the tests": sum(_count_statements(node) for node in test_nodes),
        "statements of the helpers of tests": sum(_count_statements(node) for node in helper_nodes),
        "settings": sum(bool(setting.metadata) for setting in dataclasses.fields(Settings)),
        # `make help ALL=1` lists `setup`, too.
        "commands": len(COMMANDS) + 1,
    }


def _parse(paths: Iterable[Path]) -> list[ast.AST]:
    """Return all nodes of some modules."""
    nodes: list[ast.AST] = []
    for path in paths:
        nodes += ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return nodes


def _count_statements(node: ast.AST) -> int:
    """Return how many statements a node is: a docstring none, and `a, b = x, y` two."""
    if not isinstance(node, ast.stmt):
        return 0
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return int(not isinstance(node.value.value, str))
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
        target = node.targets[0]
        return len(target.elts) if isinstance(target, ast.Tuple) else 1
    return 1


def _count_branches(node: ast.AST) -> int:
    """Return how many branches a node makes; each further operand is one."""
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.comprehension):
        return 1 + len(node.ifs)
    return int(isinstance(node, BRANCHES))


def main() -> int:
    """Print all figures with their limits; return 1 if a figure is above its limit, else 0."""
    limits = tomllib.loads(FILE.read_text(encoding="utf-8"))
    violations = [
        *readability.find_violations(readability.measure_packages(), readability.read_recorded())
    ]
    for name, figure in count_figures().items():
        sys.stdout.write(f"{name}: {figure:,} of at most {limits[name]:,}\n")
        if figure > limits[name]:
            violations.append(f"{name}: {figure:,}, but at most {limits[name]:,} are allowed")

    sys.stderr.write("".join(f"error: {violation}\n" for violation in violations))
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
