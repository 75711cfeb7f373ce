"""The one client of Gemini's API: what can be asked of it, and what each answer must be to count.

What a newcomer would get wrong: creating a batch is not idempotent and takes no key of ours, so `create_batch` makes
exactly one attempt and says honestly when it cannot know what became of it. Everything else is repeated by `transport`,
which also bounds every call in time and turns every failure into one of our errors.

The SDK drops half of what the API says of a batch, so answers are read raw; what needs no network stands beside this
module, in `operations`, `error_mapping` and `embeddings`.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.core.errors import (
    InconsistentError,
    MissingError,
    ThrottledError,
    UnavailableError,
)
from pipeline.gemini import models
from pipeline.gemini.async_client import LiveClient
from pipeline.gemini.embeddings import frame_text, task_type, unit_rows
from pipeline.gemini.limits import LIST_PAGE_SIZE, MAX_EMBED_TEXTS
from pipeline.gemini.operations import (
    BATCH_NAME,
    FILE_NAME,
    RemoteBatch,
    RemoteFile,
    UnreadableError,
    read_files,
    read_models,
    read_operation,
    read_page,
)
from pipeline.gemini.transfers import MIME_TYPES, DownloadPart, Upload, Uploader
from pipeline.gemini.transport import Transport

if TYPE_CHECKING:
    import numpy as np
    from google import genai
    from google.genai import types


MOST_EMPTY_PAGES = 20  # ours: in a row; an empty page may name itself as the next one, once or twice
FILE_PAGE_SIZE = 100  # the API's most (Files API, read 2026-11)
MODEL_PAGE_SIZE = 1000  # the API's most (models.list, read 2026-11)

T = TypeVar("T")


class Client:
    """Speaks to one base URL with one key. Usable from several threads; `close` it at the end."""

    def __init__(
        self,
        *,
        api_key: str,
        base_url: str | None = None,
        api_version: str = "v1beta",
        create_timeout_s: float = 60,
        call_timeout_s: float = 60,
        transfer_timeout_s: float = 600,
        retry_for_s: float = 60,
        first_wait_s: float = 1.0,
        trust_env: bool = True,
        mime_types: Sequence[str] = MIME_TYPES,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Keep how to connect; nothing is opened or imported before the first call.

        Nothing is read from the environment but, with `trust_env`, proxies and certificates. Time-outs are seconds
        without any sign of life; `retry_for_s` bounds the waits of one operation together.

        Raises:
            ConfigurationError: the key is empty or holds what no HTTP header can.
        """
        self._transport = Transport(
            api_key=api_key,
            base_url=base_url,
            api_version=api_version,
            call_timeout_s=call_timeout_s,
            retry_for_s=retry_for_s,
            first_wait_s=first_wait_s,
            trust_env=trust_env,
            sleep=sleep,
            now=now,
        )
        self._create_timeout_s = create_timeout_s
        self._call_timeout_s = call_timeout_s
        self._transfer_timeout_s = transfer_timeout_s
        self._uploader = Uploader(self._transport, tuple(mime_types), seconds=transfer_timeout_s, sleep=sleep)

    def upload(self, path: Path, *, display_name: str, sha256: str, size: int) -> Upload:
        """Upload a sealed file and return it when it is ACTIVE and the API has all of its bytes; see `Uploader`.

        Raises:
            InconsistentError: the local file has not the size it was sealed with; nothing was sent.
            RefusedError: refused, with every MIME type where that was the reason.
            UnavailableError, NotSentError: no whole upload within the bound.
        """
        return self._uploader.upload(path, display_name=display_name, sha256=sha256, size=size)

    def delete_upload(self, name: str) -> None:
        """Delete an upload; one that is gone or not ours any more (403, 404) counts as deleted."""
        _check_name(name, FILE_NAME, "file")
        self._delete(lambda sdk: sdk.files.delete, name)

    def create_batch(self, model: str, *, file_name: str, display_name: str) -> RemoteBatch:
        """Create a batch with exactly one attempt, and return what the API says of it.

        Raises:
            RefusedError: a clear no (4xx other than 408, 409, 499); no batch was made. Its kinds say why.
            NotSentError: no connection was made; no batch was made.
            UnavailableError: unclear (5xx, 408, 409, 499, time-out, cut connection, an answer without a batch's name
                or with another display name): a batch may exist. Look for the display name before anything else.
        """
        _check_name(file_name, FILE_NAME, "file")
        seconds = self._create_timeout_s

        def create(sdk: "genai.Client") -> RemoteBatch:
            """Send the call once and read the raw operation."""
            config: Any = {"display_name": display_name, **self._transport.options(seconds)}
            document = self._transport.raw_document(
                lambda: sdk.batches.create(model=model, src=file_name, config=config)
            )
            made = read_operation(document)
            inside = document.get("metadata")
            if made.display_name not in {"", display_name}:
                raise UnreadableError("the answer is about another batch")
            if isinstance(inside, dict) and inside.get("name", made.name) != made.name:
                raise UnreadableError("the answer names two batches")  # the list tells which is ours
            return made

        return self._transport.attempt(create, what=f"create batch {display_name}", seconds=seconds)

    def get_batch(self, name: str) -> RemoteBatch:
        """Return what the API says of one batch now.

        Raises:
            MissingError: it was deleted, or belongs to another project. Not proof that it never ran.
        """
        _check_name(name, BATCH_NAME, "batch")

        def look(sdk: "genai.Client") -> RemoteBatch:
            """Ask once and read the raw operation."""
            config = self._transport.options()
            batch = read_operation(self._transport.raw_document(lambda: sdk.batches.get(name=name, config=config)))
            if batch.name != name:
                raise UnreadableError("the answer is about another batch")
            return batch

        return self._transport.with_retries(look, what=f"read {name}")

    def list_batches(self) -> list[RemoteBatch]:
        """Return every batch the API lists, in its order (newest first), or raise; never a part of the list.

        Raises:
            UnavailableError: a page could not be had within the bound, or the pages do not end.
        """
        return self._all_pages(lambda sdk: sdk.batches.list, read_page, what="list the batches", size=LIST_PAGE_SIZE)

    def list_files(self) -> list[RemoteFile]:
        """Return every file the API keeps for this key, uploads and results.

        Raises:
            UnavailableError: a page could not be had within the bound, or the pages do not end.
        """
        return self._all_pages(lambda sdk: sdk.files.list, read_files, what="list the files", size=FILE_PAGE_SIZE)

    def list_models(self) -> list[str]:
        """Return the names of the models that this key can reach, without `models/`.

        Raises:
            UnavailableError: a page could not be had within the bound, or the pages do not end.
        """
        return self._all_pages(lambda sdk: sdk.models.list, read_models, what="list the models", size=MODEL_PAGE_SIZE)

    def cancel_batch(self, name: str) -> None:
        """Ask the API to stop a batch; it may still end otherwise, so look at it afterwards.

        Raises:
            MissingError: it is not there, or not ours.
        """
        _check_name(name, BATCH_NAME, "batch")

        def cancel(sdk: "genai.Client") -> None:
            """Ask once, and take no HTML page for a yes."""
            sdk.batches.cancel(name=name, config=self._transport.options())
            self._transport.check_done()

        self._transport.with_retries(cancel, what=f"cancel {name}")

    def delete_batch(self, name: str) -> None:
        """Delete a batch at the API; one that is gone (403, 404) counts as deleted."""
        _check_name(name, BATCH_NAME, "batch")
        self._delete(lambda sdk: sdk.batches.delete, name)

    def _delete(self, method: "Callable[[genai.Client], Callable[..., object]]", name: str) -> None:
        """Delete by name what may be gone already."""
        config = self._transport.options()
        with contextlib.suppress(MissingError):
            self._transport.with_retries(lambda sdk: method(sdk)(name=name, config=config), what=f"delete {name}")

    def download(self, file_name: str, part: Path) -> int:
        """Write a result file to `part` at flat memory and return its size in bytes; nothing is synced here.

        By name only: a URI would be cut at the dash by the SDK, and `files.get` refuses names of results. Each retry
        writes the file from its start. A cut body without a length looks whole, so count its lines afterwards. When
        this raises, no `part` is left.

        Raises:
            ConfigurationError: `part` cannot be written, the disk is full for instance.
            MissingError: the result is not there any more.
        """
        _check_name(file_name, FILE_NAME, "file")
        seconds = self._transfer_timeout_s

        def fetch(sdk: "genai.Client") -> int:
            with DownloadPart(part) as target:
                destination: Any = target  # the SDK takes anything with a write method
                sdk.files.download(file=file_name, destination=destination, config=self._transport.options(seconds))
                return target.size

        try:
            return self._transport.with_retries(fetch, what=f"download {file_name}", seconds=seconds)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def live(self) -> LiveClient:
        """Return the client for live calls, many at once; to be entered by `async with`, in one event loop."""
        return LiveClient(self._transport, seconds=self._call_timeout_s)

    def embed(
        self, model: "models.Model | str", texts: Sequence[str], *, dim: int, query: bool, is_paced: bool = False
    ) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
        """Return float32 (len(texts), dim) with rows of unit length, in the order of `texts`; at most 100 texts.

        Where the caller `is_paced`, a refusal for a quota is raised at once: it is waited for with the other calls'.

        Each text is a content of its own. A task type is sent for `gemini-embedding-001` and the local models; for
        `gemini-embedding-2` the task stands in the text: `task: search result | query: …` for a query, and
        `title: none | text: …` for a document.

        Raises:
            ValueError: no text, more than 100, or a blank one.
            UnavailableError: the vectors do not fit the texts, however often they were asked for.
        """
        if not 0 < len(texts) <= MAX_EMBED_TEXTS or not all(text.strip() for text in texts):
            raise ValueError(f"one call embeds 1 to {MAX_EMBED_TEXTS} texts that are not blank, not {len(texts)}")
        known = models.known_model(model) if isinstance(model, str) else model
        seconds = self._call_timeout_s if query else self._transfer_timeout_s  # a user waits for a question's vector

        def ask(sdk: "genai.Client") -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
            """Send the texts once and check what comes back."""
            contents, config = _embedding(known, texts, dim=dim, query=query, options=self._transport.options(seconds))
            reply = sdk.models.embed_content(model=known.name, contents=contents, config=config)
            vectors = [embedding.values for embedding in reply.embeddings or ()]
            return unit_rows(vectors, count=len(texts), dim=dim)

        what, at_once = f"embed {len(texts)} texts with {known.name}", (ThrottledError,) if is_paced else ()
        return self._transport.with_retries(ask, what=what, seconds=seconds, at_once=at_once)

    def close(self) -> None:
        """Close the connections; closing twice does no harm."""
        self._transport.close()

    def _all_pages(
        self,
        method: "Callable[[genai.Client], Callable[..., object]]",
        read: Callable[[Any], tuple[list[T], str]],
        *,
        what: str,
        size: int,
    ) -> list[T]:
        """Return what stands on all pages of a list, each fetched with its own retries; never a part of it.

        An empty page that names a next one is passed over.

        Raises:
            UnavailableError: a page leads back to an earlier one that held something, or too many are empty.
        """
        found: list[T] = []
        token, seen, empty = "", set[str](), 0
        while True:
            config = {"page_size": size, **({"page_token": token} if token else {}), **self._transport.options()}
            page, following = self._page(method, read, config, what=what)
            found += page
            if page:
                seen.add(token)
            empty = 0 if page else empty + 1
            if not following:
                return found
            if following in seen or empty > MOST_EMPTY_PAGES:
                raise UnavailableError(f"the pages do not end, when asked to {what}")
            token = following

    def _page(
        self,
        method: "Callable[[genai.Client], Callable[..., object]]",
        read: Callable[[Any], tuple[list[T], str]],
        config: dict[str, Any],
        *,
        what: str,
    ) -> tuple[list[T], str]:
        return self._transport.with_retries(
            lambda sdk: read(self._transport.raw_document(lambda: method(sdk)(config=config))), what=what
        )


def _embedding(
    model: models.Model, texts: Sequence[str], *, dim: int, query: bool, options: dict[str, Any]
) -> "tuple[list[Any], types.EmbedContentConfig]":
    """Return contents and config for an embedding call: one content per text."""
    from google.genai import types

    contents = [
        types.Content(role="user", parts=[types.Part(text=frame_text(text, model, query=query))]) for text in texts
    ]
    config = types.EmbedContentConfig(
        output_dimensionality=dim,
        task_type=task_type(model, query=query),
        http_options=types.HttpOptions.model_validate(options["http_options"]),
    )
    return contents, config


def _check_name(name: str, form: Any, what: str) -> None:
    """Refuse a name that could never be one, before anything is sent."""
    if not form.fullmatch(name):
        raise InconsistentError(f"{name!r} is no name of a {what} at Gemini", hint=_DOCTOR)


_DOCTOR = "run `make doctor`"
