"""The session of a command: the open workspace with its store, settings, clock and client, and the subjects it has.

A subject is a room of the pipeline that has a module `import_`, and its name is the room's: no room below the subjects
names one. Tasks that users declare in files of their own are subjects too, found in the workspace; what carries them
out is loaded where there are some.
"""

import contextlib
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache, cached_property
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import ConfigurationError, InputError
from pipeline.core.progress import Progress
from pipeline.core.settings import BUILT_IN, Budget, Settings
from pipeline.store import asked, workspace
from pipeline.store.database import Connection, Store
from pipeline.store.locks import Lock, Locks

if TYPE_CHECKING:
    from pipeline.engine.task import Indexed, Task
    from pipeline.gemini.client import Client
    from pipeline.gemini.models import Kind, Model, RateLimits


LOCAL_KEY = "key-of-the-local-engine"  # it takes any; this one says whose it is, and is no word of an error
PIPELINE = Path(__file__).parents[1]


async def asyncio_sleep(seconds: float) -> None:
    """Sleep and let other tasks run; asyncio is loaded when the first one does."""
    import asyncio

    await asyncio.sleep(seconds)


def _utc_now() -> datetime:
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
    tasks: "tuple[Task, ...]" = ()  # all that this workspace has, whichever is worked on
    now: Callable[[], datetime] = _utc_now
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    asleep: Callable[[float], Awaitable[None]] = asyncio_sleep
    stopping: threading.Event = field(default_factory=threading.Event)  # set, it ends what asks as Ctrl-C does
    budget: Budget | None = None  # of this command; that of the day is a setting
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
        """Return what of the task in use is indexed.

        Raises:
            InputError: nothing is; the hint says what would change that.
        """
        words, index = self.task.words, self.task.index
        if index is None or not self.is_indexed:
            export = f"`{words.make('export')} TO=answers.csv` writes what was found in all of them"
            raise InputError(
                f"{words.many} are not in the search index yet, and cannot be searched",
                hint=self.task.how_to_index or export,
            )
        return index

    @property
    def collections(self) -> "list[Indexed]":
        """Return what is indexed of all tasks, whichever is worked on."""
        return [one.index for one in self.tasks if one.index is not None and self.indexes(one)]

    def task_of(self, name: str) -> "Task":
        """Return the task of a batch, by the name its row has; the one in use where none has that name."""
        return next((one for one in self.tasks if one.name == name), self.task)

    def bring_items(self) -> None:
        """Bring the items of a declared task up to date with their file or query, once a command, before it asks.

        Raises:
            InputError: the task's file or its items are wrong.
            ConfigurationError: the declaration changed under the same version.
        """
        if self._is_brought or not is_declared(self.settings):
            return
        self.task = declared().bring_items(self.store, self.task, self.settings, at=self.now(), display=self.display)
        self._renew()
        self._is_brought = True
        if self.task.parameters.get("temperature") is not None and not self.model.takes_temperature:
            self.display.say(f"temperature= is not sent: {self.model.name} ignores it, as current models do")

    def bring_index(self) -> None:
        """Bring what is recorded of a declared task's index up to date with its file, where that can be loaded.

        Items that are indexed once that is asked for are so for this command, and from their first build on.

        Raises:
            InputError: it names a column that its rows have not.
        """
        if is_declared(self.settings):
            declared().bring_index(self.store, self.task, display=self.display)
            self._renew()
        self._begins_index = True

    def _renew(self) -> None:
        with self.store.read() as tx:
            found = declared_tasks(tx, self.settings)
        others = (one for one in self.tasks if one.name != self.task.name)
        self.task = next(one for one in found if one.name == self.task.name)
        self.tasks = (*others, self.task)

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

        if found := self._models.get((name, kind)):
            return found
        today = self.now().date()
        model = find_model(name, kind=kind, today=today, extra=self.settings.models_file)
        if model.local and self.backend != "local":
            said = f"{name} is a model of the local engine, and this workspace uses Gemini"
            raise ConfigurationError(said, hint="set one of Gemini's: `make prices` lists them")
        if warning := model.warning(today):
            self.display.warn(warning)
        self._models[name, kind] = model
        return model

    def _start_engine(self) -> str:
        from emulator.server import Server

        try:
            return self._closing.enter_context(Server(self.data)).url
        except (OSError, RuntimeError, sqlite3.Error) as error:
            raise ConfigurationError(
                f"the local engine cannot start in {self.data}: {error}", hint="check the directory and its permissions"
            ) from error


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
    return import_module("pipeline.engine.declared.tasks")


def is_declared(settings: Settings) -> bool:
    """Return whether TASK= names a task of a user's own."""
    return settings.task not in BUILT_IN


def of_people(settings: Settings) -> Settings:
    """Return the settings with people in the place of their task."""
    return replace(settings, task=BUILT_IN[0])


def declared_tasks(tx: "Connection", settings: Settings) -> "tuple[Task, ...]":
    """Return every task of a user's own that was used in this workspace."""
    if not workspace.any_tasks(tx):
        return ()
    found: tuple[Task, ...] = declared().declared_tasks(tx, settings)
    return found
