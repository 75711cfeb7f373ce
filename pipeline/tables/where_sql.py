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
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cache
from itertools import chain
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
from pipeline.core.where_parser import Comparison, Expression, Negation, Scalar

MAX_NAMED_COLUMNS = 12  # in a message
NUMBER_PATTERN = r"-?[0-9]*[.]?[0-9]+([eE][-+]?[0-9]{1,3})?"  # as in the views of a task
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


Scopes = Sequence[
    Mapping[str, JsonCell]
]  # cells by name; what an earlier scope has hides what a later one has


def compile_where(
    expression: Expression, scopes: Scopes, *, tx: Connection | None = None
) -> ColumnElement[bool]:
    """Return the condition that an expression says of cells; it is NULL where that is unknown.

    It is for the connection `tx`; without one, for a connection of SQLite that has the functions.
    """
    if tx is not None and tx.dialect.name != "sqlite":
        return _ServerCompiler(scopes, tx.dialect.server_version_info or ()).condition(expression)
    if tx is not None:
        register_functions(tx.connection.driver_connection)  # type: ignore[arg-type]
    return _FileCompiler(scopes).condition(expression)


def register_functions(connection: sqlite3.Connection) -> None:
    """Register the SQL functions of compiled conditions with an SQLite connection."""
    connection.create_function("findable_fold", 1, fold, deterministic=True)
    connection.create_function("findable_member", -1, _member_of, deterministic=True)
    is_number = re.compile(NUMBER_PATTERN).fullmatch
    connection.create_function(
        "findable_is_number", 1, lambda text: bool(is_number(text)), deterministic=True
    )


def fold(value: Scalar) -> str:
    """Return a text without differences of case and of compatibility forms; a number as PostgreSQL writes it."""
    text = format(Decimal(repr(value)), "f") if isinstance(value, float) else str(value)
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKD", text).casefold())


class _Leaves(NamedTuple):
    """The values in a cell as a table: each as a text, and conditions of what it is."""

    table: FromClause
    text: ColumnElement[Any]
    is_text: ColumnElement[bool]
    is_truth: ColumnElement[bool]
    is_number: ColumnElement[bool]
    is_whole_cell: ColumnElement[bool]


class _Compiler(ABC):
    place: Any  # the function that finds a text in another one

    def __init__(self, scopes: Scopes, server_version: tuple[Any, ...] = ()) -> None:
        self._scopes = scopes
        self._server_version = server_version

    @abstractmethod
    def leaves(self, cell: JsonCell) -> _Leaves:
        """Return the values in a cell."""

    @abstractmethod
    def folded(
        self, text: ColumnElement[Any], values: Sequence[str], *, is_ordered: bool
    ) -> ColumnElement[Any]:
        """Fold a text as far as it takes to compare it with folded values."""

    def condition(self, expression: Expression) -> ColumnElement[bool]:
        if isinstance(expression, Negation):
            return not_(self.condition(expression.inner))
        if not isinstance(expression, Comparison):
            parts = map(self.condition, expression.parts)
            return and_(*parts) if expression.is_every else or_(*parts)

        leaves = self.leaves(self._cell(expression))
        is_value = leaves.text != ""
        if expression.operator == "null":
            return ~select(literal_column("1")).select_from(leaves.table).where(is_value).exists()

        fits = [*self._fits(expression, leaves)]
        if len(fits) > 1:  # a value of one kind is not equal to one of another
            fits = [func.coalesce(fit, literal_column("1 = 0")) for fit in fits]
        # Not the condition itself: PostgreSQL has no least truth value.
        number = case((or_(*fits), 1), (not_(or_(*fits)), 0))
        best = func.min(number) if expression.operator == "!=" else func.max(number)
        return select(best).select_from(leaves.table).where(is_value).scalar_subquery() == 1

    def _fits(self, comparison: Comparison, leaves: _Leaves) -> Iterator[ColumnElement[bool]]:
        """Yield the condition that a value in a cell fits those of each kind; NULL for a value of another kind."""
        limit = sys.float_info.max
        texts = [fold(one) for one in comparison.values if isinstance(one, str)]
        truths = [fold(one) for one in comparison.values if isinstance(one, bool)]
        numbers = [
            str(max(-limit, min(one, limit)))
            for one in comparison.values
            if not isinstance(one, str | bool)
        ]
        if texts:
            folded = self.folded(leaves.text, texts, is_ordered=comparison.operator in _OPERATORS)
            fit = self._fit(comparison, folded, [literal(one) for one in texts])
            yield case((or_(leaves.is_text, leaves.is_whole_cell), fit))
        if truths:
            yield case(
                (
                    leaves.is_truth,
                    self._fit(comparison, leaves.text, [literal(one) for one in truths]),
                )
            )
        if numbers:
            number = case((leaves.is_number, cast(leaves.text, Numeric)))
            yield self._fit(
                comparison, number, [cast(literal(one, Text), Numeric) for one in numbers]
            )

    def _fit(
        self, comparison: Comparison, cell: ColumnElement[Any], values: Sequence[Any]
    ) -> ColumnElement[bool]:
        if comparison.operator == "contains":
            return self.place(cell, values[0]) > 0  # type: ignore[no-any-return]
        if comparison.operator in _OPERATORS:
            return _OPERATORS[comparison.operator](cell, values[0])  # type: ignore[no-any-return]
        return cell.not_in(values) if comparison.operator == "!=" else cell.in_(values)

    def _cell(self, comparison: Comparison) -> JsonCell:
        named = comparison.column
        exact = (cells[named] for cells in self._scopes if named in cells)
        alike = (
            cells[name]
            for cells in self._scopes
            if (name := column_named(named, cells)) is not None
        )
        if (cell := next(chain(exact, alike), None)) is not None:
            return cell
        names = list({**self._scopes[0], **self._scopes[1]})
        there = ", ".join(names[:MAX_NAMED_COLUMNS]) + (
            " …" if len(names) > MAX_NAMED_COLUMNS else ""
        )
        said = f"{comparison.place}: there is no column {comparison.column!r}"
        raise InputError(said, hint=f"there are {there}")


