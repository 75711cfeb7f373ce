"""Read a sealed file of result lines by key, in constant memory.

A key is requested if it was looked up, so a key of the file that no request has stays unrequested.
An anomaly is a line that gives no answer: its key is unknown or repeated, or it cannot be read.
"""

import re
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import orjson

from askrows.pipeline.core.files import iterate_lines_with_offsets
from askrows.pipeline.provider.responses import decode_json_document, make_excerpt, object_or_empty

# Lines that are shown of each kind of anomaly.
MAX_ANOMALY_EXAMPLES = 3
UTF8_BOM = b"\xef\xbb\xbf"
# Line ends are counted in blocks of this size.
_READ_BLOCK_BYTES = 1 << 20
# The end of a line that may contain its key; keys are far shorter.
_LINE_TAIL_BYTES = 2_048
_KEY_AT_START_PATTERN = re.compile(rb'\s*\{\s*"key"\s*:\s*("(?:[^"\\]|\\.)*")\s*[,}]')
_KEY_AT_END_PATTERN = re.compile(rb',\s*"key"\s*:\s*("(?:[^"\\]|\\.)*")\s*\}\s*\Z')


def read_line_key(line: bytes) -> str | None:
    """Return the key of a result line.

    A line that is not valid JSON may show its key at its start or at its end.

    Returns:
        The key. "" if the line is JSON without a text as key, and None if the line is not JSON and
        shows no key or two different keys.
    """
    key, _ = _read_key_and_is_json(line)
    return key


def _read_key_and_is_json(line: bytes) -> tuple[str | None, bool]:
    """Return the key of a result line, and whether the line is JSON.

    The key is "" if a JSON line has no text as key, and None if a broken line shows no key.
    """
    try:
        document = decode_json_document(line)
    except ValueError:
        return _find_key_in_broken_line(line), False

    key = object_or_empty(document).get("key")
    return key if isinstance(key, str) else "", True


def _find_key_in_broken_line(line: bytes) -> str | None:
    """Return the key at the start or end of a broken line, or None if it shows no or two keys."""
    tail_offset = max(0, len(line) - _LINE_TAIL_BYTES)
    matches = (
        _KEY_AT_START_PATTERN.match(line),
        _KEY_AT_END_PATTERN.search(line, tail_offset),
    )
    keys = {_parse_quoted_text(match.group(1)) for match in matches if match}
    return keys.pop() if len(keys) == 1 else None


def _parse_quoted_text(quoted_text: bytes) -> str | None:
    """Parse a JSON text in quotes; return None if it is invalid."""
    try:
        return str(orjson.loads(quoted_text))
    except orjson.JSONDecodeError:
        return None


