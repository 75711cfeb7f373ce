"""Refusals in the form Google gives them.

One exception carries everything a refusal has on the wire: the HTTP status, the name of the google.rpc code, the
message and the details. Inside a result file the same refusal stands with its google.rpc number instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

RPC_CODES = {
    400: ("INVALID_ARGUMENT", 3),
    401: ("UNAUTHENTICATED", 16),
    403: ("PERMISSION_DENIED", 7),
    404: ("NOT_FOUND", 5),
    429: ("RESOURCE_EXHAUSTED", 8),
    499: ("CANCELLED", 1),
    500: ("INTERNAL", 13),
    501: ("UNIMPLEMENTED", 12),
    503: ("UNAVAILABLE", 14),
    504: ("DEADLINE_EXCEEDED", 4),
}
"""The google.rpc name and number that go with each HTTP status (google/rpc/code.proto)."""
_UNKNOWN = ("UNKNOWN", 2)

_TYPES = "type.googleapis.com/google.rpc."
_SERVICE = "generativelanguage.googleapis.com/"

HELP = {
    "@type": f"{_TYPES}Help",
    "links": [
        {
            "description": "Learn more about Gemini API quotas",
            "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
        }
    ],
}
"""The only detail a refused batch create carries when the enqueued quota is full."""


class ApiError(Exception):
    """A refusal, with all that its reply needs."""

    def __init__(self, code: int, message: str, *, details: Sequence[dict[str, Any]] = ()) -> None:
        """Keep the HTTP status, the message and the details of the refusal."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = list(details)

    @property
    def status(self) -> str:
        """The name of the google.rpc code, `UNKNOWN` for an HTTP status that has none."""
        return RPC_CODES.get(self.code, _UNKNOWN)[0]

    @property
    def quota_ids(self) -> list[str]:
        """The ids of the quotas that the refusal names."""
        return [each["quotaId"] for detail in self.details for each in detail.get("violations", [])]

    def body(self) -> dict[str, Any]:
        """Return the reply's JSON document."""
        error: dict[str, Any] = {"code": self.code, "message": self.message, "status": self.status}
        if self.details:
            error["details"] = self.details
        return {"error": error}

    def line(self) -> dict[str, Any]:
        """Return the error member of a result line: the google.rpc number and the message."""
        return {"code": RPC_CODES.get(self.code, _UNKNOWN)[1], "message": self.message}


def invalid(message: str, *, violations: Sequence[dict[str, str]] = ()) -> ApiError:
    """Return the 400 for a request that is wrong, naming the fields at fault where they are known."""
    details = [{"@type": f"{_TYPES}BadRequest", "fieldViolations": list(violations)}] if violations else []
    return ApiError(400, message, details=details)


def key_invalid() -> ApiError:
    """Return the 400 that Google gives for a key that is wrong."""
    reason = {
        "@type": f"{_TYPES}ErrorInfo",
        "reason": "API_KEY_INVALID",
        "domain": "googleapis.com",
        "metadata": {"service": "generativelanguage.googleapis.com"},
    }
    return ApiError(400, "API key not valid. Please pass a valid API key.", details=[reason])


@dataclass(frozen=True)
class Violation:
    """One quota that is used up: its metric behind the service's name, its id, the model, and the limit."""

    metric: str
    quota_id: str
    model: str
    value: int

    def sentence(self) -> str:
        """Return the line of the message that tells it."""
        return f"* Quota exceeded for metric: {_SERVICE}{self.metric}, limit: {self.value}, model: {self.model}\n"

    def document(self) -> dict[str, Any]:
        """Return the violation as the details tell it."""
        return {
            "quotaMetric": f"{_SERVICE}{self.metric}",
            "quotaId": self.quota_id,
            "quotaDimensions": {"location": "global", "model": self.model},
            "quotaValue": str(self.value),
        }


def quota_violated(violations: Sequence[Violation], retry_delay: str, *, retry_in: str = "") -> ApiError:
    """Return a 429 with the violated quotas and the delay that Google asks for, a protobuf Duration.

    The message may ask for a more exact one (`retry_in`), as live refusals do.
    """
    told = "".join(each.sentence() for each in violations)
    return ApiError(
        429,
        "You exceeded your current quota, please check your plan and billing details.\n"
        f"{told}Please retry in {retry_in or retry_delay}.",
        details=[
            HELP,
            {"@type": f"{_TYPES}QuotaFailure", "violations": [each.document() for each in violations]},
            {"@type": f"{_TYPES}RetryInfo", "retryDelay": retry_delay},
        ],
    )


def quota_full() -> ApiError:
    """Return the 429 of a batch create over the enqueued quota: a link to the manual and no other hint."""
    message = "You exceeded your current quota, please check your plan and billing details."
    return ApiError(429, message, details=[HELP])
