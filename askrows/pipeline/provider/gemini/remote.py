"""Read the API's descriptions of batches and files, and convert failures of calls to our errors.

- An operation is the API's document about a batch.
- The SDK drops `error`, `batchStats` and `response` of its raw documents, and a failed batch would
  have no reason. So the raw documents are read here.
- Counts are sent as texts, and zero counts are left out. A state may be new or missing. A member of
  an unexpected type or form counts as missing.
- A 4xx other than 408, 409 and 499 is a clear refusal: the call had no effect. A connection that
  was never made had no effect either. After all other errors the effect is unknown.
- Google's messages are quoted without credentials, because a server may echo its request.
"""

import base64
import contextlib
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from askrows.pipeline.core.states import (
    DISPLAY_NAME_PREFIX,
    normalize_api_enum,
    parse_remote_state,
)
from askrows.pipeline.provider.call_errors import UnreadableReplyError
from askrows.pipeline.provider.remote_batch import RemoteBatch
from askrows.pipeline.provider.responses import (
    format_api_error,
    has_error_content,
    object_or_empty,
    parse_count_or_zero,
    to_text,
)

# At most 400 characters is our own choice; Google's names have about 40.
BATCH_NAME_PATTERN = re.compile(r"batches/[A-Za-z0-9][A-Za-z0-9._~-]{0,399}")
# A remote name never becomes part of a local path.
FILE_NAME_PATTERN = re.compile(r"files/[A-Za-z0-9][A-Za-z0-9._~-]{0,399}")
# A result's name with or without `files/`, or in a full address. Only the name in it is used.
RESULT_NAME_PATTERN = re.compile(
    r"(?:(?:\S*/)?files/)?([A-Za-z0-9][A-Za-z0-9._~-]{0,399})(?::download)?(?:\?\S*)?",
)
# Our own choice: a larger number of requests is not plausible.
MAX_REQUEST_COUNT = 10**9


def parse_remote_batch(document: Any) -> RemoteBatch:
    """Return the batch that an operation of the API describes.

    A missing or malformed member becomes "", None or 0, and a time without a zone becomes None. A
    missing state is inferred if the operation has ended and has no metadata.

    Raises:
        UnreadableReplyError: The document is not an object or names no batch.
    """
    if not _has_batch_name(document):
        raise UnreadableReplyError("the reply does not name a batch")

    metadata = object_or_empty(document.get("metadata"))
    state_name = metadata.get("state")
    if not isinstance(state_name, str):
        state_name = _infer_missing_state_name(document)

    stats = object_or_empty(metadata.get("batchStats"))
    successful_request_count, failed_request_count = (
        parse_count_or_zero(stats.get(count_name), below=MAX_REQUEST_COUNT)
        for count_name in ("successfulRequestCount", "failedRequestCount")
    )

    # A result is in the metadata, in the response, or in both.
    outputs = [object_or_empty(metadata.get("output")), object_or_empty(document.get("response"))]
    result_names = (_parse_result_file_name(output.get("responsesFile")) for output in outputs)
    inline_outputs = [object_or_empty(output.get("inlinedResponses")) for output in outputs]
    inline_results = (output.get("inlinedResponses") for output in inline_outputs)
    return RemoteBatch(
        name=document["name"],
        display_name=to_text(metadata.get("displayName")),
        created_at=_parse_aware_time(metadata.get("createTime")),
        state_name=state_name,
        state=parse_remote_state(state_name),
        result_file=next(filter(None, result_names), None),
        error=format_api_error(document.get("error")),
        ended_request_count=successful_request_count + failed_request_count,
        failed_request_count=failed_request_count,
        inline_results=next(
            (entries for entries in inline_results if entries and isinstance(entries, list)), ()
        ),
    )


def _parse_aware_time(member: Any) -> datetime | None:
    """Return an aware time; None if it is missing, invalid, or has no zone."""
    with contextlib.suppress(ValueError):
        moment = datetime.fromisoformat(to_text(member))
        if moment.tzinfo is not None:
            return moment
    return None


def _infer_missing_state_name(document: Mapping[str, Any]) -> str | None:
    """Return the state of an operation that is done and has no metadata; else None.

    An error means failed, and a response means succeeded. With neither, the state is None.
    """
    if document.get("metadata") or document.get("done") is not True:
        return None
    if has_error_content(document.get("error")):
        return "BATCH_STATE_FAILED"
    if document.get("response"):
        return "BATCH_STATE_SUCCEEDED"
    return None


