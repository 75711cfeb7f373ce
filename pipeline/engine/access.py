"""Decide whether a command may use the database that the settings name, before anything is opened to be written.

A reading command changes nothing that is not a workspace yet, and makes none where a name was mistyped. The first
writing command in another program's database says what it will add, and asks.
"""

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING

from pipeline.core.errors import ConfigurationError
from pipeline.core.settings import Settings
from pipeline.core.text import first_few
from pipeline.engine import registry
from pipeline.engine.folder import check_restored
from pipeline.store import marker, schema, tables
from pipeline.store.database import Store
from pipeline.tables.reflect import columns_of, kind_of

if TYPE_CHECKING:
    from pipeline.core.task import SubjectTables
    from pipeline.store.database import Connection

TO_BEGIN = "`make import` makes one from a file, and `make demo` shows how all of it works"
TO_BEGIN_A_QUERY = "`make import-images` makes one from a folder; a query needs the database that it reads"
SHOWN = 5  # names of tables in a message


class Access(Enum):
    """What a command does to a workspace: reads it, writes to one that is there, or makes one where there is none."""

    READ = "read"
    WRITE = "write"
    CREATE = "create"


def check_access(settings: Settings, store: Store, access: Access, agrees: Callable[[str], bool]) -> str:
    """Return a line that says which workspace will be made, empty where there is one; nothing is written.

    Raises:
        ConfigurationError: there is no workspace to read or to write to, or what would be added to another program's
            database was not agreed to, or a restore is not finished.
    """
    if any(one.is_file() for one in (settings.data, *settings.data.parents)):
        return ""  # it cannot be a folder, which opening it says
    check_restored(settings)
    with store.read_unchanged() as tx:
        is_ours = tx is not None and schema.is_workspace(tx)
        others = [] if tx is None or is_ours else schema.other_tables(tx)
        plan = [] if tx is None else _adoption_plan(tx, settings)
        made = [] if tx is None or not (is_ours or others) else _missing(tx, settings, access)
        if made and tx is not None and is_ours:
            others = _foreign_tables(tx, settings)
    if not is_ours and tx is None and access is not Access.CREATE and marker.holds_sealed_files(settings.data):
        return ""  # whose database is missing: refused by what the folder's marker says
    has_file = False
    if not is_ours and registry.is_declared(settings):
        has_file = registry.declared().check_declarable(settings)
        access = Access.CREATE if access is Access.WRITE and has_file else access  # its items come with it
    is_there = is_ours or (access is Access.WRITE and tx is not None)
    if access is not Access.CREATE and not is_there:
        raise _no_workspace(settings, store, others, to_begin=_to_begin(settings, has_file=has_file))
    if access is Access.READ:
        _check_readable(settings, store, [*made, *plan] if plan else [])
    elif others or plan:
        engine = [] if is_ours else [f"tables of its own ({', '.join(schema.engine_tables())})"]
        _agree(store, others, [*engine, *made, *plan], agrees)
    elif is_ours and not settings.data.is_dir():
        _agree_to_folder(settings, store, agrees)
    return "" if is_ours else f"a new workspace: {settings.data}, database {store.shown}"


def _adoption_plan(tx: "Connection", settings: Settings) -> list[str]:
    return [line for one in _tables_here(tx, settings) for line in one.adoption_plan(tx, settings)]


def _tables_here(tx: "Connection", settings: Settings) -> "list[SubjectTables]":
    return [registry.tables_of(room) for room in registry.rooms() if room.is_here(tx, settings)]


def missing_tables(tx: "Connection", settings: Settings) -> dict[str, str]:
    """Return the tables and views that the subjects here would make, by name, each with what it is."""
    wanted = [one for room in _tables_here(tx, settings) for one in room.makes(settings).items()]
    return {name: "table" if columns else "view" for name, columns in wanted if kind_of(tx, name) is None}


