"""Rewrite a downloaded result with a JSON object on each line, whose key is a text.

- The API documents that form. It has also sent a JSON list, objects over several lines, keys as
  numbers, and keys inside `metadata`. All of these are read here.
- Lines that are not such objects stay unchanged, because nothing else is guessed.
- Memory contains a single object at a time, whatever the size of the file.
"""

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from askrows.pipeline.core.errors import IncompleteError
from askrows.pipeline.core.files import iterate_lines_with_offsets, new_part_path, removed_on_error
from askrows.pipeline.provider.call_errors import RUN_LATER_HINT
from askrows.pipeline.provider.requests import make_request_key
from askrows.pipeline.provider.responses import (
    decode_json_document,
    format_api_error,
    has_error_content,
)
from askrows.pipeline.provider.result_file import UTF8_BOM, ResultFile

EMPTY_BODY_DESCRIPTION = "an empty body"
# Our own choice: an error that was sent instead of a result is far shorter.
HEAD_BYTES = 65_536
CHUNK_BYTES = 1 << 20
# The beginning of a list, or of an object over several lines. An object on a single line continues
# directly after its brace.
_DOCUMENT_START = re.compile(rb"\[|\{[ \t]*\r?\n")
_TOKEN_OUTSIDE_TEXT = re.compile(rb'["{}\]]')
_TOKEN_INSIDE_TEXT = re.compile(rb'["\\]')


def rewrite_result_as_lines(path: Path, *, task_name: str) -> None:
    """Rewrite a result file in place so that each line is an object with a text as its key.

    A file that has this form already is not written. Lines that are not JSON objects are written
    unchanged. The same bytes give the same file each time. The file is replaced atomically.

    Args:
        path: The result file.
        task_name: The task of the requests; a key that is only a row number is completed with it.

    Raises:
        IncompleteError: The file is a list, or has objects over several lines, and ends inside it
            or inside an object.
    """
    if _DOCUMENT_START.match(_read_head(path)):
        objects = iterate_json_objects(path)
    else:
        with ResultFile(path) as result_file:
            if not result_file.has_invalid_keys:
                return
        objects = (line for _, line in iterate_lines_with_offsets(path))

    with removed_on_error(new_part_path(path)) as draft:
        with draft.open("wb") as file:
            for document in objects:
                file.write(_copy_with_text_key(document, task_name) + b"\n")
        draft.replace(path)


def write_inline_results(path: Path, entries: Sequence[Any]) -> None:
    """Write the inline results of a batch to a file, with a JSON object on each line."""
    lines = [orjson.dumps(entry) + b"\n" for entry in entries]
    path.write_bytes(b"".join(lines))


def describe_unusable_download(path: Path) -> str:
    """Return in words what a downloaded file contains instead of a result.

    The words have no text of a row or an answer. They say that the file is empty, a page of HTML,
    an error of the API, or a number of bytes without a key of this batch. Only the start of the
    file is read.
    """
    head = _read_head(path)
    if not head:
        return EMPTY_BODY_DESCRIPTION
    if head.startswith(b"<"):
        return "an HTML page"

    # A list raises AttributeError, because it has no members.
    with contextlib.suppress(orjson.JSONDecodeError, AttributeError):
        error = orjson.loads(head).get("error")
        if has_error_content(error):
            reason = format_api_error(error) or "without a reason"
            return f"an error ({reason})"
    return f"{path.stat().st_size:,} bytes without a key of this batch"


def iterate_json_objects(path: Path) -> Iterator[bytes]:
    """Yield each object of a JSON list, or of several objects in a row, as a single line.

    Line ends in an object become blanks. Bytes between the objects are left out. The objects are
    not checked to be JSON.

    Raises:
        IncompleteError: The file ends inside an object or inside the list.
    """
    depth = 0
    # The offset in the chunk at which the unfinished object continues.
    start = 0
    last_byte = b""
    # Bytes of the unfinished object in earlier chunks.
    earlier_parts = list[bytes]()
    with path.open("rb") as file:
        chunks = iter(partial(file.read, CHUNK_BYTES), b"")
        for chunk, end, byte in _iterate_brackets_and_chunk_ends(chunks):
            if not byte:
                if depth:
                    earlier_parts.append(chunk[start:])
                start = 0
                continue

            last_byte = byte
            if byte == b"{":
                if depth == 0:
                    start = end - 1
                depth += 1
            elif byte == b"}" and depth:
                depth -= 1
                if depth == 0:
                    document = b"".join([*earlier_parts, chunk[start:end]])
                    earlier_parts = []
                    # Line ends are only between tokens, because texts contain them as escapes.
                    yield document.replace(b"\n", b" ").replace(b"\r", b" ")

    is_unclosed_list = _read_head(path).startswith(b"[") and last_byte != b"]"
    if depth or is_unclosed_list:
        raise IncompleteError("the result ends inside an object or a list", hint=RUN_LATER_HINT)


def _iterate_brackets_and_chunk_ends(chunks: Iterable[bytes]) -> Iterator[tuple[bytes, int, bytes]]:
    """Find each brace and closing bracket outside JSON texts, and the end of each chunk.

    Yields:
        The chunk that contains the mark, the offset in the chunk after the mark, and the byte of
        the mark: b"{", b"}" or b"]". At the end of a chunk the byte is b"".
    """
    is_text = False
    token_pattern = _TOKEN_OUTSIDE_TEXT
    position = 0
    for chunk in chunks:
        while token := token_pattern.search(chunk, position):
            position = token.end()
            byte = token[0]
            if byte == b"\\":
                # Skip the escaped character.
                position += 1
            elif byte == b'"':
                is_text = not is_text
                token_pattern = _TOKEN_INSIDE_TEXT if is_text else _TOKEN_OUTSIDE_TEXT
            else:
                yield chunk, position, byte

        # A backslash at the end of a chunk escapes the first byte of the next chunk.
        position = max(0, position - len(chunk))
        yield chunk, len(chunk), b""


def _read_head(path: Path) -> bytes:
    """Return the first HEAD_BYTES of a file, without a byte order mark and leading whitespace."""
    with path.open("rb") as file:
        return file.read(HEAD_BYTES).removeprefix(UTF8_BOM).lstrip()


def _copy_with_text_key(line: bytes, task_name: str) -> bytes:
    """Return a line whose key is the text member `key`, as the API documents it.

    If the line has no member `key`, its key is the `key` in its `metadata`. If the key is a whole
    number, the number is the id of a row, and the key becomes that of the row's requests
    (`make_request_key`). All other lines are returned unchanged: a line in the documented form, a
    line without a key, and a line that is not an object.
    """
    # These are the errors for a line that is not JSON, or not an object.
    with contextlib.suppress(ValueError, AttributeError):
        document = decode_json_document(line)
        key = document.get("key")
        metadata = document.get("metadata")
        if key is None and isinstance(metadata, dict):
            key = metadata.get("key")
        if isinstance(key, int) and not isinstance(key, bool):
            key = make_request_key(task_name, str(key))
        if isinstance(key, str) and key != document.get("key"):
            return orjson.dumps(document | {"key": key})
    return line
