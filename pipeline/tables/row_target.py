"""Keep a table of another program: of each item, provider and model one row, with the answer of the preferred version.

Rows of another program stay as they are, and no row is added beside one of them.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Column, ColumnElement, MetaData, Table, Text, and_, cast, delete, insert, select, update

from pipeline.core.errors import InputError
from pipeline.store import answers as record
from pipeline.store.column_types import AsTheColumn, IsoTime
from pipeline.tables.answer_fields import fields_in, stored_cell
from pipeline.tables.reflect import columns_of, folded, kind_of
from pipeline.tables.rows import refusals
from pipeline.tables.view import AnswersSpec
from pipeline.tables.write_to import GivenAnswer

if TYPE_CHECKING:
    from sqlalchemy import Connection

OF_ROWS = ("provider", "model", "created_at")  # the columns beside the item's and those of the answer's fields
_PARTS = re.compile(r"\s*([^=]+)\.([^.=]+?)\s*")


class _Said(NamedTuple):
    """What one version said of an item, by the fields of its answer."""

    values: Mapping[str, Any]
    at: datetime


_SaidOf = dict[tuple[str, str], dict[str, _Said]]  # by item and model, and by the version's label


@dataclass(frozen=True)
class RowTarget:
    """The rows that this workspace writes into a table: of its provider, by the versions in the order of preference.

    `key` is the column of the item there. Without `preferred` the newest answer counts, and behind those that are named
    too.
    """

    answers: AnswersSpec
    name: str
    key: str
    provider: str
    preferred: Sequence[str] = ()

    @cached_property
    def table(self) -> Table:
        """Return the table, its types as they are there."""
        told = [self.key, "provider", "model", *(name for name, _ in self.answers.fields)]
        columns = [Column(one, AsTheColumn()) for one in told]
        return Table(self.name, MetaData(), *columns, Column("created_at", IsoTime()))

    def write(self, tx: "Connection", rows: Sequence[GivenAnswer]) -> None:
        """Bring the rows of some items to what their answers are with these, which are about to be kept."""
        before = self._said(tx, [one.item_id for one in rows])
        after = {key: dict(said) for key, said in before.items()}
        for one in rows:
            label, _, model = one.extractor.partition("/")
            after.setdefault((one.item_id, model), {})[label] = self._values(one.answer_json, one.at)
        self._bring(tx, before, after)

    def remove(self, tx: "Connection", ids: Collection[str], *, extractor: str | None = None) -> None:
        """Bring the rows of some items to what their answers are without those of an extractor, or without any."""
        before = self._said(tx, ids)
        gone, _, by = (extractor or "").partition("/")
        left = {
            (item_id, model): {label: one for label, one in said.items() if extractor and (label, model) != (gone, by)}
            for (item_id, model), said in before.items()
        }
        self._bring(tx, before, left)

    def _said(self, tx: "Connection", ids: Collection[str]) -> _SaidOf:
        """Return the newest answer of each version to some items, by item and model, also of one that is leaving."""
        found: _SaidOf = {}
        for item_id, extractor, answer, at in record.applied_answers(tx, self.answers.task, sorted(ids)):
            label, _, model = extractor.partition("/")
            found.setdefault((item_id, model), {})[label] = self._values(answer, at)
        return found

    def _values(self, answer_json: str, at: datetime) -> _Said:
        values = fields_in(answer_json)
        return _Said({name: stored_cell(kind, values.get(name)) for name, kind in self.answers.fields}, at)

    def _bring(self, tx: "Connection", before: _SaidOf, after: _SaidOf) -> None:
        for key in sorted(after):
            self._follow(tx, key, before.get(key, {}), after[key])

    def _follow(
        self, tx: "Connection", key: tuple[str, str], before: Mapping[str, _Said], after: Mapping[str, _Said]
    ) -> None:
        """Bring one row to the best of what is said now, if it is ours: if it says what was said before."""
        item_id, model = key
        table = self.table
        here = and_(table.c[self.key] == item_id, table.c.provider == self.provider, table.c.model == model)
        # a text tells whose it is: how JSON and numbers are spelled is the database's own
        told = [name for name, kind in self.answers.fields if kind == "text"]
        row = tx.execute(select(*(table.c[name] for name in told or [self.key])).where(here)).first()
        if row is not None and tuple(row) not in {tuple(one.values[name] for name in told) for one in before.values()}:
            return
        values: dict[str, Any] = {}
        if after:
            best = after[max(after, key=lambda label: self._rank(label, after[label].at))]
            values = {**best.values, "created_at": best.at}
        with refusals(table.name):
            if values and row is None:
                values |= {self.key: item_id, "provider": self.provider, "model": model}
                tx.execute(insert(table).values(values))
            elif values:
                tx.execute(update(table).where(here).values(values))
            elif row is not None:
                tx.execute(delete(table).where(here))

    def _rank(self, label: str, at: datetime) -> tuple[int, datetime]:
        names = list(self.preferred)
        return (-names.index(label) if label in names else -len(names), at)

    def lacking(self, tx: "Connection") -> list[str]:
        """Return the ids of the items that have an answer here, and no row of this provider."""
        mine = select(cast(self.table.c[self.key], Text)).where(self.table.c.provider == self.provider)
        answered = record.answered_ids(self.answers.task)
        return list(tx.execute(answered.where(answered.selected_columns[0].not_in(mine))).scalars())

    def restore(self, tx: "Connection") -> int:
        """Write the rows that are lacking, and return how many items got one."""
        said = self._said(tx, self.lacking(tx))
        self._bring(tx, said, said)
        return len({item_id for item_id, _ in said})

    def has_row(self, item_id: ColumnElement[Any], model: str) -> ColumnElement[bool]:
        """Return the condition that an item, by its id as text, has a row of this provider and a model."""
        mine = (self.table.c.provider == self.provider) & (self.table.c.model == model)
        return cast(item_id, Text).in_(select(cast(self.table.c[self.key], Text)).where(mine))


def rows_written_to(write_to: str | None) -> tuple[str, str] | None:
    """Return the table that gets a row of each answer, and its column of the item; None where there is none."""
    parts = _PARTS.fullmatch(write_to or "")
    return None if parts is None else (parts[1], parts[2])


def check_target(tx: "Connection", target: RowTarget) -> None:
    """Pass where a table can hold the rows.

    Raises:
        InputError: there is no such table, it lacks a column, or the key of the task has several columns.
    """
    said = f'write_to="{target.name}.{target.key}"'
    if kind_of(tx, target.name) != "table" or len(target.answers.key) != 1:
        why = f"this database has no table `{target.name}`" if len(target.answers.key) == 1 else "the key is of several"
        raise InputError(f"{said}: {why}", hint='write_to="table.column", for a row of each answer by that column')
    there = columns_of(tx, target.name)
    if lacking := [one.name for one in target.table.c if folded(tx, one.name) not in there]:
        raise InputError(
            f"{said}: `{target.name}` lacks the columns {', '.join(lacking)}",
            hint=f"a row has the item's column, {', '.join(OF_ROWS)}, and one for each field of the answer",
        )
