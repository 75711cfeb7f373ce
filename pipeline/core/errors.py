"""What can go wrong, as a tree of errors; each branch has one exit code.

Every message says what happened and what was left as it was; the hint says what to type next.
"""

from datetime import datetime
from typing import Any

from pipeline.core.command_hint import CommandHint


class FindableError(Exception):
    """An error that a user can act on; printed without a traceback."""

    exit_code = 1

    def __init__(self, message: str, *, hint: object = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = str(hint)
        if self.hint:
            self.add_note(f"next: {self.hint}")  # which Python shows below the message


class InputError(FindableError):
    """The input or the usage is wrong; nothing was changed unless the message says so."""

    exit_code = 2

    def __init__(self, message: str, *, hint: object = "", field: str = "") -> None:
        super().__init__(message, hint=hint)
        self.field = field


class TakenError(InputError):
    """What is to be added is there already."""


class ChangedMeanwhileError(InputError):
    """What is to be changed is not in the state in which it was shown; nothing was changed."""

    def __init__(self, message: str, *, hint: object, now: Any) -> None:
        super().__init__(message, hint=hint)
        self.now = now


class ConfigurationError(FindableError):
    """Something must be configured before this can work."""

    exit_code = 3


class QuestionChangedError(ConfigurationError):
    """What a task's file asks changed under a version that was used; nothing was asked."""


class RefusedRowError(ConfigurationError):
    """A table of another program refuses a row; `reason` says why, without what the row holds."""

    def __init__(self, reason: str, *, hint: object) -> None:
        super().__init__(f"{reason}; nothing was changed", hint=hint)
        self.reason = reason


class RemoteError(FindableError):
    """Gemini refused or cannot be reached; what is stored is as it was."""

    exit_code = 4

    def __init__(
        self,
        message: str,
        *,
        hint: object = "",
        code: int | None = None,
        status: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        """Keep the HTTP code (None when no reply came), Google's status word, and how long the server asks to wait."""
        super().__init__(message, hint=hint)
        self.code = code
        self.status = status
        self.retry_after_s = retry_after_s


class RefusedError(RemoteError):
    """A clear refusal: the request was understood and nothing was done. Asking again the same way cannot help."""


class KeyRefusedError(RefusedError):
    """The key is wrong, or its project may not do this.

    That is 400 API_KEY_INVALID or FAILED_PRECONDITION, 401, and a 429 that no waiting ends: no quota, or no credit.
    """

    exit_code = 3


class SchemaRefusedError(RefusedError):
    """The schema of the answer is too large for the model (400, "too many states"), for every row of the task."""

    exit_code = 3


class MissingError(RefusedError):
    """The named thing is not there or belongs to another project (403, 404; Gemini does not tell which)."""

    exit_code = 3


class ThrottledError(RefusedError):
    """A quota is used up (429)."""

    def __init__(self, message: str, *, resets_at: datetime | None = None, **kept: Any) -> None:
        """Keep when a daily quota is reset (aware, UTC) beside what every `RemoteError` keeps."""
        super().__init__(message, **{"code": 429, **kept})
        self.resets_at = resets_at


class UnavailableError(RemoteError):
    """No answer, or one that says nothing (5xx, 408, 409, 499, time-out, cut connection, unreadable body).

    For a read: ask again. For a create: unclear, it may have happened.
    """


class IncompleteError(UnavailableError):
    """The bytes of a download are provably not all: its length or its gzip trailer says that there are more."""


class NotSentError(RemoteError):
    """Nothing left this machine: the connection was refused or the name could not be resolved."""


# Refusals that a person must deal with first: they hold for every row, and trying again is useless.
LASTING_REFUSALS = (KeyRefusedError, MissingError, SchemaRefusedError)


class InconsistentError(FindableError):
    """What is stored contradicts itself; nothing was changed."""

    exit_code = 5


class StateConflictError(InconsistentError):
    """A guarded move found another state: another process moved it first. The caller stops or reads again."""

    def __init__(
        self, kind: str, name: object, *, expected: str, wanted: str, found: str | None = None
    ) -> None:
        super().__init__(
            f"{kind} {name} is {found or 'not'!r}, expected '{expected}', so it was not moved to '{wanted}'",
            hint=f"run `{CommandHint('status')}`, then the same command again",
        )


class GateError(FindableError):
    """A quality gate failed; the answers are stored and nothing else was changed."""

    exit_code = 6
