"""Which subjects a workspace has, and whether a command may use the folder and database that the settings name.

A reading command changes nothing that is not a workspace yet, and makes none where a name was mistyped. The first
writing command in another program's database says what it will add, and asks.

A subject is a room of the pipeline that has a module `import_`; no room below names one. Tasks that users declare in
files of their own are found in the workspace, and what carries them out is loaded where there are some.
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import Enum
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import ConfigurationError
from pipeline.core.settings import BUILT_IN, Settings
from pipeline.core.step import Hint, Option, Step
from pipeline.core.text import BAD_TEXT, first_few
from pipeline.store import schema, workspace
from pipeline.store.database import Connection, Store
from pipeline.tables.adopt import columns_of, kind_of

if TYPE_CHECKING:
    from pipeline.engine.task import Task

PIPELINE = Path(__file__).parents[1]
TO_BEGIN = Hint("`{}` makes one from a file, and `{}` shows how all of it works", Step("import"), Step("demo"))
OF_QUERY = Hint("`{}` makes one from a folder; a query needs the database that it reads", Step("import-images"))
SHOWN = 5  # names of tables in a message


@cache
def rooms() -> tuple[ModuleType, ...]:
    """Return the package of every subject, by their names: the rooms that import.

    Each says `how_to_begin`, whether the subject `is_here`, and `task_of` returns its task, None where that comes with
    the declared ones. Its module `table` says whether the tables are adopted (`is_adopted`), what adopting would add to
    those of another program (`adoption_plan`), which ones it makes (`makes`), and does it (`adopt`).
    """
    found = sorted(path.parent.name for path in PIPELINE.glob("*/import_.py"))
    return tuple(import_module(f"pipeline.{name}") for name in found)


def room_in_use(settings: Settings) -> ModuleType | None:
    """Return the room of the task that TASK= names; None where it is a user's own."""
    return next((room for room in rooms() if room.__package__ == f"pipeline.{settings.task}"), None)


def tables_of(room: ModuleType) -> ModuleType:
    """Return the module `table` of a subject's room."""
    return import_module(f"{room.__package__}.table")


def declared() -> Any:
    """Return the module that carries out declared tasks."""
    return import_module("pipeline.engine.task_record")


def is_declared(settings: Settings) -> bool:
    """Return whether TASK= names a task of a user's own."""
    return settings.task not in BUILT_IN


def of_people(settings: Settings) -> Settings:
    """Return the settings with people in the place of their task."""
    return replace(settings, task=BUILT_IN[0])


def declared_tasks(tx: Connection, settings: Settings) -> "tuple[Task, ...]":
    """Return the tasks that users declared here."""
    return declared().declared_tasks(tx, settings) if workspace.list_tasks(tx) else ()


# ---- whether it may be opened, and by whom


class Access(Enum):
    """What a command does to a workspace: reads it, writes to one that is there, or makes one where there is none."""

    READ = "read"
    WRITE = "write"
    CREATE = "create"


def check_access(settings: Settings, store: Store, access: Access, agrees: Callable[[str], bool]) -> str:
    """Return a line that says which workspace will be made, empty where there is one; nothing is written."""
    if any(one.is_file() for one in (settings.data, *settings.data.parents)):
        return ""  # it cannot be a folder, which opening it says
    with store.read_unchanged() as tx:
        is_ours = tx is not None and schema.is_workspace(tx)
        others, made, plan = ([], [], []) if tx is None else _added(tx, settings, access)
    if not is_ours and tx is None and access is not Access.CREATE and workspace.holds_sealed_files(settings.data):
        return ""  # whose database is missing: refused by what the folder's marker says
    has_file = False
    if not is_ours and is_declared(settings):
        has_file = declared().check_declarable(settings)
        access = Access.CREATE if access is Access.WRITE and has_file else access  # its items come with it
    is_there = is_ours or (access is Access.WRITE and tx is not None)
    if access is not Access.CREATE and not is_there:
        own = f"`{Step('try', task=settings.task)}` makes one, and asks about a few rows" if has_file else OF_QUERY
        raise _no_workspace(settings, store, others, to_begin=own if is_declared(settings) else TO_BEGIN)
    if access is Access.READ:
        if not settings.data.is_dir():
            said = f"there is no workspace in {settings.data}: its database is there ({store.shown}), its folder is not"
            hint = f"set {Option('data')} to the folder that belongs to that database"
            raise ConfigurationError(f"{said}; nothing was made", hint=hint)
        if plan:
            said = f"a table in {store.shown} is another program's, and was never used by findable; nothing was changed"
            hint = f"a command that writes asks whether it may add {'; '.join([*made, *plan])}"
            raise ConfigurationError(said, hint=hint)
    elif others or plan:
        engine = [] if is_ours else [f"tables of its own ({', '.join(sorted(schema.metadata.tables))})"]
        added, several = "; ".join([*engine, *made, *plan]), f"tables of another program ({first_few(others, SHOWN)})"
        whose = f"{store.shown} holds {several if others else 'a table of another program'}"
        hint = f"{Option(yes=True)} agrees; or set {Option('database_url')} to a database of its own"
        _agreed(agrees, f"{whose}. Add {added}?", f"{whose}; findable would add {added}; nothing was written", hint)
    elif is_ours and not settings.data.is_dir():
        lost = f"the workspace in {store.shown} has its files in another folder, or lost them: {settings.data} is not"
        hint = f"set {Option('data')} to the folder that belongs to that database; {Option(yes=True)} makes a new one"
        _agreed(agrees, f"{lost} there. Go on in a new folder, without them?", f"{lost} there; nothing was made", hint)
    return "" if is_ours else f"a new workspace: {settings.data}, database {store.shown}"


