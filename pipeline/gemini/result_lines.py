"""Bring a downloaded result into the form that all else reads: one JSON object on each line, with its key as a text.

The API documents that form. It has also been seen to send one JSON list, objects over several lines, keys as numbers,
and keys inside `metadata`. All of these are read with certainty. Nothing else is guessed: what is no such object stays
as it came. Memory holds one object at a time, whatever the size of the file.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from pipeline.core.errors import IncompleteError
from pipeline.core.files import part_of, read_lines, removed_on_error
from pipeline.gemini.remote import LATER, reason_of
from pipeline.gemini.requests import request_key
from pipeline.gemini.responses import BOM, ResultFile, is_error

EMPTY_BODY = "an empty body"
HEAD_BYTES = 65_536  # ours: an error in the place of a result is far shorter
PIECE_BYTES = 1 << 20
# The beginning of a list, or of an object over several lines; an object on one line goes on behind its brace.
_DOCUMENT = re.compile(rb"\[|\{[ \t]*\r?\n")
_OUTSIDE_TEXT = re.compile(rb'["{}\[\]]')
_INSIDE_TEXT = re.compile(rb'["\\]')


def rewrite_as_lines(path: Path, *, task_name: str) -> None:
    """Rewrite a result file so that each line is one object with a text as its key; one that is so stays as it is.

    The same bytes give the same file each time.

    Raises:
        IncompleteError: The file is a list, or objects over several lines, and ends inside of one.
    """
    if _DOCUMENT.match(_head(path)):
        _rewrite(path, read_objects(path), task_name=task_name)
        return

    with ResultFile(path) as results:
        has_odd_keys = results.has_odd_keys
    if has_odd_keys:
        _rewrite(path, (line for _, line in read_lines(path)), task_name=task_name)


def write_inlined(path: Path, entries: Sequence[Any]) -> None:
    """Write the entries of a result that stands in the batch itself as lines."""
    with path.open("wb") as file:
        file.writelines(orjson.dumps(entry) + b"\n" for entry in entries)


def describe_body(path: Path) -> str:
    """Return in words what came in the place of a result, without what rows or answers say."""
    head = _head(path)
    if not head:
        return EMPTY_BODY
    if head.startswith(b"<"):
        return "a page of HTML"
    try:
        document = orjson.loads(head)
    except orjson.JSONDecodeError:
        document = None
    if isinstance(document, dict) and is_error(document.get("error")):
        return f"an error ({reason_of(document['error']) or 'without a reason'})"
    return f"{path.stat().st_size:,} bytes without a key of this batch"


def read_objects(path: Path) -> Iterator[bytes]:
    """Yield the bytes of each object of a JSON list, or of objects one after the other, on one line each.

    Raises:
        IncompleteError: The file ends inside an object or inside the list.
    """
    # Inside a list its objects are one level deeper.
    depth = base = start = 0
    parts = list[bytes]()
    with path.open("rb") as file:
        for piece, end, bracket in _brackets(iter(partial(file.read, PIECE_BYTES), b"")):
            if not bracket:
                parts += [piece[start:]] if depth > base else []
                start = 0
            elif bracket in b"{[":
                start = end - 1 if depth == base else start
                base = 1 if depth == 0 and bracket == b"[" else base
                depth += 1
            else:
                depth = max(0, depth - 1)
                if depth == base and bracket == b"}":
                    yield _on_one_line([*parts, piece[start:end]])
                if depth == base:
                    parts = []
                base = min(base, depth)
    if depth:
        raise IncompleteError("the result ends inside an object", hint=LATER)


def _brackets(pieces: Iterable[bytes]) -> Iterator[tuple[bytes, int, bytes]]:
    """Yield the piece, the offset behind and the byte of each bracket outside texts; no byte at the end of a piece."""
    is_text, position = False, 0
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


def _rewrite(path: Path, objects: Iterable[bytes], *, task_name: str) -> None:
    with removed_on_error(part_of(path)) as draft:
        with draft.open("wb") as file:
            file.writelines(_with_text_key(document, task_name) + b"\n" for document in objects)
        draft.replace(path)


def _on_one_line(parts: Iterable[bytes]) -> bytes:
    # Inside a text a line end is written as an escape, so that these stand between tokens.
    return b"".join(parts).replace(b"\n", b" ").replace(b"\r", b" ")


def _with_text_key(line: bytes, task_name: str) -> bytes:
    """Return a line with its key as a text where it has one as the number of a row, or in `metadata`."""
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        return line
    if not isinstance(document, dict) or isinstance(document.get("key"), str):
        return line

    key, metadata = document.get("key"), document.get("metadata")
    if key is None and isinstance(metadata, dict):
        key = metadata.get("key")
    if isinstance(key, int) and not isinstance(key, bool):
        key = request_key(task_name, str(key))
    return orjson.dumps(document | {"key": key}) if isinstance(key, str) else line
