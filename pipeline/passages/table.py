"""Find, add, change and count the rows of passages and concepts, findable's or adopted; ids go in and out as text."""

import contextlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    delete,
    false,
    func,
    insert,
    or_,
    select,
    true,
)

from pipeline.engine.task import VersionShare
from pipeline.passages.schema import OPTIONAL, PassagesShape
from pipeline.store.answers import VersionCounts
from pipeline.store.database import pages, run_many, update_rows
from pipeline.tables.adopt import new_ids
from pipeline.tables.cells import cell_words
from pipeline.tables.item_table import ItemStates, ItemTable
from pipeline.tables.rows import filled, has_words, refusals, rows_among

TASK = "passage-concepts"


class ConceptRow(NamedTuple):
    """One concept of a passage: on its way into the table `aliases` and `evidence` are JSON text, the time is aware.

    As it is read they are documents, evidence with its part of the passage, and anything may be the confidence.
    """

    passage_id: str
    concept_name: str
    concept_type: str
    aliases: Any
    confidence: Any
    extractor_model: str
    extractor_version: str
    evidence: Any
    created_at: datetime | None


class PassageRow(NamedTuple):
    """One passage on its way into the table: `metadata` is JSON text."""

    id: str
    text: str
    source: str | None
    metadata: str | None


def of_extractors(shape: PassagesShape, extractors: Iterable[tuple[str, str]]) -> ColumnElement[bool]:
    """Return the condition that a row of concepts is of one of some (label, model)."""
    version, model = shape.concepts.c.extractor_version, shape.concepts.c.extractor_model
    return or_(false(), *(and_(is_named(version, one[0]), is_named(model, one[1])) for one in extractors))


