"""Read rows from JSON: a list of objects, a single object, or an object on each line."""

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import TextIO

from pipeline.core.errors import InputError
from pipeline.tables.cells import parse_json
from pipeline.tables.input_file import InputFile
from pipeline.tables.row_findings import Finding, SourceRow, make_rejection

# Rows whose names are the columns.
_MAX_SAMPLED_ROWS = 50
# Characters of a JSON list that are read at a time.
_CHUNK_CHARS = 1 << 20
_JSON_DECODER = json.JSONDecoder()
# A string after its opening quote; its closing quote is missing at the end of a chunk.
_STRING_REST = r'(?:[^"\\]++|\\.)*+"'
_STRING_END = re.compile(_STRING_REST, re.DOTALL)
# The text up to the next character that can end an element of a list: a bracket or a comma. Within
# an element commas do not end it. An opening quote is the mark of a string that does not end.
_NEXT_MARK = re.compile(rf'(?:[^"{{}}\[\],]++|"{_STRING_REST})*+([{{}}\[\],"])', re.DOTALL)
_NEXT_BRACKET = re.compile(rf'(?:[^"{{}}\[\]]++|"{_STRING_REST})*+([{{}}\[\]"])', re.DOTALL)
_DEPTH_CHANGE_BY_MARK = {"{": 1, "[": 1, "}": -1, "]": -1, ",": 0}


class JsonLinesTable:
    """The rows of a file with JSON lines.

    Attributes:
        names: The names in the first 50 sound rows.
    """

    def __init__(self, file: InputFile) -> None:
        """Read the first rows, to find the names."""
        self._file = file
        names = dict[str, None]()
        for row in islice(self.read_rows(), _MAX_SAMPLED_ROWS):
            if isinstance(row, SourceRow):
                names.update(dict.fromkeys(row.values))
        self.names = list(names)

    def read_rows(self) -> Iterator[SourceRow | Finding]:
        """Yield the row of each line of JSON; blank lines are skipped.

        A line that is too long, is not JSON, or is not an object gives a finding.
        """
        with self._file.open() as text_file:
            for line_number, text in enumerate(self._file.read_lines(text_file), start=1):
                is_cut = len(text) >= self._file.max_line_chars
                if is_cut and not text.endswith(self._file.line_end):
                    yield self._reject_long_row(line_number, text)
                elif not text.isspace():
                    yield _parse_row(line_number, text.strip())

    def _reject_long_row(self, line_number: int, text: str) -> Finding:
        reason = f"longer than {self._file.max_line_chars:,} characters"
        return make_rejection(line_number, reason, text)


class JsonTable(JsonLinesTable):
    """The rows of a JSON list, or of a single object; see `JsonLinesTable`."""

    def read_rows(self) -> Iterator[SourceRow | Finding]:
        """Yield the elements of a JSON list with their lines; a single object is one row.

        The list is read in chunks. An element that is too long, or is no object, gives a finding.
        A file that is neither a list nor an object gives one finding.

        Raises:
            InputError: The list is invalid, is not closed, or is followed by text.
        """
        with self._file.open() as text_file:
            text = text_file.read(_CHUNK_CHARS)
            if not text.lstrip().startswith("["):
                text += text_file.read(self._file.max_line_chars)
                yield _parse_row(1, text.strip())
                return

            text_file.seek(0)
            for line_number, text in self._split_list(text_file):
                if len(text) > self._file.max_line_chars:
                    yield self._reject_long_row(line_number, text)
                    continue
                row = _parse_row(line_number, text.strip())
                if isinstance(row, Finding):
                    self._check_element(line_number, text)
                yield row

    def _split_list(self, text_file: TextIO) -> Iterator[tuple[int, str]]:
        """Yield the line and the text of each element of a JSON list.

        A text above the size limit is cut behind the limit. An element ends at a comma or bracket
        outside its own brackets and strings.

        Raises:
            InputError: The list is not closed, or is followed by text.
        """
        # The text of the current element, and the lines of its beginning and its end.
        element = ""
        start_line = 1
        end_line = 1
        is_ended = False
        for piece, mark in _iterate_pieces(text_file):
            if is_ended and (mark or piece.strip()):
                raise self._make_list_error(end_line, "text after the end of the list")
            element = f"{element}{piece}"[: 2 * self._file.max_line_chars]
            end_line += piece.count("\n")
            if not mark:
                continue

            if mark == "," or element.strip():
                yield _find_start(element, start_line), element.lstrip()
            element = ""
            start_line = end_line
            is_ended = mark == "]"

        if not is_ended:
            reason = "not a valid JSON list: the list is not closed"
            raise self._make_list_error(_find_start(element, start_line), reason)

    def _check_element(self, line_number: int, text: str) -> None:
        """Raise InputError if the text of an element is not JSON, so that its end is uncertain."""
        try:
            _JSON_DECODER.decode(text)
        except json.JSONDecodeError as error:
            reason = error.msg
            if reason == "Extra data":
                reason = "there is no comma between two elements"
            message = f"not a valid JSON list: {reason}"
            raise self._make_list_error(line_number, message) from None
        except (ValueError, RecursionError):
            # A number of too many digits, or too deep a nesting, has a certain end.
            return

    def _make_list_error(self, line_number: int, reason: str) -> InputError:
        return self._file.make_error(f", line {line_number}: {reason}", hint="correct the file")


def _iterate_pieces(text_file: TextIO) -> Iterator[tuple[str, str]]:
    """Yield the text of a JSON list in pieces, each with the mark that follows it.

    A mark is a bracket or comma that begins the list, or ends an element or the list. It is empty
    at the end of a chunk of the file. Brackets and commas within an element or a string are text.
    """
    depth = 0
    is_in_string = False
    while chunk := text_file.read(_CHUNK_CHARS):
        # An escape must not be cut in two.
        while chunk.endswith("\\") and (character := text_file.read(1)):
            chunk += character

        offset = 0
        position = 0
        if is_in_string:
            string_end = _STRING_END.match(chunk)
            is_in_string = string_end is None
            position = string_end.end() if string_end else len(chunk)

        while match := (_NEXT_BRACKET if depth > 1 else _NEXT_MARK).match(chunk, position):
            position = match.end()
            mark = match[1]
            if mark == '"':
                is_in_string = True
                break
            depth += _DEPTH_CHANGE_BY_MARK[mark]
            if depth < 1 or (depth == 1 and mark in {"[", ","}):
                yield chunk[offset : position - 1], mark
                offset = position
        yield chunk[offset:], ""


def _find_start(element: str, line_number: int) -> int:
    """Return the line of an element's first character that is no space.

    Args:
        element: The text of the element, with spaces before it.
        line_number: The line of the first of these spaces.
    """
    space_count = len(element) - len(element.lstrip())
    return line_number + element.count("\n", 0, space_count)


def _parse_row(line_number: int, text: str) -> SourceRow | Finding:
    """Return the row of a JSON object; a finding for any other or invalid text."""
    try:
        value = parse_json(text)
    except ValueError as error:
        return make_rejection(line_number, str(error), text)

    if not isinstance(value, dict):
        return make_rejection(line_number, "not an object", value)
    return SourceRow(line_number, value)
