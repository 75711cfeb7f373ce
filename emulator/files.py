"""Files: resumable uploads that stream to disk, and the resources made of them.

An upload is a row and a growing `upload-<id>`; finalizing hashes it and renames it to the file's own id. Bytes are
found by id alone, never by a name a client chose. Files are gone for a client 48 hours after they were made; results
live six weeks (Files API and Batch API guides, read 2026-11).
"""

import base64
import hashlib
import os
import re
import secrets
import string
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emulator.clock import HOUR_NS, Clock, timestamp
from emulator.database import Database
from emulator.errors import ApiError, invalid

LIFETIME_NS = 48 * HOUR_NS
RESULT_LIFETIME_NS = 6 * 7 * 24 * HOUR_NS
MAX_ID = 40
MAX_DISPLAY_NAME = 512
MAX_BYTES = 2 * 1024**3
"""Limits of the Files API (read 2026-11): characters of a name, bytes of a file."""
_ALPHABET = string.ascii_lowercase + string.digits


def new_id(length: int) -> str:
    """Return a fresh random id in the alphabet Google uses for its own."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


@dataclass(frozen=True)
class Upload:
    """An upload that is not final: how much came so far, and what was promised (bytes)."""

    id: str
    owner: str
    name: str | None
    display_name: str
    mime_type: str
    declared: int | None
    received: int
    lost: int
    created_ns: int


@dataclass(frozen=True)
class File:
    """One file resource. `state` is what a get shows once the looks it still needs are used up."""

    number: int
    id: str
    owner: str
    display_name: str
    mime_type: str
    size_bytes: int
    sha256: str
    created_ns: int
    expires_ns: int
    state: str
    source: str
    looks: int

    @property
    def shown_state(self) -> str:
        """The state a client sees: PROCESSING for as many looks as were scripted."""
        return "PROCESSING" if self.looks > 0 else self.state


class Files:
    """All uploads and files of the engine."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        """Keep rows in `database` and bytes in its folder."""
        self._database = database
        self._clock = clock

    def path(self, file_id: str) -> Path:
        """Return where the bytes of a file are; ids are ours or were checked, so the path stays in the folder."""
        return self._database.folder / f"file-{file_id}"

    def _upload_path(self, upload_id: str) -> Path:
        return self._database.folder / f"upload-{upload_id}"

    def start(self, owner: str, *, described: Mapping[str, Any], declared: int | None, mime_type: str) -> str:
        """Begin an upload and return its id, which is the only credential its chunks need.

        Raises:
            ApiError: 400 for a name Google would refuse, 409 for one that is taken.
        """
        if len(described.get("displayName", "")) > MAX_DISPLAY_NAME:
            raise invalid(f"* CreateFileRequest.file.display_name: more than {MAX_DISPLAY_NAME} characters.")
        name = str(described.get("name", "")).removeprefix("files/") or None
        if name is not None:
            self._check_name(name)
        upload_id = new_id(40)
        mime_type = described.get("mimeType") or mime_type or "application/octet-stream"
        size = described.get("sizeBytes") if declared is None else declared
        if size is not None and size > MAX_BYTES:
            raise invalid(f"File size {size} is above the limit of {MAX_BYTES} bytes.")
        values = (upload_id, owner, name, described.get("displayName", ""), mime_type, size, self._clock.now_ns())
        self._upload_path(upload_id).touch()
        columns = "id, owner, name, display_name, mime_type, declared, created_ns"
        self._database.change(f"INSERT INTO uploads ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", values)  # noqa: S608 - columns are ours
        return upload_id

    def _check_name(self, name: str) -> None:
        """Refuse a name that breaks the id rule or is taken."""
        if len(name) > MAX_ID or re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name) is None:
            raise invalid(f"* CreateFileRequest.file.name: File ID {name!r} is not a valid name.")
        if self._database.rows("SELECT 1 FROM files WHERE id = ?", (name,)):
            raise ApiError(409, f"Requested entity already exists: files/{name}")

    def upload(self, upload_id: str) -> Upload:
        """Return an upload that is under way.

        Raises:
            ApiError: 404 where there is none of that id, or it is final already.
        """
        found = self._database.rows("SELECT * FROM uploads WHERE id = ?", (upload_id,))
        if not found:
            raise ApiError(404, "Upload session not found or already final.")
        return Upload(**found[0])

    async def receive(self, upload: Upload, chunks: AsyncIterator[bytes], *, offset: int, lose: bool = False) -> Upload:
        """Append the bytes of one request to the upload and return it as it is then; memory stays flat.

        What a broken-off request brought is not kept. With `lose` the bytes are dropped though counted as seen.

        Raises:
            ApiError: 400 where `offset` is not where the upload stands.
        """
        expected = upload.received + upload.lost
        if offset != expected:
            raise invalid(f"Upload offset {offset} does not match the {expected} bytes received so far.")
        seen = 0
        with self._upload_path(upload.id).open("r+b") as file:
            file.seek(upload.received)
            async for chunk in chunks:
                if not lose:
                    file.write(chunk)
                seen += len(chunk)
            if not lose:
                file.truncate()
        column = "lost" if lose else "received"
        change = f"UPDATE uploads SET {column} = {column} + ? WHERE id = ?"  # noqa: S608 - column is one of two words
        self._database.change(change, (seen, upload.id))
        return self.upload(upload.id)

    def finalize(self, upload: Upload, *, state: str = "ACTIVE", looks: int = 0, early: bool = False) -> File:
        """Make the upload a file, on disk and committed when this returns.

        Raises:
            ApiError: 400 where the bytes are not as many as were declared, unless `early` or some were lost.
        """
        whole = upload.declared is None or upload.received == upload.declared
        if not (whole or early or upload.lost):
            raise invalid(f"Upload has {upload.received} bytes, but {upload.declared} were declared.")
        file_id = upload.name or new_id(12)
        with self._upload_path(upload.id).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        self._upload_path(upload.id).replace(self.path(file_id))
        with self._database.transaction():
            self._database.change("DELETE FROM uploads WHERE id = ?", (upload.id,))
            now = self._clock.now_ns()
            return self._insert(
                (
                    *(file_id, upload.owner, upload.display_name, upload.mime_type, upload.received, digest),
                    *(now, now + LIFETIME_NS, state, "UPLOADED", looks),
                )
            )

    def add_result(self, owner: str, batch_id: str, *, written: Path, sha256: str) -> None:
        """Make `written` the result file of a batch, in the caller's transaction; doing it twice is doing it once."""
        file_id = f"batch-{batch_id}"
        size = written.stat().st_size
        written.replace(self.path(file_id))
        self._database.change("DELETE FROM files WHERE id = ?", (file_id,))
        now = self._clock.now_ns()
        facts = (file_id, owner, "", "application/jsonl", size, sha256, now, now + RESULT_LIFETIME_NS)
        self._insert((*facts, "ACTIVE", "GENERATED", 0))

    def _insert(self, values: Sequence[object]) -> File:
        """Insert one file row and return it."""
        columns = "id, owner, display_name, mime_type, size_bytes, sha256, created_ns, expires_ns, state, source, looks"
        marks = ", ".join("?" * len(values))
        self._database.change(f"INSERT INTO files ({columns}) VALUES ({marks})", values)  # noqa: S608 - columns are ours
        return File(**self._database.rows("SELECT * FROM files WHERE id = ?", (values[0],))[0])

    def cancel(self, upload: Upload) -> None:
        """Forget an upload and its bytes."""
        self._database.change("DELETE FROM uploads WHERE id = ?", (upload.id,))
        self._upload_path(upload.id).unlink(missing_ok=True)

    def get(self, owner: str, file_id: str, *, request: str = "GetFileRequest") -> File:
        """Return a file as a get shows it, using up one scripted look.

        Raises:
            ApiError: 400 for an id over 40 characters, which every result has; 403 for one that is expired, foreign
                or absent, as the live service answers all three.
        """
        if len(file_id) > MAX_ID:
            raise invalid(
                f"* {request}.name: File ID (name excluding 'files/') cannot be more than {MAX_ID} characters."
            )
        file = self.find(owner, file_id)
        self._database.change("UPDATE files SET looks = looks - 1 WHERE id = ? AND looks > 0", (file_id,))
        return file

    def find(self, owner: str, file_id: str) -> File:
        """Return a file of `owner` that has not expired, whatever the length of its id.

        Raises:
            ApiError: 403 where there is none.
        """
        found = self._database.rows("SELECT * FROM files WHERE id = ? AND owner = ?", (file_id, owner))
        if not found or File(**found[0]).expires_ns <= self._clock.now_ns():
            raise ApiError(403, f"You do not have permission to access the File {file_id} or it may not exist.")
        return File(**found[0])

    def usable(self, owner: str, file_id: str) -> File:
        """Return a file that a request may use.

        Raises:
            ApiError: 403 where there is none, 400 where it is not ready.
        """
        file = self.find(owner, file_id)
        if file.shown_state != "ACTIVE":
            raise invalid(f"The File {file_id} is not in an ACTIVE state and usage is not allowed.")
        return file

    def medium(self, owner: str, file_id: str) -> tuple[str, Path]:
        """Return the type and the place of the bytes of a file that a request names.

        Raises:
            ApiError: as `usable`.
        """
        return self.usable(owner, file_id).mime_type, self.path(file_id)

    def download(self, owner: str, file_id: str) -> Path:
        """Return where the bytes of a generated file are.

        Raises:
            ApiError: 400 for a file that was uploaded, 403 for one that is not there.
        """
        file = self.find(owner, file_id)
        if file.source != "GENERATED":
            raise invalid(f"Only generated files can be downloaded; files/{file_id} was uploaded.")
        return self.path(file_id)

    def page(self, owner: str, *, size: int, before: int | None) -> list[File]:
        """Return at most `size` unexpired files, newest first, those older than the number `before`."""
        query = "SELECT * FROM files WHERE owner = ? AND expires_ns > ? AND number < ? ORDER BY number DESC LIMIT ?"
        top = before if before is not None else 2**62
        return [File(**row) for row in self._database.rows(query, (owner, self._clock.now_ns(), top, size))]

    def delete(self, owner: str, file_id: str) -> None:
        """Delete an uploaded file and its bytes; a batch made from it keeps its own copy.

        Raises:
            ApiError: as `get` does.
        """
        self.get(owner, file_id, request="DeleteFileRequest")
        self.remove(file_id)

    def remove(self, file_id: str) -> None:
        """Delete row and bytes of a file of any owner."""
        self._database.change("DELETE FROM files WHERE id = ?", (file_id,))
        self.path(file_id).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Delete what has expired: files, and uploads left unfinished within a file's lifetime."""
        now = self._clock.now_ns()
        for row in self._database.rows("SELECT id FROM files WHERE expires_ns <= ?", (now,)):
            self.remove(row["id"])
        for row in self._database.rows("SELECT * FROM uploads WHERE created_ns <= ?", (now - LIFETIME_NS,)):
            self.cancel(Upload(**row))

    def expire(self, file_id: str) -> None:
        """Let a file be over at once."""
        self._database.change("UPDATE files SET expires_ns = ? WHERE id = ?", (self._clock.now_ns(), file_id))


def document(file: File, *, base_url: str) -> dict[str, Any]:
    """Return the file resource of the API; `base_url` ends in the version, as in `http://host/v1`."""
    shown: dict[str, Any] = {"name": f"files/{file.id}"}
    if file.display_name:
        shown["displayName"] = file.display_name
    shown |= {
        "mimeType": file.mime_type,
        "sizeBytes": str(file.size_bytes),
        "createTime": timestamp(file.created_ns),
        "updateTime": timestamp(file.created_ns),
        "expirationTime": timestamp(file.expires_ns),
        # base64 of the hex text, as in Google's own sample output, not of the digest as the manual says
        "sha256Hash": base64.b64encode(file.sha256.encode()).decode(),
        "uri": f"{base_url}/files/{file.id}",
        "state": file.shown_state,
        "source": file.source,
    }
    if file.source == "GENERATED":
        shown["downloadUri"] = f"{base_url}/files/{file.id}:download?alt=media"
    if file.shown_state == "FAILED":
        shown["error"] = {"code": 13, "message": "The file could not be processed."}
    return shown
