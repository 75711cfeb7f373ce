"""Check, export, move and forget rows of a declared task, for the commands that keep a workspace."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from pipeline.core.hooks import DerivedCheck, ExportRows, ExportWanted, Hooks, RowFault
from pipeline.core.progress import Progress
from pipeline.engine.declared.task import DeclaredTask
from pipeline.tables import answers_rows, answers_table, items
from pipeline.tables.answers_export import AnswersExport, encoded
from pipeline.tables.answers_spec import answers_table as table_of
from pipeline.tables.item_values import value_text
from pipeline.tables.rows import holds

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table


class DeclaredHooks(Hooks):
    """The tables of a declared task; see `pipeline.core.hooks` for what each member promises."""

    export_word = "answer"
    export_choices = frozenset({"extractor", "rows", "cost"})
    export_formats: Mapping[str, str] = {
        ".csv": "csv",
        ".jsonl": "jsonl",
        ".ndjson": "jsonl",
        ".json": "json",
        ".parquet": "parquet",
    }

    def __init__(self, task: DeclaredTask) -> None:
        """Keep the task whose tables they are."""
        self._task = task

    def tables(self, tx: "Connection") -> "Sequence[Table]":  # noqa: ARG002 - the record tells them
        """Return the tables of items and answers."""
        return (self._task.table, table_of(self._task.answers_spec))

    def make_tables(self, tx: "Connection", there: "Connection") -> None:  # noqa: ARG002 - the record tells them
        """Make both tables and the view."""
        items.make_items(there, self._task.items_spec, was=None)
        answers_table.make_answers(there, self._task.answers_spec, was=None)

    def check_derived(self, tx: "Connection", display: Progress) -> DerivedCheck:  # noqa: ARG002 - it takes seconds
        """Hold the table of answers against the record of answers, from which it can be made again."""
        spec = self._task.answers_spec
        found = answers_rows.compare_rows(tx, spec, self._task.name)
        counts = {way: getattr(found, way) for way in found.examples}
        if not counts:
            return DerivedCheck()
        told = (f"{count:,} {way} ({_shown(found.examples[way])})" for way, count in counts.items())
        why = "what other programs read there is not what was answered"
        return DerivedCheck([RowFault(f"{spec.table}: {'; '.join(told)}", why, mend=self._rebuild)])

    def _rebuild(self, tx: "Connection") -> str:
        done = answers_rows.rebuild_rows(tx, self._task.answers_spec, self._task.name)
        return f"{done} rows of {self._task.answers_spec.table}"

    def contains_text(self, tx: "Connection", text: str) -> bool:
        """Return whether a text stands in any row of either table."""
        return any(holds(tx, one.c, text) for one in self.tables(tx))

    def texts_of(self, tx: "Connection", item_id: str) -> list[str]:
        """Return the texts of the row that are asked about, and its key."""
        row = tx.execute(select(self._task.table).where(self._task.table.c.findable_key == item_id)).mappings().first()
        texts = [] if row is None else [value_text(row[name]) for name in self._task.record.words["asked"]]
        return [text for text in dict.fromkeys([item_id, *texts]) if text.strip()]

    def remove(self, tx: "Connection", item_id: str) -> None:
        """Delete a row and its answers."""
        answers_rows.remove_rows(tx, self._task.answers_spec, item_ids=[item_id])
        tx.execute(delete(self._task.table).where(self._task.table.c.findable_key == item_id))

    def export_rows(self, tx: "Connection", wanted: ExportWanted) -> ExportRows:
        """Return each answer beside its row, the answers of one extractor, or the members of a list, by the key."""
        task = self._task
        found = AnswersExport(
            task.answers_spec,
            task.record.columns,
            task.name,
            extractor=wanted.extractor,
            field=wanted.rows,
            cost=wanted.cost,
        )
        rows, kinds = found.rows(tx)
        return ExportRows(rows, partial(encoded, kinds=kinds))


def _shown(examples: Sequence[tuple[str, str]]) -> str:
    return ", ".join(item_id for item_id, _ in examples)
