"""Show answers as columns: `<prefix>_answers` has each of a task, `<prefix>_answered` the one that counts beside a row.

Both are views over the record, `findable_answers`, and say what stands there when they are read: of each item and
extractor the answer that was applied last. A field whose values are all of one plain kind has a typed column, a date
its text; all others (lists, objects, quotations, unions) are JSON. What is no value of its kind, or left out, is NULL.
A column of the source whose name another column has is called `source_…`. Columns of a view that is there keep their
places. A view carries a mark, by which it is told from another program's.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, get_args

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Connection,
    Select,
    Text,
    exc,
    literal_column,
    select,
    text,
)
from sqlalchemy.types import TypeEngine

from pipeline.core.declaration import MAX_COLUMN
from pipeline.core.errors import ConfigurationError, InputError
from pipeline.core.quotes import FORMAT, OPTIONAL, leaves
from pipeline.core.text import UNSOUND
from pipeline.store import answers as record
from pipeline.store.schema import NUMBER, TaskRecord, answers, rows, time_of
from pipeline.tables.adopt import columns_of, is_sqlite, quoted, unfit
from pipeline.tables.cells import LARGEST, compact_json, number_of, text_hash

if TYPE_CHECKING:
    from pydantic import BaseModel

EXTRACTOR = "extractor"
ANSWERED_AT = "answered_at"
SYSTEM = (
    "ctid",
    "xmin",
    "xmax",
    "cmin",
    "cmax",
    "tableoid",
)  # columns that every table of PostgreSQL has
JSON = "json"
ANSWERS_OF = "the answers of a task"  # in the marks of views
_OURS = "findable"  # how the mark of a view of ours begins
MOST_PREFIXES = 4  # before the name of a column that others have, too
_IN_NO_PATH = re.compile(r'["\\\x00-\x1f]')  # of SQLite, which has no escapes there
_TYPES: Mapping[str, TypeEngine[Any]] = {  # of the columns of a source
    "text": Text(),
    "integer": BigInteger(),
    "real": NUMBER,
    "boolean": Boolean(),
}
_KINDS = {
    "string": "text",
    "integer": "integer",
    "number": "real",
    "boolean": "boolean",
}  # by the types of JSON schema
_FORMATS = {"date": "date", "date-time": "time", FORMAT: JSON, OPTIONAL: JSON}
_TEXTS = {"date": "text", "time": "text"}  # kinds that a view shows as texts


def views_of(task: TaskRecord) -> tuple[str, str]:
    """Return the names of the views of all answers, and of the one of each row that counts."""
    return f"{task.prefix}_answers", f"{task.prefix}_answered"


def check_columns(task: TaskRecord) -> None:
    """Raise InputError where two columns of a view would have one name on a database, or one has too long a name."""
    found = {
        name: f"the column `{name}` that every answer has" for name in (EXTRACTOR, ANSWERED_AT)
    }
    found |= {name: f"`{name}`, which every table of PostgreSQL has" for name in SYSTEM}
    words = [f"the key column `{name}`" for name, _ in task.key] + [
        f"the field `{name}`" for name, _ in task.fields
    ]
    for word, (name, _) in zip(words, (*task.key, *task.fields), strict=True):
        other = found.setdefault(name.casefold(), word)
        why = f"has a name of more than {MAX_COLUMN} bytes"
        if other != word or len(name.encode()) > MAX_COLUMN:
            why = (
                f"and {other} would be one column of `{views_of(task)[0]}`"
                if other != word
                else why
            )
            raise InputError(f"{word} {why}; nothing was changed", hint="give it another name")


def _shown(tx: Connection, task: TaskRecord, *, each: bool, after: Sequence[str]) -> Select[Any]:
    """Return the SELECT of all answers, or of those that count beside their rows; columns `after` keep their places."""
    cell = _file_cell if is_sqlite(tx) else _server_cell
    columns: dict[str, ColumnElement[Any]] = {}
    for place, (name, kind) in enumerate(task.key):
        columns[name] = literal_column(
            _key_cell(kind, None if len(task.key) == 1 else place, sqlite=is_sqlite(tx))
        )
    columns |= {
        name: literal_column(cell(kind, name, f"{answers.name}.answer"))
        for name, kind in task.fields
    }
    columns[EXTRACTOR] = answers.c.extractor
    columns[ANSWERED_AT] = literal_column(
        f"{answers.name}.at" + (" || '+00:00'" if is_sqlite(tx) else "")
    )
    preference = record.VersionPreference.of(
        tx, task.name, label=f"{task.name}@{task.version}", versions=task.preferred
    )
    condition = record.is_effective(preference, each=each)
    query = select().select_from(answers).where(condition)
    if not each:
        asked = (rows.c.task == answers.c.task) & (rows.c.item_id == answers.c.item_id)
        query = query.select_from(answers.outerjoin(rows, asked))
        sources = beside(
            columns, [one for one in task.columns if one not in dict(task.key)], "source_"
        )
        columns |= {
            name: row_cell(tx, rows.c.row, own, task.columns[own]) for own, name in sources.items()
        }
    place_of = {name: number for number, name in enumerate(after)}
    order = sorted(columns, key=lambda name: place_of.get(name, len(place_of)))
    return query.add_columns(*(columns[name].label(name) for name in order))


def is_our_view(tx: Connection, name: str) -> bool:
    """Return whether a view has our mark."""
    return (_mark_of(tx, name) or "").startswith(_OURS)


def check_views(tx: Connection, task: TaskRecord) -> None:
    """Raise ConfigurationError if something that is not ours has the name of a view of a task."""
    for name in views_of(task):
        if (mark := _mark_of(tx, name)) is not None and not mark.startswith(_OURS):
            hint = "table= in the task's file gives its tables another name"
            raise unfit(name, "is something that findable did not make", hint=hint)


def are_views_made(tx: Connection, task: TaskRecord) -> bool:
    """Return whether no view has to be made: each is current, or another object has its name."""
    return all(is_view_made(tx, name, query, of=ANSWERS_OF) for name, query in _queries(tx, task))


def make_views(tx: Connection, task: TaskRecord) -> list[str]:
    """Make both views, anew where their columns changed; return a line where they were not there.

    Nothing is changed, and ConfigurationError says so, where something else has the name of one, or another program's
    view is made of it.
    """
    check_columns(task)
    check_views(tx, task)
    views = views_of(task)
    there = [_mark_of(tx, name) for name in views]
    for name, query in _queries(tx, task):
        make_view(tx, name, query, of=ANSWERS_OF)
    return [] if all(there) else [f"made the views `{views[0]}` and `{views[1]}`"]


def _queries(tx: Connection, task: TaskRecord) -> Iterator[tuple[str, Select[Any]]]:
    """Yield the names and queries of both views; columns of a view that is there keep their places."""
    for name, each in zip(views_of(task), (True, False), strict=True):
        names = list(columns_of(tx, name))
        if is_sqlite(tx):  # whose names are in lower case there
            names = list(
                tx.execute(
                    text("SELECT name FROM pragma_table_info(:name)"), {"name": name}
                ).scalars()
            )
        yield name, _shown(tx, task, each=each, after=names)


def is_view_made(tx: Connection, name: str, query: Select[Any], *, of: str) -> bool:
    """Return whether a view is of a query that follows from what is set (`of`), or something else has its name."""
    there = _mark_of(tx, name)
    return there is not None and (
        not there.startswith(_OURS) or there == _mark(of, _sql_of(tx, query))
    )


def make_view(tx: Connection, name: str, query: Select[Any], *, of: str) -> bool:
    """Make the view of a query, its mark with the query's hash; return False where something else has its name.

    Other programs' views on it stay where its columns do; else it cannot be replaced, which is a ConfigurationError.
    """
    if (there := _mark_of(tx, name)) is not None and not there.startswith(_OURS):
        return False
    view = quoted(tx, name)
    sql = _sql_of(tx, query)
    mark = _mark(of, sql)
    if is_sqlite(tx):
        _run_sql(tx, f"DROP VIEW IF EXISTS {view}")
        _run_sql(tx, f"CREATE VIEW {view} AS /* {mark} */ {sql}")
        return True
    try:
        with tx.begin_nested():
            _run_sql(tx, f"CREATE OR REPLACE VIEW {view} AS {sql}")
    except exc.DBAPIError:  # a column of it is another one now
        _replace(tx, name, f"CREATE VIEW {view} AS {sql}")
    _run_sql(tx, f"COMMENT ON VIEW {view} IS '{mark}'")
    return True


def _mark_of(tx: Connection, name: str) -> str | None:
    """Return the mark of what has a view's name: None where nothing has, the empty text where it has none."""
    if is_sqlite(tx):
        query = text(
            "SELECT sql FROM sqlite_master WHERE type IN ('table', 'view') AND lower(name) = lower(:name)"
        )
        row = tx.execute(query, {"name": name}).first()
        return None if row is None else str(row[0]).partition("/* ")[2].partition(" */")[0]
    query = text(
        "SELECT obj_description(oid, 'pg_class') FROM pg_class WHERE oid = to_regclass(:name)"
    )
    row = tx.execute(query, {"name": quoted(tx, name)}).first()
    return None if row is None else row[0] or ""


