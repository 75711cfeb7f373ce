"""The tables of passages and concepts, and the view of the best concepts.

The tables are made by findable or belong to another program. Ids have the type of the table; the
engine sees text. In a `PassagesShape` a value takes its type from its place: text, numbers and
None go out, and cells that come in are read with `parse_json_cell` (JSON) and `cell_to_text`
(text).

- Passages are read in place. An index is added only if no index finds a row by its id.
- Missing columns are added to a table of concepts.

A concept counts if its passage was not corrected, or if it is of the correction.

Concepts of a passage with equal names form a group, and the view has the best concept of each
group. Names are compared without case; SQLite folds ASCII letters only. The best concept counts, is
sure enough (MIN_CONFIDENCE) and comes from the first matching version: those of PREFER_VERSIONS in
order, then the version that began last, then versions of other programs.

Evidence is a document `{"support": [{"start", "end", …}, …], …}`. The view and exports add
`source_text` to it, the part of the passage around the first quotation. Offsets are in code points.
Evidence of another shape is not changed.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import call
from typing import Any

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

from pipeline.core.command_hint import CommandHint, HintTemplate, OptionHint
from pipeline.core.settings import Settings
from pipeline.passages.shape import (
    COLUMNS,
    ConceptRow,
    PassagesShape,
    id_columns,
    read_shape,
)
from pipeline.passages.source_text import make_document_with_source_text
from pipeline.passages.table_names import ADOPTION_INDEX, CONCEPTS, PASSAGES
from pipeline.store import answers
from pipeline.store.answers import VersionCounts
from pipeline.store.database import (
    run_many,
    select_matching,
    split_into_pages,
    stream_rows,
    update_rows,
)
from pipeline.store.schema import JSONB, NUMBER_COLUMN_TYPE, BigId, ColumnTyped, IsoTime
from pipeline.store.sql_functions import TextHash
from pipeline.tables.adopt import DEFAULT_SETTINGS, TableSpec, TaskTables
from pipeline.tables.adoption_errors import adoption_error, check_required_columns
from pipeline.tables.answer_views import is_view_made, make_view, to_sql
from pipeline.tables.cells import cell_to_text, parse_json_cell
from pipeline.tables.column_needs import ColumnNeed, describe_id_column, make_new_ids
from pipeline.tables.grid import distinct_value_pages
from pipeline.tables.reflection import ReflectedColumns, find_unique_keys, is_sqlite, read_columns
from pipeline.tables.row_table import RowStates, RowTable
from pipeline.tables.text_match import is_not_blank
from pipeline.tables.write_errors import replace_nulls, translate_refusals

TASK = "passage-concepts"
_JSON = Text().with_variant(JSONB, "postgresql")
_JSON_COLUMNS = ("aliases", "evidence")
# No two concepts that findable writes agree in all of these columns.
_UNIQUE_COLUMNS = ("passage_id", "concept_name", "extractor_version")


def _specs(tx: Connection, settings: Settings) -> Sequence[TableSpec]:
    """Return the requirements on both tables.

    Only indexes are added to a table of passages. `passage_id` of concepts gets the type of the ids
    of passages.
    """
    table_name = settings.passages_table
    id_column: Column[Any] = Column("id", Text, primary_key=True)
    passages = TableSpec(
        definition=Table(
            table_name,
            MetaData(),
            id_column,
            Column("text", Text, nullable=False),
            Column("source", Text),
            Column("metadata", _JSON),
        ),
        required_columns=("id", "text"),
        alternative_hint=HintTemplate("name another table with {}", OptionHint("passages_table")),
        indexed_columns=("id",),
    )
    existing_id_column = read_columns(tx, table_name).get("id", id_column)
    return passages, _concepts_spec(tx, existing_id_column)


def _concepts_spec(tx: Connection, passage_id_column: Column[Any]) -> TableSpec:
    """Return the requirements on concepts. Missing columns are added to an existing table.

    Args:
        tx: The transaction that reads the existing table.
        passage_id_column: The id column of passages; concepts refer to its ids.
    """
    types = {
        "passage_id": passage_id_column.type,
        **dict.fromkeys(_JSON_COLUMNS, _JSON),
        "confidence": NUMBER_COLUMN_TYPE,
        "created_at": IsoTime(),
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
        reference=("passage_id", describe_id_column(tx, passage_id_column)),
        adds_columns=True,
        marker_index=(ADOPTION_INDEX, "(passage_id, extractor_version)"),
        check_suitability=_check_rows_fit,
    )


def _check_rows_fit(tx: Connection, concepts: ReflectedColumns) -> None:
    """Check that an existing table of concepts can take every row that findable writes.

    Raises:
        ConfigurationError: A column demands a value that is not written, or a unique key does not
            distinguish the concepts of several versions.
    """
    check_required_columns(CONCEPTS, concepts, written_columns={"id", *COLUMNS} - {"evidence"})
    table = concepts["passage_id"].table
    for key in find_unique_keys(tx, table):
        if key <= set(COLUMNS) and not set(_UNIQUE_COLUMNS) <= key:
            key_columns = ", ".join(sorted(key))
            needed_columns = ", ".join(f"`{name}`" for name in _UNIQUE_COLUMNS)
            raise adoption_error(
                CONCEPTS,
                f"has the unique key ({key_columns}), which refuses some concepts of findable",
                hint=f"include {needed_columns} in that key, or use another database",
            )


class _Passages(TaskTables):
    """The two tables and the view of the best concepts.

    The view is made only if the task in use is passages.
    """

    def adopt(self, tx: Connection, settings: Settings = DEFAULT_SETTINGS) -> list[str]:
        """Make the tables and the view, or add the missing parts, in the caller's transaction.

        The view is made only if the task in use is passages. It replaces an earlier view of
        findable, but not one of another program with the same name.

        Returns:
            Lines to print: a new table under a name that a setting gives, adopted tables, added
            columns, and a view that is not ours.

        Raises:
            ConfigurationError: A table cannot be adopted. The caller must roll back.
        """
        table_name = settings.passages_table
        # Report a new table of another name, because the name can be a typing error.
        is_new = table_name != PASSAGES and not read_columns(tx, table_name)
        lines = super().adopt(tx, settings)
        if is_new:
            lines = [f"created the table {table_name}, which did not exist", *lines]

        if settings.task == "passages":
            query = self._best(tx, settings)
            if not make_view(tx, VIEW, query, to_sql(tx, query), origin=VIEW_SETTINGS):
                message = f"`{VIEW}` belongs to another program and was not changed"
                lines.append(f"{message}; `{CommandHint('best-concepts')}` works without it")
        return lines

    def is_adopted(self, tx: Connection, settings: Settings = DEFAULT_SETTINGS) -> bool:
        """Return whether the tables are adopted and the view matches the settings."""
        has_tables = super().is_adopted(tx, settings)
        if not has_tables or settings.task != "passages":
            return has_tables
        definition = to_sql(tx, self._best(tx, settings))
        return is_view_made(tx, VIEW, definition, origin=VIEW_SETTINGS)

    def list_made_columns(
        self,
        tx: Connection,
        settings: Settings = DEFAULT_SETTINGS,
    ) -> dict[str, tuple[str, ...]]:
        """Return the tables, with the view if it is made; see `TaskTables.list_made_columns`."""
        tables = dict(super().list_made_columns(tx, settings))
        if settings.task == "passages":
            tables[VIEW] = ()
        return tables

    def _best(self, tx: Connection, settings: Settings) -> Select[Any]:
        shape = read_shape(tx, passages=settings.passages_table)
        return _select_best_concepts(tx, shape, settings)


TABLES = _Passages(_specs, names=(PASSAGES, CONCEPTS))


# ---- find and write rows


def is_of_version(shape: PassagesShape, versions: Iterable[tuple[str, str]]) -> ColumnElement[bool]:
    """Return the SQL condition that a concept belongs to any of several versions.

    `versions` are pairs of prompt version and model. For no version the condition is false.
    """
    version_column = shape.concepts.c.extractor_version
    model_column = shape.concepts.c.extractor_model
    conditions = [
        and_(has_name(version_column, prompt_version), has_name(model_column, model))
        for prompt_version, model in versions
    ]
    return or_(false(), *conditions)


def has_name(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Return the SQL condition that a column equals a name; "" also matches NULL."""
    return column == name if name else or_(column.is_(None), column == name)


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


