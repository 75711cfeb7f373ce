"""How far the index in service is behind the database."""

from typing import TYPE_CHECKING, NamedTuple

from pipeline.core.progress import Progress
from pipeline.core.task import Collection
from pipeline.index.manifest import content_hash
from pipeline.store import workspace

if TYPE_CHECKING:
    from pipeline.index.reader import Index
    from pipeline.store.database import Connection


PAGE = 1000  # entries between two looks at the clock


class Staleness(NamedTuple):
    """How an index differs from the database: entries to be written anew, and those that the database has not."""

    outdated: int
    strangers: int

    @property
    def behind(self) -> int:
        """Return how many entries the index does not have, holds with another text or other tags, or holds too many."""
        return self.outdated + self.strangers


def count_stale(
    collection: Collection, tx: "Connection", index: "Index | None", display: Progress, *, quick: bool = False
) -> int:
    """Return how many entries an index is behind by; without one, how many there are.

    `quick` trusts the database position: while no command has written, nothing is behind.
    """
    if index is None:
        return collection.count(tx)
    if quick and index.manifest.position == workspace.get_workspace(tx).position:
        return 0
    return staleness(collection, tx, index, display).behind


def staleness(collection: Collection, tx: "Connection", index: "Index", display: Progress) -> Staleness:
    """Compare every entry of the database with an index; changes of other programs are found too."""
    held, outdated = dict(index.content_hashes()), 0
    with display.bar("comparing", len(index), late=True) as bar:
        for number, entry in enumerate(collection.entries(tx), start=1):
            outdated += held.pop(entry.id, None) != content_hash(entry)
            if number % PAGE == 0:
                bar.show(number)
    return Staleness(outdated, len(held))
