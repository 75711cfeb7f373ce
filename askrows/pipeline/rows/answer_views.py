"""Define, make and check the SQL views that show answers as columns.

- `<prefix>_answers` shows, for each row and version, the answer that was applied last.
- `<prefix>_answered` shows each row with an answer: its source columns and its preferred answer.

Both are views over `askrows_answers`, so they always show the stored answers. Rules for columns:

- A field has a typed column if all its values are of the same plain kind. A date or time is text.
  All other fields (lists, objects, quotations, unions) are JSON. A quotation is a text of the row
  that is stored with its place in it. `AnswerField.column_kind` has the kind.
- A missing value is NULL. So is a value of another kind in a column of numbers or truth values.
- Columns of answers have the names that lists and exports give them, see `view_row`.
- PostgreSQL has no names of more than MAX_COLUMN_BYTES, so longer names are cut there, and end in
  a hash.
- If a view is made again, its existing columns keep their positions.

Each view of askrows contains a stamp: a comment with askrows' name and a hash of the definition
from which the view was made. It distinguishes the view from views of other programs, and shows
whether it is current.
"""

import json
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    case,
    exc,
    literal_column,
    select,
    text,
)

from askrows.pipeline.core.declaration import MAX_COLUMN_BYTES
from askrows.pipeline.core.errors import ConfigurationError
from askrows.pipeline.rows.cells import hash_text
from askrows.pipeline.rows.reflection import (
    TYPES_BY_KIND,
    quote_name,
    quote_text,
    read_columns,
)
from askrows.pipeline.rows.refusals import make_adoption_error
from askrows.pipeline.rows.row_state import RowState
from askrows.pipeline.rows.stored_rows import (
    KEY_COLUMN,
    PLACE_COLUMN,
    VALUES_COLUMN,
    make_rows_subquery,
    make_task_rows_with_states,
)
from askrows.pipeline.rows.task_rows import STATE_COLUMN
from askrows.pipeline.rows.view_row import (
    ANSWER_PREFIX,
    choose_answer_column_names,
    choose_confidence_column_names,
    choose_free_column_names,
    list_place_column_name,
)
from askrows.pipeline.store.answers import VersionPreference, is_preferred
from askrows.pipeline.store.confidences import (
    has_confidences,
    make_probability_expression,
)
from askrows.pipeline.store.database import describe_error, is_sqlite
from askrows.pipeline.store.schema import answers
from askrows.pipeline.store.task_record import TaskRecord

# Columns of both views.
VERSION_COLUMN = "answer_version"
ANSWERED_AT = "answered_at"
# Column of exports alone.
CORRECTED_BY = "corrected_by"
# Columns by which an export of a task is recognized, and those of an export of people. Every export
# has them under these names: a column of the source with such a name stays beside them.
EXPORT_COLUMNS: Sequence[Collection[str]] = (
    {VERSION_COLUMN, ANSWERED_AT, STATE_COLUMN},
    {"findability_score", STATE_COLUMN},
)
JSON = "json"

# The number of the code that makes the views from a definition. Every change of their SQL adds 1.
MAKER_NUMBER = 12
# Origin of these views, in their stamps.
_STAMP_PREFIX = "askrows"
# Hexadecimal digits of the hash at the end of a cut name.
_NAME_HASH_DIGITS = 6
# SQLite's JSON paths have no escapes for these characters.
_NOT_IN_SQLITE_PATHS = re.compile(r'["\\\x00-\x1f]')

# Kinds that a view shows as another kind.
_VIEW_KINDS = {"date": "text", "time": "text"}


def has_export_columns(
    names: Iterable[str], export_columns: Sequence[Collection[str]] = EXPORT_COLUMNS
) -> bool:
    """Return whether a file with these columns is an export; any of the collections is enough."""
    folded_names = {name.strip().casefold() for name in names}
    return any(folded_names.issuperset(columns) for columns in export_columns)


def make_view_names(prefix: str) -> tuple[str, str]:
    """Return the names of a task's view of answers and of its view of answered rows."""
    return f"{prefix}_answers", f"{prefix}_answered"


