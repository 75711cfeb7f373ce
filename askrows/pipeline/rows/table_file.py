"""A file with rows: its columns and its rows, which the module of its format reads."""

from collections.abc import Iterator, Sequence
from functools import cached_property

from askrows.pipeline.rows.csv_table import open_csv
from askrows.pipeline.rows.named_cells import open_json, open_parquet
from askrows.pipeline.rows.row_findings import ReadRow
from askrows.pipeline.rows.sheet import open_sheet
from askrows.pipeline.rows.source_file import SourceFile, SourceTable


class TableFile(SourceFile):
    """A file, or a folder of Parquet files, whose columns and rows are read.

    The columns are found when they, or rows, are read first. That reads the first rows of JSON, a
    whole sheet, and the columns of bytes of Parquet files.
    """

    @cached_property
    def _table(self) -> SourceTable:
        """Return the columns and the reader of the rows, which the module of the format makes."""
        with self.translate_errors(OSError, UnicodeError):
            if self.format == "csv":
                return open_csv(self)
            if self.format == "xlsx":
                return open_sheet(self)
            if self.format == "parquet":
                return open_parquet(self)
            return open_json(self)

    @property
    def names(self) -> Sequence[str]:
        """Return the names of the columns.

        A column without a name is called `column_4` by its position. For JSON they are the names in
        the first rows.

        Raises:
            InputError: The file cannot be read, has no header, or an option does not fit it.
            ConfigurationError: The file is Parquet, and pyarrow is not installed.
        """
        return self._table.names

    def read_rows(self) -> Iterator[ReadRow]:
        """Yield each row, and a finding for each faulty row, in the order of the file.

        Each call reads the file again, to its end. A sheet is not read again: it is in memory. A
        finding describes why its row is rejected.

        Raises:
            InputError: The file cannot be read, or is damaged so that its next rows are uncertain.
        """
        with self.translate_errors(OSError, UnicodeError):
            yield from self._table.read_rows()
