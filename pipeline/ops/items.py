"""List items of a task by a part of what they are called, in any state or one, page by page."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from pipeline.core.errors import InputError
from pipeline.core.task import ItemsWanted, ListedItem
from pipeline.engine.workspace import OpenWorkspace


class ItemsPage(NamedTuple):
    """Items in the order of their rows; `after` is the id of the last one where there are more behind it, else None."""

    items: list[ListedItem]
    after: str | None

    @property
    def document(self) -> dict[str, Any]:
        """Return the page for programs."""
        items = [{"id": one.id, **one.values, "state": one.state} for one in self.items]
        return {"items": items, "after": self.after}


def run(
    ws: OpenWorkspace, words: Sequence[str] = (), *, state: str | None = None, after: str | None = None, limit: int
) -> ItemsPage:
    """Return at most `limit` items that hold all of some words, those behind the id `after` where it is given.

    Raises:
        InputError: there is no item of that id, or none can be in that state.
    """
    task = ws.task
    with ws.store.read() as tx:
        if after is not None and after not in task.names(tx, [after]):
            raise InputError(
                f"there is no {task.words.one} of the id {after!r} to go on behind", hint="leave out AFTER="
            )
        found = task.list_items(tx, ItemsWanted(words, state, after, limit + 1, ws.now()))
    return ItemsPage(found[:limit], found[limit - 1].id if len(found) > limit else None)
