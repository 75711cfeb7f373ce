"""The calls that askrows makes to a provider, in terms of its own, and what all clients share.

A request is the request object of a sealed line, and a reply the raw reply of a result line; both
have the form of `requests` and `responses`. Each client translates them on the way.

Creating a batch is not idempotent, so `create_batch` makes exactly one attempt, and its error says
whether a batch may exist. `generate` and `decide` make one attempt, too, because a repetition may
be paid for twice. All other calls are repeated after temporary errors.
"""

import asyncio
import contextlib
import hashlib
import itertools
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import httpx2

from askrows.pipeline.core.command_hint import CommandHint, HintTemplate
from askrows.pipeline.core.errors import (
    ConfigurationError,
    IncompleteError,
    InconsistentError,
    UnavailableError,
)
from askrows.pipeline.core.states import STANDARD, Mode
from askrows.pipeline.core.text import plural
from askrows.pipeline.provider.call_errors import RUN_LATER_HINT, UnreadableReplyError
from askrows.pipeline.provider.embed import check_and_normalize_vectors
from askrows.pipeline.provider.models import Model
from askrows.pipeline.provider.remote_batch import RemoteBatch
from askrows.pipeline.provider.transport import (
    Transport,
    extend_running_call_timeout,
    running_call,
    wrap_gzip_stream,
)

if TYPE_CHECKING:
    from askrows.pipeline.provider.embed import Vectors

# Our own choice: it ends a list whose pages never end.
MAX_LIST_PAGES = 1_000
# Providers return at most this many batches per page.
LIST_PAGE_SIZE = 100
# A transfer may take this many times as long as a call, before the time for its size is added.
TRANSFER_TIMEOUT_FACTOR = 10
DOCTOR_HINT = HintTemplate("run `{}`", CommandHint("doctor"))

T = TypeVar("T")


