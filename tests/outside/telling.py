"""How the outside server tells of files, batches, models and refusals."""

import base64
import binascii
import hashlib
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from tests.outside.answers import Json
from tests.outside.keeping import ENDED, FRUITFUL

STATUS = {
    400: "INVALID_ARGUMENT",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "CANCELLED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


@dataclass
class Manner:
    """How this server speaks, where the notes allow more than one way, and how long its batches take."""

    states: str = "BATCH_STATE_"
    stats: str = "texts"  # texts, numbers or none
    output: str = "both"  # where the result's name stands: metadata, response or both
    key_first: bool = False
    hash_of: str = "bytes"  # what stands in sha256Hash: bytes, hex or none
    tells_state: bool = True  # of an upload
    empty_page: bool = True  # the first page of the batches has nothing but a token
    line_end: str = "\n"
    pending_s: float = 0.02
    running_s: float = 0.04
    ending: str = "SUCCEEDED"  # or EXPIRED


class OutsideError(Exception):
    """A refusal, as it is sent."""

    def __init__(self, code: int, message: str, *details: Json) -> None:
        """Keep what is sent."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details

    def body(self) -> Any:
        """Return the document; some of Google's come in a list."""
        error: Json = {"message": self.message, "status": STATUS[self.code], "code": self.code}
        if self.details:
            error["details"] = [
                *self.details,
                {"@type": "type.googleapis.com/google.rpc.RequestInfo"},
            ]
        return (
            [{"error": error}]
            if self.code >= HTTPStatus.INTERNAL_SERVER_ERROR
            else {"error": error}
        )


def operation(row: Any, requests: int, manner: Manner) -> Json:
    """Return the operation that a batch is told of as."""
    now = time.time()
    over = row["over"]
    is_done = over in ENDED
    kind = "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch"
    metadata: Json = {
        "state": manner.states + (over or ("RUNNING" if now >= row["runs"] else "PENDING")),
        "createTime": time_of(row["made"]),
        "updateTime": time_of(row["ended"] or now),
        "model": f"models/{row['model']}",
        "displayName": row["label"],
        "inputConfig": {"fileName": row["input"]},
        "priority": "0",
        "@type": kind,
        "labels": {},
    }
    told: Json = {"metadata": metadata, "name": f"batches/{row['id']}"}
    if manner.stats != "none":
        metadata["batchStats"] = _stats(row, requests, is_text=manner.stats == "texts")
    if is_done:
        metadata["endTime"] = time_of(row["ended"])
        told["done"] = True
    if over == "FAILED":
        told["error"] = {"message": "The batch could not be processed.", "code": 13}
    if over in FRUITFUL:
        where = {"responsesFile": f"files/batch-{row['id']}"}
        told["response"] = {"@type": f"{kind}Output"} | (
            where if manner.output != "metadata" else {}
        )
        if manner.output != "response":
            metadata["output"] = where
    return told


def _stats(row: Any, requests: int, *, is_text: bool) -> Json:
    """Return the counts of a batch; zeros are left out."""
    answered = requests - row["failed"] if row["over"] in FRUITFUL else 0
    counts = {
        "successfulRequestCount": answered,
        "failedRequestCount": row["failed"],
        "pendingRequestCount": 0 if row["over"] else requests,
        "requestCount": requests,
    }
    return {name: str(count) if is_text else count for name, count in counts.items() if count}


def resource(row: Any, manner: Manner, url: str) -> Json:
    """Return a file as it is told of."""
    digest = hashlib.sha256(row["data"])
    hashed = digest.digest() if manner.hash_of == "bytes" else digest.hexdigest().encode()
    told = {
        "uri": f"{url}/v1beta/files/{row['id']}",
        "mimeType": row["mime"],
        "name": f"files/{row['id']}",
        "displayName": row["label"],
        "sizeBytes": str(len(row["data"])) if row["data"] else "",  # a zero is left out
        "createTime": time_of(row["made"]),
        "updateTime": time_of(row["made"]),
        "expirationTime": time_of(row["made"] + 48 * 3600),
        "sha256Hash": "" if manner.hash_of == "none" else base64.b64encode(hashed).decode(),
        "source": "GENERATED" if row["generated"] else "UPLOADED",
        "state": "ACTIVE" if manner.tells_state else "",
        "etag": f'"{row["number"]}"',
    }
    return {name: value for name, value in told.items() if value}


def refusal_of(code: int) -> OutsideError:
    """Return a refusal of a call of which nothing was done; a throttle wishes for a short wait."""
    if code != HTTPStatus.TOO_MANY_REQUESTS:
        return OutsideError(code, "Something went wrong here; nothing was done.")
    wish = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.010s"}
    return OutsideError(code, "Resource has been exhausted (e.g. check quota).", wish)


def token(after: int) -> str:
    """Return the token of the page after a number."""
    return base64.urlsafe_b64encode(f"after:{after}".encode()).decode().rstrip("=")


def number(text: str) -> int:
    """Return where a page begins.

    Raises:
        OutsideError: the token is none of ours.
    """
    if not text:
        return 0
    try:
        return int(
            base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().removeprefix("after:")
        )
    except (ValueError, binascii.Error) as error:
        raise OutsideError(400, "The page token is invalid.") from error


def time_of(seconds: float) -> str:
    """Return a time with none, three, six or nine digits of a second, as many as it needs."""
    whole, nanos = divmod(int(seconds * 1_000_000_000), 1_000_000_000)
    fraction = f".{nanos:09d}" if nanos else ""
    while fraction.endswith("000"):
        fraction = fraction[:-3]
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + fraction.rstrip(".") + "Z"
