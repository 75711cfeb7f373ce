"""The tables of passages and concepts, findable's or another program's, and the view of the best concepts.

Ids are as the table has them; the engine sees text. In a `PassagesShape` a value takes its type from where it stands:
what goes out is text, numbers and None, and what comes in goes through `loaded` (JSON) and `cell_words` (text).
Passages are read in place: an index is added where none finds a row by its id. Concepts get the columns they lack.

Of the concepts of a passage with one name in any case (of ASCII letters on SQLite) the best is that of the preferred
version, sure enough: those of `PREFER_VERSIONS` in order, then the newest begun, then those of other programs. Beside
the quotations in its evidence, `{"support": [{"start", "end", …}, …], …}` in code points of the text, stands the part
of the passage round the first of them, as `source_text`; a document of another shape stays as it is.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import call
from typing import Any, NamedTuple

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Double,
    Float,
    Identity,
    Integer,
    MetaData,
    Select,
    Table,
    Text,
    and_,
    case,
    cast,
    delete,
    false,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    true,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import JSONB

from pipeline.core.command_hint import CommandHint, HintTemplate, OptionHint
from pipeline.core.settings import Settings
from pipeline.passages import CONCEPTS, MARK
from pipeline.store import answers
from pipeline.store.answers import VersionCounts
from pipeline.store.database import among, pages, run_many, streamed, update_rows
from pipeline.store.schema import NUMBER, BigId, ColumnTyped, IsoTime
from pipeline.tables.adopt import (
    DEFAULTS,
    ColumnNeed,
    Columns,
    IdColumnFacts,
    TableSpec,
    TaskTables,
    check_demands,
    columns_of,
    ids_in,
    is_sqlite,
    new_ids,
    unfit,
    unique_keys,
)
from pipeline.tables.answer_views import is_view_made, make_view
from pipeline.tables.cells import cell_words, loaded
from pipeline.tables.lists import (
    RowStates,
    RowTable,
    filled,
    has_words,
    refusals,
    values_in_pages,
)

TASK = "passage-concepts"
PASSAGES = "passages"
OPTIONAL = ("source", "metadata")

_JSON = Text().with_variant(JSONB(), "postgresql")
_OWN = (
    "passage_id",
    "concept_name",
    "extractor_version",
)  # of which each concept of ours has others


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


COLUMNS = ConceptRow._fields


@dataclass(frozen=True, eq=False)
class PassagesShape:
    """The two tables as they are in one database.

    `passages` has the columns that are there and read, `concepts` all of its own. `own` is the id of concepts, None if
    that table is to be made. `blanks` stand for nothing where a column of passages takes no NULL. `missing` are the
    names of those tables that are not made yet, described as they will be.
    """

    passages: Table
    concepts: Table
    ids: IdColumnFacts
    concept_ids: IdColumnFacts
    own: Column[Any] | None
    blanks: dict[str, str]
    missing: frozenset[str] = frozenset()

    @property
    def item_id(self) -> ColumnElement[str]:
        """Return a passage's id as text."""
        return cast(self.passages.c.id, Text)

    @property
    def has_same_ids(self) -> bool:
        """Return whether concepts name passages as these are named; else both are compared as text."""
        return self.ids.kind == self.concept_ids.kind

    @property
    def concerns(self) -> ColumnElement[bool]:
        """Return the condition that a row of concepts is of a row of passages; both tables must stand in the query."""
        return self.concepts.c.passage_id == (
            self.passages.c.id if self.has_same_ids else self.item_id
        )

    @property
    def names(self) -> list[str]:
        """Return the columns of passages that are read and written, without the id."""
        return ["text", *(name for name in OPTIONAL if name in self.passages.c)]


def read_shape(tx: Connection, *, passages: str = PASSAGES) -> PassagesShape:
    """Return how the tables of this database are; for tables that were made or adopted, or will be."""
    found = columns_of(tx, passages)
    concepts = columns_of(tx, CONCEPTS)
    holds = {"source": ColumnNeed.TEXT, "metadata": ColumnNeed.JSON}
    empty = {"source": "", "metadata": "{}"}
    fits = [name for name in OPTIONAL if name in found and not holds[name].misfit(tx, found[name])]
    return PassagesShape(
        _as_there(passages, ("id", "text", *(fits if found else OPTIONAL))),
        _as_there(CONCEPTS, (*_own_id(concepts), *COLUMNS)),
        ids=ids_in(tx, found.get("id")),
        concept_ids=ids_in(tx, concepts.get("passage_id")),
        own=concepts.get("id"),
        blanks={name: empty[name] for name in fits if not found[name].nullable},
        missing=frozenset(
            name for name, columns in ((passages, found), (CONCEPTS, concepts)) if not columns
        ),
    )


