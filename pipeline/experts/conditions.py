"""Compile WHERE= for the list of people.

It knows the columns of people by their names in `metadata.json`, and all other columns of imported
files, so a condition means the same in the commands `items` and `search`.
"""

from typing import Any

from sqlalchemy import ColumnElement, Connection, Text, case, cast, func, literal

from pipeline.core.where_parser import parse_where
from pipeline.experts import table
from pipeline.experts.index_entries import METADATA_NAMES
from pipeline.store import rows as row_store
from pipeline.store.text_hash import TextHash
from pipeline.tables.reflection import is_sqlite
from pipeline.tables.row_judgements import RowJudgements
from pipeline.tables.text_match import strip_white_space
from pipeline.tables.where_sql import JsonCell, compile_where, make_json_cell

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


def compile_people_where(
    tx: Connection, judgements: RowJudgements, text: str
) -> ColumnElement[bool]:
    """Return the SQL condition on the table of people that a WHERE= text means.

    Names are columns of people, other columns of imported files, or `reviewed` if no column has
    this name.

    Args:
        tx: Connection to the database, whose columns can be named.
        judgements: The expression for `reviewed`.
        text: The condition, such as `company = 'Acme' AND reviewed = true`.

    Raises:
        InputError: The text is invalid, or names a column that does not exist.
    """
    expression = parse_where(text)
    own_cells = {
        name: JsonCell(_make_document(tx, column), (_VALUE,))
        for column, name in METADATA_NAMES.items()
    }
    extra_document = row_store.select_row(
        table.TASK,
        table.row_id,
        input_hash=TextHash(strip_white_space(table.experts.c.username)),
    )
    extra_cells = {
        name: JsonCell(extra_document, (name,)) for name in table.read_extra_column_names(tx)
    }
    columns = own_cells | extra_cells | own_cells
    return compile_where(expression, (columns, {}, judgements.make_cells()), tx=tx)


def _make_document(tx: Connection, column: str) -> ColumnElement[Any]:
    """Return an SQL expression for the JSON document `{"value": …}` of a column's cell.

    Cells are text, except in number columns, where a text that another program wrote stays text.
    Tags become a list. If another program wrote tags that are not a list, the expression is NULL.
    """
    cell = table.experts.c[column]
    text_cell = strip_white_space(cell)
    if is_sqlite(tx):
        if column == "tags":
            return case(
                (func.json_valid(text_cell), func.json_object(_VALUE, func.json(text_cell)))
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
