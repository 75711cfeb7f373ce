"""Write the rows of the table of a task's answers, and compare it with the record, `findable_answers`.

The record's answers that count are those that were applied, the last of each item and extractor. Both sides are read in
one order, so that any number of rows is compared at flat memory.
"""

import contextlib
import heapq
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby, islice
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Text,
    bindparam,
    cast,
    collate,
    delete,
    func,
    insert,
    literal_column,
    select,
    type_coerce,
)

from pipeline.store.answers import applied_answers
from pipeline.store.column_types import AsTheColumn
from pipeline.store.database import PAGE, pages, run_many, streamed
from pipeline.tables.answer_fields import same_cell, stored_cells, stored_time
from pipeline.tables.answers_spec import EXTRACTOR, AnswersSpec, answers_table
from pipeline.tables.answers_view import item_id_sql
from pipeline.tables.reflect import is_sqlite

EXAMPLES = 5  # rows that a comparison names of each kind
_MOMENT = 'YYYY-MM-DD HH24:MI:SS.US"+00:00"'  # `stored_time` in PostgreSQL's words

Identity = tuple[str, str]  # the item's id and the extractor


class ProjectedRow(NamedTuple):
    """One answer on its way into the table: `answer_json` is the answer by the names of its fields, `at` is aware."""

    item_id: str
    extractor: str
    answer_json: str
    at: datetime


@dataclass
class ComparedRows:
    """How many rows differ from the record, are missing beside it, or stand for nothing in it; the first of each.

    Examples are (item id, extractor).
    """

    differing: int = 0
    missing: int = 0
    superfluous: int = 0
    examples: dict[str, list[Identity]] = field(default_factory=dict)

    def tell(self, way: str, identity: Identity) -> None:
        """Count a row that is not as the record has it, and keep which while there is room."""
        setattr(self, way, getattr(self, way) + 1)
        examples = self.examples.setdefault(way, [])
        if len(examples) < EXAMPLES:
            examples.append(identity)

    @property
    def total(self) -> int:
        """Return how many rows are not as the record has them."""
        return self.differing + self.missing + self.superfluous


def key_values(spec: AnswersSpec, item_id: str) -> list[Any]:
    """Return the values of the key's columns that an item's id as text stands for."""
    parts = [item_id] if len(spec.key) == 1 else json.loads(item_id)
    kinds = (kind for _, kind in spec.key)
    return [int(part) if kind == "integer" else part for kind, part in zip(kinds, parts, strict=True)]


def keys_among(spec: AnswersSpec, ids: Iterable[str]) -> dict[str, list[Any]]:
    """Return the values of the key's columns by id, without ids of no item, as of those that were forgotten."""
    found = {}
    for one in ids:
        with contextlib.suppress(ValueError):
            found[one] = key_values(spec, one)
    return found


def write_rows(tx: Connection, spec: AnswersSpec, rows: Iterable[ProjectedRow]) -> int:
    """Write answers, in the place of what the same extractor said of the same items; return how many there are.

    Of two about one item by one extractor the later one in `rows` stays.
    """
    table = answers_table(spec)
    newest = {(one.item_id, one.extractor): one for one in rows}
    places = {f"c{number}": column for number, column in enumerate(table.c)}
    # cells are as the driver takes them
    writing = insert(table).values({column: bindparam(name, type_=AsTheColumn()) for name, column in places.items()})
    for some in pages(list(newest.values())):
        _delete(tx, spec, [(one.item_id, one.extractor) for one in some])
        run_many(tx, writing, [dict(zip(places, _cells(spec, one), strict=True)) for one in some])
    return len(newest)


def remove_rows(
    tx: Connection, spec: AnswersSpec, *, item_ids: Sequence[str] | None = None, extractor: str | None = None
) -> int:
    """Delete the rows of some items, of an extractor, of both, or all; return how many there were."""
    table = answers_table(spec)
    if item_ids is not None:
        found = ((one, extractor) for one in item_ids)
        return sum(_delete(tx, spec, some) for some in pages(list(found)))
    removal = delete(table)
    return tx.execute(removal if extractor is None else removal.where(table.c[EXTRACTOR] == extractor)).rowcount


