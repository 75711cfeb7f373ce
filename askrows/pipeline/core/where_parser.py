"""Parse WHERE=, a condition on the cells of rows: `stars < 3 AND NOT verdict = 'praise'`.

    condition  = all {OR all}
    all        = part {AND part}
    part       = NOT part | "(" condition ")" | column comparison
    comparison = (= | != | < | <= | > | >=) value
               | [NOT] IN "(" value {"," value} ")" | [NOT] CONTAINS 'text' | IS [NOT] NULL
    value      = 120 | 'text' | TRUE | FALSE

A column is written as in the header of the file, with its blanks, between double quotes, or in
snake case. `askrows.pipeline.rows.where_sql` makes SQL of the result.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

from askrows.pipeline.core.command_hint import HintTemplate, OptionHint
from askrows.pipeline.core.errors import InputError

MAX_WHERE_CHARS = 2_000  # characters
# Open parentheses and NOT.
MAX_DEPTH = 20
WHERE_HINT = HintTemplate(
    "write it like {}",
    OptionHint(where="stars < 3 AND NOT verdict = 'praise'"),
)

Scalar = str | float | int | bool
Operator = Literal["=", "!=", "<", "<=", ">", ">=", "contains", "null"]


@dataclass(frozen=True)
class Comparison:
    """A comparison of a column with values; it is true if any value matches.

    The operator "null" has no values and is true for an empty cell.
    """

    column: str
    operator: Operator
    values: tuple[Scalar, ...] = ()
    # The position in WHERE=, for messages.
    offset: str = ""


@dataclass(frozen=True)
class Negation:
    """A condition that must be false."""

    negated: "Expression"


@dataclass(frozen=True)
class Junction:
    """Conditions of which all (AND) or any (OR) must be true."""

    requires_all: bool
    parts: "tuple[Expression, ...]"


Expression = Comparison | Negation | Junction


def iterate_comparisons(expression: Expression) -> Iterator[Comparison]:
    """Yield all comparisons of an expression, also nested ones, from left to right."""
    if isinstance(expression, Comparison):
        yield expression
    elif isinstance(expression, Negation):
        yield from iterate_comparisons(expression.negated)
    else:
        for part in expression.parts:
            yield from iterate_comparisons(part)


class _Token(NamedTuple):
    # The name of a group of _TOKEN, or _END.
    kind: str
    text: str
    # In characters, from 0.
    offset: int


_TOKEN = re.compile(
    r"""(?P<number>[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?(?![\w.]|-\d))
    | (?P<text>'(?:[^']|'')*')
    | (?P<name>"(?:[^"]|"")*")
    | (?P<operator><=|>=|!=|<>|==|=|<|>)
    | (?P<mark>[(),])
    | (?P<word>[^\s'"<>=!(),]+)
    | (?P<wrong>\S)
    """,
    re.VERBOSE,
)
_END = "end"
_KEYWORDS = frozenset({"and", "or", "not", "in", "is", "contains", "null"})
_SPELLINGS: dict[str, Operator] = {"==": "=", "<>": "!="}


def parse_where(text: str) -> Expression:
    """Parse a WHERE= condition.

    Raises:
        InputError: The text is malformed or too long. The message has the position.
    """
    if len(text) > MAX_WHERE_CHARS:
        raise InputError(
            f"WHERE has {len(text):,} characters, but at most {MAX_WHERE_CHARS:,} are allowed",
            hint="shorten it",
        )
    return _Parser(text).parse()


def _make_syntax_error(offset: int, reason: str) -> InputError:
    return InputError(
        f"WHERE cannot be read at character {offset + 1}: {reason}",
        hint=WHERE_HINT,
    )


class _Parser:
    """A recursive descent parser with a token of lookahead. Its methods raise InputError."""

    def __init__(self, text: str) -> None:
        """Split a text into tokens.

        Raises:
            InputError: A character belongs to no token.
        """
        self._tokens = [
            _Token(str(match.lastgroup), match[0], match.start()) for match in _TOKEN.finditer(text)
        ]
        for token in self._tokens:
            if token.kind == "wrong":
                reason = f"{token.text!r} is not an operator"
                if token.text in "'\"":
                    reason = f"{token.text} is not closed"
                raise _make_syntax_error(token.offset, reason)
        self._tokens.append(_Token(_END, "", len(text)))
        self._index = 0
        self._depth = 0

    def parse(self) -> Expression:
        """Return the expression of the whole text.

        Raises:
            InputError: The syntax is wrong.
        """
        expression = self._parse_junction("or")
        if self._next_token.kind != _END:
            raise self._make_expected_error("AND, OR or the end")
        return expression

    @property
    def _next_token(self) -> _Token:
        return self._tokens[self._index]

    def _take_token(self) -> str:
        self._index += 1
        return self._tokens[self._index - 1].text

    def _take_token_if(self, keyword: str) -> bool:
        """Take the next token if it is a keyword or mark (in lower case), and return whether."""
        is_match = (
            self._next_token.kind in {"word", "mark"} and self._next_token.text.lower() == keyword
        )
        self._index += is_match
        return is_match

    def _require(self, keyword: str, description: str = "") -> None:
        if not self._take_token_if(keyword):
            raise self._make_expected_error(description or keyword.upper())

    def _make_expected_error(self, description: str) -> InputError:
        found_text = "the end"
        if self._next_token.text:
            found_text = repr(self._next_token.text)
        return _make_syntax_error(
            self._next_token.offset, f"expected {description}, found {found_text}"
        )

    def _parse_junction(self, keyword: str) -> Expression:
        """Parse conditions between "or", or between "and"; a single condition is returned as it is.

        Args:
            keyword: "or" or "and"; each condition of "or" is parsed as a junction of "and".

        Raises:
            InputError: The syntax is wrong.
        """

        def parse_part() -> Expression:
            if keyword == "and":
                return self._parse_part()
            return self._parse_junction("and")

        parts = [parse_part()]
        while self._take_token_if(keyword):
            parts.append(parse_part())
        if len(parts) == 1:
            return parts[0]
        return Junction(requires_all=keyword == "and", parts=tuple(parts))

    def _parse_part(self) -> Expression:
        """Parse a negation, a condition in parentheses, or a comparison.

        Raises:
            InputError: The syntax is wrong, or more than MAX_DEPTH parentheses and NOT are open.
        """
        offset = self._next_token.offset
        is_negated = self._take_token_if("not")
        if not is_negated and not self._take_token_if("("):
            return self._parse_comparison()

        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _make_syntax_error(offset, f"more than {MAX_DEPTH} nested parentheses and NOT")
        inner = self._parse_part() if is_negated else self._parse_junction("or")
        self._depth -= 1
        if is_negated:
            return Negation(inner)
        self._require(")", "')'")
        return inner

    def _parse_comparison(self) -> Expression:
        """Parse a column with its operator and values.

        IN becomes "=" with several values. NOT IN, NOT CONTAINS and IS NOT become a negation of the
        comparison without NOT. Whether the column exists is not checked here.

        Raises:
            InputError: The syntax is wrong.
        """
        place = f"WHERE, character {self._next_token.offset + 1}"
        column = self._parse_column_name()
        if self._next_token.kind == "operator":
            sign = self._take_token()
            operator = _SPELLINGS.get(sign) or cast(Operator, sign)
            return Comparison(column, operator, (self._parse_value(),), place)

        is_null = self._take_token_if("is")
        is_negated = self._take_token_if("not")
        if is_null:
            self._require("null")
            comparison = Comparison(column, "null", offset=place)
        elif self._take_token_if("contains"):
            if self._next_token.kind not in {"text", "name"}:
                raise self._make_expected_error("a text between single quotes")
            comparison = Comparison(column, "contains", (self._parse_value(),), place)
        else:
            self._require("in", "=, !=, <, <=, >, >=, IN, CONTAINS or IS NULL")
            comparison = Comparison(column, "=", self._parse_value_list(), place)
        if is_negated:
            return Negation(comparison)
        return comparison

    def _parse_value_list(self) -> tuple[Scalar, ...]:
        """Parse at least one value in parentheses, separated by commas.

        Raises:
            InputError: The syntax is wrong.
        """
        self._require("(", "'('")
        values = [self._parse_value()]
        while self._take_token_if(","):
            values.append(self._parse_value())
        self._require(")", "',' or ')'")
        return tuple(values)

    def _parse_column_name(self) -> str:
        """Parse the name of a column: a name between double quotes, or several plain words.

        The words, which may be numbers, end before a keyword or sign, and are joined by one blank.

        Raises:
            InputError: There is no column.
        """
        if self._next_token.kind == "name":
            return _unquote(self._take_token())

        words = []
        while (
            self._next_token.kind in {"word", "number"}
            and self._next_token.text.lower() not in _KEYWORDS
        ):
            words.append(self._take_token())
        if not words:
            raise self._make_expected_error("a column")
        return " ".join(words)

    def _parse_value(self) -> Scalar:
        """Parse a number, a text or a boolean.

        A text may be between single or double quotes.

        Raises:
            InputError: There is another token; the message for NULL names IS NULL.
        """
        kind, text, offset = self._next_token
        if kind in {"text", "name"}:
            return _unquote(self._take_token())
        if kind == "number":
            self._take_token()
            if text.lstrip("+-").isdigit():
                return int(text)
            return float(text)
        if text.lower() in {"true", "false"}:
            return self._take_token().lower() == "true"
        if text.lower() == "null":
            raise _make_syntax_error(offset, "IS NULL finds empty cells")
        if kind == "word" and text.lower() not in _KEYWORDS:
            raise _make_syntax_error(offset, f"a text needs single quotes: {text!r}")
        raise self._make_expected_error("a number, TRUE, FALSE or a text between single quotes")


def _unquote(text: str) -> str:
    return text[1:-1].replace(text[0] * 2, text[0])
