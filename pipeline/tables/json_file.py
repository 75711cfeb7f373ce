"""Read rows of a JSON file: a list of objects, one object, or JSON lines; a broken element does not spoil others.

A scanner that knows only strings and brackets finds the elements of a list at flat memory, with their lines.
"""

import contextlib
import json
import re
from collections.abc import Iterator
from typing import NamedTuple, TextIO

import orjson

from pipeline.core.text import BAD_TEXT
from pipeline.tables.findings import Finding, excerpt, rejected
from pipeline.tables.layout import Layout, TextRow, row_of
from pipeline.tables.text_file import TextLine

PIECE = 1 << 20  # characters read at a time, besides the longest element
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"|["{}\[\],]', re.DOTALL)  # a whole string, or a sign; a lone quote is open
_DEPTH = {"{": 1, "[": 1, "}": -1, "]": -1}
_SPACE = re.compile(r"\s*+")
_LONG_NUMBER = re.compile(r"[0-9]{19}")  # past what the quick parser keeps exactly


class Document(NamedTuple):
    """One JSON text and the physical line where it starts; what it holds is not looked at yet."""

    line: int
    text: str


class _UnsoundError(ValueError):
    """A JSON text holds what cannot be kept to the letter; `name` is that of the value in an object, if it is one."""

    def __init__(self, reason: str, *, name: str = "") -> None:
        """Keep what the finding will say."""
        super().__init__(reason)
        self.name = name


def parse_json(text: str) -> object:
    """Return the value of a JSON text; as Python's own parser it takes NaN, Infinity and lone surrogates.

    Raises:
        ValueError: it is no JSON, or nests too deeply to be read. The message says why.
    """
    if not _LONG_NUMBER.search(text):
        with contextlib.suppress(orjson.JSONDecodeError):
            return orjson.loads(text)
    return _by_python(text)


def _by_python(text: str) -> object:
    """Return what Python's own parser reads."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("no JSON: nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"no JSON: {error}") from None


def parse_strictly(text: str) -> object:
    """Return the value of a JSON text that holds UTF-8 and nothing but JSON.

    Raises:
        ValueError: it is none.
    """
    wrong: Exception | None = None
    try:
        if not _LONG_NUMBER.search(text):
            return orjson.loads(text)
        orjson.loads(text)
    except orjson.JSONDecodeError as error:
        wrong = error
    if bad := BAD_TEXT.search(text):
        raise _UnsoundError(f"not UTF-8, from byte {len(text[: bad.start()].encode()) + 1} on")
    value = _by_python(text)
    for name, one in value.items() if isinstance(value, dict) else ():
        if BAD_TEXT.search(json.dumps([name, one], ensure_ascii=False)):
            raise _UnsoundError("holds half a character (a lone surrogate)", name=name)
    if wrong is not None:
        raise _UnsoundError(f"no JSON: {wrong}")
    return value


def json_rows(
    documents: Iterator[Document | Finding], *, layout: Layout, ignored: dict[str, None]
) -> Iterator[TextRow | Finding]:
    """Yield the rows of a file, and a finding for each document that holds none."""
    parsed = parse_json if layout.guesses else parse_strictly
    for document in documents:
        if isinstance(document, Finding):
            yield document
            continue
        try:
            value = parsed(document.text)
        except ValueError as error:
            name = error.name if isinstance(error, _UnsoundError) else ""
            yield rejected(document.line, str(error), document.text, column=excerpt(name))
        else:
            yield row_of(value, line=document.line, layout=layout, ignored=ignored)


def of_lines(lines: Iterator[TextLine], *, layout: Layout) -> Iterator[Document | Finding]:
    """Yield the documents of a JSON lines file, one a line; blank lines are passed over."""
    for line in lines:
        if not line.is_whole:
            yield rejected(line.number, f"longer than {layout.max_line:,} characters", line.text)
        elif not line.text.isspace():
            yield Document(line.number, line.text.strip())


def of_list(file: TextIO, *, layout: Layout) -> Iterator[Document | Finding]:
    """Yield the elements of a JSON list, at flat memory; a file that is no list is one document."""
    scanner = _Scanner(file, max_size=layout.max_line)
    is_list = scanner.next_sign() == "["
    if is_list:
        scanner.drop(1)
    while (sign := scanner.next_sign()) not in {"", "]"}:
        element = scanner.element(is_list=is_list)
        yield element
        if isinstance(element, Finding):
            return
        if scanner.next_sign() == ",":
            scanner.drop(1)
    if is_list:
        yield from scanner.end(is_closed=sign == "]")


class _Scanner:
    """Walks through a JSON text by its strings, brackets and commas; an element at a time is in memory."""

    def __init__(self, file: TextIO, *, max_size: int) -> None:
        """Read from the start of a file; no element may have more characters than `max_size`."""
        self._file = file
        self._max_size = max_size
        self._text = ""
        self._at = 0  # how much of the text has been taken
        self._line = 1  # the physical line of the first character not taken

    def next_sign(self) -> str:
        """Return the next character that is no white space, without taking it; empty at the end."""
        while self._fill():
            space = _SPACE.match(self._text, self._at)
            self.drop(space.end() - self._at if space else 0)
            if self._at < len(self._text):
                break
        return self._text[self._at : self._at + 1]

    def drop(self, count: int) -> str:
        """Take so many characters off the front and return them."""
        taken = self._text[self._at : self._at + count]
        self._at += count
        self._line += taken.count("\n")
        return taken

    def element(self, *, is_list: bool) -> Document | Finding:
        """Take everything up to the comma or bracket that ends this element of a list, or all that is left."""
        self._fill()
        depth, why = 0, ""
        for token in _TOKEN.finditer(self._text, self._at) if is_list else ():
            if token[0] == '"':
                why = "a text is not closed"
                break
            if depth == 0 and token[0] in {",", "]"}:
                return self._taken(token.start() - self._at)
            depth = max(0, depth + _DEPTH.get(token[0], 0))
        left = len(self._text) - self._at
        why = why or ("the file ends inside this element" if depth else "")
        return self._taken(left) if left > self._max_size or not why else self._told(why)

    def end(self, *, is_closed: bool) -> Iterator[Finding]:
        """Yield what is wrong with the end of a list, if anything."""
        if not is_closed:
            yield self._told("the list is not closed")
            return
        self.drop(1)
        if self.next_sign():
            yield self._told("text after the end of the list")

    def _taken(self, count: int) -> Document | Finding:
        """Take so many characters as one document, unless they are too many."""
        if count > self._max_size:
            return self._told(f"longer than {self._max_size:,} characters; nothing after it was read")
        return Document(self._line, self.drop(count).strip())

    def _told(self, reason: str) -> Finding:
        return rejected(self._line, reason, self._text[self._at : self._at + PIECE])

    def _fill(self) -> bool:
        """Have more characters in memory than an element may have, or all there are; false where there are none."""
        if len(self._text) - self._at <= self._max_size:
            self._text = self._text[self._at :] + self._file.read(self._max_size + PIECE)
            self._at = 0
        return self._at < len(self._text)