def _parse_result_file_name(location: Any) -> str | None:
    """Return the name `files/…` of a result given as a name, a bare id or a full address.

    Returns:
        The name, or None if the location is missing or malformed.
    """
    match = RESULT_NAME_PATTERN.fullmatch(to_text(location))
    if match is None:
        return None
    return f"files/{match[1]}"


def parse_batch_page(document: Any) -> tuple[list[RemoteBatch], str]:
    """Return the batches of one page of the list, and the token of the next page or "".

    `{}` is an empty last page.

    Raises:
        UnreadableReplyError: The document is not a page of the list, it says that a part of the
            list is unreachable, or a batch without a name may be one of askrows (it has no display
            name, or a display name of askrows): the caller may be looking for it. Batches of other
            programs without a name are skipped.
    """
    if not isinstance(document, dict):
        raise UnreadableReplyError("the reply is not a JSON object")

    operations = document.get("operations", [])
    page_token = document.get("nextPageToken", "")
    # A document with other members and without a list must not pass for an empty page.
    has_only_page_members = document.keys() <= {"nextPageToken", "unreachable"}
    is_page = "operations" in document or has_only_page_members
    if not is_page or not isinstance(operations, list) or not isinstance(page_token, str):
        raise UnreadableReplyError("the reply is not a page of a list of operations")
    if document.get("unreachable"):
        raise UnreadableReplyError("the list is incomplete: Gemini cannot reach a part of it")
    batches = [
        parse_remote_batch(operation)
        for operation in operations
        if _has_batch_name(operation) or not _is_of_other_program(operation)
    ]
    return batches, page_token


def _has_batch_name(document: Any) -> bool:
    """Return whether an operation has the name of a batch."""
    name = object_or_empty(document).get("name")
    return isinstance(name, str) and BATCH_NAME_PATTERN.fullmatch(name) is not None


def _is_of_other_program(document: Any) -> bool:
    """Return whether an operation has a display name that askrows gives to no batch.

    False if another program's display name begins like those of askrows: then the list counts as
    unreadable, which is safe, because no batch is created without a readable list.
    """
    metadata = object_or_empty(object_or_empty(document).get("metadata"))
    display_name = to_text(metadata.get("displayName"))
    return bool(display_name) and not display_name.startswith(DISPLAY_NAME_PREFIX)


def parse_file_resource(document: Any) -> dict[str, Any]:
    """Return the file resource in an upload's last reply, `{"file": {…}}`.

    Its `state` is normalized, see `normalize_api_enum`; "" if there is none.

    Raises:
        UnreadableReplyError: The document names no file.
    """
    file = object_or_empty(object_or_empty(document).get("file"))
    if not FILE_NAME_PATTERN.fullmatch(to_text(file.get("name"))):
        raise UnreadableReplyError("the reply does not name a file")
    return {**file, "state": normalize_api_enum(to_text(file.get("state")))}


def check_uploaded_size_and_hash(file: Mapping[str, Any], *, sha256: str, size: int) -> None:
    """Check the size and the hash of an uploaded file, because lost pieces cause no other error.

    The API sends the hash as base64 of the digest (documented) or of its hex text (seen live
    2025-09). A missing hash, or a hash of another length, is ignored. A missing size counts as 0.

    Args:
        file: The file resource of the API.
        sha256: The expected hash in hex.
        size: The expected size in bytes.

    Raises:
        UnreadableReplyError: The size or the hash differs.
    """
    arrived_size = file.get("sizeBytes") or 0
    if str(arrived_size) != str(size):
        raise UnreadableReplyError(f"{arrived_size} of {size} bytes were uploaded")

    expected_hashes = [
        base64.urlsafe_b64encode(hash_form).rstrip(b"=").decode()
        for hash_form in (bytes.fromhex(sha256), sha256.encode())
    ]
    expected_lengths = [len(expected_hash) for expected_hash in expected_hashes]
    arrived_hash = to_text(file.get("sha256Hash"))
    arrived_hash = arrived_hash.replace("+", "-").replace("/", "_").rstrip("=")
    if arrived_hash not in expected_hashes and len(arrived_hash) in expected_lengths:
        raise UnreadableReplyError("the uploaded file has another SHA-256 than the local file")
