"""Export people with their tags."""

from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection

from pipeline.engine.task_parts import (
    ExportOptions,
    ExportRows,
    TaskExport,
)
from pipeline.experts import table
from pipeline.tables.row_selection import iterate_selected


@dataclass(eq=False, kw_only=True)
class ExpertsExport(TaskExport):
    """The export of all people."""

    row_noun = "expert"

    def read_rows(self, tx: Connection, options: ExportOptions) -> ExportRows:
        """Return every person with the additional columns of imported files and the state.

        Refused rows of imported files follow; the result's `row_count` does not count them. The
        rows are read when iterated. If `options.row_filter` is set, only the people and refused
        rows that meet it are returned, and `row_count` is None. Tags are those of the table:
        `options.extractor` is ignored.
        """
        from pipeline.experts.show import (
            encode_experts,
            read_exported_people,
            read_extra_column_names,
        )

        extra_columns = read_extra_column_names(tx)
        encode = partial(encode_experts, extra_columns=extra_columns)
        total = None
        if options.row_filter is None:
            total = table.people_table(tx).count_states(tx)["total"]
        people = iterate_selected(
            tx,
            self.rows.grid(tx),
            read_exported_people(tx),
            options.row_filter,
            get_row_id=lambda person: person.row_id,
        )
        return ExportRows(
            people,
            encode,
            total,
            version_counts=table.count_people_by_version(tx),
        )