def _added(tx: Connection, settings: Settings, access: Access) -> tuple[list[str], list[str], list[str]]:
    is_ours, rooms_here = schema.is_workspace(tx), _tables_here(tx, settings)
    plan = [line for one in rooms_here for line in one.adoption_plan(tx, settings)]
    others = [] if is_ours else schema.other_tables(tx)
    found = missing_tables(tx, settings) if is_ours or others else {}
    is_own = bool(is_ours or others) and access is not Access.READ and is_declared(settings)
    if is_own and (kind_of(tx, schema.tasks.name) is None or declared().recorded_name(tx, settings) is None):
        found |= dict.fromkeys(declared().planned_views(settings), "view")
    by_kind = {kind: [name for name, one in found.items() if one == kind] for kind in ("table", "view")}
    made = [f"the {kind}{'s' * (len(some) > 1)} {', '.join(some)}" for kind, some in by_kind.items() if some]
    if is_ours and made:
        wanted = [one for room in rooms_here for one in room.makes(tx, settings).items()]
        ours = {name for name, columns in wanted if tuple(columns_of(tx, name)) == tuple(columns)}
        others = [name for name in schema.other_tables(tx) if name not in ours]
    return others, made, plan


def _tables_here(tx: Connection, settings: Settings) -> list[ModuleType]:
    return [tables_of(room) for room in rooms() if room.is_here(tx, settings)]


def missing_tables(tx: Connection, settings: Settings) -> dict[str, str]:
    """Return the tables and views that the subjects here would make, by name, each with what it is."""
    wanted = [one for room in _tables_here(tx, settings) for one in room.makes(tx, settings).items()]
    return {name: "table" if columns else "view" for name, columns in wanted if kind_of(tx, name) is None}


def never_used(settings: Settings, hint: str) -> ConfigurationError:
    """Return the error for a command that reads, where nothing was brought in for a task, and so nothing asked."""
    said = f"the task {settings.task} was never used in {settings.data}; nothing was made"
    return ConfigurationError(said, hint=hint)


def _no_workspace(settings: Settings, store: Store, others: list[str], *, to_begin: object) -> ConfigurationError:
    if others:
        return ConfigurationError(
            f"there is no workspace in {store.shown}, which holds tables of another program "
            f"({first_few(others, SHOWN)}); nothing was changed",
            hint=f"`{Step('import')}`, `{Step('score')}` or `{Step('tag')}` says what it would add there, and asks",
        )
    where = str(settings.data) if settings.database_url is None else f"{store.shown} ({Option(data=settings.data)})"
    return ConfigurationError(f"there is no workspace in {where}; nothing was made", hint=to_begin)


def _agreed(agrees: Callable[[str], bool], question: str, said: str, hint: str) -> None:
    if not agrees(question):
        raise ConfigurationError(said, hint=hint)


# ---- its folder

# Where commands write: a link that leads out is refused. A user's own files may stand beside and be what they like
_WRITTEN = re.compile(r"findable\.db.*|workspace\.json.*|batches|index|locks|reports|sources|emulator|local-engine.*")


def make_directory(data: Path) -> None:
    """Make the workspace's directory where it is not there. ConfigurationError where there can be none."""
    with _refusing(data):
        data.mkdir(parents=True, exist_ok=True)


def is_free(data: Path) -> bool:
    """Return whether a workspace can begin in a folder without standing beside what is there: it is new, or empty."""
    return not data.exists() or (data.is_dir() and not any(data.iterdir()))


def check_links(data: Path) -> None:
    """Pass where no link in the workspace's directory leads out of it, so that writing would change other files."""
    with _refusing(data):
        if BAD_TEXT.search(str(data.absolute())):
            said = f"{data} cannot be the workspace: {data.absolute()} is not valid UTF-8; nothing was changed"
            raise ConfigurationError(said, hint=f"set {Option('data')} to a directory whose name is")
        link = _link_out(data)
    if link is not None:
        raise ConfigurationError(
            f"{link} is a link that leads out of the workspace, to {os.path.realpath(link)}; nothing was changed",
            hint=f"put a real file or folder there, or set {Option('data')} to the place that the link leads to",
        )


def _link_out(data: Path) -> Path | None:
    home = Path(os.path.realpath(data))
    for folder, folders, names in os.walk(home):
        if Path(folder) == home:
            folders[:] = filter(_WRITTEN.fullmatch, folders)
            names = [*filter(_WRITTEN.fullmatch, names)]  # noqa: PLW2901 - the others are not ours
        for one in (Path(folder, name) for name in (*folders, *names)):
            if one.is_symlink() and not Path(os.path.realpath(one)).is_relative_to(home):
                return data / one.relative_to(home)
    return None


@contextlib.contextmanager
def _refusing(data: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        found = "it is a file" if data.is_file() else error.strerror
        raise ConfigurationError(
            f"{data} cannot be the workspace: {found}; nothing was changed",
            hint=f"set {Option('data')} to a directory that can be written",
        ) from error
