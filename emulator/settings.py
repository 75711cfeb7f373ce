"""How the engine behaves where the live service leaves it open or takes too long for a test."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from emulator import latency
from emulator.errors import invalid
from emulator.limits import MOST, WINDOWS, Limits

LEAST = {"list_page_most": 1, "chunk_lines": 1}
"""The least a setting takes where that is not 0."""


@dataclass(frozen=True)
class Settings:
    """What a control call may change while the engine runs; each host has its own."""

    seed: int = 0
    """Every random choice (order of results, which lines a fault hits) follows from it."""
    shuffle: bool = True
    """Write results in an order that is not the order of the requests, as the live service does."""
    paused: bool = False
    """Do no work on batches; what was begun stays where it is."""
    batch_looks: int = 0
    """How many gets a new batch needs before it shows that it is over."""
    batch_seconds: float = 0.0
    """How long by the engine's clock a new batch takes at least."""
    list_lag_seconds: float = 0.0
    """How long by the engine's clock a new batch stays out of the list."""
    list_needs_page_size: bool = False
    """Answer a list without `pageSize` with nothing, as the live service was seen to do (2025-08)."""
    list_page_most: int = 100
    """How many batches one page of the list holds at most."""
    active_batches: int = 100
    """How many batches may be pending or running at once (Batch API guide, read 2026-11)."""
    enqueued_tokens: Mapping[str, int] = field(default_factory=dict)
    """Limit on the input tokens of all active batches, by model name or `*`; none by default."""
    quotas: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """What a key may ask of a model, by model name or `*`: `requests_per_minute`, `input_tokens_per_minute` and
    `requests_per_day`; no limits by default."""
    quota_window: str = "sliding"
    """What a minute is to those limits: `sliding` (the sixty seconds up to a call) or `fixed` (the clock's minute)."""
    latencies: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """How long good answers take, by a regular expression on path and query: `{"kind": "constant", "seconds": 1}`,
    `uniform` with `least` and `most`, `lognormal` or `heavy_tail` with `median` and `p95`; at once by default."""
    delete_results: bool = False
    """Let a deleted batch take its result file with it."""
    chunk_lines: int = 256
    """How many requests are answered between two commits."""

    def changed(self, document: Mapping[str, Any]) -> Self:
        """Return the settings with the named ones changed.

        Raises:
            ApiError: 400 for a name that is no setting or a value of another type.
        """
        known = {each.name: type(getattr(self, each.name)) for each in fields(self)}
        for name, value in document.items():
            if name not in known:
                raise invalid(f"unknown setting {name!r}; there are {', '.join(sorted(known))}")
            wanted: tuple[type, ...] = (int, float) if known[name] is float else (known[name],)
            if not isinstance(value, wanted) or (known[name] is int and isinstance(value, bool)):
                raise invalid(f"setting {name!r}: expected {known[name].__name__}, found {value!r}")
            if isinstance(value, int | float) and not LEAST.get(name, 0) <= value <= MOST:
                raise invalid(f"setting {name!r}: {value!r} is not between {LEAST.get(name, 0)} and {MOST}")
        limits = document.get("enqueued_tokens", {})
        if not all(isinstance(limit, int) and 0 <= limit <= MOST for limit in limits.values()):
            raise invalid(f"setting 'enqueued_tokens': expected numbers by model, found {limits!r}")
        for quota in document.get("quotas", {}).values():
            Limits.read(quota)
        if document.get("quota_window", WINDOWS[0]) not in WINDOWS:
            raise invalid(f"setting 'quota_window': expected one of {', '.join(WINDOWS)}")
        latency.check(document.get("latencies", {}))
        return replace(self, **document)
