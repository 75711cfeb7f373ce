"""Open a workspace for a command: decide access, then make a session with store, tasks and client.

Before anything is written, `check_access` decides whether the command may use the folder and the
database of the settings:

- A reading command makes no workspace, so a mistyped name makes nothing.
- The first writing command in another program's database lists its additions and asks.
- A folder with a link that leads out of it is refused.

A shipped task is a package below `pipeline` with a module `import_`. No module here names one.
"""

import contextlib
import os
import re
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum
from functools import cache, cached_property, partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core.command_hint import CommandHint, HintTemplate, OptionHint
from pipeline.core.errors import (
    ConfigurationError,
    FindableError,
    InconsistentError,
    InputError,
    MissingError,
    RefusedError,
)
from pipeline.core.progress import Progress
from pipeline.core.settings import BUILT_IN_TASKS, Budget, Settings
from pipeline.core.text import SURROGATES, first_few
from pipeline.engine.task import IndexedTask, Task
from pipeline.gemini.models import Kind, Model, RateLimits
from pipeline.store import answers, schema, workspace
from pipeline.store.database import Connection, Store
from pipeline.store.locks import Lock, Locks
from pipeline.tables.adopt import read_columns, read_object_kind

if TYPE_CHECKING:
    from pipeline.gemini.client import Client

NEW_WORKSPACE_HINT = HintTemplate(
    "`{}` makes one from a file, and `{}` shows how all of it works",
    CommandHint("import"),
    CommandHint("demo"),
)
NEW_WORKSPACE_FOR_QUERY_HINT = HintTemplate(
    "`{}` makes one from a folder; a query needs the database that it reads",
    CommandHint("import-images"),
)
# Table names in a message.
MAX_LISTED_TABLES = 5
# The local engine accepts any key. This one names its owner and is no word of an error.
LOCAL_KEY = "key-of-the-local-engine"
# The shown estimate is rounded; a cost may exceed it by this much.
COST_TOLERANCE_USD = 1e-6


@cache
def rooms() -> tuple[ModuleType, ...]:
    """Import and return the packages of the shipped tasks, by name.

    Each package has the hint `how_to_begin`, and the functions `is_here` (the task is used in this
    workspace) and `task_of` (returns the task, or None if it is a user task). Its module `table`
    has `is_adopted`, `adoption_plan` (additions to another program's tables), `makes` (tables and
    views that it creates) and `adopt`.
    """
    paths = Path(__file__).parents[1].glob("*/import_.py")
    names = sorted(path.parent.name for path in paths)
    return tuple(import_module(f"pipeline.{name}") for name in names)


def _table_module(package: ModuleType) -> ModuleType:
    """Import and return the module `table` of a shipped task."""
    return import_module(f"{package.__package__}.table")


def _package_name(package: ModuleType) -> str:
    """Return the name of a shipped task's package below `pipeline`."""
    return str(package.__package__).rpartition(".")[2]


def declared() -> Any:
    """Import and return the task registry, which imports this module itself."""
    return import_module("pipeline.engine.task_registry")


def is_declared(settings: Settings) -> bool:
    """Return whether TASK= names a user's task."""
    return settings.task not in BUILT_IN_TASKS


def _with_people(settings: Settings) -> Settings:
    """Return the settings with the task set to people."""
    return replace(settings, task=BUILT_IN_TASKS[0])


def with_default_task(settings: Settings, *, may_be_several: bool = False) -> Settings:
    """Return the settings with the default task if TASK= is not set. Writes nothing.

    Commands, the page and Python all use this function. The default is people, except in a
    workspace without people: there it is the only other task.

    Args:
        may_be_several: Take the first of several tasks; if there is a table of people, take people.

    Raises:
        InputError: There are no people, and several tasks; the message lists them.
    """
    if "task" in settings.sources:
        return settings

    check_links(settings.data)
    with contextlib.closing(Store(settings.url.reveal())) as store, store.read_unchanged() as tx:
        if tx is None or not schema.is_schema_current(tx):
            return settings

        packages = {_package_name(package): package for package in _packages_here(tx, settings)}
        people = packages.pop(settings.task)
        task_names = [task.name for task in workspace.list_tasks(tx)]
        names = list(dict.fromkeys([*packages, *task_names]))
        has_people = (
            not _missing_tables(tx, settings)
            and people.task_of(tx, settings).table(tx).total(tx) > 0
        )
        if not names or has_people:
            return settings
        # The task in the settings counts as used, so it must be empty here.
        has_people_table = people.is_here(tx, replace(settings, task=""))

    if may_be_several and len(names) > 1 and has_people_table:
        return settings
    if may_be_several or len(names) == 1:
        return replace(settings, task=names[0])
    raise InputError(
        f"this workspace has no people, and several tasks: {', '.join(names)}; nothing was done",
        hint=f"{OptionHint(task=names[0])} names the one that is meant",
    )


def declared_tasks(tx: Connection, settings: Settings) -> tuple[Task, ...]:
    """Return the user tasks that are recorded in this workspace."""
    return declared().declared_tasks(tx, settings) if workspace.list_tasks(tx) else ()


