"""Bring a downloaded result into the form that all else reads: one JSON object on each line, with its key as a text.

The API documents that form. It has also been seen to send one JSON list, objects over several lines, keys as numbers,
and keys inside `metadata`. All of these are read with certainty. Nothing else is guessed: what is no such object stays
as it came. Memory holds one object at a time, whatever the size of the file.
"""

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from pipeline.core.errors import IncompleteError
from pipeline.core.files import new_part_path, read_lines, removed_on_error
from pipeline.gemini.remote import LATER, reason_of
from pipeline.gemini.requests import request_key
from pipeline.gemini.responses import BOM, ResultFile, is_error

EMPTY_BODY = "an empty body"
HEAD_BYTES = 65_536  # ours: an error in the place of a result is far shorter
PIECE_BYTES = 1 << 20
# The beginning of a list, or of an object over several lines; an object on one line goes on behind its brace.
_DOCUMENT = re.compile(rb"\[|\{[ \t]*\r?\n")
_OUTSIDE_TEXT = re.compile(rb'["{}\]]')
_INSIDE_TEXT = re.compile(rb'["\\]')


def rewrite_as_lines(path: Path, *, task_name: str) -> None:
    """Rewrite a result file so that each line is one object with a text as its key; one that is so stays as it is.

    The same bytes give the same file each time.

    Raises:
        IncompleteError: The file is a list, or objects over several lines, and ends inside of one.
    """
    objects = read_objects(path)
    if not _DOCUMENT.match(_head(path)):
        objects = (line for _, line in read_lines(path))
        with ResultFile(path) as results:
            if not results.has_odd_keys:
                return

    with removed_on_error(new_part_path(path)) as draft:
        with draft.open("wb") as file:
            file.writelines(_with_text_key(document, task_name) + b"\n" for document in objects)
        draft.replace(path)


def write_inlined(path: Path, entries: Sequence[Any]) -> None:
    """Write the entries of a result that stands in the batch itself as lines."""
    path.write_bytes(b"".join(orjson.dumps(entry) + b"\n" for entry in entries))


def describe_body(path: Path) -> str:
    """Describe a downloaded file that contains no result, without row or answer text."""
    head = _head(path)
    if not head:
        return EMPTY_BODY
    if head.startswith(b"<"):
        return "a page of HTML"
    with contextlib.suppress(orjson.JSONDecodeError, AttributeError):  # a list has no members
        error = orjson.loads(head).get("error")
        if is_error(error):
            return f"an error ({reason_of(error) or 'without a reason'})"
    return f"{path.stat().st_size:,} bytes without a key of this batch"


def read_objects(path: Path) -> Iterator[bytes]:
    """Yield the bytes of each object of a JSON list, or of objects one after the other, on one line each.

    Raises:
        IncompleteError: The file ends inside an object or inside the list.
    """
    depth = start = 0
    last_mark = b""
    parts = list[bytes]()
    with path.open("rb") as file:
        for piece, end, mark in _marks(iter(partial(file.read, PIECE_BYTES), b"")):
            last_mark = mark or last_mark
            if mark == b"{":
                start = end - 1 if depth == 0 else start
                depth += 1
            elif mark == b"}" and depth:
                depth -= 1
                if depth == 0:
                    # Inside a text a line end is written as an escape, so that these stand between tokens.
                    yield (
                        b"".join([*parts, piece[start:end]])
                        .replace(b"\n", b" ")
                        .replace(b"\r", b" ")
                    )
                    parts = []
            elif not mark:
                parts += [piece[start:]] if depth else []
                start = 0
    if depth or (_head(path).startswith(b"[") and last_mark != b"]"):
        raise IncompleteError("the result ends inside an object or a list", hint=LATER)


def _marks(pieces: Iterable[bytes]) -> Iterator[tuple[bytes, int, bytes]]:
    """Yield the piece, the offset behind and the byte of each mark outside texts; no byte at the end of a piece."""
    is_text = False
    position = 0
    for piece in pieces:
        while token := (_INSIDE_TEXT if is_text else _OUTSIDE_TEXT).search(piece, position):
            position = token.end()
            if token[0] == b"\\":
                position += 1
            elif token[0] == b'"':
                is_text = not is_text
            else:
                yield piece, position, token[0]
        # A backslash at the end of a piece takes the first byte of the next one.
        position = max(0, position - len(piece))
        yield piece, len(piece), b""


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES).removeprefix(BOM).lstrip()


def _with_text_key(line: bytes, task_name: str) -> bytes:
    """Return a line with its key as a text where it has one as the number of a row, or in `metadata`."""
    with contextlib.suppress(orjson.JSONDecodeError, AttributeError):  # no JSON, or no object
        document = orjson.loads(line)
        metadata = document.get("metadata")
        key = document.get("key")
        if key is None and isinstance(metadata, dict):
            key = metadata.get("key")
        if isinstance(key, int) and not isinstance(key, bool):
            key = request_key(task_name, str(key))
        if isinstance(key, str) and key != document.get("key"):
            return orjson.dumps(document | {"key": key})
    return line
