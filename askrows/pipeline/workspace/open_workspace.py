"""The open workspace of a command: settings, store, locks, clock, and the person who may agree."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from askrows.pipeline.core.command_hint import OptionHint
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.progress import Progress
from askrows.pipeline.core.settings import Settings
from askrows.pipeline.store import workspace
from askrows.pipeline.store.database import Connection, Store
from askrows.pipeline.store.locks import Lock, Locks


def agree_to_nothing(_question: str) -> bool:
    """Return the answer of a person who is not there."""
    return False


def agree_to_all(_question: str) -> bool:
    """Return the answer of a person who agreed before the question."""
    return True


def _read_utc_clock() -> datetime:
    """Return the time of this machine."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class OpenWorkspace:
    """An open workspace: a user's folder and database, and what a command needs to work in them."""

    settings: Settings
    store: Store
    locks: Locks
    # `gemini` or `local`.
    backend: str
    display: Progress
    # Asks a person a question; returns the answer.
    ask_person: Callable[[str], bool] = agree_to_nothing
    now: Callable[[], datetime] = _read_utc_clock
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic

    @property
    def data(self) -> Path:
        """Return the folder of the workspace."""
        return self.settings.data

    @property
    def has_placeholder_answers(self) -> bool:
        """Return whether the local engine answers, so that all answers are placeholders."""
        return self.backend == "local"

    def is_bound(self) -> bool:
        """Return whether rows were uploaded before, so that the backend is settled."""
        return self.store.query(workspace.get_workspace).backend is not None

    def bind_backend(self, tx: Connection) -> None:
        """Bind the workspace to its backend, in the caller's transaction."""
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

    def lock(self, name: str) -> contextlib.AbstractContextManager[Lock]:
        """Lock a name for a block; wait for another holder and print who it is."""
        return self.locks.wait_for_lock(name, announce=self.display.say, sleep=self.sleep)