# ---- access


class Access(Enum):
    """What a command does: read a workspace, write to an existing one, or create one if missing."""

    READ = "read"
    WRITE = "write"
    CREATE = "create"


class AllowedAccess(NamedTuple):
    """What `check_access` returns for a command that may go on."""

    # Which workspace will be made; empty if there is one.
    announcement: str = ""
    # Packages of the shipped tasks that are used here, if all their tables were found adopted.
    adopted_rooms: list[ModuleType] | None = None


class _PlannedAdditions(NamedTuple):
    """What a command would add to the database."""

    # Tables of other programs.
    other_tables: list[str]
    # Tables and views to create, as phrases: "the table people".
    new_objects: list[str]
    # Changes to another program's tables, as phrases.
    adoption_plan: list[str]


def check_access(
    settings: Settings,
    store: Store,
    access: Access,
    agrees: Callable[[str], bool],
    *,
    whole: bool = False,
) -> AllowedAccess:
    """Check whether a command may use the workspace, and ask a person if need be. Writes nothing.

    Args:
        agrees: Asks a person a question; returns the answer.
        whole: The command is about the whole workspace and adds no tables of a task.

    Raises:
        ConfigurationError: There is no workspace and `access` creates none, its folder or database
            is missing, or the person did not agree to the additions.
    """
    # A file in the place of the folder is reported when the folder is opened.
    if any(path.is_file() for path in (settings.data, *settings.data.parents)):
        return AllowedAccess()

    with store.read_unchanged() as tx:
        has_database = tx is not None
        is_ours = tx is not None and schema.is_workspace(tx)
        additions = _PlannedAdditions([], [], [])
        adopted_packages = None
        if tx is not None:
            additions = _plan_additions(tx, settings, access, whole=whole)
            adopted_packages = _adopted_packages(tx, settings, access, whole=whole)

    # A folder whose database is missing is refused later, when its marker is checked.
    is_database_lost = (
        not has_database
        and access is not Access.CREATE
        and workspace.has_sealed_files(settings.data)
    )
    if is_database_lost:
        return AllowedAccess()

    has_file = False
    if not is_ours and is_declared(settings):
        has_file = declared().check_declarable(settings, store)
        # The task's file brings the rows, so a workspace can be created.
        if access is Access.WRITE and has_file:
            access = Access.CREATE

    is_there = is_ours or (access is Access.WRITE and has_database)
    if access is not Access.CREATE and not is_there:
        hint = _new_workspace_hint(settings, has_file=has_file)
        raise _no_workspace_error(settings, store, additions.other_tables, hint)

    if access is Access.READ:
        _check_readable(settings, store, additions)
    elif additions.other_tables or additions.adoption_plan:
        _confirm_additions(store, agrees, additions, is_ours=is_ours)
    elif is_ours and not settings.data.is_dir():
        _confirm_new_folder(settings, store, agrees)

    announcement = "" if is_ours else f"a new workspace: {settings.data}, database {store.shown}"
    return AllowedAccess(announcement, adopted_packages)


def _new_workspace_hint(settings: Settings, *, has_file: bool) -> object:
    """Return how to create a workspace; `has_file` if the task's rows come from a file."""
    if not is_declared(settings):
        return NEW_WORKSPACE_HINT
    if has_file:
        command = CommandHint("try", task=settings.task)
        return f"`{command}` makes one, and asks about a few rows"
    return NEW_WORKSPACE_FOR_QUERY_HINT


def _check_readable(settings: Settings, store: Store, additions: _PlannedAdditions) -> None:
    """Raise ConfigurationError if reading would need a new folder or changes to foreign tables."""
    if not settings.data.is_dir():
        raise ConfigurationError(
            f"there is no workspace in {settings.data}: its database is there ({store.shown}), "
            "its folder is not; nothing was made",
            hint=f"set {OptionHint('data')} to the folder that belongs to that database",
        )
    if additions.adoption_plan:
        planned = "; ".join([*additions.new_objects, *additions.adoption_plan])
        raise ConfigurationError(
            f"a table in {store.shown} is another program's, and was never used by findable; "
            "nothing was changed",
            hint=f"a command that writes asks whether it may add {planned}",
        )


def _confirm_additions(
    store: Store,
    agrees: Callable[[str], bool],
    additions: _PlannedAdditions,
    *,
    is_ours: bool,
) -> None:
    """Ask a person whether tables and columns may be added to another program's database.

    Raises:
        ConfigurationError: The person did not agree.
    """
    planned = [*additions.new_objects, *additions.adoption_plan]
    if not is_ours:
        own_tables = ", ".join(sorted(schema.metadata.tables))
        planned.insert(0, f"tables of its own ({own_tables})")
    planned_text = "; ".join(planned)

    foreign_tables = "a table of another program"
    if additions.other_tables:
        names = first_few(additions.other_tables, MAX_LISTED_TABLES)
        foreign_tables = f"tables of another program ({names})"
    location = f"{store.shown} holds {foreign_tables}"
    _require_consent(
        agrees,
        f"{location}. Add {planned_text}?",
        f"{location}; findable would add {planned_text}; nothing was written",
        f"{OptionHint(yes=True)} agrees; "
        f"or set {OptionHint('database_url')} to a database of its own",
    )


