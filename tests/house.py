"""The modules of the product, what they import, and how many statements they have.

A room is a folder below `pipeline/` (or a module that stands loose there), `jobs`, `web` and `emulator`. An arrow leads
from a room to another one that it imports when it runs: imports inside functions count, those under `TYPE_CHECKING` do
not. `findable.py` is above them all: it is no room, and its arrows count.
"""

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
ABOVE = "findable"  # the module that Python code imports
TOPS = ("pipeline", "jobs", "web", "emulator")
FLOORS = (  # from the top: a room imports rooms of lower floors alone, and those libraries that stand behind it
    {ABOVE: ""},
    {"jobs": "click rich"},
    {"web": "fastapi jinja2 markupsafe pydantic starlette uvicorn"},
    {"workflows": "procrastinate"},
    {"ops": "prometheus_client"},
    {
        "batch": "",
        "experts": "orjson pydantic sqlalchemy",
        "passages": "orjson pydantic sqlalchemy",
        "images": "pydantic sqlalchemy",
    },
    {
        "quality": "jinja2",
        "index": "bm25s faiss ir_measures jsonlines numpy orjson pydantic snowballstemmer sqlalchemy",
    },
    {"engine": "PIL pillow_heif sqlalchemy"},
    {
        "tables": "charset_normalizer orjson pandas pyarrow pydantic python_calamine rapidfuzz sqlalchemy xlsxwriter"
    },
    {
        "store": "filelock psycopg sqlalchemy",
        "gemini": "annotated_types google httpx2 numpy orjson pydantic tenacity",
    },
    {
        "core": "dotenv pydantic pydantic_core rapidfuzz typing_extensions",
        "emulator": "PIL numpy orjson snowballstemmer starlette tokenizers uvicorn",
    },
)
FLOOR = {room: number for number, floor in enumerate(FLOORS) for room in floor}
LIBRARIES = {room: libraries.split() for floor in FLOORS for room, libraries in floor.items()}

Arrow = tuple[str, str]


class Import(NamedTuple):
    """One import of a module: its dotted name, whether inside a function, and whether for type checkers alone."""

    name: str
    is_late: bool
    is_for_types: bool


class Function(NamedTuple):
    """A function or method of a module, with the statements of its body; those of nested functions count."""

    name: str
    statements: int


@dataclass(frozen=True)
class Module:
    """A module of the product: its dotted name, its text, and what it imports."""

    name: str
    text: str

    @property
    def room(self) -> str:
        """Return the room it stands in."""
        return room_of(self.name)

    def imports(self) -> Iterator[Import]:
        """Yield what it imports when it runs."""
        return (imported for imported in self.all_imports() if not imported.is_for_types)

    def all_imports(self) -> Iterator[Import]:
        """Yield what it imports, also for type checkers alone."""
        yield from _imported(self.text)

    def statements(self) -> int:
        """Return how many statements it has."""
        return count_statements(parsed(self.text))

    def functions(self) -> Iterator[Function]:
        """Yield its functions, including methods and nested functions."""
        for node in ast.walk(parsed(self.text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield Function(f"{self.name}.{node.name}", count_statements(node))


@cache
def parsed(text: str) -> ast.Module:
    """Return the text of a module as it is parsed."""
    return ast.parse(text)


@cache
def count_statements(tree: ast.AST) -> int:
    """Count the statements below a node: no docstrings, and `a, b = x, y` as two."""
    return sum(_weigh_statement(node) for node in ast.walk(tree) if node is not tree)


def _weigh_statement(node: ast.AST) -> int:
    """Return how many statements a node is for `count_statements`."""
    if not isinstance(node, ast.stmt) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    ):
        return 0
    if (
        isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Tuple)
        and isinstance(node.value, ast.Tuple)
    ):
        return len(node.targets[0].elts)
    return 1


@cache
def _imported(text: str) -> tuple[Import, ...]:
    """Return what the text of a module imports."""
    return tuple(_imports(parsed(text), is_late=False, is_for_types=False))


def _imports(node: ast.AST, *, is_late: bool, is_for_types: bool) -> Iterator[Import]:
    """Yield the imports below a node, with their absolute names."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            continue
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, is_late, is_for_types) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield from (
                Import(f"{child.module}.{alias.name}", is_late, is_for_types)
                for alias in child.names
            )
        else:
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            is_guard = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            yield from _imports(
                child, is_late=is_late or is_function, is_for_types=is_for_types or is_guard
            )


def room_of(name: str) -> str:
    """Return the room of a dotted name: of `pipeline` itself none, an empty text."""
    top, *below = name.split(".")
    return top if top != "pipeline" else below[0] if below else ""


def modules(root: Path = ROOT) -> dict[str, Module]:
    """Return the product's modules by their names."""
    paths = [path for top in TOPS for path in sorted((root / top).rglob("*.py"))]
    paths += [path for path in (root / f"{ABOVE}.py",) if path.is_file()]
    names = [
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        for path in paths
    ]
    return {
        name: Module(name, path.read_text(encoding="utf-8"))
        for name, path in zip(names, paths, strict=True)
    }


def loose(root: Path = ROOT) -> list[str]:
    """Return the modules that stand in `pipeline/` itself, in no room."""
    return sorted(path.stem for path in (root / "pipeline").glob("*.py") if path.stem != "__init__")


def own(name: str, known: Iterable[str]) -> str:
    """Return the module of ours that an imported name is of; an empty text where it is of none."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name


def arrows(known: Mapping[str, Module]) -> set[Arrow]:
    """Return which room imports which."""
    found = {
        (module.room, room_of(own(one.name, known)))
        for module in known.values()
        if module.room
        for one in module.imports()
    }
    return {(here, there) for here, there in found if there and there != here}


def import_cycles(known: Mapping[str, Module]) -> set[frozenset[str]]:
    """Return the groups of modules that import each other, also inside functions or for type checkers alone."""
    return circles(
        {
            (module.name, imported_module)
            for module in known.values()
            for imported in module.all_imports()
            if (imported_module := own(imported.name, known)) not in {"", module.name}
        }
    )


def circles(found: set[Arrow]) -> set[frozenset[str]]:
    """Return the groups of names each of which leads to all the others."""
    targets: dict[str, set[str]] = defaultdict(set)
    for source, target in found:
        targets[source].add(target)
    reached = {source: _reach(source, targets) for source in list(targets)}
    return {
        frozenset(other for other in names if source in reached.get(other, ()))
        for source, names in reached.items()
        if source in names
    }


def _reach(source: str, targets: Mapping[str, set[str]]) -> set[str]:
    """Return all names that arrows from this one lead to, over others too."""
    reached: set[str] = set()
    to_visit = [source]
    while to_visit:
        new_names = targets.get(to_visit.pop(), set()) - reached
        reached |= new_names
        to_visit += new_names
    return reached


def is_down(arrow: Arrow) -> bool:
    """Return whether an arrow leads to a lower floor."""
    here, there = arrow
    return here in FLOOR and there in FLOOR and FLOOR[here] < FLOOR[there]
