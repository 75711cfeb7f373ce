"""Open a workspace for a command: a session with its store, settings, clock and client, and the tasks it has.

First it is decided whether the command may use the folder and database that the settings name. A reading command
changes nothing that is not a workspace yet, and makes none where a name was mistyped. The first writing command in
another program's database says what it will add, and asks. A folder in which a link leads elsewhere is refused.

A subject is a room of the pipeline that has a module `import_`; no room below names one.
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
from itertools import chain
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
from pipeline.core.settings import BUILT_IN, Budget, Settings
from pipeline.core.text import BAD_TEXT, first_few
from pipeline.engine.task import IndexedTask, Task
from pipeline.gemini.models import Kind, Model, RateLimits
from pipeline.store import answers, schema, workspace
from pipeline.store.database import Connection, Store
from pipeline.store.locks import Lock, Locks
from pipeline.tables.adopt import columns_of, kind_of

if TYPE_CHECKING:
    from pipeline.gemini.client import Client

TO_BEGIN = HintTemplate(
    "`{}` makes one from a file, and `{}` shows how all of it works",
    CommandHint("import"),
    CommandHint("demo"),
)
OF_QUERY = HintTemplate(
    "`{}` makes one from a folder; a query needs the database that it reads",
    CommandHint("import-images"),
)
SHOWN = 5  # names of tables in a message
LOCAL_KEY = (
    "key-of-the-local-engine"  # it takes any; this one says whose it is, and is no word of an error
)
ROUNDED = 1e-6  # USD that a cost which was shown may differ by


@cache
def rooms() -> tuple[ModuleType, ...]:
    """Return the package of every subject, by their names: the rooms that import.

    Each says `how_to_begin`, whether the subject `is_here`, and `task_of` returns its task, None where that comes with
    the declared ones. Its module `table` says whether the tables are adopted (`is_adopted`), what adopting would add to
    those of another program (`adoption_plan`), which ones it makes (`makes`), and does it (`adopt`).
    """
    found = sorted(path.parent.name for path in Path(__file__).parents[1].glob("*/import_.py"))
    return tuple(import_module(f"pipeline.{name}") for name in found)


def tables_of(room: ModuleType) -> ModuleType:
    """Return the module `table` of a subject's room."""
    return import_module(f"{room.__package__}.table")


def declared() -> Any:
    """Return the module that carries out declared tasks."""
    return import_module("pipeline.engine.task_registry")


def is_declared(settings: Settings) -> bool:
    """Return whether TASK= names a task of a user's own."""
    return settings.task not in BUILT_IN


def of_people(settings: Settings) -> Settings:
    """Return the settings with people in the place of their task."""
    return replace(settings, task=BUILT_IN[0])


def with_default_task(settings: Settings, *, may_be_several: bool = False) -> Settings:
    """Return the settings with the task that is meant if TASK= is not given.

    This is the only place that decides it, for commands, the page and Python. A workspace without people in which one
    other task was used is about that task. If there `may_be_several` of them, it is about the first, unless the table
    of people is there. Any other workspace is about people. Nothing is written.

    Raises:
        InputError: there are no people and several tasks, unless there `may_be_several`; the tasks are listed.
    """
    if "task" in settings.sources:
        return settings
    check_links(settings.data)
    with contextlib.closing(Store(settings.url.reveal())) as store, store.read_unchanged() as tx:
        if tx is None or not schema.is_schema_current(tx):
            return settings
        subjects = {
            str(room.__package__).rpartition(".")[2]: room
            for room in rooms()
            if room.is_here(tx, settings)
        }
        people = subjects.pop(settings.task)
        names = list(dict.fromkeys([*subjects, *(task.name for task in workspace.list_tasks(tx))]))
        has_people = (
            not _missing_tables(tx, settings)
            and people.task_of(tx, settings).table(tx).total(tx) > 0
        )
        if not names or has_people:
            return settings
        has_people_table = people.is_here(
            tx, replace(settings, task="")
        )  # the task itself counts as here
    if may_be_several and len(names) > 1 and has_people_table:
        return settings
    if may_be_several or len(names) == 1:
        return replace(settings, task=names[0])
    said = f"this workspace has no people, and several tasks: {', '.join(names)}; nothing was done"
    raise InputError(said, hint=f"{OptionHint(task=names[0])} names the one that is meant")


