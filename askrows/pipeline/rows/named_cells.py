"""Read rows whose cells have names: JSON lines, a JSON list of objects, and Parquet files."""

import json
import re
from collections.abc import Iterator
from functools import partial
from itertools import chain, count, islice
from typing import Any

from askrows.pipeline.rows.cells import (
    import_pyarrow,
    list_arrow_rows,
    parse_strict_json,
    to_plain_row_with_notes,
)
from askrows.pipeline.rows.headers import number_repeated_names
from askrows.pipeline.rows.row_findings import MAX_ROW_CHARS, ReadRow, SourceRow, make_rejection
from askrows.pipeline.rows.source_file import SourceFile, SourceTable

# Rows of JSON whose names are the columns.
_MAX_SAMPLED_ROWS = 50
# Characters of a JSON list that are read at a time.
_CHUNK_CHARS = 1 << 20
# Finds the end of an element. Numbers of any length are read.
_ELEMENT_DECODER = json.JSONDecoder(parse_int=str, parse_float=str)
# The first character of an element, or the end of the list.
_VALUE = re.compile(r"[^\s,]")
# Rows of Parquet in memory.
_BATCH_ROWS = 200


def open_json(file: SourceFile) -> SourceTable:
    """Return the names in the first 50 rows of JSON lines or a JSON list, and a reader of all rows.

    A row that is not JSON, or is not an object, gives a finding. The names are in the order in
    which they first occur; later rows may have others.
    """
    iterate_nested_texts = (
        _iterate_nonblank_lines if file.format == "jsonl" else _iterate_json_list_elements
    )

    def read_rows() -> Iterator[ReadRow]:
        """Yield the row of each JSON text, or a finding, from the beginning of the file."""
        for line_number, text in iterate_nested_texts(file):
            yield _parse_json_row(line_number, text)

    first_rows = [
        row.values for row in islice(read_rows(), _MAX_SAMPLED_ROWS) if isinstance(row, SourceRow)
    ]
    names = list(dict.fromkeys(chain.from_iterable(first_rows)))
    return SourceTable(names, read_rows)


def _parse_json_row(line_number: int, text: str) -> ReadRow:
    """Return the row of a JSON object; a finding for any other text."""
    try:
        value = parse_strict_json(text.strip())
    except ValueError as error:
        return make_rejection(line_number, str(error), text.strip())
    if not isinstance(value, dict):
        return make_rejection(line_number, "not an object", value)
    return SourceRow(line_number, value)


def _iterate_nonblank_lines(file: SourceFile) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line that is not blank."""
    with file.open() as text_file:
        for line_number, text in enumerate(file.read_lines(text_file), start=1):
            if not text.isspace():
                yield line_number, text.strip(file.line_end)


def _iterate_json_list_elements(file: SourceFile) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each element of a JSON list, which is read in chunks.

    Commas between elements are not checked: no row is lost without them.

    Raises:
        InputError: The list is invalid or not closed, an element is too long or nested too deeply,
            or text follows the list.
    """
    with file.open() as text_file:
        text = text_file.read(_CHUNK_CHARS)
        # The end of the last element in the text.
        end = text.index("[") + 1
        line_number = 1 + text.count("\n", 0, end)
        while True:
            start = len(text)
            if value := _VALUE.search(text, end):
                start = value.start()
            element_line = line_number + text.count("\n", end, start)
            try:
                _, element_end = _ELEMENT_DECODER.raw_decode(text, start)
            except (ValueError, RecursionError):
                element_end = len(text)
            if element_end < len(text):
                yield element_line, text[start:element_end]
                line_number = element_line + text.count("\n", start, element_end)
                end = element_end
                continue

            # The element may continue in the next chunk.
            rest = text[end:]
            if len(rest) > MAX_ROW_CHARS:
                raise file.make_length_error(element_line)
            chunk = text_file.read(_CHUNK_CHARS)
            if not chunk:
                break
            text = rest + chunk
            end = 0

    if rest.strip(", \t\r\n") != "]":
        raise file.make_error(
            f", line {element_line}: the list is not valid, not closed, or followed by other text",
            hint="correct the file; perhaps its end is missing",
        )


def open_parquet(file: SourceFile) -> SourceTable:
    """Return the columns of a Parquet file or folder, and a reader of its rows.

    The columns of the folders' names (`year=2024/`) come last. Repeated names are numbered in a
    single file; in a folder they are refused. The rows are numbered from 1 across all files. A
    column that a file lacks is None.

    Raises:
        InputError: A file is damaged, a column has types that do not fit in two files, or a file of
            a folder has a repeated name. The reader of the rows raises it, too, if it finds damage.
        ConfigurationError: pyarrow is not installed.
    """
    pa = import_pyarrow(f"{file.path} is a Parquet file, which")
    from pyarrow import dataset, parquet

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
    with file.translate_errors(pa.ArrowException, noun="Parquet"):
        if file.path.is_file():
            names = parquet.read_schema(file.path).names
            unique_names = number_repeated_names(names, file.notes)
            if unique_names != names:
                return SourceTable(unique_names, partial(_read_parquet_by_position, file))

        files = open_files()
        schemas = [*(part.physical_schema for part in files.get_fragments()), files.schema]
        schema = pa.unify_schemas(
            list(map(_replace_dictionary_types, schemas)), promote_options="permissive"
        )
        table = open_files(schema=schema)

    def read_rows() -> Iterator[SourceRow]:
        """Yield the rows of all files; add notes on their values to those of the file."""
        row_number = count(1)
        with file.translate_errors(pa.ArrowException, noun="Parquet"):
            for batch in table.to_batches(
                batch_size=_BATCH_ROWS, batch_readahead=0, fragment_readahead=0, use_threads=False
            ):
                for row in list_arrow_rows(batch):
                    yield SourceRow(next(row_number), to_plain_row_with_notes(row, file.notes))

    return SourceTable(table.schema.names, read_rows)


def _read_parquet_by_position(file: SourceFile) -> Iterator[SourceRow]:
    """Yield the rows of a single Parquet file, whose columns may have repeated names."""
    pa = import_pyarrow("a Parquet file")
    from pyarrow import parquet

    row_number = count(1)
    with (
        file.translate_errors(pa.ArrowException, noun="Parquet"),
        parquet.ParquetFile(file.path, coerce_int96_timestamp_unit="us") as table,
    ):
        for batch in table.iter_batches(batch_size=_BATCH_ROWS, use_threads=False):
            for row in list_arrow_rows(batch):
                yield SourceRow(next(row_number), to_plain_row_with_notes(row, file.notes))


def _replace_dictionary_types(schema: Any) -> Any:
    """Return a schema of Arrow in which columns of categories have the type of the categories."""
    pa = import_pyarrow("a Parquet file")
    for index, field in enumerate(schema):
        if pa.types.is_dictionary(field.type):
            schema = schema.set(index, field.with_type(field.type.value_type))
    return schema
