"""The `experts` table: made by us, or adopted as somebody else made it (`adoption`).

Whatever type a column of an adopted table has, cells are read through `cells`. Ids are numbers or text, as the table
has them; the engine sees text.
"""

import contextlib
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Float,
    Integer,
    MetaData,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    case,
    cast,
    exc,
    func,
    inspect,
    or_,
    select,
    text,
    types,
    update,
)

from pipeline.errors import ConfigurationError, InputError
from pipeline.experts.cells import EMPTY_TAGS, JSON_SPACE, number_of, tags_of, text_of
from pipeline.experts.score import score
from pipeline.store import answers, claims

TASK = "expert-tags"
WHITE = "".join(chr(n) for n in range(0x3001) if chr(n).isspace())  # what str.strip() takes away, for SQL's trim
WHOLE = re.compile(r"-?[0-9]{1,18}")
PAGE = 2000

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
    Column("hourly_rate", Float),
    Column("currency", Text),
    Column("profile_url", Text),
    Column("profile_url_utm", Text),
    Column("category", Text),
    Column("tags", Text),  # a JSON list; NULL until tagged, then immutable
    Column("findability_score", Float),
    sqlite_autoincrement=True,  # an id is never given twice, or a late answer could reach somebody new
)
INPUT_COLUMNS = tuple(
    column.name for column in experts.c if column.name not in {"id", "username", "tags", "findability_score"}
)

item_id = cast(experts.c.id, Text)


def _squeezed(column: ColumnElement[Any]) -> ColumnElement[str]:
    """Return a column's text without JSON's white space, in SQL."""
    squeezed: ColumnElement[str] = cast(column, Text)
    for char in JSON_SPACE:
        squeezed = func.replace(squeezed, char, "")
    return squeezed


# equalities and not IN, which cannot stand in an UPDATE of many rows; what holds a string is not nothing, seen first
# because it is quick
_says_nothing = or_(*(_squeezed(experts.c.tags) == empty for empty in sorted(EMPTY_TAGS)))
untagged = or_(experts.c.tags.is_(None), and_(~cast(experts.c.tags, Text).contains('"'), _says_nothing))
has_bio = and_(experts.c.bio.is_not(None), func.trim(cast(experts.c.bio, Text), WHITE) != "")
looks_foreign = and_(~untagged, ~func.trim(cast(experts.c.tags, Text), JSON_SPACE).like("[%]"))


def rescore(tx: Connection, condition: ColumnElement[bool] | None = None) -> int:
    """Bring the scores of some or all rows up to date, writing only those that differ; return how many were written."""
    written, after = 0, None
    while True:
        query = select(*experts.c).order_by(experts.c.id).limit(PAGE)
        if condition is not None:
            query = query.where(condition)
        if after is not None:
            query = query.where(experts.c.id > after)
        rows = tx.execute(query).mappings().all()
        if not rows:
            return written
        after = rows[-1]["id"]
        changed = [
            {"row": row["id"], "new": new} for row in rows if (new := score(row)) != number_of(row["findability_score"])
        ]
        if changed:
            changing = (
                update(experts).where(experts.c.id == bindparam("row")).values(findability_score=bindparam("new"))
            )
            tx.execute(changing, changed)
            written += len(changed)


def open_items() -> Select[Any]:
    """Return the SELECT of the people to ask about: untagged, with a bio."""
    return select(item_id.label("item_id")).where(untagged, has_bio).order_by(experts.c.id)


def by_ids(tx: Connection, ids: Sequence[str]) -> dict[str, Mapping[Any, Any]]:
    """Return the rows with these ids, by id as text; at any number of ids."""
    found: dict[str, Mapping[Any, Any]] = {}
    for some in _pages(_native(tx, ids)):
        for row in tx.execute(select(*experts.c).where(experts.c.id.in_(some))).mappings():
            found[str(row["id"])] = row
    return found


def by_usernames(tx: Connection, usernames: Sequence[str]) -> dict[str, Mapping[Any, Any]]:
    """Return the rows of these usernames; of several rows with one name the first."""
    found: dict[str, Mapping[Any, Any]] = {}
    for some in _pages(list(usernames)):
        query = select(*experts.c).where(experts.c.username.in_(some)).order_by(experts.c.id.desc())
        for row in tx.execute(query).mappings():
            found[str(row["username"])] = row
    return found


