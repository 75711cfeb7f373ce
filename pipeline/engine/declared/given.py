"""What Python code hands over for as long as its process lives: tasks as objects, and rows in the place of their items.

A task whose object stands in a module that can be imported is the task of that file, as commands know it. One that a
notebook or a script declares has no file that may be run again: its place is `<Python: name>`, and it can be asked and
judged only where the object is.
"""

import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.core.declaration import Declaration
from pipeline.tables.item_values import compact_json, plain_row
from pipeline.tables.items_file import kinds_of
from pipeline.tables.read import SourceRow

ROWS = "<rows given in Python>"  # as `items` of a declaration
ROOMS = Path(__file__).parents[2]
_FRONT, _BACK = "<Python: ", ">"
_tasks: dict[Path, Declaration] = {}  # by their places
_rows: dict[Path, "ItemsRows"] = {}  # by the places of their tasks


class ItemsRows:
    """Rows in memory as a source of items; see `pipeline.tables.items_file.ItemsFile` for its members."""

    notes: Sequence[str] = ()

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep the rows as plain values.

        Raises:
            InputError: no table can have their columns.
        """
        self._rows = [plain_row(row) for row in rows]
        self.columns = kinds_of(self._rows, {}, source=ROWS)
        self.sha256 = hashlib.sha256(compact_json(self._rows).encode("utf-8", "surrogatepass")).hexdigest()

    def __iter__(self) -> Iterator[SourceRow]:
        """Yield each row, numbered from 1."""
        return (SourceRow(number, row) for number, row in enumerate(self._rows, start=1))


def give_task(place: Path, declaration: Declaration) -> None:
    """Take a declaration, with its name, for what stands at a place."""
    _tasks[place] = declaration


def given_task(place: Path) -> Declaration | None:
    """Return the declaration that was handed over for a place, or is built in; None where neither."""
    return _tasks.get(place) or built_in(name_in_python(place))


@cache
def built_in(name: str) -> Declaration | None:
    """Return the declaration that the room of a built-in task has; None where there is no such room."""
    if not (name and (ROOMS / name / "declaration.py").is_file()):
        return None
    declared: Declaration | None = getattr(import_module(f"pipeline.{name}.declaration"), "task", None)
    return declared  # none where the room says what a declaration is


def built_in_names() -> list[str]:
    """Return the names of the built-in tasks that are declared as a user's own are."""
    rooms = sorted(path.parent.name for path in ROOMS.glob("*/declaration.py"))
    return [name for name in rooms if built_in(name) is not None]


def forget_files() -> None:
    """Forget what was handed over for tasks that stand in files, which can be loaded."""
    for place in [one for one in _tasks if not name_in_python(one)]:
        del _tasks[place]


def give_rows(place: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Take rows for the items of the task at a place, while it is declared with `ROWS`; see `ItemsRows`."""
    _rows[place] = ItemsRows(rows)


def given_rows(place: Path) -> ItemsRows:
    """Return the rows that were handed over last for the task at a place."""
    return _rows[place]


def place_in_python(name: str) -> Path:
    """Return what stands for the file of a task that has none."""
    return Path(f"{_FRONT}{name}{_BACK}")


def name_in_python(place: Path) -> str:
    """Return the name of a task that has no file, by what stands for it; empty for the path of a file."""
    text = str(place)
    return text.removeprefix(_FRONT).removesuffix(_BACK) if text.startswith(_FRONT) else ""


def file_of(declaration: Declaration) -> Path | None:
    """Return the file of the module that declares a task, if a command that runs this file finds the same task in it.

    None for `__main__`, whose file does more than declare, and where it cannot be told.
    """
    main = sys.modules.get("__main__")  # which has a second name where processes are started
    modules = [one for one in list(sys.modules.values()) if one is not main and _declares(one, declaration)]
    if len(modules) > 1:  # others that import it
        modules = [one for one in modules if one.__name__ == declaration.answer.__module__]
    return Path(str(modules[0].__file__)).resolve() if len(modules) == 1 else None


def _declares(module: ModuleType, declaration: Declaration) -> bool:
    if not str(getattr(module, "__file__", None)).endswith(".py"):
        return False
    names = vars(module)
    if names.get("task") is declaration:
        return True
    return [one for one in list(names.values()) if type(one) is Declaration] == [declaration]
