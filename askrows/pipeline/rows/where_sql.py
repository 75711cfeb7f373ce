"""Compile WHERE= and searched words to SQL.

WHERE= has the same meaning in the commands `items` and `search`.

A cell is a member of a JSON document. Its values are all texts, numbers and truth values in it, at
any depth of a list or an object. A condition is true if any value fits; `!=` is true if no value is
equal. A condition is unknown (NULL, as in SQL) if the cell is empty, or if a number is compared
with a cell that contains none:

- A text is compared with all values by their spelling. Both sides are folded: Unicode NFKD, case
  folding, NFC. `<` and `>` compare code points. TRUE and FALSE are the texts `true` and `false`.
- A number is compared with numbers, and with texts that are a number: 3 equals 03 and 3.0.

Every value is a bound parameter. SQLite calls functions of this module. PostgreSQL has no case
folding: it uses `lower()` of the database's locale.
"""

import operator
import re
import sqlite3
import sys
import unicodedata
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

import orjson
from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    Float,
    FromClause,
    Integer,
    Numeric,
    Select,
    Text,
    and_,
    case,
    cast,
    func,
    literal,
    literal_column,
    not_,
    or_,
    select,
)

from askrows.pipeline.core.column_placeholders import (
    find_column_by_exact_or_folded_name,
    format_column_hint,
)
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.quotes import is_quotation, iterate_leaf_values_with_paths
from askrows.pipeline.core.where_parser import Comparison, Expression, Negation, Scalar
from askrows.pipeline.store.database import is_sqlite
from askrows.pipeline.store.schema import JSONB

# A text that is a number; the views of a task use the same pattern.
NUMBER_PATTERN = r"-?[0-9]*[.]?[0-9]+([eE][-+]?[0-9]{1,3})?"
# On PostgreSQL, longer texts are no numbers.
MAX_NUMBER_CHARS = 400
# Letters that case folding changes, but lower() of PostgreSQL does not: ß and the final sigma.
_FOLDINGS_BESIDE_LOWER = {"ß": "ss", "\u03c2": "\u03c3"}
_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


# A stored quotation as PostgreSQL writes JSON; the group is its text.
_SERVER_QUOTATION = (
    r'\{"end": \d+, "quote": ("(?:[^"\\]|\\.)*"), "start": \d+(?:, "likeness": [-+.\deE]+)?\}'
)
# The member of a connection's information that says that it has the functions.
_FUNCTIONS_MARK = "askrows_where"
# All characters that `str.strip` removes, for SQL's trim.
_WHITE_SPACE = "".join(filter(str.isspace, map(chr, range(0x3001))))


class JsonCell(NamedTuple):
    """A member of a JSON document that is stored in a column of text."""

    document: ColumnElement[Any]
    # Names that lead from the document to the member.
    path: tuple[str, ...]


def make_json_cell(name: str, json_text: ColumnElement[Any]) -> JsonCell:
    """Return a cell with a value that is computed, not stored; it is empty for NULL.

    Args:
        name: Name of the value in the cell's document, without characters that JSON escapes.
        json_text: SQL expression for the value as JSON, such as `0.93` or `["a"]`.
    """
    opening = literal(f'{{"{name}": ', Text)
    closing = literal("}", Text)
    document = opening.concat(json_text).concat(closing)
    return JsonCell(document, (name,))


def make_json_expression(tx: Connection, cell: JsonCell) -> ColumnElement[str | None]:
    """Return an SQL expression for the value of a cell as JSON text; NULL for a missing member.

    Args:
        tx: The connection that will run the expression.
        cell: The cell, without quotation marks in its path.
    """
    if tx.dialect.name == "sqlite":
        path = "".join(f'."{name}"' for name in cell.path)
        return cell.document.op("->")(f"${path}")
    member = func.jsonb_extract_path(cast(cell.document, JSONB), *cell.path)
    return cast(member, Text)


# Cells by name. A cell of an earlier mapping hides cells of the same name in later mappings.
Scopes = Sequence[Mapping[str, JsonCell]]


def compile_where(
    expression: Expression,
    scopes: Scopes,
    *,
    tx: Connection | None = None,
) -> ColumnElement[bool]:
    """Return the SQL condition of an expression of WHERE=; it can be NULL, which means not met.

    Args:
        expression: The parsed expression.
        scopes: The cells that the expression can name, as mappings by name. A cell of an earlier
            scope hides cells of the same name in later scopes. The hint of an error lists the first
            names of the first scope, and all of the second.
        tx: The connection that will run the condition. If its database is SQLite, the functions of
            this module are registered on it. None means that an SQLite connection will run the
            condition, on which the caller registered them.

    Raises:
        InputError: The expression names an unknown column.
    """
    return _make_compiler(tx, scopes).make_condition(expression)


