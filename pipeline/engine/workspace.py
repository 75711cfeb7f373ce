"""Open a workspace for a command: a session with its store, settings, clock and client, and the tasks it has.

First `access` decides whether the command may use the folder and database that the settings name. A folder in which a
link leads to what lies elsewhere is refused.
"""

import contextlib
import sqlite3
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from pipeline.core.errors import ConfigurationError, FindableError, InconsistentError, InputError
from pipeline.core.progress import Progress
from pipeline.core.settings import Budget, Settings
from pipeline.core.step import Option, Step
from pipeline.engine import access as allowed
from pipeline.engine.access import Access, check_access, declared, is_declared, of_people
from pipeline.store import answers, schema, workspace
from pipeline.store.database import Connection, Store
from pipeline.store.locks import Lock, Locks

if TYPE_CHECKING:
    from pipeline.engine.task import Indexed, Task
    from pipeline.gemini.client import Client
    from pipeline.gemini.models import Kind, Model, RateLimits


LOCAL_KEY = "key-of-the-local-engine"  # it takes any; this one says whose it is, and is no word of an error
ROUNDED = 1e-6  # USD that a cost which was shown may differ by


# ---- the session


@dataclass
class OpenWorkspace:
    """An open workspace. What is costly to make is made when first used."""

    settings: Settings
    store: "Store"
    backend: str
    display: Progress
    task: "Task"
    tasks: "tuple[Task, ...]" = ()  # all that this workspace has, whichever is worked on
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    asleep: Callable[[float], Awaitable[None]] = lambda seconds: import_module("asyncio").sleep(seconds)
    stopping: threading.Event = field(default_factory=threading.Event)  # set, it ends what asks as Ctrl-C does
    budget: Budget | None = None  # of this command; that of the day is a setting
    agrees: Callable[[str], bool] = lambda _question: False  # asks a person
    agreed: float | None = None  # USD that a person agreed to before; None: asked above CONFIRM_ABOVE
    is_bound: bool = False
    tells_backend: bool = True  # whether `tell_backend` has anything to say; false for a command that only checks it
    _models: "dict[tuple[str, Kind], Model]" = field(default_factory=dict)  # those that were looked up
    _is_brought: bool = False  # the items of a declared task are up to date
    _begins_index: bool = False  # of the task in use, which is indexed from its first build on
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

        settings, base_url = self.settings, self.settings.base_url
        local = self.backend == "local"
        if not local and not settings.api_key:
            hint = "set GEMINI_API_KEY in the environment or in .env"
            raise ConfigurationError("this workspace uses Gemini, and no key is set", hint=hint)
        self.tell_backend()
        url = base_url.reveal() if base_url else None
        if local:
            from emulator.server import Server

            try:
                url = self._closing.enter_context(Server(self.data)).url
            except (OSError, RuntimeError, sqlite3.Error) as error:
                said = f"the local engine cannot start in {self.data}: {error}"
                raise ConfigurationError(said, hint="check the directory and its permissions") from error
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
    def model(self) -> "Model":
        """Return the model that answers."""
        own = self.task.model if self.backend != "local" and "model" not in self.settings.sources else None
        return self._model(own or self.settings.model, kind="generate")

    @property
    def embedding_model(self) -> "Model":
        """Return the model that embeds, which gives vectors of the width that is set."""
        model = self._model(self.settings.embedding_model, kind="embed")
        model.check_dim(self.settings.dim)
        return model

    @property
    def limits(self) -> "RateLimits":
        """Return what may be asked live of the model that answers, a minute and a day."""
        set_here = {"rpm": self.settings.rpm, "tpm": self.settings.tpm, "rpd": self.settings.rpd}
        return self.model.limits(self.settings.tier, **set_here)

    @property
    def extractor(self) -> str:
        """Return what an answer is attributed to: the version of prompt and schema, and the model."""
        return f"{self.task.label}/{self.model.name}"

    def indexes(self, task: "Task") -> bool:
        """Return whether what a task answers goes into an index: some do so only once that was asked for."""
        index = task.index
        if index is None or not index.when_asked or (self._begins_index and task.name == self.task.name):
            return index is not None
        return (self.data / "index" / index.folder).is_dir()

    @property
    def is_indexed(self) -> bool:
        """Return whether what the task in use answers goes into an index."""
        return self.indexes(self.task)

    @property
    def collection(self) -> "Indexed":
        """Return what of the task in use is indexed."""
        words, index = self.task.words, self.task.index
        if index is None or not self.is_indexed:
            export = f"`{words.step('export', to='answers.csv')}` writes what was found in all of them"
            said = f"{words.many} are not in the search index yet, and cannot be searched"
            raise InputError(said, hint=self.task.how_to_index or export)
        return index

    @property
    def collections(self) -> "list[Indexed]":
        """Return what is indexed of all tasks, whichever is worked on."""
        return [one.index for one in self.tasks if one.index is not None and self.indexes(one)]

    def task_of(self, name: str) -> "Task":
        """Return the task of a batch, by the name its row has; the one in use where none has that name."""
        return next((one for one in self.tasks if one.name == name), self.task)

    def bring_items(self) -> None:
        """Bring the items of a declared task up to date with their file or query, once a command, before it asks."""
        if self._is_brought or not is_declared(self.settings):
            return
        declared().bring_items(self.store, self.task, self.settings, at=self.now(), display=self.display)
        with self.store.read() as tx:
            found = allowed.declared_tasks(tx, self.settings)
        others = (one for one in self.tasks if one.name != self.task.name)
        self.task = next(one for one in found if one.name == self.task.name)
        self.tasks, self._is_brought = (*others, self.task), True
        if self.task.question.declared.temperature is not None and not self.model.takes_temperature:
            self.display.say(f"temperature= is not sent: {self.model.name} ignores it, as current models do")

    def bring_index(self) -> None:
        """Bring the items of a declared task up to date where that can be, before they are indexed.

        Items that are indexed once that is asked for are so for this command, and from their first build on.
        """
        try:
            self.bring_items()
        except FindableError as error:
            self.display.warn(f"{error.message}; what was read before is indexed")
        self._begins_index = True

    def bind(self, tx: "Connection") -> None:
        """Bind the workspace to this backend, in the transaction that keeps its first trace."""
        workspace.bind_workspace(tx, self.backend, at=self.now())

    def agree(self, question: str, *, nothing: str = "nothing was changed") -> None:
        """Pass where a person says yes. InputError where nobody does; `nothing` says what was left as it was."""
        if not self.agrees(question):
            raise InputError(f"not confirmed; {nothing}", hint=f"{Option(yes=True)} answers yes")

    def spend(self, cost: float, *, nothing: str, always: bool = False, also: str = "") -> None:
        """Pass where an estimate in USD was agreed to; a person is asked above CONFIRM_ABOVE, or `always`."""
        if self.agreed is not None:
            if cost > self.agreed + ROUNDED:
                said = f"the estimate is ${cost:,.4f} by now, more than the ${self.agreed:,.4f} that was agreed to"
                raise InputError(f"{said}; {nothing}", hint="look at the estimate again")
        elif (always or cost > self.settings.confirm_above) and not self.agrees("Go on?"):
            raise InputError(f"not confirmed; {nothing}", hint=f"{Option(yes=True)} answers yes{also}")

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
        tells, self.tells_backend, said = self.tells_backend, False, ""
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

    def _model(self, name: str, *, kind: "Kind") -> "Model":
        from pipeline.gemini.models import find_model

        if found := self._models.get((name, kind)):
            return found
        today = self.now().date()
        model = find_model(name, kind=kind, today=today, extra=self.settings.models_file)
        if model.local and self.backend != "local":
            said = f"{name} is a model of the local engine, and this workspace uses Gemini"
            raise ConfigurationError(said, hint=f"set one of Gemini's: `{Step('prices')}` lists them")
        if warning := model.warning(today):
            self.display.warn(warning)
        self._models[name, kind] = model
        return model


