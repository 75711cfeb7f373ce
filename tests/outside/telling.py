"""Documents of the outside server about files, batches, models and refusals."""

import base64
import hashlib
import time
from http import HTTPStatus
from typing import Any

from tests.outside.answers import Json
from tests.outside.keeping import FINAL_STATES, STATES_WITH_RESULT

STATUS = {
    400: "INVALID_ARGUMENT",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "CANCELLED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


class OutsideError(Exception):
    """A refusal with the code and the message of the reply."""

    def __init__(self, code: int, message: str, *details: Json) -> None:
        """Store code, message and details."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details

    def body(self) -> Any:
        """Return the document of the reply; internal errors are in a list, as Google does."""
        error: Json = {"message": self.message, "status": STATUS[self.code], "code": self.code}
        if self.details:
            error["details"] = [
                *self.details,
                {"@type": "type.googleapis.com/google.rpc.RequestInfo"},
            ]
        if self.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return [{"error": error}]
        return {"error": error}


def operation(row: Any, requests: int) -> Json:
    """Return the operation of a batch."""
    now = time.time()
    final_state = row["over"]
    is_final = final_state in FINAL_STATES
    current_state = "RUNNING" if now >= row["runs"] else "PENDING"
    kind = "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch"
    metadata: Json = {
        "state": f"BATCH_STATE_{final_state or current_state}",
        "createTime": time_of(row["made"]),
        "updateTime": time_of(row["ended"] or now),
        "model": f"models/{row['model']}",
        "displayName": row["label"],
        "inputConfig": {"fileName": row["input"]},
        "priority": "0",
        "@type": kind,
        "labels": {},
    }
    document: Json = {"metadata": metadata, "name": f"batches/{row['id']}"}
    metadata["batchStats"] = _stats(row, requests)
    if is_final:
        metadata["endTime"] = time_of(row["ended"])
        document["done"] = True
    if final_state == "FAILED":
        document["error"] = {"message": "The batch could not be processed.", "code": 13}
    if final_state in STATES_WITH_RESULT:
        output_file = {"responsesFile": f"files/batch-{row['id']}"}
        document["response"] = {"@type": f"{kind}Output", **output_file}
        metadata["output"] = output_file
    return document


def _stats(row: Any, requests: int) -> Json:
    """Return the counts of a batch; zeros are left out."""
    answered = requests - row["failed"] if row["over"] in STATES_WITH_RESULT else 0
    counts = {
        "successfulRequestCount": answered,
        "failedRequestCount": row["failed"],
        "pendingRequestCount": 0 if row["over"] else requests,
        "requestCount": requests,
    }
    return {name: str(count) for name, count in counts.items() if count}


def resource(row: Any, url: str) -> Json:
    """Return the document of a file; empty members are left out."""
    digest = hashlib.sha256(row["data"])
    document = {
        "uri": f"{url}/v1beta/files/{row['id']}",
        "mimeType": row["mime"],
        "name": f"files/{row['id']}",
        "displayName": row["label"],
        # A zero is left out.
        "sizeBytes": str(len(row["data"])) if row["data"] else "",
        "createTime": time_of(row["made"]),
        "updateTime": time_of(row["made"]),
        "expirationTime": time_of(row["made"] + 48 * 3600),
        "sha256Hash": base64.b64encode(digest.digest()).decode(),
        "source": "GENERATED" if row["generated"] else "UPLOADED",
        "state": "ACTIVE",
        "etag": f'"{row["number"]}"',
    }
    return {name: value for name, value in document.items() if value}


def refusal_of(code: int) -> OutsideError:
    """Return a refusal of a call before any work; a throttled call gets a short wait."""
    if code != HTTPStatus.TOO_MANY_REQUESTS:
        return OutsideError(code, "Something went wrong here; nothing was done.")
    retry_info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.010s"}
    return OutsideError(code, "Resource has been exhausted (e.g. check quota).", retry_info)


def page_token(last_number: int) -> str:
    """Return the token of the page after a number."""
    return base64.urlsafe_b64encode(f"after:{last_number}".encode()).decode().rstrip("=")


def page_start(text: str) -> int:
    """Return the number before a page."""
    padded_text = text + "=" * (-len(text) % 4)
    decoded_text = base64.urlsafe_b64decode(padded_text).decode()
    return int(decoded_text.removeprefix("after:"))


def time_of(seconds: float) -> str:
    """Return a time with 0, 3, 6 or 9 digits of a second, only as many as necessary."""
    whole_seconds, nanos = divmod(int(seconds * 1_000_000_000), 1_000_000_000)
    fraction = f".{nanos:09d}" if nanos else ""
    while fraction.endswith("000"):
        fraction = fraction[:-3]
    return (
        time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole_seconds)) + fraction.rstrip(".") + "Z"
    )
