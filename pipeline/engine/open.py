"""Open a workspace: decide whether a command may use the folder and database that the settings name, then make ready.

A reading command changes nothing that is not a workspace yet, and makes none where a name was mistyped. The first
writing command in another program's database says what it will add, and asks. A folder in which a link leads to what
lies elsewhere is refused.
"""

import contextlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import Enum
from functools import partial
from pathlib import Path
from types import ModuleType

from pipeline.core import files
from pipeline.core.errors import ConfigurationError, InconsistentError
from pipeline.core.progress import Progress
from pipeline.core.settings import Settings
from pipeline.core.text import BAD_TEXT, first_few
from pipeline.engine.workspace import (
    OpenWorkspace,
    declared,
    declared_tasks,
    is_declared,
    of_people,
    room_in_use,
    rooms,
    tables_of,
)
from pipeline.store import schema, workspace
from pipeline.store.database import Connection, Store
from pipeline.store.locks import Locks
from pipeline.tables.adopt import columns_of, kind_of

# Where commands write below the workspace, as folder and pattern of names, from the top down: a link in these places
# that leads out is refused. A user's own files may stand beside them and be what they like.
WRITTEN = {
    "": r"findable\.db.*|workspace\.json.*|batches|index|locks|reports|emulator|local-engine.*",
    "locks": ".*",
    "batches": ".*",
    "reports": ".*",
    "index": ".*",
    "index/builds": ".*",
    "index/vectors": ".*",
    "index/tasks": ".*",
    "index/tasks/*": ".*",
    "index/tasks/*/builds": ".*",
    "emulator": "local-engine.*",
    "local-engine-files": ".*",
    "emulator/local-engine-files": ".*",
}

# Under these names a workspace keeps what cannot be made again; another's, and a restore goes nowhere near it.
KEPT = re.compile(r"findable\.db.*|workspace\.json|batches|index|reports|local-engine.*|faiss\.index|metadata\.json")
RESTORING = "restore"  # how the folder begins in which a restore makes a workspace ready

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
    _check_restored(settings)
    with store.read_unchanged() as tx:
        is_ours = tx is not None and schema.is_workspace(tx)
        others = [] if tx is None or is_ours else schema.other_tables(tx)
        plan = [] if tx is None else _adoption_plan(tx, settings)
        made = [] if tx is None or not (is_ours or others) else _missing(tx, settings, access)
        if made and tx is not None and is_ours:
            others = _foreign_tables(tx, settings)
    if not is_ours and tx is None and access is not Access.CREATE and workspace.holds_sealed_files(settings.data):
        return ""  # whose database is missing: refused by what the folder's marker says
    has_file = False
    if not is_ours and is_declared(settings):
        has_file = declared().check_declarable(settings)
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


def _tables_here(tx: "Connection", settings: Settings) -> list[ModuleType]:
    return [tables_of(room) for room in rooms() if room.is_here(tx, settings)]


def _missing_tables(tx: "Connection", settings: Settings) -> dict[str, str]:
    """Return the tables and views that the subjects here would make, by name, each with what it is."""
    wanted = [one for room in _tables_here(tx, settings) for one in room.makes(settings).items()]
    return {name: "table" if columns else "view" for name, columns in wanted if kind_of(tx, name) is None}


def _missing(tx: "Connection", settings: Settings, access: Access) -> list[str]:
    """Return the tables and views that a command would make beside the engine's, in words; to read makes none."""
    found = _missing_tables(tx, settings)
    is_own = access is not Access.READ and is_declared(settings)
    if is_own and (kind_of(tx, schema.tasks.name) is None or declared().recorded_name(tx, settings) is None):
        found |= declared().planned_tables(settings)
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
    if not is_declared(settings):
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


def _backend_of(settings: Settings, bound: str | None) -> str:
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


@contextlib.contextmanager
def open_workspace(
    settings: Settings,
    display: Progress,
    *,
    access: Access = Access.CREATE,
    agrees: Callable[[str], bool] = lambda _question: False,
    whole: bool = False,
) -> Iterator[OpenWorkspace]:
    """Open a workspace for the length of a block, making or mending its schema first; see `check_access`.

    What is about the `whole` of it takes a task that was never used here as the built-in one.

    Raises:
        ConfigurationError: there is none, and `access` does not make one; what would be added to another program's
            database was not agreed to; the workspace is bound to another backend than the one asked for, or its files
            belong to another database than the one that is set.
    """
    check_links(settings.data)
    store = Store(settings.url.reveal())
    try:
        if line := check_access(of_people(settings) if whole else settings, store, access, agrees):
            display.say(line)
        opened = _opened(settings, store, display, access, whole=whole)
    except BaseException:
        store.close()
        raise
    try:
        yield opened
    finally:
        opened.close()


def _opened(settings: Settings, store: Store, display: Progress, access: Access, *, whole: bool) -> OpenWorkspace:
    make_directory(settings.data)
    found = workspace.find_marker(settings.data)
    here = _rooms_of(settings, store, found, display, access, whole=whole)
    if whole:
        with store.read() as tx:
            is_here = declared().recorded_name(tx, settings) if is_declared(settings) else room_in_use(settings) in here
        settings = settings if is_here else of_people(settings)
    if is_declared(settings):
        name = declared().recorded(store, settings, may_write=access is not Access.READ, display=display)
        settings = replace(settings, task=name)
    with store.read() as tx:
        row = workspace.get_workspace(tx)
        made = [room.task_of(tx, settings) for room in here]
        tasks = (*filter(None, made), *declared_tasks(tx, settings))
    if found is None or found.workspace_id != row.workspace_id:
        workspace.write_marker(settings.data, workspace.FolderMarker(row.workspace_id, store.address))
    backend = _backend_of(settings, row.backend)
    store.locks = Locks(store, settings.data / "locks", row.workspace_id)
    return OpenWorkspace(
        settings=settings.for_backend(backend),
        store=store,
        backend=backend,
        display=display,
        task=next(one for one in tasks if one.subject == settings.task),
        tasks=tasks,
        is_bound=row.backend is not None,
    )


