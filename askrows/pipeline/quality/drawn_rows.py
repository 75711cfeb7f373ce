"""Rows to check: answered rows in a random order, so that their answers stand for all rows.

The order is that of pilots and follows from the ids alone. So it is the same for everybody, nothing
is stored, and a new row enters at its place.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import takewhile

from askrows.pipeline.quality.pilot import DEFAULT_PILOT_SEED, FETCHED_ROWS, draw_row_ids
from askrows.pipeline.store import answers
from askrows.pipeline.store.database import Connection, stream_rows
from askrows.pipeline.store.schema import answers as answers_table
from askrows.pipeline.tasks.task import Task

# Rows to check before a share is shown: below this, it can have nearly any value by chance.
MIN_CHECKED_ROWS = 20


@dataclass(frozen=True)
class RowDraw:
    """The first answered rows of the random order, and which of them are checked or corrected."""

    # Ids in the order of the draw: at least MIN_CHECKED_ROWS, and all rows before the first gap.
    row_ids: Sequence[str]
    checked_ids: Collection[str]

    @property
    def leading_checked_ids(self) -> list[str]:
        """Return the checked rows before the first row that is not checked."""
        return list(takewhile(self.checked_ids.__contains__, self.row_ids))

    @property
    def wanted_ids(self) -> Sequence[str]:
        """Return the rows that a person is asked to check."""
        return self.row_ids[:MIN_CHECKED_ROWS]

    @property
    def unchecked_ids(self) -> list[str]:
        """Return those of the wanted rows that are not checked."""
        return [row_id for row_id in self.wanted_ids if row_id not in self.checked_ids]

    @property
    def checked_count(self) -> int:
        """Return how many of the wanted rows are checked."""
        return len(self.wanted_ids) - len(self.unchecked_ids)

    @property
    def skipped_ids(self) -> list[str]:
        """Return the unchecked rows before the last wanted row that is checked."""
        following_ids = takewhile(self.unchecked_ids.__contains__, reversed(self.wanted_ids))
        return self.unchecked_ids[: len(self.unchecked_ids) - len(list(following_ids))]

    def find_next_unchecked(self, row_id: str | None) -> str | None:
        """Return the first unchecked wanted row, or the first after a wanted row; None if none."""
        ids = self.wanted_ids
        place = ids.index(row_id) + 1 if row_id in ids else 0
        return next((other_id for other_id in ids[place:] if other_id in self.unchecked_ids), None)

    def find_previous_wanted(self, row_id: str) -> str | None:
        """Return the wanted row before another, whether it is checked or not; None if none is."""
        earlier_ids = takewhile(row_id.__ne__, self.wanted_ids)
        return None if row_id not in self.wanted_ids else next(reversed([*earlier_ids]), None)


def draw_rows_answered_by_all_versions(
    tx: Connection,
    task: Task,
    versions: Sequence[str],
    *,
    checked_ids: Collection[str],
    excluded_ids: Collection[str],
) -> RowDraw:
    """Draw from the rows that all of some versions answered, without rows that left their source.

    At most MIN_CHECKED_ROWS rows are drawn, or one more than are checked if that is a greater
    number.

    Args:
        tx: A transaction, only read.
        task: The task.
        versions: Versions or prompt versions, at least one.
        checked_ids: The rows with right values that can be measured.
        excluded_ids: Rows with right values that cannot be measured, so they are not drawn.
    """
    table = task.rows
    answered_ids = answers.select_row_ids_answered_by_all(task.name, versions)
    if table.is_gone is not None:
        gone_ids = table.select_rows(table.is_gone)
        answered_ids = answered_ids.where(answers_table.c.row_id.not_in(gone_ids))
    ids = stream_rows(tx, answered_ids, page=FETCHED_ROWS).scalars()
    size = max(MIN_CHECKED_ROWS, len(checked_ids) + 1)
    drawn_ids = draw_row_ids(
        (row_id for row_id in ids if row_id not in excluded_ids),
        size=size,
        seed=DEFAULT_PILOT_SEED,
    )
    return RowDraw(drawn_ids, checked_ids)
