"""Make the table of a task's answers, `<prefix>_answers`, and the view `<prefix>_answered`: the newest beside its row.

A column of the source whose name another column has is called `source_…`. Columns of a view that is there keep their
places, so that another program's views on it stay.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, Table, text

from pipeline.core.declaration import MAX_COLUMN
from pipeline.tables.adopt import unfit
from pipeline.tables.answers_spec import ANSWERED_AT, EXTRACTOR, OTHER_NAME, AnswersSpec, answers_table, with_kept
from pipeline.tables.marked_view import mark_of, put_view
from pipeline.tables.reflect import add_column, columns_of, is_sqlite, kind_of, missing_columns

MARK = "findable, the newest answers"
ITEM_KEY = "findable_key"  # the item's id in the table of items; columns that begin like it are ours
OURS, SOURCE = "findable_", "source_"


def item_id_sql(spec: AnswersSpec, *, sqlite: bool) -> str:
    """Return SQL for the id, as text, of a row of the table of answers, which the query calls `a`."""
    columns = [f"a.{_quoted(name)}" for name, _ in spec.key]
    if len(columns) == 1:
        return columns[0] if spec.key[0][1] == "text" else f"CAST({columns[0]} AS TEXT)"
    cells = [f"json_quote({one})" if sqlite else f"to_json({one})::text" for one in columns]
    return "'[' || " + " || ',' || ".join(cells) + " || ']'"


def check_view(tx: Connection, spec: AnswersSpec) -> None:
    """Pass when the name of the view is free, or has a view of ours.

    Raises:
        ConfigurationError: something else has it.
    """
    if kind_of(tx, spec.view) is not None and mark_of(tx, spec.view) != MARK:
        raise unfit(spec.view, "is not the view that findable made", hint=OTHER_NAME)


def make_view(tx: Connection, spec: AnswersSpec) -> None:
    """Make the view, anew where its columns changed: to be called whenever the table of items got a column.

    Raises:
        ConfigurationError: the view cannot be replaced, for another program's view is made of it.
    """
    check_view(tx, spec)
    put_view(tx, spec.view, _select(tx, spec), mark=MARK)


def _select(tx: Connection, spec: AnswersSpec) -> str:
    """Return the SELECT of the view; the columns that the view has stay where they are, before new ones."""
    sources, there = column_names(tx, spec.items), column_names(tx, spec.view)
    keys = [name for name, _ in spec.key]
    place = {name: number for number, name in enumerate(there)}
    named = {name: f"{table}.{_quoted(own)}" for name, (table, own) in view_columns(spec, sources).items()}
    order = sorted(named, key=lambda name: place.get(name, len(place)))
    columns = ", ".join(f"{named[name]} AS {_quoted(name)}" for name in order)
    answers = f"FROM {_quoted(spec.table)} AS"
    later = f"b.{ANSWERED_AT} > a.{ANSWERED_AT} OR b.{ANSWERED_AT} = a.{ANSWERED_AT} AND b.{EXTRACTOR} > a.{EXTRACTOR}"
    parts = ["SELECT", columns, answers, "a"]
    if sources:
        parts.append(
            f"LEFT JOIN {_quoted(spec.items)} AS i ON i.{ITEM_KEY} = {item_id_sql(spec, sqlite=is_sqlite(tx))}"
        )
    newer = f"{answers} b WHERE {_same(keys)} AND ({later})"
    return " ".join([*parts, "WHERE NOT EXISTS (SELECT 1", newer, ")"])


def view_columns(spec: AnswersSpec, sources: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return what each column of the view is: one of the answers ("a") or of the items ("i", `sources`), by name."""
    keys = [name for name, _ in spec.key]
    own = (*keys, *(name for name, _ in spec.fields), EXTRACTOR, ANSWERED_AT)
    named, folded = {name: ("a", name) for name in own}, {name.casefold() for name in own}
    taken = folded | {name.casefold() for name in sources}
    for name in (one for one in sources if one not in keys and not one.startswith(OURS)):
        free = _free(name, taken) if name.casefold() in folded else name
        taken.add(free.casefold())
        named[free] = ("i", name)
        folded.add(free.casefold())
    return named


def _same(keys: Iterable[str]) -> str:
    return " AND ".join(f"b.{_quoted(name)} = a.{_quoted(name)}" for name in keys)


def _free(name: str, taken: set[str]) -> str:
    number = 1
    while True:
        end = "" if number == 1 else f"_{number}"
        cut = f"{SOURCE}{name}".encode()[: MAX_COLUMN - len(end)].decode(errors="ignore") + end
        if cut.casefold() not in taken:
            return cut
        number += 1


def column_names(tx: Connection, table: str) -> list[str]:
    """Return the names of the columns of a table or a view, in their order; none where there is none."""
    if not is_sqlite(tx):
        return list(columns_of(tx, table))
    return list(tx.execute(text("SELECT name FROM pragma_table_info(:table)"), {"table": table}).scalars())


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


_TAKEN = (
    "SELECT type, name FROM sqlite_master WHERE type <> 'trigger' AND lower(name) IN (:answers, :answered, :index)",
    """
    SELECT CASE relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' WHEN 'i' THEN 'index' WHEN 'S' THEN 'sequence'
    WHEN 'm' THEN 'materialized view' ELSE 'relation' END, relname FROM pg_class
    WHERE relname IN (:answers, :answered, :index)
    AND (pg_table_is_visible(oid) OR relnamespace = to_regnamespace(quote_ident(current_schema())))
    UNION ALL SELECT 'type', typname FROM pg_type
    WHERE typname IN (:answers, :answered) AND typrelid = 0 AND typelem = 0
    AND typnamespace = to_regnamespace(quote_ident(current_schema()))
    """,
)


def make_answers(tx: Connection, spec: AnswersSpec, *, was: AnswersSpec | None) -> list[str]:
    """Make table, index and view, or bring them from what `was` recorded to `spec`; return a line for each change.

    Raises:
        InputError: names clash, or a kind changed.
        ConfigurationError: something of another program has a name of ours. In every case nothing was changed.
    """
    whole = with_kept(spec, was)
    table = answers_table(whole)
    if was is None:
        _check_free(tx, whole)
    else:
        check_view(tx, whole)
    if was is None or kind_of(tx, whole.table) is None:
        table.create(tx)
        lines = [f"made the table `{whole.table}` and the view `{whole.view}`"]
    else:
        lines = _add_columns(tx, whole, table)
    make_view(tx, whole)
    return lines


def _check_free(tx: Connection, spec: AnswersSpec) -> None:
    names = {"answers": spec.table, "answered": spec.view, "index": spec.index}
    for kind, name in tx.execute(text(_TAKEN[0 if is_sqlite(tx) else 1]), names):
        raise unfit(name, f"is {_article(kind)} that findable did not make", hint=OTHER_NAME)


def _add_columns(tx: Connection, spec: AnswersSpec, table: Table) -> list[str]:
    missing = missing_columns(tx, table)
    if kind_of(tx, spec.table) != "table" or any(not one.nullable for one in missing):
        raise unfit(spec.table, "is not the table of answers that findable made", hint=OTHER_NAME)
    for one in missing:
        add_column(tx, one)
    return [f"added the column `{one.name}` to `{spec.table}`" for one in missing]


def _article(kind: str) -> str:
    return f"an {kind}" if kind == "index" else f"a {kind}"