class ProviderClient(Transport):
    """The only object that calls a provider.

    A call raises NotSentError if no connection was made. It raises UnavailableError if its effect
    is unknown or its reply is unreadable. Refusals raise RefusedError or a subclass. A call raises
    ConfigurationError if the base URL, a certificate file or a proxy cannot be used.
    """

    @property
    def transfer_timeout_s(self) -> float:
        """Return the time-out of uploads, downloads and bulk embeddings, in seconds."""
        return TRANSFER_TIMEOUT_FACTOR * self.call_timeout_s

    # Files and batches

    @abstractmethod
    def upload_file(
        self, path: Path, *, display_name: str, sha256: str, size: int, model: str
    ) -> str:
        """Upload a sealed file; return its remote name, `files/…`, once it is verified.

        Each retry starts a new upload at byte 0. Files of failed uploads are deleted if possible.

        Args:
            display_name: The name of the upload, also for messages.
            sha256: The hash of the sealed file in hex.
            size: The size of the sealed file in bytes.
            model: The name of the model that the file asks.

        Raises:
            InconsistentError: The local file is missing or has another size.
            RemoteError: The upload was refused, or failed until the retry time was used up.
        """

    def _check_sealed_file(self, path: Path, size: int) -> None:
        """Raise InconsistentError if a file is missing or does not have its sealed size."""
        if not path.is_file() or path.stat().st_size != size:
            raise InconsistentError(
                f"{path} is missing or does not have the {size:,} bytes that were sealed",
                hint=DOCTOR_HINT,
            )

    @abstractmethod
    def delete_file_or_batch(self, name: str) -> None:
        """Delete an upload, `files/…`, or a batch; succeed if it is missing or not accessible."""

    def create_batch(self, model: str, *, file_name: str, display_name: str) -> RemoteBatch:
        """Create a remote batch with exactly one attempt, and return it as it is described.

        Args:
            model: The name of the model.
            file_name: The uploaded request file, `files/…`.
            display_name: The name by which the batch is found again.

        Raises:
            InconsistentError: The file name is malformed.
            RefusedError: A clear refusal (4xx other than 408, 409, 499); no batch was made. Its
                subclass, such as ThrottledError, gives the reason.
            NotSentError: No connection was made; no batch was made.
            UnavailableError: It is unclear whether a batch was made: 5xx, 408, 409, 499, a
                time-out, a cut connection, or a reply that does not name exactly this batch. The
                caller has to look for the display name before another create.
        """

        async def create() -> RemoteBatch:
            batch = await self._create_batch(model, file_name, display_name)
            # If the reply is inconsistent, only the list of batches shows which batch is ours.
            if batch.display_name not in {"", display_name}:
                raise UnreadableReplyError("the reply is about another batch")
            return batch

        attempt = self.attempt_call(
            create, action=f"create batch {display_name}", timeout_s=self.create_timeout_s
        )
        return self.run(attempt)

    @abstractmethod
    async def _create_batch(self, model: str, file_name: str, display_name: str) -> RemoteBatch:
        """Send the create call of `create_batch`, and return the batch of its reply."""

    def get_batch(self, name: str) -> RemoteBatch:
        """Return a batch as the provider describes it now; failed calls are repeated.

        Raises:
            InconsistentError: The name is malformed.
            MissingError: The batch is missing or not accessible. It may have run nevertheless.
            AskrowsError: The call failed for another reason, or its reply is about another batch.
        """

        async def fetch() -> RemoteBatch:
            batch = await self._fetch_batch(name)
            if batch.name != name:
                raise UnreadableReplyError("the reply is about another batch")
            return batch

        return self.call_with_retries(fetch, action=f"read {name}")

    @abstractmethod
    async def _fetch_batch(self, name: str) -> RemoteBatch:
        """Send the call of `get_batch`, and return the batch of its reply."""

    @abstractmethod
    def list_batches(self) -> list[RemoteBatch]:
        """Return all batches in the provider's order (newest first); never a part of the list.

        Each page has its own retries; see `_fetch_all_pages`.
        """

    def _fetch_all_pages(
        self, fetch_page: Callable[[str], Awaitable[tuple[list[T], str]]]
    ) -> list[T]:
        """Return the entries of all pages of the list of batches.

        Args:
            fetch_page: Returns the entries of the page with a token, and the token of the next
                page. The token of the first page, and after the last page, is "".

        Raises:
            UnavailableError: A page cannot be read, a page names an earlier page as the next, or
                there are more than MAX_LIST_PAGES pages. The list may be incomplete then, so it
                proves the absence of no batch.
        """
        entries: list[T] = []
        tokens = [""]
        while len(tokens) <= MAX_LIST_PAGES:
            page, token = self.call_with_retries(
                partial(fetch_page, tokens[-1]), action="list the batches"
            )
            entries += page
            if not token:
                return entries
            if token in tokens:
                break
            tokens.append(token)
        raise UnavailableError(
            f"the list of batches at {self.provider.name} cannot be read to its end: "
            f"a page names an earlier page as the next page, or there are over {MAX_LIST_PAGES:,}",
            hint=RUN_LATER_HINT,
        )

    @abstractmethod
    def cancel_batch(self, name: str) -> None:
        """Ask the provider to stop a batch; it may still end otherwise."""

    @abstractmethod
    def download_result(self, file_name: str, part_path: Path, *, keys: Iterable[str]) -> str:
        """Write the lines of a result to `part_path` with little memory.

        The file is not synced. A body that was cut and has no length looks complete, so the caller
        has to count its lines.

        Args:
            file_name: The name of the result, `files/…`.
            part_path: The file to write. It is removed if an error is raised.
            keys: The keys of the batch's requests, to find those that are too long for the wire.

        Returns:
            The SHA-256 of the bytes as they came.

        Raises:
            InconsistentError: The file name is malformed.
            IncompleteError: Each attempt got fewer bytes than its length, its chunks or its gzip
                trailer say.
            ConfigurationError: The file cannot be written.
            AskrowsError: The call failed for another reason, after all retries.
        """

    def _append_whole_download_and_hash(
        self, file_name: str, *, url: str, file: BinaryIO, path: Path
    ) -> str:
        """Append the bytes of a remote file to an open file; a retry begins at the same place.

        Gzip data are unpacked.

        Args:
            file_name: The remote name, `files/…`, for messages.
            url: The address of the bytes.
            file: The file, which stays open.
            path: The path of the file for messages.

        Returns:
            The SHA-256 of the bytes of the remote file.

        Raises:
            IncompleteError: The connection or the gzip data ended early.
            AskrowsError: The call failed for another reason, after all retries.
        """
        start = file.tell()

        async def download_and_hash_once() -> str:
            """Write the whole remote file from `start` on, and return its SHA-256.

            Bytes of an earlier attempt are removed first.
            """
            running_call.get().is_download = True
            digest = hashlib.sha256()
            try:
                with convert_disk_errors(path):
                    file.seek(start)
                    file.truncate()
                    stream = self._http_client.stream("GET", url, headers=self.headers)
                    async with stream as response:
                        await self._check_response(response)
                        gzip_stream = wrap_gzip_stream(response)
                        async for chunk in response.aiter_bytes():
                            file.write(chunk)
                            digest.update(chunk)
                            extend_running_call_timeout(len(chunk))
                    file.flush()
                    size_bytes = file.tell() - start
            except httpx2.RemoteProtocolError as error:
                raise IncompleteError(
                    f"only a part of {file_name} was downloaded: the connection ended early",
                    hint=RUN_LATER_HINT,
                ) from error
            if gzip_stream is not None and not gzip_stream.has_unpacked_size(size_bytes):
                raise IncompleteError(
                    f"only a part of {file_name} was downloaded: its gzip data end early",
                    hint=RUN_LATER_HINT,
                )
            return digest.hexdigest()

        return self.call_with_retries(
            download_and_hash_once,
            action=f"download {file_name}",
            timeout_s=self.transfer_timeout_s,
        )

    @property
    @abstractmethod
    def headers(self) -> Mapping[str, str]:
        """Return the header with the key, for calls without an SDK."""

    @abstractmethod
    async def _check_response(self, response: httpx2.Response) -> None:
        """Raise the error of a response that is a refusal."""

    # Live calls

    @abstractmethod
    async def generate(
        self,
        model: str,
        request: Mapping[str, Any],
        *,
        service_tier: str = STANDARD,
        on_send: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Send one request live with a single attempt, and return the raw reply document.

        After an UnavailableError the request may have been answered and charged.

        Args:
            request: The request object of a batch line.
            service_tier: The provider's service tier. STANDARD is not sent.
            on_send: Called directly before the request is sent; see `Transport.attempt_call`.

        Returns:
            The reply. If the provider names the service tier that answered, it is in
            `usageMetadata` as `serviceTier`.

        Raises:
            RemoteError: The call failed, or the reply is not a JSON object or is empty. A reply
                with status 200 that contains an error is handled like a reply with its code.
        """

    def find_live_timeout_s(self, service_tier: str) -> float:
        """Return the time-out of a live call, at least `min_timeout_s` of a mode of the tier."""
        min_timeouts_s = [
            mode.facts.min_timeout_s for mode in Mode if mode.facts.tier == service_tier
        ]
        return max(self.call_timeout_s, *min_timeouts_s)

    async def _make_live_call(
        self,
        call: Callable[[], Awaitable[dict[str, Any]]],
        *,
        action: str,
        timeout_s: float,
        on_send: Callable[[], None] | None,
    ) -> dict[str, Any]:
        """Make a live call with a single attempt, from any event loop, and return its reply."""
        attempt = self.attempt_call(call, action=action, timeout_s=timeout_s, on_send=on_send)
        return await asyncio.wrap_future(self.start(attempt))

    async def ask_decision_model(
        self,
        model: str,
        request: Mapping[str, Any],
        *,
        on_send: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Ask closed questions with a single attempt, and return the raw reply document.

        A decision model replies a probability for each option of a question. After an
        UnavailableError the request may have been answered and charged.

        Args:
            model: The name of a decision model.
            request: `input` and `questions` of the body.
            on_send: Called directly before the request is sent; see `Transport.attempt_call`.

        Raises:
            RemoteError: As `generate`.
            ConfigurationError: The provider has no decision models. `Service.check_mode_is_offered`
                refuses them before.
        """
        del request, on_send
        raise ConfigurationError(
            f"{self.provider.name} has no decision models; {model} was not asked"
        )

    def embed(
        self,
        model: Model,
        texts: Sequence[str],
        *,
        dim: int,
        is_query: bool,
        is_paced: bool = False,
    ) -> "Vectors":
        """Embed texts; return their vectors in the same order, as float32 (len(texts), dim).

        Each vector is scaled to length 1; a document's vector of zeros stays zero. Failed calls are
        repeated. If a document has no usable vector in a repeated call either, its vector is NaN.

        Args:
            texts: 1 to `Provider.max_embed_texts` texts that are not blank.
            dim: Numbers per vector.
            is_query: The texts are search queries, not documents. A person waits for them, so their
                time-out is that of a short call, and a missing connection is an error at once.
            is_paced: The caller handles quotas, so a ThrottledError is raised at once.

        Raises:
            ValueError: There are too few or too many texts, or a text is blank.
            AskrowsError: The call failed after all retries, or its vectors are unusable.
        """
        max_texts = self.provider.max_embed_texts
        if not 0 < len(texts) <= max_texts or not all(text.strip() for text in texts):
            raise ValueError(
                f"a call embeds 1 to {max_texts} texts, none of them blank; it got {len(texts)}",
            )
        attempt_numbers = itertools.count()
        timeout_s = self.call_timeout_s if is_query else self.transfer_timeout_s

        async def request_vectors() -> "Vectors":
            """Send the texts; return checked vectors, or raise ValueError if one is unusable."""
            is_repeated = next(attempt_numbers) > 0
            return check_and_normalize_vectors(
                await self._fetch_vectors(model, texts, dim=dim, is_query=is_query),
                count=len(texts),
                dim=dim,
                is_query=is_query,
                may_have_gaps=is_repeated and not is_query,
            )

        return self.call_with_retries(
            request_vectors,
            action=f"embed {plural(len(texts), 'text')} with {model.name}",
            timeout_s=timeout_s,
            should_wait_for_quota=not is_paced,
            should_wait_for_connection=not is_query,
        )

    @abstractmethod
    async def _fetch_vectors(
        self, model: Model, texts: Sequence[str], *, dim: int, is_query: bool
    ) -> list[Any]:
        """Send the call of `embed`, and return the vectors of its reply unchecked."""

    @abstractmethod
    def fetch_model_description(self, name: str) -> dict[str, Any]:
        """Return the provider's description of a model; failed calls are repeated.

        Raises:
            MissingError: The provider knows no model of that name.
            AskrowsError: The call failed for another reason, or the reply describes no model.
        """


@contextlib.contextmanager
def convert_disk_errors(path: Path) -> Iterator[None]:
    """Raise ConfigurationError for an error of the disk; errors of networks are of other types."""
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            f"cannot write {path}: {error.strerror}",
            hint="free disk space, then run the same command again",
        ) from error
