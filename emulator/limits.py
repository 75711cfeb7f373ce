"""The quotas of a key and model: how much may be asked in a minute and in a day, and what a 429 calls each of them.

Names, metrics and ids are those of live refusals of the free tier (seen 2025-06 to 2026-08). An embedding quota counts
texts, not calls, as was seen there too.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from emulator.errors import Violation, invalid

MOST = 2**53
"""The largest limit: every reader of JSON reads it alike."""
WINDOWS = ("sliding", "fixed")
"""What a minute may be: the sixty seconds up to a call, or the minute on the clock."""


@dataclass(frozen=True)
class Limits:
    """What one key may ask of one model; None: as much as it likes."""

    requests_per_minute: int | None = None
    input_tokens_per_minute: int | None = None
    requests_per_day: int | None = None

    @classmethod
    def read(cls, document: object) -> Self:
        """Return the limits that a setting names.

        Raises:
            ApiError: 400 for a name that is no limit or a value that is no whole number from 0 on.
        """
        known = list(cls.__dataclass_fields__)
        if not isinstance(document, Mapping) or set(document) - set(known):
            raise invalid(f"setting 'quotas': expected {', '.join(known)} by model, found {document!r}")
        for name, value in document.items():
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST:
                raise invalid(f"setting 'quotas': {name} is a whole number from 0 on, found {value!r}")
        return cls(**document)

    @property
    def is_open(self) -> bool:
        """Whether there is no limit at all."""
        return self == Limits()

    def document(self) -> dict[str, int]:
        """Return the limits there are, as a setting names them."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def limits_of(quotas: Mapping[str, Any], model: str) -> Limits:
    """Return the limits of a model: its own, else those of `*`, else none."""
    return Limits.read(quotas.get(model, quotas.get("*", {})))


_IDS = {  # which limit, and whether it is about vectors -> metric and id
    ("requests_per_minute", False): ("generate_content", "GenerateRequestsPerMinutePerProjectPerModel"),
    ("requests_per_day", False): ("generate_content", "GenerateRequestsPerDayPerProjectPerModel"),
    ("input_tokens_per_minute", False): ("generate_content", "GenerateContentInputTokensPerModelPerMinute"),
    ("requests_per_minute", True): ("embed_content", "EmbedContentRequestsPerMinutePerUserPerProjectPerModel"),
    ("requests_per_day", True): ("embed_content", "EmbedContentRequestsPerDayPerUserPerProjectPerModel"),
    # never seen; made after the one for text
    ("input_tokens_per_minute", True): ("embed_content", "EmbedContentInputTokensPerModelPerMinute"),
}


def violation(limit: str, value: int, *, model: str, embeds: bool) -> Violation:
    """Return what a refusal says about one limit of a model that is passed."""
    metric, quota_id = _IDS[limit, embeds]
    counted = "requests" if limit.startswith("requests") else "input_token_count"
    return Violation(f"{metric}_free_tier_{counted}", f"{quota_id}-FreeTier", model, value)
