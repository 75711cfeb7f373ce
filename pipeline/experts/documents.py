"""People in JSON: a list of objects, one object, or JSON lines; one broken element does not take the others with it.

Elements of a list are found by a small scanner that knows only strings and brackets, so that a file of any size is
read at flat memory and every element has the physical line where it starts.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TextIO

from pipeline.experts.encoding import MAX_LINE, Line

PIECE = 1 << 20  # characters read at a time
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"|["{}\[\],]', re.DOTALL)  # a whole string, or a sign; a lone quote is open
_DEPTH = {"{": 1, "[": 1, "}": -1, "]": -1}
_SPACE = re.compile(r"\s*+")


@dataclass(frozen=True)
class Document:
    """One JSON text with the physical line where it starts; what it holds is not looked at yet."""

    line: int
    text: str


@dataclass(frozen=True)
class Unreadable:
    """Where a JSON text ends to make sense, and why; nothing after it is read."""

    line: int
    reason: str
    text: str


def parse(text: str) -> object:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is no JSON, or nests too deeply to be read. The message says why.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def of_lines(lines: Iterator[Line]) -> Iterator[Document | Unreadable]:
    """Yield the documents of a JSON lines file, one a line; blank lines are passed over."""
    for line in lines:
        if not line.is_whole:
            yield Unreadable(line.number, f"longer than {MAX_LINE:,} characters", line.text)
        elif not line.text.isspace():
            yield Document(line.number, line.text.strip())


def of_list(file: TextIO) -> Iterator[Document | Unreadable]:
    """Yield the elements of a JSON list, at flat memory; a file that is no list is one document."""
    scanner = _Scanner(file)
    if scanner.next_sign() != "[":
        yield scanner.rest()
        return
    scanner.drop(1)
    while (sign := scanner.next_sign()) not in {"", "]"}:
        element = scanner.element()
        yield element
        if isinstance(element, Unreadable):
            return
        if scanner.next_sign() == ",":
            scanner.drop(1)
    yield from scanner.end(is_closed=sign == "]")


class _Scanner:
    """Walks through a JSON text by its strings, brackets and commas; keeps in memory what is not yet handed out."""

    def __init__(self, file: TextIO) -> None:
        """Read from the start of a file."""
        self._file = file
        self._text = ""
        self._at = 0  # how much of the text has been taken
        self._line = 1  # the physical line of the first character not taken

    def next_sign(self) -> str:
        """Return the next character that is no white space, without taking it; empty at the end."""
        while True:
            space = _SPACE.match(self._text, self._at)
            self.drop(space.end() - self._at if space else 0)
            if self._at < len(self._text) or not self._fill():
                return self._text[self._at : self._at + 1]

    def drop(self, count: int) -> str:
        """Take so many characters off the front and return them."""
        taken = self._text[self._at : self._at + count]
        self._at += count
        self._line += taken.count("\n")
        return taken

    def rest(self) -> Document | Unreadable:
        """Take everything that is left as one document."""
        while self._left <= MAX_LINE and self._fill():
            pass
        return self._taken(self._left)

    def element(self) -> Document | Unreadable:
        """Take everything up to the comma or bracket that ends this element of the list."""
        depth = position = 0  # the position is counted from the first character not taken
        while self._left <= MAX_LINE + PIECE and position <= MAX_LINE:
            token = _TOKEN.search(self._text, self._at + position)
            if token is None:
                position = self._left
                if self._fill():
                    continue
                if depth == 0:
                    return self._taken(self._left)
                return Unreadable(self._line, "the file ends inside this element", self._text[self._at :])
            if token[0] == '"':
                position = token.start() - self._at
                if self._fill():
                    continue
                return Unreadable(self._line, "a text is not closed", self._text[self._at :])
            if depth == 0 and token[0] in {",", "]"}:
                return self._taken(token.start() - self._at)
            depth = max(0, depth + _DEPTH.get(token[0], 0))
            position = token.end() - self._at
        return self._taken(MAX_LINE + 1)

    def end(self, *, is_closed: bool) -> Iterator[Unreadable]:
        """Yield what is wrong with the end of a list, if anything."""
        line = self._line
        self.drop(1)
        if not is_closed:
            yield Unreadable(line, "the list is not closed", "")
        elif self.next_sign():
            yield Unreadable(self._line, "text after the end of the list", self._text[self._at :])

    @property
    def _left(self) -> int:
        """How many characters are in memory and not taken."""
        return len(self._text) - self._at

    def _taken(self, count: int) -> Document | Unreadable:
        """Take so many characters as one document, unless they are too many."""
        line = self._line
        if count > MAX_LINE:
            reason = f"longer than {MAX_LINE:,} characters; nothing after it was read"
            return Unreadable(line, reason, self._text[self._at :])
        return Document(line, self.drop(count).strip())

    def _fill(self) -> bool:
        """Read another piece of the file; false at its end."""
        piece = self._file.read(PIECE)
        self._text = self._text[self._at :] + piece
        self._at = 0
        return bool(piece)