def compare_rows(tx: Connection, spec: AnswersSpec, task: str) -> ComparedRows:
    """Compare every row of the table with the record of a task's answers, at flat memory."""
    found = ComparedRows()
    kinds = [dict(spec.fields).get(column.name, "") for column in answers_table(spec).c]
    sides = heapq.merge(_recorded(tx, task), _stored(tx, spec), key=itemgetter(0))
    for identity, group in groupby(sides, key=itemgetter(0)):
        wanted, there = None, None
        for _, row in group:
            wanted, there = (row, there) if isinstance(row, ProjectedRow) else (wanted, row)
        if wanted is None:
            found.tell("superfluous", identity)
        elif there is None:
            found.tell("missing", identity)
        elif not all(map(same_cell, kinds, there, _cells(spec, wanted))):
            found.tell("differing", identity)
    return found


def rebuild_rows(tx: Connection, spec: AnswersSpec, task: str) -> int:
    """Fill the table anew where it is not what the record of a task's answers says; return how many rows were not."""
    wrong = compare_rows(tx, spec, task).total
    if wrong:
        remove_rows(tx, spec)
        rows = (ProjectedRow(*row) for row in applied_answers(tx, task))
        while some := list(islice(rows, PAGE)):
            write_rows(tx, spec, some)
    return wrong


def _recorded(tx: Connection, task: str) -> Iterator[tuple[Identity, Any]]:
    for row in applied_answers(tx, task):
        yield (row[0], row[1]), ProjectedRow(*row)


def _stored(tx: Connection, spec: AnswersSpec) -> Iterator[tuple[Identity, Any]]:
    table = answers_table(spec).alias("a")
    item_id: ColumnElement[str] = literal_column(item_id_sql(spec, sqlite=is_sqlite(tx)), Text)
    extractor: ColumnElement[str] = type_coerce(table.c[EXTRACTOR], AsTheColumn())
    order = [item_id if is_sqlite(tx) else collate(item_id, "C"), extractor]
    cells = (as_written(tx, column).label(f"c{number}") for number, column in enumerate(table.c))
    columns: list[ColumnElement[Any]] = [item_id.label("findable_item"), extractor.label("findable_by"), *cells]
    query: Select[Any] = select(*columns).select_from(table).order_by(*order)
    for row in streamed(tx, query, page=PAGE):
        item, by, *written = tuple(row)
        yield (item, by), written


def as_written(tx: Connection, column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return a column as what was written into it, whatever is in it now."""
    declared = str(column.type.compile(tx.dialect))
    if is_sqlite(tx) or declared in {"BIGINT", "FLOAT", "BOOLEAN"}:
        return type_coerce(column, AsTheColumn())
    if declared.startswith("TIMESTAMP"):
        return func.to_char(func.timezone("UTC", column), _MOMENT)
    return cast(column, Text)


def _cells(spec: AnswersSpec, row: ProjectedRow) -> list[Any]:
    return [
        *key_values(spec, row.item_id),
        row.extractor,
        *stored_cells(spec.fields, row.answer_json),
        stored_time(row.at),
    ]


def _delete(tx: Connection, spec: AnswersSpec, identities: Sequence[tuple[str, str | None]]) -> int:
    """Delete the rows of some items, each by one extractor, or (None) all of each."""
    table = answers_table(spec)
    removed = 0
    for extractors in (True, False):
        some = [one for one in identities if (one[1] is not None) is extractors]
        names = [name for name, _ in spec.key] + [EXTRACTOR] * extractors
        removal = delete(table).where(*(table.c[name] == bindparam(f"c{place}") for place, name in enumerate(names)))
        keys = keys_among(spec, {item_id for item_id, _ in some})
        rows = ([*keys[item_id], *([extractor] * extractors)] for item_id, extractor in some if item_id in keys)
        removed += run_many(tx, removal, [{f"c{place}": cell for place, cell in enumerate(row)} for row in rows])
    return removed
