"""Compile WHERE= to SQL: the same meaning for the rows of `items` and for the entries of `search`.

A cell is a member of a JSON document; its values are all texts, numbers and truth values in it, at any depth of a list
or an object. A condition is true if any value fits, `!=` if none is equal. It is unknown (NULL), as in SQL, if the cell
is empty or holds nothing of the kind that it is compared with:

- A text is compared with texts, and with a cell that is one number or truth value as it is written. Both are folded:
  Unicode NFKD, case folding, NFC. `<` and `>` go by code points.
- A number is compared with numbers, and with texts that are wholly a number: 3 equals 03 and 3.0.
- TRUE and FALSE are compared with truth values.

Every value is bound. SQLite calls functions of this module. PostgreSQL 12 cannot normalize and uses `lower()` alone.
"""

import operator
import re
import sqlite3
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cache
from typing import Any, NamedTuple

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Numeric,
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
from sqlalchemy.dialects.postgresql import JSONB

from pipeline.core.declaration import column_named
from pipeline.core.errors import InputError
from pipeline.core.where import Comparison, Expression, Negation, Scalar
from pipeline.tables.cells import LARGEST

MAX_NAMED_COLUMNS = 12  # in a message
NUMBER_PATTERN = r"-?[0-9]*[.]?[0-9]+([eE][-+]?[0-9]{1,3})?"  # as in the views of a task
_IN_NO_PATH = re.compile(r'["\\\x00-\x1f]')  # SQLite has no escapes in a path
_LAST_CASED = 0x1F000  # code points from here on have no case
_MIN_NORMALIZING_SERVER = (13,)
_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class JsonCell(NamedTuple):
    """A member of a JSON document, which is a column of text, by the names that lead to it."""

    document: ColumnElement[Any]
    path: tuple[str, ...]


Scopes = Sequence[Mapping[str, JsonCell]]  # cells by name; what an earlier scope has hides what a later one has


