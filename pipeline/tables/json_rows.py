"""Read rows from JSON: a list of objects, a single object, or an object on each line."""

import json
import re
from collections.abc import Iterator
from typing import TextIO

import orjson

from pipeline.core.text import SURROGATES
from pipeline.tables.row_findings import Finding, SourceRow, make_rejection
from pipeline.tables.text_file import TextFile

# Characters of a JSON list that are read at a time.
_CHUNK_CHARS = 1 << 20
_JSON_DECODER = json.JSONDecoder()
_JSON_SPACES = re.compile(r"[ \t\r\n]*+")
_JSON_MARKS = re.compile(r'\\.|["{}\[\]]', re.DOTALL)
_DEPTH_CHANGE_BY_MARK = {"{": 1, "[": 1, "}": -1, "]": -1}
_INVALID_JSON_NUMBER = re.compile("-?(?:NaN|Infinity|nan|inf)")
# Numbers that the fast JSON parser may round.
_LONG_NUMBER = re.compile(r"[0-9]{19}")


def read_json_lines(text_file: TextFile, file: TextIO) -> Iterator[SourceRow | Finding]:
    """Yield the row of each line of JSON; blank lines are skipped.

    A line that is too long, is not JSON, or is not an object gives a finding.
    """
    for line_number, text in enumerate(text_file.read_lines(file), start=1):
        if len(text) >= text_file.max_line_chars and not text.endswith(text_file.line_end):
            yield _reject_long_row(text_file, line_number, text)
        elif not text.isspace():
            yield parse_json_row(line_number, text.strip())


def read_json(text_file: TextFile, file: TextIO) -> Iterator[SourceRow | Finding]:
    """Yield the elements of a JSON list with their lines; a single object is one row.

    The list is read in chunks. An element that is no object gives a finding. So does an object
    or list that is too long; its rest is skipped. A file that is neither a list nor an object gives
    one finding.

    Raises:
        InputError: The list is invalid, is not closed, or is followed by text. Also if an
            over-long element is a text or does not end.
    """
    text = file.read(_CHUNK_CHARS)
    if not text.lstrip().startswith("["):
        yield parse_json_row(1, f"{text}{file.read(text_file.max_line_chars)}".strip())
        return

    offset = text.index("[") + 1
    line_number = 1 + text.count("\n", 0, offset)
    separator = ","
    while separator == ",":
        try:
            start, end, next_offset = _find_element(text, offset)
        except (ValueError, RecursionError) as error:
            # The element may be cut at the end of the chunk, be too long, or be invalid.
            remaining_chars = len(text) - offset
            chunk = file.read(_CHUNK_CHARS) if remaining_chars <= text_file.max_line_chars else ""
            if chunk:
                text = text[offset:] + chunk
                offset = 0
                continue

            skipped = None
            if remaining_chars > text_file.max_line_chars:
                skipped = _skip_long_element(
                    file, text[offset:], max_chars=text_file.max_line_chars
                )
            if skipped is None:
                reason = error.msg if isinstance(error, json.JSONDecodeError) else error
                message = f", line {line_number}: not a valid JSON list: {reason}"
                raise text_file.make_error(message, hint="correct the file") from None

            line_number += text.count("\n", offset, _skip_spaces(text, offset))
            yield _reject_long_row(text_file, line_number, text[offset:].lstrip())
            line_break_count, text = skipped
            line_number += line_break_count
            offset = _skip_spaces(text, 0) + 1
            separator = text[offset - 1 : offset]
            continue

        line_number += text.count("\n", offset, start)
        if end > start:
            yield parse_json_row(line_number, text[start:end])
        line_number += text.count("\n", start, next_offset)
        offset = next_offset
        separator = text[next_offset - 1]

    if f"{text[offset:]}{file.read(_CHUNK_CHARS)}".strip():
        raise text_file.make_error(
            f", line {line_number}: text after the end of the list", hint="correct the file"
        )


def _reject_long_row(text_file: TextFile, line_number: int, text: str) -> Finding:
    return make_rejection(line_number, f"longer than {text_file.max_line_chars:,} characters", text)


