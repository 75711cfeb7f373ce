"""Errors as problem+json (RFC 9457), with the members `hint`, `field` and `exit_code`.

The error of a table with a title also has `header`, the line to propose.
"""

import json
from typing import Any

from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from askrows.pipeline.core.errors import (
    AskrowsError,
    ChangedMeanwhileError,
    ConfigurationError,
    GateError,
    InconsistentError,
    InputError,
    RemoteError,
    TakenError,
)
from askrows.web.page_texts import adapt_message_to_page, capitalize_first, to_plain_text

# Value of the Retry-After header: seconds.
RETRY_AFTER_S = "2"
CONTENT_TYPE = "application/problem+json"
# The first class that matches decides; TakenError is an InputError.
_STATUS_BY_ERROR: tuple[tuple[type[AskrowsError], int], ...] = (
    (TakenError, 409),
    (InputError, 422),
    (ConfigurationError, 409),
    (RemoteError, 503),
    (InconsistentError, 409),
    (GateError, 409),
)


class RequestRefusedError(InputError):
    """A request was refused with an HTTP status before any command was called."""

    def __init__(self, status: int, message: str, *, hint: str = "", field: str = "") -> None:
        super().__init__(message, hint=hint, field=field)
        self.status = status


def problem_document(
    status: int,
    title: str,
    detail: str,
    *,
    hint: str = "",
    **members: Any,
) -> dict[str, Any]:
    """Return a problem as its JSON document; `members` that are None are left out.

    The detail loses a full stop at its end.
    """
    extra_members = {name: member for name, member in members.items() if member is not None}
    return {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail.removesuffix("."),
        "hint": hint,
        **extra_members,
    }


def to_problem_document(error: BaseException) -> dict[str, Any]:
    """Return the problem document of any exception, with its HTTP status.

    - ChangedMeanwhileError (an answer changed after it was read): 412, with the present state of
      the answer in `now`.
    - RequestRefusedError: its own status.
    - Any other AskrowsError: the status of its first class in _STATUS_BY_ERROR, else 500. The
      title is its class. It has the exit code, and `field` and `header` if the error has them.
    - An invalid parameter: 422, about the first fault. `field` names the parameter, or the body.
    - An HTTPException of the framework: its own status. A 404 gets a fixed message.
    - Any other exception, such as an interrupt: 500. Its message is left out, because it may
      contain row content.
    """
    if isinstance(error, ChangedMeanwhileError):
        current = jsonable_encoder(error.now)
        return problem_document(412, "Refused", error.message, hint=error.hint, now=current)
    if isinstance(error, RequestRefusedError):
        return problem_document(
            error.status,
            "Refused",
            error.message,
            hint=error.hint,
            field=error.field or None,
        )
    if isinstance(error, AskrowsError):
        statuses = (status for kind, status in _STATUS_BY_ERROR if isinstance(error, kind))
        return problem_document(
            next(statuses, 500),
            type(error).__name__,
            error.message,
            hint=error.hint,
            exit_code=error.exit_code,
            field=getattr(error, "field", "") or None,
            header=getattr(error, "header", None),
        )
    if isinstance(error, RequestValidationError):
        fault = error.errors()[0]
        # For example ("query", "limit") or ("body", "ids", 0). A body as a whole is ("body",).
        location = fault["loc"]
        has_name = len(location) > 1 and isinstance(location[1], str)
        name = str(location[1] if has_name else location[0])
        return problem_document(422, "Invalid", f"{name}: {fault['msg']}", field=name)
    if isinstance(error, HTTPException):
        detail = error.detail
        if error.status_code == 404:  # noqa: PLR2004 - HTTP's own number
            detail = "this address does not exist"
        return problem_document(error.status_code, "Refused", detail)

    cause = f"a bug in askrows: {type(error).__name__}"
    if isinstance(error, KeyboardInterrupt):
        cause = "interrupted"
    detail = f"{cause}; check the stored data before you try again"
    return problem_document(500, "Stopped", detail)


def to_line(error: AskrowsError) -> str:
    """Return the message and the hint of an error as one line of the page, without commands."""
    message = capitalize_first(to_plain_text(error.message))
    hint = to_plain_text(adapt_message_to_page(error.hint))
    return f"{message}. {capitalize_first(hint)}" if hint else message


def to_page_problem(document: dict[str, Any]) -> dict[str, Any]:
    """Return a problem document for the scripts of the page, without commands and settings."""
    hint = to_plain_text(adapt_message_to_page(document["hint"]))
    return {**document, "detail": to_plain_text(document["detail"]), "hint": hint}


def make_problem_response(document: dict[str, Any]) -> Response:
    """Return a problem document as an HTTP response with its status.

    A 503 gets a Retry-After header. Characters that UTF-8 cannot encode become question marks.
    """
    text = json.dumps(document, ensure_ascii=False)
    # A request may contain half of a surrogate pair, which UTF-8 cannot encode.
    body = text.encode("utf-8", "replace")
    headers = {}
    if document["status"] == 503:  # noqa: PLR2004 - HTTP's own number
        headers["retry-after"] = RETRY_AFTER_S
    return Response(body, status_code=document["status"], media_type=CONTENT_TYPE, headers=headers)
