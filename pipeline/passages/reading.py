r"""Passages read from a JSON lines file of any length, one line in memory at a time.

A line is `{"id", "text", "source"?, "metadata"?}`; whatever else stands in it goes into the metadata. A text is taken
exactly as it is given: no strip, no normalisation, no other line ends. Lines are split on the byte `\n` alone, because
U+2028, U+0085 and their like are legal inside a JSON string; a byte order mark at the start of the file is taken off.
"""

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from pipeline.errors import InputError
from pipeline.records import Kind, Told, excerpt

HINT = 'one passage a line: {"id": "…", "text": "…", "source": "…", "metadata": {…}}'
MAX_ID = 500  # characters: below what an index of PostgreSQL takes (2,704 bytes), and of a key the API must carry back
MAX_LINE = 16 << 20  # bytes; a text of 100,000 characters has 1.2 million at the most, escaped as it may be
OURS = ("id", "text", "source", "metadata")
BOM = b"\xef\xbb\xbf"
EXCERPT = 200  # bytes of a broken line that are looked at for an excerpt
_LONG_NUMBER = re.compile(rb"[0-9]{19}")  # past what the quick parser keeps exactly
_SHOWN = 10  # names of keys in a note
_KEPT = 1000  # names of keys that are remembered


class Passage(NamedTuple):
    """One passage as a file gives it. A source or metadata that are None leave what is stored alone.

    `changes` are told of it and do not keep it out.
    """

    id: str
    text: str
    source: str | None
    metadata: Mapping[str, Any] | None
    line: int
    changes: tuple[Told, ...] = ()


@dataclass(frozen=True)
class _Line:
    """One line of a file: its number, its bytes without line end, and whether they are all of it."""

    number: int
    data: bytes
    is_whole: bool = True


class Passages:
    """The passages of one file; each `iter` reads it anew, and `position` is how many bytes of it were read by then."""

    def __init__(self, path: Path) -> None:
        """Take a file that can be read.

        Raises:
            InputError: there is none, or it is empty.
        """
        self.path = path
        self.position = 0
        self.size = _size_of(path)
        self._others: dict[str, None] = {}

    @property
    def notes(self) -> list[str]:
        """Return what concerns the whole file, complete when it was read to its end."""
        if not self._others:
            return []
        names = [excerpt(name) for name in list(self._others)[:_SHOWN]]
        more = f" and {len(self._others) - _SHOWN} more" if len(self._others) > _SHOWN else ""
        return [f"taken into the metadata: {', '.join(names)}{more}"]

    def __iter__(self) -> Iterator[Passage | Told]:
        """Yield each passage, and what is told of each line that holds none, in the order of the file.

        Raises:
            InputError: the file cannot be read any more.
        """
        self.position = 0
        try:
            for line in self._lines():
                if line.data.strip():
                    yield self._passage(line)
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror}") from None

    def _lines(self) -> Iterator[_Line]:
        r"""Yield the lines of the file; of one that is longer than any passage only the beginning."""
        number = 0
        with self.path.open("rb", buffering=1 << 20) as file:
            while data := file.readline(MAX_LINE):
                number += 1
                self.position += len(data)
                is_whole = data.endswith(b"\n") or len(data) < MAX_LINE
                rest = data
                while not is_whole and rest and not rest.endswith(b"\n"):
                    rest = file.readline(MAX_LINE)
                    self.position += len(rest)
                if number == 1:
                    data = data.removeprefix(BOM)
                yield _Line(number, data if is_whole else data[:EXCERPT], is_whole=is_whole)

    def _passage(self, line: _Line) -> Passage | Told:
        """Return the passage of a line, or why it holds none."""
        if not line.is_whole:
            return _rejected(line, f"longer than {MAX_LINE:,} bytes")
        try:
            value = json.loads(line.data) if _LONG_NUMBER.search(line.data) else orjson.loads(line.data)
        except (ValueError, RecursionError) as error:
            return _unreadable(line, error)
        if not isinstance(value, dict):
            return _rejected(line, "not an object")
        key, why = _id_of(value)
        if why:
            return Told(line.number, "id", why, excerpt(value.get("id", "")), Kind.REJECTED)
        text = value.get("text")
        if why := _wrong_text(value):
            return Told(line.number, "text", why, excerpt(text or ""), Kind.REJECTED, key)
        return self._described(key, str(text), value, line)

    def _described(self, key: str, text: str, value: Mapping[str, Any], line: _Line) -> Passage:
        """Return a passage with its source and metadata, and what is told of them."""
        changes = []
        source, metadata = value.get("source"), value.get("metadata")
        may_hold_nul = b"u0000" in line.data
        if source is not None and (not isinstance(source, str) or "\0" in source):
            changes.append(Told(line.number, "source", "no text, dropped", excerpt(source), Kind.CHANGED, key))
            source = None
        if metadata is not None and not isinstance(metadata, dict):
            changes.append(Told(line.number, "metadata", "no object, dropped", excerpt(metadata), Kind.CHANGED, key))
            metadata = None
        others = {name: one for name, one in value.items() if name not in OURS}
        if others:
            self._note(others)
            metadata = {**others, **(metadata or {})}
        if may_hold_nul and _holds_nul(metadata):
            why = "holds NUL, which PostgreSQL does not take; dropped"
            changes.append(Told(line.number, "metadata", why, "", Kind.CHANGED, key))
            metadata = None
        if not text.strip():
            changes.append(Told(line.number, "text", "empty: kept, and never asked about", "", Kind.NOTED, key))
        return Passage(key, text, source, metadata, line.number, tuple(changes))

    def _note(self, names: Mapping[str, Any]) -> None:
        """Remember keys that went into the metadata."""
        if not names.keys() <= self._others.keys() and len(self._others) < _KEPT:
            self._others.update(dict.fromkeys(names))


