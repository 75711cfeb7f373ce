"""What statements compiled to, shared by all engines of this process: the page opens a workspace every second."""

from typing import Any

from sqlalchemy.util import LRUCache

KEPT = 1000  # statements; one engine by itself keeps 500


class _Compiled(LRUCache[Any, Any]):
    """Compiled statements by SQLAlchemy's keys; a dialect in one stands for its kind and its server's version."""

    def get(self, key: Any, default: Any = None) -> Any:
        """Return what a statement compiled to for any engine of that kind."""
        return super().get(_shared(key), default)

    def __setitem__(self, key: Any, value: Any) -> None:
        """Keep what a statement compiled to."""
        super().__setitem__(_shared(key), value)


def _shared(key: Any) -> Any:
    return (type(key[0]), getattr(key[0], "server_version_info", None), *key[1:])


COMPILED = _Compiled(KEPT)
