"""Write answers into a table of another program: a field into a column where it is NULL, or a row of each.

A column's row is an item's where its key has the same bytes, whatever case or zeros the table's own comparison
overlooks. Of each item, provider and model there is one row, with the answer of the preferred version; rows of another
program stay as they are, and none is added beside one of them.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    MetaData,
    Table,
    Text,
    and_,
    bindparam,
    cast,
    collate,
    column,
    delete,
    insert,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy import table as table_of
from sqlalchemy.dialects.postgresql import JSONB

from pipeline.core.errors import InputError, RefusedRowError
from pipeline.store import answers as record
from pipeline.store.database import pages, run_many
from pipeline.store.schema import ColumnTyped, IsoTime, TaskRecord
from pipeline.tables.adopt import (
    ColumnNeed,
    IdColumnFacts,
    columns_of,
    fold_column_name,
    ids_in,
    is_sqlite,
    kind_of,
    unique_keys,
)
from pipeline.tables.answer_views import stored_cell, views_of
from pipeline.tables.lists import refusals

FORM = 'it is written "table.column=field"'
OF_ROWS = (
    "provider",
    "model",
    "created_at",
)  # the columns of a row beside the item's and those of the fields
_PART = (
    r'\s*(?:"((?:[^"]|"")+)"|([^".=]+))\s*'  # of a name: in quotation marks it may hold anything
)
_NAME = re.compile(rf"{_PART}(?:\.{_PART}){{1,2}}")


class TargetValue(NamedTuple):
    """One answer on its way: `answer_json` is the answer by the names of its fields, `at` is aware."""

    item_id: str
    extractor: str
    answer_json: str
    at: datetime


class TargetColumn(NamedTuple):
    """What `write_to=` names: a column of a table, on PostgreSQL of any schema, and the field that goes there."""

    schema: str | None
    table: str
    column: str
    # None: the table gets a row for each answer, and the column holds the item's key.
    field: str | None

    @property
    def shown(self) -> str:
        """Return the name of the table as a person knows it."""
        return ".".join(part for part in (self.schema, self.table) if part)


def parse_target(write_to: str) -> TargetColumn | None:
    """Return what a `write_to=` names; None if it names no column."""
    name, _, field = write_to.rpartition("=")
    for whole, own_field in ((name, field.strip()), (write_to, None)):
        if _NAME.fullmatch(whole):
            parts = [
                quoted.replace('""', '"') or plain.strip()
                for quoted, plain in re.findall(_PART, whole)
            ]
            schema = parts[0] if len(parts) > 2 else None  # noqa: PLR2004 - schema, table, column
            return TargetColumn(schema, parts[-2], parts[-1], own_field)
    return None


_Target = tuple[
    Column[Any], str, str, list[tuple[str, IdColumnFacts]]
]  # a column, the field, its kind, and the key's columns


def column_target(tx: Connection, task: TaskRecord) -> _Target:
    """Return what `write_to=` of a task names; InputError where that cannot take the field by the task's key."""
    write_to = str(task.words["write_to"])

    def wrong(why: str, hint: str = FORM) -> InputError:
        return InputError(f"write_to={write_to!r}{why}", hint=hint)

    target = parse_target(write_to)
    if target is None or target.field is None:
        raise wrong(" names no column")
    schema, plain_table, name, _ = target
    table = target.shown
    field = target.field
    kind = dict(task.fields).get(field)
    if kind is None:
        raise wrong(f": the answer has no field `{field}`")
    if plain_table.startswith("findable_") or plain_table in views_of(task):
        raise wrong(f": `{table}` is findable's own", "name a table of your own")
    if kind_of(tx, plain_table, schema) != "table":
        raise wrong(f": this database has no table `{table}`")
    found = columns_of(tx, plain_table, schema)
    own = [key for key, _ in task.key]
    if lacking := next(
        (one for one in (name, *own) if fold_column_name(tx, one) not in found), None
    ):
        raise wrong(f": `{table}` has no column `{lacking}`")
    to = found[fold_column_name(tx, name)]
    keys = {one: found[fold_column_name(tx, one)] for one in own}
    if must := ColumnNeed[kind.upper()].misfit(tx, to):
        raise wrong(f": `{table}.{name}` must hold {must}", "name another column")
    if strange := next((one for one in own if ColumnNeed.ID.misfit(tx, keys[one])), None):
        raise wrong(f": `{table}.{strange}` is no column for a key", "")
    if not any(
        key and key <= {fold_column_name(tx, one) for one in own}
        for key in unique_keys(tx, to.table)
    ):
        said = f": the key of the task ({', '.join(own)}) is no unique key of `{table}`"
        raise wrong(said, "make it one: CREATE UNIQUE INDEX …")
    return to, field, kind, [(one, ids_in(tx, keys[one])) for one in own]


