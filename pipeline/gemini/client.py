"""The one client of Gemini's API: what can be asked of it, and what each answer must be to count.

What a newcomer would get wrong: creating a batch is not idempotent and takes no key of ours, so `create_batch` makes
exactly one attempt and says honestly when it cannot know what became of it. Everything else is repeated by `transport`,
which also bounds every call in time and turns every failure into one of our errors.

The SDK drops half of what the API says of a batch, so answers are read raw; what needs no network stands beside this
module, in `operations`, `error_mapping` and `embeddings`.
"""

import contextlib
from collections.abc import Callable, Sequence
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
from pipeline.gemini.transfers import DownloadPart, Upload, Uploader
from pipeline.gemini.transport import Transport

if TYPE_CHECKING:
    import numpy as np
    from google import genai
    from google.genai import types


MOST_EMPTY_PAGES = 20  # ours: in a row; an empty page may name itself as the next one, once or twice
FILE_PAGE_SIZE = 100  # the API's most (Files API, read 2026-11)
MODEL_PAGE_SIZE = 1000  # the API's most (models.list, read 2026-11)

T = TypeVar("T")

STILL = 10  # times as long as a call may take a transfer may stand still


class Client:
    """Speaks to one base URL with one key. Usable from several threads; `close` it at the end."""

    def __init__(
        self,
        transport: Transport,
        *,
        create_timeout_s: float = 60,
    ) -> None:
        """Keep what makes the calls, and what bounds creates, in seconds without any sign of life."""
        self._transport = transport
        self._create_timeout_s = create_timeout_s
        self._transfer_timeout_s = STILL * transport.call_timeout_s
        self._uploader = Uploader(transport, seconds=self._transfer_timeout_s)

    def upload(self, path: Path, *, display_name: str, sha256: str, size: int) -> Upload:
        """Upload a sealed file and return it when the API has all of it; raises what `Uploader.upload` does."""
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
        """Return every file the API keeps for this key, uploads and results; raises what `list_batches` does."""
        return self._all_pages(lambda sdk: sdk.files.list, read_files, what="list the files", size=FILE_PAGE_SIZE)

    def list_models(self) -> list[str]:
        """Return the names of the models this key can reach, without `models/`; raises what `list_batches` does."""
        return self._all_pages(lambda sdk: sdk.models.list, read_models, what="list the models", size=MODEL_PAGE_SIZE)

    def cancel_batch(self, name: str) -> None:
        """Ask the API to stop a batch; it may still end otherwise, so look at it afterwards.

        Raises:
            MissingError: it is not there, or not ours.
        """
        _check_name(name, BATCH_NAME, "batch")

        def cancel(sdk: "genai.Client") -> None:
            sdk.batches.cancel(name=name, config=self._transport.options())
            self._transport.check_done()

        self._transport.with_retries(cancel, what=f"cancel {name}")

    def delete_batch(self, name: str) -> None:
        """Delete a batch at the API; one that is gone (403, 404) counts as deleted."""
        _check_name(name, BATCH_NAME, "batch")
        self._delete(lambda sdk: sdk.batches.delete, name)

    def _delete(self, method: "Callable[[genai.Client], Callable[..., object]]", name: str) -> None:
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
        return LiveClient(self._transport, seconds=self._transport.call_timeout_s)

    def embed(
        self, model: models.Model, texts: Sequence[str], *, dim: int, query: bool, is_paced: bool = False
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
        seconds = self._transport.call_timeout_s if query else self._transfer_timeout_s  # a user waits for a query's

        def ask(sdk: "genai.Client") -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
            contents, config = _embedding(model, texts, dim=dim, query=query, options=self._transport.options(seconds))
            reply = sdk.models.embed_content(model=model.name, contents=contents, config=config)
            vectors = [embedding.values for embedding in reply.embeddings or ()]
            return unit_rows(vectors, count=len(texts), dim=dim)

        what, at_once = f"embed {len(texts)} texts with {model.name}", (ThrottledError,) if is_paced else ()
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
        """
        found: list[T] = []
        token, seen, empty = "", set[str](), 0
        while True:
            config = {"page_size": size, **({"page_token": token} if token else {}), **self._transport.options()}

            def ask(sdk: "genai.Client", config: dict[str, Any] = config) -> tuple[list[T], str]:
                return read(self._transport.raw_document(lambda: method(sdk)(config=config)))

            page, following = self._transport.with_retries(ask, what=what)
            found += page
            if page:
                seen.add(token)
            empty = 0 if page else empty + 1
            if not following:
                return found
            if following in seen or empty > MOST_EMPTY_PAGES:
                raise UnavailableError(f"the pages do not end, when asked to {what}")
            token = following


def _embedding(
    model: models.Model, texts: Sequence[str], *, dim: int, query: bool, options: dict[str, Any]
) -> "tuple[list[Any], types.EmbedContentConfig]":
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
    if not form.fullmatch(name):
        raise InconsistentError(f"{name!r} is no name of a {what} at Gemini", hint=_DOCTOR)


_DOCTOR = "run `make doctor`"
