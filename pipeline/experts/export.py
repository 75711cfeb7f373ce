"""Write experts as CSV, JSON lines, a JSON list or Parquet, with tags and score beside what was imported.

An import reads an export as it was. Tags stand in one cell of CSV, separated by `; `; in JSON they are a list or null.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipeline.experts import rates
from pipeline.experts.columns import HEADERS
from pipeline.tables import export
from pipeline.tables.cells import list_of, number_of, text_of

RATE, SCORE = HEADERS["hourly_rate"], "findability_score"
KINDS = {**dict.fromkeys(HEADERS.values(), "text"), "tags": export.TEXTS, SCORE: "real"}


def encode_experts(rows: Iterable[Mapping[Any, Any]], format_: str) -> Iterator[bytes]:
    """Return the bytes of a file with these rows of `experts`; see `export.encoded`.

    In a column of one type a rate is text, for another program may have written one.
    """
    told = {"csv": (RATE, SCORE), "parquet": (RATE,)}.get(format_, ())
    documents = ({**one, **{name: _text(one[name]) for name in told}} for one in map(expert_document, rows))
    return export.encoded(documents, format_, kinds=KINDS)


def expert_document(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return one row of `experts` by the names of the header; what is empty is None."""
    texts: dict[str, Any] = {header: text_of(row[column]) or None for column, header in HEADERS.items()}
    rate = number_of(row["hourly_rate"])
    texts[RATE] = texts[RATE] if rate is None else rate
    tags = list_of(row["tags"])
    texts["tags"] = text_of(row["tags"]) if tags is None else tags or None
    texts[SCORE] = number_of(row["findability_score"])
    return texts


def _text(value: Any) -> Any:
    """Return a number in the form that an import reads without a word."""
    return rates.rate_text(value) if isinstance(value, float) else value
