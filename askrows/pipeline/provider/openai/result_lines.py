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
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import orjson

from askrows.pipeline.provider.control_requests import CONTROL_KEYS
from askrows.pipeline.provider.openai.requests import read_completion
from askrows.pipeline.provider.responses import (
    ACCOUNT_EFFECT,
    FORM_EFFECT,
    SERVICE_EFFECT,
    decode_result_line,
    object_or_empty,
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
# The parameter of an error about the schema of all answers.
SCHEMA_PARAMETER = "response_format"


class ErrorLine(NamedTuple):
    """An error of a line, as far as its effect depends on it."""

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


def read_error(document: Mapping[str, Any]) -> ErrorLine | None:
    """Return the error of a line of a result; None if it has no error and its status is 200.

    A missing status is 0 with an error, else 200. The code begins the message, unless the message
    contains it.
    """
    response = object_or_empty(document.get("response"))
    status = response.get("status_code", 0 if document.get("error") else OK_STATUS)
    error = document.get("error")
    if not error and status == OK_STATUS:
        return None

    body = object_or_empty(response.get("body"))
    # The text of a body that is no error, such as the page of a proxy.
    fields = error or body.get("error") or response.get("body") or {}
    if not isinstance(fields, dict):
        fields = {"message": str(fields)}
    code = str(fields.get("code") or fields.get("type") or "")
    message = str(fields.get("message") or "no reason given")
    if code and code not in message:
        message = f"{code}: {message}"
    return ErrorLine(
        status if isinstance(status, int) else 0,
        code,
        str(fields.get("param") or ""),
        message,
    )


def find_common_error(lines: Iterable[bytes]) -> ErrorLine | None:
    """Return the error with which all requests about rows failed alike, else None.

    They fail alike if code and parameter are the same. A single request counts only if its error is
    about the schema, which all requests share. Requests that never ran do not count. The result is
    None if a request got a reply, or an error is about the account or the service.
    """
    kinds = Counter[tuple[str, str]]()
    common: ErrorLine | None = None
    for line in lines:
        document = _decode(line)
        if document is None or document["custom_id"] in CONTROL_KEYS:
            continue
        error = read_error(document)
        if error is None or error.effect in {ACCOUNT_EFFECT, SERVICE_EFFECT}:
            return None
        if error.effect == REQUEST_EFFECT:
            kinds[error.code, error.parameter] += 1
            common = error

    if common is None or len(kinds) > 1:
        return None
    is_about_schema = common.parameter.startswith(SCHEMA_PARAMETER)
    return common if kinds.total() > 1 or is_about_schema else None


def translate_lines(
    lines: Iterable[bytes],
    *,
    has_wrong_form: bool,
    find_key: Callable[[str], str],
) -> Iterator[bytes]:
    """Yield a result line of ours, with a line end, for each line of an output or error file.

    A line that cannot be read is passed on as it is. A request that never ran gets no line.

    Args:
        has_wrong_form: All requests about rows failed alike; see `find_common_error`. Their lines
            get FORM_EFFECT.
        find_key: Returns the key of a request for its id on the wire.
    """
    for line in lines:
        document = _decode(line)
        if document is None:
            yield line.rstrip(b"\r\n") + b"\n"
            continue

        key = find_key(document["custom_id"])
        error = read_error(document)
        result: dict[str, Any] = {"key": key}
        if error is None:
            result["response"] = read_completion(object_or_empty(document["response"]).get("body"))
        elif error.effect == NOT_RUN_EFFECT:
            continue
        else:
            is_form_error = has_wrong_form and error.effect == REQUEST_EFFECT
            result["error"] = {
                "code": error.status or 500,
                "message": error.message,
                "effect": FORM_EFFECT if is_form_error else error.effect,
            }
        yield orjson.dumps(result) + b"\n"


def _decode(line: bytes) -> dict[str, Any] | None:
    """Return a line of a result; None if it is not an object with the id of a request."""
    try:
        document = decode_result_line(line)
    except ValueError:
        return None
    has_id = isinstance(document, dict) and isinstance(document.get("custom_id"), str)
    return document if has_id else None