def make_row_table(
    shape: PassagesShape,
    *,
    skipped_versions: Sequence[str] | None = None,
    prompt_version: str = "",
) -> RowTable:
    """Return the table of passages, with their states and the condition for open passages.

    - A passage with a concept of a skipped version has the state "with_concepts". It is "stale" if
      a model gave its concepts for another text, or if a person asked for it again.
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
    can_be_asked = and_(is_not_blank(shape.passages.c.text), has_id)
    own_prompt_version = "" if skipped_versions is None else prompt_version
    asked_hash = answers.newest_model_answer(
        TASK, shape.row_id, own_prompt_version or None, "input_hash"
    )
    has_changed = asked_hash != TextHash(cast(shape.passages.c.text, Text))
    is_corrected = answers.is_answered(TASK, shape.row_id, answers.PERSON)
    is_askable_again = and_(is_answered, can_be_asked, asked_hash.is_not(None), ~is_corrected)
    is_emptied = and_(~can_be_asked, asked_hash.is_not(None), has_changed)
    return RowTable(
        TASK,
        shape.passages,
        RowStates(("with_concepts", is_answered & ~is_emptied), ("open", can_be_asked), "empty"),
        and_(~is_answered, can_be_asked),
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
    rows = make_row_table(shape).read_rows(tx, ids, ("text",), should_lock=should_lock)
    return {key: cell_to_text(row["text"]) for key, row in rows.items()}


def _may_lock(tx: Connection, shape: PassagesShape) -> bool:
    """Return whether rows of passages can be locked; PostgreSQL requires UPDATE rights for it."""
    if tx.dialect.name == "sqlite":
        return False

    table_name = tx.dialect.identifier_preparer.quote(shape.passages.name)
    has_privilege = func.has_any_column_privilege(func.to_regclass(table_name), "UPDATE")
    return bool(tx.execute(select(has_privilege)).scalar())


def read_concept_names(
    tx: Connection, shape: PassagesShape, ids: Sequence[str]
) -> dict[str, list[str]]:
    """Return the distinct names of the concepts of passages, sorted, by passage id.

    A corrected passage has only the names of its correction. Other passages have the names of all
    versions. Passages without names are left out.
    """
    concepts = shape.concepts.c
    passage_id = concepts.passage_id
    name = concepts.concept_name
    query = select(passage_id, name).where(name.is_not(None), is_current(shape))

    names_by_id = dict[str, set[str]]()
    for row in select_matching(tx, query, passage_id, shape.concept_ids.to_native_ids(ids)):
        names_by_id.setdefault(cell_to_text(row[0]), set()).add(cell_to_text(row[1]))
    return {key: sorted(names) for key, names in names_by_id.items()}


def store_passages(
    tx: Connection,
    shape: PassagesShape,
    new_rows: Sequence[Mapping[str, Any]],
    changed_rows: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Insert new passages and update existing passages, in the caller's transaction.

    Each row has id, text, source and metadata (JSON text). Columns that the table lacks are
    ignored. In columns that are NOT NULL, an empty source or metadata is stored in place of None.

    Args:
        changed_rows: Rows whose ids exist.

    Raises:
        RefusedRowError: A rule of the table refuses a row.
    """
    column_names = (*shape.value_columns, "id")

    def stored(row: Mapping[str, Any]) -> dict[str, Any]:
        return replace_nulls({name: row[name] for name in column_names}, shape.null_substitutes)

    new_cells = [stored(row) for row in new_rows]
    changed_cells = [tuple(stored(row).values()) for row in changed_rows]
    with _refusals(shape):
        run_many(tx, insert(shape.passages), new_cells)
        update_rows(tx, shape.passages, shape.value_columns, changed_cells)


