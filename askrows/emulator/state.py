"""Store files, uploads and batches in a small SQLite database, and their bytes in a folder.

- Several processes may serve one state (hosts). Each statement is its own transaction.
- An upload that is not finished has its row in the table of files, with its session id.
- A batch moves PENDING -> RUNNING -> SUCCEEDED | FAILED | CANCELLED. Each move is an UPDATE that
  changes only a batch that is not over.
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

from askrows.emulator.messages import ApiError, make_invalid_argument_error

# Limits of the Files API (read 2026-11).
FILE_LIFETIME_NS = 48 * 3600 * 10**9
MAX_FILE_BYTES = 2 * 1024**3
MAX_FILE_ID_CHARS = 40
_BATCH_TYPE = "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch"
# A row of a table: values by column name.
Row = Mapping[str, Any]
_CREATE_TABLES = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS files (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, session TEXT,
    display_name TEXT NOT NULL, mime_type TEXT NOT NULL, size INTEGER,
    sha256 TEXT NOT NULL DEFAULT '', created_ns INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS batches (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, model TEXT NOT NULL,
    display_name TEXT NOT NULL, file TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'PENDING',
    created_ns INTEGER NOT NULL, updated_ns INTEGER NOT NULL, over INTEGER NOT NULL DEFAULT 0,
    requests INTEGER NOT NULL, succeeded INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT ''
);
COMMIT;
"""


def build_file_resource(file: Row, base_url: str) -> dict[str, Any]:
    """Return the file resource of the API.

    Args:
        base_url: Address that ends in the version, as in `http://host/v1`.
    """
    created_at = _format_timestamp(file["created_ns"])
    # Google's sample output has base64 of the hex text. Its manual says base64 of the digest.
    sha256_hash = base64.b64encode(file["sha256"].encode()).decode()
    return _omit_empty(
        name=f"files/{file['id']}",
        displayName=file["display_name"],
        mimeType=file["mime_type"],
        sizeBytes=str(file["size"]),
        createTime=created_at,
        updateTime=created_at,
        expirationTime=_format_timestamp(file["created_ns"] + FILE_LIFETIME_NS),
        sha256Hash=sha256_hash,
        uri=f"{base_url}/files/{file['id']}",
        state="ACTIVE",
        source="UPLOADED",
    )


def build_batch_operation(batch: Row) -> dict[str, Any]:
    """Return the operation of a batch, as the calls create, get and list return it.

    Empty members and counts of 0 are left out. Only a succeeded batch has a `response`, with the
    name of its result file. Only a batch that is over has `done` and an end time.
    """
    name = f"batches/{batch['id']}"
    output = {}
    if batch["state"] == "SUCCEEDED":
        output = {"responsesFile": f"files/batch-{batch['id']}"}

    stats = _omit_empty(
        requestCount=batch["requests"],
        successfulRequestCount=batch["succeeded"],
        failedRequestCount=batch["failed"],
        pendingRequestCount=batch["requests"] - batch["succeeded"] - batch["failed"],
    )
    metadata = _omit_empty(
        model=f"models/{batch['model']}",
        displayName=batch["display_name"],
        inputConfig={"fileName": f"files/{batch['file']}"},
        output=output,
        createTime=_format_timestamp(batch["created_ns"]),
        endTime=batch["over"] and _format_timestamp(batch["updated_ns"]),
        updateTime=_format_timestamp(batch["updated_ns"]),
        batchStats={stat: str(count) for stat, count in stats.items()},
        state=f"BATCH_STATE_{batch['state']}",
        name=name,
    )
    return _omit_empty(
        name=name,
        metadata={"@type": _BATCH_TYPE, **metadata},
        done=bool(batch["over"]),
        error=batch["error"] and {"code": 13, "message": batch["error"]},
        response=output and {"@type": f"{_BATCH_TYPE}Output", **output},
    )


