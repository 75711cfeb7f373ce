"""The rows of the two tables: which passages are open and counted as what; finding, adding and changing them.

The tables may be ours, or adopted from somebody else; how they are is a `Shape`. Ids go in and out as text.

Rows of a version that was withdrawn count as absent everywhere: they are on their way out.
"""

import contextlib
import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Text,
    and_,
    bindparam,
    case,
    cast,
    delete,
    exc,
    func,
    literal,
    or_,
    select,
    true,
    update,
)

from pipeline.errors import ConfigurationError
from pipeline.passages.column_types import Kind
from pipeline.passages.shape import Shape, words
from pipeline.store import answers, bulk, claims
from pipeline.store.among import among
from pipeline.store.database import said
from pipeline.store.tables import answers as given
from pipeline.store.tables import versions

TASK = "passage-concepts"
WHITE = "".join(chr(n) for n in range(0x3001) if chr(n).isspace())  # what str.strip() takes away, for SQL's trim
PAGE = 500  # ids in one statement
GENERATED = "428C9"  # SQLSTATE: the column takes no value but those that the database gives it


class ConceptRow(NamedTuple):
    """One concept of a passage on its way into the table: `aliases` and `evidence` are JSON text, the time is aware."""

    passage_id: str
    concept_name: str
    concept_type: str
    aliases: str
    confidence: float
    extractor_model: str
    extractor_version: str
    evidence: str | None
    created_at: datetime


class PassageRow(NamedTuple):
    """One passage on its way into the table: `metadata` is JSON text."""

    id: str
    text: str
    source: str | None
    metadata: str | None


def in_sight(shape: Shape) -> ColumnElement[bool]:
    """Return the condition that a row of concepts is of no version that was withdrawn.

    Whether any version was is asked first, once a statement: nearly always none is, and no row needs to be looked at
    where the index of concepts tells enough.
    """
    concepts = shape.concepts.c
    withdrawn = select(versions.c.task).where(versions.c.task == TASK, versions.c.withdrawn_at.is_not(None))
    of_this_row = withdrawn.where(
        versions.c.version == concepts.extractor_version, versions.c.model == concepts.extractor_model
    )
    return or_(~withdrawn.exists(), ~of_this_row.exists())


def of_versions(shape: Shape, skip: tuple[str, ...] | None) -> ColumnElement[bool]:
    """Return the condition that a row of concepts is in sight and of one of some versions, or of any where None."""
    named = true() if skip is None else shape.concepts.c.extractor_version.in_(skip)
    return and_(named, in_sight(shape))


def has_concepts(shape: Shape, skip: tuple[str, ...] | None) -> ColumnElement[bool]:
    """Return the condition that a passage has a concept of one of some versions, or of any where None."""
    rows = select(shape.concepts.c.passage_id).where(shape.concerns, of_versions(shape, skip))
    return rows.correlate(shape.passages).exists()


def has_text(shape: Shape) -> ColumnElement[bool]:
    """Return the condition that a passage holds more than white space, and has an id that a request can name."""
    cell = shape.passages.c.text
    named = shape.item_id != "" if shape.ids.kind in {Kind.TEXT, Kind.ANY} else true()
    return and_(cell.is_not(None), func.trim(cast(cell, Text), WHITE) != "", named)


def open_items(
    shape: Shape, *, skip: tuple[str, ...] | None = None, label: str = "", after: str | None = None
) -> Select[Any]:
    """Return the SELECT of the passages to ask about, in the order of their ids; all, or those behind the row of one.

    Those have text, and no concept of the versions in `skip` (None: of any version), nor of `label` itself.
    """
    query = select(shape.item_id.label("item_id")).where(_is_open(shape, skip, label)).order_by(shape.passages.c.id)
    if after is not None:
        others = shape.passages.alias()
        row = select(others.c.id).where(others.c.id.in_(shape.native_ids([after]))).limit(1).scalar_subquery()
        query = query.where(shape.passages.c.id > row)
    return query


def open_among(
    tx: Connection, shape: Shape, ids: Sequence[str], *, skip: tuple[str, ...] | None = None, label: str = ""
) -> set[str]:
    """Return which of these passages are to be asked about."""
    found: set[str] = set()
    for some in _pages(shape.native_ids(ids)):
        query = select(shape.item_id).where(among(tx, shape.passages.c.id, some), _is_open(shape, skip, label))
        found.update(tx.execute(query).scalars().all())
    return found


def _is_open(shape: Shape, skip: tuple[str, ...] | None, label: str) -> ColumnElement[bool]:
    return and_(~has_concepts(shape, _skipped(skip, label)), has_text(shape))


def _skipped(skip: tuple[str, ...] | None, label: str) -> tuple[str, ...] | None:
    """Return the versions whose concepts keep a passage from being asked: those named, and the one asked for."""
    return skip if skip is None or not label else (*skip, label)


