"""Check, export, move and forget rows of a declared task, for the commands that keep a workspace."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from sqlalchemy import column, delete, select, table

from pipeline.core.errors import InputError
from pipeline.core.hooks import DerivedCheck, ExportRows, Hooks, RowFault
from pipeline.core.progress import Progress
from pipeline.engine.declared.task import DeclaredTask
from pipeline.store.database import PAGE, streamed
from pipeline.tables import answers_rows, answers_table, export, items
from pipeline.tables.answers_spec import answers_table as table_of
from pipeline.tables.answers_view import column_names
from pipeline.tables.cells import loaded
from pipeline.tables.item_values import value_text
from pipeline.tables.rows import holds

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

EXPORTED = {"integer": export.NUMBER, "real": export.NUMBER}


class DeclaredHooks(Hooks):
    """The tables of a declared task; see `pipeline.core.hooks` for what each member promises."""

    export_word = "answer"
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

    def export_rows(self, tx: "Connection", *, best: bool, extractor: str | None) -> ExportRows:
        """Return each row of the source with its preferred answer, or the answers of one extractor, in their order.

        Raises:
            InputError: BEST= is asked for, which a task of one's own has not.
        """
        if best:
            raise InputError(f"{self._task.name} has no BEST=; nothing was written", hint="EXTRACTOR= chooses answers")
        spec = self._task.answers_spec
        if extractor is None:
            source: Any = table(spec.view, *map(column, column_names(tx, spec.view)))
            query = select(source)
        else:
            source = table_of(spec)
            query = select(source).where(source.c.extractor == extractor)
        return ExportRows(dict(row) for row in streamed(tx, query, page=PAGE).mappings())

    def encode_rows(self, rows: Iterable[Any], *, format_: str) -> Iterator[bytes]:
        """Return the bytes of a file with these rows."""
        kinds = {**self._task.record.columns, **dict(self._task.record.fields)}
        plain = ({name: _plain(value, kinds.get(name, "")) for name, value in row.items()} for row in rows)
        if format_ in {"jsonl", "json"}:
            return export.json_lines(plain) if format_ == "jsonl" else export.json_list(plain)
        first = next(plain, {})
        names, every = list(first), chain([first] if first else [], plain)
        if format_ == "csv":
            return export.csv(([_cell(row[name]) for name in names] for row in every), names)
        columns = {name: EXPORTED.get(kinds.get(name, ""), export.TEXT) for name in names}
        told = ({name: _parquet(row[name], columns[name]) for name in names} for row in every)
        return export.parquet(told, columns)


def _shown(examples: Sequence[tuple[str, str]]) -> str:
    return ", ".join(item_id for item_id, _ in examples)


def _plain(value: Any, kind: str) -> Any:
    """Return a cell as JSON has it; what the column keeps as JSON text is the document."""
    if kind == "json" and isinstance(value, str):
        return loaded(value)
    return value.isoformat() if hasattr(value, "isoformat") else value if _is_plain(value) else str(value)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool | list | dict)


def _cell(value: Any) -> str:
    """Return a value as the text of a cell."""
    if value is None or isinstance(value, bool):
        return value_text(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else str(value)


def _parquet(value: Any, kind: str) -> Any:
    if value is None:
        return None
    return float(value) if kind == export.NUMBER else _cell(value)
