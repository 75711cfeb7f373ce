"""Files on their way: the part file of a download, and what an upload's last reply must say to be believed."""

import base64
import binascii
from pathlib import Path
from typing import Any, Self

from pipeline.core.errors import ConfigurationError
from pipeline.gemini.operations import FILE_NAME, UnreadableError

SHA256_BYTES = 32


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
        """Return the error for a file that cannot be written."""
        return ConfigurationError(f"cannot write {self._path}: {error.strerror}", hint="make room, then run it again")


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
        UnreadableError: the size differs, or the hash where one is told that can be read.
    """
    arrived = file.get("sizeBytes") or 0
    if str(arrived) != str(size):
        raise UnreadableError(f"{arrived} of {size} bytes arrived")
    told = digest_in(file.get("sha256Hash"))
    if told is not None and told != sha256.lower():
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
