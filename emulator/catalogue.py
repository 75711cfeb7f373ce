"""The models this server answers for, Gemini's names and its own, and what may be asked of each in a minute and a day.

Every name is answered by the local models, and says so in `modelVersion`. What differs from name to name is what the
live API says of it: its methods and token limits (model pages, read 2026-11). Calls are counted in memory: a minute is
the sixty seconds up to a call, a day is Pacific; an embedding quota counts texts.
"""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from emulator.messages import TYPES, ApiError

MODEL_VERSION = "findable-local-1"
TAGGER_VERSION = "findable-local-1-3"
STAND_IN_VERSION = "findable-local-stand-in-1"
"""What answers a question for concepts, one for tags, and any other: of the right form, and no model."""
_GENERATE = ("generateContent", "countTokens", "batchGenerateContent")
_EMBED = ("embedContent", "batchEmbedContents", "countTokens")


@dataclass(frozen=True)
class Model:
    """One name a request may use, with the limits that go with it (tokens), as published for the Flash family."""

    name: str
    methods: tuple[str, ...] = _GENERATE
    input_limit: int = 1_048_576
    output_limit: int = 65_536
    encoder: str = "semantic"

    def document(self) -> dict[str, Any]:
        """Return the model resource of the API."""
        return {
            "name": f"models/{self.name}",
            "version": MODEL_VERSION,
            "displayName": self.name,
            "inputTokenLimit": self.input_limit,
            "outputTokenLimit": self.output_limit,
            "supportedGenerationMethods": list(self.methods),
        }


_FLASH = "2.5-flash 2.5-flash-lite 2.5-pro 3.1-flash-lite 3.1-pro-preview 3.5-flash-lite 3.5-flash 3.6-flash 3.7-flash"
_TABLE = [
    *(Model(f"gemini-{name}") for name in [*_FLASH.split(), "3.8-flash"]),
    Model("findable-local-1"),
    Model("gemini-embedding-001", _EMBED, 2_048, 1),
    Model("gemini-embedding-2", _EMBED, 8_192, 1),
    Model("findable-local-embedding-1", _EMBED, 8_192, 1),
    Model("findable-local-lexical-1", _EMBED, 8_192, 1, encoder="lexical"),
]
MODELS = {model.name: model for model in _TABLE}
"""Every model by the name that stands behind `models/`."""


def find(name: str, method: str, version: str = "v1beta") -> Model:
    """Return the model of that name; refuse one that is unknown or cannot do `method` in Google's words."""
    model = MODELS.get(name.removeprefix("models/"))
    if model is None or method not in model.methods:
        wrong = f"models/{name} is not found for API version {version}, or is not supported for {method}."
        raise ApiError(
            404,
            f"{wrong} Call ListModels to see the list of available models and their supported methods.",
        )
    return model


PACIFIC = ZoneInfo("America/Los_Angeles")
"""Where the day of a daily quota begins (rate limits page, read 2026-11)."""
_NAMES = {"rpm": "RequestsPerMinute", "tpm": "InputTokensPerMinute", "rpd": "RequestsPerDay"}
"""What the id of each limit says in a refusal (seen live 2025-06 to 2026-08)."""


class Quotas:
    """Admits calls, or refuses them."""

    def __init__(self, limits: Mapping[str, int]) -> None:
        """Hold every model to limits: requests (`rpm`) and input tokens (`tpm`) a minute, requests a day (`rpd`)."""
        self._limits = limits
        self._lock = threading.Lock()
        self._calls: defaultdict[str, deque[tuple[float, int, int]]] = defaultdict(deque)
        self._today: defaultdict[tuple[str, str], int] = defaultdict(int)

    def admit(self, model: Model, *, requests: int, tokens: int) -> None:
        """Count a call, or refuse it naming every limit that it would pass."""
        with self._lock:
            now = time.time()
            calls = self._calls[model.name]
            while calls and calls[0][0] <= now - 60:
                calls.popleft()
            day = (model.name, datetime.fromtimestamp(now, tz=PACIFIC).date().isoformat())
            asked = {
                "rpm": sum(call[1] for call in calls) + requests,
                "tpm": sum(call[2] for call in calls) + tokens,
                "rpd": self._today[day] + requests,
            }
            if excess := {
                name: limit for name, limit in self._limits.items() if asked[name] > limit
            }:
                # the delay is a minute's also where it is the day that is over, as misleading as the live one
                raise _passed(model.name, excess, wait_s=calls[0][0] + 60 - now if calls else 60.0)
            calls.append((now, requests, tokens))
            self._today[day] += requests


def _passed(model: str, excess: Mapping[str, int], *, wait_s: float) -> ApiError:
    of_model = {"quotaDimensions": {"location": "global", "model": model}}
    violations = [
        {"quotaId": f"{_NAMES[name]}PerProjectPerModel", **of_model, "quotaValue": str(limit)}
        for name, limit in excess.items()
    ]
    details: list[dict[str, Any]] = [
        {"@type": f"{TYPES}QuotaFailure", "violations": violations},
        {"@type": f"{TYPES}RetryInfo", "retryDelay": f"{int(wait_s)}s"},
    ]
    return ApiError(
        429, f"You exceeded your current quota. Please retry in {wait_s:.9f}s.", details=details
    )
