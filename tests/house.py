"""`make house`: the rooms, floors and arrows of the product, and how long its modules and functions are.

A room is a folder below `pipeline/` (or a module that stands loose there), `jobs`, `web` and `emulator`. An arrow leads
from a room to another one that it imports when it runs: imports inside functions count, those under `TYPE_CHECKING` do
not. Floors are the rooms on the longest way down. `findable.py` stands above them all: it is no room and no floor, and
its arrows count.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
ABOVE = "findable"  # the module that Python code imports
TOPS = ("pipeline", "jobs", "web", "emulator")
WHOLE = "OpenWorkspace"
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
    {"tables": "charset_normalizer orjson pandas pyarrow pydantic python_calamine rapidfuzz sqlalchemy xlsxwriter"},
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
    """One import that happens when a module runs: what is imported, and whether inside a function."""

    name: str
    is_late: bool


@dataclass(frozen=True)
class Module:
    """A module of the product: its dotted name, its text, and what it imports."""

    name: str
    text: str

    @property
    def room(self) -> str:
        """Return the room it stands in."""
        return room_of(self.name)

    def lines(self) -> int:
        """Return how many lines it has."""
        return len(self.text.splitlines())

    def functions(self) -> Iterator[int]:
        """Yield of each of its functions how many lines it has."""
        for node in self._functions():
            yield (node.end_lineno or node.lineno) - node.lineno + 1

    def takers(self) -> int:
        """Return how many of its functions take the whole workspace, where most need a value or two of it."""
        return sum(WHOLE in ast.unparse(node.args) for node in self._functions()) if WHOLE in self.text else 0

    def _functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Yield its functions, those of classes and within others among them."""
        for node in ast.walk(parsed(self.text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node

    def imports(self) -> Iterator[Import]:
        """Yield what it imports when it runs."""
        yield from _imported(self.text)


@cache
def parsed(text: str) -> ast.Module:
    """Return the text of a module as it is parsed."""
    return ast.parse(text)


@cache
def _imported(text: str) -> tuple[Import, ...]:
    """Return what the text of a module imports."""
    return tuple(_imports(parsed(text), is_late=False))


def _imports(node: ast.AST, *, is_late: bool) -> Iterator[Import]:
    """Yield the absolute names that are imported below a node, those for the type checker apart."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, is_late) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield from (Import(f"{child.module}.{alias.name}", is_late) for alias in child.names)
        else:
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from _imports(child, is_late=is_late or is_function)


def room_of(name: str) -> str:
    """Return the room of a dotted name: of `pipeline` itself none, an empty text."""
    top, *below = name.split(".")
    return top if top != "pipeline" else below[0] if below else ""


def modules(root: Path = ROOT) -> dict[str, Module]:
    """Return the product's modules by their names."""
    paths = [path for top in TOPS for path in sorted((root / top).rglob("*.py"))]
    paths += [path for path in (root / f"{ABOVE}.py",) if path.is_file()]
    names = [".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    return {name: Module(name, path.read_text(encoding="utf-8")) for name, path in zip(names, paths, strict=True)}


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


def below(room: str, found: set[Arrow]) -> set[str]:
    """Return the rooms that some way leads to from this one; itself among them where it stands in a circle."""
    seen: set[str] = set()
    ahead = {room}
    while ahead:
        ahead = {there for here, there in found if here in ahead} - seen
        seen |= ahead
    return seen


def circles(found: set[Arrow]) -> set[frozenset[str]]:
    """Return the groups of rooms each of which leads to all the others."""
    reached = {room: below(room, found) for arrow in found for room in arrow}
    return {
        frozenset(other for other in rooms if room in reached[other])
        for room, rooms in reached.items()
        if room in rooms
    }


def floors(found: set[Arrow]) -> int:
    """Return how many rooms the longest way down leads through; a circle counts as one."""
    found = {arrow for arrow in found if arrow[0] != ABOVE}
    rounds = circles(found)
    group = {room: next((one for one in rounds if room in one), frozenset({room})) for arrow in found for room in arrow}

    @cache
    def depth(here: frozenset[str]) -> int:
        """Return how many groups the longest way down from this one leads through, itself counted."""
        lower = {group[below] for room, below in found if room in here} - {here}
        return 1 + max((depth(one) for one in lower), default=0)

    return max((depth(one) for one in group.values()), default=0)


def is_down(arrow: Arrow) -> bool:
    """Return whether an arrow leads to a lower floor."""
    here, there = arrow
    return here in FLOOR and there in FLOOR and FLOOR[here] < FLOOR[there]


def share(numbers: Iterable[int], part: float) -> int:
    """Return the number that this part of all is below."""
    ordered = sorted(numbers)
    return ordered[int(len(ordered) * part)]


def report(root: Path = ROOT) -> Iterator[str]:
    """Yield the lines of `make house`."""
    known = modules(root)
    found = arrows(known)
    inside = [module for module in known.values() if module.room]
    rooms = sorted({module.room for module in inside}, key=lambda room: (FLOOR.get(room, -1), room))
    count = len({*rooms} - {ABOVE})
    yield f"{count} rooms, {floors(found)} floors, {len(found)} arrows, {len(loose(root))} loose modules"
    for room in rooms:
        yield f"  {room:<12} {' '.join(sorted(there for here, there in found if here == room)) or '-'}"
    yield _listed("arrows that do not lead down", (" -> ".join(arrow) for arrow in found if not is_down(arrow)))
    yield _listed("circles", (" = ".join(sorted(one)) for one in circles(found)))
    lines = {module.name: module.lines() for module in inside}
    longest = max(lines, key=lambda name: lines[name])
    yield f"{sum(lines.values()):,} lines in {len(lines)} modules, at the median {share(lines.values(), 0.5)}"
    yield f"the longest is {longest} with {lines[longest]}"
    functions = [length for module in inside for length in module.functions()]
    median, most = share(functions, 0.5), share(functions, 0.9)
    yield f"{len(functions):,} functions, at the median {median} lines, nine of ten of at most {most}"
    yield f"{sum(module.takers() for module in inside)} of them take the whole workspace"


def _listed(title: str, found: Iterable[str]) -> str:
    """Return a title with what was found of it."""
    return f"{title}: {', '.join(sorted(found)) or 'none'}"
