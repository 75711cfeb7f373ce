"""Read what the API says of batches, files and models from its raw documents, for the SDK drops most of it.

`error`, `batchStats` and `response` never reach a caller of the SDK; a failed batch would have no reason. Counts come
as texts, those that are zero do not come at all, and a state may be new or missing. What is of another type or form
than it should be counts as missing.
"""

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from pipeline.core.redact import redact
from pipeline.core.states import RemoteState, remote_state
from pipeline.gemini.responses import excerpt_of

BATCH_NAME = re.compile(r"batches/[A-Za-z0-9][A-Za-z0-9._~-]{0,399}")  # 400: ours; Google's have about 40
FILE_NAME = re.compile(r"files/[A-Za-z0-9][A-Za-z0-9._~-]{0,399}")  # never becomes a path here
MODEL_NAME = re.compile(r"models/([A-Za-z0-9][A-Za-z0-9._~-]*)")
MAX_ERROR = 1_000  # characters kept of the reason of a failed batch

T = TypeVar("T")


class UnreadableError(ValueError):
    """An answer of the API that is not what it should be; the client turns it into one of our errors."""


@dataclass(frozen=True)
class RemoteBatch:
    """One remote batch as the API last described it.

    `word` is the API's state word, None when there was none; `error` the reason of a failed batch as `<code>: <text>`.
    The counts are requests; all three are None when the API gave no statistics. `created_at` is aware, UTC.
    """

    name: str
    display_name: str
    created_at: datetime | None
    word: str | None
    state: RemoteState
    result_file: str | None = None
    error: str = ""
    requests: int | None = None
    succeeded: int | None = None
    failed: int | None = None


@dataclass(frozen=True)
class RemoteFile:
    """One file as the API lists it: its name there, the display name it was uploaded under, and its size in bytes."""

    name: str
    display_name: str
    size: int


def read_operation(document: Any) -> RemoteBatch:
    """Return the batch an operation is about; raise UnreadableError where it is about none."""
    name = _object(document).get("name")
    if not isinstance(name, str) or not BATCH_NAME.fullmatch(name):
        raise UnreadableError("the answer has no name of a batch")
    metadata = _object(document.get("metadata"))
    word = metadata.get("state") if isinstance(metadata.get("state"), str) else None
    places = (_object(one).get("responsesFile") for one in (metadata.get("output"), document.get("response")))
    return RemoteBatch(
        name,
        _text(metadata.get("displayName")),
        _time(metadata.get("createTime")),
        word,
        remote_state(word),
        next((one for one in places if isinstance(one, str) and FILE_NAME.fullmatch(one)), None),
        _reason(document.get("error")),
        *_counts(_object(metadata.get("batchStats"))),
    )


def read_file(document: Any) -> RemoteFile | None:
    """Return a file of the list of files; None for what has no name of a file, which cannot be one of ours."""
    file = _object(document)
    if not FILE_NAME.fullmatch(name := _text(file.get("name"))):
        return None
    return RemoteFile(name, _text(file.get("displayName")), _count(file.get("sizeBytes")) or 0)


def read_model(document: Any) -> str | None:
    """Return the name of a model of the list of models, without `models/`; None where there is none."""
    found = MODEL_NAME.fullmatch(_text(_object(document).get("name")))
    return found[1] if found else None


def read_page(document: Any, member: str, read: Callable[[Any], T | None]) -> tuple[list[T], str]:
    """Return (what is read of each entry, token of the next page or "") of one page of a list; `{}` is the last one.

    Raises:
        UnreadableError: the document is no page, or one that says itself that something is missing. A batch that
            cannot be read spoils the page, for it may be the one that is looked for; and what has other members and no
            list is another document, which must not pass for an empty list.
    """
    if not isinstance(document, dict):
        raise UnreadableError("the answer is no JSON object")
    found, token = document.get(member, []), document.get("nextPageToken", "")
    is_another = member not in document and not document.keys() <= {"nextPageToken", "unreachable"}
    if not isinstance(found, list) or not isinstance(token, str) or is_another:
        raise UnreadableError(f"the answer is no page of a list of {member}")
    if document.get("unreachable"):
        raise UnreadableError("the list is not whole: a part of it cannot be reached")
    return [one for one in map(read, found) if one is not None], token


def file_in(document: Any) -> dict[str, Any]:
    """Return the file resource of an upload's last reply, `{"file": {…}}`; raise UnreadableError where is none."""
    file = _object(_object(document).get("file"))
    if not FILE_NAME.fullmatch(_text(file.get("name"))):
        raise UnreadableError("the answer has no name of a file")
    return dict(file)


def check_arrived(file: Mapping[str, Any], *, sha256: str, size: int) -> None:
    """Refuse an upload that is not what was sent: pieces get lost without any error.

    The hash comes in base64 of the digest (as documented) or of its hex text (seen live 2025-09); another form says
    nothing.

    Raises:
        UnreadableError: the size differs, or the hash.
    """
    arrived = file.get("sizeBytes") or 0
    if str(arrived) != str(size):
        raise UnreadableError(f"{arrived} of {size} bytes arrived")
    ours = [base64.urlsafe_b64encode(one).rstrip(b"=").decode() for one in (bytes.fromhex(sha256), sha256.encode())]
    theirs = _text(file.get("sha256Hash")).replace("+", "-").replace("/", "_").rstrip("=")
    if theirs not in ours and len(theirs) in map(len, ours):
        raise UnreadableError("other bytes arrived than were sent")


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _counts(stats: Mapping[str, Any]) -> list[int | None]:
    """Return the counts; a zero is omitted on the wire, so what is missing among others is 0."""
    names = ("requestCount", "successfulRequestCount", "failedRequestCount")
    return [_count(stats.get(name, 0)) if stats else None for name in names]


def _count(value: Any) -> int | None:
    found = re.fullmatch("[0-9]{1,18}", str(value)) if isinstance(value, int | str) else None
    return int(found[0]) if found else None


def _reason(error: Any) -> str:
    if not isinstance(error, dict) or not error:
        return ""
    text = error["message"] if isinstance(error.get("message"), str) else excerpt_of(error)
    code = error.get("code", error.get("status", ""))
    said = redact(f"{code}: {text}" if isinstance(code, int | str) and code != "" else text)
    return " ".join("".join(one if one.isprintable() else " " for one in said).split())[:MAX_ERROR]


def _time(value: Any) -> datetime | None:
    """Return an RFC 3339 time; None where it is none."""
    try:
        time = datetime.fromisoformat(_text(value))
    except ValueError:
        return None
    return time if time.tzinfo is not None else None
