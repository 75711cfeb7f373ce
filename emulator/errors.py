"""Refusals in the form Google gives them: in a reply with HTTP status and details, in a result line with its number."""

from collections.abc import Sequence
from typing import Any

_CODES = {
    400: ("INVALID_ARGUMENT", 3),
    403: ("PERMISSION_DENIED", 7),
    404: ("NOT_FOUND", 5),
    429: ("RESOURCE_EXHAUSTED", 8),
    500: ("INTERNAL", 13),
}
"""The google.rpc name and number that go with each HTTP status (google/rpc/code.proto)."""
TYPES = "type.googleapis.com/google.rpc."


class ApiError(Exception):
    """A refusal, with all that its reply needs."""

    def __init__(self, code: int, message: str, *, details: Sequence[dict[str, Any]] = ()) -> None:
        """Keep the HTTP status, the message and the details of the refusal."""
        super().__init__(message)
        self.code, self.message, self.details = code, message, list(details)

    def body(self) -> dict[str, Any]:
        """Return the reply's JSON document."""
        error: dict[str, Any] = {"code": self.code, "message": self.message, "status": _CODES[self.code][0]}
        return {"error": error | ({"details": self.details} if self.details else {})}

    def line(self) -> dict[str, Any]:
        """Return the error member of a result line."""
        return {"code": _CODES[self.code][1], "message": self.message}


def invalid(message: str) -> ApiError:
    """Return the 400 for a request that is wrong."""
    return ApiError(400, message)
