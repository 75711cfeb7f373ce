"""Say what a list of people shows, what it is looked through for, and what it is sorted by."""

from collections.abc import Mapping
from functools import cache, partial
from typing import Any

from sqlalchemy import Connection, func

from pipeline.experts import table
from pipeline.experts.columns import HEADERS, USERNAME
from pipeline.experts.schema import SCORE, experts, item_id
from pipeline.tables.cells import list_of, number_of, text_of
from pipeline.tables.grid import Grid, GridColumn, GridFacet, says_text, version_facet
from pipeline.tables.reflect import columns_of

USUAL = ("username", "name", "job_title", "company", "tags", "findability_score")


def people_grid(tx: Connection) -> Grid:
    """Return what lists people, looked for in names, title, company and tags."""
    username = experts.c.username
    is_nullable = columns_of(tx, experts.name)[USERNAME].nullable
    return Grid(
        table=table.people(tx),
        columns=_columns(),
        usual=USUAL,
        searched=[experts.c[name] for name in table.LISTED],
        sorts={USERNAME: func.coalesce(username, "") if is_nullable else username, "findability_score": SCORE},
        score=SCORE,
        tags=GridFacet(experts.c.tags, _tags, partial(says_text, tx, experts.c.tags)),
        versions=_versions(),
    )


@cache
def _columns() -> Mapping[str, GridColumn]:
    own = {
        "name": GridColumn(("first_name", "last_name"), _name),
        "hourly_rate": GridColumn(("hourly_rate",), _rate),
        "tags": GridColumn(("tags",), _tags),
        "findability_score": GridColumn(("findability_score",), number_of),
    }
    return {name: own.get(name) or GridColumn((name,), text_of) for name in (*USUAL, *HEADERS)}


@cache
def _versions() -> GridFacet:
    return version_facet(table.TASK, item_id)


def _name(first: Any, last: Any) -> str:
    return f"{text_of(first)} {text_of(last)}".strip()


def _rate(cell: Any) -> float | str:
    number = number_of(cell)
    return text_of(cell) if number is None else number


def _tags(cell: Any) -> list[str]:
    return list_of(cell) or []