def write_column(
    tx: Connection,
    task: TaskRecord,
    rows: Sequence[TargetValue],
    *,
    former_answers: Mapping[str, Sequence[str]] = MappingProxyType({}),
    over: bool = False,
) -> None:
    """Write answers into the column that a task names where it is NULL, or `over` what stands there.

    A cell that holds what one of the `former_answers` (JSON, by id) said is replaced, too.
    """
    (target, field, kind, own), wanted = column_target(tx, task), dict[tuple[str, ...], Any]()
    former_values = dict[tuple[str, ...], list[Any]]()
    for row in rows:
        key = (row.item_id,) if len(task.key) == 1 else tuple(map(str, json.loads(row.item_id)))
        value, *former = (
            stored_cell(kind, json.loads(one).get(field))
            for one in (row.answer_json, *former_answers.get(row.item_id, ()))
        )
        fits = all(ids.key(part) == part for (_, ids), part in zip(own, key, strict=True))
        if fits and (value is not None or over or former):
            wanted[key] = value
            former_values[key] = [one for one in former if one not in {None, value}]
    names = dict.fromkeys((*(name for name, _ in own), target.name))
    columns = (column(name, ColumnTyped()) for name in names)
    table = table_of(target.table.name, *columns, schema=target.table.schema)
    to = table.c[target.name]
    keys = [table.c[name] for name, _ in own]
    told = [collate(cast(one, Text), "BINARY" if is_sqlite(tx) else "C") for one in keys]
    here = [
        one == bindparam(f"k{place}") for place, one in enumerate([*keys, *told])
    ]  # and the same bytes
    writing = (
        update(table).where(*here, true() if over else to.is_(None)).values({to: bindparam("new")})
    )
    replacing = update(table).where(*here, _is_value(tx, to, target)).values({to: bindparam("new")})
    for some in pages(list(wanted)):
        with refusals(table.name):
            given = [
                {f"k{place}": part for place, part in enumerate(key * 2)} | {"new": wanted[key]}
                for key in some
            ]
            run_many(tx, writing, given)
            replaced = [
                one | {"former": value}
                for key, one in zip(some, given, strict=True)
                for value in former_values[key]
            ]
            run_many(tx, replacing, replaced)
        filled = [key for key in some if wanted[key] is not None]
        still_empty = select(*(cast(one, Text) for one in keys)).where(
            tuple_(*keys).in_(filled), to.is_(None)
        )
        if tx.execute(still_empty.limit(1)).first() is not None:
            which = f"{table.name}.{target.name} ({target.type.compile(tx.dialect)})"
            why = f"{which} stays NULL: a trigger or a rule of the database keeps it so"
            raise RefusedRowError(why, hint="give it room, or take the trigger or rule away")


def _is_value(tx: Connection, cell: ColumnElement[Any], target: Column[Any]) -> ColumnElement[bool]:
    """Return the condition that a cell holds the value `former`, as the column would have stored that."""
    former = bindparam("former", type_=ColumnTyped())
    if is_sqlite(tx):
        return cell == former
    if isinstance(target.type, JSON) and not isinstance(
        target.type, JSONB
    ):  # which PostgreSQL does not compare
        return cast(cell, Text) == cast(former, Text)
    return cell == cast(former, target.type)


_Said = tuple[
    datetime, Mapping[str, Any]
]  # when one version said something of an item, and the fields of its answer
_SaidOf = dict[tuple[str, str], dict[str, _Said]]  # by item and model, and by the version's label


