"""Delete the row of an item that is forgotten, or say what holds on to it."""

from sqlalchemy import Connection, delete, exc, text

from pipeline.core.errors import ConfigurationError
from pipeline.store.database import describe_error
from pipeline.tables.item_table import ItemTable
from pipeline.tables.rows import is_refusal


def check_removable(tx: Connection, table: ItemTable, item_id: str) -> None:
    """See that an item's row can be deleted, by deleting it and taking that back.

    Raises:
        ConfigurationError: the database does not let it go.
    """
    part = tx.begin_nested()
    remove_row(tx, table, item_id, so_far="nothing was changed")
    part.rollback()


def remove_row(tx: Connection, table: ItemTable, item_id: str, *, so_far: str = "nothing more was changed") -> None:
    """Delete the row of an item, if it is there. `so_far` is what an error says of all else.

    Raises:
        ConfigurationError: another program's rows hold on to it, or its trigger or rule does.
    """
    name = table.names(tx, [item_id]).get(item_id)
    if name is None:
        return
    try:
        broken = _broken_references(tx)
        tx.execute(delete(table.table).where(table.table.c[table.key].in_(table.ids.native([item_id]))))
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