def _replace(tx: Connection, name: str, statement: str) -> None:
    try:
        with tx.begin_nested():
            _run_sql(tx, f"DROP VIEW {quoted(tx, name)}")
            _run_sql(tx, statement)
    except exc.DBAPIError as error:
        if getattr(error.orig, "sqlstate", "") != "2BP01":  # other objects depend on it
            raise
        said = f"a view of another program is made of `{name}`, whose columns change; nothing was changed"
        raise ConfigurationError(
            said, hint="drop that view, run the same command again, and make it anew"
        ) from error


def _run_sql(tx: Connection, statement: str) -> None:
    """Run a statement without parameters as it stands; names in it may hold `%` and `:`."""
    tx.exec_driver_sql(statement, execution_options={"no_parameters": True})


def _mark(of: str, sql: str) -> str:
    return f"{_OURS}, of {of}: {text_hash(sql)}"


def _sql_of(tx: Connection, query: Select[Any]) -> str:
    sql = str(query.compile(dialect=tx.dialect, compile_kwargs={"literal_binds": True}))
    return (
        sql if is_sqlite(tx) else sql.replace("%%", "%")
    )  # as it is written for a driver that is given parameters


def row_cell(tx: Connection, row: ColumnElement[Any], name: str, kind: str) -> ColumnElement[Any]:
    """Return a column of the source, of the kind that it has, by the column with a row's JSON."""
    cell = _file_cell if is_sqlite(tx) else _server_cell
    whole = str(row.compile(dialect=tx.dialect))
    kind = "text" if kind == JSON else kind  # the text of its JSON
    return literal_column(cell(kind, name, whole), _TYPES[kind])


