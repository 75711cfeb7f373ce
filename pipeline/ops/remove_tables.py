"""Remove findable's own tables, views and indexes from a database, in one transaction, after a question.

The files of the workspace stay.
"""

from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.errors import InputError
from pipeline.core.text import first_few
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.shipped_task import shipped_tasks
from pipeline.store import batches
from pipeline.store.database import Connection
from pipeline.tables.removal import RemovableObjects, count_rows, drop_tables, list_removable

SHOWN = 5  # names in a message


def run(ws: WorkspaceSession, *, gives_up_batches: bool = False) -> RemovableObjects:
    """Remove what findable made in the database, after a person agrees.

    With `gives_up_batches` also while batches are under way; what they bring is lost then.

    Raises:
        InputError: Batches are under way, or nobody agreed; nothing was changed.
        ConfigurationError: Something of another program depends on a table or view; nothing was changed.
    """
    marks = {task.adoption_index for task in shipped_tasks()}
    with ws.store.read() as tx:
        removed = list_removable(tx, marks)
        _check_batches(tx, gives_up_batches=gives_up_batches)
        counts = [
            (name, count_rows(tx, name))
            for name in removed.tables
            if not name.startswith("findable_")
        ]

    filled_tables = [f"{name} with {count:,} rows" for name, count in counts if count]
    examples = f", {first_few(filled_tables, SHOWN)} among them" if filled_tables else ""
    contents = f"{len(removed.tables)} tables{examples}, {len(removed.views)} views and {len(removed.indexes)} indexes"
    ws.agree(
        f"Remove {contents} from {ws.store.shown}? All answers and costs that findable keeps there are lost."
    )

    with ws.store.write() as tx:
        removed = list_removable(tx, marks)
        _check_batches(tx, gives_up_batches=gives_up_batches)
        drop_tables(tx, removed)
    return removed


def _check_batches(tx: Connection, *, gives_up_batches: bool) -> None:
    numbers = [str(batch.number) for batch in batches.batches_in_states(tx) if not batch.is_over]
    if numbers and not gives_up_batches:
        message = f"batches are under way ({first_few(numbers, SHOWN)}); nothing was changed"
        hint = f"`{CommandHint('status')}` says how to finish them; {OptionHint(give_up=True)} gives up what they bring"
        raise InputError(message, hint=hint)
