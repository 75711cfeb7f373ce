"""Write concepts as JSON lines or Parquet, one row for each, in its whole shape.

In Parquet aliases are a list of texts, and evidence is JSON text, which may have any shape.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from pipeline.passages.table import ConceptRow
from pipeline.tables import export

COLUMNS = {
    "passage_id": export.TEXT,
    "concept_name": export.TEXT,
    "concept_type": export.TEXT,
    "aliases": export.TEXTS,
    "confidence": export.NUMBER,
    "extractor_model": export.TEXT,
    "extractor_version": export.TEXT,
    "evidence": export.TEXT,
    "created_at": export.MOMENT,
}


def encode_concepts(concepts: Iterable[ConceptRow], format_: str) -> Iterator[bytes]:
    """Yield the bytes of a file with these concepts, in pieces that never split a row.

    Raises:
        ConfigurationError: Parquet is wanted, and pyarrow is not installed.
    """
    if format_ == "parquet":
        return export.parquet((_row(one) for one in concepts), COLUMNS)
    return export.json_lines(map(concept_document, concepts))


def concept_document(concept: ConceptRow) -> dict[str, Any]:
    """Return one concept for programs; its time in ISO 8601, its confidence a number wherever it is one."""
    moment = concept.created_at
    return {
        **concept._asdict(),
        "confidence": _number(concept.confidence),
        "created_at": None if moment is None else moment.isoformat(),
    }


def _row(concept: ConceptRow) -> dict[str, Any]:
    number = _number(concept.confidence)
    return {
        **concept._asdict(),
        "aliases": _texts(concept.aliases),
        "confidence": number if isinstance(number, float) else None,
        "evidence": None if concept.evidence is None else orjson.dumps(concept.evidence).decode(),
    }


def _number(value: Any) -> Any:
    """Return a confidence as a number; what another program wrote there that is none, as its text."""
    try:
        return None if value is None else float(value)
    except ValueError:
        return str(value)


def _texts(value: Any) -> list[str] | None:
    """Return aliases as a list of texts; what another program wrote there otherwise, as JSON."""
    if value is None:
        return None
    each = value if isinstance(value, list) else [value]
    return [one if isinstance(one, str) else orjson.dumps(one).decode() for one in each]
