"""Check, export, move and forget rows of a declared task, for the commands that keep a workspace."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from pipeline.core.hooks import DerivedCheck, ExportRows, ExportWanted, Hooks, RowFault
from pipeline.core.progress import Progress
from pipeline.engine.declared import given
from pipeline.engine.declared.task import DeclaredTask
from pipeline.store.tables import answers as kept
from pipeline.tables import answers_rows, answers_table, items
from pipeline.tables.answers_export import AnswersExport, encoded
from pipeline.tables.answers_spec import answers_table as table_of
from pipeline.tables.item_values import value_text
from pipeline.tables.rows import holds

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table


LONG = 12  # letters of a text below which it may stand anywhere by chance


class DeclaredHooks(Hooks):
    """The tables of a declared task; see `pipeline.core.hooks` for what each member promises."""

    how_to_index = 'index="{column}" in the task\'s file says by what text its rows are found'
    brings_items = True
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
        """Return whether a text stands in any row of either table, or in an answer that is kept."""
        in_record = holds(tx, [kept.c.item_id, kept.c.answer], text, kept.c.task == self._task.name)
        return in_record or any(holds(tx, one.c, text) for one in self.tables(tx))

    def texts_of(self, tx: "Connection", item_id: str) -> list[str]:
        """Return the row's key, and those of its longer texts that stand in no other row; numbers tell nothing.

        What the record of the task says itself, such as a name of a column, tells nothing either.
        """
        mine, record = self._task.table, self._task.record
        row = tx.execute(select(mine).where(mine.c.findable_key == item_id)).mappings().first()
        cells = {name: value_text(row[name]).strip() for name in record.columns} if row is not None else {}
        texts = [
            text
            for name, text in cells.items()
            if len(text) >= LONG and not holds(tx, [mine.c[name]], text, mine.c.findable_key != item_id)
        ]
        known = str(record)
        return [one for one in dict.fromkeys([item_id, *texts]) if any(map(str.isalpha, one)) and one not in known]

    def declared_in(self) -> Path | None:
        """Return the file of the task, where it is declared in one."""
        place = Path(self._task.record.path)
        return None if given.name_in_python(place) else place

    def sources(self) -> Sequence[Path]:
        """Return the file of the items, where they come from one."""
        return () if self._task.record.is_query else (Path(self._task.record.items),)

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
