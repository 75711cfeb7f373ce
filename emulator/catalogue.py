"""Models of this server, and the quotas of their calls.

- Names are those of Gemini's models and of the local engine's own models.
- The local engine answers for every name, and says so in `modelVersion`.
- Methods and token limits of a name are those of the live API (model pages, read 2026-11).
- Calls are counted in memory. A minute is the 60 seconds before a call, a day is Pacific.
- An embedding quota counts texts.
"""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from emulator.messages import RPC_TYPE_PREFIX, ApiError

# `modelVersion` of every answer.
MODEL_VERSION = "findable-local-1"
_GENERATE_METHODS = ("generateContent", "countTokens", "batchGenerateContent")
_DECIDE_METHODS = ("createDecision", "countTokens")
_EMBED_METHODS = ("embedContent", "batchEmbedContents", "countTokens")


@dataclass(frozen=True)
class Model:
    """A model name that requests may use, with its methods and limits."""

    name: str
    methods: tuple[str, ...] = _GENERATE_METHODS
    # Tokens, as published for the Flash family.
    input_limit: int = 1_048_576
    output_limit: int = 65_536

    def to_dict(self) -> dict[str, Any]:
        """Return the model resource of the API."""
        return {
            "name": f"models/{self.name}",
            "version": MODEL_VERSION,
            "displayName": self.name,
            "inputTokenLimit": self.input_limit,
            "outputTokenLimit": self.output_limit,
            "supportedGenerationMethods": list(self.methods),
        }


_GEMINI_NAMES = """
    2.5-flash 2.5-flash-lite 2.5-pro 3.1-flash-lite 3.1-pro-preview 3.5-flash-lite 3.5-flash
    3.6-flash 3.7-flash 3.8-flash
"""
_GENERATION_MODELS = [
    *(Model(f"gemini-{name}") for name in _GEMINI_NAMES.split()),
    Model("findable-local-1"),
]
_EMBEDDING_MODELS = [
    Model("gemini-embedding-001", _EMBED_METHODS, 2_048, 1),
    Model("gemini-embedding-2", _EMBED_METHODS, 8_192, 1),
    Model("findable-local-embedding-1", _EMBED_METHODS, 8_192, 1),
]
_DECISION_MODELS = [
    Model(name, _DECIDE_METHODS, 262_144, 1)
    for name in ("gemini-decision-1", "findable-local-decision-1")
]
# Every model by its name after `models/`, in the order of the model list.
MODELS = {
    model.name: model for model in [*_GENERATION_MODELS, *_EMBEDDING_MODELS, *_DECISION_MODELS]
}


def find_model(name: str, method: str, version: str = "v1beta") -> Model:
    """Return a model that can serve an API method.

    Args:
        name: Model name, with or without `models/`.
        method: For example "generateContent".
        version: API version of the request, for the error message.

    Raises:
        ApiError: 404 in Google's words, if the model is unknown or lacks the method.
    """
    model = MODELS.get(name.removeprefix("models/"))
    if model is None or method not in model.methods:
        raise ApiError(
            404,
            f"models/{name} is not found for API version {version}, or is not supported for "
            f"{method}. Call ListModels to see the list of available models and their supported "
            f"methods.",
        )

    return model


# The day of a daily quota begins at midnight here (rate limits page, read 2026-11).
PACIFIC = ZoneInfo("America/Los_Angeles")
_QUOTA_WINDOW_S = 60
# Beginning of the quota id of each limit in a refusal (seen live 2025-06 to 2026-08).
_QUOTA_ID_PREFIXES = {
    "rpm": "RequestsPerMinute",
    "tpm": "InputTokensPerMinute",
    "rpd": "RequestsPerDay",
}


class _Call(NamedTuple):
    """An admitted call; `time_s` is in seconds since 1970."""

    time_s: float
    request_count: int
    token_count: int


class Quotas:
    """Counts the calls of each model, and refuses calls over a limit."""

    def __init__(self, limits: Mapping[str, int]) -> None:
        """Start with no calls counted.

        Args:
            limits: Limits of each model: requests a minute (`rpm`), input tokens a minute (`tpm`)
                and requests a day (`rpd`). A missing limit is unlimited.
        """
        self._limits = limits
        self._lock = threading.Lock()
        self._recent_calls: defaultdict[str, deque[_Call]] = defaultdict(deque)
        self._daily_requests: defaultdict[tuple[str, str], int] = defaultdict(int)

    def admit(self, model: Model, *, requests: int, tokens: int) -> None:
        """Count a call of a model, unless it exceeds a limit of the minute or of the Pacific day.

        Args:
            requests: Requests, or texts to embed, in the call.
            tokens: Input tokens in the call.

        Raises:
            ApiError: 429 that names each exceeded limit, and after how many seconds (at most 60) to
                try again. The call is not counted.
        """
        with self._lock:
            now_s = time.time()
            calls = self._recent_calls[model.name]
            while calls and calls[0].time_s <= now_s - _QUOTA_WINDOW_S:
                calls.popleft()

            day_key = (model.name, datetime.fromtimestamp(now_s, tz=PACIFIC).date().isoformat())
            usage = {
                "rpm": sum(call.request_count for call in calls) + requests,
                "tpm": sum(call.token_count for call in calls) + tokens,
                "rpd": self._daily_requests[day_key] + requests,
            }
            exceeded_limits = {
                name: limit for name, limit in self._limits.items() if usage[name] > limit
            }
            if exceeded_limits:
                # The delay is at most a minute even if the daily limit is exceeded, as misleading
                # as the delay of the live service.
                wait_s = float(_QUOTA_WINDOW_S)
                if calls:
                    wait_s = calls[0].time_s + _QUOTA_WINDOW_S - now_s
                violations = [
                    {
                        "quotaId": f"{_QUOTA_ID_PREFIXES[name]}PerProjectPerModel",
                        "quotaDimensions": {"location": "global", "model": model.name},
                        "quotaValue": str(limit),
                    }
                    for name, limit in exceeded_limits.items()
                ]
                details: list[dict[str, Any]] = [
                    {"@type": f"{RPC_TYPE_PREFIX}QuotaFailure", "violations": violations},
                    {"@type": f"{RPC_TYPE_PREFIX}RetryInfo", "retryDelay": f"{int(wait_s)}s"},
                ]
                raise ApiError(
                    429,
                    f"You exceeded your current quota. Please retry in {wait_s:.9f}s.",
                    details=details,
                )

            calls.append(_Call(now_s, requests, tokens))
            self._daily_requests[day_key] += requests
