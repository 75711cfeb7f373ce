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
# An element of a list above the limit of a row is skipped; above this one, the file is refused.
_MAX_ELEMENT_CHARS = 32 << 20
# Finds the end of an element. Numbers of any length are read.
_ELEMENT_DECODER = json.JSONDecoder(parse_int=str, parse_float=str)
# The first character of an element, or the end of the list.
_VALUE = re.compile(r"[^\s,]")


class JsonLinesTable:
    """The rows of a file with JSON lines.

    Attributes:
        names: The names in the first 50 sound rows.
    """

    def __init__(self, file: InputFile) -> None:
        """Read the first rows, to find the names."""
        self._file = file
        first_rows = [
            row for row in islice(self.read_rows(), _MAX_SAMPLED_ROWS) if isinstance(row, SourceRow)
        ]
        self.names = list(dict.fromkeys(name for row in first_rows for name in row.values))

    def read_rows(self) -> Iterator[SourceRow | Finding]:
        """Yield the row of each line of JSON; blank lines are skipped.

        A line that is too long, is not JSON, or is not an object gives a finding.
        """
        with self._file.open() as text_file:
            for line_number, text in enumerate(self._file.read_lines(text_file), start=1):
                if not text.isspace():
                    yield self._parse_row(line_number, text.strip(self._file.line_end))

    def _parse_row(self, line_number: int, text: str) -> SourceRow | Finding:
        """Return the row of a JSON object; a finding for any other, invalid or too long text."""
        max_chars = self._file.max_line_chars
        if len(text) >= max_chars:
            return make_rejection(line_number, f"longer than {max_chars:,} characters", text)
        try:
            value = parse_json(text.strip())
        except ValueError as error:
            return make_rejection(line_number, str(error), text.strip())
        if not isinstance(value, dict):
            return make_rejection(line_number, "not an object", value)
        return SourceRow(line_number, value)


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
            if text.lstrip().startswith("["):
                for line_number, element in self._iterate_elements(text_file, text):
                    yield self._parse_row(line_number, element)
            else:
                text += text_file.read(self._file.max_line_chars)
                yield self._parse_row(1, text.strip())

    def _iterate_elements(self, text_file: TextIO, text: str) -> Iterator[tuple[int, str]]:
        """Yield the line and the text of each element of a JSON list.

        Commas between elements are not checked: no row is lost without them.

        Args:
            text_file: The file after `text`.
            text: The beginning of the file, with the beginning of the list.

        Raises:
            InputError: The list is invalid or not closed, an element is far too long or nested too
                deeply, or text follows the list.
        """
        line_number = 1
        position = 0
        end = text.index("[") + 1
        while True:
            start = len(text)
            if value := _VALUE.search(text, end):
                start = value.start()
            line_number += text.count("\n", position, start)
            position = start
            if text.startswith("]", start):
                break
            try:
                _, end = _ELEMENT_DECODER.raw_decode(text, start)
            except (ValueError, RecursionError):
                end = len(text)
            if end < len(text):
                yield line_number, text[start:end]
                continue

            # The element may continue in the next chunk.
            rest = text[start:]
            chunk = text_file.read(max(_CHUNK_CHARS, len(rest)))
            if not chunk or len(rest) > _MAX_ELEMENT_CHARS:
                raise self._make_list_error(line_number)
            text = rest + chunk
            position = 0
            end = 0

        if (text[position + 1 :] + text_file.read(_CHUNK_CHARS)).strip():
            raise self._make_list_error(line_number)

    def _make_list_error(self, line_number: int) -> InputError:
        return self._file.make_error(
            f", line {line_number}: the list is not valid, not closed, or followed by other text",
            hint="correct the file; perhaps its end is missing",
        )
