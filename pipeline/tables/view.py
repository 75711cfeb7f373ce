"""Show answers as columns: `<prefix>_answers` has each of a task, `<prefix>_answered` the newest of a row beside it.

Both are views over the record, `findable_answers`, and say what stands there when they are read: of each item and
extractor the answer that was applied last. A field that an answer leaves out is NULL. A column of the source whose name
another column has is called `source_…`. Columns of a view that is there keep their places.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, Select, Text, literal_column, select, text
from sqlalchemy.types import TypeEngine

from pipeline.core.declaration import MAX_COLUMN
from pipeline.core.errors import InputError
from pipeline.store import answers as record
from pipeline.store.schema import answers, rows
from pipeline.tables.adopt import unfit
from pipeline.tables.answer_fields import TYPES
from pipeline.tables.marked_view import mark_of, put_view
from pipeline.tables.reflect import columns_of, is_sqlite, kind_of

EXTRACTOR, ANSWERED_AT = "extractor", "answered_at"
SYSTEM = ("ctid", "xmin", "xmax", "cmin", "cmax", "tableoid")  # columns that every table of PostgreSQL has
OTHER_NAME = "table= in the task's file gives its tables another name"
MARK = "findable, the answers of a task"
SOURCE = "source_"
_IN_NO_PATH = re.compile(r'["\\\x00-\x1f]')  # of SQLite, which has no escapes there


@dataclass(frozen=True)
class AnswersSpec:
    """What the answers of a task are shown as.

    `prefix` begins the names of the views; `key` has (column, kind) with text or integer, `fields` has (field, kind) as
    of `fields_of`.
    """

    task: str
    prefix: str
    key: tuple[tuple[str, str], ...]
    fields: tuple[tuple[str, str], ...]

    @property
    def views(self) -> tuple[str, str]:
        """Return the names of the views of all answers, and of the newest of each row."""
        return f"{self.prefix}_answers", f"{self.prefix}_answered"


class ShownAnswers:
    """The answers of a task as a query may read them: `kinds` of the columns by name, `columns`, and where they stand.

    The columns of the rows that were asked about stand beside those of the answers; `sources` are their kinds.
    """

    def __init__(self, tx: Connection, spec: AnswersSpec, sources: Mapping[str, str]) -> None:
        """Give every column its name."""
        own = _own_columns(spec, sqlite=is_sqlite(tx))
        self.kinds = {name: kind for name, (_, kind) in own.items()}
        self.columns = {name: literal_column(sql, _type(kind)).label(name) for name, (sql, kind) in own.items()}
        asked = (rows.c.task == answers.c.task) & (rows.c.item_id == answers.c.item_id)
        self.from_: FromClause = answers.outerjoin(rows, asked) if sources else answers
        for name, original in _beside(own, [one for one in sources if one not in dict(spec.key)]).items():
            self.kinds[name] = sources[original]
            self.columns[name] = row_cell(tx, rows.c.row, original, sources[original]).label(name)

    def query(self, *conditions: ColumnElement[bool], after: Sequence[str] = ()) -> Select[Any]:
        """Return the SELECT of every column where all conditions hold; those named in `after` keep their places."""
        place = {name: number for number, name in enumerate(after)}
        order = sorted(self.columns, key=lambda name: place.get(name, len(place)))
        return select(*(self.columns[name] for name in order)).select_from(self.from_).where(*conditions)


def check_fields(spec: AnswersSpec) -> None:
    """Pass when every column has a name of its own on both databases.

    Raises:
        InputError: two names are one to a database; the message has both.
    """
    found = {name: f"the column `{name}` that every answer has" for name in (EXTRACTOR, ANSWERED_AT)}
    found |= {name: f"`{name}`, which every table of PostgreSQL has" for name in SYSTEM}
    kinds = [(name, "key column") for name, _ in spec.key] + [(name, "field") for name, _ in spec.fields]
    for name, word in kinds:
        if (other := found.setdefault(name.casefold(), f"the {word} `{name}`")) != f"the {word} `{name}`":
            raise InputError(
                f"the {word} `{name}` and {other} would be one column of `{spec.views[0]}`; nothing was changed",
                hint=f"give the {word} another name",
            )


def make_views(tx: Connection, spec: AnswersSpec, sources: Mapping[str, str]) -> list[str]:
    """Make both views, anew where their columns changed; return a line where they were not there.

    Raises:
        InputError: two columns have one name.
        ConfigurationError: something else has the name of one, or another program's view is made of it. In every case
            nothing was changed.
    """
    check_fields(spec)
    found = [kind_of(tx, name) for name in spec.views]
    for name, kind in zip(spec.views, found, strict=True):
        if kind is not None and mark_of(tx, name) != MARK:
            article = "an" if kind == "index" else "a"
            raise unfit(name, f"is {article} {kind} that findable did not make", hint=OTHER_NAME)
    for name, each in zip(spec.views, (True, False), strict=True):
        shown = ShownAnswers(tx, spec, {} if each else sources)
        query = shown.query(record.is_shown(spec.task, each=each), after=_column_names(tx, name))
        put_view(tx, name, query, mark=MARK)
    return [] if all(found) else [f"made the views `{spec.views[0]}` and `{spec.views[1]}`"]


def row_cell(tx: Connection, row: ColumnElement[Any], name: str, kind: str) -> ColumnElement[Any]:
    """Return a column of the source, of the kind that it has, by the column with a row's JSON."""
    cell, whole = _file_cell if is_sqlite(tx) else _server_cell, str(row.compile(dialect=tx.dialect))
    kind = "text" if kind == "json" else kind  # the text of its JSON
    return literal_column(cell(kind, name, whole), _type(kind))


