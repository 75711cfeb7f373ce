"""The views and tables of a user task."""

from dataclasses import dataclass

from sqlalchemy import Connection, select

from pipeline.core.command_hint import CommandHint
from pipeline.core.progress import Progress
from pipeline.core.text import plural
from pipeline.engine.task_parts import (
    OwnTables,
    RowFault,
)
from pipeline.engine.user_rows import UserRows
from pipeline.store.database import Store
from pipeline.store.rows import NO_HASH
from pipeline.tables.answer_views import are_views_made, make_views


@dataclass(eq=False, kw_only=True)
class UserTables(OwnTables):
    """The views of a user's task."""

    rows: UserRows

    def make_tables(self, tx: Connection, target: Connection) -> None:
        """Create the task's views in the target database of a move."""
        super().make_tables(tx, target)
        make_views(target, self.rows.record)

    def refresh_views(self, store: Store) -> None:
        """Make the task's views again if they are not current, or lack a confidence's column.

        Raises:
            ConfigurationError: Another program's object has the name of a view, or depends on a
                view whose columns change.
        """
        with store.read() as tx:
            if are_views_made(tx, self.rows.record):
                return
        with store.write() as tx:
            make_views(tx, self.rows.record)

    def find_row_faults(
        self,
        tx: Connection,
        display: Progress,  # noqa: ARG002
    ) -> list[RowFault]:
        """Return one notice with the number of rows whose images cannot be sent; [] if none.

        The notice names the first of these rows in the order of the source, with the reason, such
        as a missing file. Only reads, and shows no progress on `display`.
        """
        if not self.rows.image_columns:
            return []

        columns = self.rows.subquery.c
        conditions = (
            columns.findable_unusable.is_not(None),
            columns.findable_gone_at.is_(None),
            columns.findable_hash != NO_HASH,
        )
        query = (
            select(columns.findable_key, columns.findable_unusable)
            .where(*conditions)
            .order_by(columns.findable_row)
            .limit(1)
        )
        first_row = tx.execute(query).first()
        if first_row is None:
            return []

        count = self.rows.table(tx).count_rows(tx, *conditions)
        row_id, reason = first_row
        return [
            RowFault(
                f"{plural(count, 'row')} of {self.rows.record.name} cannot be asked about "
                "because of an image "
                f"({row_id}: {reason})",
                "these rows are not asked until their images are replaced",
                is_contradiction=False,
                hint=CommandHint("items", task=self.rows.record.name, state="unusable"),
            ),
        ]
