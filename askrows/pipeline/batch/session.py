"""The session of a command in an open workspace: store, tasks, client, models and confirmations.

The backend is Gemini or the local engine, a server in this process that gives placeholder answers.
The first upload binds a workspace to its backend, so that the answers of both are never mixed.
"""

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

from askrows.pipeline.core.command_hint import CommandHint, OptionHint
from askrows.pipeline.core.errors import (
    AskrowsError,
    ConfigurationError,
    InputError,
)
from askrows.pipeline.core.progress import Progress
from askrows.pipeline.core.report import PLACEHOLDER_NOTE
from askrows.pipeline.core.settings import Budget, Settings
from askrows.pipeline.gemini.models import Model, ModelKind, RateLimits
from askrows.pipeline.store import request_history, workspace
from askrows.pipeline.store.database import Connection, Store
from askrows.pipeline.store.locks import Lock, Locks
from askrows.pipeline.tasks.task import IndexedTask, Task
from askrows.pipeline.tasks.task_selection import is_user_task_set
from askrows.pipeline.tasks.task_values import AskedRows

if TYPE_CHECKING:
    from askrows.pipeline.gemini.client import Client
    from askrows.pipeline.tasks.user_task import UserTask

# The local engine accepts any key. This one names its owner and is no word of an error.
LOCAL_KEY = "key-of-the-local-engine"
# The shown estimate is rounded; a cost may exceed it by this much.
COST_TOLERANCE_USD = 1e-6


@dataclass(frozen=True)
class SyncOptions:
    """How a command reads the declaration and the rows of a user task."""

    # A changed declaration keeps its version.
    accepts_changes: bool = False
    # All rows of a query are read, not only those that are new by the task's cursor.
    reads_all_rows: bool = False