class EngineState:
    """All files and batches; the threads of this process share one connection in turn."""

    def __init__(self, root: Path) -> None:
        """Open the state under a folder, create it if it is missing, and delete expired files.

        Raises:
            OSError: The folder cannot be created.
        """
        self._folder = root / "local-engine-files"
        self._lock = threading.Lock()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(
            root / "local-engine.sqlite",
            timeout=30,
            isolation_level=None,
            check_same_thread=False,
        )

        self._connection.executescript(_CREATE_TABLES)

        expired_files = self._select(
            "SELECT id FROM files WHERE created_ns <= ?",
            time.time_ns() - FILE_LIFETIME_NS,
        )
        for file in expired_files:
            self._delete_file_and_bytes(file["id"])

    def close(self) -> None:
        """Close the connection; later calls raise `sqlite3.ProgrammingError`."""
        with self._lock:
            self._connection.close()

    def get_blob_path(self, kind: str, blob_id: str) -> Path:
        """Return the path of bytes, which need not exist.

        Args:
            kind: "file" for a file or an upload, "input" for a batch's copy of its requests, or
                "results" for the result file of a batch.
            blob_id: Id of the file or the batch.
        """
        return self._folder / f"{kind}-{blob_id}"

    def start_upload(
        self,
        description: Mapping[str, Any],
        *,
        size: int | None,
        mime_type: str,
    ) -> str:
        """Store the row and the empty file of an upload, and return its session id.

        Chunks need no other credential than the session id.

        Args:
            description: `File` message of the request.
            size: Declared bytes of the file; None if the client declares none.
            mime_type: Type of the file if `description` has none.

        Raises:
            ApiError: 400, if the declared size is above the limit of the Files API.
        """
        file_id = _create_id(12)
        session_id = _create_id(40)
        if size is not None and size > MAX_FILE_BYTES:
            raise make_invalid_argument_error(
                f"File size {size} is above the limit of {MAX_FILE_BYTES} bytes.",
            )

        self._execute(
            "INSERT INTO files (id, session, display_name, mime_type, size, created_ns) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            file_id,
            session_id,
            description.get("displayName", ""),
            description.get("mimeType") or mime_type,
            size,
            time.time_ns(),
        )
        self.get_blob_path("file", file_id).write_bytes(b"")
        return session_id

    def get_upload(self, session_id: str) -> Row:
        """Return the row in `files` of an upload that is not finished.

        Raises:
            ApiError: 404, if there is no such upload.
        """
        return self._select_first(
            ApiError(404, "Upload session not found or already final."),
            "SELECT * FROM files WHERE session = ?",
            session_id,
        )

    def finish_upload(self, upload: Row) -> Row:
        """Mark an upload in the table `files` as a finished file, and return its new row.

        The row keeps its id and gets the size and the SHA-256 of the received bytes. The bytes are
        on disk when this returns. If no size was declared, any size is accepted.

        Args:
            upload: The row, from `get_upload`.

        Raises:
            ApiError: 400, if the number of received bytes is not the declared number. Nothing is
                changed.
        """
        with self.get_blob_path("file", upload["id"]).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if upload["size"] not in (None, size):
                raise make_invalid_argument_error(
                    f"Upload has {size} bytes, but {upload['size']} were declared.",
                )

            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())

        self._execute(
            "UPDATE files SET session = NULL, size = ?, sha256 = ? WHERE id = ?",
            size,
            digest,
            upload["id"],
        )
        return self.get_file(upload["id"])

    def get_file(self, file_id: str) -> Row:
        """Return the row of an uploaded file.

        Raises:
            ApiError: 400, if the id is too long; that includes every id of a result file. 403, if
                there is no such file, or it is expired or not completely uploaded.
        """
        if len(file_id) > MAX_FILE_ID_CHARS:
            raise make_invalid_argument_error(
                "* name: File ID (name excluding 'files/') cannot be more than "
                f"{MAX_FILE_ID_CHARS} characters.",
            )

        return self._select_first(
            ApiError(
                403,
                f"You do not have permission to access the File {file_id} or it may not exist.",
            ),
            "SELECT * FROM files WHERE id = ? AND session IS NULL AND created_ns > ?",
            file_id,
            time.time_ns() - FILE_LIFETIME_NS,
        )

    def list_files(self, limit: int, before: int) -> list[Row]:
        """Return uploaded files, the newest first.

        Args:
            limit: Largest number of rows.
            before: Only rows whose `number` is less.
        """
        return self._select(
            "SELECT * FROM files WHERE session IS NULL AND created_ns > ? AND number < ? "
            "ORDER BY 1 DESC LIMIT ?",
            time.time_ns() - FILE_LIFETIME_NS,
            before,
            limit,
        )

    def delete_file(self, file_id: str) -> None:
        """Delete a file and its bytes; a batch that was made from it keeps its own copy.

        Raises:
            ApiError: 400, if the id is too long. 403, if there is no such file, or it is expired or
                not completely uploaded.
        """
        self._delete_file_and_bytes(self.get_file(file_id)["id"])

    def get_results_path(self, file_id: str) -> Path:
        """Return the path of a result file, for a download; the file is not opened.

        Args:
            file_id: `batch-` and the id of a batch that has succeeded.

        Raises:
            ApiError: 400, if the id is that of an uploaded file. 403, if there is no such file.
        """
        batches = self._select(
            "SELECT id FROM batches WHERE 'batch-' || id = ? AND state = 'SUCCEEDED'", file_id
        )
        if batches:
            return self.get_blob_path("results", batches[0]["id"])

        self.get_file(file_id[:MAX_FILE_ID_CHARS])
        raise make_invalid_argument_error(
            f"Only generated files can be downloaded; files/{file_id} was uploaded.",
        )

    def create_batch(
        self,
        file_id: str,
        *,
        model: str,
        display_name: str,
        check_and_count_requests: Callable[[Path], int],
    ) -> Row:
        """Create a batch with its own copy of an uploaded file, and return its database row.

        The copy is a hard link if the file system supports it. It stays when the upload is deleted.
        Two equal calls create two batches.

        Args:
            file_id: Uploaded file with the requests.
            display_name: Name from the client, which may be empty.
            check_and_count_requests: Checks a request file, and returns the number of its requests.

        Raises:
            ApiError: There is no such file, or `check_and_count_requests` refuses it. No batch is
                created.
        """
        batch_id = _create_id(36)
        file_path = self.get_blob_path("file", self.get_file(file_id)["id"])
        now_ns = time.time_ns()
        input_path = self.get_blob_path("input", batch_id)
        try:
            os.link(file_path, input_path)
        except OSError:
            shutil.copyfile(file_path, input_path)

        try:
            request_count = check_and_count_requests(input_path)
        except ApiError:
            input_path.unlink()
            raise

        self._execute(
            "INSERT INTO batches "
            "(id, model, display_name, file, requests, created_ns, updated_ns) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            batch_id,
            model,
            display_name,
            file_id,
            request_count,
            now_ns,
            now_ns,
        )
        return self.get_batch(batch_id)

    def get_batch(self, batch_id: str) -> Row:
        """Return the row of a batch.

        Raises:
            ApiError: 404, if there is no such batch.
        """
        return self._select_first(
            ApiError(404, "Requested entity was not found."),
            "SELECT * FROM batches WHERE id = ?",
            batch_id,
        )

    def list_batches(self, limit: int, before: int) -> list[Row]:
        """Return batches, the newest first.

        Args:
            limit: Largest number of rows.
            before: Only rows whose `number` is less.
        """
        return self._select(
            "SELECT * FROM batches WHERE number < ? ORDER BY number DESC LIMIT ?", before, limit
        )

    def list_unfinished_batches(self) -> list[Row]:
        """Return the batches that are not over, the oldest first."""
        return self._select("SELECT * FROM batches WHERE NOT over ORDER BY number")

    def update_unfinished_batch(
        self,
        batch_id: str,
        state: str,
        *,
        succeeded: int = 0,
        failed: int = 0,
        error: str = "",
    ) -> bool:
        """Set state, counts and error of a batch that is not over; on disk when this returns.

        Every state except RUNNING ends a batch, and deletes its input file, even if the batch was
        already over.

        Args:
            succeeded: Requests with a response.
            failed: Requests with an error.
            error: Why the batch failed; "" for none.

        Returns:
            False, with an unchanged row, if the batch is over or deleted.
        """
        is_final = state != "RUNNING"
        has_moved = self._execute(
            "UPDATE batches SET state = ?, over = ?, succeeded = ?, failed = ?, error = ?, "
            "updated_ns = ? WHERE id = ? AND NOT over",
            state,
            is_final,
            succeeded,
            failed,
            error,
            time.time_ns(),
            batch_id,
        )
        if is_final:
            self.get_blob_path("input", batch_id).unlink(missing_ok=True)
        return has_moved

    def delete_batch(self, batch_id: str) -> None:
        """Delete a batch with its input and results; a worker that answers it stops.

        Raises:
            ApiError: 404, if there is no such batch.
        """
        self.get_batch(batch_id)
        self._execute("DELETE FROM batches WHERE id = ?", batch_id)
        self.get_blob_path("input", batch_id).unlink(missing_ok=True)
        self.get_blob_path("results", batch_id).unlink(missing_ok=True)

    def _delete_file_and_bytes(self, file_id: str) -> None:
        self._execute("DELETE FROM files WHERE id = ?", file_id)
        self.get_blob_path("file", file_id).unlink(missing_ok=True)

    def _select(self, statement: str, *values: object) -> list[Row]:
        with self._lock:
            cursor = self._connection.execute(statement, values)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]

    def _select_first(self, missing_error: ApiError, statement: str, *values: object) -> Row:
        """Return the first selected row; raise `missing_error` if there is no row."""
        rows = self._select(statement, *values)
        if not rows:
            raise missing_error
        return rows[0]

    def _execute(self, statement: str, *values: object) -> bool:
        """Run one statement, on disk when this returns; return whether it changed a row."""
        with self._lock:
            return self._connection.execute(statement, values).rowcount > 0


def _create_id(length: int) -> str:
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(length))


def _format_timestamp(time_ns: int) -> str:
    """Return RFC 3339 in UTC with nine fractional digits and a Z, as Google writes times."""
    seconds, fraction_ns = divmod(time_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, tz=UTC):%Y-%m-%dT%H:%M:%S}.{fraction_ns:09d}Z"


def _omit_empty(**members: Any) -> dict[str, Any]:
    """Return the members that are neither empty nor false, as the live service omits these."""
    return {name: value for name, value in members.items() if value}
