"""Find, add, change and count the people in the `experts` table, findable's own or an adopted one.

Whatever type a column has, cells are read through `columns`; ids are as the table has them, and the engine sees text.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, Select, and_, delete, exc, func, select, text, update

from pipeline.core.errors import ConfigurationError, InputError
from pipeline.experts.columns import HEADERS, USERNAME
from pipeline.experts.schema import experts, fit_rates, item_id, shape_of
from pipeline.experts.score import score, score_of
from pipeline.store import answers, asks
from pipeline.store.database import describe_error, pages, streamed, update_rows
from pipeline.tables.adopt import new_ids
from pipeline.tables.cells import list_of, number_of, text_of
from pipeline.tables.item_table import CELLS, ItemStates, ItemTable
from pipeline.tables.rows import has_words, holds_no_texts, is_refusal, looks_like_no_list, mentions, refusals

TASK = "expert-tags"
PAGE = 2000

ASKED = ("username", "job_title", "bio")  # what the question is made from
SCORED = ("profile_url", "hourly_rate")  # beside those, what the score counts
COLUMNS = tuple(experts.c.keys())
WRITTEN = ("id", *ASKED, *SCORED, "tags")  # what writing tags needs of a row
NAMED = ("username", "first_name", "last_name")
LISTED = (*NAMED, "job_title", "company", "tags")  # what a person is looked for by
SCORED_BY = ("bio", "tags", "profile_url", "job_title", "hourly_rate")
INPUT_COLUMNS = tuple(name for name in HEADERS if name != USERNAME)

untagged = holds_no_texts(experts.c.tags)
looks_foreign = looks_like_no_list(experts.c.tags)
has_bio = has_words(experts.c.bio)


def untagged_among(tx: Connection, ids: Sequence[str]) -> set[str]:
    """Return which of these ids are of people without tags."""
    return people(tx).ids_among(tx, ids, untagged)


def by_ids(
    tx: Connection, ids: Sequence[str], names: Sequence[str] = COLUMNS, *, locked: bool = False
) -> dict[str, dict[str, Any]]:
    """Return the rows with these ids, at any number of ids, by id as text: some columns, or all.

    Rows that are `locked` are changed by no other transaction until this one ends.
    """
    return people(tx).rows(tx, ids, names, locked=locked)


def by_usernames(tx: Connection, usernames: Sequence[str]) -> dict[str, Mapping[Any, Any]]:
    """Return the rows of these usernames; of several rows with one name the first."""
    found: dict[str, Mapping[Any, Any]] = {}
    for some in pages(list(usernames)):
        query = select(*experts.c).where(experts.c.username.in_(some)).order_by(experts.c.id.desc())
        for row in tx.execute(query).mappings():
            found[str(row["username"])] = row
    return found


def by_username(tx: Connection, username: str) -> Mapping[Any, Any]:
    """Return one person's row.

    Raises:
        InputError: no person has that name.
    """
    row = by_usernames(tx, [username]).get(username)
    if row is None:
        raise InputError(
            f"there is no expert {username!r}",
            hint="`make items FIND=…` finds people by a part of their name, title, company or tags",
        )
    return row


def usernames_with(tx: Connection, words: Sequence[str], *, limit: int) -> list[str]:
    """Return the first usernames of people in whose username or names all of some words stand."""
    named = [experts.c[name] for name in NAMED]
    query = select(experts.c.username).where(*(mentions(tx, named, word) for word in words)).order_by(experts.c.id)
    return [text_of(one) for one in tx.execute(query.limit(limit)).scalars()]


def all_experts(tx: Connection) -> Iterator[dict[str, Any]]:
    """Yield every row in the order of ids, at flat memory."""
    for row in people(tx).cells(tx, COLUMNS):  # plain dictionaries: SQLAlchemy's look each name up anew
        yield dict(zip(COLUMNS, row, strict=True))


def insert_person(tx: Connection, username: str, values: Mapping[Any, Any]) -> str:
    """Add one person with their score, and return the new id as text.

    Raises:
        ConfigurationError: an adopted table demands columns that we know nothing of.
    """
    (row,) = _new_rows(tx, [(username, values)])
    with refusals("experts"):
        done = tx.execute(experts.insert().values(row))
    key = done.inserted_primary_key
    new = row["id"] if "id" in row or key is None else key[0]
    return str(tx.execute(select(item_id).where(experts.c.id == new)).scalar_one())


def insert_people(tx: Connection, people: Sequence[tuple[str, Mapping[Any, Any]]]) -> None:
    """Add many people (username, values) with their scores, in order; a column that only some have is NULL elsewhere.

    Raises:
        ConfigurationError: an adopted table demands columns that are not known.
    """
    rows = _new_rows(tx, people) if people else []
    with refusals("experts"):
        for some in pages(rows):
            tx.execute(experts.insert(), some)


def _new_rows(tx: Connection, people: Sequence[tuple[str, Mapping[Any, Any]]]) -> list[dict[Any, Any]]:
    columns = {**dict.fromkeys(column for _, values in people for column in values), **shape_of(tx).blanks}
    rows = [fit_rates(tx, {**columns, "username": username, **values}) for username, values in people]
    for row in rows:
        row["findability_score"] = score(row)
    _check_rates(tx, rows)
    ids = new_ids(tx, shape_of(tx).own, len(rows), above=partial(asks.highest_id, tx, TASK))
    return rows if ids is None else [{**row, "id": key} for row, key in zip(rows, ids, strict=True)]


def _check_rates(tx: Connection, rows: Sequence[Mapping[Any, Any]]) -> None:
    """Refuse a rate that the column would round: it would differ from what was given ever after."""
    places = shape_of(tx).places
    if places is None:
        return
    for rate in (row.get("hourly_rate") for row in rows):
        if isinstance(rate, float) and round(rate, places) != rate:
            raise ConfigurationError(
                f"the experts table of this database would round an hourly_rate of {rate:g}; nothing was changed",
                hint="ALTER TABLE experts ALTER hourly_rate TYPE double precision, or give rates that it can hold",
            )


def update_person(tx: Connection, row: Mapping[Any, Any], values: Mapping[Any, Any]) -> bool:
    """Write changed columns of one person, and the score that follows; tags are never among them.

    Returns whether the row took them: a trigger or a rule of the database may keep it as it is.

    Raises:
        ConfigurationError: an adopted table refuses them.
    """
    _check_rates(tx, [values])
    new = {**row, **values}
    changes = {**fit_rates(tx, values), "findability_score": score(new)}
    with refusals("experts"):
        return bool(tx.execute(update(experts).where(experts.c.id == row["id"]).values(changes)).rowcount)


def as_json(tags: Sequence[str]) -> str:
    """Return tags as the JSON list that the table keeps."""
    return orjson.dumps(tags).decode()


def write_tags(tx: Connection, tags: Mapping[str, str], *, rows: Mapping[str, Sequence[Any]] | None = None) -> set[str]:
    """Write tags (JSON text by id) with their score, where there are none yet; return the ids whose rows took them.

    `rows` are what the caller read in this transaction already, of these and of others, with the columns of `WRITTEN`.
    Tags are immutable: the WHERE clause holds, whatever was read before.
    """
    rows = people(tx).plain_rows(tx, list(tags), WRITTEN, locked=True) if rows is None else rows
    without = experts.c.tags.is_(None)
    changes: dict[bool, list[tuple[str, float, Any]]] = {True: [], False: []}
    written = set()
    for key, (own, _, job_title, bio, url, rate, old, _) in rows.items():
        if key in tags and (old is None or list_of(old) == []):
            points = score_of(bio, old, url, job_title, rate, tagged=True)
            changes[old is None].append((tags[key], points, own))
            written.add(key)
    for is_null, some in changes.items():
        with refusals("experts"):
            update_rows(tx, experts, ("tags", "findability_score"), some, without if is_null else untagged)
    return written - untagged_among(tx, list(written))  # a trigger or a rule may have kept them


def replace_tags(tx: Connection, tags: Mapping[str, str], *, rows: Mapping[str, Mapping[Any, Any]]) -> set[str]:
    """Write other tags (JSON text by id) in the place of those of some `rows`; return the ids that took them.

    Raises:
        ConfigurationError: an adopted table refuses them.
    """
    with refusals("experts"):
        update_rows(tx, experts, ("tags",), [(tags[key], rows[key]["id"]) for key in tags])
    found = by_ids(tx, list(tags), ("tags",))
    return {key for key, row in found.items() if list_of(row["tags"]) == list_of(tags[key])}


def clear_tags(tx: Connection, ids: Sequence[str]) -> None:
    """Take tags back, with the score that follows; only used when a backend's answers are cleared.

    Raises:
        ConfigurationError: an adopted table refuses a row without tags.
    """
    for some in pages(shape_of(tx).ids.native(ids)):
        with refusals("experts"):
            tx.execute(update(experts).where(experts.c.id.in_(some)).values(fit_rates(tx, {"tags": None})))
        refresh_scores(tx, experts.c.id.in_(some))


def tagged() -> ColumnElement[bool]:
    """Return the condition that a person is tagged: a list that is not empty, and no text of another program's."""
    return and_(~untagged, ~looks_foreign, item_id.not_in(asks.foreign_ids(TASK)))


