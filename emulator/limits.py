"""What may be asked of a model in a minute and in a day: counted in memory, refused over it in Google's words.

A minute is the sixty seconds up to a call, a day is Pacific. A call is counted when it comes in, and only where it is
good: a refused one counts against nothing. An embedding quota counts texts, not calls. Names, metrics and ids are those
of live refusals of the free tier (seen 2025-06 to 2026-08).
"""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from emulator.catalogue import Model
from emulator.errors import EXCEEDED, HELP, TYPES, ApiError

PACIFIC = ZoneInfo("America/Los_Angeles")
"""Where the day of a daily quota begins (rate limits page, read 2026-11)."""
_SERVICE = "generativelanguage.googleapis.com/"
_IDS = {  # of each limit, of a text model and of one of vectors
    "requests_per_minute": (
        "GenerateRequestsPerMinutePerProjectPerModel",
        "EmbedContentRequestsPerMinutePerUserPerProjectPerModel",
    ),
    "input_tokens_per_minute": (
        "GenerateContentInputTokensPerModelPerMinute",
        "EmbedContentInputTokensPerModelPerMinute",  # never seen; made after the one for text
    ),
    "requests_per_day": (
        "GenerateRequestsPerDayPerProjectPerModel",
        "EmbedContentRequestsPerDayPerUserPerProjectPerModel",
    ),
}


class Quotas:
    """Admits calls, or refuses them."""

    def __init__(self, limits: Mapping[str, int]) -> None:
        """Hold every model to limits: `requests_per_minute`, `input_tokens_per_minute`, `requests_per_day`."""
        self._limits = limits
        self._calls: defaultdict[str, deque[tuple[float, int, int]]] = defaultdict(deque)
        self._today: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._lock = threading.Lock()

    def admit(self, model: Model, *, requests: int, tokens: int) -> None:
        """Count a call.

        Raises:
            ApiError: 429 naming every limit that the call would pass; nothing is counted.
        """
        if not self._limits:
            return
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
            excess = {name: asked[name] - limit for name, limit in self._limits.items() if asked[name] > limit}
            if excess:
                raise self._refusal(model, excess, wait_s=_wait_s(calls, excess, now))
            calls.append((now, requests, tokens))
            self._today[day] += requests

    def _refusal(self, model: Model, excess: Mapping[str, int], *, wait_s: float) -> ApiError:
        """Return the 429; the details cut the fraction of the delay off, as live ones do."""
        violations: list[dict[str, Any]] = []
        told = ""
        for name in excess:
            counted = "requests" if name.startswith("requests") else "input_token_count"
            metric = f"{_SERVICE}{'embed' if model.embeds else 'generate'}_content_free_tier_{counted}"
            told += f"* Quota exceeded for metric: {metric}, limit: {self._limits[name]}, model: {model.name}\n"
            violations.append(
                {
                    "quotaMetric": metric,
                    "quotaId": f"{_IDS[name][model.embeds]}-FreeTier",
                    "quotaDimensions": {"location": "global", "model": model.name},
                    "quotaValue": str(self._limits[name]),
                }
            )
        details: list[dict[str, Any]] = [
            HELP,
            {"@type": f"{TYPES}QuotaFailure", "violations": violations},
            {"@type": f"{TYPES}RetryInfo", "retryDelay": f"{int(wait_s)}s"},
        ]
        return ApiError(429, f"{EXCEEDED}\n{told}Please retry in {wait_s:.9f}s.", details=details)


def _wait_s(calls: deque[tuple[float, int, int]], excess: Mapping[str, int], now: float) -> float:
    """Return how long until the oldest calls that make up what is too much are out of the minute; a minute at most.

    A daily limit has none of its own: it comes with the rest of the minute on the clock, as short and misleading as
    the live service's.
    """
    waits = []
    for name, over in excess.items():
        if name == "requests_per_day":
            waits.append(60 - now % 60)
            continue
        left, tokens = over, name == "input_tokens_per_minute"
        for call in calls:
            left -= call[2] if tokens else call[1]
            if left <= 0:
                waits.append(call[0] + 60 - now)
                break
        else:
            waits.append(60.0)
    return max(waits)