def _skip_long_element(file: TextIO, text: str, *, max_chars: int) -> tuple[int, str] | None:
    """Read to the end of an over-long object or list in a JSON list, without storing it.

    Args:
        file: The file, after `text`.
        text: The text that was read, from the element on. It is longer than `max_chars`. If the
            element itself is shorter, it is invalid, and None is returned.
        max_chars: The largest number of characters of an element.

    Returns:
        The number of the element's line breaks, and the text that was read after it. None if the
        element cannot be skipped: it is not an object or list, is not longer than the limit, or
        does not end.
    """
    depth = 0
    is_in_string = False
    is_long = False
    line_break_count = -text.count("\n", 0, _skip_spaces(text, 0))
    while text:
        # An escape that is cut in two would hide a quote.
        while text.endswith("\\") and (character := file.read(1)):
            text += character

        for mark in _JSON_MARKS.finditer(text):
            is_in_string ^= mark[0] == '"'
            if not is_in_string:
                depth += _DEPTH_CHANGE_BY_MARK.get(mark[0], 0)
            if depth <= 0 and not is_in_string:
                end = mark.end()
                is_long = is_long or end > max_chars
                line_break_count += text.count("\n", 0, end)
                following_text = text[end:] + file.read(_CHUNK_CHARS)
                if is_long:
                    return (line_break_count, following_text)
                return None

        line_break_count += text.count("\n")
        is_long = True
        text = file.read(_CHUNK_CHARS)
    return None


def _find_element(text: str, offset: int) -> tuple[int, int, int]:
    """Return the offsets of the next element of a JSON list, which begins at or after `offset`.

    For example, in `[7, {"a": 1}]` from offset 3 on they are 4, 12 and 13.

    Returns:
        Its start, its end, and the offset after the comma or bracket that follows it. The character
        before this offset shows whether the list ends. Start and end are equal if a bracket comes
        before any element.

    Raises:
        ValueError: The element is invalid or not complete, or no comma or bracket follows it.
        RecursionError: The element is nested too deeply.
    """
    start = _skip_spaces(text, offset)
    end = start
    if text[start : start + 1] != "]":
        _, end = _JSON_DECODER.raw_decode(text, start)

    separator_offset = _skip_spaces(text, end)
    if text[separator_offset : separator_offset + 1] not in {",", "]"}:
        raise ValueError("the list is not closed, or there is no comma between two elements")
    return start, end, separator_offset + 1


def _skip_spaces(text: str, offset: int) -> int:
    """Return the offset of the next character that is not JSON white space."""
    spaces = _JSON_SPACES.match(text, offset)
    return spaces.end() if spaces else offset


def parse_json(text: str) -> object:
    """Return the value of a JSON text. Whole numbers of any length are read exactly.

    Raises:
        ValueError: The text is not JSON, contains invalid UTF-8 or a lone surrogate, or is nested
            too deeply. The message gives the reason.
    """
    try:
        # This parser refuses lone surrogates, too.
        value: object = orjson.loads(text)
        return json.loads(text) if _LONG_NUMBER.search(text) else value
    except RecursionError:
        raise ValueError("not JSON: nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(_describe_json_fault(text, error)) from None


def _describe_json_fault(text: str, error: json.JSONDecodeError) -> str:
    """Return why a text is not JSON: NaN or infinity, invalid UTF-8, or the parser's reason.

    Args:
        text: The text.
        error: The parser's error, with its position.
    """
    has_minus = text.startswith("-", error.pos - 1)
    number = _INVALID_JSON_NUMBER.match(text, error.pos - 1 if has_minus else error.pos)
    if number:
        place = f"at character {number.start() + 1}"
        return f"not JSON: {number[0]} {place} is not a JSON number (write null instead)"

    bad_text = SURROGATES.search(text)
    if bad_text:
        byte_number = len(text[: bad_text.start()].encode()) + 1
        return f"not UTF-8, from byte {byte_number} on"
    return f"not JSON: {error.msg}, at character {error.pos + 1}"


def parse_json_row(line_number: int, text: str) -> SourceRow | Finding:
    """Return the row of a JSON object; a finding for any other or invalid text."""
    try:
        value = parse_json(text)
    except ValueError as error:
        return make_rejection(line_number, str(error), text)

    if not isinstance(value, dict):
        return make_rejection(line_number, "not an object", value)
    return SourceRow(line_number, value)
