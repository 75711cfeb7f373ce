"""The engine's state: files, uploads and batches in one small SQLite file, and a folder for bytes beside it.

Several processes may host one state: each statement is a transaction of its own, and a batch's state changes only by
an UPDATE that asks whether it is over: PENDING -> RUNNING -> SUCCEEDED | FAILED | CANCELLED.
"""

import base64
import hashlib
import os
import secrets
import shutil
import sqlite3
import string
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from emulator.messages import ApiError, invalid

LIFETIME_NS = 48 * 3600 * 10**9
MOST_BYTES = 2 * 1024**3
MOST_NAME = 40
"""Limits of the Files API (read 2026-11): how long a file is kept, its bytes, the characters of its name."""
_BATCH = "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch"
_VERSION = 2
Row = Mapping[str, Any]
"""A row of a table, by the names of its columns."""
_TABLES = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS files (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, session TEXT, display_name TEXT NOT NULL,
    mime_type TEXT NOT NULL, size INTEGER, sha256 TEXT NOT NULL DEFAULT '', created_ns INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS batches (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, model TEXT NOT NULL, display_name TEXT NOT NULL,
    file TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'PENDING', created_ns INTEGER NOT NULL,
    updated_ns INTEGER NOT NULL, over INTEGER NOT NULL DEFAULT 0, requests INTEGER NOT NULL,
    succeeded INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT ''
);
PRAGMA user_version = {_VERSION};
COMMIT;
"""


def _new_id(length: int) -> str:
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(length))


def _timestamp(moment_ns: int) -> str:
    """Return RFC 3339 in UTC with nine fractional digits and a Z, as Google writes times."""
    seconds, fraction = divmod(moment_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, tz=UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"


def _present(**members: Any) -> dict[str, Any]:
    """Return the members that say something: what is empty or false is left out, as the live service does."""
    return {name: value for name, value in members.items() if value}


def file_document(file: Row, base_url: str) -> dict[str, Any]:
    """Return the file resource of the API; `base_url` ends in the version, as in `http://host/v1`."""
    return _present(
        name=f"files/{file['id']}",
        displayName=file["display_name"],
        mimeType=file["mime_type"],
        sizeBytes=str(file["size"]),
        createTime=_timestamp(file["created_ns"]),
        updateTime=_timestamp(file["created_ns"]),
        expirationTime=_timestamp(file["created_ns"] + LIFETIME_NS),
        # base64 of the hex text, as in Google's own sample output, not of the digest as the manual says
        sha256Hash=base64.b64encode(file["sha256"].encode()).decode(),
        uri=f"{base_url}/files/{file['id']}",
        state="ACTIVE",
        source="UPLOADED",
    )


def batch_document(batch: Row) -> dict[str, Any]:
    """Return the operation of a batch as create, get and list answer it."""
    output = _present(responsesFile=batch["state"] == "SUCCEEDED" and f"files/batch-{batch['id']}")
    stats = _present(
        requestCount=batch["requests"],
        successfulRequestCount=batch["succeeded"],
        failedRequestCount=batch["failed"],
        pendingRequestCount=batch["requests"] - batch["succeeded"] - batch["failed"],
    )
    metadata = _present(
        model=f"models/{batch['model']}",
        displayName=batch["display_name"],
        inputConfig={"fileName": f"files/{batch['file']}"},
        output=output,
        createTime=_timestamp(batch["created_ns"]),
        endTime=batch["over"] and _timestamp(batch["updated_ns"]),
        updateTime=_timestamp(batch["updated_ns"]),
        batchStats={name: str(count) for name, count in stats.items()},
        state=f"BATCH_STATE_{batch['state']}",
        name=f"batches/{batch['id']}",
    )
    return _present(
        name=f"batches/{batch['id']}",
        metadata={"@type": _BATCH, **metadata},
        done=bool(batch["over"]),
        error=batch["error"] and {"code": 13, "message": batch["error"]},
        response=output and {"@type": f"{_BATCH}Output", **output},
    )


class EngineState:
    """All files and batches; one connection, which the threads of this process use in turn."""

    def __init__(self, root: Path) -> None:
        """Open the state under `root`, make it where there is none, and remove files that are over.

        Raises:
            RuntimeError: another version of the engine wrote it.
        """
        self._folder = root / "local-engine-files"
        self._lock = threading.Lock()
        self._folder.mkdir(parents=True, exist_ok=True)
        path = root / "local-engine.sqlite"
        self._connection = sqlite3.connect(
            path, timeout=30, isolation_level=None, check_same_thread=False
        )
        found = self._rows("PRAGMA user_version")[0]["user_version"]
        if found not in (0, _VERSION):
            self.close()
            raise RuntimeError(
                f"its state is of another version: remove {path} and {self._folder.name}"
            )
        if not found:
            self._connection.executescript(_TABLES)
        for row in self._rows(
            "SELECT id FROM files WHERE created_ns <= ?", time.time_ns() - LIFETIME_NS
        ):
            self._remove_file(row["id"])

    def close(self) -> None:
        """Close the connection; calls after this raise `sqlite3.ProgrammingError`."""
        with self._lock:
            self._connection.close()

    def _rows(self, statement: str, *values: object) -> list[Row]:
        with self._lock:
            cursor = self._connection.execute(statement, values)
            return [
                dict(zip([column[0] for column in cursor.description], row, strict=True))
                for row in cursor
            ]

    def _one(self, refusal: ApiError, statement: str, *values: object) -> Row:
        for row in self._rows(statement, *values):
            return row
        raise refusal

    def _changes(self, statement: str, *values: object) -> bool:
        """Run one statement, on disk on return, and tell whether it changed anything."""
        with self._lock:
            return self._connection.execute(statement, values).rowcount > 0

    def path(self, kind: str, name: str) -> Path:
        """Return where bytes are: of a `file`, of a batch's `input` (its own copy), or of its `results`."""
        return self._folder / f"{kind}-{name}"

    def start_upload(
        self, described: Mapping[str, Any], *, size: int | None, mime_type: str
    ) -> str:
        """Begin an upload and return its session, the only credential its chunks need; refuse as the Files API does."""
        name = _new_id(12)
        session = _new_id(40)
        if size is not None and size > MOST_BYTES:
            raise invalid(f"File size {size} is above the limit of {MOST_BYTES} bytes.")
        made = "INSERT INTO files (id, session, display_name, mime_type, size, created_ns) VALUES (?, ?, ?, ?, ?, ?)"
        about = described.get("displayName", ""), described.get("mimeType") or mime_type
        self._changes(made, name, session, *about, size, time.time_ns())
        self.path("file", name).write_bytes(b"")
        return session

    def upload(self, session: str) -> Row:
        """Return a file that is being uploaded."""
        refusal = ApiError(404, "Upload session not found or already final.")
        return self._one(refusal, "SELECT * FROM files WHERE session = ?", session)

    def finish_upload(self, upload: Row) -> Row:
        """Make an upload a file, on disk when this returns; refuse other bytes than were declared."""
        with self.path("file", upload["id"]).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if upload["size"] not in (None, size):
                raise invalid(f"Upload has {size} bytes, but {upload['size']} were declared.")
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        self._changes(
            "UPDATE files SET session = NULL, size = ?, sha256 = ? WHERE id = ?",
            size,
            digest,
            upload["id"],
        )
        return self.file(upload["id"])

    def file(self, file_id: str) -> Row:
        """Return a file; refuse one that is not there, and the id of any result, which is too long."""
        if len(file_id) > MOST_NAME:
            raise invalid(
                f"* name: File ID (name excluding 'files/') cannot be more than {MOST_NAME} characters."
            )
        refusal = ApiError(
            403, f"You do not have permission to access the File {file_id} or it may not exist."
        )
        there = "SELECT * FROM files WHERE id = ? AND session IS NULL AND created_ns > ?"
        return self._one(refusal, there, file_id, time.time_ns() - LIFETIME_NS)

    def files(self, size: int, before: int) -> list[Row]:
        """Return at most `size` files, newest first, those older than the number `before`."""
        there = "SELECT * FROM files WHERE session IS NULL AND created_ns > ? AND number < ? ORDER BY 1 DESC LIMIT ?"
        return self._rows(there, time.time_ns() - LIFETIME_NS, before, size)

    def delete_file(self, file_id: str) -> None:
        """Delete a file and its bytes; a batch made from it keeps its own copy."""
        self._remove_file(self.file(file_id)["id"])

    def _remove_file(self, file_id: str) -> None:
        self._changes("DELETE FROM files WHERE id = ?", file_id)
        self.path("file", file_id).unlink(missing_ok=True)

    def download(self, file_id: str) -> Path:
        """Return where the bytes of a result file are."""
        for row in self._rows(
            "SELECT id FROM batches WHERE 'batch-' || id = ? AND state = 'SUCCEEDED'", file_id
        ):
            return self.path("results", row["id"])
        self.file(file_id[:MOST_NAME])
        raise invalid(f"Only generated files can be downloaded; files/{file_id} was uploaded.")

    def create_batch(
        self, file_id: str, *, model: str, name: str, count: Callable[[Path], int]
    ) -> Row:
        """Make a batch of a file, of which it keeps a copy (a second name for its bytes, where that can be).

        `count` checks the copy and tells its requests. Two equal calls make two batches: nothing is deduplicated.
        """
        batch_id = _new_id(36)
        path = self.path("file", self.file(file_id)["id"])
        now = time.time_ns()
        copy = self.path("input", batch_id)
        try:
            os.link(path, copy)
        except OSError:
            shutil.copyfile(path, copy)
        try:
            values = (batch_id, model, name, file_id, count(copy), now, now)
        except ApiError:
            copy.unlink()
            raise
        made = (
            "INSERT INTO batches (id, model, display_name, file, requests, created_ns, updated_ns)"
        )
        self._changes(f"{made} VALUES (?, ?, ?, ?, ?, ?, ?)", *values)
        return self.batch(batch_id)

    def batch(self, batch_id: str) -> Row:
        """Return a batch."""
        refusal = ApiError(404, "Requested entity was not found.")
        return self._one(refusal, "SELECT * FROM batches WHERE id = ?", batch_id)

    def batches(self, size: int, before: int) -> list[Row]:
        """Return at most `size` batches, newest first, older than the number `before`."""
        return self._rows(
            "SELECT * FROM batches WHERE number < ? ORDER BY number DESC LIMIT ?", before, size
        )

    def unfinished(self) -> list[Row]:
        """Return the batches that are not over, oldest first."""
        return self._rows("SELECT * FROM batches WHERE NOT over ORDER BY number")

    def move_batch(
        self, batch_id: str, state: str, *, succeeded: int = 0, failed: int = 0, error: str = ""
    ) -> bool:
        """Move a batch that is not over to a state and tell whether that was so; of one that is, the input goes."""
        over = state != "RUNNING"
        moved = self._changes(
            "UPDATE batches SET state = ?, over = ?, succeeded = ?, failed = ?, error = ?, updated_ns = ? "
            "WHERE id = ? AND NOT over",
            *(state, over, succeeded, failed, error, time.time_ns(), batch_id),
        )
        if over:
            self.path("input", batch_id).unlink(missing_ok=True)
        return moved

    def delete_batch(self, batch_id: str) -> None:
        """Take a batch out of every answer, with its results; its work stops."""
        self.batch(batch_id)
        self._changes("DELETE FROM batches WHERE id = ?", batch_id)
        for path in (self.path("input", batch_id), self.path("results", batch_id)):
            path.unlink(missing_ok=True)
