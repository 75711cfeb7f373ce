"""Read the rows of Parquet files; the folders' names (`year=2024/`) are columns."""

import contextlib
from collections.abc import Iterator
from functools import partial
from itertools import count

from pipeline.tables.cells import (
    import_pyarrow,
    list_arrow_rows,
    note_undecodable_bytes,
    to_plain_row,
)
from pipeline.tables.input_file import InputFile
from pipeline.tables.row_findings import SourceRow, make_excerpt

# Rows in memory.
_BATCH_ROWS = 200


class ParquetTable:
    """The table in a Parquet file, or in a folder of them.

    Attributes:
        names: The names of the columns; the columns of the folders' names come last. A name that
            is twice in a file is there twice, so that it is refused later.
    """

    def __init__(self, file: InputFile) -> None:
        """Read the columns of all files.

        Raises:
            InputError: A file is damaged, or a column has types that do not fit in two files.
            ConfigurationError: pyarrow is not installed.
        """
        self._file = file
        pa = import_pyarrow(f"{file.path} is a Parquet file, which")
        from pyarrow import dataset

        # Nanoseconds, the default of an old type of times, end in the year 2262.
        file_format = dataset.ParquetFileFormat(
            coerce_int96_timestamp_unit="us", use_buffered_stream=True, pre_buffer=False
        )
        open_files = partial(
            dataset.dataset,
            list(map(str, file.parts)),
            format=file_format,
            partitioning="hive",
            partition_base_dir=str(file.path),
        )
        with self._translate_arrow_errors():
            files = open_files()
            schemas = [part.physical_schema for part in files.get_fragments()]
            schema = pa.unify_schemas([*schemas, files.schema], promote_options="permissive")
            self._dataset = open_files(schema=schema)
        self.names = self._dataset.schema.names

    def read_rows(self) -> Iterator[SourceRow]:
        """Yield the rows of all Parquet files, with the columns of their folders' names.

        The rows are numbered from 1 across all files. A column that a file lacks is None.
        """
        byte_names = [field.name for field in self._dataset.schema if "binary" in str(field.type)]
        row_number = count(1)
        with self._translate_arrow_errors():
            for batch in self._dataset.to_batches(
                batch_size=_BATCH_ROWS, batch_readahead=0, fragment_readahead=0, use_threads=False
            ):
                rows = list_arrow_rows(batch)
                for name in byte_names:
                    note_undecodable_bytes(
                        name, [values[name] for values in rows], self._file.notes
                    )
                for row in rows:
                    yield SourceRow(next(row_number), to_plain_row(row))

    @contextlib.contextmanager
    def _translate_arrow_errors(self) -> Iterator[None]:
        """Raise an error of pyarrow in the block as InputError for the file."""
        pa = import_pyarrow(f"{self._file.path} is a Parquet file, which")
        try:
            yield
        except pa.ArrowException as error:
            message = make_excerpt(str(error))
            raise self._file.make_error(f" cannot be read as Parquet: {message}") from None
