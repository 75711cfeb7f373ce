"""Say what a list of people shows, what it is looked through for, and what it is sorted by."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from sqlalchemy import Connection, func

from pipeline.experts import table
from pipeline.experts.columns import HEADERS, USERNAME
from pipeline.experts.schema import SCORE, experts, item_id
from pipeline.tables.cells import list_of, number_of, text_of
from pipeline.tables.grid import Grid, GridFacet, says_text, version_facet
from pipeline.tables.reflect import columns_of

Row = Mapping[str, Any]
USUAL = ("username", "name", "job_title", "company", "tags", "findability_score")


def people_grid(tx: Connection) -> Grid:
    """Return what lists people, looked for in names, title, company and tags."""
    username = experts.c.username
    is_nullable = columns_of(tx, experts.name)[USERNAME].nullable
    return Grid(
        table=table.people(tx),
        cells=(*HEADERS, "tags", "findability_score"),
        columns={name: _OWN.get(name) or partial(_text, name) for name in (*USUAL, *HEADERS)},
        usual=USUAL,
        searched=[experts.c[name] for name in table.LISTED],
        sorts={USERNAME: func.coalesce(username, "") if is_nullable else username, "findability_score": SCORE},
        score=SCORE,
        tags=GridFacet(experts.c.tags, lambda cell: list_of(cell) or (), partial(says_text, tx, experts.c.tags)),
        versions=version_facet(table.TASK, item_id),
    )


def _text(name: str, row: Row) -> str:
    return text_of(row[name])


def _rate(row: Row) -> float | str:
    number = number_of(row["hourly_rate"])
    return _text("hourly_rate", row) if number is None else number


_OWN: Mapping[str, Callable[[Row], Any]] = {
    "name": lambda row: f"{_text('first_name', row)} {_text('last_name', row)}".strip(),
    "hourly_rate": _rate,
    "tags": lambda row: list_of(row["tags"]) or [],
    "findability_score": lambda row: number_of(row["findability_score"]),
}
