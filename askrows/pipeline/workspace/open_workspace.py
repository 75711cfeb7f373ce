"""The open workspace of a command: settings, store, locks, clock, and the person who may agree."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from askrows.pipeline.core.command_hint import CommandHint, OptionHint
from askrows.pipeline.core.errors import ConfigurationError, InputError
from askrows.pipeline.core.progress import Progress
from askrows.pipeline.core.settings import Settings
from askrows.pipeline.provider.models import load_models
from askrows.pipeline.provider.providers import Provider, find_provider
from askrows.pipeline.provider.service import (
    check_model_fits_backend,
    choose_backend_by_model_or_keys,
    describe_address,
)
from askrows.pipeline.store import journal, workspace
from askrows.pipeline.store.database import Connection, Store
from askrows.pipeline.store.locks import Lock, Locks


def answer_no(_question: str) -> bool:
    """Return the answer of a person who is not there."""
    return False


def answer_yes(_question: str) -> bool:
    """Return the answer of a person who agreed before the question."""
    return True


def _read_utc_clock() -> datetime:
    """Return the time of this machine."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class OpenWorkspace:
    """An open workspace: a user's folder and database, and the tools of a command for them."""

    settings: Settings
    store: Store
    locks: Locks
    # See the setting BACKEND.
    backend: str
    display: Progress
    # The address of the backend, and that to which the workspace is bound; None if it is not bound.
    address: str = ""
    bound_address: str | None = None
    # Asks a person a question; returns the answer.
    ask_person_and_exit_on_no: Callable[[str], bool] = answer_no
    now: Callable[[], datetime] = _read_utc_clock
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic

    @property
    def data(self) -> Path:
        """Return the folder of the workspace."""
        return self.settings.data

    @property
    def provider(self) -> Provider:
        """Return the provider that answers, with its name, limits and abilities."""
        return find_provider(self.backend)

    @property
    def has_placeholder_answers(self) -> bool:
        """Return whether the local engine answers, so that all answers are placeholders."""
        return self.backend == "local"

    def is_bound(self) -> bool:
        """Return whether rows were uploaded before, so that the backend is settled."""
        return self.store.query(workspace.read_workspace).backend is not None

    def bind_backend(self, tx: Connection) -> None:
        """Bind the workspace to its backend and address, in the caller's transaction."""
        workspace.bind_workspace_or_check_backend(tx, self.backend, self.address, now=self.now())

    def confirm(
        self,
        question: str,
        *,
        unchanged_text: str = "nothing was changed",
        hint_suffix: str = "",
    ) -> None:
        """Ask a person for confirmation.

        Args:
            unchanged_text: Text of the error that nothing was changed.
            hint_suffix: Text after the hint of the error.

        Raises:
            InputError: The person did not confirm.
        """
        if not self.ask_person_and_exit_on_no(question):
            raise InputError(
                f"not confirmed; {unchanged_text}",
                hint=f"{OptionHint(yes=True)} confirms{hint_suffix}",
            )

    def wait_for_lock(self, name: str) -> contextlib.AbstractContextManager[Lock]:
        """Lock a name for a block; wait for another process that locked it, and print who it is."""
        return self.locks.wait_for_lock(name, announce=self.display.say, sleep=self.sleep)


def check_backend_and_open_workspace(
    tx: Connection,
    settings: Settings,
    store: Store,
    display: Progress,
    *,
    confirm: Callable[[str], bool],
) -> OpenWorkspace:
    """Return the workspace of a database, with the settings of its backend; write nothing.

    Args:
        confirm: Asks a person a question; returns the answer.

    Raises:
        ConfigurationError: The workspace is bound to another backend than the settings name, or the
            user set MODEL to a model of another provider.
    """
    workspace_row = workspace.read_workspace(tx)
    _check_bound_backend(settings, workspace_row.backend)
    backend = workspace_row.backend or choose_backend_by_model_or_keys(settings)
    if "model" in settings.sources:
        _check_named_model(settings, backend)
    return OpenWorkspace(
        settings=settings.copy_with_backend_defaults(
            backend, lag_s=journal.compute_list_delay_s(tx)
        ),
        store=store,
        locks=Locks(store, settings.data / "locks", workspace_row.workspace_id),
        backend=backend,
        address=describe_address(settings, backend),
        bound_address=workspace_row.address,
        display=display,
        ask_person_and_exit_on_no=confirm,
        now=store.make_clock(tx),
    )


def _check_named_model(settings: Settings, backend: str) -> None:
    """Check that the setting MODEL names no model of another provider; unknown names pass.

    The local engine imitates Gemini's models.

    Raises:
        ConfigurationError: It is a model of another provider.
    """
    model = load_models(settings.models_file).get(settings.model.removeprefix("models/"))
    if model is not None:
        check_model_fits_backend(model, backend)


def _check_bound_backend(settings: Settings, bound_backend: str | None) -> None:
    """Check that the settings name the backend that a workspace is bound to, or none.

    Args:
        bound_backend: The backend whose answers the workspace stores; None before the first upload.

    Raises:
        ConfigurationError: They name another backend.
    """
    if bound_backend is None or settings.backend in {None, bound_backend}:
        return

    rollback_hint = ""
    if bound_backend == "local":
        rollback_hint = (
            ", or roll back all answers of the local engine: "
            f"`{CommandHint('versions')}` lists them"
        )
    requested_backend = OptionHint(backend=settings.backend)
    raise ConfigurationError(
        f"this workspace is bound to the {bound_backend} backend, "
        f"but {requested_backend} is set; nothing was changed",
        hint=f"set {OptionHint('data')} to another directory{rollback_hint}",
    )
