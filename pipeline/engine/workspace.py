"""Open a workspace: settings become a store, a client and the subjects that `registry` finds."""

import contextlib
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pipeline.core.errors import ConfigurationError, InconsistentError, InputError
from pipeline.core.progress import Progress
from pipeline.core.settings import BUILT_IN, Budget, Settings
from pipeline.core.task import SubjectRoom
from pipeline.engine import registry
from pipeline.engine.access import Access, backend_of, check_access, missing_tables, never_used
from pipeline.engine.folder import check_links, is_free, make_directory
from pipeline.store import asked, marker, schema, workspace
from pipeline.store.database import Connection, Store
from pipeline.store.locks import Lock, Locks
from pipeline.store.schema import is_workspace, other_tables

if TYPE_CHECKING:
    from pipeline.core.task import Collection, Subject, Task
    from pipeline.gemini.client import Client
    from pipeline.gemini.models import Kind, Model, RateLimits


T = TypeVar("T")

LOCAL_KEY = "key-of-the-local-engine"  # it takes any; this one says whose it is, and is no word of an error


async def asyncio_sleep(seconds: float) -> None:
    """Sleep and let other tasks run; asyncio is loaded when the first one does."""
    import asyncio

    await asyncio.sleep(seconds)


def utc_now() -> datetime:
    """Return the time, aware, in UTC."""
    return datetime.now(UTC)


