"""Say what of a declared task's rows is listed, and what of them is indexed and shown by a search.

What is indexed is each row that is in its source and answered, by any version. Its text is a template, which names
columns of the row, and fields of the newest answer to it. When a row was looked at or changed is no part of it.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, and_, func, select

from pipeline.core.answer_paths import LIKENESS
from pipeline.core.declaration import column_named, columns_in, fill_template
from pipeline.core.ranking import Entry, FieldGroup, Ranking
from pipeline.engine.task import Indexed
from pipeline.store import answers
from pipeline.store.database import PAGE
from pipeline.tables.cells import value_text
from pipeline.tables.fill import KEY, VALUES, values_in
from pipeline.tables.fill import UNUSABLE as REASON
from pipeline.tables.lists import CHANGED, HASH, Grid, answers_of, rows_among, tag_facet, version_facet
from pipeline.tables.view import EXTRACTOR, JSON, row_cell

if TYPE_CHECKING:
    from pipeline.engine.declared.task import DeclaredTask

UNUSABLE = "unusable"  # the state of a row that has an image which cannot be asked about
SHOWN = 1_000  # characters of the text that a hit shows
LONGEST_TAG = 60  # characters of a text that stands in the place of a tag; longer ones are sentences
NO_WORDS = frozenset({"start", "end", LIKENESS})  # of a quotation: where it stands, and how like it is
RANKING = Ranking((FieldGroup(("text", "label")), FieldGroup(("answer",), 0.5)))


def indexed_by(task: "DeclaredTask", template: str) -> Indexed:
    """Return what of a task is indexed; the text of each row is made by a template."""
    return Indexed(
        task=task.name,
        folder=f"tasks/{task.name}",
        word="row",
        columns={name: name for name in ("rank", "similarity", "key", "label", "text")},
        ranking=RANKING,
        count=partial(_count, task),
        entries=partial(_entries, task, template),
        tags=lambda metadata: [text for text in _words(metadata["answer"]) if len(text) <= LONGEST_TAG],
        told=_told,
    )


def _told(metadata: Mapping[str, Any]) -> dict[str, Any]:
    shown = {"key": metadata["id"], "label": metadata["label"]}
    return {**shown, "text": metadata["text"][:SHOWN], "answer": metadata["answer"]}


def _count(task: "DeclaredTask", tx: Connection) -> int:
    return tx.execute(select(func.count(task.items_table.c[KEY])).where(_is_in(task))).scalar_one()


def _is_in(task: "DeclaredTask") -> ColumnElement[bool]:
    mine = task.items_table.c
    return and_(mine.findable_gone_at.is_(None), answers.is_answered(task.name, mine.findable_key))


def _entries(
    task: "DeclaredTask", template: str, tx: Connection, among: Sequence[str] | None = None
) -> Iterator[Entry]:
    places = {name: column_named(name, task.record.columns) for name in columns_in(template)}
    fields = [name for name, kind in task.record.fields if kind != JSON]
    for rows in _pages(tx, task) if among is None else [_found(tx, task, among)]:
        given = answers.last_applied(tx, task.name, [row[0] for row in rows])
        for key, values in rows:
            document = json.loads(given[key][1])
            answer = document if isinstance(document, dict) else {"root": document}
            row, told = task.read({KEY: key, VALUES: values}), {name: answer.get(name) for name in fields}
            label = task.label_of(row)
            by_place = {
                name: value_text(row[place]) if place is not None else ", ".join(_words(answer.get(name)))
                for name, place in places.items()
            }
            text = fill_template(template, by_place.__getitem__).strip() or label  # one that says nothing
            metadata = {"id": key, "label": label, "text": text, "answer": told}
            words = {"text": text, "label": label, "answer": "\n".join(_words(told))}
            yield Entry(key, text, metadata, [label, told], words)


def _pages(tx: Connection, task: "DeclaredTask") -> Iterator[list[Sequence[Any]]]:
    """Yield pages of rows in the order in which they were first seen."""
    mine, last = task.items_table.c, 0
    query = select(mine.findable_row, mine[KEY], mine[VALUES]).where(_is_in(task))
    query = query.order_by(mine.findable_row).limit(PAGE)
    while rows := tx.execute(query.where(mine.findable_row > last)).all():
        yield [row[1:] for row in rows]
        last = rows[-1][0]


def _found(tx: Connection, task: "DeclaredTask", ids: Sequence[str]) -> list[Sequence[Any]]:
    mine = task.items_table.c
    return [*rows_among(tx, mine[KEY], ids, [mine[KEY], mine[VALUES]], _is_in(task))]


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


WHY = "why unusable"  # under which a reason is shown


def _value_of(name: str, row: Mapping[str, Any]) -> Any:
    return values_in(row[VALUES]).get(name)


def rows_grid(tx: Connection, task: "DeclaredTask") -> Grid:
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
        more_of=partial(answers_of, record.name, fields, whose=whose, prefer=task.preferred, label=task.label),
    )
