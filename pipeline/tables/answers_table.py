"""Make the table of a task's answers, `<prefix>_answers`, and bring it up to date when the task got another field."""

from sqlalchemy import Connection, Table, text

from pipeline.tables.adopt import unfit
from pipeline.tables.answers_spec import OTHER_NAME, AnswersSpec, answers_table, with_kept
from pipeline.tables.answers_view import check_view, make_view
from pipeline.tables.reflect import add_column, is_sqlite, kind_of, missing_columns

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
    """Add the columns that are missing, empty in every row, and return a line for each."""
    missing = missing_columns(tx, table)
    if kind_of(tx, spec.table) != "table" or any(not one.nullable for one in missing):
        raise unfit(spec.table, "is not the table of answers that findable made", hint=OTHER_NAME)
    for one in missing:
        add_column(tx, one)
    return [f"added the column `{one.name}` to `{spec.table}`" for one in missing]


def _article(kind: str) -> str:
    return f"an {kind}" if kind == "index" else f"a {kind}"
