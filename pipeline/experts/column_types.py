"""Which columns of a table can hold what is ours; SQLite's take anything, unless they are computed.

What is read from a column and written to it must come back the same, so a type that would round a score, or take tags
only in a form of its own, is refused before anything is written.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, text, types

WORDS = (types.String,)
ALLOWED: Mapping[str, tuple[tuple[type[types.TypeEngine[Any]], ...], str]] = {  # what is not here is text
    "id": ((types.Integer, types.String, types.Uuid), "whole numbers, text or UUIDs"),
    "hourly_rate": ((types.Numeric, types.Float, types.Integer, types.String), "numbers or text"),
    "findability_score": ((types.Double,), "double precision"),
}
NO_WORDS = (types.Enum,)  # counts as text, and takes few words
CUT = types.String  # itself, as PostgreSQL's NAME and "char" are told, which keep 63 bytes and one
TOLD_APART_BY = ("id", "username")


def misfits(columns: Mapping[str, Any], names: Iterable[str], *, typed: bool) -> list[tuple[str, str]]:
    """Return (column, what it would have to hold) of each of `names` that the table has in a type that does not fit.

    `columns` are as the inspector tells them, by name; they are `typed` where one takes nothing but its type.
    """
    wrong = []
    for name in names:
        found = columns.get(name)
        allowed, wanted = ALLOWED.get(name, (WORDS, "text"))
        if found is None:
            continue
        if found.get("computed"):
            wrong.append((name, "values of its own, not computed ones"))
        elif not typed:
            continue
        elif name in TOLD_APART_BY and isinstance(found["type"], types.CHAR):
            wrong.append((f"{name} {found['type']}", "text that is not filled up with blanks, such as VARCHAR"))
        elif type(found["type"]) is CUT:
            wrong.append((f'{name} NAME or "char"', "text of any length"))
        elif not isinstance(found["type"], allowed) or isinstance(found["type"], NO_WORDS):
            wrong.append((f"{name} {found['type']}", wanted))
    return wrong


def is_plain_table(tx: Connection) -> bool:
    """Return whether what is called `experts` is a table of this server, also one in partitions."""
    kind = text("SELECT relkind::text FROM pg_class WHERE oid = to_regclass('experts')")
    return tx.execute(kind).scalar() in {"r", "p"}