def declared_tasks(tx: Connection, settings: Settings) -> tuple[Task, ...]:
    """Return the tasks that users declared here."""
    return declared().declared_tasks(tx, settings) if workspace.list_tasks(tx) else ()


# ---- whether it may be opened, and by whom


class Access(Enum):
    """What a command does to a workspace: reads it, writes to one that is there, or makes one where there is none."""

    READ = "read"
    WRITE = "write"
    CREATE = "create"


class AllowedAccess(NamedTuple):
    """What `check_access` returns for a command that may go on."""

    # Which workspace will be made; empty if there is one.
    announcement: str = ""
    # The rooms of the subjects that are here, if all their tables were found adopted; else None.
    adopted_rooms: list[ModuleType] | None = None


def check_access(
    settings: Settings,
    store: Store,
    access: Access,
    agrees: Callable[[str], bool],
    *,
    whole: bool = False,
) -> AllowedAccess:
    """Refuse a command that may not use the workspace, or ask a person whether it may; nothing is written.

    What is about the `whole` of a workspace adds no table of a subject.
    """
    if any(one.is_file() for one in (settings.data, *settings.data.parents)):
        return AllowedAccess()  # it cannot be a folder, which opening it says
    with store.read_unchanged() as tx:
        is_ours = tx is not None and schema.is_workspace(tx)
        others, made, plan = (
            ([], [], []) if tx is None else _added(tx, settings, access, whole=whole)
        )
        adopted_rooms = None if tx is None else _adopted_rooms(tx, settings, access, whole=whole)
    if (
        not is_ours
        and tx is None
        and access is not Access.CREATE
        and workspace.holds_sealed_files(settings.data)
    ):
        return (
            AllowedAccess()
        )  # whose database is missing: refused by what the folder's marker says
    has_file = False
    if not is_ours and is_declared(settings):
        has_file = declared().check_declarable(settings, store)
        access = (
            Access.CREATE if access is Access.WRITE and has_file else access
        )  # its items come with it
    is_there = is_ours or (access is Access.WRITE and tx is not None)
    if access is not Access.CREATE and not is_there:
        own = (
            f"`{CommandHint('try', task=settings.task)}` makes one, and asks about a few rows"
            if has_file
            else OF_QUERY
        )
        raise _no_workspace(
            settings, store, others, to_begin=own if is_declared(settings) else TO_BEGIN
        )
    if access is Access.READ:
        if not settings.data.is_dir():
            said = f"there is no workspace in {settings.data}: its database is there ({store.shown}), its folder is not"
            hint = f"set {OptionHint('data')} to the folder that belongs to that database"
            raise ConfigurationError(f"{said}; nothing was made", hint=hint)
        if plan:
            said = f"a table in {store.shown} is another program's, and was never used by findable; nothing was changed"
            hint = f"a command that writes asks whether it may add {'; '.join([*made, *plan])}"
            raise ConfigurationError(said, hint=hint)
    elif others or plan:
        engine = (
            [] if is_ours else [f"tables of its own ({', '.join(sorted(schema.metadata.tables))})"]
        )
        added = "; ".join([*engine, *made, *plan])
        several = f"tables of another program ({first_few(others, SHOWN)})"
        whose = f"{store.shown} holds {several if others else 'a table of another program'}"
        hint = f"{OptionHint(yes=True)} agrees; or set {OptionHint('database_url')} to a database of its own"
        _agreed(
            agrees,
            f"{whose}. Add {added}?",
            f"{whose}; findable would add {added}; nothing was written",
            hint,
        )
    elif is_ours and not settings.data.is_dir():
        lost = f"the workspace in {store.shown} has its files in another folder, or lost them: {settings.data} is not"
        hint = (
            f"set {OptionHint('data')} to the folder that belongs to that database; "
            f"{OptionHint(yes=True)} makes a new one"
        )
        _agreed(
            agrees,
            f"{lost} there. Go on in a new folder, without them?",
            f"{lost} there; nothing was made",
            hint,
        )
    announcement = "" if is_ours else f"a new workspace: {settings.data}, database {store.shown}"
    return AllowedAccess(announcement, adopted_rooms)


