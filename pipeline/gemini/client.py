"""The one client of Gemini's API: what can be asked of it, and what each answer must be to count.

What a newcomer would get wrong: creating a batch is not idempotent and takes no key of ours, so `create_batch` makes
exactly one attempt and says honestly when it cannot know what became of it. Everything else is repeated, by our own
loop in `channel`, which also bounds every call in time and turns every failure into one of our errors.

The SDK drops half of what the API says of a batch, so answers are read raw (`channel.document`); what needs no network
stands beside this module, in `operations`, `refusals`, `transfers` and `embeddings`.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.core.errors import (
    FindableError,
    InconsistentError,
    MissingError,
    RefusedError,
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
from pipeline.gemini.transfers import DownloadPart, check_arrived, file_in
from pipeline.gemini.transport import Transport

if TYPE_CHECKING:
    import numpy as np
    from google import genai
    from google.genai import types


MIME_TYPES = ("jsonl", "application/jsonl", "application/json", "text/plain")  # live refusals differ (2025-10)
MOST_EMPTY_PAGES = 20  # ours: in a row; an empty page may name itself as the next one, once or twice
MOST_PAGES = 1000  # ours: of a list of files or models
FILE_PAGE_SIZE = 100  # the API's most (Files API, read 2026-11)
MODEL_PAGE_SIZE = 1000  # the API's most (models.list, read 2026-11)
LOOK_EVERY_S = 2.0  # ours: between two looks at an upload that is being processed

T = TypeVar("T")


@dataclass(frozen=True)
class Upload:
    """An upload that is whole at the API: its name there (`files/…`) and its size in bytes."""

    name: str
    size: int


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
        self._channel = Transport(
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
        self._mime_types = tuple(mime_types)
        self._sleep = sleep

    def upload(self, path: Path, *, display_name: str, sha256: str, size: int) -> Upload:
        """Upload a sealed file and return it when it is ACTIVE and the API has all of its bytes.

        The size must agree, and the hash (hex) where the API tells one. A failure anywhere begins again from byte 0
        with a new upload; what a failed one left is deleted as well as can be. A refused MIME type tries the next.

        Raises:
            InconsistentError: the file here has not the size it was sealed with; nothing was sent.
            RefusedError: refused, with every MIME type where that was the reason.
            UnavailableError, NotSentError: no whole upload within the bound.
        """
        if not path.is_file() or path.stat().st_size != size:
            raise InconsistentError(f"{path} is not there with the {size} bytes it was sealed with", hint=_DOCTOR)
        for mime_type in self._mime_types[:-1]:
            try:
                return self._upload_as(mime_type, path, display_name=display_name, sha256=sha256, size=size)
            except RefusedError as refused:
                if "mime type" not in refused.message.lower():
                    raise
        return self._upload_as(self._mime_types[-1], path, display_name=display_name, sha256=sha256, size=size)

    def delete_upload(self, name: str) -> None:
        """Delete an upload; one that is gone or not ours any more (403, 404) counts as deleted."""
        _check_name(name, FILE_NAME, "file")
        with contextlib.suppress(MissingError):
            self._channel.patiently(
                lambda sdk: sdk.files.delete(name=name, config=self._channel.options()), what=f"delete {name}"
            )

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
            config: Any = {"display_name": display_name, **self._channel.options(seconds)}
            with self._channel.raw():
                sdk.batches.create(model=model, src=file_name, config=config)
            document = self._channel.document()
            made = read_operation(document)
            inside = document.get("metadata")
            if made.display_name not in {"", display_name}:
                raise UnreadableError("the answer is about another batch")
            if isinstance(inside, dict) and inside.get("name", made.name) != made.name:
                raise UnreadableError("the answer names two batches")  # the list tells which is ours
            return made

        return self._channel.once(create, what=f"create batch {display_name}", seconds=seconds)

    def get_batch(self, name: str) -> RemoteBatch:
        """Return what the API says of one batch now.

        Raises:
            MissingError: it was deleted, or belongs to another project. Not proof that it never ran.
        """
        _check_name(name, BATCH_NAME, "batch")

        def look(sdk: "genai.Client") -> RemoteBatch:
            """Ask once and read the raw operation."""
            with self._channel.raw():
                sdk.batches.get(name=name, config=self._channel.options())
            batch = read_operation(self._channel.document())
            if batch.name != name:
                raise UnreadableError("the answer is about another batch")
            return batch

        return self._channel.patiently(look, what=f"read {name}")

    def list_batches(self) -> list[RemoteBatch]:
        """Return every batch the API lists, in its order (newest first), or raise; never a part of the list.

        Pages are fetched one by one, each with its own retries. An empty page that names a next one is passed over.

        Raises:
            UnavailableError: a page could not be had within the bound, or the pages go in a circle.
        """
        batches: list[RemoteBatch] = []
        token, read, empty = "", set[str](), 0
        while True:
            page, following = self._page(token)
            batches += page
            if page:
                read.add(token)
            empty = 0 if page else empty + 1
            if not following:
                return batches
            if following in read or empty > MOST_EMPTY_PAGES:
                raise UnavailableError("the list of batches does not end: a page leads back to an earlier one")
            token = following

    def list_files(self) -> list[RemoteFile]:
        """Return every file the API keeps for this key, uploads and results, page by page.

        Raises:
            UnavailableError: a page could not be had within the bound, or the pages do not end.
        """

        def look(sdk: "genai.Client", config: Any) -> tuple[list[RemoteFile], str]:
            """Fetch one page once."""
            with self._channel.raw():
                sdk.files.list(config=config)
            return read_files(self._channel.document())

        return self._everything(look, what="list the files", page_size=FILE_PAGE_SIZE)

    def list_models(self) -> list[str]:
        """Return the names of the models that this key can reach, without `models/`.

        Raises:
            UnavailableError: a page could not be had within the bound, or the pages do not end.
        """

        def look(sdk: "genai.Client", config: Any) -> tuple[list[str], str]:
            """Fetch one page once."""
            with self._channel.raw():
                sdk.models.list(config=config)
            return read_models(self._channel.document())

        return self._everything(look, what="list the models", page_size=MODEL_PAGE_SIZE)

    def cancel_batch(self, name: str) -> None:
        """Ask the API to stop a batch; it may still end otherwise, so look at it afterwards.

        Raises:
            MissingError: it is not there, or not ours.
        """
        _check_name(name, BATCH_NAME, "batch")

        def cancel(sdk: "genai.Client") -> None:
            """Ask once, and take no page for a yes."""
            sdk.batches.cancel(name=name, config=self._channel.options())
            self._channel.check_done()

        self._channel.patiently(cancel, what=f"cancel {name}")

    def delete_batch(self, name: str) -> None:
        """Delete a batch at the API; one that is gone (403, 404) counts as deleted."""
        _check_name(name, BATCH_NAME, "batch")
        with contextlib.suppress(MissingError):
            self._channel.patiently(
                lambda sdk: sdk.batches.delete(name=name, config=self._channel.options()), what=f"delete {name}"
            )

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
            """Stream the file once."""
            with DownloadPart(part) as target:
                destination: Any = target  # the SDK takes anything with a write method
                sdk.files.download(file=file_name, destination=destination, config=self._channel.options(seconds))
                return target.size

        try:
            return self._channel.patiently(fetch, what=f"download {file_name}", seconds=seconds)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def live(self) -> LiveClient:
        """Return the client for live calls, many at once; to be entered by `async with`, in one event loop."""
        return LiveClient(self._channel, seconds=self._call_timeout_s)

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
        seconds = self._call_timeout_s if query else self._transfer_timeout_s  # somebody waits for a question's vector

        def ask(sdk: "genai.Client") -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
            """Send the texts once and check what comes back."""
            contents, config = _embedding(known, texts, dim=dim, query=query, options=self._channel.options(seconds))
            reply = sdk.models.embed_content(model=known.name, contents=contents, config=config)
            vectors = [embedding.values for embedding in reply.embeddings or ()]
            return unit_rows(vectors, count=len(texts), dim=dim)

        what, at_once = f"embed {len(texts)} texts with {known.name}", (ThrottledError,) if is_paced else ()
        return self._channel.patiently(ask, what=what, seconds=seconds, at_once=at_once)

    def close(self) -> None:
        """Close the connections; closing twice does no harm."""
        self._channel.close()

    def _upload_as(self, mime_type: str, path: Path, *, display_name: str, sha256: str, size: int) -> Upload:
        """Upload with one MIME type, from the start again after each failure, within the bound."""
        seconds = self._transfer_timeout_s

        def send(sdk: "genai.Client") -> Upload:
            """Upload once, wait until it is ACTIVE, and hold it against the file here."""
            config: Any = {"display_name": display_name, "mime_type": mime_type, **self._channel.options(seconds)}
            file: dict[str, Any] | None = None
            try:
                self._send_file(sdk, path, config)
                file = file_in(self._channel.document())
                check_arrived(self._active(sdk, file), sha256=sha256, size=size)
            except Exception:
                self._delete_orphan(file)
                raise
            return Upload(file["name"], size)

        return self._channel.patiently(send, what=f"upload {path.name}", seconds=seconds)

    def _send_file(self, sdk: "genai.Client", path: Path, config: Any) -> None:
        """Send the file once; a refusal that hides in a 200 (as a missing `file`) is raised as what it is."""
        try:
            sdk.files.upload(file=path, config=config)
        except KeyError:
            document = self._channel.document()
            error = document.get("error") if isinstance(document, dict) else None
            if not isinstance(error, dict) or not isinstance(error.get("code"), int):
                raise
            raise self._channel.refused(error["code"], document, what=f"upload {path.name}") from None

    def _delete_orphan(self, file: dict[str, Any] | None) -> None:
        """Delete what a failed upload left, when it is known and as well as can be; Google does it after two days."""
        with contextlib.suppress(FindableError, ValueError):
            name = (file or file_in(self._channel.document()))["name"]
            self._channel.once(lambda sdk: sdk.files.delete(name=name), what=f"delete {name}")

    def _active(self, sdk: "genai.Client", file: dict[str, Any]) -> dict[str, Any]:
        """Return the file resource when it is ACTIVE, looking again while it is being processed.

        A server that tells no state has nothing to process: its size and hash decide.
        """
        waited = 0.0
        while file.get("state") == "PROCESSING" and waited < self._transfer_timeout_s:
            self._sleep(LOOK_EVERY_S)
            waited += LOOK_EVERY_S
            name = file["name"]
            with self._channel.raw():
                sdk.files.get(name=name, config=self._channel.options())
            file = file_in({"file": self._channel.document()})
        if file.get("state", "ACTIVE") not in ("ACTIVE", "STATE_UNSPECIFIED"):
            raise UnreadableError(f"the upload is {file.get('state')!r} and not ACTIVE")
        return file

    def _page(self, token: str) -> tuple[list[RemoteBatch], str]:
        """Return one page of the list and the token of the next, with retries of its own."""

        def look(sdk: "genai.Client") -> tuple[list[RemoteBatch], str]:
            """Fetch the page once, always with a page size."""
            config: Any = {
                "page_size": LIST_PAGE_SIZE,
                **({"page_token": token} if token else {}),
                **self._channel.options(),
            }
            with self._channel.raw():
                sdk.batches.list(config=config)
            return read_page(self._channel.document())

        return self._channel.patiently(look, what="list the batches")

    def _everything(
        self, look: "Callable[[genai.Client, Any], tuple[list[T], str]]", *, what: str, page_size: int
    ) -> list[T]:
        """Return what stands on all pages of a list, each fetched with its own retries; never a part of it.

        Raises:
            UnavailableError: a page leads back to an earlier one, or there are more than any list has.
        """
        found: list[T] = []
        tokens = [""]
        while True:
            config = {
                "page_size": page_size,
                **({"page_token": tokens[-1]} if tokens[-1] else {}),
                **self._channel.options(),
            }
            page, following = self._one_page(look, config, what=what)
            found += page
            if not following:
                return found
            if following in tokens or len(tokens) >= MOST_PAGES:
                raise UnavailableError(f"the pages do not end, when asked to {what}")
            tokens.append(following)

    def _one_page(
        self, look: "Callable[[genai.Client, Any], tuple[list[T], str]]", config: Any, *, what: str
    ) -> tuple[list[T], str]:
        """Return one page and the token of the next."""
        return self._channel.patiently(lambda sdk: look(sdk, config), what=what)


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