def by_username(tx: Connection, username: str) -> Mapping[Any, Any]:
    """Return one person's row.

    Raises:
        InputError: there is nobody of that name.
    """
    row = by_usernames(tx, [username]).get(username)
    if row is None:
        raise InputError(f"there is no expert {username!r}", hint="`make export TO=-` lists everyone")
    return row


def everyone(tx: Connection, condition: ColumnElement[bool] | None = None) -> Iterator[Mapping[Any, Any]]:
    """Yield every row, or those that meet a condition, in the order of ids, at flat memory."""
    query = select(*experts.c).order_by(experts.c.id)
    if condition is not None:
        query = query.where(condition)
    yield from tx.execute(query.execution_options(yield_per=PAGE)).mappings()


def insert_person(tx: Connection, username: str, values: Mapping[Any, Any]) -> str:
    """Add one person with their score, and return the new id as text.

    Raises:
        ConfigurationError: an adopted table demands columns that we know nothing of.
    """
    row = _fitted(tx, {**_shape(tx).blanks, "username": username, **values})
    row["findability_score"] = score(row)
    if not _shape(tx).counts_up:
        row["id"] = _next_id(tx)
    with _refusals():
        done = tx.execute(experts.insert().values(row))
    key = done.inserted_primary_key
    new = row["id"] if "id" in row or key is None else key[0]
    return str(tx.execute(select(item_id).where(experts.c.id == new)).scalar_one())


def insert_people(tx: Connection, people: Sequence[tuple[str, Mapping[Any, Any]]]) -> None:
    """Add many people (username, values) with their scores, in order; a column that only some have is NULL elsewhere.

    Raises:
        ConfigurationError: an adopted table demands columns that we know nothing of.
    """
    if not _shape(tx).counts_up:
        for username, values in people:
            insert_person(tx, username, values)
        return
    columns = {**dict.fromkeys(column for _, values in people for column in values), **_shape(tx).blanks}
    rows = [_fitted(tx, {**columns, "username": username, **values}) for username, values in people]
    for row in rows:
        row["findability_score"] = score(row)
    with _refusals():
        for some in _pages(rows):
            tx.execute(experts.insert(), some)


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Turn a row that an adopted table refuses into an error that says what can be done."""
    try:
        yield
    except exc.IntegrityError as error:
        raise ConfigurationError(
            f"the experts table of this database refuses a row: {error.orig}; nothing was changed",
            hint="give its own columns defaults, or use another database",
        ) from error


def update_person(tx: Connection, row: Mapping[Any, Any], values: Mapping[Any, Any]) -> None:
    """Write changed columns of one person, and the score that follows; tags are never among them."""
    new = {**row, **values}
    changes = {**_fitted(tx, values), "findability_score": score(new)}
    with _refusals():
        tx.execute(update(experts).where(experts.c.id == row["id"]).values(changes))


def write_tags(
    tx: Connection, tags: Mapping[str, str], *, rows: Mapping[str, Mapping[Any, Any]] | None = None
) -> set[str]:
    """Write tags (JSON text by id) with the score they give, where there are none yet; return the ids written.

    `rows` are those of `by_ids`, where the caller read them in this transaction already. Tags are immutable: the WHERE
    clause holds, whatever was read before.
    """
    rows = by_ids(tx, list(tags)) if rows is None else rows
    changes = [
        {"row": row["id"], "new_tags": tags[key], "new_score": score({**row, "tags": tags[key]})}
        for key, row in rows.items()
        if tags_of(row["tags"]) == []
    ]
    if not changes:
        return set()
    writing = (
        update(experts)
        .where(experts.c.id == bindparam("row"), untagged)
        .values(tags=bindparam("new_tags"), findability_score=bindparam("new_score"))
    )
    tx.execute(writing, changes)
    return {str(change["row"]) for change in changes}


def clear_tags(tx: Connection, ids: Sequence[str]) -> None:
    """Take tags back, with the score that follows; only used when a backend's answers are cleared."""
    for some in _pages(_native(tx, ids)):
        tx.execute(update(experts).where(experts.c.id.in_(some)).values(_fitted(tx, {"tags": None})))
        rescore(tx, experts.c.id.in_(some))


