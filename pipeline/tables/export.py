"""Write rows as CSV, JSON lines, a JSON list or Parquet, in pieces that never split a row.

Parquet is written group by group, at flat memory, by pyarrow, which is an extra; its last bytes make the file whole.
"""

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import orjson

from pipeline.core import text
from pipeline.tables.cells import number_of, pyarrow_for, value_text

if TYPE_CHECKING:
    import pyarrow as pa


GROUP = 10_000  # rows in one group; what is read at once from such a file
TEXTS = "texts"  # the kind of a column with lists of texts; all others are those of the fields of answers


def encoded(rows: Iterable[Mapping[str, Any]], format_: str, *, kinds: Mapping[str, str]) -> Iterator[bytes]:
    """Return the bytes of a file with these rows, in pieces that never split a row; `kinds` are those of the columns.

    `format_` is "csv", "json", "jsonl" or "parquet". A file of no rows has a header, or an empty list.

    Raises:
        ConfigurationError: Parquet is wanted, and pyarrow is not installed; raised before anything is read.
    """
    if format_ == "jsonl":
        return (orjson.dumps(row) + b"\n" for row in rows)
    if format_ == "json":
        return _json_list(rows)
    if format_ == "csv":
        return csv(([cell(row[name], texts=kind == TEXTS) for name, kind in kinds.items()] for row in rows), kinds)
    typed = ({name: _typed(row[name], kind) for name, kind in kinds.items()} for row in rows)
    return _parquet(typed, _schema(kinds))


def csv(rows: Iterable[Sequence[str | float]], header: Iterable[str]) -> Iterator[bytes]:
    """Yield the bytes of a CSV file; no cell of it is a formula."""
    yield text.csv_line(list(header))
    yield from map(text.csv_line, rows)


def cell(value: Any, *, texts: bool) -> str | float:
    """Return a value as a cell of CSV: numbers as they are, for they are no formulas; a list of `texts` in one cell."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return "; ".join(value) if texts and isinstance(value, list) else words_of(value)


def words_of(value: Any) -> str:
    """Return a value as text: a list or an object as JSON, a time in ISO 8601."""
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return value.isoformat() if hasattr(value, "isoformat") else value_text(value)


def _json_list(rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    before = b"[\n"
    for row in rows:
        yield before + orjson.dumps(row)
        before = b",\n"
    yield b"[]\n" if before == b"[\n" else b"\n]\n"


def _typed(value: Any, kind: str) -> Any:
    if value is None or kind in {"integer", "boolean", "date", "time"}:
        return value
    if kind == "real":
        return number_of(value)
    if kind == TEXTS:
        return [
            one if isinstance(one, str) else words_of(one) for one in (value if isinstance(value, list) else [value])
        ]
    return words_of(value)


def _parquet(rows: Iterator[Mapping[str, Any]], schema: "pa.Schema") -> Iterator[bytes]:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    written = io.BytesIO()

    def taken() -> bytes:
        data = written.getvalue()
        written.seek(0)
        written.truncate()
        return data

    sink = pa.PythonFile(written, mode="w")
    with ParquetWriter(sink, schema, compression="zstd") as writer:
        while group := list(islice(rows, GROUP)):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
            yield taken()
    yield taken()


def _schema(columns: Mapping[str, str]) -> "pa.Schema":
    pa = pyarrow_for("Parquet")
    kinds = {
        TEXTS: pa.list_(pa.string()),
        "real": pa.float64(),
        "integer": pa.int64(),
        "boolean": pa.bool_(),
        "date": pa.date32(),
        "time": pa.timestamp("us", tz="UTC"),
    }
    return pa.schema([(name, kinds.get(kind, pa.string())) for name, kind in columns.items()])