def _confirm_new_folder(settings: Settings, store: Store, agrees: Callable[[str], bool]) -> None:
    """Ask a person whether a workspace may go on without its folder.

    Raises:
        ConfigurationError: The person did not agree.
    """
    lost_folder = (
        f"the workspace in {store.shown} has its files in another folder, "
        f"or lost them: {settings.data} is not"
    )
    _require_consent(
        agrees,
        f"{lost_folder} there. Go on in a new folder, without them?",
        f"{lost_folder} there; nothing was made",
        f"set {OptionHint('data')} to the folder that belongs to that database; "
        f"{OptionHint(yes=True)} makes a new one",
    )


def _require_consent(agrees: Callable[[str], bool], question: str, message: str, hint: str) -> None:
    """Ask a person; raise ConfigurationError with a message and hint if the answer is no."""
    if not agrees(question):
        raise ConfigurationError(message, hint=hint)


def _settings_for_lookup(tx: Connection, settings: Settings, *, makes_tables: bool) -> Settings:
    """Return the settings with which `is_here` finds the shipped tasks of a workspace.

    A shipped task is here if it is the task of the settings or has tables. A command that makes no
    tables must only find those with tables, so its task is left empty. If there is no workspace
    yet, its task is people.
    """
    if makes_tables:
        return settings
    return replace(settings, task="") if schema.is_workspace(tx) else _with_people(settings)


def _plan_additions(
    tx: Connection, settings: Settings, access: Access, *, whole: bool
) -> _PlannedAdditions:
    """Return what a command would add to the database; writes nothing."""
    can_write = access is not Access.READ
    lookup_settings = _settings_for_lookup(tx, settings, makes_tables=can_write and not whole)
    is_ours = schema.is_workspace(tx)
    table_modules = _table_modules_here(tx, lookup_settings)
    adoption_plan = list[str]()
    for module in table_modules:
        adoption_plan.extend(module.adoption_plan(tx, lookup_settings))

    other_tables = [] if is_ours else schema.other_tables(tx)
    kinds_by_name = _missing_tables(tx, lookup_settings) if is_ours or other_tables else {}
    if (is_ours or other_tables) and can_write and is_declared(settings):
        has_task_table = read_object_kind(tx, schema.tasks.name) is not None
        if not has_task_table or declared().recorded_name(tx, settings) is None:
            kinds_by_name |= dict.fromkeys(declared().planned_views(settings), "view")

    new_objects = []
    for kind in ("table", "view"):
        names = [name for name, object_kind in kinds_by_name.items() if object_kind == kind]
        if names:
            plural_s = "s" if len(names) > 1 else ""
            new_objects.append(f"the {kind}{plural_s} {', '.join(names)}")

    if is_ours and new_objects:
        own_tables = set[str]()
        for module in table_modules:
            for name, columns in module.makes(tx, lookup_settings).items():
                if tuple(read_columns(tx, name)) == tuple(columns):
                    own_tables.add(name)
        other_tables = [name for name in schema.other_tables(tx) if name not in own_tables]
    return _PlannedAdditions(other_tables, new_objects, adoption_plan)


def _packages_here(tx: Connection, settings: Settings) -> list[ModuleType]:
    """Return the packages of the shipped tasks that are used in this workspace."""
    return [package for package in rooms() if package.is_here(tx, settings)]


def _adopted_packages(
    tx: Connection, settings: Settings, access: Access, *, whole: bool
) -> list[ModuleType] | None:
    """Return the packages of the shipped tasks that are used here.

    Returns:
        None if this is no workspace, no shipped task is used, or one has tables to adopt.
    """
    makes_tables = access is not Access.READ and not whole
    lookup_settings = _settings_for_lookup(tx, settings, makes_tables=makes_tables)
    packages = _packages_here(tx, lookup_settings) if schema.is_workspace(tx) else []
    is_adopted = all(_table_module(package).is_adopted(tx, lookup_settings) for package in packages)
    return packages if packages and is_adopted else None


def _table_modules_here(tx: Connection, settings: Settings) -> list[ModuleType]:
    """Return the modules `table` of the shipped tasks that are used in this workspace."""
    return [_table_module(package) for package in _packages_here(tx, settings)]


def _missing_tables(tx: Connection, settings: Settings) -> dict[str, str]:
    """Return the missing tables and views of the shipped tasks by name, as "table" or "view"."""
    kinds_by_name = {}
    for module in _table_modules_here(tx, settings):
        for name, columns in module.makes(tx, settings).items():
            if read_object_kind(tx, name) is None:
                kinds_by_name[name] = "table" if columns else "view"
    return kinds_by_name


def never_used(settings: Settings, hint: str) -> ConfigurationError:
    """Return the error of a reading command about a task that has no rows here yet."""
    return ConfigurationError(
        f"the task {settings.task} was never used in {settings.data}; nothing was made", hint=hint
    )