def _size_of(path: Path) -> int:
    """Return how many bytes a file has.

    Raises:
        InputError: it is no file with anything in it, or cannot be read.
    """
    try:
        if not path.is_file():
            what = "is a directory" if path.is_dir() else "is no regular file" if path.exists() else "is not there"
            raise InputError(f"{path} {what}; nothing was imported", hint="check the path")
        with path.open("rb"):
            size = path.stat().st_size
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; nothing was imported") from None
    if not size:
        raise InputError(f"{path} is empty; nothing was imported", hint=HINT)
    return size


def _id_of(value: Mapping[str, Any]) -> tuple[str, str]:
    """Return a line's id as text and nothing, or why it has none."""
    found = value.get("id")
    if found is None:
        return "", "missing"
    if isinstance(found, bool) or not isinstance(found, str | int):
        return "", "neither text nor a whole number"
    key = str(found)
    if not key.strip():
        return "", "empty"
    if len(key) > MAX_ID:
        return "", f"longer than {MAX_ID} characters"
    if any(unicodedata.category(one) in {"Cc", "Zl", "Zp", "Cs"} for one in key):
        return "", "holds control characters"
    return key, ""


def _wrong_text(value: Mapping[str, Any]) -> str:
    """Return why a line's text cannot be kept; empty where it can."""
    text = value.get("text")
    if text is None:
        return "missing"
    if not isinstance(text, str):
        return "no text"
    return "holds NUL, which PostgreSQL does not take" if "\0" in text else ""


def _holds_nul(value: object) -> bool:
    """Return whether a text anywhere in a JSON value holds NUL."""
    if isinstance(value, dict):
        return any(_holds_nul(one) for pair in value.items() for one in pair)
    if isinstance(value, list):
        return any(map(_holds_nul, value))
    return isinstance(value, str) and "\0" in value


def _unreadable(line: _Line, error: Exception) -> Told:
    """Return why a line is no JSON: bytes that are no UTF-8, half of a character, or the parser's own word."""
    try:
        text = line.data.decode("utf-8")
    except UnicodeDecodeError as wrong:
        return _rejected(line, f"not UTF-8, from byte {wrong.start + 1} on")
    try:
        value = json.loads(text)
    except RecursionError:
        return _rejected(line, "no JSON: nested too deeply")
    except ValueError as wrong:
        return _rejected(line, f"no JSON: {wrong}")
    if isinstance(value, dict):
        for name in value:
            if _is_torn(value[name]) or _is_torn(name):
                return _rejected(line, "holds half a character (a lone surrogate)", field=name)
    return _rejected(line, f"no JSON: {error}")


def _is_torn(value: object) -> bool:
    """Return whether a JSON value holds a lone surrogate."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _rejected(line: _Line, reason: str, *, field: str = "") -> Told:
    """Return what is told of a line that holds no passage."""
    shown = line.data[:EXCERPT].decode("utf-8", "replace").strip()
    return Told(line.number, excerpt(field), reason, excerpt(shown), Kind.REJECTED)
