"""Read rows of a JSON file: a list of objects, one object, or JSON lines, of which a broken line costs itself alone."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

import orjson

from pipeline.core.errors import InputError
from pipeline.core.text import BAD_TEXT
from pipeline.tables.findings import Finding, excerpt, rejected
from pipeline.tables.layout import Layout, TextRow, row_of
from pipeline.tables.text_file import TextLine

PIECE = 1 << 20  # characters read at a time, besides the longest element
_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*+")
_LONG_NUMBER = re.compile(r"[0-9]{19}")  # past what the quick parser keeps exactly


class Document(NamedTuple):
    """One JSON text and the physical line where it starts; what it holds is not looked at yet."""

    line: int
    text: str


class _UnsoundError(ValueError):
    """A JSON text holds what cannot be kept to the letter; `name` is that of the value in an object, if it is one."""

    def __init__(self, reason: str, *, name: str = "") -> None:
        super().__init__(reason)
        self.name = name


def parse_json(text: str) -> object:
    """Return the value of a JSON text that holds UTF-8 and nothing but JSON.

    Raises:
        ValueError: it is none, or nests too deeply to be read. The message says why.
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
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("no JSON: nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"no JSON: {error}") from None
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
    for document in documents:
        if isinstance(document, Finding):
            yield document
            continue
        try:
            value = parse_json(document.text)
        except ValueError as error:
            name = error.name if isinstance(error, _UnsoundError) else ""
            label = excerpt(layout.label(layout.column_of(name) or name))
            yield rejected(document.line, str(error), document.text, column=label)
        else:
            yield row_of(value, line=document.line, layout=layout, ignored=ignored)


def of_lines(lines: Iterator[TextLine], *, layout: Layout) -> Iterator[Document | Finding]:
    """Yield the documents of a JSON lines file, one a line; blank lines are passed over."""
    for line in lines:
        if not line.is_whole:
            yield rejected(line.number, f"longer than {layout.max_line:,} characters", line.text)
        elif not line.text.isspace():
            yield Document(line.number, line.text.strip())


def of_list(file: TextIO, *, path: Path, layout: Layout) -> Iterator[Document]:
    """Yield the elements of a JSON list at flat memory; a file that is no list is one document.

    Raises:
        InputError: the list is not whole, or one of its elements is no JSON, and nobody knows where the next begins.
    """
    text = file.read(PIECE)
    if not text.lstrip().startswith("["):
        yield Document(1, f"{text}{file.read(layout.max_line)}".strip())
        return
    at = text.index("[") + 1
    line, sign = 1 + text.count("\n", 0, at), ","
    while sign == ",":
        try:
            began, ends, then = _element(text, at)
        except (ValueError, RecursionError) as error:
            more = file.read(PIECE) if len(text) - at <= layout.max_line else ""
            if not more:
                why = error.msg if isinstance(error, json.JSONDecodeError) else error
                said = f"{path}, line {line}: no JSON list: {why}; nothing was imported from there on"
                raise InputError(said, hint="mend the file") from None
            text, at = text[at:] + more, 0
            continue
        line += text.count("\n", at, began)
        if ends > began:
            yield Document(line, text[began:ends])
        line, at, sign = line + text.count("\n", began, then), then, text[then - 1]
    if f"{text[at:]}{file.read(PIECE)}".strip():
        said = f"{path}, line {line}: text after the end of the list; nothing was imported from there on"
        raise InputError(said, hint="mend the file")


def _element(text: str, at: int) -> tuple[int, int, int]:
    """Return where the next element of a list begins and ends, and where it goes on after the comma or bracket."""
    began = ends = _after_space(text, at)
    if text[began : began + 1] != "]":
        _, ends = _DECODER.raw_decode(text, began)
    sign = _after_space(text, ends)
    if text[sign : sign + 1] not in {",", "]"}:
        raise ValueError("the list is not closed, or there is no comma between two elements")
    return began, ends, sign + 1


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at