def _make_view_query(
    tx: Connection,
    task: TaskRecord,
    preference: VersionPreference,
    *,
    per_version: bool,
    leading_names: Sequence[str],
) -> Select[Any]:
    """Return the SELECT of one of a task's two views; rows without an answer are in neither.

    - The view of answers has each row's newest answer of each version, and its newest correction.
      The columns are the key, the fields, the version and the time.
    - The view of answered rows has each row's preferred answer in the same columns, then the task's
      source columns except the key, and the row's place if the key is a hash. A source column whose
      name differs from another only in case is called `source_…`. The row's state is in the column
      `state`, or `row_state`.

    In both, a column with the confidence follows for each field if an answer has confidences. Rows
    that left their source stay, with the state `gone`. On PostgreSQL, names are shortened.

    Args:
        tx: The transaction in which the view will be made.
        task: The task with the answers.
        preference: The order of preference among its answers.
        per_version: Return the view of answers; False means the view of answered rows.
        leading_names: Columns of the existing view, folded; they come first, in this order.
    """
    columns = _make_answer_columns(tx, task)
    query = select().select_from(answers).where(is_preferred(preference, per_version=per_version))

    if not per_version:
        rows = make_rows_subquery(task.name)
        row_key = rows.c[KEY_COLUMN]
        query = query.select_from(answers.outerjoin(rows, row_key == answers.c.row_id))
        source_names = [name for name in task.shown_columns if name not in dict(task.key)]
        for source_name, name in choose_free_column_names(columns, source_names, "source_").items():
            kind = task.shown_columns[source_name]
            columns[name] = make_source_column_expression(
                tx,
                rows.c[VALUES_COLUMN],
                source_name,
                kind,
            )
        for name in list_place_column_name(task):
            columns[name] = rows.c[PLACE_COLUMN]
        task_rows = make_task_rows_with_states(
            task, rows, task.prompt_version, has_other_values=task.write_to is not None
        )
        state = task_rows.state_expression
        (state_name,) = choose_free_column_names(columns, (STATE_COLUMN,), "row_").values()
        columns[state_name] = case((row_key.is_(None), RowState.GONE.value), else_=state)

    if has_confidences(tx, task.name):
        column_names = choose_confidence_column_names(columns, [name for name, _ in task.fields])
        for field, name in column_names.items():
            columns[name] = make_probability_expression(tx, field)

    if not is_sqlite(tx):
        columns = {_shorten_column_name(name): column for name, column in columns.items()}
    positions = {name: position for position, name in enumerate(leading_names)}
    ordered_names = sorted(columns, key=lambda name: positions.get(name.casefold(), len(positions)))
    return query.add_columns(*(columns[name].label(name) for name in ordered_names))


def _shorten_column_name(name: str) -> str:
    """Return a name of at most MAX_COLUMN_BYTES; a longer name is cut and ends in its hash."""
    if len(name.encode()) <= MAX_COLUMN_BYTES:
        return name
    suffix = f"_{hash_text(name)[:_NAME_HASH_DIGITS]}"
    beginning = name.encode()[: MAX_COLUMN_BYTES - len(suffix)]
    return f"{beginning.decode(errors='ignore')}{suffix}"


def _make_answer_columns(tx: Connection, task: TaskRecord) -> dict[str, ColumnElement[Any]]:
    """Return the SQL expressions of an answer by column name, in the order of the columns.

    The columns are the key columns of the row (one or more), then a column for each field of the
    task, then the version and the time of the answer. The last two get ANSWER_PREFIX if a source
    column, key or field has their name. Confidences are not among them. On SQLite the time is text
    that ends with `+00:00`.
    """
    is_file = is_sqlite(tx)
    make_cell = _make_sqlite_member_sql if is_file else _make_postgresql_member_sql
    columns: dict[str, ColumnElement[Any]] = {}
    for index, (name, kind) in enumerate(task.key):
        part_index = None if len(task.key) == 1 else index
        columns[name] = literal_column(_make_key_column_sql(kind, part_index, sqlite=is_file))
    field_names = choose_answer_column_names(task)
    for field, kind in task.fields:
        cell = make_cell(kind, field, f"{answers.name}.answer")
        columns[field_names[field]] = literal_column(cell)

    names = choose_free_column_names(
        [*task.shown_columns, *columns], (VERSION_COLUMN, ANSWERED_AT), ANSWER_PREFIX
    )
    columns[names[VERSION_COLUMN]] = answers.c.version
    columns[names[ANSWERED_AT]] = answers.c.at
    return columns


