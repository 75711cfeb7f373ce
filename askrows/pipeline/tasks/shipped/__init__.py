"""Task files that ship with askrows. Each is written as a user writes the file of a task."""

from functools import cache
from importlib import import_module
from pathlib import Path

from askrows.pipeline.core.declaration import Declaration

TASK_NAMES = ("experts", "images")


def find_shipped_file(name: str) -> Path | None:
    """Return the task file of this folder with this name; None if there is none."""
    return Path(__file__).with_name(f"{name}.py") if name in TASK_NAMES else None


@cache
def load_shipped_declaration(name: str) -> Declaration | None:
    """Return the declaration of a task file of this folder; None if there is none of that name."""
    if name not in TASK_NAMES:
        return None
    declaration: Declaration = import_module(f"{__name__}.{name}").task
    return declaration