def add_concepts(tx: Connection, shape: PassagesShape, concepts: Sequence[ConceptRow]) -> None:
    """Insert concepts in the caller's transaction, in their order.

    Their ids ascend, unless the table has no id column or the database makes the ids.

    Raises:
        RefusedRowError: A rule of the table refuses a row.
    """
    rows = [concept._asdict() for concept in concepts]
    ids = None
    if shape.concept_id_column is not None:
        ids = make_new_ids(tx, shape.concept_id_column, len(rows))
    if ids is not None:
        rows = [{"id": key, **row} for key, row in zip(ids, rows, strict=True)]
    with _refusals(shape):
        run_many(tx, insert(shape.concepts), rows)


def remove_concepts(
    tx: Connection,
    shape: PassagesShape,
    *,
    version: str,
    model: str,
    ids: Sequence[str] | None = None,
) -> int:
    """Delete the concepts of a prompt version and model; return the number of deleted rows.

    Runs in the caller's transaction.

    Args:
        tx: The caller's transaction.
        shape: The tables of the database.
        version: The prompt version.
        model: The model; "" also matches NULL.
        ids: Delete only the concepts of these passages; None means all passages.
    """
    statement = delete(shape.concepts).where(is_of_version(shape, [(version, model)]))
    if ids is None:
        return tx.execute(statement).rowcount

    deleted_count = 0
    for page in split_into_pages(shape.concept_ids.to_native_ids(ids)):
        is_in_page = shape.concepts.c.passage_id.in_(page)
        deleted_count += tx.execute(statement.where(is_in_page)).rowcount
    return deleted_count


