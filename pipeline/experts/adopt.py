"""Make the `experts` table, or adopt one that another program made, and bring its rows in.

The other program may go on using it: rows that come later, without a score, are brought in by the next command.
"""

from datetime import UTC, datetime

from sqlalchemy import Connection, literal, select

from pipeline.core.settings import Settings
from pipeline.experts.schema import SPEC, experts, forget_shape, has_score_index, item_id, make_score_index
from pipeline.experts.table import PAGE, TASK, by_ids, looks_foreign, refresh_scores, untagged
from pipeline.store import asks, workspace
from pipeline.store.database import pages, streamed
from pipeline.store.schema import is_workspace
from pipeline.store.sqlite import SWITCHED
from pipeline.tables import adopt as tables
from pipeline.tables.cells import list_of
from pipeline.tables.reflect import columns_of

FOREIGN_TAGS = "its tags hold text that is no JSON list; they were left as they are"

unscored = experts.c.findability_score.is_(None)


def adopt(tx: Connection, settings: Settings | None = None) -> list[str]:  # noqa: ARG001
    """Make the table, or add to an existing one what it lacks; return a line for each thing done to old rows.

    Afterwards every row has an id and a score, and rows whose tags are no JSON list are parked. Doing it again changes
    nothing.

    Raises:
        ConfigurationError: what is called `experts` cannot be adopted; nothing was changed.
    """
    done = tables.adopt_table(tx, SPEC, first=not tables.is_marked(tx, SPEC))
    forget_shape(tx)
    make_score_index(tx)
    if done.made:
        return []
    lines = list(done.lines)
    if parked := settle_foreign(tx, every_row=done.first):
        lines.append(f"parked {parked:,} whose tags are no JSON list; the tags stay as they are")
    if scored := refresh_scores(tx, None if done.first else unscored):
        lines.append(f"scored {scored:,}")
    if lines and tx.info.pop(SWITCHED, False):
        lines.append("switched the database to write-ahead logging (WAL), so that readers do not wait")
    return lines


def adoption_plan(tx: Connection, settings: Settings | None = None) -> list[str]:  # noqa: ARG001
    """Return what `adopt` would add to a table of another program; nothing in a workspace, which has adopted it."""
    if is_workspace(tx) or not (plan := tables.planned(tx, SPEC)):
        return []
    return [*plan, "a score to each of its rows"]


def makes(settings: Settings | None = None) -> dict[str, tuple[str, ...]]:  # noqa: ARG001
    """Return the table that `adopt` makes where there is none, with its columns."""
    return {experts.name: tuple(experts.c.keys())}


def is_adopted(tx: Connection, settings: Settings | None = None) -> bool:  # noqa: ARG001
    """Return whether `adopt` would find nothing to do; as quick for a million rows as for one."""
    if not tables.is_marked(tx, SPEC) or SPEC.missing(columns_of(tx, "experts")) or not has_score_index(tx):
        return False
    todo = (select(literal(1)).where(condition).limit(1) for condition in (unscored, experts.c.id.is_(None)))
    return all(tx.execute(query).first() is None for query in todo)


def settle_foreign(tx: Connection, *, every_row: bool = False) -> int:
    """Park the rows whose tags are text that is no JSON list, release those that were mended since; return how many.

    Of rows without a score, or with `every_row` of all, every tags cell is read; of others those that look foreign.
    """
    marked = list(tx.execute(asks.foreign_ids(TASK)).scalars())
    changed: list[str] = []
    for some in pages(marked):
        rows = by_ids(tx, some, ("id", "tags"))
        mended = [key for key in some if key not in rows or list_of(rows[key]["tags"]) is not None]
        asks.forget_foreign(tx, TASK, mended)
        changed += mended
    query = select(item_id, experts.c.tags).where(item_id.not_in(asks.foreign_ids(TASK)))
    foreign = [
        row[0]
        for suspicious in ([~untagged] if every_row else [looks_foreign, unscored & ~untagged])
        for row in streamed(tx, query.where(suspicious), page=PAGE)
        if list_of(row.tags) is None
    ]
    asks.park_unasked(tx, TASK, dict.fromkeys(foreign, FOREIGN_TAGS), at=datetime.now(UTC))
    if changed or foreign:
        workspace.touch_revision(tx, TASK)
    return len(foreign)