def _settings_for_lookup(tx: Connection, settings: Settings, *, makes_tables: bool) -> Settings:
    """Return the settings with which `is_here` finds the subjects of a workspace.

    A subject is here if it is the task or has tables. A command that makes no tables must only find those with
    tables, so its task is left empty. If there is no workspace yet, its task is people.
    """
    if makes_tables:
        return settings
    return replace(settings, task="") if schema.is_workspace(tx) else of_people(settings)


def _added(
    tx: Connection, settings: Settings, access: Access, *, whole: bool
) -> tuple[list[str], list[str], list[str]]:
    seen = _settings_for_lookup(tx, settings, makes_tables=access is not Access.READ and not whole)
    is_ours = schema.is_workspace(tx)
    rooms_here = _tables_here(tx, seen)
    plan = [line for one in rooms_here for line in one.adoption_plan(tx, seen)]
    others = [] if is_ours else schema.other_tables(tx)
    found = _missing_tables(tx, seen) if is_ours or others else {}
    is_own = bool(is_ours or others) and access is not Access.READ and is_declared(settings)
    if is_own and (
        kind_of(tx, schema.tasks.name) is None or declared().recorded_name(tx, settings) is None
    ):
        found |= dict.fromkeys(declared().planned_views(settings), "view")
    by_kind = {
        kind: [name for name, one in found.items() if one == kind] for kind in ("table", "view")
    }
    made = [
        f"the {kind}{'s' * (len(some) > 1)} {', '.join(some)}"
        for kind, some in by_kind.items()
        if some
    ]
    if is_ours and made:
        wanted = [one for room in rooms_here for one in room.makes(tx, seen).items()]
        ours = {name for name, columns in wanted if tuple(columns_of(tx, name)) == tuple(columns)}
        others = [name for name in schema.other_tables(tx) if name not in ours]
    return others, made, plan


def _rooms_here(tx: Connection, settings: Settings) -> list[ModuleType]:
    return [room for room in rooms() if room.is_here(tx, settings)]


def _adopted_rooms(
    tx: Connection, settings: Settings, access: Access, *, whole: bool
) -> list[ModuleType] | None:
    """Return the rooms of the subjects that are here; None if this is no workspace, or one has tables to adopt."""
    seen = _settings_for_lookup(tx, settings, makes_tables=access is not Access.READ and not whole)
    here = _rooms_here(tx, seen) if schema.is_workspace(tx) else []
    is_adopted = all(tables_of(room).is_adopted(tx, seen) for room in here)
    return here if here and is_adopted else None


def _tables_here(tx: Connection, settings: Settings) -> list[ModuleType]:
    return [tables_of(room) for room in _rooms_here(tx, settings)]


def _missing_tables(tx: Connection, settings: Settings) -> dict[str, str]:
    wanted = [
        one for room in _tables_here(tx, settings) for one in room.makes(tx, settings).items()
    ]
    return {
        name: "table" if columns else "view"
        for name, columns in wanted
        if kind_of(tx, name) is None
    }


def never_used(settings: Settings, hint: str) -> ConfigurationError:
    """Return the error for a command that reads, where nothing was brought in for a task, and so nothing asked."""
    said = f"the task {settings.task} was never used in {settings.data}; nothing was made"
    return ConfigurationError(said, hint=hint)


def _no_workspace(
    settings: Settings, store: Store, others: list[str], *, to_begin: object
) -> ConfigurationError:
    where = str(settings.data)
    left = "made"
    if others:
        where = f"{store.shown}, which holds tables of another program ({first_few(others, SHOWN)})"
        left = "changed"
        to_begin = (
            f"`{CommandHint('import')}`, `{CommandHint('score')}` or `{CommandHint('tag')}` "
            "says what it would add there, and asks"
        )
    elif settings.database_url is not None:
        where = f"{store.shown} ({OptionHint(data=settings.data)})"
    return ConfigurationError(
        f"there is no workspace in {where}; nothing was {left}", hint=to_begin
    )