@dataclass
class OpenWorkspace:
    """An open workspace. What is costly to make is made when first used."""

    settings: Settings
    store: "Store"
    backend: str
    display: Progress
    task: "Task"
    subjects: "tuple[Subject, ...]" = ()  # all that this workspace has, whichever is worked on
    now: Callable[[], datetime] = utc_now
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    asleep: Callable[[float], Awaitable[None]] = asyncio_sleep
    budget: Budget | None = None  # of this command; that of the day is a setting
    is_bound: bool = False
    tells_backend: bool = True  # whether `tell_backend` has anything to say; false for a command that only checks it
    _is_brought: bool = False  # the items of a declared task are up to date
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
        """Return the client of the backend; on the local backend the engine is started first, inside this process.

        Raises:
            ConfigurationError: the workspace is bound to Gemini and no key is set.
        """
        from pipeline.gemini.client import Client

        settings, base_url = self.settings, self.settings.base_url
        local = self.backend == "local"
        if not local and not settings.api_key:
            raise ConfigurationError(
                "this workspace uses Gemini, and no key is set",
                hint="set GEMINI_API_KEY in the environment or in .env",
            )
        self.tell_backend()
        client = Client(
            api_key=settings.api_key.reveal() if settings.api_key and not local else LOCAL_KEY,
            base_url=self._start_engine() if local else base_url.reveal() if base_url else None,
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

    @cached_property
    def model(self) -> "Model":
        """Return the model that answers."""
        own = self.task.model if self.backend != "local" and "model" not in self.settings.sources else None
        return self._model(own or self.settings.model, kind="generate")

    @cached_property
    def embedding_model(self) -> "Model":
        """Return the model that embeds, which gives vectors of the width that is set."""
        model = self._model(self.settings.embedding_model, kind="embed")
        model.check_dim(self.settings.dim)
        return model

    @cached_property
    def limits(self) -> "RateLimits":
        """Return what may be asked live of the model that answers, a minute and a day."""
        from pipeline.gemini.models import model_limits

        set_here = {"rpm": self.settings.rpm, "tpm": self.settings.tpm, "rpd": self.settings.rpd}
        return model_limits(self.model, tier=self.settings.tier, **set_here)

    @property
    def extractor(self) -> str:
        """Return what an answer is attributed to: the version of prompt and schema, and the model."""
        return f"{self.task.label}/{self.model.name}"

    @property
    def subject(self) -> "Subject":
        """Return the subject that the task in use is of."""
        return next(one for one in self.subjects if one.task.name == self.task.name)

    @property
    def is_indexed(self) -> bool:
        """Return whether what the task in use answers goes into an index."""
        return self.subject.collection is not None

    @property
    def collection(self) -> "Collection":
        """Return what of the task in use is indexed.

        Raises:
            InputError: nothing is; the hint says what would change that.
        """
        subject, words = self.subject, self.task.words
        if subject.collection is None:
            export = f"`{words.make('export')} TO=answers.csv` writes what was found in all of them"
            raise InputError(
                f"{words.many} are not in the search index yet, and cannot be searched",
                hint=subject.hooks.how_to_index or export,
            )
        return subject.collection

    @property
    def collections(self) -> "list[Collection]":
        """Return what is indexed of all subjects, whichever is worked on."""
        return [one.collection for one in self.subjects if one.collection is not None]

    def task_of(self, name: str) -> "Task":
        """Return the task of a batch, by the name its row has; the one in use where no subject knows that name."""
        return next((one.task for one in self.subjects if one.task.name == name), self.task)

    def bring_items(self) -> None:
        """Bring the items of a declared task up to date with their file or query, once a command, before it asks.

        Raises:
            InputError: the task's file or its items are wrong.
            ConfigurationError: the declaration changed under the same version.
        """
        if self._is_brought or not registry.is_declared(self.settings):
            return
        self.task = registry.declared().bring_items(
            self.store, self.task, self.settings, at=self.now(), display=self.display
        )
        self._renew_subject()
        self._is_brought = True
        for name in ("model", "embedding_model", "limits"):  # the file may name another one than it did
            self.__dict__.pop(name, None)
        if self.task.rows.parameters.get("temperature") is not None and not self.model.takes_temperature:
            self.display.say(f"temperature= is not sent: {self.model.name} ignores it, as current models do")

    def bring_index(self) -> None:
        """Bring what is recorded of a declared task's index up to date with its file, where that can be loaded.

        Items that are indexed once that is asked for are so for this command, and from their first build on.

        Raises:
            InputError: it names a column that its rows have not.
        """
        if registry.is_declared(self.settings):
            registry.declared().bring_index(self.store, self.task, display=self.display)
            self._renew_subject()
        elif not self.is_indexed and (collection := self.task.hooks.begin_index()) is not None:
            mine = self.subject
            self.subjects = tuple(one._replace(collection=collection) if one is mine else one for one in self.subjects)

    def _renew_subject(self) -> None:
        with self.store.read() as tx:
            others = (one for one in self.subjects if one.task.name != self.task.name)
            found = registry.declared_subjects(tx, self.settings)
            mine = next(one for one in found if one.task.name == self.task.name)
            self.subjects, self.task = (*others, mine), mine.task

    def bind(self, tx: "Connection") -> None:
        """Bind the workspace to this backend, in the transaction that keeps its first trace."""
        workspace.bind_workspace(tx, self.backend, at=self.now())

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
        settings = self.settings
        if not self.tells_backend:
            return
        self.tells_backend = False
        if self.backend == "local":
            if settings.api_key and settings.backend is None:
                self.display.say("this workspace is bound to the local engine; the key is not used")
            elif settings.backend is None:
                self.display.say("no key is set: the local engine does the work, and nothing leaves this machine")
        elif said := self.leaving:
            self.display.say(said)

    @property
    def leaving(self) -> str:
        """Return a line on what the next request sends off this machine for the first time; empty where nothing."""
        if self.backend == "local" or (self.is_bound and not self._sends_first_images()):
            return ""
        where = f"Gemini at {at}" if (at := self.settings.base_url) else "Google's Gemini"
        return f"from here on {self.task.words.inputs} leave this machine: {where} does the work"

    def _sends_first_images(self) -> bool:
        if not self.task.sends_images:
            return False
        with self.store.read() as tx:
            return not asked.is_anything_sent(tx, self.task.name)

    def _model(self, name: str, *, kind: "Kind") -> "Model":
        from pipeline.gemini.models import find_model

        today = self.now().date()
        model = find_model(name, kind=kind, today=today, extra=self.settings.models_file)
        if model.local and self.backend != "local":
            said = f"{name} is a model of the local engine, and this workspace uses Gemini"
            raise ConfigurationError(said, hint="set one of Gemini's: `make prices` lists them")
        if warning := model.warning(today):
            self.display.warn(warning)
        return model

    def _start_engine(self) -> str:
        from emulator.server import Server

        try:
            return self._closing.enter_context(Server(self.data)).url
        except (OSError, RuntimeError, sqlite3.Error) as error:
            raise ConfigurationError(
                f"the local engine cannot start in {self.data}: {error}", hint="check the directory and its permissions"
            ) from error


@contextlib.contextmanager
def open_workspace(
    settings: Settings,
    display: Progress,
    *,
    access: Access = Access.CREATE,
    agrees: Callable[[str], bool] = lambda _question: False,
    whole: bool = False,
) -> Iterator[OpenWorkspace]:
    """Open a workspace for the length of a block, making or mending its schema first; see `access.check_access`.

    What is about the `whole` of it takes a task that was never used here as the built-in one.

    Raises:
        ConfigurationError: there is none, and `access` does not make one; what would be added to another program's
            database was not agreed to; the workspace is bound to another backend than the one asked for, or its files
            belong to another database than the one that is set.
    """
    check_links(settings.data)
    store = Store(settings.url.reveal())
    try:
        if line := check_access(registry.of_people(settings) if whole else settings, store, access, agrees):
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
    found = marker.find_marker(settings.data)
    rooms = rooms_of(settings, store, found, display, access, whole=whole)
    if whole:
        with store.read() as tx:
            is_here = (
                registry.declared().recorded_name(tx, settings)
                if registry.is_declared(settings)
                else registry.room_in_use(settings) in rooms
            )
        settings = settings if is_here else registry.of_people(settings)
    if registry.is_declared(settings):
        name = registry.declared().recorded(store, settings, may_write=access is not Access.READ, display=display)
        settings = replace(settings, task=name)
    with store.read() as tx:
        row = workspace.get_workspace(tx)
        made = [room.subject(tx, settings) for room in rooms]
        subjects = (*filter(None, made), *registry.declared_subjects(tx, settings))
    if found is None or found.workspace_id != row.workspace_id:
        marker.write_marker(settings.data, marker.FolderMarker(row.workspace_id, store.address))
    backend = backend_of(settings, row.backend)
    store.locks = Locks(store, settings.data / "locks", row.workspace_id)
    return OpenWorkspace(
        settings=settings.for_backend(backend),
        store=store,
        backend=backend,
        display=display,
        task=next(one.task for one in subjects if one.name == settings.task),
        subjects=subjects,
        is_bound=row.backend is not None,
    )


def rooms_of(
    settings: Settings,
    store: Store,
    found: marker.FolderMarker | None,
    display: Progress,
    access: Access,
    *,
    whole: bool,
) -> "list[SubjectRoom]":
    """Return the rooms of the subjects that are here, the schema brought up to date and their tables adopted.

    What reads, or is about the `whole`, makes no table or view of a subject.

    Raises:
        ConfigurationError: the folder's sealed files belong to another database, or nothing was ever brought in for the
            task that is to be read.
        InconsistentError: a table that is to be read is gone.
    """
    makes_tables = access is not Access.READ and not whole
    seen = settings if makes_tables else registry.of_people(settings)
    sealed_by = found if marker.holds_sealed_files(settings.data) else None
    if sealed_by is not None and store.path is not None and not store.path.exists():  # opening it would make it
        marker.refuse_folder(settings.data, sealed_by, f"{store.shown} is not there")
    with store.read() as tx:
        if sealed_by is not None:
            marker.check_marker(settings.data, sealed_by, tx, shown=store.shown)
        rooms = [one for one in registry.rooms() if one.is_here(tx, seen)]
        room = registry.room_in_use(settings)
        if not (makes_tables or whole or room is None or room in rooms):
            raise never_used(settings, room.how_to_begin)
        tables = [registry.tables_of(room) for room in rooms]
        is_ready = schema.is_schema_current(tx) and all(one.is_adopted(tx, seen) for one in tables)
        if access is Access.READ and not is_ready and (gone := missing_tables(tx, seen)):
            raise InconsistentError(
                f"{store.shown} has no table {' and no table '.join(gone)} any more; nothing was made",
                hint="`make restore` puts a backup back; a command that writes makes it, with no row",
            )
    if not is_ready:
        for line in schema.ensure_schema(store, [partial(one.adopt, settings=seen) for one in tables]):
            display.say(line)
    return rooms


@contextlib.contextmanager
def open_to_look(settings: Settings, display: Progress, *, agrees: Callable[[str], bool]) -> Iterator[OpenWorkspace]:
    """Open the workspace for the length of a block; where nothing is yet, an empty one that is gone afterwards.

    For a built-in task people are what it is opened with, so that no table is made; for a task of one's own its rows
    are brought up to date, in a workspace that is there; that may make its tables, which is asked in another program's
    database.

    Raises:
        ConfigurationError: there is something and no workspace, or writing would add to a table of another program.
    """
    is_declared = registry.is_declared(settings)
    people = replace(settings, task=BUILT_IN[0])
    with contextlib.closing(Store(settings.url.reveal())) as store:
        with store.read_unchanged() as tx:
            is_new = is_free(settings.data) and (tx is None or not (is_workspace(tx) or other_tables(tx)))
        if not is_new:
            check_access(people if is_declared else settings, store, Access.READ, agrees)
        elif is_declared:
            check_access(settings, store, Access.WRITE, agrees)
    if not is_new:
        opens, access = (settings, Access.WRITE) if is_declared else (people, Access.READ)
        with open_workspace(opens, display, access=access, agrees=agrees) as ws:
            yield ws
        return
    display.say(f"{settings.data} holds no workspace, and gets none: this looks at a temporary one")
    with (
        tempfile.TemporaryDirectory() as folder,
        open_workspace(replace(settings, data=Path(folder), database_url=None), display) as ws,
    ):
        yield ws
