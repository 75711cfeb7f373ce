"""Declarations of the tasks that ship with askrows; each is imported when it is first used."""

from collections.abc import Callable
from typing import TYPE_CHECKING

# Programs register the tasks when they start, so nothing heavy is imported here.
if TYPE_CHECKING:
    from askrows.pipeline.core.declaration import Declaration

_loaders_by_name: "dict[str, Callable[[], Declaration]]" = {}


def register_built_in_declaration(name: str, load: "Callable[[], Declaration]") -> None:
    """Make the declaration of a task known to this process, without loading it."""
    _loaders_by_name[name] = load


def load_built_in_declaration(name: str) -> "Declaration | None":
    """Return the declaration of a registered task; None if there is none of that name."""
    load = _loaders_by_name.get(name)
    return None if load is None else load()