def counts(tx: Connection, *, now: datetime | None = None) -> dict[str, int]:
    """Return {total, tagged, untagged, no_bio, claimed, parked}; the last five are disjoint and add up to the first.

    A live claim whose process is dead at `now` (this moment) counts no more: the next submit takes that person.
    """
    claimed = and_(
        item_id.in_(claims.claimed_ids(TASK)), item_id.not_in(claims.dead(tx, TASK, now=now or datetime.now(UTC)))
    )
    kind = case(
        (tagged(), "tagged"),
        (claimed, "claimed"),
        (or_(looks_foreign, item_id.in_(answers.parked_ids(TASK))), "parked"),
        (has_bio, "untagged"),
        else_="no_bio",
    )
    query = select(kind, func.count()).select_from(experts).group_by(kind)
    found: dict[str, int] = {row[0]: row[1] for row in tx.execute(query)}
    parts = {name: found.get(name, 0) for name in ("tagged", "untagged", "no_bio", "claimed", "parked")}
    return {"total": sum(parts.values()), **parts}


def is_empty(tx: Connection) -> bool:
    """Return whether there is nobody."""
    return tx.execute(select(experts.c.id).limit(1)).first() is None


def count(tx: Connection, condition: ColumnElement[bool]) -> int:
    """Return how many people meet a condition."""
    return tx.execute(select(func.count()).select_from(experts).where(condition)).scalar() or 0


def tagged() -> ColumnElement[bool]:
    """Return the condition that a person is tagged: a list that is not empty, and no text of somebody else's."""
    return and_(~untagged, ~looks_foreign, item_id.not_in(answers.foreign_ids(TASK)))


def names(tx: Connection, ids: Sequence[str]) -> dict[str, str]:
    """Return the username for each id."""
    return {key: text_of(row["username"]) for key, row in by_ids(tx, ids).items()}


def _pages(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), 500):
        yield values[start : start + 500]


def _native(tx: Connection, ids: Sequence[str]) -> list[int | str]:
    """Return ids as the table may hold them: where a column has no type of its own, as a number and as text."""
    kind = _shape(tx).kind
    if isinstance(kind, types.String):
        return list(ids)
    numbers: list[int | str] = [int(one) for one in ids if WHOLE.fullmatch(one)]
    if isinstance(kind, types.Integer) and len(numbers) == len(ids):
        return numbers
    return [*numbers, *ids]


@dataclass(frozen=True)
class _Shape:
    """What an adopted table may have otherwise than ours.

    The type of its ids, whether the database gives new rows theirs, and what stands for nothing in those of our columns
    where NULL may not.
    """

    kind: types.TypeEngine[Any]
    counts_up: bool
    blanks: Mapping[str, str | float]


def _shape(tx: Connection) -> _Shape:
    """Return how this table is; looked up once a connection."""
    known: _Shape | None = tx.info.get("findable_experts_shape")
    if known is None:
        columns = {column["name"].lower(): column for column in inspect(tx).get_columns("experts")}
        blanks = {
            name: 0.0 if isinstance(experts.c[name].type, Float) else ""
            for name in (*INPUT_COLUMNS, "tags")
            if not columns[name]["nullable"]
        }
        counts_up = key_of(tx) == ["id"] and _is_row_number(tx)
        known = _Shape(columns["id"]["type"], counts_up=counts_up, blanks=blanks)
        tx.info["findable_experts_shape"] = known
    return known


def _fitted(tx: Connection, values: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return values with what stands for nothing where the table takes no NULL."""
    blanks = _shape(tx).blanks
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


def _next_id(tx: Connection) -> int | str:
    """Return an id for a new row of a table that gives none: the next number, or a UUID where ids are text."""
    newest: Any = tx.execute(select(func.max(experts.c.id))).scalar()
    if isinstance(_shape(tx).kind, types.String) or isinstance(newest, str):
        return str(uuid.uuid4())
    return int(newest or 0) + 1
