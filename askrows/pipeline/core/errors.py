"""The errors of askrows, as a tree; each branch has an exit code.

A message has the event and the unchanged state. A hint has the next command.
"""

from datetime import datetime
from pathlib import Path
from typing import Any

from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.redact import redact_keys


class AskrowsError(Exception):
    """An error that a user can act on; printed without a traceback."""

    exit_code = 1

    def __init__(self, message: str, *, hint: object = "") -> None:
        self.message = redact_keys(message)
        super().__init__(self.message)
        self.hint = redact_keys(str(hint))
        # Python prints notes below the message of an uncaught error.
        if self.hint:
            self.add_note(f"next: {self.hint}")


class InputError(AskrowsError):
    """The input or the usage is wrong; nothing was changed unless the message says so."""

    exit_code = 2

    def __init__(self, message: str, *, hint: object = "", field: str = "") -> None:
        super().__init__(message, hint=hint)
        self.field = field


class TakenError(InputError):
    """The thing to add exists already."""


class ChangedMeanwhileError(InputError):
    """The thing to change differs from its displayed state; nothing was changed.

    `now` is its current state.
    """

    def __init__(self, message: str, *, hint: object, now: Any) -> None:
        super().__init__(message, hint=hint)
        self.now = now


class ConfigurationError(AskrowsError):
    """Something must be configured before this can work."""

    exit_code = 3


class QuestionChangedError(ConfigurationError):
    """The prompt in a task's file changed under a used version; no request was sent."""


class TaskNeverUsedError(ConfigurationError):
    """A reading command is about a task that has no rows in the workspace yet."""

    def __init__(self, task: str, data: Path, *, hint: object) -> None:
        """Make the message from the name of the task and the folder of the workspace."""
        super().__init__(
            f"the task {task} was never used in {data}; nothing was created", hint=hint
        )


class RefusedRowError(ConfigurationError):
    """A table of another program rejects a row.

    `reason` and the message of the database have no content of the row.
    """

    def __init__(self, reason: str, *, hint: object, database_message: str = "") -> None:
        super().__init__(f"{reason}; nothing was changed", hint=hint)
        self.reason = reason
        self.database_message = database_message


class RemoteError(AskrowsError):
    """The provider refused or cannot be reached; stored data is unchanged."""

    exit_code = 4

    def __init__(
        self,
        message: str,
        *,
        hint: object = "",
        code: int | None = None,
        status: str = "",
        server_text: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        """Create the error.

        `code` is the HTTP status, None without a reply. `status` is Google's status word.
        `server_text` is the server's own part of the message, set only by a plain RefusedError.
        `retry_after_s` is the delay that the server requests.
        """
        super().__init__(message, hint=hint)
        self.code = code
        self.status = status
        self.server_text = server_text
        self.retry_after_s = retry_after_s


class AccountError(RemoteError):
    """The provider refused requests because of the key's project; other requests fail alike."""


class RequestFormError(AccountError):
    """All requests of a batch were refused alike, so their common form is wrong."""

    exit_code = 3


class RefusedError(RemoteError):
    """A clear refusal: the request was understood and had no effect. A retry cannot help."""


class KeyRefusedError(RefusedError):
    """The key is wrong, or its project may not do this.

    These are 400 API_KEY_INVALID or FAILED_PRECONDITION, 401, and a permanent 429: no quota, or no
    credit.
    """

    exit_code = 3


class SchemaRefusedError(RefusedError):
    """The answer schema is too large for the model (400, "too many states").

    This applies to every row of the task.
    """

    exit_code = 3

    def __init__(self, message: str, **error_options: Any) -> None:
        """Create the error with the advice how to make the schema smaller."""
        hint = "use fewer or shorter choices or a shorter list, then run the same command again"
        super().__init__(message, **{"hint": hint, **error_options})


class UploadTypeRefusedError(RefusedError):
    """The API refuses the MIME type of an uploaded file, as it does at times."""


class MissingError(RefusedError):
    """The named thing does not exist or belongs to another project (403, 404).

    Replies of providers do not distinguish the cases.
    """

    exit_code = 3


class ModelRefusedError(MissingError):
    """The model does not exist, is retired, or is closed to this project (403, 404)."""


class ThrottledError(RefusedError):
    """A quota is used up (429)."""

    def __init__(
        self,
        message: str,
        *,
        resets_at: datetime | None = None,
        is_queue_full: bool = False,
        **error_options: Any,
    ) -> None:
        """Create the error.

        `resets_at` is the time when a daily quota is reset (aware, UTC). `is_queue_full` means that
        the reply names no other quota, so too many tokens may be queued for batches.
        """
        super().__init__(message, **{"code": 429, **error_options})
        self.resets_at = resets_at
        self.is_queue_full = is_queue_full


class UnavailableError(RemoteError):
    """No reply, or an unclear reply.

    These are 5xx, 408, 409, 499, a time-out, a lost connection and an unreadable body. Reads can be
    repeated. A create call may have had its effect.
    """


class UnreadableError(UnavailableError):
    """A complete reply that cannot be read. Its call was perhaps paid for."""


class IncompleteError(UnavailableError):
    """A download is incomplete, as its length or its gzip trailer proves."""


class NotSentError(RemoteError):
    """The request was not sent: the connection was refused or the name could not be resolved."""


# Refusals that apply to every row until a person acts. Retries are useless.
LASTING_REFUSALS = (KeyRefusedError, MissingError, SchemaRefusedError)


class InconsistentError(AskrowsError):
    """Stored data contradicts itself; nothing was changed."""

    exit_code = 5


class StateConflictError(InconsistentError):
    """A guarded move found another state, because another process moved the thing first.

    The caller stops or reads again.
    """

    def __init__(
        self,
        kind: str,
        name: object,
        *,
        expected_state: str,
        target_state: str,
        actual_state: str | None = None,
    ) -> None:
        state_text = f"no longer '{expected_state}'"
        if actual_state:
            state_text = f"'{actual_state}' instead of '{expected_state}'"
        super().__init__(
            f"{kind} {name} is {state_text}; it was not moved to '{target_state}'",
            hint=f"run `{CommandHint('status')}`, then the same command again",
        )


class GateError(AskrowsError):
    """A quality gate failed; the answers are stored and nothing else was changed."""

    exit_code = 6