def _agreed(agrees: Callable[[str], bool], question: str, said: str, hint: str) -> None:
    if not agrees(question):
        raise ConfigurationError(said, hint=hint)


# ---- its folder

# Where commands write: a link that leads out is refused. A user's own files may stand beside and be what they like
_WRITTEN = re.compile(
    r"findable\.db.*|workspace\.json.*|batches|index|locks|reports|sources|emulator|local-engine.*"
)


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
            raise ConfigurationError(
                said, hint=f"set {OptionHint('data')} to a directory whose name is"
            )
        home = Path(os.path.realpath(data))
        ours = (one for one in home.glob("*") if _WRITTEN.fullmatch(one.name))
        links = (one for top in ours for one in chain([top], top.rglob("*")) if one.is_symlink())
        link = next(
            (one for one in links if not Path(os.path.realpath(one)).is_relative_to(home)), None
        )
    if link is not None:
        said = f"{data / link.relative_to(home)} is a link that leads out of the workspace, to {os.path.realpath(link)}"
        hint = f"put a real file or folder there, or set {OptionHint('data')} to the place that the link leads to"
        raise ConfigurationError(f"{said}; nothing was changed", hint=hint)


@contextlib.contextmanager
def _refusing(data: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        found = "it is a file" if data.is_file() else error.strerror
        raise ConfigurationError(
            f"{data} cannot be the workspace: {found}; nothing was changed",
            hint=f"set {OptionHint('data')} to a directory that can be written",
        ) from error


# ---- the session


@dataclass
class WorkspaceSession:
    """An open workspace. What is costly to make is made when first used."""

    settings: Settings
    store: "Store"
    backend: str
    display: Progress
    task: Task
    tasks: tuple[Task, ...] = ()  # all that this workspace has, whichever is worked on
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    asleep: Callable[[float], Awaitable[None]] = lambda seconds: import_module("asyncio").sleep(
        seconds
    )
    stopping: threading.Event = field(
        default_factory=threading.Event
    )  # set, it ends what asks as Ctrl-C does
    budget: Budget | None = None  # of this command; that of the day is a setting
    agrees: Callable[[str], bool] = lambda _question: False  # asks a person
    agreed: float | None = (
        None  # USD that a person agreed to before; None: asked above CONFIRM_ABOVE
    )
    is_bound: bool = False
    tells_backend: bool = (
        True  # whether `tell_backend` has anything to say; false for a command that only checks it
    )
    _models: dict[tuple[str, Kind], Model] = field(
        default_factory=dict
    )  # those that were looked up
    _is_brought: bool = False  # the items of a declared task are up to date
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
        """Return the client of the backend; on the local backend the engine is started first, inside this process."""
        from pipeline.gemini.client import Client

        settings = self.settings
        local = self.backend == "local"
        url = ""
        if not local:
            if not settings.api_key:
                hint = "set GEMINI_API_KEY in the environment or in .env"
                raise ConfigurationError("this workspace uses Gemini, and no key is set", hint=hint)
            url = settings.server.reveal()
        self.tell_backend()
        if local:
            from emulator.server import Server

            try:
                url = self._closing.enter_context(Server(self.data)).url
            except (OSError, RuntimeError, sqlite3.Error) as error:
                said = f"the local engine cannot start in {self.data}: {error}"
                raise ConfigurationError(
                    said, hint="check the directory and its permissions"
                ) from error
        client = Client(
            api_key=settings.api_key.reveal() if settings.api_key and not local else LOCAL_KEY,
            base_url=url,
            call_timeout_s=settings.call_timeout,
            create_timeout_s=settings.create_timeout,
            retry_for_s=settings.retry_for,
            first_wait_s=settings.retry_wait,
            trust_env=not local,
            sleep=self.sleep,
            now=self.now,
        )
        self._closing.callback(client.close)
        return client

    @property
    def model(self) -> Model:
        """Return the model that answers."""
        own = (
            self.task.model
            if self.backend != "local" and "model" not in self.settings.sources
            else None
        )
        return self._model(own or self.settings.model, kind="generate")

    @property
    def embedding_model(self) -> Model:
        """Return the model that embeds, which gives vectors of the width that is set."""
        model = self._model(self.settings.embedding_model, kind="embed")
        model.check_dim(self.settings.dim)
        return model

    @property
    def limits(self) -> RateLimits:
        """Return what may be asked live of the model that answers, a minute and a day."""
        set_here = {"rpm": self.settings.rpm, "tpm": self.settings.tpm, "rpd": self.settings.rpd}
        return self.model.limits(self.settings.tier, **set_here)

    @property
    def extractor(self) -> str:
        """Return what an answer is attributed to: the version of prompt and schema, and the model."""
        return f"{self.task.label}/{self.model.name}"

    def indexes(self, task: Task) -> bool:
        """Return whether what a task answers goes into an index: some do so only once that was asked for."""
        index = task.index
        return index is not None and (
            not index.when_asked or (self.data / "index" / index.folder).is_dir()
        )

    @property
    def is_indexed(self) -> bool:
        """Return whether what the task in use answers goes into an index."""
        return self.indexes(self.task)

    @property
    def collection(self) -> IndexedTask:
        """Return what of the task in use is indexed."""
        words = self.task.words
        index = self.task.index
        if index is None or not self.is_indexed:
            export = (
                f"`{words.step('export', to='answers.csv')}` writes what was found in all of them"
            )
            said = f"{words.many} are not in the search index yet, and cannot be searched"
            raise InputError(said, hint=self.task.how_to_index or export)
        return index

    @property
    def collections(self) -> list[IndexedTask]:
        """Return what is indexed of all tasks, whichever is worked on."""
        return [one.index for one in self.tasks if one.index is not None and self.indexes(one)]

    def task_of(self, name: str) -> Task:
        """Return the task of a batch, by the name its row has; the one in use where none has that name."""
        return next((one for one in self.tasks if one.name == name), self.task)

    def check_any_items(self) -> None:
        """Tell an empty workspace from one where no item is left to ask about."""
        with self.store.read() as tx:
            if not self.task.table(tx).total(tx):
                raise InputError("there is nothing to ask about yet", hint=self.task.how_to_fill)

    def bring_items(self) -> None:
        """Bring the items of a declared task up to date with their file or query, once a command, before it asks."""
        if self._is_brought or not is_declared(self.settings):
            return
        declared().bring_items(
            self.store, self.task, self.settings, at=self.now(), display=self.display
        )
        with self.store.read() as tx:
            found = declared_tasks(tx, self.settings)
        others = (one for one in self.tasks if one.name != self.task.name)
        self.task = next(one for one in found if one.name == self.task.name)
        self.tasks = (*others, self.task)
        self._is_brought = True
        if self.task.question.declared.temperature is not None and not self.model.takes_temperature:
            self.display.say(
                f"temperature= is not sent: {self.model.name} ignores it, as current models do"
            )

    def bring_index(self) -> None:
        """Bring the items of a declared task up to date where that can be; from here on they are indexed."""
        try:
            self.bring_items()
        except FindableError as error:
            if self.task.index is None:  # nothing was read before that could be indexed
                raise
            self.display.warn(f"{error.message}; what was read before is indexed")
        if self.task.index is not None:
            (self.data / "index" / self.task.index.folder).mkdir(parents=True, exist_ok=True)

    def bind(self, tx: "Connection") -> None:
        """Bind the workspace to this backend, in the transaction that keeps its first trace."""
        workspace.bind_workspace(tx, self.backend, at=self.now())

    def agree(self, question: str, *, nothing: str = "nothing was changed") -> None:
        """Pass where a person says yes. InputError where nobody does; `nothing` says what was left as it was."""
        if not self.agrees(question):
            raise InputError(
                f"not confirmed; {nothing}", hint=f"{OptionHint(yes=True)} answers yes"
            )

    def spend(self, cost: float, *, nothing: str, always: bool = False, also: str = "") -> None:
        """Pass where an estimate in USD was agreed to; a person is asked above CONFIRM_ABOVE, or `always`.

        Raises:
            ConfigurationError: The model's price is not known, and nobody at a terminal can say yes.
            InputError: The person said no, or the estimate is more than was agreed to.
        """
        if not self.model.has_price:
            self.check_price(nothing=nothing)
            always = True
            if not sys.stdin.isatty():
                raise self._missing_price("nobody is here to agree", nothing=nothing)
        if self.agreed is not None:
            if cost > self.agreed + ROUNDED:
                said = f"the estimate is ${cost:,.4f} by now, more than the ${self.agreed:,.4f} that was agreed to"
                raise InputError(f"{said}; {nothing}", hint="look at the estimate again")
        elif (always or cost > self.settings.confirm_above) and not self.agrees("Go on?"):
            raise InputError(
                f"not confirmed; {nothing}", hint=f"{OptionHint(yes=True)} answers yes{also}"
            )

    def check_price(self, *, nothing: str, has_budget: bool = False) -> None:
        """Refuse to ask a model whose price is not known within a budget, or within an amount agreed to before."""
        is_bounded = has_budget or self.agreed is not None or self.budget is not None
        if not self.model.has_price and (is_bounded or self.settings.budget_per_day is not None):
            raise self._missing_price("a budget needs it", nothing=nothing)

    def _missing_price(self, reason: str, *, nothing: str) -> ConfigurationError:
        return ConfigurationError(
            f"the price of {self.model.name} is not known, and {reason}; {nothing}",
            hint=f"{OptionHint(prices='0.30,2.50')} gives it: USD per 1M tokens in,out",
        )

    def lock(self, name: str) -> contextlib.AbstractContextManager[Lock]:
        """Hold a lock for the length of a block, waiting for who has it and saying who that is."""
        return self.locks.wait(name, say=self.display.say, sleep=self.sleep)

    def close(self) -> None:
        """Close what was opened, the local engine included; a batch it works on goes on where it was next time."""
        self._closing.close()
        self.locks.close()
        self.store.close()

    def tell_backend(self) -> None:
        """Say once a run what a person should know of where the work is done."""
        tells = self.tells_backend
        self.tells_backend = False
        said = ""
        if tells and self.backend != "local":
            said = self.leaving
        elif tells and self.settings.backend is None:
            said = "no key is set: the local engine does the work, and nothing leaves this machine"
            if self.settings.api_key:
                said = "this workspace is bound to the local engine; the key is not used"
        if said:
            self.display.say(said)

    @property
    def leaving(self) -> str:
        """Return a line on what the next request sends off this machine for the first time; empty where nothing."""
        if self.backend == "local" or (self.is_bound and not self.task.sends_images):
            return ""
        with self.store.read() as tx:
            if self.is_bound and answers.is_anything_sent(tx, self.task.name):
                return ""
        where = f"Gemini at {at}" if (at := self.settings.base_url) else "Google's Gemini"
        return f"from here on {self.task.words.inputs} leave this machine: {where} does the work"

    def _model(self, name: str, *, kind: Kind) -> Model:
        from pipeline.gemini.models import UnknownModelError, find_model

        if found := self._models.get((name, kind)):
            return found
        today = self.now().date()
        try:
            model = find_model(name, kind=kind, today=today, extra=self.settings.models_file)
        except UnknownModelError as error:
            if self.backend == "local" or kind == "embed":
                raise
            model = self._describe_model(name.strip().removeprefix("models/"), unknown=error)
        if model.local and self.backend != "local":
            said = f"{name} is a model of the local engine, and this workspace uses Gemini"
            raise ConfigurationError(
                said, hint=f"set one of Gemini's: `{CommandHint('prices')}` lists them"
            )
        if warning := model.warning(today):
            self.display.warn(warning)
        self._models[name, kind] = model
        return model

    def _describe_model(self, name: str, *, unknown: ConfigurationError) -> Model:
        """Return a model that the table does not know as the API describes it; raise `unknown` if it has none."""
        from pipeline.gemini.models import unlisted_model

        try:
            description = self.client.get_model(name)
        except (MissingError, RefusedError):
            raise unknown from None
        if "generateContent" not in (description.get("supportedGenerationMethods") or ()):
            raise unknown

        limits = {
            member: description.get(member) for member in ("inputTokenLimit", "outputTokenLimit")
        }
        input_limit, output_limit = (
            value if isinstance(value, int) and value > 0 else None for value in limits.values()
        )
        return unlisted_model(
            name,
            prices=self.settings.prices,
            today=self.now().date(),
            input_limit=input_limit,
            output_limit=output_limit,
        )


# ---- opened


@contextlib.contextmanager
def open_workspace(
    settings: Settings,
    display: Progress,
    *,
    access: Access = Access.CREATE,
    agrees: Callable[[str], bool] = lambda _question: False,
    whole: bool = False,
) -> Iterator[WorkspaceSession]:
    """Open a workspace for the length of a block, making or mending its schema first; see `check_access`.

    What is about the `whole` of it takes a task that was never used here as the built-in one. ConfigurationError where
    there is none, and `access` does not make one; what would be added to another program's database was not agreed to;
    the workspace is bound to another backend than the one asked for, or its files belong to another database than the
    one that is set.
    """
    check_links(settings.data)
    with contextlib.closing(Store(settings.url.reveal())) as store:
        settings_of_access = of_people(settings) if whole else settings
        allowed = check_access(settings_of_access, store, access, agrees, whole=whole)
        if allowed.announcement:
            display.say(allowed.announcement)
        session = _opened(
            settings, store, display, access, whole=whole, adopted_rooms=allowed.adopted_rooms
        )
        with contextlib.closing(session) as opened:
            opened.agrees = agrees
            yield opened


def _opened(
    settings: Settings,
    store: Store,
    display: Progress,
    access: Access,
    *,
    whole: bool,
    adopted_rooms: list[ModuleType] | None,
) -> WorkspaceSession:
    make_directory(settings.data)
    found = workspace.find_marker(settings.data)
    if whole:
        settings = _with_task_here(settings, store)
    here = _rooms_of(
        settings, store, found, display, access, whole=whole, adopted_rooms=adopted_rooms
    )
    if whole:
        with store.read() as tx:
            name = declared().recorded_name(tx, settings) if is_declared(settings) else None
        is_here = any(one.__package__ == f"pipeline.{settings.task}" for one in here)
        settings = settings if name or is_here else of_people(settings)
    if is_declared(settings):
        name = declared().recorded(
            store, settings, may_write=access is not Access.READ, display=display
        )
        settings = replace(settings, task=name)
        if access is not Access.READ:
            declared().store_preference(store, name, settings, display=display)
    with store.read() as tx:
        row = workspace.get_workspace(tx)
        lag = workspace.list_lag(tx)
        now = store.clock(tx)
        made = [room.task_of(tx, settings) for room in here]
        tasks = (*filter(None, made), *declared_tasks(tx, settings))
    if found is None or found.workspace_id != row.workspace_id:
        where = store.address if settings.database_url or store.path is None else store.path.name
        workspace.write_marker(settings.data, workspace.FolderMarker(row.workspace_id, where))
    if row.backend is not None and settings.backend not in (None, row.backend):
        local = row.backend == "local"
        way = (
            f", or take back all that the local engine answered: `{CommandHint('versions')}` lists it"
            if local
            else ""
        )
        asked_for = OptionHint(backend=settings.backend)
        said = (
            f"this workspace is bound to the {row.backend} backend, and {asked_for} was asked for"
        )
        raise ConfigurationError(
            f"{said}; nothing was changed", hint=f"take another {OptionHint('data')} directory{way}"
        )
    backend = row.backend or settings.wanted_backend
    store.locks = Locks(store, settings.data / "locks", row.workspace_id)
    return WorkspaceSession(
        settings=settings.for_backend(backend, lag_s=lag),
        store=store,
        backend=backend,
        display=display,
        task=next(one for one in tasks if one.subject == settings.task),
        tasks=tasks,
        now=now,
        is_bound=row.backend is not None,
    )


def _with_task_here(settings: Settings, store: Store) -> Settings:
    """Return the settings with the first task that is here, if none was named and people were never brought in."""
    is_named = "task" in settings.sources or settings.task != BUILT_IN[0]
    if is_named or not (store.path is None or store.path.exists()):
        return settings
    with store.read() as tx:
        if not schema.is_schema_current(tx):
            return settings
        seen = _settings_for_lookup(tx, settings, makes_tables=False)
        subjects = [
            str(room.__package__).rpartition(".")[2] for room in rooms() if room.is_here(tx, seen)
        ]
        tasks = [*subjects, *(one.name for one in workspace.list_tasks(tx))]
    is_there = settings.task in tasks or not tasks
    return settings if is_there else replace(settings, task=tasks[0])


def _rooms_of(
    settings: Settings,
    store: Store,
    found: workspace.FolderMarker | None,
    display: Progress,
    access: Access,
    *,
    whole: bool,
    adopted_rooms: list[ModuleType] | None,
) -> list[ModuleType]:
    """Return the rooms of the subjects that are here, the schema brought up to date and their tables adopted.

    What reads, or is about the `whole`, makes no table or view of a subject. Tables that were just found adopted are
    not looked at once more.
    """
    makes_tables = access is not Access.READ and not whole
    sealed_by = found if workspace.holds_sealed_files(settings.data) else None
    if (
        sealed_by is not None and store.path is not None and not store.path.exists()
    ):  # opening it would make it
        workspace.refuse_folder(settings.data, sealed_by, f"{store.shown} is not there")
    with store.read() as tx:
        if sealed_by is not None:
            workspace.check_marker(settings.data, sealed_by, tx, shown=store.shown)
        seen = _settings_for_lookup(tx, settings, makes_tables=makes_tables)
        here = _rooms_here(tx, seen) if adopted_rooms is None else adopted_rooms
        if not (makes_tables or here or (schema.is_workspace(tx) and workspace.list_tasks(tx))):
            seen = of_people(settings)
            here = _rooms_here(tx, seen)
        room = next(
            (one for one in rooms() if one.__package__ == f"pipeline.{settings.task}"), None
        )
        if not (makes_tables or whole or room is None or room in here):
            raise never_used(settings, room.how_to_begin)
        tables = [tables_of(room) for room in here]
        is_ready = schema.is_schema_current(tx) and (
            adopted_rooms is not None or all(one.is_adopted(tx, seen) for one in tables)
        )
        if access is Access.READ and not is_ready and (gone := _missing_tables(tx, seen)):
            raise InconsistentError(
                f"{store.shown} has no table {' and no table '.join(gone)} any more; nothing was made",
                hint=f"`{CommandHint('restore')}` puts a backup back; a command that writes makes it, with no row",
            )
    if not is_ready:
        for line in schema.ensure_schema(
            store, [partial(one.adopt, settings=seen) for one in tables]
        ):
            display.say(line)
    return here


@contextlib.contextmanager
def open_to_look(
    settings: Settings, display: Progress, *, agrees: Callable[[str], bool]
) -> Iterator[WorkspaceSession]:
    """Open the workspace for the length of a block; where nothing is yet, an empty one that is gone afterwards.

    For a built-in task people are what it is opened with, so that no table is made; a task of one's own may be recorded
    in a workspace that is there, which is asked in another program's database.
    """
    is_own = is_declared(settings)
    people = of_people(settings)
    with contextlib.closing(Store(settings.url.reveal())) as store:
        with store.read_unchanged() as tx:
            is_new = tx is None or not (schema.is_workspace(tx) or schema.other_tables(tx))
            is_new = is_new and is_free(settings.data)
        if is_own:
            check_access(
                settings if is_new else people,
                store,
                Access.WRITE if is_new else Access.READ,
                agrees,
            )
    if not is_new:
        opens, access = (settings, Access.WRITE) if is_own else (people, Access.READ)
        with open_workspace(opens, display, access=access, agrees=agrees) as ws:
            yield ws
        return
    display.say(f"{settings.data} holds no workspace, and gets none: this looks at a temporary one")
    with (
        tempfile.TemporaryDirectory() as made,
        open_workspace(replace(settings, data=Path(made), database_url=None), display) as ws,
    ):
        yield ws
