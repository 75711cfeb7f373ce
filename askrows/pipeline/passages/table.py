"""The tables of passages and concepts.

The tables are made by askrows or belong to another program. Ids have the type of the table; the
engine sees text. In a `PassagesShape` a value takes its type from its place: text, numbers and
None go out, and cells that come in are read with `parse_cell_if_json` (JSON) and `cell_to_text`
(text).

- Passages are read in place. An index is added only if no index finds a row by its id.
- Missing columns are added to a table of concepts.

A concept counts if its passage was not corrected, or if it is of the correction.

Evidence is a document `{"support": [{"start", "end", …}, …], …}`. Offsets are in code points.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Identity,
    MetaData,
    Table,
    Text,
    and_,
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
)
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.types import TypeEngine

from askrows.pipeline.core.quotes import iterate_valid_quotations
from askrows.pipeline.core.settings import Settings
from askrows.pipeline.passages import ADOPTION_INDEX, CONCEPTS, PASSAGES
from askrows.pipeline.rows.cells import (
    cell_to_text,
    parse_cell_if_json,
    parse_finite_number,
    to_compact_json,
)
from askrows.pipeline.rows.export import TEXTS_KIND
from askrows.pipeline.rows.reflection import (
    ColumnNeed,
    ReflectedColumns,
    find_storable_ids,
    make_new_ids,
    read_columns,
)
from askrows.pipeline.rows.refusals import translate_refusals
from askrows.pipeline.rows.row_state import RowState
from askrows.pipeline.rows.task_rows import IdColumnFacts, TaskRows
from askrows.pipeline.rows.task_tables import DEFAULT_SETTINGS, TableSpec, TaskTables
from askrows.pipeline.rows.where_sql import make_not_blank_condition
from askrows.pipeline.store import answers
from askrows.pipeline.store.answers import VersionCounts
from askrows.pipeline.store.database import (
    change_matching_rows,
    read_matching_rows,
    run_for_each_row,
    update_rows_by_id,
)
from askrows.pipeline.store.schema import JSONB, NUMBER_COLUMN_TYPE, BigId, ColumnTyped, UtcTime
from askrows.pipeline.store.text_hash import TextHash

TASK = "passage-concepts"
_JSON = Text().with_variant(JSONB, "postgresql")
_JSON_COLUMNS = ("aliases", "evidence")
OPTIONAL_COLUMNS = ("source", "metadata")


class ConceptRow(NamedTuple):
    """A concept of a passage.

    To be written, `aliases` and `evidence` are JSON text, and `created_at` is aware. As read from
    the table they are decoded, and `confidence` is a number or None.
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

    @property
    def version_key(self) -> tuple[str, str]:
        """The prompt version and the model."""
        return self.extractor_version, self.extractor_model

    @property
    def quotations(self) -> list[Mapping[str, Any]]:
        """The valid quotations (quote, start, end) in the decoded evidence, of any program."""
        support = self.evidence.get("support") if isinstance(self.evidence, dict) else None
        return list(iterate_valid_quotations(support))

    def count_misquotations(self, text: str) -> int:
        """Count the quotations that differ from the text of the passage at their offsets."""
        return sum(
            text[quotation["start"] : quotation["end"]] != quotation["quote"]
            for quotation in self.quotations
        )


COLUMNS = ConceptRow._fields
# Kinds of the columns in an export.
EXPORT_KINDS = {
    **dict.fromkeys(COLUMNS, "text"),
    "aliases": TEXTS_KIND,
    "confidence": "real",
    "created_at": "time",
}