def _no_workspace_error(
    settings: Settings, store: Store, other_tables: list[str], hint: object
) -> ConfigurationError:
    """Return the error that there is no workspace; `hint` says how to create one."""
    location = str(settings.data)
    unchanged = "made"
    if other_tables:
        names = first_few(other_tables, MAX_LISTED_TABLES)
        location = f"{store.shown}, which holds tables of another program ({names})"
        unchanged = "changed"
        hint = (
            f"`{CommandHint('import')}`, `{CommandHint('score')}` or `{CommandHint('tag')}` "
            "says what it would add there, and asks"
        )
    elif settings.database_url is not None:
        location = f"{store.shown} ({OptionHint(data=settings.data)})"
    return ConfigurationError(
        f"there is no workspace in {location}; nothing was {unchanged}", hint=hint
    )


# ---- the folder

# Names that commands write below DATA. Links are checked there only; other files are the user's.
_WRITTEN_NAMES = re.compile(
    r"findable\.db.*|workspace\.json.*|batches|index|locks|reports|sources|emulator|local-engine.*"
)


def make_directory(data: Path) -> None:
    """Create the workspace's directory if it is missing.

    Raises:
        ConfigurationError: It cannot be created.
    """
    with _translate_os_errors(data):
        data.mkdir(parents=True, exist_ok=True)


def is_free(data: Path) -> bool:
    """Return whether a new workspace can begin in a folder: it is missing or empty."""
    return not data.exists() or (data.is_dir() and not any(data.iterdir()))


def check_links(data: Path) -> None:
    """Check that no link in the workspace's directory leads out of it.

    Otherwise a command would change files in other places.

    Raises:
        ConfigurationError: There is such a link, or the path is not valid UTF-8.
    """
    with _translate_os_errors(data):
        if SURROGATES.search(str(data.absolute())):
            raise ConfigurationError(
                f"{data} cannot be the workspace: {data.absolute()} is not valid UTF-8; "
                "nothing was changed",
                hint=f"set {OptionHint('data')} to a directory whose name is",
            )
        root = Path(os.path.realpath(data))
        link = _find_outside_link(root)
    if link is not None:
        raise ConfigurationError(
            f"{data / link.relative_to(root)} is a link that leads out of the workspace, "
            f"to {os.path.realpath(link)}; nothing was changed",
            hint=f"put a real file or folder there, or set {OptionHint('data')} "
            "to the place that the link leads to",
        )


def _find_outside_link(root: Path) -> Path | None:
    """Return the first link that leads out of a directory, among the names that commands write."""
    for top_path in root.glob("*"):
        if not _WRITTEN_NAMES.fullmatch(top_path.name):
            continue
        for path in (top_path, *top_path.rglob("*")):
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(root):
                return path
    return None


@contextlib.contextmanager
def _translate_os_errors(data: Path) -> Iterator[None]:
    """Raise OSErrors of the block as ConfigurationErrors about the workspace's directory."""
    try:
        yield
    except OSError as error:
        reason = "it is a file" if data.is_file() else error.strerror
        raise ConfigurationError(
            f"{data} cannot be the workspace: {reason}; nothing was changed",
            hint=f"set {OptionHint('data')} to a directory that can be written",
        ) from error


# ---- the session


