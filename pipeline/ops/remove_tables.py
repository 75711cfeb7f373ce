"""Remove findable's own tables, views and indexes from a database.

A person confirms first. One transaction removes all of them. The files of the workspace stay.
"""

from collections.abc import Callable

from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.errors import InputError
from pipeline.core.text import join_first, plural
from pipeline.engine.shipped_task import shipped_tasks
from pipeline.store import batches
from pipeline.store.database import Connection, Store
from pipeline.tables.removal import (
    RemovableObjects,
    count_table_rows,
    drop_objects,
    list_removable,
)

MAX_LISTED_NAMES = 5


def remove_findable_tables(
    store: Store, *, confirm: Callable[[str], None], should_abandon_batches: bool = False
) -> RemovableObjects:
    """Ask a person, then drop all tables, views and indexes that findable made; return them.

    The answers and costs in them are lost. All are dropped in one transaction. The files of the
    workspace and the tables of other programs stay.

    Args:
        should_abandon_batches: Remove the tables even if batches are running; the answers of these
            batches are lost.

    Raises:
        InputError: Batches are running, or the person did not confirm; nothing was changed.
        ConfigurationError: Another program's object depends on a table or view; nothing was
            changed.
    """
    index_names = {task.adoption_index for task in shipped_tasks()}
    with store.read() as tx:
        removable = list_removable(tx, index_names)
        _check_batches(tx, should_abandon_batches=should_abandon_batches)
        row_counts = {
            table_name: count_table_rows(tx, table_name)
            for table_name in removable.tables
            if not table_name.startswith("findable_")
        }

    confirm(
        f"Remove {_describe_removable(removable, row_counts)} from {store.display_name}? "
        "All answers and costs that findable stores there are lost.",
    )

    # Another process may have added tables or batches while the person was asked.
    with store.write() as tx:
        removable = list_removable(tx, index_names)
        _check_batches(tx, should_abandon_batches=should_abandon_batches)
        drop_objects(tx, removable)
    return removable


def _describe_removable(removable: RemovableObjects, row_counts: dict[str, int]) -> str:
    """Return the numbers of tables, views and indexes, with examples of tables that have rows.

    Args:
        row_counts: The number of rows by name, for tables that contain a user's rows.
    """
    filled_tables = [
        f"{table_name} with {plural(count, 'row')}"
        for table_name, count in row_counts.items()
        if count
    ]
    examples = ""
    if filled_tables:
        examples = f" (including {join_first(filled_tables, MAX_LISTED_NAMES)})"
    return (
        f"{plural(len(removable.tables), 'table')}{examples}, "
        f"{plural(len(removable.views), 'view')} "
        f"and {plural(len(removable.indexes), 'index', 'indexes')}"
    )


def _check_batches(tx: Connection, *, should_abandon_batches: bool) -> None:
    """Raise InputError if batches are not over, unless the caller gives them up."""
    if should_abandon_batches:
        return

    running_numbers = [
        str(batch.number) for batch in batches.batches_in_states(tx) if not batch.is_finished
    ]
    if running_numbers:
        listed_numbers = join_first(running_numbers, MAX_LISTED_NAMES)
        raise InputError(
            f"batches are not over ({listed_numbers}); nothing was changed",
            hint=f"`{CommandHint('status')}` shows how to finish them; "
            f"{OptionHint(give_up=True)} abandons them and their answers",
        )
