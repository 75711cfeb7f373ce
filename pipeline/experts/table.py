"""The `experts` table: made by us, or adopted as somebody else made it.

Adopting adds the columns that are missing and touches no row's foreign column. Whatever type a column of an adopted
table has, cells are read through `cells`. Ids are integers or text, as the table has them; the engine sees text.
"""

import contextlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
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
    literal,
    or_,
    select,
    text,
    types,
    update,
)

from pipeline.errors import ConfigurationError, InputError
from pipeline.experts.cells import EMPTY_TAGS, tags_of, text_of
from pipeline.experts.score import score
from pipeline.store import answers, claims, workspace

TASK = "expert-tags"
FOREIGN_TAGS = "its tags hold text that is no JSON list; they were left as they are"
WHITE = "".join(chr(n) for n in range(0x3001) if chr(n).isspace())  # what str.strip() takes away, for SQL's trim
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
)
INPUT_COLUMNS = tuple(
    column.name for column in experts.c if column.name not in {"id", "username", "tags", "findability_score"}
)

item_id = cast(experts.c.id, Text)


def _squeezed(column: ColumnElement[Any]) -> ColumnElement[str]:
    """Return a column's text without blanks, tabs and line ends, in SQL."""
    squeezed: ColumnElement[str] = cast(column, Text)
    for char in " \t\r\n":
        squeezed = func.replace(squeezed, char, "")
    return squeezed


# equalities and not IN, which cannot stand in an UPDATE of many rows
untagged = or_(experts.c.tags.is_(None), *(_squeezed(experts.c.tags) == empty for empty in sorted(EMPTY_TAGS)))
has_bio = and_(experts.c.bio.is_not(None), func.trim(cast(experts.c.bio, Text), WHITE) != "")
looks_foreign = and_(~untagged, ~_squeezed(experts.c.tags).like("[%]"))


def adopt(tx: Connection) -> list[str]:
    """Make the table, or add to an existing one what it lacks; return a line for each thing done to old rows.

    Afterwards every row has a score, and rows whose tags are no JSON list are parked. Doing it again changes nothing.

    Raises:
        ConfigurationError: what is called `experts` cannot be adopted; nothing was changed.
    """
    there = inspect(tx)
    if "experts" in there.get_view_names():
        raise ConfigurationError("`experts` is a view here, and a view cannot hold tags; nothing was changed")
    if not there.has_table("experts"):
        experts.create(tx)
        return []
    lines = _add_columns(tx, {column["name"].lower() for column in there.get_columns("experts")})
    parked = park_foreign(tx, everyone=bool(lines) or _is_new_here(tx))
    if parked:
        lines.append(f"parked {parked} with tags that are no JSON list")
    scored = rescore(tx, experts.c.findability_score.is_(None))
    if scored:
        lines.append(f"scored {scored}")
    return lines


def is_adopted(tx: Connection) -> bool:
    """Return whether `adopt` would find nothing to do, without scanning more than one row too many."""
    there = inspect(tx)
    if not there.has_table("experts"):
        return False
    names = {column["name"].lower() for column in there.get_columns("experts")}
    if not {column.name for column in experts.c} <= names:
        return False
    stopped = answers.parked_ids(TASK)
    unscored = select(literal(1)).where(experts.c.findability_score.is_(None)).limit(1)
    foreign = select(literal(1)).where(looks_foreign, item_id.not_in(stopped)).limit(1)
    return tx.execute(unscored).first() is None and tx.execute(foreign).first() is None


def _is_new_here(tx: Connection) -> bool:
    """Return whether nothing of ours was ever written about these rows."""
    return workspace.get(tx).position == 0


def _add_columns(tx: Connection, names: set[str]) -> list[str]:
    """Add the columns that an adopted table lacks; an `id` is filled from the row number and made unique."""
    if "username" not in names:
        raise ConfigurationError(
            "the `experts` table of this database has no `username` column, so its people cannot be told apart; "
            "nothing was changed",
            hint="add the column, or use another database",
        )
    missing = [column for column in experts.c if column.name not in names]
    for column in missing:
        kind = column.type.compile(tx.dialect)
        tx.execute(text(f"ALTER TABLE experts ADD COLUMN {column.name} {kind}"))
        if column.name == "id":
            tx.execute(text("UPDATE experts SET id = rowid"))
            tx.execute(text("CREATE UNIQUE INDEX findable_experts_id ON experts (id)"))
    if not missing:
        return []
    count = tx.execute(select(func.count()).select_from(experts)).scalar()
    return [f"adopted the experts table ({count} rows): added {', '.join(column.name for column in missing)}"]