def texts(tx: Connection, shape: Shape, ids: Sequence[str], *, locked: bool = False) -> dict[str, str]:
    """Return the texts of these passages, by id; `locked` keeps others from changing them while the transaction lasts.

    A passage that is gone is not there. A table that may only be read is not locked: what changes in the moments until
    the transaction ends is found by `doctor`.
    """
    found: dict[str, str] = {}
    locks = locked and _may_lock(tx, shape)
    for some in _pages(shape.native_ids(ids)):
        query = select(shape.item_id, shape.passages.c.text).where(among(tx, shape.passages.c.id, some))
        for key, cell in tx.execute(query.with_for_update() if locks else query):
            found[key] = words(cell)
    return found


def _may_lock(tx: Connection, shape: Shape) -> bool:
    """Return whether rows of passages can be locked, for which PostgreSQL wants the right to change them."""
    if tx.dialect.name == "sqlite":
        return False
    name = tx.dialect.identifier_preparer.quote(shape.passages.name)
    allowed = select(func.has_any_column_privilege(func.to_regclass(name), "UPDATE"))
    return bool(tx.execute(allowed).scalar())


def to_be_asked(tx: Connection, shape: Shape, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return {"id", "text"} of these passages, by id."""
    return {key: {"id": key, "text": text} for key, text in texts(tx, shape, ids).items()}


def rows(tx: Connection, shape: Shape, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return every column that is read of these passages, by id."""
    columns = [one for one in shape.passages.c if one.name != "id"]
    found: dict[str, dict[str, Any]] = {}
    for some in _pages(shape.native_ids(ids)):
        query = select(shape.item_id.label("id"), *columns).where(among(tx, shape.passages.c.id, some))
        found.update((row["id"], dict(row)) for row in tx.execute(query).mappings())
    return found


def with_concepts(
    tx: Connection, shape: Shape, ids: Sequence[str], *, versions: tuple[str, ...] | None = None
) -> set[str]:
    """Return which of these passages have concepts of some versions in sight, or of any where None."""
    found: set[str] = set()
    for some in _pages(shape.native_ids(ids)):
        query = select(shape.item_id).where(among(tx, shape.passages.c.id, some), has_concepts(shape, versions))
        found.update(tx.execute(query).scalars().all())
    return found


def names(tx: Connection, shape: Shape, ids: Sequence[str]) -> dict[str, str]:
    """Return the name that a person knows each of these passages by: its id. One that is gone is not there."""
    found: set[str] = set()
    for some in _pages(shape.native_ids(ids)):
        found.update(tx.execute(select(shape.item_id).where(among(tx, shape.passages.c.id, some))).scalars())
    return {one: one for one in ids if one in found}


def counts(
    tx: Connection,
    shape: Shape,
    *,
    now: datetime,
    task: str = TASK,
    skip: tuple[str, ...] | None = None,
    label: str = "",
) -> dict[str, int]:
    """Return {total, with_concepts, open, empty, claimed, parked}; the last five are disjoint and add up to the first.

    A live claim whose process is dead at `now` counts no more: the next submit takes that passage.
    """
    key = shape.item_id
    claimed = and_(key.in_(claims.claimed_ids(task)), key.not_in(claims.dead(tx, task, now=now)))
    kind = case(
        (has_concepts(shape, _skipped(skip, label)), "with_concepts"),
        (claimed, "claimed"),
        (key.in_(answers.parked_ids(task)), "parked"),
        (has_text(shape), "open"),
        else_="empty",
    )
    tallied = select(kind, func.count()).select_from(shape.passages).group_by(kind)
    found: dict[str, int] = {row[0]: row[1] for row in tx.execute(tallied)}
    parts = {name: found.get(name, 0) for name in ("with_concepts", "open", "empty", "claimed", "parked")}
    return {"total": sum(parts.values()), **parts}


def count(tx: Connection, shape: Shape) -> int:
    """Return how many passages there are."""
    return tx.execute(select(func.count()).select_from(shape.passages)).scalar_one()


def insert_passages(tx: Connection, shape: Shape, passages: Sequence[PassageRow]) -> None:
    """Add passages whose ids are not there.

    Raises:
        ConfigurationError: an adopted table demands columns that we know nothing of.
    """
    columns = ["id", "text", *(name for name in ("source", "metadata") if shape.has(name))]
    ready = [
        (shape.ids.stored(one.id), *(_filled(shape, name, getattr(one, name)) for name in columns[1:]))
        for one in passages
    ]
    with _refusals(shape):
        bulk.insert_rows(tx, shape.passages, columns, ready)


def update_text(tx: Connection, shape: Shape, passages: Iterable[PassageRow]) -> None:
    """Write what is known of passages that are there: the text, and source and metadata where the table has them."""
    columns = ["text", *(name for name in ("source", "metadata") if shape.has(name))]
    writing = update(shape.passages).where(shape.passages.c.id == bindparam("row"))
    writing = writing.values({name: bindparam(f"new_{name}") for name in columns})
    ready = [
        (*(_filled(shape, name, getattr(one, name)) for name in columns), shape.ids.stored(one.id)) for one in passages
    ]
    with _refusals(shape):
        bulk.run(tx, writing, [*(f"new_{name}" for name in columns), "row"], ready)


def add_concepts(tx: Connection, shape: Shape, concepts: Sequence[ConceptRow]) -> None:
    """Add concepts, in their order.

    Raises:
        ConfigurationError: an adopted table refuses them.
    """
    columns: list[str] = list(ConceptRow._fields)
    stored, as_there = shape.concept_ids.stored, _as_there(tx, shape, concepts)
    ready: list[tuple[Any, ...]] = [
        (as_there.get(one.passage_id, stored(one.passage_id)), *one[1:]) for one in concepts
    ]
    if not shape.fills_ids:
        columns = ["id", *columns]
        ready = [(key, *row) for key, row in zip(_new_ids(tx, shape, len(ready)), ready, strict=True)]
    with _refusals(shape):
        bulk.insert_rows(tx, shape.concepts, columns, ready)


def versions_present(tx: Connection, shape: Shape) -> set[str]:
    """Return the labels of all versions that have concepts here, whoever wrote them."""
    return {words(one) for one in tx.execute(select(shape.concepts.c.extractor_version).distinct()).scalars()}


def remove_concepts(tx: Connection, shape: Shape, ids: Sequence[str], *, version: str, model: str) -> int:
    """Delete the concepts of one version and model of these passages; return how many there were."""
    gone, concepts = 0, shape.concepts.c
    for some in _pages(shape.concept_ids.native(ids)):
        here = and_(
            concepts.passage_id.in_(some), concepts.extractor_version == version, concepts.extractor_model == model
        )
        gone += tx.execute(delete(shape.concepts).where(here)).rowcount
    return gone


def told_of(tx: Connection, shape: Shape, told: str) -> bool:
    """Return whether a text stands in any row of either table, or in an answer that is kept; reads all of them."""
    place = func.instr if tx.dialect.name == "sqlite" else func.strpos
    for here, columns, condition in (
        (shape.passages, [*shape.passages.c], true()),
        (shape.concepts, [*shape.concepts.c], true()),
        (given, [given.c.item_id, given.c.answer], given.c.task == TASK),
    ):
        held = or_(*(place(cast(column, Text), told) > 0 for column in columns))
        if tx.execute(select(literal(1)).select_from(here).where(condition, held).limit(1)).first() is not None:
            return True
    return False


def _as_there(tx: Connection, shape: Shape, concepts: Iterable[ConceptRow]) -> dict[str, Any]:
    """Return the ids of the passages of concepts as their table has them, where those are numbers and texts at once."""
    found: dict[str, Any] = {}
    ids = list(dict.fromkeys(one.passage_id for one in concepts)) if shape.keeps_types else []
    for some in _pages(shape.native_ids(ids)):
        query = select(shape.item_id, shape.passages.c.id).where(among(tx, shape.passages.c.id, some))
        found.update((key, cell) for key, cell in tx.execute(query))
    return found


def _new_ids(tx: Connection, shape: Shape, wanted: int) -> Iterable[Any]:
    """Return ids for new concepts where the database gives none: the next numbers, or UUIDs."""
    if shape.own_ids.kind is not Kind.WHOLE:
        return [str(uuid.uuid4()) for _ in range(wanted)]
    newest = tx.execute(select(func.max(shape.concepts.c.id))).scalar() or 0
    return range(int(newest) + 1, int(newest) + 1 + wanted)


def _filled(shape: Shape, name: str, value: str | None) -> str | None:
    """Return a value, or what stands for nothing where the column takes no NULL."""
    return shape.blanks.get(name) if value is None else value


@contextlib.contextmanager
def _refusals(shape: Shape) -> Iterator[None]:
    """Turn a row that an adopted table refuses into an error that says what can be done."""
    try:
        yield
    except (exc.IntegrityError, exc.DataError, exc.ProgrammingError) as error:
        if isinstance(error, exc.ProgrammingError) and getattr(error.orig, "sqlstate", None) != GENERATED:
            raise
        table = f"{shape.passages.name} or {shape.concepts.name}"
        raise ConfigurationError(
            f"the table {table} of this database refuses a row: {said(error)}; nothing was changed",
            hint="give its own columns defaults and room, or use another database",
        ) from error


def _pages(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), PAGE):
        yield values[start : start + PAGE]
