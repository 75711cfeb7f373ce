"""Write rows as CSV, JSON lines, a JSON list, .xlsx or Parquet, in constant memory.

Pieces of CSV and JSON never split a row. Exported answers are columns of the row that they belong
to. Parquet needs pyarrow, an optional package. A Parquet file
is valid only if its last bytes were written. A quotation is a text of the row that an answer cites,
stored with its place in the row. A confidence is the stored probability that a field is right.
"""

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, RowMapping, Select, select

from pipeline.core import text
from pipeline.core.files import iterate_pieces
from pipeline.core.quotes import is_stored_quotation
from pipeline.core.states import describe_reason
from pipeline.store import claims
from pipeline.store.answers import PERSON, is_applied
from pipeline.store.claims import PARKED
from pipeline.store.confidences import decode_confidences, list_fields_with_probability
from pipeline.store.database import PAGE_ROWS, split_into_pages, stream_rows
from pipeline.store.rows import NO_HASH
from pipeline.store.schema import answers, to_utc_time
from pipeline.store.task_record import TaskRecord
from pipeline.tables import workbook
from pipeline.tables.answer_views import (
    ANSWERED_AT,
    EXTRACTOR,
    name_added_columns,
    name_confidence_columns,
)
from pipeline.tables.cells import (
    import_pyarrow,
    parse_json_cell,
    parse_number,
    to_prompt_text,
)
from pipeline.tables.column_values import to_column_value
from pipeline.tables.row_table import (
    GONE_STATE,
    REFUSED_STATE,
    STALE_STATE,
    STATE_COLUMN,
    RowTable,
    describe_stale_row,
)
from pipeline.tables.stored_values import (
    HASH_COLUMN,
    IMAGE_STATE_COLUMN,
    KEY_COLUMN,
    UNUSABLE_COLUMN,
    VALUES_COLUMN,
)

ExportedRow = dict[str, Any]
# Columns of an export.
REASON_COLUMN = "reason"
ANSWERED_STATE = "answered"
# State of a row without an answer of the exported version, but with another answer.
OTHER_VERSION_STATE = "other_version"
# Kind of a column with lists of texts. All other kinds are those of answer fields.
TEXTS_KIND = "texts"

_PARQUET_GROUP_ROWS = 10_000
# Kinds whose cells are converted from text.
_CELL_READERS: Mapping[str, Callable[[str], Any]] = {
    "date": date.fromisoformat,
    "time": to_utc_time,
}
# Columns with the tokens and the cost of an answer, with their kinds.
_COST_KINDS = {"tokens_in": "integer", "tokens_out": "integer", "cost": "real"}

# Columns of the query for a single version.
_OTHER_VERSION = "findable_other_version"
_CORRECTION = "findable_correction"
# A person asked for the row again.
_MARKED = "findable_marked"


def encode_rows(
    rows: Iterable[Mapping[str, Any]],
    format_: str,
    guard: Callable[[str], str] = text.neutralize_formula,
    *,
    kinds: Mapping[str, str],
) -> Iterator[bytes]:
    """Return the bytes of a file with these rows, in pieces.

    No row is read before the first piece is requested. A piece of CSV, JSON or JSON lines never
    splits a row. Without rows, CSV, .xlsx and Parquet have only the column names, JSON is `[]`, and
    JSON lines are empty.

    Args:
        rows: The rows by column.
        format_: "csv", "json", "jsonl" or "xlsx". Any other text means Parquet: callers check it.
        guard: Changes each text of CSV, so that spreadsheets do not run it as a formula. Other
            formats do not need it, because they have types.
        kinds: Kinds of all columns, in their order.

    Raises:
        ConfigurationError: Parquet needs pyarrow, which is missing. Raised by the call itself.
    """
    if format_ == "jsonl":
        return (orjson.dumps(row) + b"\n" for row in rows)
    if format_ == "json":
        return _encode_json_list(rows)
    if format_ == "csv":
        return encode_csv(_csv_rows(rows, kinds), kinds, guard)
    if format_ == "xlsx":
        return workbook.encode_xlsx(
            rows,
            kinds,
            lambda value, kind: to_spreadsheet_cell(value, texts=kind == TEXTS_KIND),
        )
    return _encode_parquet(rows, kinds, import_pyarrow("Parquet"))


