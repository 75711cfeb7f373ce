"""Refuse a sheet that needs too much memory, before the reading library loads its cells.

The library keeps all cells of the rectangle from A1 to the last cell, blank cells included, and a
shared text once for each cell that has it. So the XML is parsed, and both are counted.
"""

from functools import lru_cache
from pathlib import Path
from xml.parsers import expat
from zipfile import ZipFile

from pipeline.core.errors import InputError

# The library needs 70 bytes for each cell, blank cells included: 350 MB, about as much as for the
# largest image.
MAX_CELLS = 5_000_000
# Of a cell; a row of CSV has as many characters at most.
MAX_CELL_BYTES = 4 << 20
# Of all shared texts, and the texts of all cells together.
MAX_TEXT_BYTES = 256 << 20
_CHUNK_BYTES = 1 << 20


class SheetSize:
    """The cells and texts of a workbook's parsed parts.

    The shared texts are added first, then a sheet. `blank_count` is the number of cells that are
    read as blank, because they have an error, or a formula without a computed value.
    """

    def __init__(self, path: Path) -> None:
        """Begin with nothing; messages name the workbook."""
        self.blank_count = 0
        self._path = path
        # Bytes of each shared text, by its index, of the element that was begun last, and of all.
        self._shared_text_sizes = list[int]()
        self._element_bytes = 0
        self._text_bytes = 0
        # The row and the column, from 1, of the cell that was begun last, and the last of all.
        self._row = 0
        self._column = 0
        self._last_row = 0
        self._last_column = 0
        # Whether the cell that was begun last has the index of a shared text.
        self._is_shared = False
        # The element that was begun last, without its namespace prefix.
        self._element = ""

    def add_part(self, archive: ZipFile, name: str) -> None:
        """Parse the part with the shared texts, or with a sheet, and count its cells and texts.

        Args:
            archive: The workbook.
            name: Name of the part.

        Raises:
            InputError: A limit on cells or bytes is exceeded.
            ExpatError, ValueError, LookupError: It is not a part of a workbook.
        """
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._count_element_start
        parser.CharacterDataHandler = self._count_text
        with archive.open(name) as part:
            while chunk := part.read(_CHUNK_BYTES):
                parser.Parse(chunk)
        parser.Parse(b"", True)  # noqa: FBT003 - the parser takes no keyword

    def _check(self, count: int, limit: int, noun: str) -> None:
        """Raise InputError if a count exceeds its limit."""
        if count > limit:
            raise InputError(
                f"{self._path} has {count:,} {noun}, more than the limit of {limit:,}; "
                "nothing was read",
                hint="delete large or far cells, or save the sheet as CSV",
            )

    def _count_element_start(self, name: str, attributes: dict[str, str]) -> None:
        """Count the start of a cell, a row or a shared text; raises InputError above a limit."""
        self._element_bytes = 0
        previous_element = self._element
        # Most elements are cells and their values, so these are recognized without a split.
        self._element = name if name in {"c", "v"} else name.rpartition(":")[2]
        if self._element == "c":
            self._is_shared = attributes.get("t") == "s"
            self.blank_count += attributes.get("t") == "e"
            self._extend_area_to_cell(attributes.get("r", ""))
        elif self._element == "v":
            self.blank_count -= previous_element == "f"
        elif self._element == "f":
            self.blank_count += 1
        elif self._element == "row":
            self._row = int(attributes.get("r", self._row + 1))
            self._column = 0
        elif self._element == "si":
            self._shared_text_sizes.append(0)

    def _extend_area_to_cell(self, place: str) -> None:
        """Extend the area of the sheet, from A1, to a cell; raises InputError above the limit.

        Args:
            place: A text such as `B7`. A cell without a place follows the cell before it.
        """
        letters = place.rstrip("0123456789")
        self._column = _parse_column_letters(letters) if letters else self._column + 1
        self._row = int(place[len(letters) :] or self._row)
        self._last_row = max(self._last_row, self._row)
        self._last_column = max(self._last_column, self._column)
        area = f"cells in {self._last_row:,} rows and {self._last_column:,} columns"
        self._check(self._last_row * self._last_column, MAX_CELLS, area)

    def _count_text(self, text: str) -> None:
        """Count the bytes of a text, or those of the shared text that a cell refers to.

        Before the first row, the text is a part of the shared text that was begun last, and is
        added to its size.

        Raises:
            InputError: The limit on the bytes of a cell, or of all texts, is exceeded.
            IndexError, ValueError: The cell's index of a shared text is invalid.
        """
        byte_count = len(text.encode())
        if self._element == "v" and self._is_shared and text.strip():
            byte_count = self._shared_text_sizes[int(text)]
        elif self._shared_text_sizes and not self._last_row:
            self._shared_text_sizes[-1] += byte_count
        self._element_bytes += byte_count
        self._check(self._element_bytes, MAX_CELL_BYTES, "bytes in a cell")
        self._text_bytes += byte_count
        self._check(self._text_bytes, MAX_TEXT_BYTES, "bytes of text")


@lru_cache(maxsize=1 << 14)
def _parse_column_letters(letters: str) -> int:
    """Return the number of a column, from 1, by its letters."""
    from xlsxwriter.utility import xl_cell_to_rowcol

    column_index: int = xl_cell_to_rowcol(f"{letters}1")[1]
    return column_index + 1
