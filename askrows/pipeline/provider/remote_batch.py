"""The record of a batch at the API, as every provider returns it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from askrows.pipeline.core.states import RemoteState


@dataclass(frozen=True)
class RemoteBatch:
    """A remote batch as the API last described it."""

    name: str
    display_name: str
    # An aware time, or None if it is missing or invalid.
    created_at: datetime | None
    # The API's name of the state, or None if it is missing.
    state_name: str | None
    state: RemoteState
    # The name `files/…`, or None if there is no result file.
    result_file: str | None = None
    # The reason of a failed batch as `<code>: <text>`; else "".
    error: str = ""
    # Requests that ended, and that failed; 0 if the API sent no statistics.
    ended_request_count: int = 0
    failed_request_count: int = 0
    # Results sent inline. Each has a `response` or an `error`, and its key in `metadata`.
    inline_results: Sequence[Any] = field(default=(), repr=False, hash=False)

    @property
    def has_result(self) -> bool:
        """Return whether the API named a result file or sent the results inline."""
        return bool(self.result_file or self.inline_results)