def _csv_rows(
    rows: Iterable[Mapping[str, Any]],
    kinds: Mapping[str, str],
) -> Iterator[list[str | float]]:
    """Yield the cells of each row in the order of the columns."""
    for row in rows:
        yield [
            to_spreadsheet_cell(row[name], texts=kind == TEXTS_KIND) for name, kind in kinds.items()
        ]


def encode_csv(
    rows: Iterable[Sequence[str | float]],
    header: Iterable[str],
    guard: Callable[[str], str] = text.neutralize_formula,
) -> Iterator[bytes]:
    """Yield the lines of a CSV file.

    Args:
        rows: The cells of each row.
        header: Names of the columns.
        guard: Changes each text, so that spreadsheets do not run it as a formula.
    """
    yield text.csv_line(list(header), guard)
    for row in rows:
        yield text.csv_line(row, guard)


def to_spreadsheet_cell(value: Any, *, texts: bool) -> str | float:
    """Return a value as a cell of CSV or .xlsx.

    A number stays a number, because it cannot be a formula. A quotation, which is stored as a text
    with its place in the row, becomes this text alone. Lists and objects become JSON. Dates and
    times become ISO 8601 text, truth values `true` or `false`, and None the empty text.

    Args:
        value: A plain value, date or time.
        texts: The value is of a column with lists of texts. A list is joined by "; " instead of
            written as JSON; all its members must be texts.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if is_stored_quotation(value):
        return str(value["quote"])
    if texts and isinstance(value, list):
        return "; ".join(value)
    return _format_value(value)


def _format_value(value: Any) -> str:
    """Return a value as text: JSON for lists and objects, ISO 8601 for dates and times."""
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    return to_prompt_text(value)


def _encode_json_list(rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Yield the bytes of a JSON list with one row a line; `[]` if there are no rows."""
    separator = b"[\n"
    for row in rows:
        yield separator + orjson.dumps(row)
        separator = b",\n"

    is_empty = separator == b"[\n"
    if is_empty:
        yield b"[]\n"
    else:
        yield b"\n]\n"


def _encode_parquet(
    rows: Iterable[Mapping[str, Any]],
    kinds: Mapping[str, str],
    pa: Any,
) -> Iterator[bytes]:
    """Write a Parquet file to a temporary file, and then yield its bytes in chunks.

    Columns without a type of their own are text. The temporary file is deleted at the end.

    Args:
        rows: The rows by column.
        kinds: Kinds of all columns, in their order.
        pa: The module pyarrow.
    """
    from pyarrow.parquet import ParquetWriter

    types = {
        "integer": pa.int64(),
        "real": pa.float64(),
        "boolean": pa.bool_(),
        "date": pa.date32(),
        "time": pa.timestamp("us", tz="UTC"),
        TEXTS_KIND: pa.list_(pa.string()),
    }
    schema = pa.schema([(name, types.get(kind, pa.string())) for name, kind in kinds.items()])
    typed_rows = (
        {name: _to_parquet_value(row[name], kind) for name, kind in kinds.items()} for row in rows
    )
    with tempfile.TemporaryFile() as file:
        with ParquetWriter(file, schema, compression="zstd") as writer:
            for group in split_into_pages(typed_rows, _PARQUET_GROUP_ROWS):
                writer.write_table(pa.Table.from_pylist(group, schema=schema))
        yield from iterate_pieces(file)


def _to_parquet_value(value: Any, kind: str) -> Any:
    """Return a value as a Parquet column of this kind accepts it.

    The kind decides, except that None stays None:

    - integer, boolean, date, time: the value as it is.
    - TEXTS_KIND, a column of lists of texts: the list with all members as texts. A value that is no
      list becomes a list of one text.
    - real: the number, or None if it is no finite number.
    - all other kinds: the value as text, lists and objects as JSON.
    """
    if value is None or kind in {"integer", "boolean", "date", "time"}:
        return value
    if kind == TEXTS_KIND:
        members = value if isinstance(value, list) else [value]
        return [member if isinstance(member, str) else _format_value(member) for member in members]
    if kind == "real":
        return parse_number(value)
    return _format_value(value)


