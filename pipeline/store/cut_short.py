"""Count how often an item's answer was cut by the token limit; its next request gives more room."""

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, func, select

from pipeline.store.answers import CUT_SHORT
from pipeline.store.listed_rows import rows_of_listed
from pipeline.store.tables import attempts

_UNFORGIVEN = (
    select(attempts.c.item_id, func.count())
    .where(attempts.c.task == bindparam("task"), attempts.c.reason.in_(CUT_SHORT), ~attempts.c.forgiven)
    .group_by(attempts.c.item_id)
)


def count_cut_short(tx: Connection, task: str, ids: Sequence[str]) -> dict[str, int]:
    """Return how often the answer of each of these items was cut, unforgiven; those of which none was are not there."""
    return {row[0]: row[1] for row in rows_of_listed(tx, _UNFORGIVEN, attempts.c.item_id, ids, task=task)}
