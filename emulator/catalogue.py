"""The models this server answers for, Gemini's names and its own, and what may be asked of each in a minute and a day.

Every name is answered by the local models, and says so in `modelVersion`. What differs from name to name is what the
live API says of it: its methods and token limits (model pages, read 2026-11). Calls are counted in memory: a minute is
the sixty seconds up to a call, a day is Pacific. A call is counted when it comes in, and only where it is good. An
embedding quota counts texts, not calls. Names, metrics and ids are those of live refusals of the free tier (seen
2025-06 to 2026-08).
"""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from emulator.messages import TYPES, ApiError

MODEL_VERSION, TAGGER_VERSION = "findable-local-1", "findable-local-1-3"
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

    @property
    def embeds(self) -> bool:
        """Whether the model makes vectors rather than text."""
        return self.methods is _EMBED

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
        raise ApiError(404, f"{wrong} Call ListModels to see the list of available models and their supported methods.")
    return model


PACIFIC = ZoneInfo("America/Los_Angeles")
"""Where the day of a daily quota begins (rate limits page, read 2026-11)."""
_EXCEEDED = "You exceeded your current quota, please check your plan and billing details."
_PER, _TOKENS = "PerProjectPerModel", "ContentInputTokensPerModelPerMinute"
_NAMES = {
    "requests_per_minute": (
        "requests",
        f"GenerateRequestsPerMinute{_PER}",
        f"EmbedContentRequestsPerMinutePerUser{_PER}",
    ),
    "requests_per_day": ("requests", f"GenerateRequestsPerDay{_PER}", f"EmbedContentRequestsPerDayPerUser{_PER}"),
    "input_tokens_per_minute": ("input_token_count", f"Generate{_TOKENS}", f"Embed{_TOKENS}"),
}
"""What a refusal calls each limit: what is counted, and its id, of a model for text and of one for vectors."""
_Call = tuple[float, int, int]
"""When a call came, and how many requests and tokens it had."""


class Quotas:
    """Admits calls, or refuses them."""

    def __init__(self, limits: Mapping[str, int]) -> None:
        """Hold every model to limits: `requests_per_minute`, `input_tokens_per_minute`, `requests_per_day`."""
        self._limits = limits
        self._calls: defaultdict[str, deque[_Call]] = defaultdict(deque)
        self._today: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._lock = threading.Lock()

    def admit(self, model: Model, *, requests: int, tokens: int) -> None:
        """Count a call, or refuse it naming every limit that it would pass."""
        with self._lock:
            now, calls = time.time(), self._calls[model.name]
            while calls and calls[0][0] <= now - 60:
                calls.popleft()
            day = (model.name, datetime.fromtimestamp(now, tz=PACIFIC).date().isoformat())
            asked = {
                "requests_per_minute": sum(call[1] for call in calls) + requests,
                "input_tokens_per_minute": sum(call[2] for call in calls) + tokens,
                "requests_per_day": self._today[day] + requests,
            }
            excess = [name for name, limit in self._limits.items() if asked[name] > limit]
            if excess:  # the delay is a minute's also where it is the day that is over, as misleading as the live one
                raise self._refusal(model, excess, wait_s=calls[0][0] + 60 - now if calls else 60.0)
            calls.append((now, requests, tokens))
            self._today[day] += requests

    def _refusal(self, model: Model, excess: Sequence[str], wait_s: float) -> ApiError:
        """Return the 429; the details cut the fraction off the time until the oldest call is out of the minute."""
        violations, told = [], ""
        for name in excess:
            counted, *ids = _NAMES[name]
            kind = "embed_content" if model.embeds else "generate_content"
            metric = f"generativelanguage.googleapis.com/{kind}_free_tier_{counted}"
            told += f"* Quota exceeded for metric: {metric}, limit: {self._limits[name]}, model: {model.name}\n"
            violations.append(
                {
                    "quotaMetric": metric,
                    "quotaId": f"{ids[model.embeds]}-FreeTier",
                    "quotaDimensions": {"location": "global", "model": model.name},
                    "quotaValue": str(self._limits[name]),
                }
            )
        details: list[dict[str, Any]] = [
            {"@type": f"{TYPES}QuotaFailure", "violations": violations},
            {"@type": f"{TYPES}RetryInfo", "retryDelay": f"{int(wait_s)}s"},
        ]
        return ApiError(429, f"{_EXCEEDED}\n{told}Please retry in {wait_s:.9f}s.", details=details)