def read_answer_rows(
    tx: Connection,
    task: TaskRecord,
    items: RowTable,
    *,
    is_answer: ColumnElement[bool],
    cost: bool,
    conditions: Sequence[ColumnElement[bool]],
    include_missing: bool,
    prompt_version: str,
    is_single_version: bool = False,
) -> tuple[Iterator[ExportedRow], dict[str, str]]:
    """Return an iterator of a task's rows with states and answers, in the source's order.

    Rows without an answer are included, with None. The columns are, in this order:

    1. the source's columns, under their own names; a refused row has its cells as they were read;
    2. the key columns that are no source columns;
    3. the answer's fields, its version, its time, and with `cost` its tokens and cost;
    4. the confidence of each field for which any answer of the task has one;
    5. the state, and the reason why the row is refused, parked, stale or unusable (such as an
       image that cannot be read), else None.

    If a name is taken, `answer_` precedes it, and `row_` precedes the state or reason.

    Args:
        tx: The transaction in which the rows are read, while the caller iterates.
        task: The task.
        items: The table with the rows.
        is_answer: SQL condition on `findable_answers` that selects the exported answer of each row,
            such as the preferred one. At most one answer of a row may meet it.
        cost: Add the tokens and the cost of the answer.
        conditions: Conditions on `items` that a row must meet.
        include_missing: Include rows that are no longer in the source.
        prompt_version: Reasons of parked rows are those of this prompt version (`task@n`); empty
            means any version.
        is_single_version: `is_answer` selects the answers of one version only. A row with such an
            answer is in the state answered. A row with only other answers, such as a correction, is
            in the state OTHER_VERSION_STATE, and the reason names the other answer.

    Returns:
        The rows by column, and the kinds of the columns in their order.
    """
    sources = task.columns
    cost_kinds: Mapping[str, str] = _COST_KINDS if cost else {}
    answer_kinds = {name: kind for name, kind in task.key if name not in sources}
    answer_kinds |= dict(task.fields)
    answer_kinds |= {EXTRACTOR: "text", ANSWERED_AT: "time"}
    answer_names = name_added_columns(sources, answer_kinds, "answer_")
    # A field may be called `cost`, so tokens and cost are named apart.
    cost_names = name_added_columns([*sources, *answer_names.values()], cost_kinds, "answer_")
    field_names = [name for name, _ in task.fields]
    confidence_names = name_confidence_columns(
        [*sources, *answer_names.values(), *cost_names.values()],
        list_fields_with_probability(tx, task.name, tuple(field_names)),
    )
    state_names = name_added_columns(
        [*sources, *answer_names.values(), *cost_names.values(), *confidence_names.values()],
        (STATE_COLUMN, REASON_COLUMN),
        "row_",
    )

    query = _make_answers_query(items, is_answer, include_missing=include_missing).where(
        *conditions
    )
    if is_single_version:
        query = query.add_columns(*_make_columns_of_unexported_answers(task, items))
    parked_reasons = {
        key: describe_reason(reason)
        for key, reason, _ in claims.parked_rows(tx, task.name, prompt_version=prompt_version)
    }

    def iterate_exported_rows() -> Iterator[ExportedRow]:
        """Run the query, and yield each row with its source, answer and state cells.

        The rows are read while this is iterated, so the transaction must stay open.
        """
        for stored_row in stream_rows(tx, query, page=PAGE_ROWS).mappings():
            row = _read_source_cells(stored_row, sources)
            answer_cells = _read_answer_cells(stored_row, task)
            row |= {name: answer_cells[part] for part, name in answer_names.items()}
            row |= {name: stored_row[part] for part, name in cost_names.items()}
            if confidence_names:
                confidences = decode_confidences(stored_row["confidences"])
                row |= {
                    name: confidences[field].probability if field in confidences else None
                    for field, name in confidence_names.items()
                }
            reason = _find_state_reason(stored_row, parked_reasons, line_noun=task.line_noun)
            state_cells = {STATE_COLUMN: stored_row[STATE_COLUMN], REASON_COLUMN: reason}
            if is_single_version:
                state_cells |= _make_single_version_cells(stored_row, reason)
            yield row | {name: state_cells[part] for part, name in state_names.items()}

    kinds = {
        **sources,
        **{answer_names[name]: kind for name, kind in answer_kinds.items()},
        **{cost_names[name]: kind for name, kind in cost_kinds.items()},
        **dict.fromkeys(confidence_names.values(), "real"),
        **dict.fromkeys(state_names.values(), "text"),
    }
    return iterate_exported_rows(), kinds