@dataclass(frozen=True)
class RowTarget:
    """The rows that this workspace writes into a table: of its provider, by the versions in the order of preference.

    `key` is the column of the item there. Without `preferred` the newest answer counts, and behind those that are named
    too.
    """

    task: TaskRecord
    name: str
    key: str
    provider: str
    preferred: Sequence[str] = ()
    schema: str | None = None

    @cached_property
    def table(self) -> Table:
        """Return the table, its types as they are there."""
        told = [self.key, "provider", "model", *(name for name, _ in self.task.fields)]
        columns = [Column(one, ColumnTyped()) for one in told]
        return Table(
            self.name, MetaData(), *columns, Column("created_at", IsoTime()), schema=self.schema
        )

    def bring(
        self,
        tx: Connection,
        ids: Collection[str],
        *,
        more: Sequence[TargetValue] = (),
        without: str | None = None,
        over: bool = False,
    ) -> None:
        """Bring the rows of some items to the best of what their answers say, where they are ours.

        That is with `more`, which are about to be kept, and `without` those of an extractor ("": of any), which go.
        Ours is a row that says what one of the answers so far does; with `over` it is whatever it says.
        """
        applied = [
            TargetValue(*one) for one in record.applied_answers(tx, self.task.name, sorted(ids))
        ]
        left = [one for one in applied if without is None or (without and one.extractor != without)]
        before = self._said(applied)
        after = self._said([*left, *more])
        after = {
            key: {} for key in (*((one, record.PERSON) for one in ids if over), *before)
        } | after
        table = self.table
        names = [record.PERSON, *self.preferred]
        # a text tells whose it is: how JSON and numbers are spelled is the database's own
        told = [name for name, kind in self.task.fields if kind == "text"]
        for item_id, model in sorted(after):
            said = after[item_id, model]
            was = before.get((item_id, model), {}).values()
            own = {self.key: item_id, "provider": self.provider, "model": model}
            here = and_(*(table.c[name] == value for name, value in own.items()))
            row = tx.execute(
                select(*(table.c[name] for name in told or [self.key])).where(here)
            ).first()
            ours = {tuple(values[name] for name in told) for _, values in was}
            if row is not None and not over and tuple(row) not in ours:
                continue
            ranks = {one: -names.index(one) if one in names else -len(names) for one in said}
            best = max(said, key=lambda one: (ranks[one], said[one][0]), default="")
            values = {**said[best][1], "created_at": said[best][0]} if said else {}
            with refusals(table.name):
                if row is not None:
                    tx.execute(
                        update(table).where(here).values(values)
                        if values
                        else delete(table).where(here)
                    )
                elif values:
                    tx.execute(insert(table).values(values | own))

    def _said(self, some: Sequence[TargetValue]) -> _SaidOf:
        """Return what each model said of an item, and a person beside; by itself where no model said anything."""
        found: _SaidOf = {}
        for one in some:
            label, _, model = one.extractor.partition("/")
            values = json.loads(one.answer_json)
            cells = {name: stored_cell(kind, values.get(name)) for name, kind in self.task.fields}
            found.setdefault((one.item_id, model), {})[label] = one.at, cells
        asked = {item_id for item_id, model in found if model}
        alone = {
            (item_id, record.PERSON): some
            for (item_id, model), some in found.items()
            if item_id not in asked
        }
        return alone | {
            key: {**found.get((key[0], ""), {}), **some} for key, some in found.items() if key[1]
        }

    def has_row(self, item_id: ColumnElement[Any], model: str) -> ColumnElement[bool]:
        """Return the condition that an item, by its id as text, has a row of this provider and a model."""
        mine = (self.table.c.provider == self.provider) & (self.table.c.model == model)
        return cast(item_id, Text).in_(select(cast(self.table.c[self.key], Text)).where(mine))


def rows_written_to(write_to: str | None) -> TargetColumn | None:
    """Return the table that gets a row of each answer, with its column of the item; None where there is none."""
    target = parse_target(write_to or "")
    return None if target is None or target.field is not None else target


def check_target(tx: Connection, target: RowTarget) -> None:
    """Raise InputError where a table cannot hold the rows."""
    said = f'write_to="{target.name}.{target.key}"'
    if kind_of(tx, target.name, target.schema) != "table" or len(target.task.key) != 1:
        why = (
            f"this database has no table `{target.name}`"
            if len(target.task.key) == 1
            else "the key is of several"
        )
        raise InputError(
            f"{said}: {why}",
            hint='write_to="table.column", for a row of each answer by that column',
        )
    there = columns_of(tx, target.name, target.schema)
    if lacking := [
        one.name for one in target.table.c if fold_column_name(tx, one.name) not in there
    ]:
        hint = f"a row has the item's column, {', '.join(OF_ROWS)}, and one for each field of the answer"
        raise InputError(
            f"{said}: `{target.name}` lacks the columns {', '.join(lacking)}", hint=hint
        )
