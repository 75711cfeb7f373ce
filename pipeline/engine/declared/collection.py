"""The rows of a declared task as they are indexed: the text that its `index=` says, and what a hit shows of each."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, and_, func, select

from pipeline.core.answer_paths import LIKENESS
from pipeline.core.declaration import column_named, columns_in, fill_template
from pipeline.core.ranking import FieldGroup, Ranking
from pipeline.core.task import Entry
from pipeline.engine.declared.rows import DeclaredRows
from pipeline.store import answers
from pipeline.store.database import PAGE
from pipeline.tables.answer_fields import JSON
from pipeline.tables.item_values import value_text
from pipeline.tables.items import KEY, VALUES
from pipeline.tables.rows import rows_among

if TYPE_CHECKING:
    from sqlalchemy import Connection

SHOWN = 1_000  # characters of the text that a hit shows
LONGEST_TAG = 60  # characters of a text that stands in the place of a tag; longer ones are sentences
NO_WORDS = frozenset({"start", "end", LIKENESS})  # of a quotation: where it stands, and how like it is


class DeclaredCollection:
    """Every row that is in its source and answered, by any version; see `pipeline.core.task.Collection`.

    Its text is a template, which names columns of the row, and fields of the newest answer to it.
    """

    word = "row"
    question = "…"
    columns: Mapping[str, str] = MappingProxyType(
        {name: name for name in ("rank", "similarity", "key", "label", "text")}
    )

    ranking = Ranking((FieldGroup(("text", "label")), FieldGroup(("answer",), 0.5)))

    def __init__(self, rows: DeclaredRows, template: str) -> None:
        """Keep the rows of the task, and the template."""
        self.task, self.folder = rows.record.name, f"tasks/{rows.record.name}"
        self._rows, self._template = rows, template

    def count(self, tx: "Connection") -> int:
        """Return how many rows of the source are answered in this snapshot."""
        key = self._rows.items_table.c.findable_key
        return tx.execute(select(func.count(key)).where(self._is_in())).scalar_one()

    def entries(self, tx: "Connection", among: Sequence[str] | None = None) -> Iterator[Entry]:
        """Yield the answered rows, in the order in which they were first seen; those among some ids in any order.

        When a row was looked at or changed is no part of what is indexed.
        """
        for rows in self._pages(tx) if among is None else [self._found(tx, among)]:
            given = answers.last_applied(tx, self.task, [row[0] for row in rows])
            for row in rows:
                document = json.loads(given[row[0]][1])
                answer = document if isinstance(document, dict) else {"root": document}
                yield self._entry(self._rows.read({KEY: row[0], VALUES: row[1]}), answer)

    def name_of(self, metadata: Mapping[str, Any]) -> str:
        """Return the key."""
        return str(metadata["id"])

    def plain_text(self, metadata: Mapping[str, Any]) -> str:
        """Return the text."""
        return str(metadata["text"])

    def texts(self, metadata: Mapping[str, Any]) -> list[str]:
        """Return the text."""
        return [str(metadata["text"])]

    def tags(self, metadata: Mapping[str, Any]) -> list[str]:
        """Return the short texts in the fields of the answer."""
        return [text for text in _words(metadata["answer"]) if len(text) <= LONGEST_TAG]

    def shown(self, rank: int, similarity: float, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Return a row that was found: its key, the name that people know it by, its text, and its answer's fields."""
        told = {"label": metadata["label"], "text": metadata["text"][:SHOWN], "answer": metadata["answer"]}
        return {"rank": rank, "key": metadata["id"], "similarity": round(float(similarity), 4), **told}

    def _is_in(self) -> ColumnElement[bool]:
        mine = self._rows.items_table.c
        return and_(mine.findable_gone_at.is_(None), answers.is_answered(self.task, mine.findable_key))

    def _pages(self, tx: "Connection") -> Iterator[list[Sequence[Any]]]:
        mine, last = self._rows.items_table.c, 0
        query = select(mine.findable_row, mine[KEY], mine[VALUES]).where(self._is_in())
        query = query.order_by(mine.findable_row).limit(PAGE)
        while rows := tx.execute(query.where(mine.findable_row > last)).all():
            yield [row[1:] for row in rows]
            last = rows[-1][0]

    def _found(self, tx: "Connection", ids: Sequence[str]) -> list[Sequence[Any]]:
        mine = self._rows.items_table.c
        return [*rows_among(tx, mine[KEY], ids, [mine[KEY], mine[VALUES]], self._is_in())]

    def _entry(self, row: Mapping[str, Any], answer: Mapping[str, Any]) -> Entry:
        """Return a row with its answer as it is indexed; one that says nothing is found by its label."""
        kinds = dict(self._rows.record.fields)
        told = {name: answer.get(name) for name, kind in kinds.items() if kind != JSON}
        label = self._rows.label_of(row)
        text = fill_template(self._template, lambda name: self._value(name, row, answer)).strip() or label
        key = str(row["findable_key"])
        metadata = {"id": key, "label": label, "text": text, "answer": told}
        fields = {"text": text, "label": label, "answer": "\n".join(_words(told))}
        return Entry(key, text, metadata, [label, told], fields)

    @cached_property
    def _places(self) -> Mapping[str, str | None]:
        return {name: column_named(name, self._rows.record.columns) for name in columns_in(self._template)}

    def _value(self, name: str, row: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
        column = self._places[name]
        return value_text(row[column]) if column is not None else ", ".join(_words(answer.get(name)))


def _words(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, one in value.items():
            if name not in NO_WORDS or isinstance(one, str):
                yield from _words(one)
    elif isinstance(value, list):
        for one in value:
            yield from _words(one)
    elif value not in (None, ""):
        yield value_text(value)