@dataclass
class WorkspaceSession:
    """An open workspace. Costly members are made when they are first used."""

    settings: Settings
    store: Store
    locks: Locks
    backend: str
    display: Progress
    # The task in use.
    task: Task
    # All tasks of the workspace.
    tasks: tuple[Task, ...] = ()
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    # When set, running live calls end as on Ctrl-C.
    stop_event: threading.Event = field(default_factory=threading.Event)
    # Budget of this command; the budget of the day is a setting.
    budget: Budget | None = None
    # Asks a person a question; returns the answer.
    ask_person: Callable[[str], bool] = lambda _question: False
    sync_options: SyncOptions = SyncOptions()
    # USD that a person agreed to before; None asks above CONFIRM_ABOVE.
    agreed_usd: float | None = None
    is_bound: bool = False
    # The backend is still to be announced; False for a command that only checks it.
    should_announce_backend: bool = True
    # Live calls ask closed questions of the decision model, see `copy_for_decisions`.
    is_deciding: bool = False
    # Models by name and kind.
    _models: dict[tuple[str, ModelKind], Model] = field(default_factory=dict)
    # The rows of the user task are up to date.
    _is_synced: bool = False
    # When this process first looked for an unclear create, in seconds of the monotonic clock, by
    # batch, try and recorded end of the create.
    first_lookup_times: dict[tuple[int, int, datetime | None], float] = field(default_factory=dict)
    _closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def user_task(self) -> "UserTask":
        """Return the task in use, which the caller knows to be a user's task."""
        return cast("UserTask", self.task)

    @property
    def data(self) -> Path:
        """Return the workspace's directory."""
        return self.settings.data

    @cached_property
    def client(self) -> "Client":
        """Return the client of the backend; make it, and announce the backend, at the first use.

        If the backend is the local engine, it is started first, in this process. The client is
        closed with the session.

        Raises:
            ConfigurationError: No API key is set, nobody confirmed an API address that is not
                Google's, or the local engine cannot start.
        """
        from askrows.pipeline.gemini.client import Client

        settings = self.settings
        is_local = self.backend == "local"
        url = ""
        if not is_local:
            if not settings.api_key:
                raise ConfigurationError(
                    "this workspace uses Gemini, and no API key is set",
                    hint="set GEMINI_API_KEY in the environment or in .env",
                )
            url = settings.confirm_server().reveal()
        self.announce_backend()
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

    def ensure_client(self) -> "Client":
        """Return the client of the backend; open it now, so that a missing key is reported early.

        Raises:
            ConfigurationError: As `client`.
        """
        return self.client

    def _start_local_engine(self) -> str:
        """Start the local engine until the session closes; return its URL."""
        from askrows.emulator.server import Server

        try:
            return self._closing.enter_context(Server(self.data)).url
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(
                f"the local engine cannot start in {self.data}: {error}",
                hint="check the directory and its permissions",
            ) from error

    @property
    def model(self) -> Model:
        """Return the model that answers.

        In a session for decisions (see `copy_for_decisions`) it is the decision model. Otherwise it
        is the first of these: the setting MODEL if it is set, the model of the task, the default of
        MODEL. With the local engine the model of the task is skipped.

        Raises:
            ConfigurationError: The model does not exist, is shut down, or does not fit the backend.
        """
        if self.is_deciding:
            return self.decision_model

        return self._require_model(self.generating_model_name, kind="generate")

    @property
    def generating_model_name(self) -> str:
        """Return the name of the model that generates answers; the model need not exist."""
        task_model = None
        if self.backend != "local" and "model" not in self.settings.sources:
            task_model = self.task.model
        return task_model or self.settings.model

    def copy_for_decisions(self) -> "WorkspaceSession":
        """Return a session of the same workspace that asks closed questions of a decision model.

        It shares the open client, if there is one.
        """
        session = replace(self, is_deciding=True)
        if "client" in self.__dict__:
            session.client = self.client
        return session

    def copy_with_gemini_model(self) -> "WorkspaceSession | None":
        """Return a session with Gemini's default model, or None if the session has no local model.

        The session is only for estimates: what the same rows would cost with a key.
        """
        if not self.model.local:
            return None
        settings = replace(
            self.settings,
            model=Settings.model,
            decision_model=Settings.decision_model,
        )
        return replace(self, backend="gemini", settings=settings, is_deciding=False)

    def ensure_model(self) -> Model:
        """Return the model that answers; find it now, so that an unknown model is reported early.

        Raises:
            ConfigurationError: As `model`.
        """
        return self.model

    @property
    def embedding_model(self) -> Model:
        """Return the embedding model, after checking that it has vectors of the set width."""
        model = self._require_model(self.settings.embedding_model, kind="embed")
        model.check_vector_width(self.settings.dim)
        return model

    @property
    def decision_model(self) -> Model:
        """Return the model that decides closed questions."""
        return self._require_model(self.settings.decision_model, kind="decide")

    @property
    def limits(self) -> RateLimits:
        """Return the rate limits of live calls to the model that answers."""
        set_limits = {
            "rpm": self.settings.rpm,
            "tpm": self.settings.tpm,
            "rpd": self.settings.rpd,
        }
        return self.model.rate_limits(self.settings.tier, **set_limits)

    @property
    def version(self) -> str:
        """Return the version of new answers: the task's prompt version and the model."""
        return f"{self.task.prompt_version}/{self.model.name}"

    def is_task_indexed(self, task: Task) -> bool:
        """Return whether a task is indexed; some tasks only are after a first request for it."""
        index = task.index
        return index is not None and (
            not index.is_on_request or (self.data / "index" / index.folder).is_dir()
        )

    @property
    def is_indexed(self) -> bool:
        """Return whether the task in use is indexed."""
        return self.is_task_indexed(self.task)

    @property
    def indexed_task(self) -> IndexedTask:
        """Return how the task in use is indexed and searched, such as its folder and its entries.

        Raises:
            InputError: The task has no index, or nobody has indexed it yet in this workspace.
        """
        index = self.task.index
        if index is not None and self.is_indexed:
            return index

        nouns = self.task.nouns
        export_command = nouns.command("export", to="answers.csv")
        export_hint = f"`{export_command}` writes all answers"
        raise InputError(
            f"{nouns.plural} are not in the search index yet and cannot be searched",
            hint=self.task.index_hint or export_hint,
        )

    @property
    def indexed_tasks(self) -> list[IndexedTask]:
        """Return how each indexed task of the workspace is indexed."""
        return [
            task.index
            for task in self.tasks
            if task.index is not None and self.is_task_indexed(task)
        ]

    def find_task(self, name: str) -> Task:
        """Return the task of a name as batches store it; the task in use if none has that name."""
        return next((task for task in self.tasks if task.name == name), self.task)

    def check_has_rows(self) -> None:
        """Raise InputError if the task in use has no rows at all."""
        with self.store.read() as tx:
            if not self.task.make_row_table(tx).has_rows(tx):
                raise InputError(
                    f"the task {self.task.subject} has no rows yet",
                    hint=self.task.fill_hint,
                )

    def sync_task(self) -> None:
        """Register changes of a user task's file and sync its rows, once per session.

        Replaces `task` and `tasks` by the tasks as they are recorded then. Does nothing for a
        built-in task. Prints the report of the sync, and a line if the model ignores the task's
        temperature.

        Raises:
            AskrowsError: The file or the source is invalid, or a change of the file is refused.
        """
        if self._is_synced or not is_user_task_set(self.settings):
            return

        from askrows.pipeline.tasks import task_registry, task_sync

        task_sync.sync_task(
            self.store,
            self.locks,
            self.user_task,
            self.settings,
            accepts_changes=self.sync_options.accepts_changes,
            reads_all_rows=self.sync_options.reads_all_rows,
            now=self.now(),
            display=self.display,
        )
        # The task as it is recorded now, without loading its file again.
        user_tasks = self.store.query(task_registry.list_registered_tasks, self.settings)
        recorded_task = next(task for task in user_tasks if task.name == self.task.name)
        self.replace_task(recorded_task.copy_with_asked_rows(self.task.asked_rows))
        self._is_synced = True

        if (
            self.task.prompt_builder.declaration.temperature is not None
            and not self.model.accepts_temperature
        ):
            self.display.say(
                f"temperature= is not sent: {self.model.name} ignores it",
            )

    def replace_task(self, task: Task) -> None:
        """Use another task of the same name from now on."""
        other_tasks = [other for other in self.tasks if other.name != task.name]
        self.tasks = (*other_tasks, task)
        self.task = task

    def set_asked_rows(self, asked_rows: AskedRows) -> None:
        """Ask these rows of the task in use from now on."""
        self.replace_task(self.task.copy_with_asked_rows(asked_rows))

    def prepare_task_index(self) -> None:
        """Sync the rows, and mark the task as indexed by making its index folder.

        A task without `index=` in its file is not marked. If the sync fails and the task was
        registered with `index=`, a warning is printed, and the task is marked all the same: its
        stored rows are then indexed as they are.

        Raises:
            AskrowsError: The sync failed, and the task has no `index=`.
        """
        try:
            self.sync_task()
        except AskrowsError as error:
            if self.task.index is None:
                raise
            self.display.warn(f"{error.message}; the rows of earlier reads are indexed")
        if self.task.index is not None:
            (self.data / "index" / self.task.index.folder).mkdir(parents=True, exist_ok=True)

    def bind_backend(self, tx: Connection) -> None:
        """Bind the workspace to this backend, in the caller's transaction."""
        workspace.bind_workspace(tx, self.backend, now=self.now())

    def confirm(
        self,
        question: str,
        *,
        unchanged_text: str = "nothing was changed",
        hint_suffix: str = "",
    ) -> None:
        """Ask a person for confirmation.

        Args:
            unchanged_text: Text of the error about what is unchanged.
            hint_suffix: Text after the hint of the error.

        Raises:
            InputError: The person did not confirm.
        """
        if not self.ask_person(question):
            raise InputError(
                f"not confirmed; {unchanged_text}",
                hint=f"{OptionHint(yes=True)} confirms{hint_suffix}",
            )

    def confirm_cost(
        self,
        estimated_usd: float,
        *,
        unchanged_text: str,
        always_ask: bool = False,
        hint_suffix: str = "",
    ) -> None:
        """Check that an estimated cost was agreed to, or ask a person; return if it may be spent.

        If an amount was agreed to before (`agreed_usd`), the estimate is only compared with it and
        nobody is asked. Otherwise a person is asked if the estimate is above CONFIRM_ABOVE. The
        estimate is not compared with a budget here.

        Args:
            estimated_usd: Estimate in USD.
            unchanged_text: Text of the error about what is unchanged.
            always_ask: Ask about any cost, unless an amount was agreed to.
            hint_suffix: Text after the hint.

        Raises:
            InputError: The person did not confirm, or the estimate is above the agreed amount.
        """
        if self.agreed_usd is not None:
            if estimated_usd > self.agreed_usd + COST_TOLERANCE_USD:
                raise InputError(
                    f"the estimate is now ${estimated_usd:,.4f}, "
                    f"more than the confirmed ${self.agreed_usd:,.4f}; {unchanged_text}",
                    hint="confirm the new estimate",
                )
        elif always_ask or estimated_usd > self.settings.confirm_above:
            self.confirm("Go on?", unchanged_text=unchanged_text, hint_suffix=hint_suffix)

    def lock(self, name: str) -> contextlib.AbstractContextManager[Lock]:
        """Lock a name for a block; wait for another holder and print who it is."""
        return self.locks.wait_for_lock(name, announce=self.display.say, sleep=self.sleep)

    def close(self) -> None:
        """Close the client, local engine, locks and store.

        The local engine continues its unfinished batches when it is started again.
        """
        self._closing.close()
        self.locks.close()
        self.store.close()

    def announce_backend(self) -> None:
        """Print, once per session, which backend works; further calls print nothing.

        For Gemini, the line says that rows leave this machine. It is printed only before the first
        upload (see `first_upload_notice`). For the local engine, it says that answers are
        placeholders and why Gemini is not used. Nothing is printed if the setting BACKEND chose the
        local engine.
        """
        if not self.should_announce_backend:
            return

        self.should_announce_backend = False
        message = ""
        if self.backend != "local":
            message = self.first_upload_notice
        elif self.settings.backend is None and self.settings.api_key:
            message = (
                "this workspace is bound to the local engine (placeholder results); "
                "the API key is not used"
            )
        elif self.settings.backend is None:
            message = (
                "no API key is set: the local engine makes placeholder results; "
                "nothing leaves this machine"
            )
        if message:
            self.display.say(message)

    @property
    def has_placeholder_answers(self) -> bool:
        """Return whether the local engine answers, so that all answers are placeholders."""
        return self.backend == "local"

    def announce_placeholders(self) -> None:
        """Print which backend works and that its answers are placeholders, if they are."""
        if self.has_placeholder_answers:
            self.announce_backend()
            self.display.say(PLACEHOLDER_NOTE)

    def announce_foreign_records(self) -> None:
        """Warn of rows that only another program answered, if there are any."""
        message = self.store.query(self.task.describe_foreign_records)
        if message:
            self.display.warn(message)

    @property
    def first_upload_notice(self) -> str:
        """Return the notice that the next request uploads rows or images for the first time, or "".

        It is "" with the local engine. It is also "" if the workspace is bound to Gemini, because
        rows were uploaded before; but a task with images gets the notice until its first request.
        """
        if self.backend == "local" or (self.is_bound and not self.task.sends_images):
            return ""
        with self.store.read() as tx:
            if self.is_bound and request_history.has_sent_request(tx, self.task.name):
                return ""

        base_url = self.settings.base_url
        service = f"Gemini at {base_url}" if base_url else "Google's Gemini"
        return f"{self.task.nouns.inputs_noun} leave this machine from now on: they go to {service}"

    def _require_model(self, name: str, *, kind: ModelKind) -> Model:
        """Return a model by name, and warn once if it will be shut down soon.

        A model that was returned before is returned again.

        Raises:
            ConfigurationError: There is no such model, it is shut down or has another kind, or it
                needs the local engine.
        """
        from askrows.pipeline.gemini.models import find_model

        known_model = self._models.get((name, kind))
        if known_model is not None:
            return known_model

        today = self.now().date()
        model = find_model(name, kind=kind, today=today, user_file=self.settings.models_file)
        if model.local and self.backend != "local":
            raise ConfigurationError(
                f"{name} is a model of the local engine, but this workspace uses Gemini",
                hint=f"set a model of Gemini: `{CommandHint('prices')}` lists them",
            )
        if warning := model.retirement_warning(today):
            self.display.warn(warning)
        self._models[name, kind] = model
        return model