@dataclass
class WorkspaceSession:
    """An open workspace. Costly members are made when they are first used."""

    settings: Settings
    store: "Store"
    backend: str
    display: Progress
    # The task in use.
    task: Task
    # All tasks of the workspace.
    tasks: tuple[Task, ...] = ()
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    asleep: Callable[[float], Awaitable[None]] = lambda seconds: import_module("asyncio").sleep(
        seconds
    )
    # When set, running live calls end as on Ctrl-C.
    stopping: threading.Event = field(default_factory=threading.Event)
    # Budget of this command; the budget of the day is a setting.
    budget: Budget | None = None
    # Asks a person a question; returns the answer.
    agrees: Callable[[str], bool] = lambda _question: False
    # USD that a person agreed to before; None asks above CONFIRM_ABOVE.
    agreed: float | None = None
    is_bound: bool = False
    # The backend is still to be announced; False for a command that only checks it.
    tells_backend: bool = True
    # Models by name and kind.
    _models: dict[tuple[str, Kind], Model] = field(default_factory=dict)
    # The rows of the user task are up to date.
    _is_synced: bool = False
    # When this process first looked for an unclear create, in seconds of the monotonic clock, by
    # batch, try and recorded end of the create.
    first_looks: dict[tuple[int, int, datetime | None], float] = field(default_factory=dict)
    _closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def locks(self) -> Locks:
        """Return the workspace's locks."""
        assert self.store.locks is not None  # noqa: S101 - it was opened
        return self.store.locks

    @property
    def data(self) -> Path:
        """Return the workspace's directory."""
        return self.settings.data

    @cached_property
    def client(self) -> "Client":
        """Return the client of the backend, and announce the backend.

        The local engine is started first, in this process.

        Raises:
            ConfigurationError: No key is set, or the local engine cannot start.
        """
        from pipeline.gemini.client import Client

        settings = self.settings
        is_local = self.backend == "local"
        url = ""
        if not is_local:
            if not settings.api_key:
                raise ConfigurationError(
                    "this workspace uses Gemini, and no key is set",
                    hint="set GEMINI_API_KEY in the environment or in .env",
                )
            url = settings.server.reveal()
        self.tell_backend()
        if is_local:
            url = self._start_local_engine()

        client = Client(
            api_key=settings.api_key.reveal() if settings.api_key and not is_local else LOCAL_KEY,
            base_url=url,
            call_timeout_s=settings.call_timeout,
            create_timeout_s=settings.create_timeout,
            retry_for_s=settings.retry_for,
            first_wait_s=settings.retry_wait,
            trust_env=not is_local,
            sleep=self.sleep,
            now=self.now,
        )
        self._closing.callback(client.close)
        return client

    def _start_local_engine(self) -> str:
        """Start the local engine until the session closes; return its URL."""
        from emulator.server import Server

        try:
            return self._closing.enter_context(Server(self.data)).url
        except (OSError, RuntimeError, sqlite3.Error) as error:
            raise ConfigurationError(
                f"the local engine cannot start in {self.data}: {error}",
                hint="check the directory and its permissions",
            ) from error

    @property
    def model(self) -> Model:
        """Return the model that answers.

        The setting MODEL wins over the task's own model. The local engine ignores the task's model.
        """
        task_model = None
        if self.backend != "local" and "model" not in self.settings.sources:
            task_model = self.task.model
        return self._find_model(task_model or self.settings.model, kind="generate")

    @property
    def embedding_model(self) -> Model:
        """Return the embedding model, after checking that it has vectors of the set width."""
        model = self._find_model(self.settings.embedding_model, kind="embed")
        model.check_dim(self.settings.dim)
        return model

    @property
    def limits(self) -> RateLimits:
        """Return the rate limits of live calls to the model that answers."""
        set_limits = {
            "rpm": self.settings.rpm,
            "tpm": self.settings.tpm,
            "rpd": self.settings.rpd,
        }
        return self.model.limits(self.settings.tier, **set_limits)

    @property
    def extractor(self) -> str:
        """Return the version of new answers: the task's label and the model."""
        return f"{self.task.label}/{self.model.name}"

    def indexes(self, task: Task) -> bool:
        """Return whether a task is indexed; some tasks only are after a first request for it."""
        index = task.index
        return index is not None and (
            not index.when_asked or (self.data / "index" / index.folder).is_dir()
        )

    @property
    def is_indexed(self) -> bool:
        """Return whether the task in use is indexed."""
        return self.indexes(self.task)

    @property
    def collection(self) -> IndexedTask:
        """Return how the task in use is indexed.

        Raises:
            InputError: It is not indexed.
        """
        index = self.task.index
        if index is not None and self.is_indexed:
            return index

        labels = self.task.words
        export_command = labels.step("export", to="answers.csv")
        export_hint = f"`{export_command}` writes what was found in all of them"
        raise InputError(
            f"{labels.many} are not in the search index yet, and cannot be searched",
            hint=self.task.how_to_index or export_hint,
        )

    @property
    def collections(self) -> list[IndexedTask]:
        """Return how each indexed task of the workspace is indexed."""
        return [task.index for task in self.tasks if task.index is not None and self.indexes(task)]

    def task_of(self, name: str) -> Task:
        """Return the task of a name as batches store it; the task in use if none has that name."""
        return next((task for task in self.tasks if task.name == name), self.task)

    def check_any_items(self) -> None:
        """Raise InputError if the task in use has no rows at all."""
        with self.store.read() as tx:
            if not self.task.table(tx).total(tx):
                raise InputError("there is nothing to ask about yet", hint=self.task.how_to_fill)

    def bring_items(self) -> None:
        """Sync the rows of a user task with its file or query, once per session.

        Replaces `task` and `tasks` by the tasks as they are recorded then. Does nothing for a
        built-in task.
        """
        if self._is_synced or not is_declared(self.settings):
            return

        declared().bring_items(
            self.store, self.task, self.settings, at=self.now(), display=self.display
        )
        with self.store.read() as tx:
            user_tasks = declared_tasks(tx, self.settings)
        other_tasks = [task for task in self.tasks if task.name != self.task.name]
        self.task = next(task for task in user_tasks if task.name == self.task.name)
        self.tasks = (*other_tasks, self.task)
        self._is_synced = True

        if self.task.question.declared.temperature is not None and not self.model.takes_temperature:
            self.display.say(
                f"temperature= is not sent: {self.model.name} ignores it, as current models do"
            )

    def bring_index(self) -> None:
        """Sync the rows if possible, and mark the task as indexed by making its index folder.

        If the sync fails, rows of earlier syncs are indexed, with a warning.

        Raises:
            FindableError: The sync failed, and the task has no index.
        """
        try:
            self.bring_items()
        except FindableError as error:
            if self.task.index is None:
                raise
            self.display.warn(f"{error.message}; what was read before is indexed")
        if self.task.index is not None:
            (self.data / "index" / self.task.index.folder).mkdir(parents=True, exist_ok=True)

    def bind(self, tx: "Connection") -> None:
        """Bind the workspace to this backend, in the caller's transaction."""
        workspace.bind_workspace(tx, self.backend, now=self.now())

    def agree(self, question: str, *, nothing: str = "nothing was changed") -> None:
        """Ask a person for confirmation.

        Args:
            nothing: Text of the error about what is unchanged.

        Raises:
            InputError: The person did not confirm.
        """
        if not self.agrees(question):
            raise InputError(
                f"not confirmed; {nothing}", hint=f"{OptionHint(yes=True)} answers yes"
            )

    def spend(self, cost: float, *, nothing: str, always: bool = False, also: str = "") -> None:
        """Check that an estimated cost was agreed to, or ask a person.

        A person is asked above CONFIRM_ABOVE, or if the price is unknown.

        Args:
            cost: Estimate in USD.
            nothing: Text of the error about what is unchanged.
            always: Ask about any cost.
            also: Text after the hint.

        Raises:
            ConfigurationError: The model's price is unknown, and nobody at a terminal can confirm.
            InputError: The person did not confirm, or the estimate is above the agreed amount.
        """
        if not self.model.has_price:
            self.check_price(nothing=nothing)
            always = True
            if not sys.stdin.isatty():
                raise self._missing_price("nobody is here to agree", nothing=nothing)

        if self.agreed is not None:
            if cost > self.agreed + COST_TOLERANCE_USD:
                raise InputError(
                    f"the estimate is ${cost:,.4f} by now, "
                    f"more than the ${self.agreed:,.4f} that was agreed to; {nothing}",
                    hint="look at the estimate again",
                )
        elif (always or cost > self.settings.confirm_above) and not self.agrees("Go on?"):
            raise InputError(
                f"not confirmed; {nothing}", hint=f"{OptionHint(yes=True)} answers yes{also}"
            )

    def check_price(self, *, nothing: str, has_budget: bool = False) -> None:
        """Raise ConfigurationError if costs are limited and the model's price is unknown.

        Args:
            nothing: Text of the error about what is unchanged.
            has_budget: The caller limits the cost.
        """
        is_limited = (
            has_budget
            or self.agreed is not None
            or self.budget is not None
            or self.settings.budget_per_day is not None
        )
        if not self.model.has_price and is_limited:
            raise self._missing_price("a budget needs it", nothing=nothing)

    def _missing_price(self, reason: str, *, nothing: str) -> ConfigurationError:
        """Return the error that the model's price is unknown."""
        return ConfigurationError(
            f"the price of {self.model.name} is not known, and {reason}; {nothing}",
            hint=f"{OptionHint(prices='0.30,2.50')} gives it: USD per 1M tokens in,out",
        )

    def lock(self, name: str) -> contextlib.AbstractContextManager[Lock]:
        """Lock a name for a block; wait for another holder and print who it is."""
        return self.locks.wait(name, say=self.display.say, sleep=self.sleep)

    def close(self) -> None:
        """Close the client, local engine, locks and store.

        The local engine continues its unfinished batches when it is started again.
        """
        self._closing.close()
        self.locks.close()
        self.store.close()

    def tell_backend(self) -> None:
        """Print once which backend works: the first upload notice, or that nothing is uploaded."""
        should_announce = self.tells_backend
        self.tells_backend = False
        if not should_announce:
            return

        message = ""
        if self.backend != "local":
            message = self.leaving
        elif self.settings.backend is None and self.settings.api_key:
            message = "this workspace is bound to the local engine; the key is not used"
        elif self.settings.backend is None:
            message = (
                "no key is set: the local engine does the work, and nothing leaves this machine"
            )
        if message:
            self.display.say(message)

    @property
    def leaving(self) -> str:
        """Return the notice that the next request uploads rows or images for the first time, or ""."""
        if self.backend == "local" or (self.is_bound and not self.task.sends_images):
            return ""
        with self.store.read() as tx:
            if self.is_bound and answers.has_sent_request(tx, self.task.name):
                return ""

        base_url = self.settings.base_url
        service = f"Gemini at {base_url}" if base_url else "Google's Gemini"
        return f"from here on {self.task.words.inputs} leave this machine: {service} does the work"

    def _find_model(self, name: str, *, kind: Kind) -> Model:
        """Return a model by name, and warn once if it is about to be shut down.

        A model outside the table is looked up at the API.

        Raises:
            ConfigurationError: There is no such model, or it needs the other backend.
        """
        from pipeline.gemini.models import UnknownModelError, find_model

        known_model = self._models.get((name, kind))
        if known_model is not None:
            return known_model

        today = self.now().date()
        try:
            model = find_model(name, kind=kind, today=today, extra=self.settings.models_file)
        except UnknownModelError as error:
            if self.backend == "local" or kind == "embed":
                raise
            model = self._describe_model(name.strip().removeprefix("models/"), unknown=error)
        if model.local and self.backend != "local":
            raise ConfigurationError(
                f"{name} is a model of the local engine, and this workspace uses Gemini",
                hint=f"set one of Gemini's: `{CommandHint('prices')}` lists them",
            )
        if warning := model.warning(today):
            self.display.warn(warning)
        self._models[name, kind] = model
        return model

    def _describe_model(self, name: str, *, unknown: ConfigurationError) -> Model:
        """Return a model that is not in the table, as the API describes it.

        Raises:
            ConfigurationError: `unknown`, if the API has no such model or it generates no text.
        """
        from pipeline.gemini.models import unlisted_model

        try:
            description = self.client.get_model(name)
        except (MissingError, RefusedError):
            raise unknown from None
        if "generateContent" not in (description.get("supportedGenerationMethods") or ()):
            raise unknown

        return unlisted_model(
            name,
            prices=self.settings.prices,
            today=self.now().date(),
            input_limit=_positive_int(description.get("inputTokenLimit")),
            output_limit=_positive_int(description.get("outputTokenLimit")),
        )