def is_named(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Return the condition that a column holds a name; NULL and the empty text are one."""
    return column == name if name else or_(column.is_(None), column == name)


def has_concepts(shape: PassagesShape, skip: Sequence[str] | None) -> ColumnElement[bool]:
    """Return the condition that a passage has a concept, of one of some versions, or of any where None."""
    named = true() if skip is None else shape.concepts.c.extractor_version.in_(skip)
    rows = select(shape.concepts.c.passage_id).where(shape.concerns, named)
    return rows.correlate(shape.passages).exists()


def has_text(shape: PassagesShape) -> ColumnElement[bool]:
    """Return the condition that a passage holds more than white space, and has an id that a request can name."""
    named = shape.item_id != "" if shape.ids.kind == "text" else true()
    return and_(has_words(shape.passages.c.text), named)


def item_table(shape: PassagesShape, *, skip: Sequence[str] | None = None, label: str = "") -> ItemTable:
    """Return the table of passages; those are asked about that have text, and no concept that keeps them from it.

    Those are concepts of the versions in `skip` (None: of any version), and of `label` itself.
    """
    answered = has_concepts(shape, _skipped(skip, label))
    states = ItemStates(("with_concepts", answered), ("open", has_text(shape)), "empty")
    is_open, own = and_(~answered, has_text(shape)), "" if skip is None else label
    return ItemTable(TASK, shape.passages, states, is_open, shape.ids, own=own)


def _skipped(skip: Sequence[str] | None, label: str) -> Sequence[str] | None:
    """Return the versions whose concepts keep a passage from being asked: those named, and the one asked for."""
    return skip if skip is None or not label else (*skip, label)


def passage_texts(tx: Connection, shape: PassagesShape, ids: Sequence[str], *, locked: bool = False) -> dict[str, str]:
    """Return the texts of these passages that are there, by id; `locked` keeps others from changing them meanwhile.

    A table that may only be read is not locked; `doctor` finds what changes in the moments until the transaction ends.
    """
    rows = item_table(shape).rows(tx, ids, ("text",), locked=locked and _may_lock(tx, shape))
    return {key: cell_words(row["text"]) for key, row in rows.items()}


def _may_lock(tx: Connection, shape: PassagesShape) -> bool:
    """Return whether rows of passages can be locked, for which PostgreSQL wants the right to change them."""
    if tx.dialect.name == "sqlite":
        return False
    name = tx.dialect.identifier_preparer.quote(shape.passages.name)
    allowed = select(func.has_any_column_privilege(func.to_regclass(name), "UPDATE"))
    return bool(tx.execute(allowed).scalar())


def passage_rows(tx: Connection, shape: PassagesShape, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return every column but the id that is read of these passages, by id."""
    names = [name for name in shape.passages.c.keys() if name != "id"]  # noqa: SIM118 - a collection of columns
    return item_table(shape).rows(tx, ids, names)


def with_concepts(
    tx: Connection, shape: PassagesShape, ids: Sequence[str], *, versions: tuple[str, ...] | None = None
) -> set[str]:
    """Return which of these passages have concepts of some versions, or of any where None."""
    return item_table(shape).ids_among(tx, ids, has_concepts(shape, versions))


def concept_names(tx: Connection, shape: PassagesShape, ids: Sequence[str]) -> dict[str, list[str]]:
    """Return the names of the concepts of these passages, by id, each once, in order."""
    concepts = shape.concepts.c
    native = shape.concept_ids.native(ids)
    whose, name = concepts.passage_id, concepts.concept_name
    found: dict[str, set[str]] = {}
    for row in rows_among(tx, whose, native, [whose, name], name.is_not(None)):
        found.setdefault(cell_words(row[0]), set()).add(cell_words(row[1]))
    return {key: sorted(names) for key, names in found.items()}


def insert_passages(tx: Connection, shape: PassagesShape, passages: Sequence[PassageRow]) -> None:
    """Add passages whose ids are not there.

    Raises:
        ConfigurationError: an adopted table demands columns that we know nothing of.
    """
    names = _written(shape)
    ready = [{"id": one.id, **_written_of(shape, one, names)} for one in passages]
    with _refusals(shape):
        run_many(tx, insert(shape.passages), ready)


def update_text(tx: Connection, shape: PassagesShape, passages: Iterable[PassageRow]) -> None:
    """Write what is known of passages that are there: the text, and source and metadata where the table has them."""
    names = _written(shape)
    ready = [(*_written_of(shape, one, names).values(), one.id) for one in passages]
    with _refusals(shape):
        update_rows(tx, shape.passages, names, ready)


def add_concepts(tx: Connection, shape: PassagesShape, concepts: Sequence[ConceptRow]) -> None:
    """Add concepts, in their order.

    Raises:
        ConfigurationError: an adopted table refuses them.
    """
    ready = [one._asdict() for one in concepts]
    ids = None if shape.own is None else new_ids(tx, shape.own, len(ready))
    if ids is not None:
        ready = [{"id": key, **row} for key, row in zip(ids, ready, strict=True)]
    with _refusals(shape):
        run_many(tx, insert(shape.concepts), ready)


def versions_present(tx: Connection, shape: PassagesShape) -> set[str]:
    """Return the labels of all versions that have concepts here, whichever program wrote them."""
    return {cell_words(one) for one in tx.execute(select(shape.concepts.c.extractor_version).distinct()).scalars()}


def remove_concepts(tx: Connection, shape: PassagesShape, ids: Sequence[str], *, version: str, model: str) -> int:
    """Delete the concepts of one version and model of these passages; return how many there were."""
    mine = of_extractors(shape, [(version, model)])
    rows = shape.concepts.c.passage_id
    removals = (delete(shape.concepts).where(rows.in_(some), mine) for some in pages(shape.concept_ids.native(ids)))
    return sum(tx.execute(removal).rowcount for removal in removals)


def _written(shape: PassagesShape) -> list[str]:
    return ["text", *(name for name in OPTIONAL if shape.has(name))]


def _written_of(shape: PassagesShape, row: PassageRow, names: Sequence[str]) -> dict[str, Any]:
    return filled({name: getattr(row, name) for name in names}, shape.blanks)


def _refusals(shape: PassagesShape) -> contextlib.AbstractContextManager[None]:
    return refusals(f"{shape.passages.name} or {shape.concepts.name}")


def concept_versions(tx: Connection, shape: PassagesShape) -> list[VersionCounts]:
    """Return every version that has concepts, by label and model; reads the whole table."""
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


def roll_back_concepts(tx: Connection, shape: PassagesShape, label: str, *, model: str) -> int:
    """Delete the concepts of a version; return how many there were."""
    return tx.execute(delete(shape.concepts).where(of_extractors(shape, [(label, model)]))).rowcount
