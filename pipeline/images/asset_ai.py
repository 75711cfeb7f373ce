"""Keep `asset_ai`: of each asset, provider and model one row, with the answer of the preferred version.

Rows of another program stay as they are, and no row is added beside one of them.
"""

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import ColumnElement, Text, and_, cast, delete, insert, select, update

from pipeline.images.schema import asset_ai_table, assets_id
from pipeline.store.database import pages
from pipeline.tables.answers_rows import key_values
from pipeline.tables.answers_spec import AnswersSpec, answers_table
from pipeline.tables.rows import refusals

if TYPE_CHECKING:
    from sqlalchemy import Connection


class _Said(NamedTuple):
    """What one version said of an asset."""

    label: str
    summary: str
    buckets: str
    at: datetime


@dataclass(frozen=True)
class AssetAi:
    """The rows that this workspace writes: of its provider, by the versions in the order of preference.

    Without `preferred` the newest answer counts, and behind those that are named too.
    """

    answers: AnswersSpec
    provider: str
    preferred: Sequence[str] = ()

    @contextmanager
    def following(self, tx: "Connection", ids: Collection[str]) -> Iterator[None]:
        """Bring the rows of some assets to what their answers are at the end of a block."""
        before = self._said(tx, ids)
        yield
        after = self._said(tx, ids)
        table = asset_ai_table()
        for key in sorted(before.keys() | after.keys()):
            self._follow(tx, table, key, before.get(key, []), after.get(key, []))

    def _said(self, tx: "Connection", ids: Collection[str]) -> dict[tuple[str, str], list[_Said]]:
        """Return what was said of some assets, by asset and model."""
        table = answers_table(self.answers)
        columns = [table.c[name] for name in ("id", "extractor", "summary", "buckets", "answered_at")]
        found: dict[tuple[str, str], list[_Said]] = {}
        for some in pages(sorted(ids)):
            keys = [key_values(self.answers, one)[0] for one in some]
            for key, extractor, summary, buckets, at in tx.execute(select(*columns).where(table.c.id.in_(keys))):
                label, _, model = extractor.partition("/")
                text = buckets if isinstance(buckets, str) else json.dumps(buckets, ensure_ascii=False)
                found.setdefault((str(key), model), []).append(_Said(label, summary, text, at))
        return found

    def _follow(
        self, tx: "Connection", table: Any, key: tuple[str, str], before: list[_Said], after: list[_Said]
    ) -> None:
        """Bring one row to the best of what is said now, if it is ours: if it says what was said before."""
        item_id, model = key
        native = assets_id(tx).stored(item_id)
        here = and_(table.c.asset_id == native, table.c.provider == self.provider, table.c.model == model)
        row = tx.execute(select(table.c.summary).where(here)).first()
        if row is not None and row.summary not in {one.summary for one in before}:
            return
        values: dict[str, Any] = {}
        if after:
            best = max(after, key=self._rank)
            values = {"summary": best.summary, "buckets": best.buckets, "created_at": best.at}
        with refusals(table.name):
            if values and row is None:
                values |= {"asset_id": native, "provider": self.provider, "model": model}
                tx.execute(insert(table).values(values))
            elif values:
                tx.execute(update(table).where(here).values(values))
            elif row is not None:
                tx.execute(delete(table).where(here))

    def _rank(self, said: _Said) -> tuple[int, datetime]:
        """Return how far a version is preferred."""
        names = list(self.preferred)
        return (-names.index(said.label) if said.label in names else -len(names), said.at)

    def lacking(self, tx: "Connection") -> list[str]:
        """Return the ids of the assets that have an answer here, and no row of this provider."""
        there = asset_ai_table()
        mine = select(cast(there.c.asset_id, Text)).where(there.c.provider == self.provider)
        key = cast(answers_table(self.answers).c.id, Text)
        return list(tx.execute(select(key).where(key.not_in(mine)).distinct()).scalars())

    def restore(self, tx: "Connection") -> int:
        """Write the rows that are lacking, and return how many assets got one."""
        said = self._said(tx, self.lacking(tx))
        for key, some in said.items():
            self._follow(tx, asset_ai_table(), key, some, some)
        return len({item_id for item_id, _ in said})

    def has_row(self, item_id: ColumnElement[Any], model: str) -> ColumnElement[bool]:
        """Return the condition that an asset, by its id as text, has a row of this provider and a model."""
        table = asset_ai_table()
        mine = (table.c.provider == self.provider) & (table.c.model == model)
        return cast(item_id, Text).in_(select(cast(table.c.asset_id, Text)).where(mine))
