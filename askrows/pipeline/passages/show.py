"""List passages with their concepts, and read a passage with its newest concepts."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Text, cast, func, select

from askrows.pipeline.passages import table
from askrows.pipeline.passages.table import PassagesShape
from askrows.pipeline.rows import export
from askrows.pipeline.rows.cells import cell_to_text, parse_cell_if_json
from askrows.pipeline.rows.grid import Grid, make_grid
from askrows.pipeline.rows.view_row import ViewColumn, ViewRow
from askrows.pipeline.rows.where_sql import make_json_cell
from askrows.pipeline.store.database import is_sqlite
from askrows.pipeline.tasks.task import Task

CONCEPTS = "concepts"
TYPES = "types"
# Source, text, and concepts as (name, type, stored quotations).
QuotedPassage = tuple[str, str, list[tuple[str, str, list[Mapping[str, Any]]]]]


def read_passage_and_newest_concepts(
    tx: Connection, shape: PassagesShape, task: Task, passage_id: str
) -> QuotedPassage:
    """Return source and text of a passage, and its newest concepts with their quotations.

    The version that wrote the newest concept of the passage decides, whether it is a model's, a
    correction or another program's: all concepts of this version are returned. The list is empty if
    the passage has no concepts.

    Args:
        tx: The transaction that reads.
        shape: The tables of the database.
        task: The passages task, which finds the row.
        passage_id: Id of the passage.

    Raises:
        InputError: There is no passage of this id.
    """
    passage_ids = [task.require_row_id(tx, passage_id)]
    rows = table.make_passage_rows(shape).read_rows(tx, passage_ids, shape.value_columns)
    row = rows[passage_id]
    concepts = list(table.iterate_concepts(tx, shape, passage_ids=passage_ids))
    concepts.sort(key=lambda concept: str(concept.created_at or ""))
    newest_concepts = [
        (concept.concept_name, concept.concept_type, concept.quotations)
        for concept in concepts
        if concept.version_key == concepts[-1].version_key
    ]
    return cell_to_text(row.get("source")), cell_to_text(row["text"]), newest_concepts


def make_passages_grid(tx: Connection, shape: PassagesShape, task: Task) -> Grid:
    """Return the grid that lists passages; the rows are read later.

    Words are searched in id, source and text. WHERE= knows `reviewed`, and `types`: the types of a
    passage's concepts. The column `concepts` lists the names of a passage's concepts; those of a
    corrected passage are only the names of the correction.

    Args:
        tx: A connection to the database that will run the queries. Few queries run now.
        shape: The tables of the database.
        task: The passages task. Which of its rows are open depends on the version in use.
    """
    task_rows = task.rows
    column_names = ["id"]
    column_names += [name for name in ("source", "text") if name in shape.value_columns]
    concepts = shape.concepts.c
    types = _list_values(tx, shape, cast(concepts.concept_type, Text))
    names = _list_values(tx, shape, cast(concepts.concept_name, Text), table.is_current(shape))
    columns = {name: ViewColumn(partial(_read_text, name)) for name in column_names}
    columns[CONCEPTS] = ViewColumn(partial(_read_list, CONCEPTS), export.TEXTS_KIND)
    columns[TYPES] = ViewColumn(
        partial(_read_list, TYPES), export.TEXTS_KIND, make_json_cell(TYPES, types)
    )
    return make_grid(
        tx,
        task_rows,
        columns,
        preference=task.make_version_preference(tx),
        cells={
            **{name: task_rows.table.c[name] for name in ("id", *shape.value_columns)},
            CONCEPTS: names,
            TYPES: types,
        },
        read_values=dict,
        source_names=column_names,
        default_names=[*column_names, CONCEPTS],
        searched_cells=[task_rows.table.c[name] for name in column_names],
        facets=(TYPES,),
    )


def _read_text(name: str, row: ViewRow) -> str:
    """Return a cell of a passage as text."""
    return cell_to_text(row.values[name])


def _read_list(name: str, row: ViewRow) -> list[str] | None:
    """Return the different texts of a JSON list, sorted; None if there are none."""
    texts = {cell_to_text(member) for member in parse_cell_if_json(row.values[name]) or ()}
    return sorted(texts) or None


def _list_values(
    tx: Connection,
    shape: PassagesShape,
    values: ColumnElement[Any],
    *conditions: ColumnElement[bool],
) -> ColumnElement[Any]:
    """Return an SQL expression for the different values of a passage's concepts, as a JSON list.

    Args:
        values: An expression on a concept. NULL is left out.
        conditions: Conditions that a concept must meet.
    """
    if is_sqlite(tx):
        value_list: ColumnElement[Any] = func.json_group_array(values.distinct())
    else:
        value_list = cast(func.json_agg(values.distinct()), Text)
    query = select(value_list).where(shape.is_of_passage, values.is_not(None), *conditions)
    return query.correlate(shape.passages).scalar_subquery()
