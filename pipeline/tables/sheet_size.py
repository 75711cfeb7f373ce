"""Refuse a sheet that needs too much memory, before the reading library loads its cells.

A workbook of 300 KB may unpack to gigabytes, and the library keeps a shared text once for each cell
that has it. So the XML is parsed chunk by chunk, and the memory that the library would need is
counted. The parser also notes errors and formulas that the library reads as blank.
"""

from functools import lru_cache
from pathlib import Path
from xml.parsers import expat
from zipfile import ZipFile

from pipeline.core.errors import InputError

# The library needs 70 bytes for each cell, blank cells included: 350 MB, about as much as for the
# largest image.
MAX_CELLS = 5_000_000
# Of all shared texts, and then of the texts of all cells together.
MAX_TEXT_BYTES = 256 << 20
# Of a cell; a row of CSV has as many characters at most.
MAX_CELL_BYTES = 4 << 20
# Cells that are noted for a message.
MAX_NOTED_PLACES = 10_000
# Bytes that the library needs for a shared text besides its characters, and for a merged area.
_MEMORY_BYTES_BY_ELEMENT = {"si": 24, "mergeCell": 200}
_CHUNK_BYTES = 1 << 20


class SheetSize:
    """The memory that the library would need for the parsed parts of a workbook.

    The shared texts are added first, then a sheet. `blank_places` are the cells (such as "B7") that
    are read as blank because they have an error, or a formula without a computed value.
    """

    def __init__(self, path: Path) -> None:
        """Begin with nothing; messages name the workbook."""
        self.blank_places = list[str]()
        self._path = path
        # Bytes of each shared text, by its index.
        self._shared_text_sizes = list[int]()
        self._text_bytes = 0
        self._row_count = 0
        self._column_count = 0
        # The attributes of the cell that was begun last, and its row and column from 1.
        self._cell: dict[str, str] = {}
        self._row = 0
        self._column = 0
        self._has_formula = False
        self._has_value = False
        # The element that was begun last, without its namespace prefix.
        self._element = ""

    def add_part(self, archive: ZipFile, name: str) -> None:
        """Parse the part with the shared texts, or with a sheet, to its end.

        Adds to the counted memory, and notes the cells that are read as blank.

        Args:
            archive: The workbook.
            name: Name of the part.

        Raises:
            InputError: A limit on cells or bytes is exceeded.
            ExpatError, ValueError, LookupError: It is not a part of a workbook.
        """
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._handle_element
        parser.CharacterDataHandler = self._count_text

        unparsed_bytes = 0
        with archive.open(name) as part:
            while chunk := part.read(_CHUNK_BYTES):
                # A text or a tag that is longer than a chunk ends in a later chunk.
                last_tag = chunk.rfind(b"<")
                if last_tag < 0:
                    unparsed_bytes += len(chunk)
                else:
                    unparsed_bytes = len(chunk) - last_tag
                if unparsed_bytes > MAX_CELL_BYTES:
                    place = self._cell.get("r", "a shared text")
                    raise self._size_error(f"more than {MAX_CELL_BYTES:,} bytes in {place}")
                parser.Parse(chunk)
        parser.Parse(b"", True)  # noqa: FBT003 - the parser takes no keyword
        self._note_blank_cell()

    def _size_error(self, size: str) -> InputError:
        message = f"{self._path} has {size}; nothing was read"
        return InputError(message, hint="delete large or far cells, or save the sheet as CSV")

    def _handle_element(self, name: str, attributes: dict[str, str]) -> None:
        """Handle the start of an XML element; a namespace prefix is ignored.

        - A cell ends the cell before it, and becomes the current cell.
        - A row sets the current row, and begins at its first column.
        - A formula is remembered for the current cell.
        - A shared text or a merged area adds its memory, and gets a text size, which begins at 0.
        - Other elements are only remembered as the current element.

        Raises:
            InputError: A limit is exceeded.
        """
        # Most elements are cells and their values, so these are recognized without a split.
        self._element = name if name in {"c", "v"} else name.rpartition(":")[2]
        if self._element == "c":
            self._note_blank_cell()
            self._set_cell(attributes)
        elif self._element == "row":
            self._row = int(attributes.get("r", self._row + 1))
            self._column = 0
        elif self._element == "f":
            self._has_formula = True
        elif self._element in _MEMORY_BYTES_BY_ELEMENT:
            self._shared_text_sizes.append(0)
            self._count_bytes(_MEMORY_BYTES_BY_ELEMENT[self._element])

    def _set_cell(self, attributes: dict[str, str]) -> None:
        """Set the current cell, whose place may be left out, and extend the sheet's area to it.

        A cell without a place follows the cell before it in its row.

        Raises:
            InputError: The area has too many cells.
        """
        self._cell = attributes
        self._has_formula = False
        self._has_value = False

        place = attributes.get("r", "")
        letters = place.rstrip("0123456789")
        self._column = _parse_column_letters(letters) if letters else self._column + 1
        self._row = int(place[len(letters) :] or self._row)
        if self._row > self._row_count or self._column > self._column_count:
            self._row_count = max(self._row_count, self._row)
            self._column_count = max(self._column_count, self._column)
            self._check_cell_count()

    def _check_cell_count(self) -> None:
        """Raise InputError if the area of the cells that were read so far exceeds MAX_CELLS.

        The area is a rectangle from A1 to the last row and the last column that have a cell.
        """
        cell_count = self._row_count * self._column_count
        if cell_count <= MAX_CELLS:
            return

        from xlsxwriter.utility import xl_col_to_name

        column = xl_col_to_name(self._column_count - 1)
        place = f"column {column} and row {self._row_count:,}"
        raise self._size_error(
            f"cells as far as {place}: {cell_count:,} with blank cells, "
            f"more than the limit of {MAX_CELLS:,}",
        )

    def _note_blank_cell(self) -> None:
        """Note the current cell if it is an error, or a formula without a stored value.

        At most MAX_NOTED_PLACES places such as `B2` are noted.
        """
        is_blank = self._cell.get("t") == "e" or (self._has_formula and not self._has_value)
        if is_blank and len(self.blank_places) < MAX_NOTED_PLACES:
            self.blank_places.append(self._cell.get("r", ""))

    def _count_text(self, text: str) -> None:
        """Add the bytes of a text in an XML element to the counted memory.

        A workbook has a part with shared texts, which is read first, and then sheets.

        - In a sheet, a cell can have the index of a shared text. The bytes of that shared text are
          counted instead of those of the index.
        - In the part with shared texts, before any cell, the bytes are also added to the size of
          the shared text that was begun last, of which the text is a piece.

        Sets `_has_value` if the text is the value of the current cell.

        Raises:
            InputError: The limit on bytes is exceeded.
            IndexError, ValueError: The cell's index of a shared text is invalid.
        """
        byte_count = len(text.encode())
        if self._element == "v" and text.strip():
            self._has_value = True
            if self._cell.get("t") == "s":
                byte_count = self._shared_text_sizes[int(text)]
        elif self._shared_text_sizes and not self._cell:
            self._shared_text_sizes[-1] += byte_count
        self._count_bytes(byte_count)

    def _count_bytes(self, byte_count: int) -> None:
        """Add to the bytes of texts; raises InputError above the limit."""
        self._text_bytes += byte_count
        if self._text_bytes > MAX_TEXT_BYTES:
            raise self._size_error(f"more than {MAX_TEXT_BYTES:,} bytes of text")


@lru_cache(maxsize=1 << 14)
def _parse_column_letters(letters: str) -> int:
    """Return the number of a column, from 1, by its letters."""
    from xlsxwriter.utility import xl_cell_to_rowcol

    column_index: int = xl_cell_to_rowcol(f"{letters}1")[1]
    return column_index + 1
