"""Look up the rows of many texts by a statement that is made once: making it takes as long as looking hundreds up."""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import Column, Connection, Select, Text, bindparam, func

from pipeline.store.database import NUL

LISTED = "listed"  # the parameter that is the texts


def rows_of_listed(
    tx: Connection, query: Select[Any], column: Column[str], values: Sequence[str], **given: Any
) -> Sequence[Sequence[Any]]:
    """Return the rows of a SELECT, the same object each time, whose column holds one of some texts.

    None of them stands there twice, or its rows may come twice. `given` are the SELECT's other parameters.
    """
    listed = json.dumps(values, ensure_ascii=False) if tx.dialect.name == "sqlite" else NUL  # see `among`
    as_json = NUL not in listed
    return tx.execute(_of_listed(query, column, as_json), {LISTED: listed if as_json else values, **given}).all()


@cache
def _of_listed(query: Select[Any], column: Column[str], as_json: bool) -> Select[Any]:  # noqa: FBT001 - by its place
    """Return the SELECT of the rows of the texts that it is given."""
    if not as_json:
        return query.where(column.in_(bindparam(LISTED, expanding=True)))
    # a join looks each up as it comes; a list would be sorted before
    each = func.json_each(bindparam(LISTED, type_=Text)).table_valued("value")
    return query.join_from(each, column.table, column == each.c.value)
