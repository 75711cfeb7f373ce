"""The calls that askrows makes to a provider, in terms of its own.

A request is the request object of a sealed line, and a reply the raw reply of a result line; both
have the form of `requests` and `responses`. Each client translates them on the way.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from askrows.pipeline.core.states import STANDARD
from askrows.pipeline.provider.models import Model
from askrows.pipeline.provider.remote_batch import RemoteBatch

if TYPE_CHECKING:
    from askrows.pipeline.provider.embed import Vectors

# Yields the keys of a batch's requests, to find those that are too long for the wire.
KeyList = Callable[[], Iterator[str]]


class ProviderClient(Protocol):
    """The only object that calls a provider.

    A call raises NotSentError if no connection was made. It raises UnavailableError if its effect
    is unknown or its reply is unreadable. Refusals raise RefusedError or a subclass.
    """

    def open(self) -> None:
        """Open the connections now, so that the first call is no slower."""

    def upload(self, path: Path, *, display_name: str, sha256: str, size: int, model: str) -> str:
        """Upload a sealed file and verify it; return its remote name, `files/…`."""

    def delete(self, name: str) -> None:
        """Delete an upload or a batch; succeed if it is missing."""

    def create_batch(self, model: str, *, file_name: str, display_name: str) -> RemoteBatch:
        """Create a remote batch with exactly one attempt.

        Raises:
            RefusedError, NotSentError: No batch was made.
            UnavailableError: It is unclear whether a batch was made.
        """

    def get_batch(self, name: str) -> RemoteBatch:
        """Return a batch as the provider describes it now."""

    def list_batches(self) -> list[RemoteBatch]:
        """Return all batches, newest first; never a part of the list."""

    def cancel_batch(self, name: str) -> None:
        """Ask the provider to stop a batch."""

    def download(self, file_name: str, part_path: Path, *, keys: KeyList) -> str:
        """Write the lines of a result to a path; return the SHA-256 of the bytes as they came."""

    async def generate(
        self,
        model: str,
        request: Mapping[str, Any],
        *,
        service_tier: str = STANDARD,
        on_send: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Send one request live with a single attempt, and return the raw reply."""

    async def decide(
        self,
        model: str,
        request: Mapping[str, Any],
        *,
        on_send: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Ask closed questions with a single attempt, and return the raw reply."""

    def embed(
        self,
        model: Model,
        texts: Sequence[str],
        *,
        dim: int,
        is_query: bool,
        is_paced: bool = False,
    ) -> "Vectors":
        """Embed texts; return their vectors of unit length in the same order."""

    def get_model(self, name: str) -> dict[str, Any]:
        """Return the provider's description of a model."""
