"""What went wrong, as a program reads it: problem+json (RFC 9457) with `hint` and the exit code of the command."""

import json
from typing import Any

from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from pipeline.core.errors import (
    ChangedMeanwhileError,
    ConfigurationError,
    FindableError,
    GateError,
    InconsistentError,
    InputError,
    RemoteError,
    TakenError,
)

AGAIN_S = "2"  # seconds after which what was too much at once may be tried again
CONTENT_TYPE = "application/problem+json"
_STATUS: tuple[tuple[type[FindableError], int], ...] = (
    (TakenError, 409),
    (InputError, 422),
    (ConfigurationError, 409),
    (RemoteError, 503),
    (InconsistentError, 409),
    (GateError, 409),
)


class RequestRefused(InputError):  # noqa: N818 - a request is refused, which is no fault of ours
    """A request that is answered with a status and the reason, before any command's function is called."""

    def __init__(self, status: int, message: str, *, hint: str = "", field: str = "") -> None:
        super().__init__(message, hint=hint, field=field)
        self.status = status


def document(
    status: int, title: str, detail: str, *, hint: str = "", **more: Any
) -> dict[str, Any]:
    """Return a problem as its JSON document."""
    known = {name: value for name, value in more.items() if value is not None}
    return {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "hint": hint,
        **known,
    }


def of(error: BaseException) -> dict[str, Any]:
    """Return the problem that an error is: of a command, of a request that was refused, or of one that is malformed."""
    if isinstance(error, ChangedMeanwhileError):
        return document(
            412, "Refused", error.message, hint=error.hint, now=jsonable_encoder(error.now)
        )
    if isinstance(error, RequestRefused):
        return document(
            error.status, "Refused", error.message, hint=error.hint, field=error.field or None
        )
    if isinstance(error, FindableError):
        status = next((number for kind, number in _STATUS if isinstance(error, kind)), 500)
        known = {"exit_code": error.exit_code, "field": getattr(error, "field", "") or None}
        return document(status, type(error).__name__, error.message, hint=error.hint, **known)
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        place = first[
            "loc"
        ]  # of what part of the request, its name there, and what is wrong within that
        name = str(place[1] if len(place) > 1 and isinstance(place[1], str) else place[0])
        return document(422, "Invalid", f"{name}: {first['msg']}", field=name)
    if isinstance(error, HTTPException):
        said = "there is nothing at this address" if error.status_code == 404 else error.detail  # noqa: PLR2004 - HTTP's own number
        return document(error.status_code, "Refused", said)
    said = (
        "interrupted"
        if isinstance(error, KeyboardInterrupt)
        else f"a bug in findable: {type(error).__name__}"
    )
    return document(500, "Stopped", f"{said}; look at what is stored before you try again")


def line_of(error: FindableError) -> str:
    """Return what was refused, and what to do, as one line of a page."""
    return f"{error.message}: {error.hint}"


def response(found: dict[str, Any]) -> Response:
    """Return the answer that says it."""
    body = json.dumps(found, ensure_ascii=False).encode(
        "utf-8", "replace"
    )  # what was sent may hold half a character
    headers = {"retry-after": AGAIN_S} if found["status"] == 503 else {}  # noqa: PLR2004 - HTTP's own number
    return Response(body, status_code=found["status"], media_type=CONTENT_TYPE, headers=headers)