def _refusals(shape: PassagesShape) -> contextlib.AbstractContextManager[None]:
    return translate_refusals(f"{shape.passages.name} or {shape.concepts.name}")


def read_concept_versions(tx: Connection, shape: PassagesShape) -> list[VersionCounts]:
    """Return every version with concepts, sorted by prompt version and model.

    The counts are concepts and passages, then the first and last time. NULL counts as the empty
    text. Reads the whole table.
    """
    concepts = shape.concepts.c
    # NULL and the empty text are the same version.
    version_columns = [
        func.coalesce(column, literal_column("''"))
        for column in (concepts.extractor_version, concepts.extractor_model)
    ]
    query = select(
        *version_columns,
        func.count(),
        func.count(concepts.passage_id.distinct()),
        func.min(concepts.created_at),
        func.max(concepts.created_at),
    ).group_by(*version_columns)
    rows = tx.execute(query).all()
    return sorted(
        VersionCounts(cell_to_text(label), cell_to_text(model), *counts)
        for label, model, *counts in rows
    )


# ---- the best concepts


VIEW = "best_concepts"
# The settings that the view depends on, as its description names them.
VIEW_SETTINGS = "PREFER_VERSIONS and MIN_CONFIDENCE"
# Passages per query, and rows per fetch.
PAGE_SIZE = 500
_READERS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(COLUMNS, cell_to_text),
    **dict.fromkeys(_JSON_COLUMNS, parse_json_cell),
    **dict.fromkeys(("confidence", "created_at"), lambda cell: cell),
}


def read_best_concepts(
    tx: Connection,
    shape: PassagesShape,
    settings: Settings,
    *conditions: ColumnElement[bool],
) -> Iterator[ConceptRow]:
    """Yield the best concepts, by passage, then by name, in constant memory.

    Args:
        tx: The transaction that reads.
        shape: The tables of the database.
        settings: PREFER_VERSIONS and MIN_CONFIDENCE.
        conditions: Conditions that a passage must meet.
    """
    return _iterate_rows(tx, shape, _select_best_concepts(tx, shape, settings), *conditions)