@dataclass(frozen=True, eq=False)
class PassagesShape:
    """Columns and id types of the two tables of a database."""

    # The existing columns of passages that are read.
    passages: Table
    # All columns of concepts that are read and written.
    concepts: Table
    # Ids of passages, which `passage_id` of concepts stores, too.
    ids: IdColumnFacts
    # The id column of concepts, or None if it is missing or the table does not exist yet.
    concept_id_column: ReflectedColumn | None
    # Names of tables that do not exist yet. They are described as they will be made.
    missing: frozenset[str] = frozenset()

    @property
    def row_id(self) -> ColumnElement[str]:
        """The id of a passage as text."""
        return cast(self.passages.c.id, Text)

    @property
    def is_of_passage(self) -> ColumnElement[bool]:
        """The SQL condition that a concept belongs to a passage, for queries on both tables."""
        return self.concepts.c.passage_id == self.passages.c.id

    @property
    def version_columns(self) -> list[ColumnElement[str]]:
        """The prompt version and the model of a concept; NULL counts as the empty text."""
        columns = self.concepts.c
        return [
            func.coalesce(column, literal_column("''"))
            for column in (columns.extractor_version, columns.extractor_model)
        ]

    @property
    def value_columns(self) -> list[str]:
        """The columns of passages that are read and written, except the id."""
        return ["text", *(name for name in OPTIONAL_COLUMNS if name in self.passages.c)]


def read_shape(tx: Connection, *, passages: str = PASSAGES) -> PassagesShape:
    """Return the columns and keys of the tables of passages and concepts in this database.

    Only the schema is read. The tables may be made by askrows or belong to another program. A
    table that does not exist is listed in `missing`, and described with the columns that askrows
    would give it.

    The shape also has the kind of the ids. A column for source or metadata whose type does not fit
    is left out.

    Args:
        tx: The transaction that reads.
        passages: Name of the table of passages. That of concepts is always CONCEPTS.
    """
    passage_columns = read_columns(tx, passages)
    concept_columns = read_columns(tx, CONCEPTS)
    contents = {"source": ColumnNeed.TEXT, "metadata": ColumnNeed.JSON}
    fitting_columns = [
        name
        for name in OPTIONAL_COLUMNS
        if name in passage_columns and contents[name].accepts(tx, passage_columns[name])
    ]
    optional_columns = fitting_columns if passage_columns else OPTIONAL_COLUMNS

    id_type: TypeEngine[Any] = Text()
    if "id" in passage_columns:
        id_type = passage_columns["id"]["type"]
    columns_by_table = {passages: passage_columns, CONCEPTS: concept_columns}
    return PassagesShape(
        _untyped_table(passages, ("id", "text", *optional_columns)),
        _untyped_table(CONCEPTS, (*id_columns(concept_columns), *COLUMNS)),
        ids=find_storable_ids(tx, id_type),
        concept_id_column=concept_columns.get("id"),
        missing=frozenset(name for name, columns in columns_by_table.items() if not columns),
    )


def id_columns(concept_columns: ReflectedColumns) -> tuple[str, ...]:
    """Return ("id",), or () if another program's table of concepts has no id column."""
    return ("id",) if not concept_columns or "id" in concept_columns else ()


def _untyped_table(name: str, column_names: Iterable[str]) -> Table:
    """Return a table whose columns have the types of the database, except the time."""
    types = {"created_at": UtcTime}
    columns = (Column(column, types.get(column, ColumnTyped)) for column in column_names)
    return Table(name, MetaData(), *columns)


def _specs(tx: Connection, settings: Settings) -> Sequence[TableSpec]:
    """Return the requirements on both tables.

    Only indexes are added to a table of passages. `passage_id` of concepts gets the type of the ids
    of passages.
    """
    table_name = settings.passages_table
    passages = TableSpec(
        definition=Table(
            table_name,
            MetaData(),
            Column("id", Text, primary_key=True),
            Column("text", Text, nullable=False),
            Column("source", Text),
            Column("metadata", _JSON),
        ),
        required_columns=("id", "text"),
        indexed_columns=("id",),
    )
    return passages, _concepts_spec(tx, read_columns(tx, table_name).get("id"))