def _own_id(found: Columns) -> tuple[str, ...]:
    """Return the column with the id of a concept; another program's table may have none."""
    return ("id",) if not found or "id" in found else ()


def _as_there(name: str, columns: Iterable[str]) -> Table:
    kinds = {"created_at": IsoTime}
    return Table(name, MetaData(), *(Column(one, kinds.get(one, ColumnTyped)) for one in columns))


def _specs(tx: Connection, settings: Settings) -> Sequence[TableSpec]:
    """Return what is needed of both tables.

    That of passages is read in place, and nothing is added but an index; the type of their ids is that of a concept's
    `passage_id`.
    """
    name = settings.passages_table
    words = (Column("text", Text, nullable=False), Column("source", Text))
    own: Column[Any] = Column("id", Text, primary_key=True)
    passages = TableSpec(
        made=Table(name, MetaData(), own, *words, Column("metadata", _JSON)),
        needs=("id", "text"),
        elsewhere=HintTemplate("name another table with {}", OptionHint("passages_table")),
        found_by=("id",),
    )
    whose = columns_of(tx, name).get("id", own)
    kinds = {
        "passage_id": whose.type,
        **dict.fromkeys(("aliases", "evidence"), _JSON),
        "confidence": NUMBER,
        "created_at": IsoTime(),
    }
    own_id = [
        Column(one, BigId, Identity(), primary_key=True)
        for one in _own_id(columns_of(tx, CONCEPTS))
    ]
    columns = (Column(one, kinds.get(one, Text()), nullable=one != "passage_id") for one in COLUMNS)
    concepts = TableSpec(
        made=Table(CONCEPTS, MetaData(), *own_id, *columns),
        needs=("passage_id", "concept_name"),  # without these a table is one of other things
        holds={
            **dict.fromkeys(("aliases", "evidence"), ColumnNeed.JSON),
            "confidence": ColumnNeed.SHARE,
            "created_at": ColumnNeed.TIME,
        },
        refers=("passage_id", ids_in(tx, whose)),
        adds=True,
        mark=(MARK, "(passage_id, extractor_version)"),
        refuses=_check_rows_fit,
    )
    return passages, concepts


def _check_rows_fit(tx: Connection, concepts: Columns) -> None:
    """Refuse a table of concepts that could not take every row that is written."""
    check_demands(CONCEPTS, concepts, known={"id", *COLUMNS} - {"evidence"})
    table = concepts["passage_id"].table
    for key in unique_keys(tx, table):
        if key <= set(COLUMNS) and not set(_OWN) <= key:
            raise unfit(
                CONCEPTS,
                f"has a unique key that the concepts of several versions break: {', '.join(sorted(key))}",
                hint=f"let that key hold {', '.join(f'`{name}`' for name in _OWN)}, or use another database",
            )


class _Passages(TaskTables):
    """The two tables, and the view of the best concepts."""

    def adopt(self, tx: Connection, settings: Settings = DEFAULTS) -> list[str]:
        """Make the tables and the view, or add what is missing."""
        name = settings.passages_table
        is_new = name != PASSAGES and not columns_of(
            tx, name
        )  # a name that was mistyped is seen at once
        lines = [f"made the table {name}, which was not there"] if is_new else []
        lines += super().adopt(tx, settings)
        if settings.task == "passages" and not make_view(tx, VIEW, self._best(tx, settings), of=OF):
            said = f"`{VIEW}` in this database is not ours and stays as it is"
            lines.append(f"{said}; `{CommandHint('best-concepts')}` does without it")
        return lines

    def is_adopted(self, tx: Connection, settings: Settings = DEFAULTS) -> bool:
        """Return whether the view is as the settings say, too."""
        is_here = super().is_adopted(tx, settings)
        if not is_here or settings.task != "passages":
            return is_here
        return is_view_made(tx, VIEW, self._best(tx, settings), of=OF)

    def makes(self, tx: Connection, settings: Settings = DEFAULTS) -> dict[str, tuple[str, ...]]:
        """Return the tables and the view."""
        return {
            **super().makes(tx, settings),
            **({VIEW: ()} if settings.task == "passages" else {}),
        }

    def _best(self, tx: Connection, settings: Settings) -> Select[Any]:
        return _best(tx, read_shape(tx, passages=settings.passages_table), settings)


