"""Access of a command to a workspace, and consent to add to another program's database.

The needs of a task are no part of it: `ops.open_task` opens a workspace together with a task.
"""

from collections.abc import Callable, Sequence
from enum import Enum

from askrows.pipeline.core.command_hint import CommandHint, OptionHint
from askrows.pipeline.core.errors import ConfigurationError
from askrows.pipeline.core.settings import Settings
from askrows.pipeline.core.text import join_first
from askrows.pipeline.store import journal, schema
from askrows.pipeline.store.database import Connection, Store

# Table names in a message.
MAX_LISTED_TABLES = 5


class Access(Enum):
    """Access of a command: it reads a workspace, writes to it, or creates it if it is missing."""

    READ = "read"
    WRITE = "write"
    CREATE = "create"


def list_tables_not_made_here(tx: Connection, *, has_workspace: bool) -> list[str]:
    """Return the names of the tables in the database that askrows did not make."""
    made_tables = journal.read_created_tables(tx) if has_workspace else set[str]()
    return [name for name in schema.list_tables_of_others(tx) if name not in made_tables]


def confirm_additions(
    store: Store,
    confirm: Callable[[str], bool],
    additions: Sequence[str],
    other_tables: Sequence[str],
) -> None:
    """Ask a person whether askrows may add to another program's database.

    The question names the database, tables of the other program, and all additions.

    Raises:
        ConfigurationError: The person did not agree.
    """
    names = join_first(other_tables, MAX_LISTED_TABLES)
    location = f"{store.display_name} has tables of another program ({names})"
    planned_text = f"would add {'; '.join(additions)}"
    if not confirm(f"{location}. Askrows {planned_text}. Add them?"):
        raise ConfigurationError(
            f"{location}; askrows {planned_text}; nothing was written",
            hint=f"{OptionHint(yes=True)} adds them, but not with {OptionHint(dry=True)}; "
            f"or set {OptionHint('database_url')} to a separate database",
        )


def make_no_workspace_error(
    settings: Settings,
    store: Store,
    other_tables: list[str],
    hint: object,
) -> ConfigurationError:
    """Return the error that there is no workspace in the folder, or in the named database.

    Args:
        other_tables: Tables of another program; the message lists the first MAX_LISTED_TABLES.
        hint: How to create a workspace. It is ignored if there are other tables: the error then
            names commands that ask before they add tables.
    """
    location = str(settings.data)
    unchanged = "made"
    if other_tables:
        names = join_first(other_tables, MAX_LISTED_TABLES)
        location = f"{store.display_name}, which has tables of another program ({names})"
        unchanged = "changed"
        hint = (
            f"`{CommandHint('import')}`, `{CommandHint('score')}` or `{CommandHint('tag')}` "
            "lists its additions and asks first"
        )
    elif settings.database_url is not None:
        location = f"{store.display_name} ({OptionHint(data=settings.data)})"
    return ConfigurationError(
        f"there is no workspace in {location}; nothing was {unchanged}",
        hint=hint,
    )