def _concepts_spec(tx: Connection, passage_id_column: ReflectedColumn | None) -> TableSpec:
    """Return the requirements on concepts. Missing columns are added to an existing table.

    Args:
        tx: The transaction that reads the existing table.
        passage_id_column: The id column of an existing table of passages; concepts refer to its
            ids.
    """
    types = {
        "passage_id": Text() if passage_id_column is None else passage_id_column["type"],
        **dict.fromkeys(_JSON_COLUMNS, _JSON),
        "confidence": NUMBER_COLUMN_TYPE,
        "created_at": UtcTime(),
    }
    new_id_columns = [
        Column(name, BigId, Identity(), primary_key=True)
        for name in id_columns(read_columns(tx, CONCEPTS))
    ]
    value_columns = (
        Column(name, types.get(name, Text()), nullable=name != "passage_id") for name in COLUMNS
    )
    return TableSpec(
        definition=Table(CONCEPTS, MetaData(), *new_id_columns, *value_columns),
        # A table that lacks these columns is about other things.
        required_columns=("passage_id", "concept_name"),
        column_needs={
            **dict.fromkeys(_JSON_COLUMNS, ColumnNeed.JSON),
            "confidence": ColumnNeed.FRACTION,
            "created_at": ColumnNeed.TIME,
        },
        reference="passage_id",
        adds_columns=True,
        marker_index=(ADOPTION_INDEX, "(passage_id, extractor_version)"),
    )


class _Passages(TaskTables):
    """The two tables."""

    def create_or_adopt(self, tx: Connection, settings: Settings = DEFAULT_SETTINGS) -> list[str]:
        """Make the tables, or add the missing parts, in the caller's transaction.

        Returns:
            Lines to print: a new table under a name that a setting gives, adopted tables, and added
            columns.

        Raises:
            ConfigurationError: A table cannot be adopted. The caller must roll back.
        """
        table_name = settings.passages_table
        # Report a new table of another name, because the name can be a typing error.
        is_new = table_name != PASSAGES and not read_columns(tx, table_name)
        lines = super().create_or_adopt(tx, settings)
        if is_new:
            return [f"created the table {table_name}, which did not exist", *lines]
        return lines


TABLES = _Passages(_specs)


# ---- find and write rows


def is_of_version(shape: PassagesShape, versions: Iterable[tuple[str, str]]) -> ColumnElement[bool]:
    """Return the SQL condition that a concept belongs to any of several versions.

    `versions` are pairs of prompt version and model. For no version the condition is false.
    """
    version_column, model_column = shape.version_columns
    conditions = [
        and_(version_column == prompt_version, model_column == model)
        for prompt_version, model in versions
    ]
    return or_(false(), *conditions)


def has_concepts(
    shape: PassagesShape,
    prompt_versions: Sequence[str] | None,
) -> ColumnElement[bool]:
    """Return the SQL condition that a passage has a concept of some prompt version (None: any)."""
    is_of_versions: ColumnElement[bool] = true()
    if prompt_versions is not None:
        is_of_versions = shape.concepts.c.extractor_version.in_(prompt_versions)
    rows = select(shape.concepts.c.passage_id).where(shape.is_of_passage, is_of_versions)
    return rows.correlate(shape.passages).exists()


def is_current(shape: PassagesShape) -> ColumnElement[bool]:
    """Return the SQL condition that a concept counts.

    If a person corrected a passage, only the concepts of that correction count.
    """
    concepts = shape.concepts.c
    is_corrected = answers.is_answered(TASK, cast(concepts.passage_id, Text), answers.PERSON)
    return or_(concepts.extractor_version == literal(answers.PERSON, Text), ~is_corrected)