def iterate_concepts(
    tx: Connection,
    shape: PassagesShape,
    *conditions: ColumnElement[bool],
    version: tuple[str, str] | None = None,
    use_corrections: bool = False,
    passage_id: str | None = None,
) -> Iterator[ConceptRow]:
    """Yield concepts with their evidence, by passage, then by name, in constant memory.

    If the evidence has a quotation, `source_text` is added to it: the part of the passage around
    the first quotation.

    Args:
        tx: The transaction that reads.
        shape: The tables of the database.
        conditions: Conditions that a passage must meet.
        version: Prompt version and model of the concepts; None means all versions.
        use_corrections: A corrected passage has only the concepts of its correction, whatever
            `version` is.
        passage_id: Yield only the concepts of this passage.
    """
    query = select(*(shape.concepts.c[name] for name in COLUMNS))
    if version is not None:
        versions = [version, (answers.PERSON, "")] if use_corrections else [version]
        query = query.where(is_of_version(shape, versions))
    if use_corrections:
        query = query.where(is_current(shape))
    query = _with_source(tx, shape, query)
    return _iterate_rows(tx, shape, query, *conditions, passage_id=passage_id)


def _iterate_rows(
    tx: Connection,
    shape: PassagesShape,
    query: Select[Any],
    *conditions: ColumnElement[bool],
    passage_id: str | None = None,
) -> Iterator[ConceptRow]:
    """Yield the rows of a query about passages that meet all conditions, by passage, then by name.

    Each query covers a page of passages. Without conditions, their ids are read from the index
    alone.
    """
    id_column = query.selected_columns.passage_id
    query = query.order_by(id_column, query.selected_columns.concept_name)
    for condition in _iterate_page_conditions(tx, shape, id_column, conditions, passage_id):
        for row in stream_rows(tx, query.where(condition), page=PAGE_SIZE):
            yield ConceptRow(*map(call, _READERS.values(), row))


def _iterate_page_conditions(
    tx: Connection,
    shape: PassagesShape,
    id_column: ColumnElement[Any],
    conditions: Sequence[ColumnElement[bool]],
    passage_id: str | None,
) -> Iterator[ColumnElement[bool]]:
    """Yield the SQL condition of each page of passages: ids, a range of ids, or the given passage.

    A page has PAGE_SIZE passages with concepts.
    """
    if passage_id is not None:
        yield id_column.in_(shape.concept_ids.to_native_ids([passage_id]))
        return
    concept_column = shape.concepts.c.passage_id
    if conditions:
        passages = select(literal(1)).select_from(shape.passages)
        is_selected = passages.where(shape.is_of_passage, *conditions).correlate(shape.concepts)
        for ids in distinct_value_pages(tx, concept_column, is_selected.exists(), size=PAGE_SIZE):
            yield id_column.in_(ids)
        return
    for ids in distinct_value_pages(tx, concept_column, size=PAGE_SIZE):
        first_id = literal(ids[0], ColumnTyped())
        last_id = literal(ids[-1], ColumnTyped())
        yield id_column.between(first_id, last_id)


