"""The modules of the product, what they import, and how many statements they have.

A room is a folder below `pipeline/`, a loose module there, `jobs`, `web` or `emulator`. An arrow
leads from a room to another room that it imports when it runs. Imports inside functions count,
imports under `TYPE_CHECKING` do not. `findable.py` is above all rooms, and its arrows count.
"""

import ast
from collections import ChainMap, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
# The module that Python code of users imports.
ABOVE = "findable"
TOPS = ("pipeline", "jobs", "web", "emulator")
# Floors from the top to the bottom. A room imports only rooms of lower floors and its own
# libraries.
FLOORS = (
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
        "index": (
            "bm25s faiss ir_measures jsonlines numpy orjson pydantic snowballstemmer sqlalchemy"
        ),
    },
    {"engine": "PIL pillow_heif sqlalchemy"},
    {
        "tables": (
            "charset_normalizer orjson pandas pyarrow pydantic python_calamine rapidfuzz"
            " sqlalchemy xlsxwriter"
        )
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
ROOM_LIBRARIES = ChainMap[str, str](*FLOORS)
FLOOR = {
    room: next(number for number, floor in enumerate(FLOORS) if room in floor)
    for room in ROOM_LIBRARIES
}
LIBRARIES = {room: libraries.split() for room, libraries in ROOM_LIBRARIES.items()}

Arrow = tuple[str, str]


class Import(NamedTuple):
    """An import: the dotted name, and whether it is in a function or only for type checkers."""

    name: str
    is_late: bool
    is_for_types: bool


class Function(NamedTuple):
    """A function or method with its number of statements, including nested functions."""

    name: str
    statements: int


@dataclass(frozen=True)
class Module:
    """A module of the product: its dotted name, its text and its imports."""

    name: str
    text: str

    @property
    def room(self) -> str:
        """Return the room of the module."""
        return room_of(self.name)

    def imports(self) -> Iterator[Import]:
        """Yield the imports of the running module."""
        return (imported for imported in self.all_imports() if not imported.is_for_types)

    def all_imports(self) -> Iterator[Import]:
        """Yield all imports, including imports for type checkers."""
        yield from _cached_imports(self.text)

    def statements(self) -> int:
        """Count the statements of the module."""
        return count_statements(parsed(self.text))

    def functions(self) -> Iterator[Function]:
        """Yield the functions, including methods and nested functions."""
        for node in ast.walk(parsed(self.text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield Function(f"{self.name}.{node.name}", count_statements(node))


@cache
def parsed(text: str) -> ast.Module:
    """Return the syntax tree of a module."""
    return ast.parse(text)


@cache
def count_statements(tree: ast.AST) -> int:
    """Count the statements below a node: no docstrings, and `a, b = x, y` as two."""
    return sum(_weigh_statement(node) for node in ast.walk(tree) if node is not tree)


def _weigh_statement(node: ast.AST) -> int:
    """Return how many statements a node is for `count_statements`."""
    if not isinstance(node, ast.stmt) or _is_docstring(node):
        return 0
    if (
        isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Tuple)
        and isinstance(node.value, ast.Tuple)
    ):
        return len(node.targets[0].elts)
    return 1


def _is_docstring(node: ast.stmt) -> bool:
    """Return whether a statement is only a text."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


@cache
def _cached_imports(text: str) -> tuple[Import, ...]:
    """Return the imports in the text of a module."""
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
    """Return the room of a dotted name; `pipeline` itself has no room, an empty text."""
    top, *below = name.split(".")
    if top != "pipeline":
        return top
    return below[0] if below else ""


def modules(root: Path = ROOT) -> dict[str, Module]:
    """Return the product's modules by their names."""
    paths: list[Path] = []
    for top in TOPS:
        paths += sorted((root / top).rglob("*.py"))

    above_path = root / f"{ABOVE}.py"
    if above_path.is_file():
        paths.append(above_path)

    names = [
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        for path in paths
    ]
    return {
        name: Module(name, path.read_text(encoding="utf-8"))
        for name, path in zip(names, paths, strict=True)
    }


def loose(root: Path = ROOT) -> list[str]:
    """Return the modules directly in `pipeline/`, which have no room."""
    return sorted(path.stem for path in (root / "pipeline").glob("*.py") if path.stem != "__init__")


def own(name: str, module_names: Iterable[str]) -> str:
    """Return the module of ours that contains an imported name; an empty text if no module does."""
    while name and name not in module_names:
        name = name.rpartition(".")[0]
    return name


def arrows(known_modules: Mapping[str, Module]) -> set[Arrow]:
    """Return the pairs of rooms of which the first imports the second."""
    room_pairs = set[Arrow]()
    for module in known_modules.values():
        if module.room:
            room_pairs.update(
                (module.room, room_of(own(imported.name, known_modules)))
                for imported in module.imports()
            )
    return {(source, target) for source, target in room_pairs if target and target != source}


def import_cycles(known_modules: Mapping[str, Module]) -> set[frozenset[str]]:
    """Return the groups of modules that import each other, by any kind of import."""
    module_arrows = set[Arrow]()
    for module in known_modules.values():
        imported_modules = {own(imported.name, known_modules) for imported in module.all_imports()}
        module_arrows.update(
            (module.name, target) for target in imported_modules - {"", module.name}
        )
    return circles(module_arrows)


def circles(found_arrows: set[Arrow]) -> set[frozenset[str]]:
    """Return the groups of names in which each name leads to all other names."""
    targets: dict[str, set[str]] = defaultdict(set)
    for source, target in found_arrows:
        targets[source].add(target)
    reached = {source: _reach(source, targets) for source in list(targets)}
    return {
        frozenset(other for other in names if source in reached.get(other, ()))
        for source, names in reached.items()
        if source in names
    }


def _reach(source: str, targets: Mapping[str, set[str]]) -> set[str]:
    """Return all names that arrows from a name reach, directly or over other names."""
    reached: set[str] = set()
    to_visit = [source]
    while to_visit:
        new_names = targets.get(to_visit.pop(), set()) - reached
        reached |= new_names
        to_visit += new_names
    return reached


def is_down(arrow: Arrow) -> bool:
    """Return whether an arrow leads to a lower floor."""
    source, target = arrow
    return source in FLOOR and target in FLOOR and FLOOR[source] < FLOOR[target]
