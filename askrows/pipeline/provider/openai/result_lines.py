"""Translate the lines of OpenAI's output and error files to result lines of ours.

`EFFECTS` is the table of what an error line does. An effect is one of these:

- *not run*: the request never ran and costs nothing; it gets no line, so its row is open again.
- *service*: the service failed; the row is not charged.
- *account*: the key or its project is at fault, not the row.
- *request*: the row's request is at fault, as with any other error.

If no request about a row succeeded, and all failed alike, the form of all requests is wrong. Their
lines get the effect *form*: no row is charged.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import orjson

from askrows.pipeline.provider.control_requests import CONTROL_KEYS
from askrows.pipeline.provider.openai.requests import convert_completion
from askrows.pipeline.provider.responses import (
    ACCOUNT_EFFECT,
    FORM_EFFECT,
    SERVICE_EFFECT,
    decode_json_document,
    format_api_error,
    object_or_empty,
    parse_count_or_zero,
    to_text,
)

NOT_RUN_EFFECT = "not run"
REQUEST_EFFECT = "request"
# By the code of an error, then by the HTTP status of a line.
EFFECTS: Mapping[str | int, str] = {
    "batch_expired": NOT_RUN_EFFECT,
    "batch_cancelled": NOT_RUN_EFFECT,
    "request_timeout": SERVICE_EFFECT,
    "insufficient_quota": ACCOUNT_EFFECT,
    "billing_hard_limit_reached": ACCOUNT_EFFECT,
    "invalid_api_key": ACCOUNT_EFFECT,
    0: SERVICE_EFFECT,
    401: ACCOUNT_EFFECT,
    408: SERVICE_EFFECT,
    429: SERVICE_EFFECT,
}
MIN_SERVER_ERROR_STATUS = 500
OK_STATUS = 200
MAX_STATUS = 1_000
# The parameter of an error about the schema of all answers.
SCHEMA_PARAMETER = "response_format"


class ErrorObject(NamedTuple):
    """An error of a refusal or of a result line; a missing member is ""."""

    # The HTTP status; 0 without one.
    status: int
    code: str
    parameter: str
    message: str

    @property
    def effect(self) -> str:
        """Return the effect of the error by its code, else by its status; see `EFFECTS`.

        Other server errors concern the service, and all other errors the request.
        """
        if self.code in EFFECTS:
            return EFFECTS[self.code]
        if self.status >= MIN_SERVER_ERROR_STATUS:
            return SERVICE_EFFECT
        return EFFECTS.get(self.status, REQUEST_EFFECT)


def parse_error(status: int, document: Any) -> ErrorObject:
    """Return the error that a server sends as a document.

    Args:
        status: The HTTP status.
        document: The error object, or an object with it as `error`. A text, such as the page of a
            proxy, is the message of the error, and so is any other JSON value.
    """
    error = document.get("error", document) if isinstance(document, dict) else document
    fields = error if isinstance(error, dict) else {"message": str(error or "")}
    return ErrorObject(
        status=status,
        code=to_text(fields.get("code")) or to_text(fields.get("type")),
        parameter=to_text(fields.get("param")),
        message=to_text(fields.get("message")),
    )


def find_line_error(document: Mapping[str, Any]) -> ErrorObject | None:
    """Return the error of a line of a result; None if it has no error and its status is 200.

    A missing status is 0 with an error, else 200.
    """
    response = object_or_empty(document.get("response"))
    error = document.get("error")
    status = response.get("status_code", 0 if error else OK_STATUS)
    if not error and status == OK_STATUS:
        return None
    return parse_error(parse_count_or_zero(status, below=MAX_STATUS), error or response.get("body"))


def have_all_requests_failed_alike(lines: Iterable[bytes]) -> bool:
    """Return whether all requests about rows failed alike, so that the form of all is wrong.

    They fail alike if code and parameter are the same. A single request counts only if its error is
    about the schema, which all requests share. Requests that never ran do not count. The result is
    False if a request got a reply, or an error is about the account or the service.
    """
    kinds = Counter[tuple[str, str]]()
    for line in lines:
        document = _decode_line_with_id(line)
        if document is None or document["custom_id"] in CONTROL_KEYS:
            continue
        error = find_line_error(document)
        if error is None or error.effect in {ACCOUNT_EFFECT, SERVICE_EFFECT}:
            return False
        if error.effect == REQUEST_EFFECT:
            kinds[error.code, error.parameter] += 1

    if len(kinds) != 1:
        return False
    [(_, parameter)] = kinds
    return kinds.total() > 1 or parameter.startswith(SCHEMA_PARAMETER)


def translate_result_lines(
    lines: Iterable[bytes],
    *,
    has_wrong_form: bool,
    keys_by_id: Mapping[str, str],
) -> Iterator[bytes]:
    """Yield a result line of ours, with a line end, for each line of an output or error file.

    A line that cannot be read is passed on as it is. A request that never ran gets no line.

    Args:
        has_wrong_form: All requests about rows failed alike; see `have_all_requests_failed_alike`.
            Their lines get FORM_EFFECT.
        keys_by_id: The keys of requests by their ids on the wire; another id is a key itself.
    """
    for line in lines:
        document = _decode_line_with_id(line)
        if document is None:
            yield line.rstrip(b"\r\n") + b"\n"
            continue

        custom_id = document["custom_id"]
        key = keys_by_id.get(custom_id, custom_id)
        error = find_line_error(document)
        result: dict[str, Any] = {"key": key}
        if error is None:
            result["response"] = convert_completion(
                object_or_empty(document["response"]).get("body")
            )
        elif error.effect == NOT_RUN_EFFECT:
            continue
        else:
            is_form_error = has_wrong_form and error.effect == REQUEST_EFFECT
            result["error"] = {
                "code": error.status or 500,
                "message": format_api_error({"code": error.code, "message": error.message}),
                "effect": FORM_EFFECT if is_form_error else error.effect,
            }
        yield orjson.dumps(result) + b"\n"


def _decode_line_with_id(line: bytes) -> dict[str, Any] | None:
    """Return a line of a result; None if it is not an object with the id of a request."""
    try:
        document = decode_json_document(line)
    except ValueError:
        return None
    has_id = isinstance(document, dict) and isinstance(document.get("custom_id"), str)
    return document if has_id else None