def park_foreign(tx: Connection, *, everyone: bool) -> int:
    """Park the rows whose tags are text that is no JSON list; `everyone` looks into every cell, else at its shape."""
    condition = ~untagged if everyone else looks_foreign
    query = select(item_id, experts.c.tags).where(condition, item_id.not_in(answers.parked_ids(TASK)))
    foreign = {row[0]: FOREIGN_TAGS for row in tx.execute(query).all() if tags_of(row[1]) is None}
    now = datetime.now(UTC)
    for ids in _pages(list(foreign)):
        answers.park(tx, TASK, dict.fromkeys(ids, FOREIGN_TAGS), at=now, foreign_text=True)
    return len(foreign)


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
        changed = [{"row": row["id"], "new": new} for row in rows if (new := score(row)) != row["findability_score"]]
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
    native = [_native(tx, one) for one in ids]
    found: dict[str, Mapping[Any, Any]] = {}
    for some in _pages(native):
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
    row = {"username": username, **values}
    row["findability_score"] = score(row)
    if not _counts_up(tx):
        row["id"] = _next_id(tx)
    with _refusals():
        done = tx.execute(experts.insert().values(row))
    key = done.inserted_primary_key
    return str(row["id"] if "id" in row else key[0] if key is not None else "")


def insert_people(tx: Connection, people: Sequence[tuple[str, Mapping[Any, Any]]]) -> None:
    """Add many people (username, values) with their scores, in order; a column that only some have is NULL elsewhere.

    Raises:
        ConfigurationError: an adopted table demands columns that we know nothing of.
    """
    if not _counts_up(tx):
        for username, values in people:
            insert_person(tx, username, values)
        return
    columns = dict.fromkeys(column for _, values in people for column in values)
    rows = [{**dict.fromkeys(columns), "username": username, **values} for username, values in people]
    for row in rows:
        row["findability_score"] = score(row)
    with _refusals():
        for some in _pages(rows):
            tx.execute(experts.insert(), some)


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Turn a refused row into an error that says what can be done."""
    try:
        yield
    except exc.IntegrityError as error:
        raise ConfigurationError(
            f"the experts table of this database refuses a new row: {error.orig}; nothing was changed",
            hint="give its own columns defaults, or use another database",
        ) from error


def update_person(tx: Connection, row: Mapping[Any, Any], values: Mapping[Any, Any]) -> None:
    """Write changed columns of one person, and the score that follows; tags are never among them."""
    new = {**row, **values}
    changes = {**values, "findability_score": score(new)}
    tx.execute(update(experts).where(experts.c.id == row["id"]).values(changes))


def write_tags(tx: Connection, tags: Mapping[str, str]) -> set[str]:
    """Write tags (JSON text by id) with the score they give, where there are none yet; return the ids written.

    Tags are immutable: the WHERE clause holds, whatever was read before.
    """
    rows = by_ids(tx, list(tags))
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
    for some in _pages([_native(tx, one) for one in ids]):
        tx.execute(update(experts).where(experts.c.id.in_(some)).values(tags=None))
        rescore(tx, experts.c.id.in_(some))


def counts(tx: Connection) -> dict[str, int]:
    """Return {total, tagged, untagged, no_bio, claimed, parked}; the last five are disjoint and add up to the first."""
    kind = case(
        (and_(~untagged, ~looks_foreign, item_id.not_in(_foreign_ids())), "tagged"),
        (item_id.in_(claims.claimed_ids(TASK)), "claimed"),
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
    return and_(~untagged, ~looks_foreign, item_id.not_in(_foreign_ids()))


def names(tx: Connection, ids: Sequence[str]) -> dict[str, str]:
    """Return the username for each id."""
    return {key: text_of(row["username"]) for key, row in by_ids(tx, ids).items()}


def _foreign_ids() -> Select[Any]:
    from pipeline.store.tables import parked

    return select(parked.c.item_id).where(parked.c.task == TASK, parked.c.foreign_text)


def _pages(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), 500):
        yield values[start : start + 500]


def _native(tx: Connection, one: str) -> int | str:
    """Return an id as the table has it."""
    return one if _id_is_text(tx) else int(one)


def _id_is_text(tx: Connection) -> bool:
    return _shape(tx)[0]


def _counts_up(tx: Connection) -> bool:
    return _shape(tx)[1]


def _shape(tx: Connection) -> tuple[bool, bool]:
    """Return whether ids are text, and whether the database gives new rows their ids; looked up once a connection."""
    known: tuple[bool, bool] | None = tx.info.get("findable_experts_shape")
    if known is None:
        there = inspect(tx)
        kind = next(column for column in there.get_columns("experts") if column["name"].lower() == "id")["type"]
        is_integer = isinstance(kind, types.Integer)
        is_key = there.get_pk_constraint("experts")["constrained_columns"] == ["id"]
        known = (isinstance(kind, types.String), is_integer and is_key)
        tx.info["findable_experts_shape"] = known
    return known


def _next_id(tx: Connection) -> int | str:
    """Return an id for a new row of a table that gives none."""
    if _id_is_text(tx):
        return uuid.uuid4().hex
    newest: int | None = tx.execute(select(func.max(experts.c.id))).scalar()
    return (newest or 0) + 1
