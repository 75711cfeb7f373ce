"""Compare the size and shape of the product with `ratchet.toml`; `make check` fails above a limit.

The limit of a figure is its recorded value, plus its allowance if it has one. A figure without an
allowance may only fall. `make house` prints all figures, and with SET=1 records those that fell. A
limit rises only by editing the file. The figures of tests/readability.py are compared as well.
"""

import ast
import itertools
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests import readability
from tests.house import FLOOR, Module, arrows, import_cycles, modules, parsed

FILE = Path(__file__).with_suffix(".toml")
MAX_MODULE_STATEMENTS = 250
MAX_FUNCTION_STATEMENTS = 40
LONG_MODULES = f"modules over {MAX_MODULE_STATEMENTS} statements"
LONG_FUNCTIONS = f"functions over {MAX_FUNCTION_STATEMENTS} statements"

Figures = dict[str, int]


class Limit(NamedTuple):
    """The recorded value of a figure, and by how much the figure may exceed it."""

    recorded: int
    allowance: int

    @property
    def maximum(self) -> int:
        """Return the highest value that the figure may have."""
        return self.recorded + self.allowance


def count_figures(known_modules: Mapping[str, Module]) -> Figures:
    """Return every figure by its name."""
    cycles = import_cycles(known_modules)
    return {
        "import cycles": len(cycles),
        "modules in import cycles": sum(len(cycle) for cycle in cycles),
        "arrows between packages": len(arrows(known_modules)),
        LONG_MODULES: len(long_modules(known_modules)),
        LONG_FUNCTIONS: len(long_functions(known_modules)),
        "statements": sum(module.statements() for module in known_modules.values()),
        "settings": _count_settings(known_modules["pipeline.core.settings"]),
        "tables": sum(_count_tables(module) for module in known_modules.values()),
        "commands": _count_commands(known_modules["jobs.commands"]),
    }


def long_modules(known_modules: Mapping[str, Module]) -> Figures:
    """Return the modules with too many statements, and how many each has."""
    counts = {module.name: module.statements() for module in known_modules.values()}
    return {name: count for name, count in counts.items() if count > MAX_MODULE_STATEMENTS}


def long_functions(known_modules: Mapping[str, Module]) -> Figures:
    """Return the functions with too many statements, and how many each has."""
    functions = itertools.chain.from_iterable(
        module.functions() for module in known_modules.values()
    )
    return {name: count for name, count in functions if count > MAX_FUNCTION_STATEMENTS}


def _count_tables(module: Module) -> int:
    """Count the database tables that a module declares as constants."""
    values = (node.value for node in parsed(module.text).body if isinstance(node, ast.Assign))
    return sum(
        isinstance(value, ast.Call) and ast.unparse(value.func) in {"Table", "_define_table"}
        for value in values
    )


def _count_settings(module: Module) -> int:
    """Count the fields of `Settings` that a user can set."""
    classes = (
        node
        for node in parsed(module.text).body
        if isinstance(node, ast.ClassDef) and node.name == "Settings"
    )
    statements = itertools.chain.from_iterable(settings.body for settings in classes)
    fields = (node for node in statements if isinstance(node, ast.AnnAssign))
    return sum(not ast.unparse(field).endswith("field(default_factory=dict)") for field in fields)


def _count_commands(module: Module) -> int:
    """Count the commands that `make help ALL=1` lists: those of the table, and `setup`."""
    table = module.text.partition("\nALIASES")[0]
    return 1 + len(re.findall(r'^    "[a-z-]+": Command\(', table, re.MULTILINE))


def read_limits(file: Path = FILE) -> dict[str, Limit]:
    """Return the limit of every figure."""
    document = tomllib.loads(file.read_text(encoding="utf-8"))
    allowances = document["allowance"]
    return {
        name: Limit(recorded, allowances.get(name, 0))
        for name, recorded in document["figures"].items()
    }


def find_violations(figures: Figures, limits: Mapping[str, Limit]) -> Iterator[str]:
    """Yield a sentence for each figure above its limit."""
    for name, figure in figures.items():
        limit = limits[name]
        if figure > limit.maximum:
            yield f"{name}: {figure:,}, but at most {limit.maximum:,} are allowed"


def record_falls(figures: Figures, file: Path = FILE) -> None:
    """Record every figure below its recorded value; the rest of the file is unchanged."""
    text = file.read_text(encoding="utf-8")
    for name, limit in read_limits(file).items():
        figure = min(figures[name], limit.recorded)
        # The figures are the first table of the file, so the first line of this name counts.
        text = re.sub(
            rf'^"{name}" = \d+$', f'"{name}" = {figure}', text, count=1, flags=re.MULTILINE
        )
    file.write_text(text, encoding="utf-8")


def describe_figures(figures: Figures, limits: Mapping[str, Limit]) -> Iterator[str]:
    """Yield a line for each figure, with its limit."""
    for name, figure in figures.items():
        limit = limits[name]
        allowance = f" ({limit.recorded:,} + {limit.allowance:,})" if limit.allowance else ""
        yield f"{name:<34} {figure:>6,} of at most {limit.maximum:,}{allowance}"


def describe_house(known_modules: Mapping[str, Module]) -> Iterator[str]:
    """Yield a line for each package, then the cycles, the long modules and the long functions."""
    room_arrows = arrows(known_modules)
    for room in sorted(FLOOR, key=lambda name: (FLOOR[name], name)):
        statements = sum(
            module.statements() for module in known_modules.values() if module.room == room
        )
        targets = " ".join(sorted(target for source, target in room_arrows if source == room))
        yield f"  {room:<10} {statements:>6,} statements, imports {targets or 'nothing'}"

    for cycle in sorted(" = ".join(sorted(cycle)) for cycle in import_cycles(known_modules)):
        yield f"import cycle: {cycle}"

    for name, count in sorted(
        (long_modules(known_modules) | long_functions(known_modules)).items()
    ):
        yield f"{name}: {count} statements"


def main(arguments: Sequence[str]) -> int:
    """Compare the figures, print them (`house`), or record improvements (`house set`)."""
    known_modules = modules()
    figures = count_figures(known_modules)
    limits = read_limits()
    packages = readability.measure_packages()
    recorded = readability.read_recorded()
    if arguments[:1] == ["house"]:
        lines = [
            *describe_house(known_modules),
            "",
            *describe_figures(figures, limits),
            "",
            *readability.describe_packages(packages),
        ]
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        if arguments[1:] == ["set"]:
            record_falls(figures)
            readability.record_improvements(packages, recorded)
        return 0

    violations = [
        *find_violations(figures, limits),
        *readability.find_violations(packages, recorded),
    ]
    if violations:
        hint = (
            "`make house` lists them; "
            "the limits are in tests/ratchet.toml and tests/readability.toml"
        )
        sys.stderr.write("\n".join([*violations, hint, ""]))
        return 1

    if any(figures[name] < limit.recorded for name, limit in limits.items()):
        sys.stdout.write("figures of the product fell; `make house SET=1` records them\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