def _positive_int(number: Any) -> int | None:
    """Return a JSON number if it is a positive integer, else None."""
    return number if isinstance(number, int) and number > 0 else None


# ---- opening


@contextlib.contextmanager
def open_workspace(
    settings: Settings,
    display: Progress,
    *,
    access: Access = Access.CREATE,
    agrees: Callable[[str], bool] = lambda _question: False,
    whole: bool = False,
) -> Iterator[WorkspaceSession]:
    """Open a workspace for a block; create its folder, and create or update its schema, if need be.

    Args:
        agrees: Asks a person a question; returns the answer.
        whole: The command is about the whole workspace. A task that was never used here is replaced
            by people.

    Raises:
        ConfigurationError: `check_access` refused; or the workspace is bound to another backend
            than the settings name, or its folder belongs to another database.
    """
    check_links(settings.data)
    with contextlib.closing(Store(settings.url.reveal())) as store:
        access_settings = _with_people(settings) if whole else settings
        allowed = check_access(access_settings, store, access, agrees, whole=whole)
        if allowed.announcement:
            display.say(allowed.announcement)
        session = _open_session(
            settings, store, display, access, whole=whole, adopted_packages=allowed.adopted_rooms
        )
        with contextlib.closing(session) as opened:
            opened.agrees = agrees
            yield opened