TABLES = _Passages(_specs, names=(PASSAGES, CONCEPTS))
adopt = TABLES.adopt
adoption_plan = TABLES.adoption_plan
is_adopted = TABLES.is_adopted
makes = TABLES.makes


# ---- find and write rows


def of_extractors(
    shape: PassagesShape, extractors: Iterable[tuple[str, str]]
) -> ColumnElement[bool]:
    """Return the condition that a row of concepts is of one of some (label, model)."""
    version = shape.concepts.c.extractor_version
    model = shape.concepts.c.extractor_model
    return or_(
        false(), *(and_(is_named(version, one[0]), is_named(model, one[1])) for one in extractors)
    )


def is_named(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Return the condition that a column holds a name; NULL and the empty text are one."""
    return column == name if name else or_(column.is_(None), column == name)


def has_concepts(shape: PassagesShape, skip: Sequence[str] | None) -> ColumnElement[bool]:
    """Return the condition that a passage has a concept, of one of some versions, or of any where None."""
    named = true() if skip is None else shape.concepts.c.extractor_version.in_(skip)
    rows = select(shape.concepts.c.passage_id).where(shape.concerns, named)
    return rows.correlate(shape.passages).exists()


def counts_now(shape: PassagesShape) -> ColumnElement[bool]:
    """Return the condition that a row of concepts counts: where a person said which there are, theirs alone do."""
    concepts = shape.concepts.c
    is_corrected = answers.is_answered(TASK, cast(concepts.passage_id, Text), answers.PERSON)
    return or_(concepts.extractor_version == literal(answers.PERSON, Text), ~is_corrected)


def item_table(
    shape: PassagesShape, *, skip: Sequence[str] | None = None, label: str = ""
) -> RowTable:
    """Return the table of passages; those are asked about that have text, and no concept that keeps them from it.

    Those are concepts of the versions in `skip` (None: of any version), and of `label` itself.
    """
    answered = has_concepts(
        shape, skip if skip is None or not label else (*skip, label, answers.PERSON)
    )
    named = (
        shape.item_id != "" if shape.ids.kind == "text" else true()
    )  # an id that a request can name
    holds = and_(has_words(shape.passages.c.text), named)
    states = RowStates(("with_concepts", answered), ("open", holds), "empty")
    own = "" if skip is None else label
    return RowTable(TASK, shape.passages, states, and_(~answered, holds), shape.ids, own=own)


def passage_texts(
    tx: Connection, shape: PassagesShape, ids: Sequence[str], *, locked: bool = False
) -> dict[str, str]:
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


def concept_names(tx: Connection, shape: PassagesShape, ids: Sequence[str]) -> dict[str, list[str]]:
    """Return the names of the concepts of these passages, by id, each once, in order."""
    concepts = shape.concepts.c
    whose = concepts.passage_id
    name = concepts.concept_name
    query = select(whose, name).where(name.is_not(None), counts_now(shape))
    found = dict[str, set[str]]()
    for row in among(tx, query, whose, shape.concept_ids.native(ids)):
        found.setdefault(cell_words(row[0]), set()).add(cell_words(row[1]))
    return {key: sorted(names) for key, names in found.items()}


def put_passages(
    tx: Connection,
    shape: PassagesShape,
    new: Sequence[Mapping[str, Any]],
    changed: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Add passages, and write others that are there: id, text, and source and metadata (JSON text) if kept there."""
    names = (*shape.names, "id")
    added, ready = (
        [filled({name: one[name] for name in names}, shape.blanks) for one in some]
        for some in (new, changed)
    )
    with _refusals(shape):
        run_many(tx, insert(shape.passages), added)
        update_rows(tx, shape.passages, shape.names, [tuple(one.values()) for one in ready])


def add_concepts(tx: Connection, shape: PassagesShape, concepts: Sequence[ConceptRow]) -> None:
    """Add concepts, in their order."""
    ready = [one._asdict() for one in concepts]
    ids = None if shape.own is None else new_ids(tx, shape.own, len(ready))
    if ids is not None:
        ready = [{"id": key, **row} for key, row in zip(ids, ready, strict=True)]
    with _refusals(shape):
        run_many(tx, insert(shape.concepts), ready)


def remove_concepts(
    tx: Connection,
    shape: PassagesShape,
    *,
    version: str,
    model: str,
    ids: Sequence[str] | None = None,
) -> int:
    """Delete the concepts of one version and model, of some passages or of all; return how many there were."""
    mine = delete(shape.concepts).where(of_extractors(shape, [(version, model)]))
    if ids is None:
        return tx.execute(mine).rowcount
    some = pages(shape.concept_ids.native(ids))
    return sum(
        tx.execute(mine.where(shape.concepts.c.passage_id.in_(page))).rowcount for page in some
    )


def _refusals(shape: PassagesShape) -> contextlib.AbstractContextManager[None]:
    return refusals(f"{shape.passages.name} or {shape.concepts.name}")


def concept_versions(tx: Connection, shape: PassagesShape) -> list[VersionCounts]:
    """Return every version that has concepts, by label and model; reads the whole table."""
    concepts = shape.concepts.c
    # NULL and the empty text are one name
    whose = [
        func.coalesce(one, literal_column("''"))
        for one in (concepts.extractor_version, concepts.extractor_model)
    ]
    facts = (func.count(), func.count(concepts.passage_id.distinct()))
    moments = (func.min(concepts.created_at), func.max(concepts.created_at))
    rows = tx.execute(select(*whose, *facts, *moments).group_by(*whose)).all()
    return sorted(
        VersionCounts(cell_words(label), cell_words(model), *counts)
        for label, model, *counts in rows
    )


# ---- the best concepts


VIEW = "best_concepts"
OF = "PREFER_VERSIONS and MIN_CONFIDENCE"
PAGE = 500  # passages in one query, rows in one fetch
MAX_SOURCE = 1200  # characters of the text that stand with a quotation
_READERS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(COLUMNS, cell_words),
    **dict.fromkeys(("aliases", "evidence"), loaded),
    **dict.fromkeys(("confidence", "created_at"), lambda cell: cell),
}


