"""Recompute every findability score, writing only those that changed."""

from dataclasses import dataclass

from pipeline.engine.workspace import OpenWorkspace
from pipeline.experts import table
from pipeline.experts.adopt import settle_foreign
from pipeline.store import workspace


@dataclass(frozen=True)
class ScoreReport:
    """How many people there are, and how many scores changed."""

    total: int
    changed: int


def run(ws: OpenWorkspace) -> ScoreReport:
    """Bring all scores up to date, in one transaction."""
    with ws.store.write() as tx:
        settle_foreign(tx)
        changed = table.rescore_pages(tx)
        if changed:
            workspace.touch_revision(tx)
        return ScoreReport(total=table.count_experts(tx), changed=changed)