def _open_session(
    settings: Settings,
    store: Store,
    display: Progress,
    access: Access,
    *,
    whole: bool,
    adopted_packages: list[ModuleType] | None,
) -> WorkspaceSession:
    """Make the folder, update the schema, record the task, and return the session.

    Writes the folder's marker if it is missing or names another workspace.

    Raises:
        ConfigurationError: The task or the backend does not fit the workspace.
        InconsistentError: Reading, and tables of a task are missing.
    """
    make_directory(settings.data)
    marker = workspace.read_marker(settings.data)
    if whole:
        settings = _with_task_here(settings, store)
    packages = _prepare_tables(
        settings, store, marker, display, access, whole=whole, adopted_packages=adopted_packages
    )
    if whole:
        with store.read() as tx:
            name = declared().recorded_name(tx, settings) if is_declared(settings) else None
        is_used = any(package.__package__ == f"pipeline.{settings.task}" for package in packages)
        if not (name or is_used):
            settings = _with_people(settings)
    if is_declared(settings):
        can_write = access is not Access.READ
        name = declared().recorded(store, settings, may_write=can_write, display=display)
        settings = replace(settings, task=name)
        if can_write:
            declared().store_preference(store, name, settings, display=display)

    with store.read() as tx:
        workspace_row = workspace.get_workspace(tx)
        lag_s = workspace.read_list_delay_s(tx)
        now = store.clock(tx)
        package_tasks = [package.task_of(tx, settings) for package in packages]
        shipped_tasks = [task for task in package_tasks if task]
        tasks = (*shipped_tasks, *declared_tasks(tx, settings))
    if marker is None or marker.workspace_id != workspace_row.workspace_id:
        location = store.address
        if store.path is not None and not settings.database_url:
            location = store.path.name
        new_marker = workspace.FolderMarker(workspace_row.workspace_id, location)
        workspace.write_marker(settings.data, new_marker)

    _check_backend(settings, workspace_row.backend)
    backend = workspace_row.backend or settings.wanted_backend
    store.locks = Locks(store, settings.data / "locks", workspace_row.workspace_id)
    return WorkspaceSession(
        settings=settings.for_backend(backend, lag_s=lag_s),
        store=store,
        backend=backend,
        display=display,
        task=next(task for task in tasks if task.subject == settings.task),
        tasks=tasks,
        now=now,
        is_bound=workspace_row.backend is not None,
    )


def _check_backend(settings: Settings, bound_backend: str | None) -> None:
    """Check that a workspace is not bound to another backend than the settings name.

    Raises:
        ConfigurationError: It is.
    """
    if bound_backend is None or settings.backend in {None, bound_backend}:
        return

    rollback_hint = ""
    if bound_backend == "local":
        rollback_hint = (
            ", or take back all that the local engine answered: "
            f"`{CommandHint('versions')}` lists it"
        )
    requested_backend = OptionHint(backend=settings.backend)
    raise ConfigurationError(
        f"this workspace is bound to the {bound_backend} backend, "
        f"and {requested_backend} was asked for; nothing was changed",
        hint=f"take another {OptionHint('data')} directory{rollback_hint}",
    )