def make_passage_rows(
    shape: PassagesShape,
    *,
    skipped_versions: Sequence[str] | None = None,
    prompt_version: str = "",
) -> TaskRows:
    """Return the table of passages, with their states and the condition for open passages.

    - A passage with a concept of a skipped version has the state "with_concepts". It is "stale" if
      a model gave its concepts for another text, or if a person asked for it again; a corrected
      passage is never stale. It is "empty" if its text was removed after a model gave its concepts.
    - Any other passage is "open" if it has text and its id is not empty. Only these can be asked.
    - All others are "empty".

    An open passage is not asked while it is parked (after failures) under `prompt_version`. If
    `skipped_versions` is None or `prompt_version` is empty, that holds for parking under any
    version.

    Args:
        shape: The tables of the database.
        skipped_versions: Prompt versions whose concepts keep a passage from being asked. To a list,
            `prompt_version` and corrections are added if `prompt_version` is not empty. None means
            all versions.
        prompt_version: The prompt version in use, or "".
    """
    answered_versions = skipped_versions
    if skipped_versions is not None and prompt_version:
        answered_versions = (*skipped_versions, prompt_version, answers.PERSON)
    is_answered = has_concepts(shape, answered_versions)

    # A request cannot name an empty id.
    has_id = shape.row_id != "" if shape.ids.kind == "text" else true()
    can_be_asked = and_(make_not_blank_condition(shape.passages.c.text), has_id)
    own_prompt_version = "" if skipped_versions is None else prompt_version
    asked_hash = answers.select_newest_model_answer(
        TASK, shape.row_id, own_prompt_version or None, "input_hash"
    )
    has_changed = asked_hash != TextHash(cast(shape.passages.c.text, Text))
    is_corrected = answers.is_answered(TASK, shape.row_id, answers.PERSON)
    is_askable_again = and_(is_answered, can_be_asked, asked_hash.is_not(None), ~is_corrected)
    is_emptied = and_(~can_be_asked, asked_hash.is_not(None), has_changed)
    return TaskRows(
        TASK,
        shape.passages,
        is_answered=is_answered & ~is_emptied,
        is_open=and_(~is_answered, can_be_asked),
        is_empty=~can_be_asked,
        state_words={RowState.ANSWERED: "with_concepts"},
        ids=shape.ids,
        is_askable_again=is_askable_again,
        has_other_input=has_changed,
        own_prompt_version=own_prompt_version,
    )


def read_passage_texts(
    tx: Connection,
    shape: PassagesShape,
    ids: Sequence[str],
    *,
    should_lock: bool = False,
) -> dict[str, str]:
    """Return the texts of the existing passages among `ids`, by id.

    `should_lock` locks the rows until the transaction ends. Rows of a table without UPDATE rights
    are not locked. `doctor` finds changes that other programs make in this time.
    """
    should_lock = should_lock and _may_lock(tx, shape)
    rows = make_passage_rows(shape).read_rows(tx, ids, ("text",), should_lock=should_lock)
    return {key: cell_to_text(row["text"]) for key, row in rows.items()}


def _may_lock(tx: Connection, shape: PassagesShape) -> bool:
    """Return whether rows of passages can be locked; PostgreSQL requires UPDATE rights for it."""
    if tx.dialect.name == "sqlite":
        return False

    table_name = tx.dialect.identifier_preparer.quote(shape.passages.name)
    has_privilege = func.has_any_column_privilege(func.to_regclass(table_name), "UPDATE")
    return bool(tx.execute(select(has_privilege)).scalar())