def _key_cell(kind: str, place: int | None, *, sqlite: bool) -> str:
    cell = f"{answers.name}.item_id"
    if place is not None:
        whole = f"{cell}::jsonb ->> {place}"
        cell = (
            f"json_extract({cell}, '$[{place}]')"
            if sqlite
            else f"(CASE WHEN {cell} LIKE '[%' THEN {whole} END)"
        )
    if kind != "integer":
        return cell
    return (
        f"CAST({cell} AS INTEGER)"
        if sqlite
        else f"CASE WHEN {cell} ~ '^-?[0-9]+$' THEN {cell}::bigint END"
    )


def _file_cell(kind: str, name: str, whole: str) -> str:
    """Return SQL for a member of a JSON object in SQLite; NULL where it is no value of its kind."""
    at = _literal(f'$."{name}"')
    cell = f"json_extract({whole}, {at})"
    is_ = f"json_type({whole}, {at})"
    if _IN_NO_PATH.search(name):
        member = f"FROM json_each({whole}) AS e WHERE e.key = {_literal(name)}"
        cell = f"(SELECT e.value {member})"
        is_ = f"(SELECT e.type {member})"
    # decimal numbers are texts
    is_number = f"CASE {is_} WHEN 'text' THEN CASE WHEN json_valid({cell}) THEN json_type({cell}) END ELSE {is_} END"
    is_number += " IN ('integer', 'real')"
    return {
        "text": f"CASE WHEN {is_} IN ('true', 'false') THEN {is_} ELSE CAST({cell} AS TEXT) END",
        "integer": f"CASE {is_} WHEN 'integer' THEN {cell} END",
        "real": f"CASE WHEN ({is_number}) AND abs(CAST({cell} AS REAL)) < 9e999 THEN CAST({cell} AS REAL) END",
        "boolean": f"CASE {is_} WHEN 'true' THEN 1 WHEN 'false' THEN 0 END",
        JSON: f"CASE {is_} WHEN 'null' THEN NULL ELSE {whole} -> {at} END",
    }[_TEXTS.get(kind, kind)]


def _server_cell(kind: str, name: str, whole: str) -> str:
    """Return SQL for a member of a JSON object in PostgreSQL; NULL where it is no value of its kind."""
    whole = f"{whole}::jsonb"
    at = _literal(name)
    cell = f"({whole} ->> {at})"
    is_ = f"jsonb_typeof({whole} -> {at})"
    is_number = f"{cell} ~ '^-?[0-9]*[.]?[0-9]+([eE][-+]?[0-9]{{1,3}})?$'"
    size = f"abs({cell}::numeric)"
    real = f"CASE WHEN {size} < 3e-324 THEN 0 WHEN {size} <= 1.7976931348623157e308 THEN {cell}::float8 END"
    return {
        "text": cell,
        "integer": f"CASE WHEN {is_} = 'number' AND {cell} ~ '^-?[0-9]+$' THEN {cell}::bigint END",
        "real": f"CASE WHEN {is_number} THEN {real} END",
        "boolean": f"CASE {is_} WHEN 'boolean' THEN {cell}::boolean END",
        JSON: f"NULLIF({whole} -> {at}, 'null'::jsonb)",
    }[_TEXTS.get(kind, kind)]


