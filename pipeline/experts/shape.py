"""How the `experts` table is: as we make it, and what one that somebody else made may have otherwise.

Ids are numbers or text, as the table has them; the engine sees text.
"""

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    REAL,
    Column,
    Connection,
    Float,
    Integer,
    MetaData,
    Table,
    Text,
    cast,
    func,
    inspect,
    select,
    text,
    types,
)

from pipeline.experts.columns import HEADERS

NUMBER = Float().with_variant(REAL(), "sqlite")  # REAL is the one name that STRICT tables take
WHOLE = re.compile(r"-?[0-9]{1,18}")

experts = Table(
    "experts",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("username", Text, nullable=False, unique=True),
    Column("first_name", Text),
    Column("last_name", Text),
    Column("job_title", Text),
    Column("company", Text),
    Column("bio", Text),
    Column("hourly_rate", NUMBER),
    Column("currency", Text),
    Column("profile_url", Text),
    Column("profile_url_utm", Text),
    Column("category", Text),
    Column("tags", Text),  # a JSON list; NULL until tagged, then immutable
    Column("findability_score", NUMBER),
    sqlite_autoincrement=True,  # an id is never given twice, or a late answer could reach somebody new
)

item_id = cast(experts.c.id, Text)


def native_ids(tx: Connection, ids: Sequence[str]) -> list[int | str]:
    """Return ids as the table may hold them: where a column has no type of its own, as a number and as text."""
    kind = shape_of(tx).kind
    if isinstance(kind, types.String):
        return list(ids)
    numbers: list[int | str] = [int(one) for one in ids if WHOLE.fullmatch(one)]
    if isinstance(kind, types.Integer) and len(numbers) == len(ids):
        return numbers
    return [*numbers, *ids]


@dataclass(frozen=True)
class Shape:
    """What an adopted table may have otherwise than ours.

    The type of its ids, whether the database gives new rows theirs, whether it may give the id of a deleted row again,
    and what stands for nothing in those of our columns where NULL may not.
    """

    kind: types.TypeEngine[Any]
    counts_up: bool
    repeats: bool
    blanks: Mapping[str, str | float]


def shape_of(tx: Connection) -> Shape:
    """Return how this table is; looked up once a connection."""
    known: Shape | None = tx.info.get("findable_experts_shape")
    if known is None:
        columns = {column["name"].lower(): column for column in inspect(tx).get_columns("experts")}
        blanks = {
            name: 0.0 if isinstance(experts.c[name].type, Float) else ""
            for name in (*HEADERS, "tags")
            if not columns[name]["nullable"]
        }
        counts_up = key_of(tx) == ["id"] and _is_row_number(tx)
        known = Shape(columns["id"]["type"], counts_up=counts_up, repeats=_repeats_ids(tx), blanks=blanks)
        tx.info["findable_experts_shape"] = known
    return known


def fitted(tx: Connection, values: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return values with what stands for nothing where the table takes no NULL."""
    blanks = shape_of(tx).blanks
    return {name: blanks.get(name) if value is None else value for name, value in values.items()}


def forget_shape(tx: Connection) -> None:
    """Look at the table anew, after its columns changed."""
    tx.info.pop("findable_experts_shape", None)


def _is_row_number(tx: Connection) -> bool:
    """Return whether `id`, the only key, is SQLite's row number; declared INT or WITHOUT ROWID it would stay NULL."""
    if tx.dialect.name != "sqlite":
        return True
    declared = tx.execute(text("SELECT type FROM pragma_table_info('experts') WHERE lower(name) = 'id'")).scalar()
    return str(declared).upper() == "INTEGER" and has_row_numbers(tx)


def _repeats_ids(tx: Connection) -> bool:
    """Return whether the id of the newest row is given again once that row was deleted: SQLite's way unless told."""
    if tx.dialect.name != "sqlite":
        return False
    made = tx.execute(text("SELECT sql FROM sqlite_master WHERE type = 'table' AND lower(name) = 'experts'")).scalar()
    return "AUTOINCREMENT" not in str(made).upper()


def key_of(tx: Connection) -> list[str]:
    """Return the names of the primary key's columns, in lower case."""
    if tx.dialect.name != "sqlite":
        return [name.lower() for name in inspect(tx).get_pk_constraint("experts")["constrained_columns"]]
    # reflection does not find a table that was made as `Experts`
    query = text("SELECT lower(name) FROM pragma_table_info('experts') WHERE pk > 0 ORDER BY pk")
    return list(tx.execute(query).scalars())


def has_row_numbers(tx: Connection) -> bool:
    """Return whether rows have a number beside their columns, as SQLite gives them unless told WITHOUT ROWID."""
    query = text("SELECT wr FROM pragma_table_list WHERE schema = 'main' AND lower(name) = 'experts'")
    return tx.dialect.name == "sqlite" and not tx.execute(query).scalar()


def next_id(tx: Connection, *, above: int) -> int | str | None:
    """Return an id for a new row, or None where the database gives one that no row had before.

    `above` is the highest id that was ever asked about: a late answer about somebody deleted must not reach somebody
    new. The next number, or a UUID where ids are text.
    """
    shape = shape_of(tx)
    newest: Any = tx.execute(select(func.max(experts.c.id))).scalar()
    if not shape.counts_up and (isinstance(shape.kind, types.String) or isinstance(newest, str)):
        return str(uuid.uuid4())
    if shape.counts_up and not (shape.repeats and above > int(newest or 0)):
        return None
    return max(int(newest or 0), above) + 1
