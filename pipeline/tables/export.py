"""Write rows as CSV, JSON lines, a JSON list or Parquet, in pieces that never split a row.

Parquet is written group by group, at flat memory, by pyarrow, which is an extra; its last bytes make the file whole.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import orjson

from pipeline.core import text
from pipeline.tables.frames import pyarrow_for

if TYPE_CHECKING:
    import pyarrow as pa


GROUP = 10_000  # rows in one group; what is read at once from such a file
TEXT, TEXTS, NUMBER, MOMENT = "text", "texts", "number", "moment"  # what a column holds, or nothing
WHOLE, TRUTH, DAY = "whole", "truth", "day"


def csv(rows: Iterable[Sequence[str | float]], header: Iterable[str]) -> Iterator[bytes]:
    """Yield the bytes of a CSV file; no cell of it is a formula."""
    yield text.csv_line(list(header))
    yield from map(text.csv_line, rows)


def json_lines(documents: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Yield the bytes of a file with one document a line."""
    return (orjson.dumps(document) + b"\n" for document in documents)


def json_list(documents: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Yield the bytes of one JSON list."""
    before = b"[\n"
    for document in documents:
        yield before + orjson.dumps(document)
        before = b",\n"
    yield b"[]\n" if before == b"[\n" else b"\n]\n"


def parquet(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> Iterator[bytes]:
    """Yield the bytes of a Parquet file; `columns` says by name what each holds.

    Raises:
        ConfigurationError: pyarrow is not installed; raised before anything is read.
    """
    return _encoded(iter(rows), _schema(columns))


class _Sink:
    """Takes what pyarrow writes, until it is fetched."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, piece: Any) -> int:
        self._pieces.append(bytes(piece))
        return len(self._pieces[-1])

    def flush(self) -> None:
        """Do nothing: what was written is fetched."""

    def fetch(self) -> Iterator[bytes]:
        pieces, self._pieces = self._pieces, []
        yield from pieces


def _encoded(rows: Iterator[Mapping[str, Any]], schema: "pa.Schema") -> Iterator[bytes]:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    sink = _Sink()
    with ParquetWriter(pa.PythonFile(sink, mode="w"), schema, compression="zstd") as writer:
        while group := list(islice(rows, GROUP)):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
            yield from sink.fetch()
    yield from sink.fetch()


def _schema(columns: Mapping[str, str]) -> "pa.Schema":
    pa = pyarrow_for("Parquet")
    kinds = {
        TEXT: pa.string(),
        TEXTS: pa.list_(pa.string()),
        NUMBER: pa.float64(),
        WHOLE: pa.int64(),
        TRUTH: pa.bool_(),
        DAY: pa.date32(),
        MOMENT: pa.timestamp("us", tz="UTC"),
    }
    return pa.schema([(name, kinds[kind]) for name, kind in columns.items()])