def _select_best_concepts(tx: Connection, shape: PassagesShape, settings: Settings) -> Select[Any]:
    """Return the SELECT of the best concepts.

    Among the concepts of a passage with equal names in any case, the first by `_list_sort_keys` is
    selected. A concept needs a name and at least the confidence of the setting MIN_CONFIDENCE; a
    concept without a confidence is left out. If a person corrected the passage, only the concepts
    of that correction are considered, otherwise those of all versions.

    The SELECT has the columns of `ConceptRow`, with `source_text` in the evidence. The database
    pushes a condition on `passage_id` down to the tables. The aliases are part of the view, whose
    text is compared: do not rename them.
    """
    concepts = shape.concepts.c
    version_starts = answers.select_version_starts().subquery("begun")
    confidence: ColumnElement[Any] = cast(concepts.confidence, Float)
    # PostgreSQL casts by way of text, so that 0.7 in a 32-bit column equals 0.7 as a double.
    if not is_sqlite(tx):
        confidence = cast(cast(concepts.confidence, Text), Double)
    rank = func.row_number().over(
        partition_by=[concepts.passage_id, func.lower(concepts.concept_name)],
        order_by=_list_sort_keys(
            tx,
            shape,
            settings,
            version_began_at=version_starts.c.began_at,
            confidence=confidence,
        ),
    )

    prompt_version = func.coalesce(concepts["extractor_version"], "")
    model = func.coalesce(concepts["extractor_model"], "")
    version = prompt_version.op("||")(literal_column("'/'")).op("||")(model)
    is_start_of_version = and_(version_starts.c.task == TASK, version_starts.c.extractor == version)
    query = (
        select(*(concepts[name] for name in COLUMNS), rank.label("place"))
        .select_from(shape.concepts.outerjoin(version_starts, is_start_of_version))
        .where(
            concepts.concept_name.is_not(None),
            is_current(shape),
            confidence >= literal(settings.min_confidence, Float),
        )
    )
    return _with_source(tx, shape, query)


def _list_sort_keys(
    tx: Connection,
    shape: PassagesShape,
    settings: Settings,
    *,
    version_began_at: ColumnElement[Any],
    confidence: ColumnElement[Any],
) -> list[ColumnElement[Any]]:
    """Return the sort keys of concepts with equal names, the best first.

    The keys are the position in PREFER_VERSIONS, the start of the version (latest first), the time
    of the concept (latest first), the confidence (highest first), and the id, or the name if there
    is no id.

    Args:
        tx: A connection to the database.
        shape: The tables of the database.
        settings: The settings with PREFER_VERSIONS.
        version_began_at: Expression for the start of the concept's version.
        confidence: Expression for the confidence as a number.
    """
    concepts = shape.concepts.c
    created_at: ColumnElement[Any] = concepts.created_at
    # On SQLite another program may have written times in another format.
    if is_sqlite(tx):
        created_at = func.julianday(type_coerce(created_at, Text))

    sort_keys = [
        version_began_at.desc().nulls_last(),
        created_at.desc().nulls_last(),
        confidence.desc(),
        concepts.id if "id" in concepts else concepts.concept_name,
    ]
    preferred_versions = settings.prefer_versions or ()
    if preferred_versions:
        positions = [
            (concepts.extractor_version == literal(label, Text), literal(position, Integer))
            for position, label in enumerate(preferred_versions)
        ]
        last_position = literal(len(preferred_versions), Integer)
        sort_keys.insert(0, case(*positions, else_=last_position))
    return sort_keys


def _with_source(tx: Connection, shape: PassagesShape, query: Select[Any]) -> Select[Any]:
    """Return a SELECT of the rows of `query` with `source_text` in their evidence.

    `source_text` is the part of the passage around the first quotation. Evidence that is not JSON
    is not changed. On PostgreSQL, evidence is changed only if its column has the type jsonb.

    Args:
        tx: Connection that decides the dialect.
        shape: The tables of the database.
        query: A SELECT with the columns of `ConceptRow`. If it also has a column `place`, only rows
            whose place is 1 are selected.
    """
    rows = query.subquery("chosen")
    evidence: ColumnElement[Any] = rows.c.evidence
    text = cast(shape.passages.c.text, Text)
    if is_sqlite(tx):
        evidence_with_source = make_document_with_source_text(tx, evidence, text)
        is_json = func.json_valid(evidence) == 1
        evidence = case((is_json, evidence_with_source), else_=evidence)
    elif str(read_columns(tx, CONCEPTS)["evidence"].type) == "JSONB":
        evidence = make_document_with_source_text(tx, type_coerce(evidence, JSONB), text)

    columns = [evidence.label(name) if name == "evidence" else rows.c[name] for name in COLUMNS]
    joined = rows.outerjoin(shape.passages, rows.c.passage_id == shape.compared_id)
    selected = select(*columns).select_from(joined)
    if "place" in rows.c:
        selected = selected.where(rows.c.place == literal_column("1"))
    return selected
