"""Refuse a sheet that takes too much memory, before the library that reads it holds its cells.

A workbook of 300 KB may unpack to gigabytes, and a text that cells share is held once for each of them. So the XML is
parsed piece by piece, and what the library would hold is counted. On the way, cells are noted that it reads otherwise
than a spreadsheet shows them.
"""

from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from xml.parsers import expat
from zipfile import ZipFile

from pipeline.core.errors import InputError

# The reader holds 70 bytes of each cell, blank ones too: 350 MB, about as much as of the largest image.
MAX_CELLS = 5_000_000
# Of the texts that cells share, and of those of all cells.
MAX_TEXT_BYTES = 256 << 20
# Of one cell; a row of CSV has as many characters at most.
MAX_CELL_BYTES = 4 << 20
# Cells that are noted for a message.
MAX_PLACES = 10_000
# What the reader holds of a shared text besides its characters, and of a merged area.
_HELD_BYTES = {"si": 24, "mergeCell": 200}
_PIECE_BYTES = 1 << 20


class SheetSize:
    """What the reader would hold of the shared texts, and then of one sheet, as far as they were parsed."""

    def __init__(self, path: Path, money_styles: Collection[str]) -> None:
        """Begin with nothing; numbers in some styles are shown as percent or money."""
        self.blank_places = list[str]()
        self.money_places = list[str]()
        self._path = path
        self._money_styles = money_styles
        self._text_sizes = list[int]()
        self._text_bytes = 0
        self._row_count = 0
        self._column_count = 0
        # The attributes of the cell that was begun last, and where it is.
        self._cell: dict[str, str] = {}
        self._row = 0
        self._column = 0
        self._has_formula = False
        self._has_value = False
        self._element = ""

    def add_part(self, packed: ZipFile, name: str) -> None:
        """Parse the shared texts, or the sheet, to the end.

        Raises:
            InputError: A limit is exceeded.
            ExpatError, ValueError: It is no part of a workbook.
        """
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._begin
        parser.CharacterDataHandler = self._add_text
        open_bytes = 0
        with packed.open(name) as part:
            while piece := part.read(_PIECE_BYTES):
                # A text or a tag that is longer than a piece ends in a later one.
                last_tag = piece.rfind(b"<")
                open_bytes = open_bytes + len(piece) if last_tag < 0 else len(piece) - last_tag
                if open_bytes > MAX_CELL_BYTES:
                    place = self._cell.get("r", "a shared text")
                    raise self._refused(f"more than {MAX_CELL_BYTES:,} bytes in {place}")
                parser.Parse(piece)
        parser.Parse(b"", True)  # noqa: FBT003 - the parser takes no keyword
        self._end_cell()

    def _refused(self, what: str) -> InputError:
        message = f"{self._path} has {what}; nothing was read"
        return InputError(message, hint="delete what takes so much, or save the sheet as CSV")

    def _begin(self, name: str, attributes: dict[str, str]) -> None:
        # Most elements are cells and their values, so these are told first.
        self._element = name if name in {"c", "v"} else name.rpartition(":")[2]
        if self._element == "c":
            self._end_cell()
            self._begin_cell(attributes)
        elif self._element == "row":
            self._row = int(attributes.get("r", self._row + 1))
            self._column = 0
        elif self._element == "f":
            self._has_formula = True
        elif self._element in _HELD_BYTES:
            self._text_sizes.append(0)
            self._count(_HELD_BYTES[self._element])

    def _begin_cell(self, attributes: dict[str, str]) -> None:
        self._cell = attributes
        self._has_formula = False
        self._has_value = False
        place = attributes.get("r", "")
        letters = place.rstrip("0123456789")
        self._column = _column_number(letters) if letters else self._column + 1
        self._row = int(place[len(letters) :] or self._row)
        if self._row > self._row_count or self._column > self._column_count:
            self._row_count = max(self._row_count, self._row)
            self._column_count = max(self._column_count, self._column)
            self._check_cells()

    def _check_cells(self) -> None:
        count = self._row_count * self._column_count
        if count > MAX_CELLS:
            from xlsxwriter.utility import xl_col_to_name

            column = xl_col_to_name(self._column_count - 1)
            place = f"column {column} and row {self._row_count:,}"
            raise self._refused(
                f"cells as far out as {place}: {count:,} with blank ones, and {MAX_CELLS:,} are read"
            )

    def _end_cell(self) -> None:
        """Note the cell if it is read otherwise than it is shown."""
        kind = self._cell.get("t", "n")
        places = None
        if kind == "e" or (self._has_formula and not self._has_value):
            places = self.blank_places
        elif self._has_value and kind == "n" and self._cell.get("s") in self._money_styles:
            places = self.money_places
        if places is not None and len(places) < MAX_PLACES:
            places.append(self._cell.get("r", ""))

    def _add_text(self, text: str) -> None:
        size = len(text.encode())
        if self._element == "v" and text.strip():
            self._has_value = True
            if self._cell.get("t") == "s":
                size = self._text_sizes[int(text)]
        elif self._text_sizes and not self._cell:
            self._text_sizes[-1] += size
        self._count(size)

    def _count(self, text_bytes: int) -> None:
        self._text_bytes += text_bytes
        if self._text_bytes > MAX_TEXT_BYTES:
            raise self._refused(f"more than {MAX_TEXT_BYTES:,} bytes of text")


@lru_cache(maxsize=1 << 14)
def _column_number(letters: str) -> int:
    """Return the number of a column from 1."""
    from xlsxwriter.utility import xl_cell_to_rowcol

    column: int = xl_cell_to_rowcol(f"{letters}1")[1]
    return column + 1
