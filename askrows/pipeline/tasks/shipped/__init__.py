"""Task files that ship with askrows. Each is written as a user writes the file of a task."""

from functools import cache
from importlib import import_module

from askrows.pipeline.core.declaration import Declaration

TASK_NAMES = ("images",)


@cache
def load_shipped_declaration(name: str) -> Declaration | None:
    """Return the declaration of a task file of this folder; None if there is none of that name."""
    if name not in TASK_NAMES:
        return None
    declaration: Declaration = import_module(f"{__name__}.{name}").task
    return declaration