def _make_compiler(tx: Connection | None, scopes: Scopes = ()) -> "_Compiler":
    """Return a compiler for a connection, with its functions registered; see `compile_where`."""
    is_server = tx is not None and not is_sqlite(tx)
    # SQLite refuses to replace a function while a statement of the connection runs.
    if tx is not None and not is_server and _FUNCTIONS_MARK not in tx.info:
        register_sql_functions(tx.connection.driver_connection)  # type: ignore[arg-type]
        tx.info[_FUNCTIONS_MARK] = True
    return _Compiler(scopes, is_server)


def register_sql_functions(connection: sqlite3.Connection) -> None:
    """Register the SQL functions of compiled conditions with an SQLite connection.

    These are `askrows_fold`, `askrows_member`, `askrows_has_text` and `askrows_is_number`. An
    earlier registration is replaced.
    """
    match_number = re.compile(NUMBER_PATTERN).fullmatch

    def is_number(value: Any) -> bool:
        return match_number(str(value)) is not None

    connection.create_function("askrows_fold", 1, fold_value, deterministic=True)
    connection.create_function(
        "askrows_member", -1, _extract_member_values_json, deterministic=True
    )
    connection.create_function("askrows_has_text", 2, _has_text, deterministic=True)
    connection.create_function("askrows_is_number", 1, is_number, deterministic=True)