@cache
def _states() -> ItemStates:
    return ItemStates(("tagged", tagged()), ("untagged", has_bio), "no_bio", looks_foreign)


def tagged_by(tx: Connection) -> list[tuple[str, int]]:
    """Return whose tags people have, and how many people each: the extractor, empty where no answer here gave them."""
    whose = func.coalesce(answers.last_of_item(TASK, item_id, "extractor"), "").label("whose")
    each = select(whose).select_from(experts).where(~untagged).subquery()
    query = select(each.c.whose, func.count()).group_by(each.c.whose).order_by(each.c.whose)
    return [(row[0], row[1]) for row in tx.execute(query)]


def people(tx: Connection) -> ItemTable:
    """Return the table of people; untagged ones with a bio are asked about, and known by their usernames."""
    return ItemTable(
        TASK,
        experts,
        _states(),
        untagged & has_bio,
        shape_of(tx).ids,
        named=(USERNAME,),
        name_of=lambda row: text_of(row[USERNAME]),
    )


def refresh_scores(tx: Connection, condition: ColumnElement[bool] | None = None) -> int:
    """Write the scores of some or all people that are wrong; return how many those were.

    Rows are read in one go for as long as few differ; those are written before the next are read.
    """
    written, after, own = 0, None, experts.c.id
    query = select(own, experts.c.findability_score, *(experts.c[one] for one in SCORED_BY)).order_by(own)
    query = query if condition is None else query.where(condition)
    while True:
        changed, after = _outdated(tx, query if after is None else query.where(own > after))
        update_rows(tx, experts, ("findability_score",), changed)
        written += len(changed)
        if after is None:
            return written


