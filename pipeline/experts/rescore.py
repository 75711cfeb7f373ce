"""Recompute every findability score, writing only those that changed."""

from dataclasses import dataclass

from pipeline.experts import table
from pipeline.experts.hooks import ExpertsHooks
from pipeline.store.database import Store


@dataclass(frozen=True)
class ScoreReport:
    """How many people there are, and how many scores changed."""

    total: int
    changed: int


def run(store: Store) -> ScoreReport:
    """Bring all scores up to date, in one transaction."""
    with store.write() as tx:
        return ScoreReport(changed=ExpertsHooks().refresh_derived(tx), total=table.people(tx).total(tx))