def fold_text(text: str) -> str:
    """Return a text without differences of case and of Unicode's compatibility forms."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKD", text).casefold())


def register_functions(connection: sqlite3.Connection) -> None:
    """Give a connection of SQLite the functions that conditions call."""
    for name, arguments, function in (("fold", 1, _fold_atom), ("number", 1, _number_in), ("member", -1, _member_of)):
        connection.create_function(f"findable_{name}", arguments, function, deterministic=True)


def compile_where(expression: Expression, scopes: Scopes, *, tx: Connection | None = None) -> ColumnElement[bool]:
    """Return the condition that an expression says of cells; it is NULL where that is unknown.

    It is for the connection `tx`; without one, for a connection of SQLite that has the functions.
    """
    if tx is not None and tx.dialect.name != "sqlite":
        return _Compiler(scopes, _ServerSql(tx)).condition(expression)
    if tx is not None:
        register_functions(tx.connection.driver_connection)  # type: ignore[arg-type]
    return _Compiler(scopes, _FileSql()).condition(expression)


class _Leaves(NamedTuple):
    """The values in a cell, as a table: conditions of their kinds, each as a text, and as a number or NULL."""

    table: FromClause
    is_text: ColumnElement[bool]
    is_truth: ColumnElement[bool]
    is_whole_cell: ColumnElement[bool]
    text: ColumnElement[Any]
    number: ColumnElement[Any]


class _FileSql:
    """What SQLite needs."""

    place = func.instr

    def leaves(self, cell: JsonCell) -> _Leaves:
        document, path = cell.document, "$" + "".join(f'."{name}"' for name in cell.path)
        if any(map(_IN_NO_PATH.search, cell.path)):
            document, path = func.findable_member(document, *cell.path), "$"

        table = func.json_tree(document, path).table_valued("type", "atom", "parent")
        kind, atom = table.c.type, table.c.atom
        is_truth = kind.in_(("true", "false"))
        number = case((kind == "text", func.findable_number(atom)), (~is_truth, atom))
        return _Leaves(
            table, kind == "text", is_truth, table.c.parent.is_(None), case((is_truth, kind), else_=atom), number
        )

    def folded(self, text: ColumnElement[Any], values: Sequence[str], *, is_ordered: bool) -> ColumnElement[Any]:  # noqa: ARG002
        return func.findable_fold(text)

    def number(self, value: float) -> ColumnElement[Any]:
        is_bindable = isinstance(value, float) or abs(value) <= LARGEST
        return literal(value if is_bindable else float(value))


class _ServerSql:
    """What PostgreSQL needs. The locale of the database plays no part."""

    place = func.strpos

    def __init__(self, tx: Connection) -> None:
        self._normalizes = (tx.dialect.server_version_info or ()) >= _MIN_NORMALIZING_SERVER

    def leaves(self, cell: JsonCell) -> _Leaves:
        member = func.jsonb_extract_path(cast(cell.document, JSONB), *cell.path)
        every = func.jsonb_path_query(member, literal_column("'strict $.**'"))
        table = every.table_valued("leaf", with_ordinality="place").render_derived()
        kind = func.jsonb_typeof(table.c.leaf)
        text = case((kind.in_(("string", "number", "boolean")), table.c.leaf.op("#>>")(literal_column("'{}'"))))
        is_number = or_(kind == "number", and_(kind == "string", text.regexp_match(f"^{NUMBER_PATTERN}$")))
        number = case((is_number, cast(text, Numeric)))
        return _Leaves(table, kind == "string", kind == "boolean", table.c.place == 1, text, number)

    def folded(self, text: ColumnElement[Any], values: Sequence[str], *, is_ordered: bool) -> ColumnElement[Any]:
        """Fold a text as far as it takes to compare it with folded values: what has no letter of theirs differs."""
        if not self._normalizes:
            return func.replace(func.lower(text), "ß", "ss").collate("C")

        letters = unicodedata.normalize("NFKD", "".join(values))
        folding = {letter: one for letter, one in _case_folding().items() if is_ordered or one[0] in letters}
        single = {letter: one for letter, one in folding.items() if len(one) == 1}
        folded = func.normalize(text, literal_column("NFKD"))
        for letter in folding.keys() - single.keys():
            folded = func.replace(folded, letter, folding[letter])
        folded = func.translate(folded, "".join(single), "".join(single.values()))
        folded = func.normalize(folded, literal_column("NFC"))
        if not is_ordered:
            return folded

        # Most texts are ASCII, and to look up all letters takes long.
        is_ascii = func.octet_length(text) == func.length(text)
        return case((is_ascii, func.lower(text.collate("C"))), else_=folded).collate("C")

    def number(self, value: float) -> ColumnElement[Any]:
        return cast(literal(str(value), Text), Numeric)


class _Compiler:
    def __init__(self, scopes: Scopes, sql: _FileSql | _ServerSql) -> None:
        self._scopes, self._sql = scopes, sql

    def condition(self, expression: Expression) -> ColumnElement[bool]:
        if isinstance(expression, Negation):
            return not_(self.condition(expression.inner))
        if not isinstance(expression, Comparison):
            parts = map(self.condition, expression.parts)
            return and_(*parts) if expression.is_every else or_(*parts)
        return self._comparison(expression)

    def _comparison(self, comparison: Comparison) -> ColumnElement[bool]:
        leaves = self._sql.leaves(self._cell(comparison))
        is_value = leaves.text != ""
        if comparison.operator == "null":
            return ~select(literal_column("1")).select_from(leaves.table).where(is_value).exists()

        fits = [*self._fits(comparison, leaves)]
        if len(fits) > 1:  # a value of one kind is not equal to one of another
            fits = [func.coalesce(fit, literal_column("1 = 0")) for fit in fits]
        fit = or_(*fits)
        best = func.min if comparison.operator == "!=" else func.max
        # not the condition itself: a database may have no least or largest truth value
        each = select(best(case((fit, 1), (~fit, 0)))).select_from(leaves.table).where(is_value)
        return each.scalar_subquery() == 1

    def _fits(self, comparison: Comparison, leaves: _Leaves) -> Iterator[ColumnElement[bool]]:
        """Yield the condition that a value in a cell fits those of each kind; NULL for a value of another kind."""
        texts = [fold_text(one) for one in comparison.values if isinstance(one, str)]
        truths = [str(one).lower() for one in comparison.values if isinstance(one, bool)]
        numbers = [_bounded(one) for one in comparison.values if not isinstance(one, str | bool)]
        if texts:
            is_ordered = comparison.operator in _OPERATORS
            is_of_kind = or_(leaves.is_text, leaves.is_whole_cell)
            folded = self._sql.folded(leaves.text, texts, is_ordered=is_ordered)
            yield case((is_of_kind, self._fit(comparison, folded, list(map(literal, texts)))))
        if truths:
            yield case((leaves.is_truth, self._fit(comparison, leaves.text, list(map(literal, truths)))))
        if numbers:
            yield self._fit(comparison, leaves.number, list(map(self._sql.number, numbers)))

    def _fit(self, comparison: Comparison, cell: ColumnElement[Any], values: Sequence[Any]) -> ColumnElement[bool]:
        if comparison.operator == "contains":
            return self._sql.place(cell, values[0]) > 0
        if comparison.operator in _OPERATORS:
            return _OPERATORS[comparison.operator](cell, values[0])  # type: ignore[no-any-return]
        return cell.not_in(values) if comparison.operator == "!=" else cell.in_(values)

    def _cell(self, comparison: Comparison) -> JsonCell:
        for cells in self._scopes:
            if (name := column_named(comparison.column, cells)) is not None:
                return cells[name]
        names = list(dict.fromkeys(name for cells in self._scopes[:2] for name in cells))
        there = ", ".join(names[:MAX_NAMED_COLUMNS]) + (" …" if len(names) > MAX_NAMED_COLUMNS else "")
        said = f"{comparison.place}: there is no column {comparison.column!r}"
        raise InputError(said, hint=f"there are {there}")


def _bounded(value: float) -> float:
    """Return a number that every database can hold."""
    return max(-sys.float_info.max, min(value, sys.float_info.max))


@cache
def _case_folding() -> Mapping[str, str]:
    """Return every letter of NFKD that case folding changes, with what it becomes."""
    letters = (letter for letter in map(chr, range(_LAST_CASED)) if letter.casefold() != letter)
    return {letter: letter.casefold() for letter in letters if unicodedata.normalize("NFKD", letter) == letter}


def _fold_atom(atom: Scalar | None) -> str | None:
    """Return a value of JSON as a folded text; a number is written as PostgreSQL does."""
    if isinstance(atom, float):
        return format(Decimal(repr(atom)), "f")
    return None if atom is None else fold_text(str(atom))


def _number_in(text: str) -> float | None:
    """Return the number that a text wholly is, or None."""
    if not re.fullmatch(NUMBER_PATTERN, text):
        return None
    is_whole = text.removeprefix("-").isdecimal() and abs(int(text)) <= LARGEST
    return int(text) if is_whole else float(text)


def _member_of(document: str | None, *names: str) -> str | None:
    """Return the JSON of a member of a document, None where there is none."""
    member = orjson.loads(document or "null")
    for name in names:
        member = member.get(name) if isinstance(member, dict) else None
    return None if member is None else orjson.dumps(member).decode()
