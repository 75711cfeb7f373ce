"""What a batch's row must have, for tests that put one there."""

from datetime import UTC, datetime
from typing import Any

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
_TEXTS = ("task", "extractor", "model", "request_file", "request_sha256", "priced_on")
_NUMBERS = ("requests", "request_size", "estimated_in", "estimated_out", "estimated_cost")
BATCH: dict[str, Any] = {**dict.fromkeys(_TEXTS, "some"), **dict.fromkeys(_NUMBERS, 1)}
