"""Read what WHERE= says of the entries' metadata, such as `hourly_rate < 120 AND currency = 'EUR'`.

    either     = both {OR both}
    both       = one {AND one}
    one        = NOT one | "(" either ")" | column comparison
    comparison = (= | != | < | <= | > | >=) value
               | [NOT] IN "(" value {"," value} ")" | [NOT] CONTAINS 'text' | IS [NOT] NULL
    value      = 120 | 'text' | TRUE | FALSE

A column is written as in the file's header, with its blanks or between double quotes, or in snake case. This module
reads; `pipeline.tables.where_sql` makes SQL of it.
"""

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

from pipeline.core.command_hint import HintTemplate, OptionHint
from pipeline.core.errors import InputError

MAX_WHERE = 2_000  # characters
MAX_DEPTH = 20  # of parentheses and NOT
EXAMPLE = HintTemplate(
    "write it like {}", OptionHint(where="hourly_rate < 120 AND currency = 'EUR'")
)

Scalar = str | float | int | bool
Operator = Literal["=", "!=", "<", "<=", ">", ">=", "contains", "null"]


@dataclass(frozen=True)
class Comparison:
    """A column that is held against values, any of which may fit; with `null`, against none: whether it is empty."""

    column: str
    operator: Operator
    values: tuple[Scalar, ...] = ()
    place: str = ""  # where it was said, for messages


@dataclass(frozen=True)
class Negation:
    """What must not hold."""

    inner: "Expression"


@dataclass(frozen=True)
class Junction:
    """Parts of which every one must hold, or any."""

    is_every: bool
    parts: "tuple[Expression, ...]"


Expression = Comparison | Negation | Junction


class _Token(NamedTuple):
    kind: str  # the name of a group of _TOKEN, or END
    text: str
    at: int  # in characters from 0


_TOKEN = re.compile(
    r"""(?P<number>[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?(?![\w.]))
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
    """Return what a WHERE= says."""
    if len(text) > MAX_WHERE:
        raise InputError(
            f"WHERE has {len(text):,} characters, the limit is {MAX_WHERE:,}", hint="shorten it"
        )
    return _Parser(text).whole()


def _refusal(at: int, why: str) -> InputError:
    return InputError(f"WHERE cannot be read at character {at + 1}: {why}", hint=EXAMPLE)


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = [
            _Token(str(one.lastgroup), one[0], one.start()) for one in _TOKEN.finditer(text)
        ]
        if wrong := next((one for one in self._tokens if one.kind == "wrong"), None):
            is_quote = wrong.text in "'\""
            raise _refusal(
                wrong.at,
                f"{wrong.text} is not closed" if is_quote else f"{wrong.text!r} is no operator",
            )
        self._tokens.append(_Token(_END, "", len(text)))
        self._place = self._depth = 0

    def whole(self) -> Expression:
        found = self._joined("or")
        if self._next.kind != _END:
            raise self._missing("AND, OR or the end")
        return found

    @property
    def _next(self) -> _Token:
        return self._tokens[self._place]

    def _take(self) -> str:
        self._place += 1
        return self._tokens[self._place - 1].text

    def _took(self, wanted: str) -> bool:
        """Go past the next token where it is this keyword or mark, in lower case."""
        is_there = self._next.kind in {"word", "mark"} and self._next.text.lower() == wanted
        self._place += is_there
        return is_there

    def _need(self, wanted: str, what: str = "") -> None:
        if not self._took(wanted):
            raise self._missing(what or wanted.upper())

    def _missing(self, what: str) -> InputError:
        found = f"{self._next.text!r} stands there" if self._next.text else "it ends there"
        return _refusal(self._next.at, f"{what} is expected, and {found}")

    def _joined(self, word: str) -> Expression:
        part = self._one if word == "and" else lambda: self._joined("and")
        parts = [part()]
        while self._took(word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else Junction(is_every=word == "and", parts=tuple(parts))

    def _one(self) -> Expression:
        at = self._next.at
        is_negated = self._took("not")
        if not is_negated and not self._took("("):
            return self._comparison()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _refusal(at, f"more than {MAX_DEPTH} parentheses and NOT are open")
        inner = self._one() if is_negated else self._joined("or")
        self._depth -= 1
        if is_negated:
            return Negation(inner)
        self._need(")", "')'")
        return inner

    def _comparison(self) -> Expression:
        place = f"WHERE, character {self._next.at + 1}"
        column = self._column()
        if self._next.kind == "operator":
            sign = self._take()
            return Comparison(
                column, _SPELLINGS.get(sign) or cast(Operator, sign), (self._value(),), place
            )
        is_null = self._took("is")
        is_negated = self._took("not")
        found = Comparison(column, "null", place=place)
        if is_null:
            self._need("null")
        elif self._took("contains"):
            if self._next.kind not in {"text", "name"}:
                raise self._missing("a text between single quotes")
            found = Comparison(column, "contains", (self._value(),), place)
        else:
            self._need("in", "=, !=, <, <=, >, >=, IN, CONTAINS or IS NULL")
            self._need("(", "'('")
            values = [self._value()]
            while self._took(","):
                values.append(self._value())
            self._need(")", "',' or ')'")
            found = Comparison(column, "=", tuple(values), place)
        return Negation(found) if is_negated else found

    def _column(self) -> str:
        """Return the name of a column: one between double quotes, or words up to what is no part of it."""
        if self._next.kind == "name":
            return _unquoted(self._take())
        words = []
        while self._next.kind in {"word", "number"} and self._next.text.lower() not in _KEYWORDS:
            words.append(self._take())
        if not words:
            raise self._missing("a column")
        return " ".join(words)

    def _value(self) -> Scalar:
        kind, text, at = self._next
        if kind in {"text", "name"}:
            return _unquoted(self._take())
        if kind == "number":
            self._take()
            return int(text) if text.lstrip("+-").isdigit() else float(text)
        if text.lower() in {"true", "false"}:
            return self._take().lower() == "true"
        if text.lower() == "null":
            raise _refusal(at, "an empty cell is found by IS NULL")
        raise self._missing("a number, TRUE, FALSE or a text between single quotes")


def _unquoted(text: str) -> str:
    return text[1:-1].replace(text[0] * 2, text[0])