def store_passages(
    tx: Connection,
    shape: PassagesShape,
    new_rows: Sequence[Mapping[str, Any]],
    changed_rows: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Insert new passages and update existing passages, in the caller's transaction.

    Each row has id, text, source and metadata (a JSON value). Columns that the table lacks are
    ignored.

    Args:
        changed_rows: Rows whose ids exist.

    Raises:
        RefusedRowError: A rule of the table refuses a row.
    """
    new_cells = [_encode_passage(shape, row) for row in new_rows]
    changed_cells = [list(_encode_passage(shape, row).values()) for row in changed_rows]
    with _refusals(shape):
        run_for_each_row(tx, insert(shape.passages), new_cells)
        update_rows_by_id(tx, shape.passages, shape.value_columns, changed_cells)


def _encode_passage(shape: PassagesShape, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the cells of a passage by column, the id last."""
    cells = {name: row[name] for name in (*shape.value_columns, "id")}
    if cells.get("metadata") is not None:
        cells["metadata"] = to_compact_json(cells["metadata"])
    return cells


def insert_concepts(tx: Connection, shape: PassagesShape, concepts: Sequence[ConceptRow]) -> None:
    """Insert concepts in the caller's transaction, in their order.

    Their ids ascend, unless the table has no id column or the database makes the ids.

    Raises:
        RefusedRowError: A rule of the table refuses a row.
    """
    rows = [concept._asdict() for concept in concepts]
    ids = None
    if shape.concept_id_column is not None:
        ids = make_new_ids(tx, CONCEPTS, shape.concept_id_column, len(rows))
    if ids is not None:
        rows = [{"id": key, **row} for key, row in zip(ids, rows, strict=True)]
    with _refusals(shape):
        run_for_each_row(tx, insert(shape.concepts), rows)


def remove_concepts(
    tx: Connection,
    shape: PassagesShape,
    versions: Iterable[tuple[str, str]],
    *,
    ids: Sequence[str] | None = None,
) -> int:
    """Delete the concepts of versions; return the number of deleted rows.

    Runs in the caller's transaction.

    Args:
        tx: The caller's transaction.
        shape: The tables of the database.
        versions: Prompt versions and models; the model "" also matches NULL.
        ids: Delete only the concepts of these passages; None means all passages.
    """
    statement = delete(shape.concepts).where(is_of_version(shape, versions))
    if ids is None:
        return tx.execute(statement).rowcount
    native_ids = shape.ids.list_comparable_ids(ids)
    return change_matching_rows(tx, statement, shape.concepts.c.passage_id, native_ids)


def _refusals(shape: PassagesShape) -> contextlib.AbstractContextManager[None]:
    return translate_refusals(f"{shape.passages.name} or {shape.concepts.name}")


def read_concept_versions(tx: Connection, shape: PassagesShape) -> list[VersionCounts]:
    """Return every version with concepts, sorted by prompt version and model.

    The counts are concepts and passages, then the first and last time. Reads the whole table.
    """
    concepts = shape.concepts.c
    query = select(
        *shape.version_columns,
        func.count(),
        func.count(concepts.passage_id.distinct()),
        func.min(concepts.created_at),
        func.max(concepts.created_at),
    ).group_by(*shape.version_columns)
    rows = tx.execute(query).all()
    return sorted(
        VersionCounts(cell_to_text(prompt_version), cell_to_text(model), *counts)
        for prompt_version, model, *counts in rows
    )


# ---- read concepts


def iterate_concepts(
    tx: Connection,
    shape: PassagesShape,
    *conditions: ColumnElement[bool],
    versions: Iterable[tuple[str, str]] | None = None,
    passage_ids: Sequence[str] | None = None,
) -> Iterator[ConceptRow]:
    """Yield concepts with their evidence, by passage, name, version and time, in constant memory.

    Concepts without a passage id are left out.

    Args:
        tx: The transaction that reads.
        shape: The tables of the database.
        conditions: Conditions that a concept must meet.
        versions: Prompt versions and models of the concepts; None means all versions.
        passage_ids: Yield only the concepts of these passages.
    """
    concepts = shape.concepts.c
    id_column = concepts.passage_id
    query = select(*(concepts[name] for name in COLUMNS))
    query = query.where(id_column.is_not(None), *conditions)
    if versions is not None:
        query = query.where(is_of_version(shape, versions))
    query = query.order_by(
        id_column, concepts.concept_name, *shape.version_columns, concepts.created_at
    )
    native_ids = None if passage_ids is None else shape.ids.list_comparable_ids(passage_ids)
    for row in read_matching_rows(tx, query, id_column, native_ids):
        yield ConceptRow(
            passage_id=cell_to_text(row.passage_id),
            concept_name=cell_to_text(row.concept_name),
            concept_type=cell_to_text(row.concept_type),
            aliases=parse_cell_if_json(row.aliases),
            confidence=parse_finite_number(row.confidence),
            extractor_model=cell_to_text(row.extractor_model),
            extractor_version=cell_to_text(row.extractor_version),
            evidence=parse_cell_if_json(row.evidence),
            created_at=row.created_at,
        )
