"""Declarations of the shipped tasks that are recorded as users' tasks are."""

from collections.abc import Callable

from pipeline.core.declaration import Declaration

_loaders: dict[str, Callable[[], Declaration]] = {}


def register_built_in_declaration(name: str, load: Callable[[], Declaration]) -> None:
    """Make the declaration of a task known; `load` imports and returns it."""
    _loaders[name] = load


def load_built_in_declaration(name: str) -> Declaration | None:
    """Return the registered declaration of a task; None if there is none of that name."""
    load = _loaders.get(name)
    if load is None:
        return None
    return load()
