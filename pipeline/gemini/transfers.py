"""Transfer files: upload one until the API has all of it, and write a download to its part file."""

import base64
import binascii
import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pipeline.core.errors import ConfigurationError, FindableError, InconsistentError, RefusedError
from pipeline.gemini.operations import FILE_NAME, UnreadableError
from pipeline.gemini.transport import Transport

if TYPE_CHECKING:
    from google import genai

MIME_TYPES = ("jsonl", "application/jsonl", "application/json", "text/plain")  # live refusals differ (2025-10)
LOOK_EVERY_S = 2.0  # ours: between two looks at an upload that is being processed
SHA256_BYTES = 32


@dataclass(frozen=True)
class Upload:
    """An upload that is whole at the API: its name there (`files/…`) and its size in bytes."""

    name: str
    size: int


class Uploader:
    """Uploads sealed files, each within one bound of time."""

    def __init__(self, transport: Transport, *, seconds: float) -> None:
        """Take what makes the calls, and the time-out of one transfer."""
        self._transport, self._seconds = transport, seconds

    def upload(self, path: Path, *, display_name: str, sha256: str, size: int) -> Upload:
        """Upload a file and return it when it is ACTIVE and the API has all of its bytes.

        The size must agree, and the hash (hex) where the API gives one. A failure anywhere begins again from byte 0
        with a new upload; what a failed one left is deleted as well as can be. A refused MIME type tries the next.

        Raises:
            InconsistentError: the local file has not the size it was sealed with; nothing was sent.
            RefusedError: refused, with every MIME type where that was the reason.
            UnavailableError, NotSentError: no whole upload within the bound.
        """
        if not path.is_file() or path.stat().st_size != size:
            message = f"{path} is not there with the {size} bytes it was sealed with"
            raise InconsistentError(message, hint="run `make doctor`")
        for mime_type in MIME_TYPES[:-1]:
            try:
                return self._upload_as(mime_type, path, display_name=display_name, sha256=sha256, size=size)
            except RefusedError as refused:
                if "mime type" not in refused.message.lower():
                    raise
        return self._upload_as(MIME_TYPES[-1], path, display_name=display_name, sha256=sha256, size=size)

    def _upload_as(self, mime_type: str, source: Path, *, display_name: str, sha256: str, size: int) -> Upload:
        def send(sdk: "genai.Client") -> Upload:
            options = self._transport.options(self._seconds)
            config: Any = {"display_name": display_name, "mime_type": mime_type, **options}
            file: dict[str, Any] | None = None
            try:
                self._send_file(sdk, source, config)
                file = file_in(self._transport.document())
                check_arrived(self._active(sdk, file), sha256=sha256, size=size)
            except Exception:
                self._delete_orphan(file)
                raise
            return Upload(file["name"], size)

        return self._transport.with_retries(send, what=f"upload {display_name}", seconds=self._seconds)

    def _send_file(self, sdk: "genai.Client", source: Path, config: Any) -> None:
        """Send the file once; a refusal that hides in a 200 (as a missing `file`) is raised as what it is."""
        try:
            sdk.files.upload(file=source, config=config)
        except KeyError:
            document = self._transport.document()
            error = document.get("error") if isinstance(document, dict) else None
            if not isinstance(error, dict) or not isinstance(error.get("code"), int):
                raise
            what = f"upload {config['display_name']}"
            raise self._transport.refused(error["code"], document, what=what) from None

    def _delete_orphan(self, file: dict[str, Any] | None) -> None:
        """Delete what a failed upload left, when it is known and as well as can be; Google does it after two days."""
        with contextlib.suppress(FindableError, ValueError):
            name = (file or file_in(self._transport.document()))["name"]
            self._transport.attempt(lambda sdk: sdk.files.delete(name=name), what=f"delete {name}")

    def _active(self, sdk: "genai.Client", file: dict[str, Any]) -> dict[str, Any]:
        """Return the file resource when it is ACTIVE, looking again while it is being processed.

        A server that gives no state has nothing to process: its size and hash decide.
        """
        waited = 0.0
        name, config = file["name"], self._transport.options()
        while file.get("state") == "PROCESSING" and waited < self._seconds:
            self._transport.sleep(LOOK_EVERY_S)
            waited += LOOK_EVERY_S
            file = file_in({"file": self._transport.raw_document(lambda: sdk.files.get(name=name, config=config))})
        if file.get("state", "ACTIVE") not in ("ACTIVE", "STATE_UNSPECIFIED"):
            raise UnreadableError(f"the upload is {file.get('state')!r} and not ACTIVE")
        return file


def file_in(document: Any) -> dict[str, Any]:
    """Return the file resource of an upload's last reply, `{"file": {…}}`.

    Raises:
        UnreadableError: there is none, or it has no name.
    """
    file = document.get("file") if isinstance(document, dict) else None
    if not isinstance(file, dict) or not isinstance(file.get("name"), str) or not FILE_NAME.fullmatch(file["name"]):
        raise UnreadableError("the answer has no name of a file")
    return file


def check_arrived(file: dict[str, Any], *, sha256: str, size: int) -> None:
    """Refuse an upload that is not what was sent: pieces get lost without any error.

    Raises:
        UnreadableError: the size differs, or the hash where one is given that can be read.
    """
    arrived = file.get("sizeBytes") or 0
    if str(arrived) != str(size):
        raise UnreadableError(f"{arrived} of {size} bytes arrived")
    given = digest_in(file.get("sha256Hash"))
    if given is not None and given != sha256.lower():
        raise UnreadableError("other bytes arrived than were sent")


def digest_in(text: Any) -> str | None:
    """Return a SHA-256 as hex from either form the API has: base64 of the digest (as documented) or of its hex text.

    None where there is none, or none that can be read; either alphabet of base64, padded or not (seen live 2025-09).
    """
    if not isinstance(text, str) or not text:
        return None
    try:
        raw = base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(raw) == SHA256_BYTES:
        return raw.hex()
    return raw.decode("ascii", "replace").lower() if len(raw) == 2 * SHA256_BYTES else None


class DownloadPart:
    """A file that a download is written to, from its start; an error of the disk is ours and never Gemini's."""

    def __init__(self, path: Path) -> None:
        """Open the file, empty.

        Raises:
            ConfigurationError: it cannot be written.
        """
        self.size = 0
        self._path = path
        try:
            self._file = path.open("wb", buffering=1 << 20)
        except OSError as error:
            raise self._failed(error) from error

    def write(self, data: bytes) -> int:
        """Append bytes and return how many."""
        try:
            self._file.write(data)
        except OSError as error:
            raise self._failed(error) from error
        self.size += len(data)
        return len(data)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Flush and close; where something failed already, that is the error that counts."""
        try:
            self._file.close()
        except OSError as failure:
            if error is None:
                raise self._failed(failure) from failure

    def _failed(self, error: OSError) -> ConfigurationError:
        return ConfigurationError(f"cannot write {self._path}: {error.strerror}", hint="make room, then run it again")