# ---- opened


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

    What is about the `whole` of it takes a task that was never used here as the built-in one. ConfigurationError where
    there is none, and `access` does not make one; what would be added to another program's database was not agreed to;
    the workspace is bound to another backend than the one asked for, or its files belong to another database than the
    one that is set.
    """
    allowed.check_links(settings.data)
    with contextlib.closing(Store(settings.url.reveal())) as store:
        if line := check_access(of_people(settings) if whole else settings, store, access, agrees):
            display.say(line)
        with contextlib.closing(_opened(settings, store, display, access, whole=whole)) as opened:
            opened.agrees = agrees
            yield opened


def _opened(settings: Settings, store: Store, display: Progress, access: Access, *, whole: bool) -> OpenWorkspace:
    allowed.make_directory(settings.data)
    found = workspace.find_marker(settings.data)
    here = _rooms_of(settings, store, found, display, access, whole=whole)
    if whole:
        with store.read() as tx:
            name = declared().recorded_name(tx, settings) if is_declared(settings) else None
        settings = settings if name or allowed.room_in_use(settings) in here else of_people(settings)
    if is_declared(settings):
        name = declared().recorded(store, settings, may_write=access is not Access.READ, display=display)
        settings = replace(settings, task=name)
    with store.read() as tx:
        row, lag, now = workspace.get_workspace(tx), workspace.list_lag(tx), store.clock(tx)
        made = [room.task_of(tx, settings) for room in here]
        tasks = (*filter(None, made), *allowed.declared_tasks(tx, settings))
    if found is None or found.workspace_id != row.workspace_id:
        where = store.address if settings.database_url or store.path is None else store.path.name
        workspace.write_marker(settings.data, workspace.FolderMarker(row.workspace_id, where))
    if row.backend is not None and settings.backend not in (None, row.backend):
        local = row.backend == "local"
        way = f", or take back all that the local engine answered: `{Step('versions')}` lists it" if local else ""
        asked_for = Option(backend=settings.backend)
        said = f"this workspace is bound to the {row.backend} backend, and {asked_for} was asked for"
        raise ConfigurationError(f"{said}; nothing was changed", hint=f"take another {Option('data')} directory{way}")
    backend = row.backend or settings.wanted_backend
    store.locks = Locks(store, settings.data / "locks", row.workspace_id)
    return OpenWorkspace(
        settings=settings.for_backend(backend, lag_s=lag),
        store=store,
        backend=backend,
        display=display,
        task=next(one for one in tasks if one.subject == settings.task),
        tasks=tasks,
        now=now,
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
    """
    makes_tables = access is not Access.READ and not whole
    seen = settings if makes_tables else of_people(settings)
    sealed_by = found if workspace.holds_sealed_files(settings.data) else None
    if sealed_by is not None and store.path is not None and not store.path.exists():  # opening it would make it
        workspace.refuse_folder(settings.data, sealed_by, f"{store.shown} is not there")
    with store.read() as tx:
        if sealed_by is not None:
            workspace.check_marker(settings.data, sealed_by, tx, shown=store.shown)
        here = [one for one in allowed.rooms() if one.is_here(tx, seen)]
        room = allowed.room_in_use(settings)
        if not (makes_tables or whole or room is None or room in here):
            raise allowed.never_used(settings, room.how_to_begin)
        tables = [allowed.tables_of(room) for room in here]
        is_ready = schema.is_schema_current(tx) and all(one.is_adopted(tx, seen) for one in tables)
        if access is Access.READ and not is_ready and (gone := allowed.missing_tables(tx, seen)):
            raise InconsistentError(
                f"{store.shown} has no table {' and no table '.join(gone)} any more; nothing was made",
                hint=f"`{Step('restore')}` puts a backup back; a command that writes makes it, with no row",
            )
    if not is_ready:
        for line in schema.ensure_schema(store, [partial(one.adopt, settings=seen) for one in tables]):
            display.say(line)
    return here


@contextlib.contextmanager
def open_to_look(settings: Settings, display: Progress, *, agrees: Callable[[str], bool]) -> Iterator[OpenWorkspace]:
    """Open the workspace for the length of a block; where nothing is yet, an empty one that is gone afterwards.

    For a built-in task people are what it is opened with, so that no table is made; a task of one's own may be recorded
    in a workspace that is there, which is asked in another program's database.
    """
    is_own, people = is_declared(settings), of_people(settings)
    with contextlib.closing(Store(settings.url.reveal())) as store:
        with store.read_unchanged() as tx:
            is_new = tx is None or not (schema.is_workspace(tx) or schema.other_tables(tx))
            is_new = is_new and allowed.is_free(settings.data)
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
        tempfile.TemporaryDirectory() as made,
        open_workspace(replace(settings, data=Path(made), database_url=None), display) as ws,
    ):
        yield ws