def _column_names(tx: Connection, table: str) -> list[str]:
    """Return the names of the columns of a table or a view, in their order; none where there is none."""
    if not is_sqlite(tx):
        return list(columns_of(tx, table))
    return list(tx.execute(text("SELECT name FROM pragma_table_info(:table)"), {"table": table}).scalars())


def _own_columns(spec: AnswersSpec, *, sqlite: bool) -> dict[str, tuple[str, str]]:
    """Return (SQL, kind) of each column of the answers: those of the key, the fields, whose it is, and when."""
    found = {}
    for place, (name, kind) in enumerate(spec.key):
        found[name] = (_key_cell(kind, None if len(spec.key) == 1 else place, sqlite=sqlite), kind)
    cell, whole = _file_cell if sqlite else _server_cell, f"{answers.name}.{answers.c.answer.name}"
    found |= {name: (cell(kind, name, whole), kind) for name, kind in spec.fields}
    at = f"{answers.name}.at" + (" || '+00:00'" if sqlite else "")
    return found | {EXTRACTOR: (f"{answers.name}.extractor", "text"), ANSWERED_AT: (at, "time")}


def _key_cell(kind: str, place: int | None, *, sqlite: bool) -> str:
    """Return SQL for a column of the key, which is the item's id, or by its `place` a part of it."""
    cell = f"{answers.name}.item_id"
    if place is not None:
        whole = f"{cell}::jsonb ->> {place}"
        cell = f"json_extract({cell}, '$[{place}]')" if sqlite else f"(CASE WHEN {cell} LIKE '[%' THEN {whole} END)"
    if kind != "integer":
        return cell
    return f"CAST({cell} AS INTEGER)" if sqlite else f"CASE WHEN {cell} ~ '^-?[0-9]+$' THEN {cell}::bigint END"


def _file_cell(kind: str, name: str, whole: str) -> str:
    """Return SQL for a member of a JSON object in SQLite; NULL where it is no value of its kind."""
    at = _literal(f'$."{name}"')
    if name == "root":  # of a model that is no object
        whole = f"(CASE json_type({whole}) WHEN 'object' THEN {whole} ELSE json_object('root', json({whole})) END)"
    cell, is_ = f"json_extract({whole}, {at})", f"json_type({whole}, {at})"
    if _IN_NO_PATH.search(name):
        member = f"FROM json_each({whole}) AS e WHERE e.key = {_literal(name)}"
        cell, is_ = f"(SELECT e.value {member})", f"(SELECT e.type {member})"
    # decimal numbers are texts
    is_number = f"CASE {is_} WHEN 'text' THEN CASE WHEN json_valid({cell}) THEN json_type({cell}) END ELSE {is_} END"
    is_number += " IN ('integer', 'real')"
    is_time = f"{is_} = 'text' AND date(substr({cell}, 1, 10), '+0 days') = substr({cell}, 1, 10)"
    zone = f"substr({cell}, CASE substr({cell}, 20, 1) WHEN '.' THEN 27 ELSE 20 END)"
    part = f"CASE substr({cell}, 20, 1) WHEN '.' THEN substr({cell}, 20, 7) ELSE '.000000' END"
    return {
        "text": f"CASE WHEN {is_} IN ('true', 'false') THEN {is_} ELSE CAST({cell} AS TEXT) END",
        "integer": f"CASE {is_} WHEN 'integer' THEN {cell} END",
        "real": f"CASE WHEN ({is_number}) AND abs(CAST({cell} AS REAL)) < 9e999 THEN CAST({cell} AS REAL) END",
        "boolean": f"CASE {is_} WHEN 'true' THEN 1 WHEN 'false' THEN 0 END",
        "date": f"CASE WHEN {is_time} AND length({cell}) = 10 THEN {cell} END",
        "time": f"CASE WHEN {is_time} THEN "
        f"strftime('%Y-%m-%d %H:%M:%S', substr({cell}, 1, 19) || {zone}) || {part} || '+00:00' END",
        "json": f"CASE {is_} WHEN 'null' THEN NULL ELSE {whole} -> {at} END",
    }[kind]


