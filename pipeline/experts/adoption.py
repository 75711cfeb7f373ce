"""Taking over an `experts` table that somebody else made, as it is.

Columns that are missing are added; no row's foreign column is touched, and doing it again changes nothing. Whoever
made the table may go on using it: rows that come later, without a score, are brought in by the next command.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Column,
    ColumnClause,
    Connection,
    and_,
    bindparam,
    column,
    distinct,
    func,
    inspect,
    literal,
    or_,
    select,
    text,
    update,
)

from pipeline.errors import ConfigurationError
from pipeline.experts import column_types
from pipeline.experts.cells import tags_of
from pipeline.experts.shape import columns_of, experts, forget_shape, has_row_numbers, item_id, key_of
from pipeline.experts.table import PAGE, TASK, looks_foreign, rescore, tags_cells, untagged
from pipeline.store import answers, workspace
from pipeline.store.schema import has_index
from pipeline.store.sqlite import SWITCHED
from pipeline.store.streams import streamed

FOREIGN_TAGS = "its tags hold text that is no JSON list; they were left as they are"
OUR_IDS = "findable_experts_own_id"  # the index that is there where the ids were given by us
THEIR_IDS = "findable_experts_id"
USERNAMES = "findable_experts_username"
UNSCORED = "findable_experts_unscored"  # finds rows without a score at once; where it is missing, all is still to do

unscored = experts.c.findability_score.is_(None)


def adopt(tx: Connection) -> list[str]:
    """Make the table, or add to an existing one what it lacks; return a line for each thing done to old rows.

    Afterwards every row has an id and a score, and rows whose tags are no JSON list are parked. Doing it again changes
    nothing.

    Raises:
        ConfigurationError: what is called `experts` cannot be adopted; nothing was changed.
    """
    there = inspect(tx)
    if "experts" in {name.lower() for name in there.get_view_names()}:
        raise _unfit("is a view here, and a view cannot hold tags", hint="use a database whose `experts` is a table")
    if _is_virtual(tx):
        raise _unfit(
            "is a virtual table here, which takes no columns", hint="use a database whose `experts` is a table"
        )
    if not there.has_table("experts"):
        experts.create(tx)
        _index_unscored(tx)
        return []
    _check_types(tx)
    first = not has_index(tx, "experts", UNSCORED)
    added = _add_columns(tx)
    lines = [_adopted(tx, added)] if first or added else []
    _settle_ids(tx)
    _index_unscored(tx)
    _index_usernames(tx)
    if parked := settle_foreign(tx, everyone=first):
        lines.append(f"parked {parked:,} whose tags are no JSON list; the tags stay as they are")
    if scored := rescore(tx, None if first else unscored):
        workspace.touch(tx)
        lines.append(f"scored {scored:,}")
    if lines and tx.info.pop(SWITCHED, False):
        lines.append("switched the database to write-ahead logging (WAL), so that readers wait for no one")
    return lines


def is_adopted(tx: Connection) -> bool:
    """Return whether `adopt` would find nothing to do; as quick for a million rows as for one."""
    there = inspect(tx)
    if not there.has_table("experts") or _missing(tx) or not has_index(tx, "experts", UNSCORED):
        return False
    todo = (select(literal(1)).where(condition).limit(1) for condition in (unscored, experts.c.id.is_(None)))
    return all(tx.execute(query).first() is None for query in todo)


def settle_foreign(tx: Connection, *, everyone: bool = False) -> int:
    """Park the rows whose tags are text that is no JSON list, and let those go whose tags were mended since.

    Of rows without a score, and with `everyone` of all, every tags cell is read; of the others those that do not begin
    and end as a list does. Returns how many were parked.
    """
    marked = list(tx.execute(answers.foreign_ids(TASK)).scalars())
    for start in range(0, len(marked), PAGE):
        some = marked[start : start + PAGE]
        cells = tags_cells(tx, some)
        mended = [key for key in some if key not in cells or tags_of(cells[key]) is not None]
        answers.forget_foreign(tx, TASK, mended)
    suspicious = ~untagged if everyone else or_(looks_foreign, ~untagged & unscored)
    query = select(item_id, experts.c.tags).where(suspicious, item_id.not_in(answers.foreign_ids(TASK)))
    foreign = [row[0] for row in streamed(tx, query, page=PAGE) if tags_of(row.tags) is None]
    answers.park(tx, TASK, dict.fromkeys(foreign, FOREIGN_TAGS), at=datetime.now(UTC), foreign_text=True)
    return len(foreign)


def _check_types(tx: Connection) -> None:
    """Refuse a table that cannot hold what is ours.

    Raises:
        ConfigurationError: it is no table of its own, or a column's type does not fit.
    """
    is_sqlite = tx.dialect.name == "sqlite"
    if not is_sqlite and not column_types.is_plain_table(tx):
        raise _unfit("is kept by another server or a query", hint="use a database whose `experts` is a table")
    if wrong := column_types.misfits(columns_of(tx), experts.c.keys(), typed=not is_sqlite):
        told = ", ".join(f"`{name}`, which must hold {wanted}" for name, wanted in wrong)
        raise _unfit(
            f"has columns of other types: {told}",
            hint=f"{'make the table anew' if is_sqlite else 'ALTER TABLE … TYPE …'}, or use another database",
        )


def _is_virtual(tx: Connection) -> bool:
    """Return whether an extension keeps the table (a full-text index, say)."""
    if tx.dialect.name != "sqlite":
        return False
    made = text("SELECT 1 FROM sqlite_master WHERE lower(name) = 'experts' AND sql LIKE 'CREATE VIRTUAL%'")
    return tx.execute(made).first() is not None


def _missing(tx: Connection) -> list[Column[Any]]:
    """Return the columns that the table lacks."""
    names = columns_of(tx)
    return [one for one in experts.c if one.name not in names]


def _add_columns(tx: Connection) -> list[str]:
    """Add the columns that the table lacks, empty in every row, and return their names."""
    missing = _missing(tx)
    names = [one.name for one in missing]
    if "username" in names:
        raise _unfit(
            "has no `username` column, so its people cannot be told apart", hint="add it, or use another database"
        )
    for one in missing:
        tx.execute(text(f"ALTER TABLE experts ADD COLUMN {one.name} {one.type.compile(tx.dialect)}"))
    if "id" in names:
        tx.execute(text(f"CREATE UNIQUE INDEX {OUR_IDS} ON experts (id)"))
    forget_shape(tx)
    return names


def _adopted(tx: Connection, added: list[str]) -> str:
    """Return the line that says what was taken over."""
    count = tx.execute(select(func.count()).select_from(experts)).scalar()
    return f"adopted the experts table ({count:,} {'row' if count == 1 else 'rows'})" + (
        f": added {', '.join(added)}" if added else ""
    )


def _settle_ids(tx: Connection) -> None:
    """Number rows without an id where ids are ours; where they are not, see that they tell rows apart.

    On PostgreSQL a column of ours numbers them by itself.

    Raises:
        ConfigurationError: ids are missing, stand twice, are bytes or floating-point numbers that do not come back, or
            one is an empty text.
    """
    key = key_of(tx)
    if has_index(tx, "experts", OUR_IDS):
        if tx.dialect.name == "sqlite":
            _number(tx, key)
    elif key != ["id"]:
        tx.execute(text(f"CREATE INDEX IF NOT EXISTS {THEIR_IDS} ON experts (id)"))
    counted = select(func.count(), func.count(distinct(item_id))).select_from(experts)
    everyone, apart = tx.execute(counted).one()
    if everyone != apart:
        raise _unfit(
            f"has rows whose `id` is missing or not theirs alone ({everyone - apart:,} of {everyone:,})",
            hint="give every row an id of its own",
        )
    is_blob = func.typeof(experts.c.id) == "blob"
    if tx.dialect.name == "sqlite" and tx.execute(select(literal(1)).where(is_blob).limit(1)).first() is not None:
        raise _unfit("has ids that are bytes, which cannot stand in a request", hint="use ids that are numbers or text")
    # rows are asked for by the text of their id (`+ ""`: as one that is sent); Python writes exponents otherwise
    is_lost = and_(func.typeof(experts.c.id) == "real", or_(experts.c.id != item_id + "", item_id.contains("e")))
    if tx.dialect.name == "sqlite" and tx.execute(select(literal(1)).where(is_lost).limit(1)).first() is not None:
        raise _unfit(
            "has ids that are floating-point numbers, which do not come back as they are",
            hint="use ids that are whole numbers or text",
        )
    if tx.execute(select(literal(1)).where(item_id == "").limit(1)).first() is not None:
        raise _unfit("has a row whose `id` is an empty text", hint="give every row an id of its own")


def _number(tx: Connection, key: list[str]) -> None:
    """Give every row without an id the next number, in the order of rows."""
    columns: list[ColumnClause[Any]] = [column(name) for name in (["rowid"] if has_row_numbers(tx) else key)]
    waiting = select(*columns).select_from(experts).where(experts.c.id.is_(None)).order_by(*columns)
    newest = tx.execute(select(func.max(experts.c.id))).scalar() or 0
    rows = [
        {"new": number, **{f"key{place}": cell for place, cell in enumerate(row)}}
        for number, row in enumerate(tx.execute(waiting), start=newest + 1)
    ]
    here = [one == bindparam(f"key{place}") for place, one in enumerate(columns)]
    if rows:
        tx.execute(update(experts).where(*here).values(id=bindparam("new")), rows)


def _index_unscored(tx: Connection) -> None:
    tx.execute(text(f"CREATE INDEX IF NOT EXISTS {UNSCORED} ON experts (id) WHERE findability_score IS NULL"))


def _index_usernames(tx: Connection) -> None:
    """See that people are found by username without reading the table; theirs need not be unique."""
    leading = text(
        "SELECT 1 FROM pragma_index_list('experts') AS i, pragma_index_info(i.name) AS c "
        "WHERE c.seqno = 0 AND lower(c.name) = 'username' AND NOT i.partial"
        if tx.dialect.name == "sqlite"
        else "SELECT 1 FROM pg_index AS i JOIN pg_attribute AS c ON c.attrelid = i.indrelid AND c.attnum = i.indkey[0] "
        "WHERE i.indrelid = to_regclass('experts') AND c.attname = 'username' AND i.indpred IS NULL AND i.indisvalid"
    )
    if tx.execute(leading).first() is None:
        tx.execute(text(f"CREATE INDEX {USERNAMES} ON experts (username)"))


def _unfit(why: str, *, hint: str) -> ConfigurationError:
    """Return the error for a table that cannot be adopted."""
    return ConfigurationError(f"`experts` in this database {why}; nothing was changed", hint=hint)