def _missing(tx: "Connection", settings: Settings, access: Access) -> list[str]:
    """Return the tables and views that a command would make beside the engine's, in words; to read makes none."""
    found = missing_tables(tx, settings)
    if access is not Access.READ and registry.is_declared(settings):
        declared = registry.declared()
        if kind_of(tx, tables.tasks.name) is None or declared.recorded_name(tx, settings) is None:
            found |= declared.planned_tables(settings)
    return [
        f"the {kind}{'' if len(names) == 1 else 's'} {', '.join(names)}"
        for kind in ("table", "view")
        if (names := [name for name, one in found.items() if one == kind])
    ]


def _foreign_tables(tx: "Connection", settings: Settings) -> list[str]:
    """Return the names of the tables beside a workspace that findable did not make: those it adopted are among them."""
    made = [one for room in _tables_here(tx, settings) for one in room.makes(settings).items()]
    ours = {name for name, columns in made if tuple(columns_of(tx, name)) == tuple(columns)}
    return [name for name in schema.other_tables(tx) if name not in ours]


def _check_readable(settings: Settings, store: Store, plan: list[str]) -> None:
    """Refuse to read where that would make a folder, or change a table of another program."""
    if not settings.data.is_dir():
        raise ConfigurationError(
            f"there is no workspace in {settings.data}: its database is there ({store.shown}), its folder is not; "
            "nothing was made",
            hint="set DATA= to the folder that belongs to that database",
        )
    if plan:
        raise ConfigurationError(
            f"a table in {store.shown} is another program's, and was never used by findable; nothing was changed",
            hint=f"a command that writes asks whether it may add {'; '.join(plan)}",
        )


def never_used(settings: Settings, hint: str) -> ConfigurationError:
    """Return the error for a command that reads, where nothing was brought in for a task, and so nothing asked."""
    return ConfigurationError(
        f"the task {settings.task} was never used in {settings.data}; nothing was made", hint=hint
    )


def _to_begin(settings: Settings, *, has_file: bool) -> str:
    if not registry.is_declared(settings):
        return TO_BEGIN
    return f"`make try TASK={settings.task}` makes one, and asks about a few rows" if has_file else TO_BEGIN_A_QUERY


def _no_workspace(settings: Settings, store: Store, others: list[str], *, to_begin: str) -> ConfigurationError:
    if others:
        return ConfigurationError(
            f"there is no workspace in {store.shown}, which holds tables of another program "
            f"({first_few(others, SHOWN)}); nothing was changed",
            hint="`make import`, `make score` or `make tag` says what it would add there, and asks",
        )
    where = str(settings.data) if settings.database_url is None else f"{store.shown} (DATA={settings.data})"
    return ConfigurationError(f"there is no workspace in {where}; nothing was made", hint=to_begin)


def _agree(store: Store, others: list[str], plan: list[str], agrees: Callable[[str], bool]) -> None:
    added = "; ".join(plan)
    theirs = f"tables of another program ({first_few(others, SHOWN)})" if others else "a table of another program"
    whose = f"{store.shown} holds {theirs}"
    if not agrees(f"{whose}. Add {added}?"):
        raise ConfigurationError(
            f"{whose}; findable would add {added}; nothing was written",
            hint="YES=1 agrees; or set DATABASE_URL= to a database of its own",
        )


def _agree_to_folder(settings: Settings, store: Store, agrees: Callable[[str], bool]) -> None:
    """Ask whether a workspace whose files are in another folder, or lost, goes on in a new one."""
    missing = (
        f"the workspace in {store.shown} has its files in another folder, or lost them: {settings.data} is not there"
    )
    if not agrees(f"{missing}. Go on in a new folder, without them?"):
        raise ConfigurationError(
            f"{missing}; nothing was made",
            hint="set DATA= to the folder that belongs to that database; YES=1 makes a new one",
        )


def backend_of(settings: Settings, bound: str | None) -> str:
    """Return the backend to use: the one the workspace is bound to.

    Raises:
        ConfigurationError: another one is asked for by name.
    """
    if bound is None:
        return settings.wanted_backend
    if settings.backend is not None and settings.backend != bound:
        raise ConfigurationError(
            f"this workspace is bound to the {bound} backend, and BACKEND={settings.backend} was asked for; "
            "nothing was changed",
            hint="take another DATA= directory"
            + (", or take back all that the local engine answered: `make versions` lists it" * (bound == "local")),
        )
    return bound