def make_number_expression(tx: Connection, text: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the number that a text is for WHERE=; it is NULL for another text.

    Args:
        tx: The connection that will run the expression.
        text: Expression for the text, never NULL.
    """
    compiler = _make_compiler(tx)
    number_type = Numeric() if compiler.is_server else Float()
    return cast(case((compiler.matches_number(text), text)), number_type)


def fold_value(value: Scalar) -> str:
    """Return a value as text without differences of case and of compatibility forms.

    A number is written as PostgreSQL writes it.
    """
    text = format(Decimal(repr(value)), "f") if isinstance(value, float) else str(value)
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKD", text).casefold())


class _CellValues(NamedTuple):
    """The values in a cell as a table."""

    table: FromClause
    # Expression for the spelling of each value; NULL for a list or an object.
    text: ColumnElement[Any]


@dataclass(frozen=True)
class _Compiler:
    """Makes conditions from expressions."""

    # As in `compile_where`.
    scopes: Scopes
    # The database is PostgreSQL, else SQLite.
    is_server: bool

    def make_condition(self, expression: Expression) -> ColumnElement[bool]:
        """Return the SQL condition of an expression; see `compile_where`.

        All values in a cell are compared, at any depth, except the empty text. An operand is a
        value that the expression compares with, such as 'warm' or 3.

        - `null` is true if the cell has no value.
        - `!=` is true if no value of the cell equals an operand.
        - Every other comparison is true if a value of the cell fits an operand.

        The last two are NULL if the cell has no value to compare. So `tone != 'warm'` is not met by
        a row without a tone. The negation of NULL is NULL.

        If all operands are numbers, only numbers are compared, and texts that are a number, such
        as '3'. Otherwise all values are compared, by their spelling.

        Raises:
            InputError: The expression names an unknown column.
        """
        if isinstance(expression, Negation):
            return not_(self.make_condition(expression.negated))
        if not isinstance(expression, Comparison):
            parts = map(self.make_condition, expression.parts)
            return and_(*parts) if expression.requires_all else or_(*parts)

        cell = self._find_cell_by_exact_or_similar_name(expression)
        values = self.list_values(cell)
        is_present = values.text != ""
        if expression.operator == "null":
            query: Select[Any] = select(literal_column("1")).select_from(values.table)
            return ~query.where(is_present).exists()

        conditions = list(self._iterate_conditions_by_operand_kind(expression, values))
        # Values of different kinds are not equal.
        if len(conditions) > 1:
            conditions = [func.coalesce(fit, literal_column("1 = 0")) for fit in conditions]
        # PostgreSQL has no minimum and maximum of truth values.
        fit_number = cast(or_(*conditions), Integer)
        aggregate: Any = func.max
        if expression.operator == "!=":
            aggregate = func.min
        best_fit = select(aggregate(fit_number)).select_from(values.table).where(is_present)
        return best_fit.scalar_subquery() == 1

    def _iterate_conditions_by_operand_kind(
        self,
        comparison: Comparison,
        values: _CellValues,
    ) -> Iterator[ColumnElement[bool]]:
        """Yield the condition that a value in a cell fits, for each kind of operands.

        The operands of a comparison are the values after its operator: `x IN ('a', 3)` gives a
        condition for the text `a`, then one for the number 3. Texts and truth values are compared
        as folded texts. A kind without operands gives no condition. Infinite operands become the
        largest float. The condition of numbers is NULL for a value that is no number.

        Args:
            comparison: The comparison with its operands.
            values: The values in the compared cell.
        """
        texts = [value for value in comparison.values if isinstance(value, str | bool)]
        max_number = sys.float_info.max
        numbers = [
            str(max(-max_number, min(value, max_number)))
            for value in comparison.values
            if not isinstance(value, str | bool)
        ]

        if texts:
            literals = [literal(fold_value(text)) for text in texts]
            yield self._make_comparison_condition(comparison, self.fold_text(values.text), literals)
        if numbers:
            number = case((self.matches_number(values.text), cast(values.text, Numeric)))
            number_literals = [cast(literal(text, Text), Numeric) for text in numbers]
            yield self._make_comparison_condition(comparison, number, number_literals)

    def _make_comparison_condition(
        self,
        comparison: Comparison,
        value: ColumnElement[Any],
        operands: Sequence[Any],
    ) -> ColumnElement[bool]:
        """Return the condition that a value fits the operands of a comparison.

        - `=`, also for IN: the value equals one of the operands.
        - `!=`: the value equals none of the operands.
        - `contains`: the value contains the first operand.
        - `<`, `<=`, `>`, `>=`: the value is compared with the first operand.

        Args:
            comparison: The comparison with the operator.
            value: Expression for a value of a cell.
            operands: The expressions to compare with, all of the same kind as the value.
        """
        if comparison.operator == "contains":
            return self.contains(value, operands[0])
        if comparison.operator in _OPERATORS:
            compare = _OPERATORS[comparison.operator]
            return compare(value, operands[0])  # type: ignore[no-any-return]
        if comparison.operator == "!=":
            return value.not_in(operands)
        return value.in_(operands)

    def contains(self, text: ColumnElement[Any], part: Any) -> ColumnElement[bool]:
        """Return the condition that a text contains another text."""
        position = func.strpos if self.is_server else func.instr
        return position(text, part) > 0

    def list_values(self, cell: JsonCell) -> _CellValues:
        """Return SQL expressions for the values in a cell at any depth.

        Names of members are not values, a list or an object has no text of its own, and a stored
        quotation is its text.
        """
        return _make_postgresql_cell_values(cell) if self.is_server else _select_sqlite_values(cell)

    def _find_cell_by_exact_or_similar_name(self, comparison: Comparison) -> JsonCell:
        """Return the cell whose name is the column of a comparison.

        If no scope has the exact name, it is the only cell of a scope whose name is equal except
        for case, blanks and punctuation (`job_title` for `Job Title`). An earlier scope hides a
        later one.

        Raises:
            InputError: There is no such cell. The message begins with the offset of the comparison;
                the hint lists names of the first two scopes, and suggests one.
        """
        column = comparison.column
        # An exact name of a later scope precedes a similar name of an earlier scope.
        for cells in (ChainMap(*map(dict, self.scopes)), *self.scopes):
            name = find_column_by_exact_or_folded_name(column, cells)
            if name is not None:
                return cells[name]

        first_names, second_names, *_ = map(list, self.scopes)
        hint = format_column_hint(column, second_names)
        if first_names:
            hint = format_column_hint(column, first_names, second_names)
        raise InputError(f"{comparison.offset}: there is no column {column!r}", hint=hint)

    def matches_number(self, text: ColumnElement[Any]) -> ColumnElement[bool]:
        """Return the condition that a text is a number."""
        if not self.is_server:
            return func.askrows_is_number(text)
        # A longer text could exceed the range of NUMERIC.
        return (func.length(text) <= MAX_NUMBER_CHARS) & text.regexp_match(f"^{NUMBER_PATTERN}$")

    def fold_text(self, text: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return a text without differences of case and of Unicode forms, compared by code points.

        It is the SQL expression for the result of `fold_value`. PostgreSQL changes the letters that
        the database's locale knows.
        """
        if not self.is_server:
            return func.askrows_fold(text)
        folded_text = func.lower(func.normalize(text, literal_column("NFKD")))
        for letter, folding in _FOLDINGS_BESIDE_LOWER.items():
            folded_text = func.replace(folded_text, letter, folding)
        folded_text = func.normalize(folded_text, literal_column("NFC"))
        return folded_text.collate("C")


def _select_sqlite_values(cell: JsonCell) -> _CellValues:
    """Return the values of `_Compiler.list_values` from SQLite's json_tree.

    The connection that runs them needs the functions of `register_sql_functions`.
    """
    # SQLite's own paths have no escapes for a quotation mark in a name.
    member = func.askrows_member(cell.document, *cell.path)
    table = func.json_tree(member).table_valued("type", "atom")
    kind = table.c.type
    return _CellValues(table, case((kind.in_(("true", "false")), kind), else_=table.c.atom))


def _make_postgresql_cell_values(cell: JsonCell) -> _CellValues:
    """Return the values of `_Compiler.list_values` from PostgreSQL's jsonb_path_query."""
    member: ColumnElement[Any] = cast(cell.document, JSONB)
    if cell.path:
        member = func.jsonb_extract_path(member, *cell.path)
    json_text = cast(member, Text)
    member = cast(func.regexp_replace(json_text, _SERVER_QUOTATION, r"\1", "g"), JSONB)
    members = func.jsonb_path_query(member, literal_column("'strict $.**'"))
    table = members.table_valued("leaf").render_derived()
    is_value = func.jsonb_typeof(table.c.leaf).in_(("string", "number", "boolean"))
    text = table.c.leaf.op("#>>")(literal_column("'{}'"))
    return _CellValues(table, case((is_value, text)))


def _extract_member_values_json(document: str | None, *names: str) -> str:
    """Return the JSON of a member of a JSON document, or `null` if there is no such member.

    A list or an object becomes a flat list of its values at any depth. A stored quotation is its
    text.
    """
    member = orjson.loads(document or "null")
    for name in names:
        member = member.get(name) if isinstance(member, dict) else None
    if isinstance(member, list | dict):
        member = [
            leaf["quote"] if is_quotation(leaf) else leaf
            for _, leaf in iterate_leaf_values_with_paths(member)
        ]
    return orjson.dumps(member).decode()


# ---- words in texts


def make_not_blank_condition(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that a cell contains more than white space."""
    to_stripped_text = func.trim(cast(column, Text), _WHITE_SPACE)
    return and_(column.is_not(None), to_stripped_text != "")


def make_word_in_text_condition(
    tx: Connection, text: ColumnElement[Any], word: str
) -> ColumnElement[bool]:
    """Return the condition that a text contains a word, in upper or lower case."""
    compiler = _make_compiler(tx)
    # Lower case is faster than folding, and is enough for a word of ASCII letters.
    if word.isascii():
        return compiler.contains(func.lower(text), word.lower())
    return compiler.contains(compiler.fold_text(text), fold_value(word))


def make_word_in_values_condition(
    tx: Connection, document: ColumnElement[Any], word: str
) -> ColumnElement[bool]:
    """Return the condition that a value in a JSON document contains a word; case is ignored.

    Values are texts, numbers and truth values at any depth. A quotation counts as its text only.
    """
    values = _make_compiler(tx).list_values(JsonCell(document, ()))
    is_fitting = make_word_in_text_condition(tx, values.text, word)
    is_in_values: ColumnElement[bool] = (
        select(values.text).select_from(values.table).where(is_fitting).exists()
    )
    if not (word.isascii() and word.isalnum()):
        return is_in_values
    if is_sqlite(tx):
        # SQLite takes twice as long to list the values, which may also be numbers.
        has_text = func.askrows_has_text(document, word.lower(), type_=Boolean)
        is_in_values = or_(has_text, is_in_values)
    # JSON does not escape such words, and its text is searched much faster.
    return and_(make_word_in_text_condition(tx, document, word), is_in_values)


def _has_text(document: str | None, word: str) -> bool:
    """Return whether a text in a JSON document contains a word of lower-case ASCII letters."""
    return _has_text_with_word(orjson.loads(document or "null"), word.encode())


def _has_text_with_word(value: Any, word: bytes) -> bool:
    """Return whether a text at any depth of a value contains a word in lower case.

    ASCII letters of the text may be in upper case. Names of members are not searched, and of a
    quotation only its text.
    """
    if isinstance(value, str):
        return word in value.encode().lower()
    if is_quotation(value):
        return _has_text_with_word(value["quote"], word)
    if isinstance(value, dict):
        value = list(value.values())
    return isinstance(value, list) and any(_has_text_with_word(member, word) for member in value)
