"""Say what a list of a declared task's rows shows, and what it is looked through for."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from sqlalchemy import Connection

from pipeline.engine.declared.task import UNUSABLE, DeclaredTask
from pipeline.tables.grid import CHANGED, HASH, Grid, answers_of, tag_facet, version_facet
from pipeline.tables.items import UNUSABLE as REASON
from pipeline.tables.items import VALUES, values_in
from pipeline.tables.view import EXTRACTOR, row_cell

WHY = "why unusable"  # under which a reason is shown


def _value_of(name: str, row: Mapping[str, Any]) -> Any:
    return values_in(row[VALUES]).get(name)


def rows_grid(tx: Connection, task: DeclaredTask) -> Grid:
    """Return what lists rows, looked for in all their columns; their tags are the texts in lists of their answers."""
    record, items = task.record, task.table(tx)
    keys = [name for name, _ in record.key if name in record.columns]
    asked = list(dict.fromkeys([*keys, *task.images, *record.words.get("asked", ())]))
    columns: dict[str, Callable[[Mapping[str, Any]], Any]] = {name: partial(_value_of, name) for name in record.columns}
    columns |= {WHY: lambda row: row[REASON]} if task.images else {}
    values = items.table.c[VALUES]
    names = [name for name, _ in record.fields]
    fields = {f"answer_{name}" if name in columns else name: name for name in names}
    whose = f"answer_{EXTRACTOR}" if EXTRACTOR in columns else EXTRACTOR
    return Grid(
        table=items,
        cells=(VALUES, REASON, HASH, CHANGED),
        columns=columns,
        usual=asked,
        in_state={UNUSABLE: [WHY]} if task.images else {},
        searched=(items.item_id, *(row_cell(tx, values, name, kind) for name, kind in record.columns.items())),
        tags=tag_facet(tx, record.name, items.item_id),
        versions=version_facet(record.name, items.item_id),
        more=(*fields, whose),
        more_of=partial(answers_of, record.name, fields, whose=whose, prefer=task.writer.preferred, label=task.label),
    )