def _server_cell(kind: str, name: str, whole: str) -> str:
    """Return SQL for a member of a JSON object in PostgreSQL; NULL where it is no value of its kind."""
    whole, at = f"{whole}::jsonb", _literal(name)
    if name == "root":
        whole = f"(CASE jsonb_typeof({whole}) WHEN 'object' THEN {whole} ELSE jsonb_build_object('root', {whole}) END)"
    cell, is_ = f"({whole} ->> {at})", f"jsonb_typeof({whole} -> {at})"
    is_number, size = f"{cell} ~ '^-?[0-9]*[.]?[0-9]+([eE][-+]?[0-9]{{1,3}})?$'", f"abs({cell}::numeric)"
    real = f"CASE WHEN {size} < 3e-324 THEN 0 WHEN {size} <= 1.7976931348623157e308 THEN {cell}::float8 END"
    day = f"((left({cell}, 8) || '01')::date + (substr({cell}, 9, 2)::int - 1))"  # a day that is none ends no query
    is_day = (
        f"CASE WHEN {cell} ~ '^(?!0000)[0-9]{{4}}-(0[1-9]|1[0-2])-[0-9]{{2}}' THEN to_char({day}, 'YYYY-MM-DD') END"
    )
    is_day += f" = left({cell}, 10)"
    is_time = f"{cell} ~ '^.{{10}}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]+)?(Z|[-+][01][0-9]:[0-5][0-9])?$'"
    has_zone = f"{cell} ~ '(Z|[-+][0-9]{{2}}:[0-9]{{2}})$'"
    time = f"CASE WHEN {has_zone} THEN {cell}::timestamptz ELSE {cell}::timestamp AT TIME ZONE 'UTC' END"
    return {
        "text": cell,
        "integer": f"CASE WHEN {is_} = 'number' AND {cell} ~ '^-?[0-9]+$' THEN {cell}::bigint END",
        "real": f"CASE WHEN {is_number} THEN {real} END",
        "boolean": f"CASE {is_} WHEN 'boolean' THEN {cell}::boolean END",
        "date": f"CASE WHEN {is_day} AND length({cell}) = 10 THEN {cell}::date END",
        "time": f"CASE WHEN {is_day} AND {is_time} THEN {time} END",
        "json": f"NULLIF({whole} -> {at}, 'null'::jsonb)",
    }[kind]


def _beside(own: Mapping[str, object], sources: Sequence[str]) -> dict[str, str]:
    """Return the columns of the items by the names that they have beside those of the answers."""
    folded = {name.casefold() for name in own}
    taken, found = folded | {name.casefold() for name in sources}, {}
    for name in sources:
        free = _free(name, taken) if name.casefold() in folded else name
        taken.add(free.casefold())
        folded.add(free.casefold())
        found[free] = name
    return found


def _free(name: str, taken: set[str]) -> str:
    number = 1
    while True:
        end = "" if number == 1 else f"_{number}"
        cut = f"{SOURCE}{name}".encode()[: MAX_COLUMN - len(end)].decode(errors="ignore") + end
        if cut.casefold() not in taken:
            return cut
        number += 1


def _type(kind: str) -> TypeEngine[Any]:
    return Text() if kind == "json" else TYPES[kind]


def _literal(words: str) -> str:
    escaped = words.replace("'", "''")
    return f"'{escaped}'"
