"""Write concepts as JSON lines or Parquet, one row for each, in its whole shape.

In Parquet aliases are a list of texts, and evidence is JSON text, which may have any shape.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from pipeline.passages.table import ConceptRow
from pipeline.tables import export

KINDS = {
    **dict.fromkeys(ConceptRow._fields, "text"),
    "aliases": export.TEXTS,
    "confidence": "real",
    "created_at": "time",
}


def encode_concepts(concepts: Iterable[ConceptRow], format_: str) -> Iterator[bytes]:
    """Return the bytes of a file with these concepts; see `export.encoded`."""
    rows = ({**one._asdict(), "confidence": _number(one.confidence)} for one in concepts)
    return export.encoded(rows, format_, kinds=KINDS)


def concept_document(concept: ConceptRow) -> dict[str, Any]:
    """Return one concept for programs; its time in ISO 8601, its confidence a number wherever it is one."""
    moment = concept.created_at and concept.created_at.isoformat()
    return {**concept._asdict(), "confidence": _number(concept.confidence), "created_at": moment}


def _number(value: Any) -> Any:
    """Return a confidence as a number; what another program wrote there that is none, as its text."""
    try:
        return None if value is None else float(value)
    except ValueError:
        return str(value)