def best_concepts(tx: Connection, shape: PassagesShape, settings: Settings) -> Iterator[ConceptRow]:
    """Yield the best concepts of all passages, by passage, then by name; at flat memory."""
    return _rows(tx, shape, _best(tx, shape, settings))


def all_concepts(
    tx: Connection,
    shape: PassagesShape,
    *,
    of: tuple[str, str] | None = None,
    corrected: bool = False,
    passage: str | None = None,
) -> Iterator[ConceptRow]:
    """Yield every concept of one passage or of all, or those `of` one label and model.

    Where they are `corrected`, what a person said of a passage stands in their place.
    """
    chosen = select(*(shape.concepts.c[name] for name in COLUMNS))
    if of is not None:
        chosen = chosen.where(
            of_extractors(shape, [of, (answers.PERSON, "")] if corrected else [of])
        )
    if corrected:
        chosen = chosen.where(counts_now(shape))
    return _rows(tx, shape, _with_source(tx, shape, chosen), passage=passage)


def _rows(
    tx: Connection, shape: PassagesShape, chosen: Select[Any], *, passage: str | None = None
) -> Iterator[ConceptRow]:
    """Yield rows page by page of passages, in the order of their ids, which are read from the index alone."""
    whose = chosen.selected_columns.passage_id
    chosen = chosen.order_by(whose, chosen.selected_columns.concept_name)
    if passage is not None:
        conditions: Iterable[ColumnElement[bool]] = [whose.in_(shape.concept_ids.native([passage]))]
    else:
        pages_of_ids = values_in_pages(tx, shape.concepts.c.passage_id, size=PAGE)
        ends = (
            (literal(ids[0], ColumnTyped()), literal(ids[-1], ColumnTyped()))
            for ids in pages_of_ids
        )
        conditions = (whose.between(*both) for both in ends)
    for condition in conditions:
        for row in streamed(tx, chosen.where(condition), page=PAGE):
            yield ConceptRow(*map(call, _READERS.values(), row))