def _make_answers_query(
    items: RowTable,
    is_answer: ColumnElement[bool],
    *,
    include_missing: bool,
) -> Select[Any]:
    """Return the SELECT of all rows with their states and answers, in the source's order.

    Rows without an answer are included, with NULL. Rows that are no longer in the source are left
    out unless `include_missing`.

    Args:
        items: The table with the rows.
        is_answer: Condition that is met by at most one answer of each row.
        include_missing: Include rows that are no longer in the source.
    """
    row = items.table.c
    row_columns = [
        row[name]
        for name in (VALUES_COLUMN, KEY_COLUMN, HASH_COLUMN, IMAGE_STATE_COLUMN, UNUSABLE_COLUMN)
    ]
    answer_names = ("answer", "at", "confidences", EXTRACTOR, *_COST_KINDS)
    answer_columns = [answers.c[name] for name in answer_names]
    has_answer = (answers.c.item_id == row[KEY_COLUMN]) & is_answer

    query = (
        select(
            *row_columns,
            items.state_expression.label(STATE_COLUMN),
            items.is_marked.label(_MARKED),
            *answer_columns,
        )
        .select_from(items.table.outerjoin(answers, has_answer))
        .order_by(row[items.order_column])
    )
    if not include_missing:
        query = query.where(row.findable_gone_at.is_(None))
    return query


def _make_columns_of_unexported_answers(
    task: TaskRecord, items: RowTable
) -> list[ColumnElement[Any]]:
    """Return two SQL columns about a row's answers that an export of one version may lack.

    - `_OTHER_VERSION`: the version of the row's newest model answer; NULL if it has none. It is
      read only if the exported version has no answer to the row, so it is another version then.
    - `_CORRECTION`: `person` if the row has a correction; NULL if it has none.

    Answers and corrections that are erased or not applied do not count.
    `_make_single_version_cells` reads the columns.
    """
    key = items.table.c[KEY_COLUMN]
    is_correction = answers.c.extractor == PERSON
    query = (
        select(answers.c.extractor)
        .where(is_applied(task.name), answers.c.item_id == key)
        .correlate_except(answers)
        .limit(1)
    )
    newest_model_answer = query.where(~is_correction).order_by(answers.c.id.desc())
    correction = query.where(is_correction)
    return [
        newest_model_answer.scalar_subquery().label(_OTHER_VERSION),
        correction.scalar_subquery().label(_CORRECTION),
    ]