class ResultFile(AbstractContextManager["ResultFile"]):
    """The lines of a result file, by key.

    After all lookups, each line that is not blank has a requested key, or is counted in
    `unknown_count` or `unreadable_count`. The file stays open until the end of the `with` block.
    """

    def __init__(self, path: Path) -> None:
        """Open and read the file, and record the offset of each line under its key.

        The file stays open; the caller closes it.
        """
        # Lines that are not blank.
        self.line_count = 0
        # Lines that are not JSON, and those of them that show no key.
        self.broken_count = 0
        self.unreadable_count = 0
        # Whether the file ends inside a line.
        self.is_truncated = False
        self._file = path.open("rb")
        # Offsets of the lines of each key, in the order of the file.
        self._offsets_by_key: dict[str, list[int]] = {}
        # Keys that were looked up and have a line, in the order of the lookups.
        self._requested_keys: dict[str, None] = {}
        # Offsets and excerpts of the first unreadable lines.
        self._unreadable_examples: list[tuple[int, str]] = []

        self._index_lines_by_key(path)

    def _index_lines_by_key(self, path: Path) -> None:
        """Read the file once; set the offsets of each key, the counts and `is_truncated`.

        The file is not changed. `is_truncated` becomes true if the last line has no line end,
        begins with "{" and is no valid JSON. Excerpts of the first MAX_ANOMALY_EXAMPLES unreadable
        lines are stored.
        """
        last_offset = 0
        last_line = b""
        is_json = True
        for offset, line in iterate_lines_with_offsets(path):
            last_offset = offset
            last_line = line

            self.line_count += 1
            key, is_json = _read_key_and_is_json(line)
            if not is_json:
                self.broken_count += 1
            if key is not None:
                self._offsets_by_key.setdefault(key, []).append(offset)
                continue

            self.unreadable_count += 1
            if self.unreadable_count <= MAX_ANOMALY_EXAMPLES:
                self._unreadable_examples.append((offset, make_excerpt(line)))

        has_line_end = path.stat().st_size > last_offset + len(last_line)
        is_broken_object = last_line.lstrip().startswith(b"{") and not is_json
        self.is_truncated = is_broken_object and not has_line_end

    def read_and_mark_lines(self, keys: Sequence[str]) -> list[list[bytes]]:
        """Return the raw lines of each key in the order of the file; mark the keys as requested."""
        return [list(map(self._read_line, self._mark_and_find_offsets(key))) for key in keys]

    def mark_keys_requested(self, keys: Iterable[str]) -> None:
        """Mark keys as requested without reading their lines."""
        for key in keys:
            self._mark_and_find_offsets(key)

    def _mark_and_find_offsets(self, key: str) -> Sequence[int]:
        """Return the offsets of the lines of a key, and mark a key with lines as requested.

        The key "" has no offsets, because it collects the lines whose key is not a text.
        """
        if not key or key not in self._offsets_by_key:
            return ()

        self._requested_keys[key] = None
        return self._offsets_by_key[key]

    @property
    def has_invalid_keys(self) -> bool:
        """Return whether the key of a readable line is missing or is not a text."""
        return "" in self._offsets_by_key

    def count_present_keys(self, keys: Iterable[str]) -> int:
        """Return how many of these keys have a line."""
        return sum(key in self._offsets_by_key for key in keys)

    @property
    def duplicate_count(self) -> int:
        """Return the number of lines of requested keys after the first line of each key."""
        return sum(len(self._offsets_by_key[key]) - 1 for key in self._requested_keys)

    @property
    def unknown_count(self) -> int:
        """Return the number of readable lines whose key was not requested or is not a text."""
        unrequested_keys = self._offsets_by_key.keys() - self._requested_keys.keys()
        return sum(len(self._offsets_by_key[key]) for key in unrequested_keys)

    def collect_anomaly_examples(self) -> dict[str, list[tuple[int, str]]]:
        """Return the first MAX_ANOMALY_EXAMPLES lines of each kind that gives no answer.

        Call it after the keys of all requests were looked up: a key that was not looked up is
        unknown. A requested key with several lines is a duplicate; its last line is the example.

        Returns:
            Pairs of line number (from 1) and key, or excerpt if there is no key, under "unknown",
            "duplicate" and "unreadable".
        """
        unknown_lines = sorted(
            (offset, key)
            for key, offsets in self._offsets_by_key.items()
            if key not in self._requested_keys
            for offset in offsets
        )
        requested_offsets = {key: self._offsets_by_key[key] for key in self._requested_keys}
        duplicate_lines = [
            (offsets[-1], key) for key, offsets in requested_offsets.items() if len(offsets) > 1
        ]
        return {
            "unknown": self._describe_lines(unknown_lines),
            "duplicate": self._describe_lines(duplicate_lines),
            "unreadable": self._describe_lines(self._unreadable_examples),
        }

    def _describe_lines(self, lines: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
        """Return line number and excerpt of the first three lines.

        Args:
            lines: Offset and text of each line. An empty text is replaced by the line's content.
        """
        return [
            (self._find_line_number(offset), make_excerpt(text or self._read_line(offset)))
            for offset, text in lines[:MAX_ANOMALY_EXAMPLES]
        ]

    def _read_line(self, offset: int) -> bytes:
        """Return the line at an offset without its line end; the first line without a BOM."""
        self._file.seek(offset)
        line = self._file.readline().rstrip(b"\r\n")
        return line.removeprefix(UTF8_BOM) if offset == 0 else line

    def _find_line_number(self, offset: int) -> int:
        """Return the number of the line at an offset, counted from 1; blank lines count."""
        self._file.seek(0)
        line_number = 1
        for block_offset in range(0, offset, _READ_BLOCK_BYTES):
            block = self._file.read(min(_READ_BLOCK_BYTES, offset - block_offset))
            line_number += block.count(b"\n")
        return line_number

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._file.close()