def is_our_view(tx: Connection, name: str) -> bool:
    """Return whether a view contains a stamp of askrows."""
    return (_read_object_comment(tx, name) or "").startswith(_STAMP_PREFIX)


def check_view_names_are_free(tx: Connection, task: TaskRecord) -> None:
    """Raise ConfigurationError if another program's object has the name of a view of a task."""
    for name in make_view_names(task.prefix):
        stamp = _read_object_comment(tx, name)
        if stamp is not None and not stamp.startswith(_STAMP_PREFIX):
            raise make_adoption_error(
                name,
                "belongs to another program",
                hint="set table= in the task's file to another name",
            )


def drop_views(tx: Connection, task: TaskRecord) -> None:
    """Drop both views of a task; objects of other programs stay."""
    for name in make_view_names(task.prefix):
        if is_our_view(tx, name):
            _run_sql(tx, f"DROP VIEW {quote_name(name)}")


def are_views_current(tx: Connection, task: TaskRecord) -> bool:
    """Return whether both views of a task are as `create_or_replace_views` would make them now."""
    stamp = _compute_view_stamp(tx, task, _read_preference(tx, task))
    return all(_read_object_comment(tx, name) == stamp for name in make_view_names(task.prefix))


def _compute_view_stamp(tx: Connection, task: TaskRecord, preference: VersionPreference) -> str:
    """Return the stamp of the views of a task, with a hash of all from which they are made."""
    definition = json.dumps(
        (
            MAKER_NUMBER,
            preference.prompt_version,
            preference.versions,
            preference.start_ranks,
            task.key,
            task.fields,
            # The order of the columns is that of the view.
            list(task.shown_columns.items()),
            bool(task.image_columns),
            task.write_to is not None,
            has_confidences(tx, task.name),
            list(task.words),
        )
    )
    return f"{_STAMP_PREFIX}, of the answers of a task: {hash_text(definition)}"


def create_or_replace_views(tx: Connection, task: TaskRecord) -> None:
    """Make both views of a task, or replace them with their current definitions.

    They are the views of its answers and of its answered rows. Existing views are made
    again even if they are current. Runs in the caller's transaction.

    Raises:
        ConfigurationError: Another program's object has the name of a view, or depends on a view
            whose columns change. The caller must roll back.
    """
    check_view_names_are_free(tx, task)
    preference = _read_preference(tx, task)
    stamp = _compute_view_stamp(tx, task, preference)
    for name, per_version in zip(make_view_names(task.prefix), (True, False), strict=True):
        # Existing columns keep their positions.
        leading_names = [column.casefold() for column in read_columns(tx, name)]
        query = _make_view_query(
            tx,
            task,
            preference,
            per_version=per_version,
            leading_names=leading_names,
        )
        _create_or_replace_view_and_stamp(tx, name, query, stamp)


def _read_preference(tx: Connection, task: TaskRecord) -> VersionPreference:
    """Return the order of preference among the answers of a task, as the database is now."""
    return VersionPreference.read_for_task(
        tx,
        task.name,
        prompt_version=task.prompt_version,
        versions=task.preferred_versions,
    )


def _create_or_replace_view_and_stamp(
    tx: Connection, name: str, query: Select[Any], stamp: str
) -> None:
    """Make or replace a view, with a stamp.

    The view is made again even if it is current. Other programs' views on this view stay. If
    PostgreSQL cannot replace the view, it is dropped first. On SQLite the stamp is a comment in the
    view's SQL, on PostgreSQL it is the comment of the view.

    Args:
        tx: The caller's transaction, which must be rolled back after an error.
        name: Name of the view.
        query: The SELECT of the view.
        stamp: The text of the comment.

    Raises:
        ConfigurationError: On PostgreSQL, columns change that a view of another program uses.
    """
    view = quote_name(name)
    sql = render_literal_sql(tx, query)
    if is_sqlite(tx):
        _run_sql(tx, f"DROP VIEW IF EXISTS {view}")
        _run_sql(tx, f"CREATE VIEW {view} AS /* {stamp} */ {sql}")
        return

    try:
        with tx.begin_nested():
            _run_sql(tx, f"CREATE OR REPLACE VIEW {view} AS {sql}")
    except exc.DBAPIError:
        # PostgreSQL cannot replace a view if a column changes its name, type or position.
        _drop_postgresql_view(tx, name)
        _run_sql(tx, f"CREATE VIEW {view} AS {sql}")
    _run_sql(tx, f"COMMENT ON VIEW {view} IS '{stamp}'")


