"""Write experts as CSV, JSON lines, a JSON list or Parquet, with tags and score beside what was imported.

An import reads an export as it was. Tags stand in one cell of CSV, separated by `; `; in JSON they are a list or null.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipeline.experts import rates
from pipeline.experts.columns import HEADERS
from pipeline.tables import export
from pipeline.tables.cells import list_of, number_of, text_of

ANSWERED = ("tags", "findability_score")  # columns that are ours, after those of the header
COLUMNS = {**dict.fromkeys(HEADERS.values(), export.TEXT), "tags": export.TEXTS, "findability_score": export.NUMBER}


def encode_experts(rows: Iterable[Mapping[Any, Any]], format_: str) -> Iterator[bytes]:
    """Return the bytes of a file with these rows of `experts`, in pieces that never split a row.

    `format_` is "csv", "json", "jsonl" or "parquet". A file of no rows has a header, or an empty list.

    Raises:
        ConfigurationError: Parquet is wanted, and pyarrow is not installed.
    """
    if format_ == "csv":
        return export.csv(map(_cells, rows), [*HEADERS.values(), *ANSWERED])
    if format_ == "parquet":
        return export.parquet(map(_row, rows), COLUMNS)
    return (export.json_lines if format_ == "jsonl" else export.json_list)(map(expert_document, rows))


def expert_document(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return one row of `experts` by the names of the header; what is empty is None."""
    texts: dict[str, Any] = {header: text_of(row[column]) or None for column, header in HEADERS.items()}
    rate = number_of(row["hourly_rate"])
    texts[HEADERS["hourly_rate"]] = texts[HEADERS["hourly_rate"]] if rate is None else rate
    tags = list_of(row["tags"])
    texts["tags"] = text_of(row["tags"]) if tags is None else tags or None
    texts["findability_score"] = number_of(row["findability_score"])
    return texts


def _row(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return one row for columns of one type each: a rate as text, for another program may have written one."""
    found = expert_document(row)
    rate, tags = found[HEADERS["hourly_rate"]], found["tags"]
    found[HEADERS["hourly_rate"]] = None if rate is None else _cell(rate)
    found["tags"] = [tags] if isinstance(tags, str) else tags
    return found


def _cells(row: Mapping[Any, Any]) -> list[str]:
    return [_cell(value) for value in expert_document(row).values()]


def _cell(value: object) -> str:
    """Return a value as text; a number in the form that an import reads without a word."""
    if value is None:
        return ""
    if isinstance(value, float):
        return rates.rate_text(value)
    return "; ".join(value) if isinstance(value, list) else str(value)