class _FileCompiler(_Compiler):
    """For SQLite."""

    place = func.instr

    def leaves(self, cell: JsonCell) -> _Leaves:
        # SQLite's own paths have no escapes for a quotation mark in a name.
        member = func.findable_member(cell.document, *cell.path)
        table = func.json_tree(member).table_valued("type", "atom", "parent")
        kind = table.c.type
        atom = table.c.atom
        is_truth = kind.in_(("true", "false"))
        text = case((is_truth, kind), else_=atom)
        is_number = case(
            (kind == "text", func.findable_is_number(atom)), else_=kind.in_(("integer", "real"))
        )
        return _Leaves(table, text, kind == "text", is_truth, is_number, table.c.parent.is_(None))

    def folded(
        self,
        text: ColumnElement[Any],
        values: Sequence[str],  # noqa: ARG002
        *,
        is_ordered: bool,  # noqa: ARG002
    ) -> ColumnElement[Any]:
        return func.findable_fold(text)


class _ServerCompiler(_Compiler):
    """For PostgreSQL. The locale of the database plays no part."""

    place = func.strpos

    def leaves(self, cell: JsonCell) -> _Leaves:
        member = func.jsonb_extract_path(cast(cell.document, JSONB), *cell.path)
        every = func.jsonb_path_query(member, literal_column("'strict $.**'"))
        table = every.table_valued("leaf", with_ordinality="place").render_derived()
        kind = func.jsonb_typeof(table.c.leaf)
        text = case(
            (
                kind.in_(("string", "number", "boolean")),
                table.c.leaf.op("#>>")(literal_column("'{}'")),
            )
        )
        is_number = case(
            (kind == "string", text.regexp_match(f"^{NUMBER_PATTERN}$")), else_=kind == "number"
        )
        return _Leaves(
            table, text, kind == "string", kind == "boolean", is_number, table.c.place == 1
        )

    def folded(
        self, text: ColumnElement[Any], values: Sequence[str], *, is_ordered: bool
    ) -> ColumnElement[Any]:
        if self._server_version < _MIN_NORMALIZING_SERVER:
            return func.replace(func.lower(text), "ß", "ss").collate("C")

        # A letter that none of the values has makes a text another one, whatever becomes of it.
        letters = unicodedata.normalize("NFKD", "".join(values))
        folding = {
            letter: one
            for letter, one in _case_folding().items()
            if is_ordered or one[0] in letters
        }
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


@cache
def _case_folding() -> Mapping[str, str]:
    """Return the case folding of each letter that it changes and NFKD leaves as it is."""
    letters = (letter for letter in map(chr, range(_LAST_CASED)) if letter.casefold() != letter)
    return {
        letter: letter.casefold()
        for letter in letters
        if unicodedata.normalize("NFKD", letter) == letter
    }


def _member_of(document: str | None, *names: str) -> str:
    """Return the JSON of a member of a document, `null` where there is none."""
    member = orjson.loads(document or "null")
    for name in names:
        member = member.get(name) if isinstance(member, dict) else None
    return orjson.dumps(member).decode()