def _make_single_version_cells(
    stored_row: RowMapping, own_reason: str | None
) -> dict[str, str | None]:
    """Return the state and the reason that replace a row's own in an export of one version.

    - With an answer of that version the state is answered. If the row also has a correction, which
      the export does not contain, the reason says so.
    - With only a correction or an answer of another version, the state is OTHER_VERSION_STATE. The
      reason names that answer, then the row's own reason if it has one. The same applies to a row
      in the state answered without any stored answer, which another program answered.
    - All other rows, and rows that are gone or refused, keep their own: the result is empty.

    Args:
        stored_row: The row with the columns of `_make_columns_of_unexported_answers`.
        own_reason: Why the row is unusable, or parked under the exported version.

    Returns:
        The cells to replace, by STATE_COLUMN and REASON_COLUMN.
    """
    is_corrected = stored_row[_CORRECTION] is not None
    correction_text = "corrected by a person; an export of one version has no corrections"
    if stored_row["answer"] is not None:
        cells: dict[str, str | None] = {STATE_COLUMN: ANSWERED_STATE}
        if is_corrected and stored_row[EXTRACTOR] != PERSON:
            cells[REASON_COLUMN] = correction_text
        return cells

    state = stored_row[STATE_COLUMN]
    if state in {GONE_STATE, REFUSED_STATE}:
        return {}

    other_version = stored_row[_OTHER_VERSION]
    if is_corrected:
        reason = correction_text
    elif other_version is not None:
        # The row may be open, claimed or parked under the version of the file.
        reason = f"answered by {other_version}"
    elif state == ANSWERED_STATE:
        reason = "answered by another program"
    else:
        return {}
    if own_reason:
        reason += f"; {state}: {own_reason}"
    return {STATE_COLUMN: OTHER_VERSION_STATE, REASON_COLUMN: reason}


def _read_source_cells(stored_row: RowMapping, column_kinds: Mapping[str, str]) -> ExportedRow:
    """Return the cells of the source's columns by name; None for a missing value.

    The cells of JSON columns are parsed.

    Args:
        stored_row: The row; its VALUES_COLUMN has the cells as a JSON object.
        column_kinds: Kinds of the source's columns by name.
    """
    values = orjson.loads(stored_row[VALUES_COLUMN])
    cells: ExportedRow = {name: values.get(name) for name in column_kinds}
    for name, kind in column_kinds.items():
        if kind == "json":
            cells[name] = parse_json_cell(cells[name])
    return cells


def _read_answer_cells(stored_row: RowMapping, task: TaskRecord) -> ExportedRow:
    """Return the key of a row, and the fields, version and time of its answer, by name.

    Without an answer all cells except the key are None; a refused row has no key either.

    The cell of each key column is the whole row id. This is right only if the key is not a column
    of the source, such as a hash of the row. Callers replace the cells of key columns that the
    source has by those of the source.

    Args:
        stored_row: The row with its answer.
        task: The task with the key and the fields.
    """
    answer = orjson.loads(stored_row["answer"] or "{}")
    cells = {name: _read_field(answer.get(name), kind) for name, kind in task.fields}
    # The stored id of a refused row is not its key.
    key = None
    if stored_row[HASH_COLUMN] != NO_HASH:
        key = stored_row[KEY_COLUMN]
    cells |= dict.fromkeys(dict(task.key), key)
    cells[ANSWERED_AT] = stored_row["at"]
    cells[EXTRACTOR] = stored_row[EXTRACTOR]
    return cells


def _find_state_reason(
    stored_row: RowMapping, parked_reasons: Mapping[str, str], *, line_noun: str
) -> str | None:
    """Return why a row is refused, unusable, parked or stale; None if it is none of these.

    The reason for a refused row begins with its line in the source, as in `line 7: missing id`. The
    reason for an unusable row takes precedence over the reason for parking it.

    Args:
        stored_row: The row with its state.
        parked_reasons: Reasons of parked rows by id.
        line_noun: What a number of the source counts: lines or rows.
    """
    reason: str | None = stored_row[UNUSABLE_COLUMN] or None
    if not reason and stored_row[STATE_COLUMN] == PARKED:
        reason = parked_reasons.get(stored_row[KEY_COLUMN])
    if stored_row[STATE_COLUMN] == STALE_STATE:
        reason = describe_stale_row(is_marked=bool(stored_row[_MARKED]))
    if stored_row[HASH_COLUMN] == NO_HASH:
        return f"{line_noun} {stored_row[IMAGE_STATE_COLUMN]}: {reason}"
    return reason


def _read_field(value: Any, kind: str) -> Any:
    """Return the value of an answer field for an export, or None if it is not of its kind.

    JSON stays as it is. Dates and times become Python's date and datetime.
    """
    if kind == "json":
        return value
    stored_value = to_column_value(kind, value)
    if kind in _CELL_READERS and stored_value is not None:
        return _CELL_READERS[kind](stored_value)
    return stored_value
