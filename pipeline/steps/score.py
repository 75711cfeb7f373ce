"""Recompute every findability score, writing only those that changed."""

from dataclasses import dataclass

from pipeline.experts import table
from pipeline.experts.adopt import settle_foreign
from pipeline.runtime import Runtime
from pipeline.store import workspace


@dataclass(frozen=True)
class Report:
    """How many people there are, and how many scores changed."""

    total: int
    changed: int


def run(rt: Runtime) -> Report:
    """Bring the score of everyone up to date, in one transaction."""
    with rt.store.write() as tx:
        settle_foreign(tx)
        changed = table.rescore(tx)
        if changed:
            workspace.touch(tx)
        return Report(total=table.count(tx), changed=changed)