def _rooms_of(
    settings: Settings,
    store: Store,
    found: workspace.FolderMarker | None,
    display: Progress,
    access: Access,
    *,
    whole: bool,
) -> list[ModuleType]:
    """Return the rooms of the subjects that are here, the schema brought up to date and their tables adopted.

    What reads, or is about the `whole`, makes no table or view of a subject.

    Raises:
        ConfigurationError: the folder's sealed files belong to another database, or nothing was ever brought in for the
            task that is to be read.
        InconsistentError: a table that is to be read is gone.
    """
    makes_tables = access is not Access.READ and not whole
    seen = settings if makes_tables else of_people(settings)
    sealed_by = found if workspace.holds_sealed_files(settings.data) else None
    if sealed_by is not None and store.path is not None and not store.path.exists():  # opening it would make it
        workspace.refuse_folder(settings.data, sealed_by, f"{store.shown} is not there")
    with store.read() as tx:
        if sealed_by is not None:
            workspace.check_marker(settings.data, sealed_by, tx, shown=store.shown)
        here = [one for one in rooms() if one.is_here(tx, seen)]
        room = room_in_use(settings)
        if not (makes_tables or whole or room is None or room in here):
            raise never_used(settings, room.how_to_begin)
        tables = [tables_of(room) for room in here]
        is_ready = schema.is_schema_current(tx) and all(one.is_adopted(tx, seen) for one in tables)
        if access is Access.READ and not is_ready and (gone := _missing_tables(tx, seen)):
            raise InconsistentError(
                f"{store.shown} has no table {' and no table '.join(gone)} any more; nothing was made",
                hint="`make restore` puts a backup back; a command that writes makes it, with no row",
            )
    if not is_ready:
        for line in schema.ensure_schema(store, [partial(one.adopt, settings=seen) for one in tables]):
            display.say(line)
    return here


@contextlib.contextmanager
def open_to_look(settings: Settings, display: Progress, *, agrees: Callable[[str], bool]) -> Iterator[OpenWorkspace]:
    """Open the workspace for the length of a block; where nothing is yet, an empty one that is gone afterwards.

    For a built-in task people are what it is opened with, so that no table is made; for a task of one's own its rows
    are brought up to date, in a workspace that is there; that may make its tables, which is asked in another program's
    database.

    Raises:
        ConfigurationError: there is something and no workspace, or writing would add to a table of another program.
    """
    is_own = is_declared(settings)
    people = of_people(settings)
    with contextlib.closing(Store(settings.url.reveal())) as store:
        with store.read_unchanged() as tx:
            is_new = is_free(settings.data) and (tx is None or not (schema.is_workspace(tx) or schema.other_tables(tx)))
        if not is_new:
            check_access(people if is_own else settings, store, Access.READ, agrees)
        elif is_own:
            check_access(settings, store, Access.WRITE, agrees)
    if not is_new:
        opens, access = (settings, Access.WRITE) if is_own else (people, Access.READ)
        with open_workspace(opens, display, access=access, agrees=agrees) as ws:
            yield ws
        return
    display.say(f"{settings.data} holds no workspace, and gets none: this looks at a temporary one")
    with (
        tempfile.TemporaryDirectory() as folder,
        open_workspace(replace(settings, data=Path(folder), database_url=None), display) as ws,
    ):
        yield ws


def make_directory(data: Path) -> None:
    """Make the workspace's directory where it is not there.

    Raises:
        ConfigurationError: there can be none.
    """
    with _refusing(data):
        data.mkdir(parents=True, exist_ok=True)


def is_free(data: Path) -> bool:
    """Return whether a workspace can begin in a folder without standing beside what is there: it is new, or empty."""
    return not data.exists() or (data.is_dir() and not any(data.iterdir()))


def _check_restored(settings: Settings) -> None:
    """Pass unless a restore into the folder was begun and is not over: the database comes last where it is a file.

    Raises:
        ConfigurationError: that is so.
    """
    data, is_there = settings.data, not settings.database_url and (settings.data / "findable.db").exists()
    if not is_there and [*data.glob(f"{RESTORING}.*{files.PART}")]:
        raise ConfigurationError(
            f"a restore into {data} is not finished; nothing was changed",
            hint="run the same `make restore FROM=…` again, which ends it; DATA= begins elsewhere",
        )


def check_links(data: Path) -> None:
    """Pass where no link in the workspace's directory leads out of it, so that writing would change other files.

    Raises:
        ConfigurationError: one does, or the directory cannot be read, or its name is no text.
    """
    with _refusing(data):
        if BAD_TEXT.search(str(data.absolute())):
            said = f"{data} cannot be the workspace: {data.absolute()} is not valid UTF-8; nothing was changed"
            raise ConfigurationError(said, hint="set DATA= to a directory whose name is")
        link = files.link_out(data, WRITTEN)
    if link is not None:
        raise ConfigurationError(
            f"{link} is a link that leads out of the workspace, to {os.path.realpath(link)}; nothing was changed",
            hint="put a real file or folder there, or set DATA= to the place that the link leads to",
        )


@contextlib.contextmanager
def _refusing(data: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        found = "it is a file" if data.is_file() else error.strerror
        raise ConfigurationError(
            f"{data} cannot be the workspace: {found}; nothing was changed",
            hint="set DATA= to a directory that can be written",
        ) from error
