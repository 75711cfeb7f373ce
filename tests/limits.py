"""Compare the size and shape of the code with `limits.toml`; `make check` fails above a limit.

The figures of tests/readability.py are compared as well.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests import readability
from tests.house import ROOT, Module, arrows, count_statements, import_cycles, modules, parsed

FILE = Path(__file__).with_suffix(".toml")
MAX_MODULE_STATEMENTS = 250
MAX_FUNCTION_STATEMENTS = 40

Figures = dict[str, int]


def count_figures(known_modules: Mapping[str, Module]) -> Figures:
    """Return every figure by its name."""
    module_counts = find_long_modules(known_modules)
    function_counts = find_long_functions(known_modules)
    test_paths = (ROOT / "tests").rglob("*.py")
    return {
        "statements": sum(module.statements() for module in known_modules.values()),
        "branches": sum(count_branches(parsed(module.text)) for module in known_modules.values()),
        "modules": len(known_modules),
        "statements of the tests": sum(
            count_statements(parsed(path.read_text(encoding="utf-8"))) for path in test_paths
        ),
        "settings": _count_settings(known_modules["pipeline.core.settings"]),
        "commands": _count_commands(known_modules["jobs.commands"]),
        "import cycles": len(import_cycles(known_modules)),
        "arrows between packages": len(arrows(known_modules)),
        f"modules over {MAX_MODULE_STATEMENTS} statements": len(module_counts),
        f"functions over {MAX_FUNCTION_STATEMENTS} statements": len(function_counts),
    }


def count_branches(tree: ast.AST) -> int:
    """Count the branches of a module: conditions, loops, handlers, cases, and further operands."""
    return sum(_count_own_branches(node) for node in ast.walk(tree))


def _count_own_branches(node: ast.AST) -> int:
    """Return the number of branches that a node itself makes."""
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.comprehension):
        return 1 + len(node.ifs)
    branching_nodes = (
        ast.If,
        ast.IfExp,
        ast.For,
        ast.AsyncFor,
        ast.While,
        ast.ExceptHandler,
        ast.match_case,
    )
    return int(isinstance(node, branching_nodes))


def find_long_modules(known_modules: Mapping[str, Module]) -> Figures:
    """Return the modules with too many statements, and how many each has."""
    counts = {module.name: module.statements() for module in known_modules.values()}
    return {name: count for name, count in counts.items() if count > MAX_MODULE_STATEMENTS}


def find_long_functions(known_modules: Mapping[str, Module]) -> Figures:
    """Return the functions with too many statements, and how many each has."""
    counts: Figures = {}
    for module in known_modules.values():
        counts.update(module.functions())
    return {name: count for name, count in counts.items() if count > MAX_FUNCTION_STATEMENTS}


def _count_settings(module: Module) -> int:
    """Count the fields of `Settings` that a user can set."""
    settings = next(
        node
        for node in parsed(module.text).body
        if isinstance(node, ast.ClassDef) and node.name == "Settings"
    )
    fields = (node for node in settings.body if isinstance(node, ast.AnnAssign))
    return sum(not ast.unparse(field).endswith("field(default_factory=dict)") for field in fields)


def _count_commands(module: Module) -> int:
    """Count the commands that `make help ALL=1` lists: those of the table, and `setup`."""
    table = module.text.partition("\nALIASES")[0]
    return 1 + len(re.findall(r'^    "[a-z-]+": Command\(', table, re.MULTILINE))


def read_limits() -> Figures:
    """Return the limit of every figure."""
    return tomllib.loads(FILE.read_text(encoding="utf-8"))


def find_violations(figures: Figures, limits: Figures) -> Iterator[str]:
    """Yield a sentence for each figure above its limit."""
    for name, figure in figures.items():
        if figure > limits[name]:
            yield f"{name}: {figure:,}, but at most {limits[name]:,} are allowed"


def main() -> int:
    """Print all figures with their limits; return 1 if a figure is above its limit, else 0."""
    known_modules = modules()
    figures = count_figures(known_modules)
    limits = read_limits()
    for name, figure in figures.items():
        sys.stdout.write(f"{name}: {figure:,} of at most {limits[name]:,}\n")

    for long_parts in (find_long_modules(known_modules), find_long_functions(known_modules)):
        for name, count in sorted(long_parts.items()):
            sys.stdout.write(f"{name}: {count} statements\n")

    violations = [
        *find_violations(figures, limits),
        *readability.find_violations(readability.measure_packages(), readability.read_recorded()),
    ]
    sys.stderr.write("".join(f"error: {violation}\n" for violation in violations))
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
