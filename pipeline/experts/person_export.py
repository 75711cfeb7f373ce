"""Export people with their tags."""

from dataclasses import dataclass
from functools import partial
from itertools import chain

from sqlalchemy import Connection

from pipeline.engine.task_parts import (
    ExportOptions,
    ExportRows,
    TaskExport,
)
from pipeline.experts import table


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
            read_exported_refusals,
            read_extra_column_names,
        )

        extra_columns = read_extra_column_names(tx)
        encode = partial(encode_experts, extra_columns=extra_columns)
        grid = self.rows.grid(tx)
        total = None
        if options.row_filter is None:
            people = chain(read_exported_people(tx), read_exported_refusals(tx))
            total = grid.table.count_states(tx)["total"]
        elif grid.should_list_refused(options.row_filter):
            people = read_exported_refusals(tx)
        else:
            people = read_exported_people(tx, *grid.make_conditions(tx, options.row_filter))
        return ExportRows(
            people,
            encode,
            total,
            version_counts=table.count_people_by_version(tx),
        )