def _with_task_here(settings: Settings, store: Store) -> Settings:
    """Return the settings with the first used task, if none was named and people is not used."""
    is_named = "task" in settings.sources or settings.task != BUILT_IN_TASKS[0]
    if is_named or not (store.path is None or store.path.exists()):
        return settings

    with store.read() as tx:
        if not schema.is_schema_current(tx):
            return settings
        lookup_settings = _settings_for_lookup(tx, settings, makes_tables=False)
        task_names = [_package_name(package) for package in _packages_here(tx, lookup_settings)]
        task_names.extend(task.name for task in workspace.list_tasks(tx))
    if settings.task in task_names or not task_names:
        return settings
    return replace(settings, task=task_names[0])


def _prepare_tables(
    settings: Settings,
    store: Store,
    marker: workspace.FolderMarker | None,
    display: Progress,
    access: Access,
    *,
    whole: bool,
    adopted_packages: list[ModuleType] | None,
) -> list[ModuleType]:
    """Update the schema and adopt the tables of shipped tasks; return the packages of these tasks.

    A reading command and a command about the `whole` workspace create no table of a task.

    Args:
        marker: The folder's marker; a folder with sealed files must belong to the database.
        adopted_packages: Packages whose tables were just found adopted and are not checked again.

    Raises:
        ConfigurationError: The folder belongs to another database, or the task was never used.
        InconsistentError: Reading, and tables of a task are missing.
    """
    makes_tables = access is not Access.READ and not whole
    sealing_marker = marker if workspace.has_sealed_files(settings.data) else None
    # Opening a SQLite store would create its file.
    if sealing_marker is not None and store.path is not None and not store.path.exists():
        workspace.refuse_folder(settings.data, sealing_marker, f"{store.shown} is not there")

    with store.read() as tx:
        if sealing_marker is not None:
            workspace.check_marker(settings.data, sealing_marker, tx, database_name=store.shown)
        lookup_settings = _settings_for_lookup(tx, settings, makes_tables=makes_tables)
        packages = adopted_packages
        if packages is None:
            packages = _packages_here(tx, lookup_settings)
        has_tasks = packages or (schema.is_workspace(tx) and workspace.list_tasks(tx))
        if not makes_tables and not has_tasks:
            lookup_settings = _with_people(settings)
            packages = _packages_here(tx, lookup_settings)
        if not makes_tables and not whole:
            _check_task_used(settings, packages)

        table_modules = [_table_module(package) for package in packages]
        is_ready = schema.is_schema_current(tx) and (
            adopted_packages is not None
            or all(module.is_adopted(tx, lookup_settings) for module in table_modules)
        )
        if access is Access.READ and not is_ready:
            _check_tables_exist(tx, lookup_settings, store)

    if not is_ready:
        adopters = [partial(module.adopt, settings=lookup_settings) for module in table_modules]
        for line in schema.ensure_schema(store, adopters):
            display.say(line)
    return packages


def _check_task_used(settings: Settings, packages: list[ModuleType]) -> None:
    """Raise ConfigurationError if the task is shipped and not among the used packages."""
    for package in rooms():
        if package.__package__ == f"pipeline.{settings.task}" and package not in packages:
            raise never_used(settings, package.how_to_begin)


def _check_tables_exist(tx: Connection, settings: Settings, store: Store) -> None:
    """Raise InconsistentError if tables of a shipped task are missing."""
    missing_tables = _missing_tables(tx, settings)
    if missing_tables:
        raise InconsistentError(
            f"{store.shown} has no table {' and no table '.join(missing_tables)} any more; "
            "nothing was made",
            hint=f"`{CommandHint('restore')}` puts a backup back; "
            "a command that writes makes it, with no row",
        )


@contextlib.contextmanager
def open_to_look(
    settings: Settings, display: Progress, *, agrees: Callable[[str], bool]
) -> Iterator[WorkspaceSession]:
    """Open the workspace for a block; if there is none, open an empty temporary one.

    For a built-in task the session's task is people and nothing is written. A user task may be
    recorded in an existing workspace; in another program's database a person is asked first.
    """
    is_user_task = is_declared(settings)
    people_settings = _with_people(settings)
    with contextlib.closing(Store(settings.url.reveal())) as store:
        with store.read_unchanged() as tx:
            has_tables = tx is not None and (schema.is_workspace(tx) or schema.other_tables(tx))
        is_new = not has_tables and is_free(settings.data)
        if is_user_task and is_new:
            check_access(settings, store, Access.WRITE, agrees)
        elif is_user_task:
            check_access(people_settings, store, Access.READ, agrees)

    if not is_new:
        session_settings = settings if is_user_task else people_settings
        access = Access.WRITE if is_user_task else Access.READ
        with open_workspace(session_settings, display, access=access, agrees=agrees) as ws:
            yield ws
        return

    display.say(f"{settings.data} holds no workspace, and gets none: this looks at a temporary one")
    with (
        tempfile.TemporaryDirectory() as folder,
        open_workspace(replace(settings, data=Path(folder), database_url=None), display) as ws,
    ):
        yield ws