def _outdated(tx: Connection, query: Select[Any]) -> tuple[list[tuple[float, Any]], Any]:
    """Return (right score, id) of people who hold a wrong one, PAGE or a few more; and where to go on, or None."""
    found: list[tuple[float, Any]] = []
    result = streamed(tx, query, page=CELLS)
    several: Iterator[Sequence[Sequence[Any]]] = result.partitions()
    for rows in several:
        found += [(new, key) for key, old, *cells in rows if (new := score_of(*cells)) != old and new != number_of(old)]
        if len(found) >= PAGE:
            result.close()
            return found, rows[-1][0]
    return found, None


def remove_person(tx: Connection, item_id: str, *, so_far: str) -> None:
    """Delete the row of a person, if it is there. `so_far` is what an error says of all else.

    Raises:
        ConfigurationError: another program's rows hold on to it, or its trigger or rule does.
    """
    table = people(tx)
    name = table.names(tx, [item_id]).get(item_id)
    if name is None:
        return
    try:
        broken = _broken_references(tx)
        tx.execute(delete(experts).where(experts.c.id.in_(table.ids.native([item_id]))))
        if tx.dialect.name != "sqlite":
            tx.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")  # else those that wait speak at the commit
        elif _broken_references(tx) > broken:
            raise ConfigurationError(
                f"rows of another program refer to {name!r}; {so_far}", hint="remove those first, then run it again"
            )
    except exc.DBAPIError as error:
        if not is_refusal(error):
            raise
        is_reference = "foreign key constraint" in str(error.orig).lower()
        why = f"rows of another program refer to {name!r}" if is_reference else f"the database keeps {name!r}"
        raise ConfigurationError(
            f"{why}: {describe_error(error)}; {so_far}", hint="remove what holds on to the row first, then run it again"
        ) from error
    if table.ids_among(tx, [item_id]):
        raise ConfigurationError(
            f"a trigger or a rule of the database keeps the row of {name!r}, who cannot be forgotten so; {so_far}",
            hint="take the trigger or rule away, or delete the row yourself, then run it again",
        )


def _broken_references(tx: Connection) -> int:
    """Return how many references of an SQLite database lead nowhere, where it looks at some only at the commit."""
    if tx.dialect.name != "sqlite":
        return 0
    waits = text("SELECT 1 FROM sqlite_master WHERE type = 'table' AND sql LIKE '%DEFERRED%' LIMIT 1")
    if tx.execute(waits).first() is None:
        return 0
    return int(tx.execute(text("SELECT count(*) FROM pragma_foreign_key_check")).scalar_one())
