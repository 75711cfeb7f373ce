"""How far the index in service is behind the database."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import FindableError
from pipeline.core.progress import Bar, Progress
from pipeline.core.ranking import Entry
from pipeline.engine.task import Indexed
from pipeline.index.builds import Builds
from pipeline.index.manifest import content_hash
from pipeline.store import workspace

if TYPE_CHECKING:
    from pipeline.index.reader import Index
    from pipeline.store.database import Connection


PAGE = 1000  # entries between two looks at the clock


def count_stale(
    collection: Indexed, tx: "Connection", index: "Index | None", display: Progress, *, exact: bool = False
) -> int:
    """Return how many entries an index is behind by; without one, how many there are.

    They are compared where a command has changed some since, or with `exact`, which finds changes of other programs.
    """
    if index is None:
        return collection.count(tx)
    build, position = index.manifest.number, index.manifest.position
    if not (exact or workspace.has_changed(tx, collection.task, build=build, position=position)):
        return 0
    held = index.content_hashes()
    with display.bar("comparing", len(index), late=True) as bar:
        entries = _shown(collection.entries(tx), bar)
        outdated = sum(held.pop(entry.id, None) != content_hash(entry) for entry in entries)
    return outdated + len(held)  # which the database has not


def place_of_entry(data: Path, collection: Indexed, item_id: str, entry: Entry | None) -> dict[str, Any]:
    """Return {indexed, up_to_date, build}: whether the index in service holds an item, and as its entry is now.

    A broken index has its `problem`, too.
    """
    nothing = {"indexed": False, "up_to_date": False, "build": None}
    builds = Builds(data, collection.folder)
    try:
        if builds.current() is None:
            return nothing
        with builds.open() as index:
            held, built = index.content_hashes({item_id}).get(item_id), index.manifest
    except FindableError as error:
        return {**nothing, "problem": error.message}
    is_same = entry is not None and held == content_hash(entry)
    return {"indexed": held is not None, "up_to_date": is_same, "build": built.number}


def _shown(entries: Iterable[Entry], bar: Bar) -> Iterator[Entry]:
    for number, entry in enumerate(entries, start=1):
        yield entry
        if number % PAGE == 0:
            bar.show(number)