def _read_object_comment(tx: Connection, name: str) -> str | None:
    """Return the comment of a table or view; on askrows' own views this comment is the stamp.

    A comment of another program is returned, too, so callers check how it begins.

    Returns:
        The first comment in the object's SQL on SQLite, the comment of the object on PostgreSQL. An
        empty text if the object has no comment. None if there is no such object.
    """
    if is_sqlite(tx):
        query = text(
            "SELECT sql FROM sqlite_master "
            "WHERE type IN ('table', 'view') AND lower(name) = lower(:name)",
        )
        row = tx.execute(query, {"name": name}).first()
        if row is None:
            return None
        return str(row[0]).partition("/* ")[2].partition(" */")[0]

    query = text(
        "SELECT obj_description(oid, 'pg_class') FROM pg_class WHERE oid = to_regclass(:name)",
    )
    row = tx.execute(query, {"name": quote_name(name)}).first()
    if row is None:
        return None
    return row[0] or ""


def _drop_postgresql_view(tx: Connection, name: str) -> None:
    """Drop a view of PostgreSQL.

    Raises:
        ConfigurationError: The database refuses it, because another program's view uses the view.
    """
    try:
        with tx.begin_nested():
            _run_sql(tx, f"DROP VIEW {quote_name(name)}")
    except exc.DBAPIError as error:
        raise ConfigurationError(
            f"the columns of the view `{name}` cannot change: {describe_error(error)}; "
            "nothing was changed",
            hint="drop the other views that use it, run the same command again, then create them "
            "again",
        ) from error


def _run_sql(tx: Connection, statement: str) -> None:
    """Run a statement without parameters, unchanged: it may contain `%` and `:`."""
    tx.exec_driver_sql(statement, execution_options={"no_parameters": True})


def render_literal_sql(tx: Connection, query: Select[Any]) -> str:
    """Return a query as SQL with all values in it, for a statement without parameters."""
    sql = str(query.compile(dialect=tx.dialect, compile_kwargs={"literal_binds": True}))
    # The PostgreSQL dialect doubles `%` for a driver that gets parameters.
    if not is_sqlite(tx):
        sql = sql.replace("%%", "%")
    return sql


def make_source_column_expression(
    tx: Connection,
    row: ColumnElement[Any],
    name: str,
    kind: str,
) -> ColumnElement[Any]:
    """Return an expression for a source column of a row that is stored as JSON.

    Args:
        tx: A connection to the database that will run the query.
        row: The column with the JSON object.
        name: Member of the object.
        kind: Kind of the source column. A column of JSON is returned as text.
    """
    make_cell = _make_sqlite_member_sql if is_sqlite(tx) else _make_postgresql_member_sql
    row_sql = str(row.compile(dialect=tx.dialect))
    cell_kind = "text" if kind == JSON else kind
    return literal_column(make_cell(cell_kind, name, row_sql), TYPES_BY_KIND[cell_kind])


def _make_key_column_sql(kind: str, part_index: int | None, *, sqlite: bool) -> str:
    """Return the SQL text for a key column of an answer, computed from its row id.

    A value that is no whole number is NULL in an integer column of PostgreSQL. SQLite casts it to
    an integer, so `abc` becomes 0.

    Args:
        kind: Kind of the key column.
        part_index: Index of the column in a key of several columns, which is stored as a JSON list,
            or None if the key has one column. On PostgreSQL, a row id that is no list gives NULL.
        sqlite: Return SQL for SQLite, else for PostgreSQL.
    """
    cell = f"{answers.name}.row_id"
    if part_index is not None and sqlite:
        cell = f"json_extract({cell}, '$[{part_index}]')"
    elif part_index is not None:
        cell = f"(CASE WHEN {cell} LIKE '[%' THEN {cell}::jsonb ->> {part_index} END)"

    if kind != "integer":
        return cell
    if sqlite:
        return f"CAST({cell} AS INTEGER)"
    return f"CASE WHEN {cell} ~ '^-?[0-9]+$' THEN {cell}::bigint END"


