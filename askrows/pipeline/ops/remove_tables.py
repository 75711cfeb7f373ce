"""Remove askrows' own tables, views and indexes from a database.

A person confirms first. One transaction removes all of them. The files of the workspace stay. A
table that askrows adopted from another program is kept, with all columns and values in it.
"""

import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass

from sqlalchemy import MetaData, exc, inspect, text

from askrows.pipeline.core.command_hint import CommandHint, OptionHint
from askrows.pipeline.core.errors import ConfigurationError, InputError
from askrows.pipeline.core.report import Report, format_members_as_phrase
from askrows.pipeline.core.text import join_first, plural
from askrows.pipeline.rows.answer_views import is_our_view
from askrows.pipeline.rows.reflection import quote_name
from askrows.pipeline.store import batches, journal, schema
from askrows.pipeline.store.database import Connection, Store, describe_error, is_sqlite
from askrows.pipeline.tasks.shipped_task import list_shipped_tasks


@dataclass
class RemovableObjects:
    """Names of the database objects that askrows made, and of the tables that are kept."""

    tables: list[str]
    views: list[str]
    # Indexes that askrows made on the tables that are kept.
    indexes: list[str]
    # The tables that are kept.
    kept_tables: list[str]


def remove_askrows_tables(
    store: Store,
    *,
    confirm: Callable[[str], None],
    should_abandon_batches: bool = False,
) -> Report:
    """Ask a person, then drop all tables, views and indexes that askrows made; report them.

    All are dropped in one transaction, on a server also the schema with the jobs of `work`. All
    answers and costs are lost. The files of the workspace and tables of other programs stay.

    Args:
        should_abandon_batches: Remove the tables even if batches are running; the answers of these
            batches are lost.

    Raises:
        InputError: Batches are running, or the person did not confirm; nothing was changed.
        ConfigurationError: Another program's object depends on a table or view; nothing was
            changed.
    """
    with store.read() as tx:
        removable = _list_removable_objects(tx)
        _check_no_open_batch(tx, should_abandon_batches=should_abandon_batches)

    objects = (
        f"{plural(len(removable.tables), 'table')}, {plural(len(removable.views), 'view')} "
        f"and {plural(len(removable.indexes), 'index', 'indexes')}"
    )
    confirm(
        f"Remove {objects} from {store.display_name}? "
        "All rows, answers and costs that askrows stores there are lost.",
    )

    # Another process may have added tables or batches while the person was asked.
    with store.write() as tx:
        removable = _list_removable_objects(tx)
        _check_no_open_batch(tx, should_abandon_batches=should_abandon_batches)
        _drop_objects(tx, removable)
    figures = asdict(removable)
    removed = format_members_as_phrase(figures, "tables views indexes") or "nothing"
    report = Report(figures, f"{removed} deleted from {store.display_name}")
    if removable.kept_tables:
        report.title += f"; unchanged: {', '.join(removable.kept_tables)}"
    return report


def _check_no_open_batch(tx: Connection, *, should_abandon_batches: bool) -> None:
    """Raise InputError if batches are not over, unless the caller gives them up."""
    if should_abandon_batches:
        return

    running_numbers = [
        str(batch.number) for batch in batches.list_batches_in_states(tx) if not batch.is_finished
    ]
    if running_numbers:
        raise InputError(
            f"batches are not over ({join_first(running_numbers)}); nothing was changed",
            hint=f"`{CommandHint('status')}` shows how to finish them; "
            f"{OptionHint(give_up=True)} abandons them and their answers",
        )


def _list_removable_objects(tx: Connection) -> RemovableObjects:
    """Return which tables, views and indexes askrows made, and which tables are kept.

    Askrows's tables begin with `askrows_` or were recorded as created; all others are kept. Its
    views have its mark, see `answer_views`. Its indexes are listed only if they are on kept tables;
    they begin with `askrows_`, or mark an adopted table of a task. Only reads the database.
    """
    created_names = journal.read_created_tables(tx)
    own_tables = sorted(schema.list_own_tables(tx, created_names))
    kept_tables = [name for name in schema.list_tables_of_others(tx) if name not in created_names]
    view_names = sorted(inspect(tx).get_view_names())
    own_views = [name for name in view_names if is_our_view(tx, name)]

    marker_indexes = {task.adoption_index for task in list_shipped_tasks()}
    own_indexes = [
        name
        for table_name, name in schema.list_indexes(tx)
        if table_name not in own_tables and (name.startswith("askrows_") or name in marker_indexes)
    ]
    return RemovableObjects(own_tables, own_views, sorted(own_indexes), kept_tables)


def _drop_objects(tx: Connection, removed: RemovableObjects) -> None:
    """Drop the tables, views and indexes of askrows, and on a server the schema of jobs.

    The schema of jobs has the tables of `work`; it is dropped with all objects in it.
    Runs in the caller's transaction, which must be rolled back after an error.

    Raises:
        ConfigurationError: An object of another program depends on a dropped object.
    """
    hint = "remove the other program's object first, then run the same command again"
    _check_no_kept_table_refers(tx, removed, hint=hint)
    try:
        for name in removed.views:
            tx.execute(text(f"DROP VIEW {quote_name(name)}"))
        for name in removed.indexes:
            tx.execute(text(f"DROP INDEX {quote_name(name)}"))

        metadata = MetaData()
        # SQLAlchemy warns of indexes that it cannot describe. They are dropped with their tables.
        with warnings.catch_warnings(action="ignore", category=exc.SAWarning):
            metadata.reflect(tx, only=removed.tables, resolve_fks=False)
        metadata.drop_all(tx)
        if not is_sqlite(tx):
            tx.execute(text(f"DROP SCHEMA IF EXISTS {schema.WORKER_SCHEMA} CASCADE"))
    except exc.DBAPIError as error:
        raise ConfigurationError(
            "an object of another program depends on tables or views of askrows: "
            f"{describe_error(error)}; nothing was changed",
            hint=hint,
        ) from error


def _check_no_kept_table_refers(
    tx: Connection,
    removed: RemovableObjects,
    *,
    hint: str,
) -> None:
    """Raise ConfigurationError if a foreign key of a kept table refers to a dropped table.

    Args:
        tx: The transaction that reads.
        removed: The dropped and the kept tables.
        hint: A remedy for the user.
    """
    inspector = inspect(tx)
    # SQLite would delete the rows of the table that is kept.
    for name in removed.kept_tables:
        for foreign_key in inspector.get_foreign_keys(name):
            referred_table = foreign_key["referred_table"]
            if referred_table in removed.tables:
                raise ConfigurationError(
                    f"`{name}` of another program refers to `{referred_table}`; "
                    "nothing was changed",
                    hint=hint,
                )
