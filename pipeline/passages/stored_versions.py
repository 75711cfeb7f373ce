"""Whose concepts are in the table, and taking back those of one version, block by block."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, select

from pipeline.core.hooks import VersionShare
from pipeline.core.task import RolledBackPage, VersionCounts
from pipeline.passages import table
from pipeline.passages.schema import PassagesShape
from pipeline.tables.cells import cell_words
from pipeline.tables.rows import values_in_pages

BLOCK = 500  # passages in one block


def concept_versions(tx: Connection, shape: PassagesShape) -> list[VersionCounts]:
    """Return every version that has concepts, those being taken back too, by label and model; reads the whole table."""
    concepts = shape.concepts.c
    whose = (concepts.extractor_version, concepts.extractor_model)
    facts = (func.count(), func.count(concepts.passage_id.distinct()))
    moments = (func.min(concepts.created_at), func.max(concepts.created_at))
    found: dict[tuple[str, str], VersionCounts] = {}
    for row in tx.execute(select(*whose, *facts, *moments).group_by(*whose)):
        one = VersionCounts(cell_words(row[0]), cell_words(row[1]), *row[2:])
        same = found.get((one.label, one.model))  # NULL and the empty text are one name
        found[one.label, one.model] = one if same is None else same.with_(one)
    return [found[key] for key in sorted(found)]


def shares(counts: Sequence[VersionCounts], *, chosen: str | None = None) -> list[VersionShare]:
    """Return how many passages have concepts of each version, the chosen one first."""
    found = [VersionShare(named(one), one.items) for one in counts]
    return sorted(found, key=lambda one: (one.extractor != chosen, one.extractor))


def named(one: VersionCounts) -> str:
    """Return the name of a version: the label alone where rows of another program name no model."""
    return f"{one.label}/{one.model}" if one.model else one.label


def roll_back_concepts(
    tx: Connection, shape: PassagesShape, label: str, *, model: str, after: Any | None
) -> RolledBackPage:
    """Delete the concepts of a version of the next passages behind one, found by the index alone, by their ids."""
    concepts = shape.concepts.c
    mine = table.of_extractors(shape, [(label, model)])
    named = table.is_named(concepts.extractor_version, label)
    ids = next(values_in_pages(tx, concepts.passage_id, named, size=BLOCK, after=after), [])
    if not ids:  # what names no passage goes last
        gone = tx.execute(delete(shape.concepts).where(mine, concepts.passage_id.is_(None))).rowcount
        return RolledBackPage(gone, None)
    gone = tx.execute(delete(shape.concepts).where(mine, concepts.passage_id.in_(ids))).rowcount
    return RolledBackPage(gone, ids[-1])