def _make_sqlite_member_sql(kind: str, name: str, document: str) -> str:
    """Return SQL for a member of a JSON object, as a column of a kind, in SQLite.

    A missing member and null are NULL in a column of any kind. Otherwise the kind decides:

    - text, date or time: the text. Numbers, lists and objects are shown as text, and booleans as
      `true` and `false`.
    - integer: a whole number; NULL for a value of another type.
    - boolean: 1 or 0; NULL for a value of another type.
    - real: a number, or the number in a text. Any other value, or an infinite number, is NULL.
    - decimal: a number, or the number in a text, as a text with all its digits. Any other value is
      NULL.
    - JSON: any value, as JSON.

    Args:
        kind: Kind of the column.
        name: Member of the object.
        document: SQL of the column with the JSON object.
    """
    path = quote_text(f'$."{name}"')
    cell = f"json_extract({document}, {path})"
    json_type = f"json_type({document}, {path})"
    if _NOT_IN_SQLITE_PATHS.search(name):
        member = f"FROM json_each({document}) AS e WHERE e.key = {quote_text(name)}"
        cell = f"(SELECT e.value {member})"
        json_type = f"(SELECT e.type {member})"

    # Decimal numbers are stored as texts.
    type_in_text = f"CASE WHEN json_valid({cell}) THEN json_type({cell}) END"
    number_type = f"CASE {json_type} WHEN 'text' THEN {type_in_text} ELSE {json_type} END"
    is_number = f"{number_type} IN ('integer', 'real')"
    real = f"CAST({cell} AS REAL)"
    is_boolean = f"{json_type} IN ('true', 'false')"
    return {
        "text": f"CASE WHEN {is_boolean} THEN {json_type} ELSE CAST({cell} AS TEXT) END",
        "integer": f"CASE {json_type} WHEN 'integer' THEN {cell} END",
        "real": f"CASE WHEN ({is_number}) AND abs({real}) < 9e999 THEN {real} END",
        "decimal": f"CASE WHEN {is_number} THEN CAST({cell} AS TEXT) END",
        "boolean": f"CASE {json_type} WHEN 'true' THEN 1 WHEN 'false' THEN 0 END",
        JSON: f"CASE {json_type} WHEN 'null' THEN NULL ELSE {document} -> {path} END",
    }[_VIEW_KINDS.get(kind, kind)]


def _make_postgresql_member_sql(kind: str, name: str, document: str) -> str:
    """Return SQL for a member of a JSON object, as a column of a kind, in PostgreSQL.

    A missing member and null are NULL in a column of any kind. Otherwise the kind decides:

    - text, date or time: any value, as text.
    - integer or boolean: the value, or NULL for a value of another type.
    - real: a number, or the number in a text. Any other value, or a number too large for float8, is
      NULL. A number that is too close to 0 is 0.
    - decimal: a number, or the number in a text, as numeric with all its digits. Any other value is
      NULL.
    - JSON: any value, as jsonb.

    Args:
        kind: Kind of the column.
        name: Member of the object.
        document: SQL of the column with the JSON object.
    """
    document = f"{document}::jsonb"
    member = quote_text(name)
    cell = f"({document} ->> {member})"
    json_type = f"jsonb_typeof({document} -> {member})"

    is_integer = f"{json_type} = 'number' AND {cell} ~ '^-?[0-9]+$'"
    is_number = f"{cell} ~ '^-?[0-9]*[.]?[0-9]+([eE][-+]?[0-9]{{1,3}})?$'"
    # PostgreSQL fails on numbers that are too large or too small for float8.
    size = f"abs({cell}::numeric)"
    real = (
        f"CASE WHEN {size} < 3e-324 THEN 0 "
        f"WHEN {size} <= 1.7976931348623157e308 THEN {cell}::float8 END"
    )
    return {
        "text": cell,
        "integer": f"CASE WHEN {is_integer} THEN {cell}::bigint END",
        "real": f"CASE WHEN {is_number} THEN {real} END",
        "decimal": f"CASE WHEN {is_number} THEN {cell}::numeric END",
        "boolean": f"CASE {json_type} WHEN 'boolean' THEN {cell}::boolean END",
        JSON: f"NULLIF({document} -> {member}, 'null'::jsonb)",
    }[_VIEW_KINDS.get(kind, kind)]
