"""List, filter and check people, and export them to a file.

An import reads an export unchanged. In CSV all tags are in one cell, separated by `; `; in JSON
they are a list or null.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, starmap
from typing import Any, NamedTuple

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    Text,
    case,
    cast,
    func,
    literal,
)

from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.progress import Progress
from askrows.pipeline.core.row_listing import RowFilter
from askrows.pipeline.core.text import join_first, neutralize_formula, plural
from askrows.pipeline.experts import table
from askrows.pipeline.experts.index_entries import METADATA_NAMES
from askrows.pipeline.experts.person_rows import filter_export_columns, format_rate
from askrows.pipeline.experts.table import HEADERS, SCORE, USERNAME, experts, row_id, score_of
from askrows.pipeline.rows import export
from askrows.pipeline.rows.cells import parse_number, parse_text_list, stripped_text
from askrows.pipeline.rows.grid import Grid, make_grid
from askrows.pipeline.rows.reflection import is_sqlite
from askrows.pipeline.rows.row_state import RowState
from askrows.pipeline.rows.task_rows import REASON_COLUMN, STATE_COLUMN
from askrows.pipeline.rows.view_row import ViewColumn, ViewRow, name_added_columns
from askrows.pipeline.rows.where_sql import JsonCell, make_json_cell, strip_white_space
from askrows.pipeline.store import answers
from askrows.pipeline.store import rows as row_store
from askrows.pipeline.store.text_hash import TextHash
from askrows.pipeline.tasks.task_values import RowFault, RowFaults

Row = Mapping[str, Any]
DEFAULT_COLUMNS = ("username", "name", "job_title", "company", "tags", "findability_score")


def make_people_grid(tx: Connection) -> Grid:
    """Return the grid that lists people on the page and in `items`; the rows are read later.

    The search covers names, job title, company and tags. People can be sorted by username and
    score. WHERE= knows the columns of `metadata.json` and the other columns of imported files, so
    that a condition means the same in a search.
    """
    username = experts.c.username
    is_nullable = USERNAME not in table.reflect_shape(tx).blanks
    sort_keys: dict[str, list[ColumnElement[Any]]] = {
        USERNAME: [func.coalesce(username, "") if is_nullable else username],
        SCORED: [SCORE],
    }
    kinds = {"tags": export.TEXTS_KIND, SCORED: "real"}
    own_names = tuple(dict.fromkeys((*DEFAULT_COLUMNS, *HEADERS)))
    columns = {
        name: ViewColumn(
            partial(_read_value, name),
            kinds.get(name, "text"),
            JsonCell(_make_document(tx, name), (_VALUE,)) if name in METADATA_NAMES else None,
            sort_keys.get(name, ()),
        )
        for name in ("id", *own_names)
    }
    extra_cells = row_store.select_row(
        table.TASK,
        row_id,
        input_hash=TextHash(strip_white_space(username)),
    )
    return make_grid(
        tx,
        table.people_table(tx),
        columns,
        preference=answers.VersionPreference(table.TASK),
        cells={
            **{name: experts.c[name] for name in table.COLUMNS},
            _EXTRA: extra_cells,
        },
        read_values=_make_values,
        source_names=own_names,
        default_names=DEFAULT_COLUMNS,
        find_more_cells=partial(_find_extra_cells, tx, extra_cells),
        searched_cells=[
            experts.c[name] for name in (*table.NAME_COLUMNS, "job_title", "company", "tags")
        ],
        facets=("tags",),
    )


def _find_extra_cells(tx: Connection, extra_cells: ColumnElement[Any]) -> dict[str, JsonCell]:
    """Return the cells of other columns of imported files by name."""
    names = table.read_extra_column_names(tx)
    return {name: JsonCell(extra_cells, (name,)) for name in names}


# Name of the expression for the cells of other columns of imported files, as JSON.
_EXTRA = "askrows_extra"
# Member of the document that is made of a column.
_VALUE = "value"
_NUMBER_COLUMNS = ("hourly_rate", "findability_score")
# Larger numbers are infinite.
_MAX_NUMBER = 1.7e308
# A JSON list of texts. PostgreSQL refuses NUL, and halves of characters.
_TEXT_LIST_PATTERN = (
    r'^\s*\[\s*("([^"\\]|\\["\\/bfnrt]|\\u(?!0000|[dD][89a-fA-F])[0-9a-fA-F]{4})*"'
    r"\s*(,\s*(?=\")|(?=\])))*\]\s*$"
)


def _make_document(tx: Connection, column: str) -> ColumnElement[Any]:
    """Return an SQL expression for the JSON document `{"value": …}` of a column's cell.

    Cells are text, except in number columns, where a text that another program wrote stays text.
    Tags become a list. If another program wrote tags that are not a list, the expression is NULL.
    """
    cell = experts.c[column]
    text_cell = strip_white_space(cell)
    if is_sqlite(tx):
        if column == "tags":
            return case(
                (func.json_valid(text_cell), func.json_object(_VALUE, func.json(text_cell))),
            )
        if column in _NUMBER_COLUMNS:
            is_number = func.typeof(cell).in_(("integer", "real"))
            is_finite = cell.between(-_MAX_NUMBER, _MAX_NUMBER)
            return func.json_object(_VALUE, case((~is_number, text_cell), (is_finite, cell)))
        return func.json_object(_VALUE, text_cell)

    if column == "tags":
        is_text_list = text_cell.regexp_match(_TEXT_LIST_PATTERN)
        return case((is_text_list, make_json_cell(_VALUE, text_cell).document))
    value = cell if column in _NUMBER_COLUMNS else text_cell
    return func.jsonb_build_object(cast(literal(_VALUE), Text), value)


def _make_values(row: Row) -> dict[str, Any]:
    """Return the values that a list can show of a person, by name."""
    values: dict[str, Any] = {name: stripped_text(row[name]) for name in ("id", *HEADERS)}
    full_name = f"{values['first_name']} {values['last_name']}"
    values["name"] = full_name.strip()
    rate = _rate(row)
    values["hourly_rate"] = "" if rate is None else rate
    values["tags"] = parse_text_list(row["tags"]) or []
    values["findability_score"] = parse_number(row["findability_score"])
    return values


def _read_value(name: str, row: ViewRow) -> Any:
    """Return a value of a person."""
    return row.values[name]


def _rate(row: Row) -> Any:
    """Return the hourly rate as a number.

    If another program wrote a cell that is not a number, returns its text; None if it is empty.
    """
    rate = parse_number(row["hourly_rate"])
    if rate is not None:
        return rate
    return stripped_text(row["hourly_rate"]) or None


RATE = HEADERS["hourly_rate"]
SCORED = "findability_score"
# Type by column of an export.
COLUMN_TYPES = {
    **dict.fromkeys(HEADERS.values(), "text"),
    "tags": export.TEXTS_KIND,
    SCORED: "real",
}


class ExportedPerson(NamedTuple):
    """A person, or a refused row of a file, that is written to an export."""

    # Cells by column of the table.
    row: Row
    # Cells of other columns of imported files, by header.
    extra_cells: Mapping[str, Any]
    state: str
    # Why the person is parked or the row was refused; None for other states.
    reason: str | None


def read_exported_people(tx: Connection, row_filter: RowFilter) -> Iterator[ExportedPerson]:
    """Yield the people that meet a filter in the order of ids, with the cells of other columns."""
    for row in make_people_grid(tx).read_rows(tx, row_filter):
        extra_cells = orjson.loads(row.cells[_EXTRA] or "{}")
        yield ExportedPerson(row.cells, extra_cells, row.state, row.reason)


def read_exported_refusals(tx: Connection) -> Iterator[ExportedPerson]:
    """Yield the refused rows of imported files.

    They have the cells of their file, by column and by header, and the message of the refusal.
    """
    empty_row = dict.fromkeys(table.COLUMNS)
    for refused in row_store.refused_rows(tx, table.TASK):
        cells = {
            column: refused.cells.get(column, refused.cells.get(header))
            for column, header in HEADERS.items()
        }
        yield ExportedPerson(
            {**empty_row, **cells}, refused.cells, RowState.REFUSED.value, refused.message
        )


def read_extra_column_names(tx: Connection) -> list[str]:
    """Return the names of additional columns of imported files, in the order of their import.

    Columns that only refused rows have come last. A refused row is stored with all its cells, so
    the columns of the people table (such as the username) are left out. Columns that our own export
    added are left out, too.
    """
    names = dict.fromkeys(table.read_extra_column_names(tx))
    refused_rows = row_store.refused_rows(tx, table.TASK)
    refused_names = dict.fromkeys(chain.from_iterable(row.cells for row in refused_rows))

    table_names = {*HEADERS, *HEADERS.values(), *filter_export_columns(tuple(refused_names))}
    names |= dict.fromkeys(name for name in refused_names if name not in table_names)
    return list(names)


def encode_experts(
    rows: Iterable[ExportedPerson],
    format_: str,
    guard: Callable[[str], str] = neutralize_formula,
    *,
    extra_columns: Sequence[str] = (),
) -> Iterator[bytes]:
    """Yield the bytes of an export file of people, in pieces.

    The rows are read when the result is iterated. The columns are those of a table of people that
    is imported (`HEADERS`), tags, score, the additional columns, state and reason. The hourly rate
    is a text in CSV and Parquet: a column of Parquet has one type, and another program may have
    written a rate that is not a number.

    Args:
        rows: People and refused rows.
        format_: "csv", "json", "jsonl", "xlsx" or "parquet".
        guard: Function that protects spreadsheets from formulas.
        extra_columns: Names of the additional columns.

    Raises:
        ConfigurationError: Parquet needs pyarrow, which is missing. Raised by the call itself.
    """
    text_columns = {"csv": (RATE, SCORED), "parquet": (RATE,)}.get(format_, ())
    state_names = name_added_columns(
        [*COLUMN_TYPES, *extra_columns],
        (STATE_COLUMN, REASON_COLUMN),
        "row_",
    )

    def make_cells(
        row: Row,
        extra_cells: Mapping[str, Any],
        state: str,
        reason: str | None,
    ) -> dict[str, Any]:
        """Return the cells of a person by header; an empty cell is None.

        Tags that are not a list are text. Rates and scores are text in formats that need it: both
        in CSV, rates in Parquet. State and reason follow the additional columns.
        """
        tags = parse_text_list(row["tags"])
        cells: dict[str, Any] = {
            header: stripped_text(row[column]) or None for column, header in HEADERS.items()
        }
        cells["tags"] = stripped_text(row["tags"]) if tags is None else tags or None
        cells[RATE] = _rate(row)
        cells[SCORED] = parse_number(row["findability_score"])
        for name in text_columns:
            # An import reads this form of a number unchanged.
            if isinstance(cells[name], float):
                cells[name] = format_rate(cells[name])

        cells |= {name: extra_cells.get(name) for name in extra_columns}
        cells[state_names[STATE_COLUMN]] = state
        cells[state_names[REASON_COLUMN]] = reason
        return cells

    return export.encode_rows(
        starmap(make_cells, rows),
        format_,
        guard,
        kinds={
            **COLUMN_TYPES,
            **dict.fromkeys(extra_columns, "text"),
            **dict.fromkeys(state_names.values(), "text"),
        },
    )


WRONG_SCORE_FAULT = "scores that do not match their rows"
# Consequence, next step, and whether it is a contradiction, by kind of fault.
FAULTS: Mapping[str, tuple[str, object, bool]] = {
    WRONG_SCORE_FAULT: ("lists sorted by score are in the wrong order", CommandHint("score"), True),
}


def check_people(tx: Connection, display: Progress) -> list[RowFault]:
    """Return the faults of all rows, and of answers or stored cells whose person is gone.

    Scores are computed anew and compared. The list is empty if there is no fault. Reports
    progress on the display; writes nothing.
    """
    row_faults = RowFaults(FAULTS)
    answered_ids = tx.execute(answers.answered_ids(table.TASK)).scalars()
    orphaned_ids = row_store.all_ids(tx, table.TASK).union(answered_ids)
    people_table = table.people_table(tx)
    person_count = people_table.count_rows(tx)
    columns = ("id", USERNAME, SCORED, *table.SCORE_COLUMNS)
    rows = people_table.read_cells(tx, columns)
    with display.bar("checking people", person_count) as bar:
        for row_number, row in enumerate(rows, start=1):
            person_id, username, score, *cells = row
            orphaned_ids.discard(str(person_id))
            if score_of(*cells) != parse_number(score):
                row_faults.add(WRONG_SCORE_FAULT, [stripped_text(username)])
            bar.show(row_number)

    faults = row_faults.summarize_faults()
    if orphaned_ids:
        ids = sorted(orphaned_ids)
        people = plural(len(ids), "person", "people")
        faults.append(
            RowFault(
                f"answers or imported columns of {people} without a row, ids {join_first(ids)}",
                "another program deleted the rows, but askrows still stores data about these"
                " people",
                f"{CommandHint('forget', task='experts', row=ids[0])}, for each id",
                is_contradiction=False,
            )
        )
    return faults
