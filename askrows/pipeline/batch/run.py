"""A run: the work of a command, with its workspace, its mode and its limits."""

import math
import threading
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from askrows.pipeline.core.command_hint import CommandHint, OptionHint
from askrows.pipeline.core.errors import AskrowsError, ConfigurationError, InputError
from askrows.pipeline.core.settings import Budget
from askrows.pipeline.core.states import BatchState, Mode
from askrows.pipeline.index.indexed_tasks import mark_task_as_indexed
from askrows.pipeline.provider.models import Model, RateLimits
from askrows.pipeline.provider.service import Service
from askrows.pipeline.store.batches import BatchRow
from askrows.pipeline.tasks import announcements, request_builder
from askrows.pipeline.tasks.selection import find_task_by_name, is_user_task_set
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.tasks.task_values import AskedRows
from askrows.pipeline.workspace.open_workspace import OpenWorkspace

if TYPE_CHECKING:
    from askrows.pipeline.provider.port import ProviderClient

# The shown estimate is rounded; a cost may exceed it by this much.
COST_TOLERANCE_USD = 1e-6


@dataclass(frozen=True)
class Run:
    """The work of a command: an open workspace, its service, the task, the mode and the limits.

    A command that asks nothing has one, too, for its task. No member is set again: what changes the
    task or the limits returns another run of the same workspace, and the caller goes on with that
    one.
    """

    workspace: OpenWorkspace
    service: Service
    # The task in use.
    task: Task
    # All tasks of the workspace.
    tasks: tuple[Task, ...] = ()
    # When set, running live calls end as on Ctrl-C.
    stop_event: threading.Event = field(default_factory=threading.Event)
    # Budget of this command; the budget of the day is a setting.
    budget: Budget | None = None
    # A changed declaration of a user task keeps its version.
    accepts_changes: bool = False
    # All rows of a query are read, not only those that are new by the task's cursor.
    reads_all_rows: bool = False
    # USD that a person agreed to before; None asks above CONFIRM_ABOVE.
    agreed_usd: float | None = None
    # How rows are asked; the mode decide asks the decision model; see `copy_with_mode`.
    mode: Mode = Mode.BATCH
    # Test a prompt: rows in any state are asked, and only outcome counts and cost are stored.
    is_trial: bool = False
    # Live calls ask in a single batch that belongs to no run. No row is asked again after an
    # invalid answer or after a call without a reply.
    is_single_batch: bool = False
    # Live calls stop if a rate limit makes a call wait longer than this, in seconds.
    patience_s: float = math.inf
    # Live calls stop this many seconds after their start, without waiting for running calls.
    deadline_s: float = math.inf
    # A missing connection stops live calls, because a person waits for them.
    stops_without_connection: bool = False
    # The rows of the user task are up to date.
    is_synced: bool = False

    @cached_property
    def client(self) -> "ProviderClient":
        """Return the client of the backend; announce the backend at the first use.

        Raises:
            ConfigurationError: As `Service.client`.
        """
        return announcements.open_client(self.workspace, self.service, self.task)

    def open_client(self) -> "ProviderClient":
        """Open the client of the backend now, so that a missing key is reported early; return it.

        Raises:
            ConfigurationError: As `client`.
        """
        return self.client

    @cached_property
    def model(self) -> Model:
        """Return the model that answers.

        In the mode decide it is the decision model. Otherwise it is the model of
        `Task.choose_model_name`.

        Raises:
            ConfigurationError: The model does not exist, is shut down, or does not fit the backend.
        """
        if self.mode is Mode.DECIDE:
            return self.service.decision_model

        model_name = self.task.choose_model_name(self.workspace.settings, self.workspace.backend)
        return self.service.require_model(model_name, kind="generate")

    def choose_model(self) -> Model:
        """Choose the model that answers now, so that an unknown one is reported early; return it.

        Raises:
            ConfigurationError: As `model`.
        """
        return self.model

    @property
    def live_mode(self) -> Mode:
        """Return the mode of the batches of live calls; those of a trial are in the mode trial."""
        return Mode.TRIAL if self.is_trial else self.mode

    @property
    def rate_limits(self) -> RateLimits:
        """Return the rate limits of live calls to the model that answers."""
        set_limits = {
            "rpm": self.workspace.settings.rpm,
            "tpm": self.workspace.settings.tpm,
            "rpd": self.workspace.settings.rpd,
        }
        return self.model.find_rate_limits(self.workspace.settings.tier, **set_limits)

    @property
    def version(self) -> str:
        """Return the version of new answers: the task's prompt version and the model."""
        return f"{self.task.prompt_version}/{self.model.name}"

    def find_task_or_current(self, name: str) -> Task:
        """Return the task of a name as batches store it; the task in use if none has that name."""
        return find_task_by_name(self.tasks, name, default=self.task)

    def check_has_rows(self) -> None:
        """Raise InputError if the task in use has no rows at all."""
        with self.workspace.store.read() as tx:
            if not self.task.rows.has_rows(tx):
                raise InputError(
                    f"the task {self.task.subject} has no rows yet",
                    hint=self.task.no_rows_hint,
                )

    def check_batch_address(self, batch: BatchRow) -> None:
        """Check that a request file is sent only where its batch was prepared for.

        A list of another address would prove that a create of the batch was not carried out.

        Raises:
            ConfigurationError: The backend or its address is another one.
        """
        workspace = self.workspace
        if (batch.backend, batch.address) == (workspace.backend, workspace.address):
            return
        hint = f"set {workspace.provider.address_variable} as before"
        if batch.state is BatchState.PREPARED:
            hint += f", or give up the batch: {CommandHint('batch-cancel', batch=batch.number)}"
        raise ConfigurationError(
            f"batch {batch.number} is for {batch.address}, not for {workspace.address}; "
            "nothing was sent",
            hint=hint,
        )

    def sync_task(self) -> "Run":
        """Register changes of a user task's file and sync its rows; return the synced run.

        The task of the returned run is the task as it is recorded then. Does nothing for a
        built-in task or in a synced run. Prints the report of the sync, and a line if the model
        ignores the task's temperature.

        Raises:
            AskrowsError: The file or the source is invalid, or a change of the file is refused.
        """
        if self.is_synced or not is_user_task_set(self.workspace.settings):
            return self

        from askrows.pipeline.tasks import task_sync

        task_sync.sync_task(
            self.workspace,
            self.task,
            accepts_changes=self.accepts_changes,
            reads_all_rows=self.reads_all_rows,
        )
        synced = replace(self.copy_with_recorded_task(), is_synced=True)

        if (
            synced.task.prompt_builder.declaration.temperature is not None
            and not synced.model.temperature
        ):
            self.workspace.display.say(
                f"temperature= is not sent: {synced.model.name} ignores it",
            )
        return synced

    def copy_with_recorded_task(self) -> "Run":
        """Return a run with the task in use as the database records it now.

        The task's file is not loaded again. A built-in or forgotten task stays as it is.
        """
        if not is_user_task_set(self.workspace.settings):
            return self

        from askrows.pipeline.tasks import task_registry

        user_tasks = self.workspace.store.query(
            task_registry.list_registered_tasks, self.workspace.settings
        )
        for task in user_tasks:
            if task.name == self.task.name:
                return self.copy_with_task(task.copy_with_asked_rows(self.task.asked_rows))
        return self

    def copy_with_mode(self, mode: Mode) -> "Run":
        """Return a run that asks in a mode; in the mode decide it asks the decision model.

        A decision model answers a closed field, which has a fixed choice such as yes or no, by
        probabilities. All fields of a task that is decided are closed.

        Raises:
            InputError: The mode is decide, and the task has open fields, or it is flex, and the
                model is not available in it; nothing was asked.
            ConfigurationError: The provider does not have the mode.
        """
        self.service.check_mode_is_offered(mode)
        # Decisions are made by another model.
        if mode is not Mode.DECIDE and not self.model.serves(mode):
            message = f"{self.model.name} is not available in {mode}; nothing was asked"
            hint = (
                f"{OptionHint(mode='batch')} and {OptionHint(mode='live')} ask this model; "
                f"or set {OptionHint('model')} to a model with {mode}"
            )
            raise InputError(message, hint=hint)
        open_fields = request_builder.list_open_fields(self.task) if mode is Mode.DECIDE else ()
        if open_fields:
            reason = request_builder.describe_open_fields(open_fields)
            hint = f"ask these fields without {OptionHint(mode='decide')}, in a task of their own"
            raise InputError(f"{reason}; nothing was asked", hint=hint)
        return replace(self, mode=mode)

    def copy_with_task(self, task: Task) -> "Run":
        """Return a run with another task of the same name."""
        other_tasks = [other for other in self.tasks if other.name != task.name]
        return replace(self, task=task, tasks=(*other_tasks, task))

    def copy_with_asked_rows(self, asked_rows: AskedRows) -> "Run":
        """Return a run that asks these rows of the task in use."""
        return self.copy_with_task(self.task.copy_with_asked_rows(asked_rows))

    def sync_and_mark_as_indexed(self) -> "Run":
        """Sync the rows, and mark the task in use as indexed; return the synced run, or this run.

        A task without `index=` in its file is not marked. If the sync fails and the task was
        registered with `index=`, a warning is printed, the task is marked all the same, and this
        run is returned: its stored rows are then indexed as they are.

        Raises:
            AskrowsError: The sync failed, and the task has no `index=`.
        """
        synced = self
        try:
            synced = self.sync_task()
        except AskrowsError as error:
            if self.task.index is None:
                raise
            self.workspace.display.warn(f"{error.message}; the rows of earlier reads are indexed")
        mark_task_as_indexed(synced.workspace, synced.task)
        return synced

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
        elif always_ask or estimated_usd > self.workspace.settings.confirm_above:
            self.workspace.confirm("Go on?", unchanged_text=unchanged_text, hint_suffix=hint_suffix)

    def close(self) -> None:
        """Close the client, local engine, locks and store.

        The local engine continues its unfinished batches when it is started again.
        """
        self.service.close()
        self.workspace.locks.close()
        self.workspace.store.close()

    def announce_placeholders(self) -> None:
        """Print which backend works and that its answers are placeholders, if they are."""
        announcements.announce_placeholders(self.workspace, self.service, self.task)
