"""Experts as a file for others: CSV, JSON lines, a JSON list or Parquet, with tags and score beside what was imported.

What an export wrote, an import reads as it was. In CSV no cell is a formula, and tags stand in one cell, separated by
`; `; in JSON they are a list, null until there are any.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipeline import parquet, spreadsheet
from pipeline.experts import rates
from pipeline.experts.cells import number_of, tags_of, text_of
from pipeline.experts.columns import HEADERS

FORMATS = {".csv": "csv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
ANSWERED = ("tags", "findability_score")  # columns that are ours, after those of the header
COLUMNS = {**dict.fromkeys(HEADERS.values(), parquet.TEXT), "tags": parquet.TEXTS, "findability_score": parquet.NUMBER}


def encoded(rows: Iterable[Mapping[Any, Any]], *, format_: str) -> Iterator[bytes]:
    """Yield the bytes of a file with these rows of `experts`, in pieces that never split a row.

    `format_` is "csv", "json", "jsonl" or "parquet". A file of no rows has a header, or an empty list.

    Raises:
        ConfigurationError: Parquet is wanted, and pyarrow is not installed.
    """
    return parquet.encoded(map(_row, rows), COLUMNS) if format_ == "parquet" else _lines(rows, format_=format_)


def _lines(rows: Iterable[Mapping[Any, Any]], *, format_: str) -> Iterator[bytes]:
    """Yield the bytes of a file of text."""
    if format_ == "csv":
        yield spreadsheet.line([*HEADERS.values(), *ANSWERED])
        yield from (spreadsheet.line(_cells(row)) for row in rows)
    elif format_ == "jsonl":
        yield from (_json(row) + b"\n" for row in rows)
    else:
        before = b"[\n"
        for row in rows:
            yield before + _json(row)
            before = b",\n"
        yield b"[]\n" if before == b"[\n" else b"\n]\n"


def document(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return one row of `experts` by the names of the header; what is empty is None."""
    texts: dict[str, Any] = {header: text_of(row[column]) or None for column, header in HEADERS.items()}
    rate = number_of(row["hourly_rate"])
    texts[HEADERS["hourly_rate"]] = texts[HEADERS["hourly_rate"]] if rate is None else rate
    tags = tags_of(row["tags"])
    texts["tags"] = text_of(row["tags"]) if tags is None else tags or None
    texts["findability_score"] = number_of(row["findability_score"])
    return texts


def _row(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return one row for columns of one type each: a rate as text, for another program may have written one."""
    found = document(row)
    rate, tags = found[HEADERS["hourly_rate"]], found["tags"]
    found[HEADERS["hourly_rate"]] = None if rate is None else _cell(rate)
    found["tags"] = [tags] if isinstance(tags, str) else tags
    return found


def _cells(row: Mapping[Any, Any]) -> list[str]:
    """Return one row as cells of text, in the order of the header."""
    return [_cell(value) for value in document(row).values()]


def _cell(value: object) -> str:
    """Return a value as text; a number in the form that an import reads without a word."""
    if value is None:
        return ""
    if isinstance(value, float):
        return rates.to_text(value)
    return "; ".join(value) if isinstance(value, list) else str(value)


def _json(row: Mapping[Any, Any]) -> bytes:
    """Return one row as JSON on one line."""
    import orjson

    return orjson.dumps(document(row))