def _best(tx: Connection, shape: PassagesShape, settings: Settings) -> Select[Any]:
    """Return the SELECT of the best concepts; a condition on `passage_id` goes all the way down."""
    concepts = shape.concepts.c
    begun = answers.begun().subquery("begun")
    number: ColumnElement[Any] = (
        concepts.confidence if is_sqlite(tx) else cast(concepts.confidence, Text)
    )
    sure = cast(number, Float if is_sqlite(tx) else Double)  # `0.7` of a narrow column is 0.7
    labels = settings.prefer_versions or ()
    moment: ColumnElement[Any] = concepts.created_at
    if is_sqlite(tx):  # where another program may have written it in another form
        moment = func.julianday(type_coerce(moment, Text))
    places = [
        (concepts.extractor_version == literal(label, Text), literal(place, Integer))
        for place, label in enumerate(labels)
    ]
    order = [
        *([case(*places, else_=literal(len(labels), Integer))] if places else []),
        begun.c.began_at.desc().nulls_last(),
        moment.desc().nulls_last(),
        sure.desc(),
        concepts.id if "id" in concepts else concepts.concept_name,
    ]
    place = func.row_number().over(
        partition_by=[concepts.passage_id, func.lower(concepts.concept_name)], order_by=order
    )
    label, model = (
        func.coalesce(concepts[f"extractor_{name}"], "") for name in ("version", "model")
    )
    whose = label.op("||")(literal_column("'/'")).op("||")(model)
    joined = shape.concepts.outerjoin(begun, and_(begun.c.task == TASK, begun.c.extractor == whose))
    chosen = select(*(concepts[name] for name in COLUMNS), place.label("place")).select_from(joined)
    there = concepts.concept_name.is_not(None)
    return _with_source(
        tx,
        shape,
        chosen.where(there, counts_now(shape), sure >= literal(settings.min_confidence, Float)),
    )


def _with_source(tx: Connection, shape: PassagesShape, chosen: Select[Any]) -> Select[Any]:
    """Return a SELECT whose evidence holds the part of the passage that it speaks of; of numbered rows the first."""
    rows = chosen.subquery("chosen")
    passages = shape.passages.c
    key = passages.id if shape.has_same_ids else shape.item_id
    evidence: ColumnElement[Any] = rows.c.evidence
    text = cast(passages.text, Text)
    if is_sqlite(tx):
        evidence = case(
            (func.json_valid(evidence) == 1, _with_part(tx, evidence, text)), else_=evidence
        )
    elif isinstance(columns_of(tx, CONCEPTS)["evidence"].type, JSONB):
        evidence = _with_part(tx, type_coerce(evidence, JSONB), text)
    columns = [evidence.label(name) if name == "evidence" else rows.c[name] for name in COLUMNS]
    whole = select(*columns).select_from(rows.outerjoin(shape.passages, rows.c.passage_id == key))
    return whole.where(rows.c.place == literal_column("1")) if "place" in rows.c else whole


def _with_part(
    tx: Connection, document: ColumnElement[Any], text: ColumnElement[str]
) -> ColumnElement[Any]:
    """Return a document with `source_text`, the text where it is short, else the part of it round the first quotation.

    A document of another shape, or with a source of its own, stays as it is.
    """
    plain = literal_column
    first = document.op("->")(plain("'support'")).op("->")(plain("0"))
    told: list[ColumnElement[Any]] = [
        first.op("->>")(plain(f"'{name}'")) for name in ("start", "end")
    ]
    if not is_sqlite(tx):  # where a text would lose its quotation marks
        told = [cast(first.op("->")(plain(f"'{name}'")), Text) for name in ("start", "end")]
    start, end = (cast(one, Integer) for one in told)
    whole = func.length(text)
    room = plain(str(MAX_SOURCE), Integer)
    none = plain("0", Integer)
    least, most = (func.min, func.max) if is_sqlite(tx) else (func.least, func.greatest)
    before = (room - least(most(end - start, none), room)) // plain("2", Integer)
    at = most(least(start - before, whole - room), none)
    source = case((whole <= room, text), else_=func.substr(text, at + plain("1", Integer), room))
    if is_sqlite(tx):
        is_like = and_(*(func.typeof(one) == plain("'integer'") for one in told), start >= none)
        added: ColumnElement[Any] = func.json_set(document, plain("'$.source_text'"), source)
    else:
        is_like = and_(*(one.op("~", is_comparison=True)(plain("'^[0-9]{1,9}$'")) for one in told))
        added = document.op("||")(func.jsonb_build_object(plain("'source_text'"), source))
    lacks = document.op("->")(plain("'source_text'")).is_(None)
    return case((and_(is_like, lacks, text.is_not(None)), added), else_=document)
