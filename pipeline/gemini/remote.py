"""Read what the API says of batches, files and models from its raw documents, for the SDK drops most of it.

`error`, `batchStats` and `response` never reach a caller of the SDK; a failed batch would have no reason. Counts come
as texts, those that are zero do not come at all, and a state may be new or missing.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline.core.redact import redact
from pipeline.core.states import RemoteState, remote_state
from pipeline.gemini.responses import excerpt_of

BATCH_NAME = re.compile(r"batches/[A-Za-z0-9][A-Za-z0-9._~-]{0,399}")  # 400: ours; Google's have about 40
FILE_NAME = re.compile(r"files/[A-Za-z0-9][A-Za-z0-9._~-]{0,399}")
MODEL_NAME = re.compile(r"models/[A-Za-z0-9][A-Za-z0-9._~-]*")
PAGE_MEMBERS = frozenset({"nextPageToken", "unreachable"})  # google.longrunning.ListOperationsResponse
MAX_ERROR = 1_000  # characters kept of the reason of a failed batch
_DIGEST = 32  # bytes of a SHA-256


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
    word: str | None
    state: RemoteState
    result_file: str | None = None
    error: str = ""
    requests: int | None = None
    succeeded: int | None = None
    failed: int | None = None
    created_at: datetime | None = None


@dataclass(frozen=True)
class RemoteFile:
    """One file as the API lists it: its name there, the display name it was uploaded under, and its size in bytes."""

    name: str
    display_name: str
    size: int


def read_operation(document: Any) -> RemoteBatch:
    """Return the batch an operation is about.

    Raises:
        UnreadableError: the document is no operation of a batch: no object, or without a name like `batches/…`.
    """
    if not isinstance(document, dict):
        raise UnreadableError("the answer is no JSON object")
    name = document.get("name")
    if not isinstance(name, str) or not BATCH_NAME.fullmatch(name):
        raise UnreadableError("the answer has no name of a batch")
    metadata = _object(document, "metadata")
    word = metadata.get("state") if isinstance(metadata.get("state"), str) else None
    return RemoteBatch(
        name=name,
        display_name=_text(metadata.get("displayName")),
        word=word,
        state=remote_state(word),
        result_file=_result_file(document, metadata),
        error=_reason(document.get("error")),
        **_counts(metadata.get("batchStats")),
        created_at=_time(metadata.get("createTime")),
    )


def read_page(document: Any) -> tuple[list[RemoteBatch], str]:
    """Return (batches, token of the next page or "") of one page of the list; `{}` is an empty last page.

    Raises:
        UnreadableError: the document is no page, or one that says itself that something is missing. A batch that
            cannot be read spoils the page, for it may be the one that is looked for; and what has other members and no
            batches is another document, which must not pass for an empty list.
    """
    operations, token = _listed(document, "operations")
    return [read_operation(operation) for operation in operations], token


def read_files(document: Any) -> tuple[list[RemoteFile], str]:
    """Return (files, token of the next page or "") of one page of the list of files; `{}` is an empty last page.

    Raises:
        UnreadableError: the document is no page. What has no name of a file is passed over: it cannot be one of ours.
    """
    files, token = _listed(document, "files")
    return [
        RemoteFile(file["name"], _text(file.get("displayName")), _count(file.get("sizeBytes", 0)) or 0)
        for file in files
        if isinstance(file, dict) and _file(file.get("name"))
    ], token


def read_models(document: Any) -> tuple[list[str], str]:
    """Return (names of models without `models/`, token of the next page or "") of one page of the list of models.

    Raises:
        UnreadableError: the document is no page.
    """
    models, token = _listed(document, "models")
    names = [_text(model.get("name")) for model in models if isinstance(model, dict)]
    return [name.removeprefix("models/") for name in names if MODEL_NAME.fullmatch(name)], token


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
    given = _digest(file.get("sha256Hash"))
    if given is not None and given != sha256.lower():
        raise UnreadableError("other bytes arrived than were sent")


def _digest(text: Any) -> str | None:
    """Return a SHA-256 as hex from either form the API has: base64 of the digest (as documented) or of its hex text.

    None where there is none, or none that can be read; either alphabet of base64, padded or not (seen live 2025-09).
    """
    if not isinstance(text, str) or not text:
        return None
    try:
        raw = base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(raw) == _DIGEST:
        return raw.hex()
    return raw.decode("ascii", "replace").lower() if len(raw) == 2 * _DIGEST else None


def _listed(document: Any, member: str) -> tuple[list[Any], str]:
    """Return what stands on one page of a list and the token of the next page."""
    if not isinstance(document, dict):
        raise UnreadableError("the answer is no JSON object")
    found, token = document.get(member, []), document.get("nextPageToken", "")
    if not isinstance(found, list) or not isinstance(token, str):
        raise UnreadableError(f"the answer is no page of a list of {member}")
    if member not in document and not document.keys() <= PAGE_MEMBERS:
        raise UnreadableError(f"the answer is no page of a list of {member}")
    if document.get("unreachable"):
        raise UnreadableError("the list is not whole: a part of it cannot be reached")
    return found, token


def _object(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def _result_file(document: Mapping[str, Any], metadata: Mapping[str, Any]) -> str | None:
    """Return the name of the result file from either of the two places where it stands."""
    places = (_object(metadata, "output"), _object(document, "response"))
    return next((name for place in places if (name := _file(place.get("responsesFile")))), None)


def _counts(stats: Any) -> dict[str, int | None]:
    """Return the counts; a zero is omitted on the wire, so what is missing among others is 0."""
    names = {"requests": "requestCount", "succeeded": "successfulRequestCount", "failed": "failedRequestCount"}
    if not isinstance(stats, dict) or not stats:
        return dict.fromkeys(names)
    return {ours: _count(stats.get(theirs, 0)) for ours, theirs in names.items()}


def _count(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        return int(value[:18])
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _reason(error: Any) -> str:
    if not isinstance(error, dict) or not error:
        return ""
    text = error["message"] if isinstance(error.get("message"), str) else excerpt_of(error)
    code = error.get("code", error.get("status", ""))
    said = redact(f"{code}: {text}" if isinstance(code, int | str) and code != "" else text)
    return " ".join("".join(one if one.isprintable() else " " for one in said).split())[:MAX_ERROR]


def _file(value: Any) -> str | None:
    """Return a file's name, or None where the text is none; a name never becomes a path here."""
    return value if isinstance(value, str) and FILE_NAME.fullmatch(value) else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _time(value: Any) -> datetime | None:
    """Return an RFC 3339 time with up to nine digits of a second; None where it is none."""
    if not isinstance(value, str):
        return None
    text = re.sub(r"(\.\d{6})\d+", r"\1", value)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo is not None else None