def beside(own: Iterable[str], names: Iterable[str], prefix: str) -> dict[str, str]:
    """Return under which names some columns stand beside others, which keep theirs; one without room is left out."""
    taken = {one.casefold() for one in own}
    found = dict[str, str]()
    for name in names:
        ways = (
            f"{prefix * times}{name}".encode()[:MAX_COLUMN].decode(errors="ignore")
            for times in range(MOST_PREFIXES)
        )
        if free := next((one for one in ways if one.casefold() not in taken), ""):
            taken.add(free.casefold())
            found[name] = free
    return found


def _literal(words: str) -> str:
    escaped = words.replace("'", "''")
    return f"'{escaped}'"


def fields_of(answer: "type[BaseModel]") -> tuple[tuple[str, str], ...]:
    """Return (field, kind) of each field of an answer's model, in its order."""
    document = answer.model_json_schema(mode="serialization", by_alias=False)
    models = document.get("$defs", {})
    nodes = (models[document["$ref"].rpartition("/")[2]] if "$ref" in document else document)[
        "properties"
    ]
    kinds = {name: _kind(nodes[name], models) for name in answer.model_fields}
    decimal = (
        name
        for name, one in answer.model_fields.items()
        if Decimal in {one.annotation, *get_args(one.annotation)}
    )
    return tuple((kinds | {name: "real" for name in decimal if kinds[name] == "text"}).items())


def _kind(node: Mapping[str, Any], models: Mapping[str, Any]) -> str:
    """Return the kind of the values of a JSON schema; of several kinds it is JSON, and None counts for nothing."""
    if "$ref" in node:
        return _kind(models[node["$ref"].rpartition("/")[2]], models)
    if "anyOf" in node:
        kinds = {_kind(one, models) for one in node["anyOf"] if one.get("type") != "null"}
        return kinds.pop() if len(kinds) == 1 else JSON
    kind = _KINDS.get(node.get("type", ""), JSON)
    return _FORMATS.get(node.get("format", ""), kind) if kind == "text" else kind


def stored_cell(kind: str, value: Any) -> Any:
    """Return a value of a field as the driver of either database takes it; None where it is none of its kind."""
    try:
        return None if value is None else _CELLS[kind](value)
    except (TypeError, ValueError, OverflowError):
        return None


def _integer(value: Any) -> int | None:
    is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return int(value) if is_whole and -LARGEST - 1 <= value <= LARGEST else None


_CELLS: Mapping[str, Callable[[Any], Any]] = {
    "text": lambda value: value if isinstance(value, str) else compact_json(value),
    "integer": _integer,
    "real": number_of,  # decimal ones come as text
    "boolean": lambda value: value if isinstance(value, bool) else None,
    "date": lambda value: date.fromisoformat(value).isoformat(),
    "time": lambda value: (at := time_of(value)) and at.isoformat(" ", "microseconds"),
    JSON: compact_json,
}


def why_unstorable(answer: "BaseModel") -> str:
    """Return why no database could keep an answer as it is; the empty text where both can."""
    try:
        for path, value in leaves(answer.model_dump(mode="json")):
            said = [*path, *(value.values() if isinstance(value, dict) else [value])]
            if why := next(filter(None, map(_why_not, said)), ""):
                sound = (one for one in path if not _why_not(one))
                place = "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in sound)
                return f"{why} in `{place.removeprefix('.')}`"
    except UnicodeError:
        return "a text that is half a character (a lone surrogate)"
    except (ValueError, RecursionError):
        return "it is no JSON that can be read"
    return ""


def _why_not(value: Any) -> str:
    if isinstance(value, str) and (bad := UNSOUND.search(value)):
        return (
            "a text with NUL"
            if bad[0] == "\0"
            else "a text with half a character (a lone surrogate)"
        )
    if isinstance(value, int) and not -LARGEST - 1 <= value <= LARGEST:
        return "a whole number of more than 64 bits"
    return (
        "a number that is none (NaN or infinite)"
        if isinstance(value, float) and not math.isfinite(value)
        else ""
    )
