"""Export of the rows and answers of a user's task."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection

from pipeline.core.row_listing import NO_FILTER
from pipeline.engine.task_parts import ExportOptions, ExportRows, TaskExport
from pipeline.engine.user_rows import UserRows
from pipeline.store.answers import PERSON, count_by_version
from pipeline.tables.export import encode_rows


@dataclass(eq=False, kw_only=True)
class UserExport(TaskExport):
    """Rows of a user's task with their answers."""

    row_noun = "row"
    options = frozenset({"extractor", "cost", "gone"})

    rows: UserRows

    def read_rows(self, tx: Connection, options: ExportOptions) -> ExportRows:
        """Return the rows to export in the source's order, each with its state and its answer.

        The answer is the preferred answer of the row or, with `options.extractor`, its answer of
        this version or prompt version. Rows without it are included, with None.

        Rows that are no longer in their source are left out, unless `options.gone` is set or the
        row filter asks for their state or names ids.

        The columns are those of the grid, in its order: the source's columns, the key if the source
        has none, the answer's fields, its version and its time, with `options.cost` its tokens and
        cost, the confidences of its fields, and the state with its reason. A refused row has its
        cells as read.

        Returns:
            The rows, which are read when iterated. The counts by version are complete after that.

        Raises:
            InputError: `options.extractor` has no answers.
        """
        grid = self.rows.grid(tx)
        judgements = grid.judgements
        left_out_names = judgements.columns.keys() - judgements.confidence_names.values()
        if not options.cost:
            left_out_names |= set(grid.cost_names)
        names = [name for name in grid.columns if name not in left_out_names]

        version_counts = Counter[str]()
        left_out_corrections = 0
        if options.extractor is not None:
            task_name = self.rows.record.name
            counts = {count.version: count.items for count in count_by_version(tx, task_name)}
            self.check_version(options.extractor, counts)
            if options.extractor != PERSON:
                left_out_corrections = counts.get(PERSON, 0)

        def iterate_rows() -> Iterator[dict[str, Any]]:
            """Yield each row with its cells, and count its answer."""
            for row in grid.read_rows(
                tx,
                options.row_filter or NO_FILTER,
                version=options.extractor,
                has_gone_rows=options.gone,
            ):
                if row.answer is not None:
                    version_counts[row.answer.version] += 1
                yield grid.list_values(row, names)

        kinds = {name: grid.columns[name].kind for name in names}
        return ExportRows(
            iterate_rows(),
            partial(encode_rows, kinds=kinds),
            version=options.extractor,
            version_counts=version_counts,
            left_out_corrections=left_out_corrections,
        )
