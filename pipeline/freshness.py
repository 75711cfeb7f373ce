"""How far the index in service is behind the database."""

from typing import TYPE_CHECKING

from pipeline.index.manifest import content_hash
from pipeline.runtime import Runtime
from pipeline.store import workspace

if TYPE_CHECKING:
    from pipeline.index.reading import Index
    from pipeline.store.database import Connection


def behind(rt: Runtime, tx: "Connection", index: "Index | None", *, quick: bool = False) -> int:
    """Return how many entries the index lacks, holds with another text or other tags, or holds too many.

    `quick` trusts the database position: while nothing of ours has written, nothing is behind.
    """
    if index is None:
        return rt.collection.count(tx)
    if quick and index.manifest.position == workspace.get(tx).position:
        return 0
    held = dict(index.content_hashes())
    differing = 0
    for entry in rt.collection.entries(tx):
        differing += held.pop(entry.id, None) != content_hash(entry)
    return differing + len(held)
