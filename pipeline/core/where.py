"""Read what WHERE= says of the entries' metadata, such as `hourly_rate < 120 AND currency = 'EUR'`.

    either     = both {OR both}
    both       = one {AND one}
    one        = NOT one | "(" either ")" | column comparison
    comparison = (= | != | < | <= | > | >=) value
               | [NOT] IN "(" value {"," value} ")" | [NOT] CONTAINS 'text' | IS [NOT] NULL
    value      = 120 | 'text' | TRUE | FALSE

A column is written as in the file's header, with its blanks or between double quotes, or in snake case. This module
reads; `pipeline.index.question` and `pipeline.tables.condition` make SQL of it, in which every value is bound.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

from pipeline.core.errors import InputError
from pipeline.core.step import Hint, Option

MAX_WHERE = 2_000  # characters
MAX_DEPTH = 20  # of parentheses and NOT
EXAMPLE = Hint("write it like {}", Option(where="hourly_rate < 120 AND currency = 'EUR'"))

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
    """,
    re.VERBOSE,
)
_END = "end"
_KEYWORDS = frozenset({"and", "or", "not", "in", "is", "contains", "null"})
_SPELLINGS: dict[str, Operator] = {"==": "=", "<>": "!="}


def parse_where(text: str) -> Expression:
    """Return what a WHERE= says."""
    if len(text) > MAX_WHERE:
        raise InputError(f"WHERE has {len(text):,} characters, the limit is {MAX_WHERE:,}", hint="shorten it")
    return _Parser(text).whole()


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        found = _TOKEN.match(text, at)
        if found is None:
            raise _refusal(at, f"{text[at]} is not closed" if text[at] in "'\"" else f"{text[at]!r} is no operator")
        yield _Token(str(found.lastgroup), found[0], at)
        at = found.end()
    yield _Token(_END, "", len(text))


def _refusal(at: int, why: str) -> InputError:
    return InputError(f"WHERE cannot be read at character {at + 1}: {why}", hint=EXAMPLE)


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._place = 0
        self._depth = 0

    def whole(self) -> Expression:
        found = self._either()
        if self._next.kind != _END:
            raise self._missing("AND, OR or the end")
        return found

    @property
    def _next(self) -> _Token:
        return self._tokens[self._place]

    def _take(self) -> _Token:
        taken = self._next
        self._place += 1
        return taken

    def _took(self, *wanted: str) -> bool:
        """Go past the next tokens where they are these keywords or marks, in lower case."""
        ahead = self._tokens[self._place : self._place + len(wanted)]
        is_there = [one.text.lower() for one in ahead if one.kind in {"word", "mark"}] == list(wanted)
        self._place += len(wanted) if is_there else 0
        return is_there

    def _missing(self, what: str) -> InputError:
        found = f"{self._next.text!r} stands there" if self._next.text else "it ends there"
        return _refusal(self._next.at, f"{what} is expected, and {found}")

    def _either(self) -> Expression:
        return self._joined("or", lambda: self._joined("and", self._one))

    def _joined(self, word: str, part: Callable[[], Expression]) -> Expression:
        parts = [part()]
        while self._took(word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else Junction(is_every=word == "and", parts=tuple(parts))

    def _one(self) -> Expression:
        at, is_negated = self._next.at, self._took("not")
        is_open = not is_negated and self._took("(")
        if not is_negated and not is_open:
            return self._comparison()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _refusal(at, f"more than {MAX_DEPTH} parentheses and NOT are open")
        inner = self._one() if is_negated else self._either()
        self._depth -= 1
        if is_open and not self._took(")"):
            raise self._missing("')'")
        return Negation(inner) if is_negated else inner

    def _comparison(self) -> Expression:
        place, column = f"WHERE, character {self._next.at + 1}", self._column()
        if self._next.kind == "operator":
            sign = self._take().text
            return Comparison(column, _SPELLINGS.get(sign) or cast(Operator, sign), (self._value(),), place)
        if self._took("is"):
            is_negated = self._took("not")
            if not self._took("null"):
                raise self._missing("NULL")
            found = Comparison(column, "null", place=place)
        else:
            is_negated = self._took("not")
            found = self._of_several(column, place)
        return Negation(found) if is_negated else found

    def _of_several(self, column: str, place: str) -> Comparison:
        if self._took("contains"):
            if self._next.kind not in {"text", "name"}:
                raise self._missing("a text between single quotes")
            return Comparison(column, "contains", (self._value(),), place)
        if not self._took("in"):
            raise self._missing("=, !=, <, <=, >, >=, IN, CONTAINS or IS NULL")
        if not self._took("("):
            raise self._missing("'('")
        values = [self._value()]
        while self._took(","):
            values.append(self._value())
        if not self._took(")"):
            raise self._missing("',' or ')'")
        return Comparison(column, "=", tuple(values), place)

    def _column(self) -> str:
        """Return the name of a column: one between double quotes, or words up to what is no part of it."""
        if self._next.kind == "name":
            return _unquoted(self._take().text)
        words = []
        while self._next.kind in {"word", "number"} and self._next.text.lower() not in _KEYWORDS:
            words.append(self._take().text)
        if not words:
            raise self._missing("a column")
        return " ".join(words)

    def _value(self) -> Scalar:
        token = self._next
        if token.kind in {"text", "name"}:
            return _unquoted(self._take().text)
        if token.kind == "number":
            text = self._take().text
            return int(text) if text.lstrip("+-").isdigit() else float(text)
        if token.text.lower() in {"true", "false"}:
            return self._take().text.lower() == "true"
        if token.text.lower() == "null":
            raise _refusal(token.at, "an empty cell is found by IS NULL")
        raise self._missing("a number, TRUE, FALSE or a text between single quotes")


def _unquoted(text: str) -> str:
    return text[1:-1].replace(text[0] * 2, text[0])
